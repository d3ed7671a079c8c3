namespace Slipway.Registry;

/// <summary>
/// The artifact store: a tree of names over content-addressed blobs, so that the same content is kept once. Runs and models
/// lie in it under <c>EXPERIMENT/RUN/artifacts</c>.
/// </summary>
public sealed class Artifacts(Database database, Journal journal, IBlobStore blobs, TimeProvider clock)
{
    /// <summary>Bytes of one artifact.</summary>
    public const long Largest = 1L << 40;

    private const string Tree = """
        WITH RECURSIVE folders(path) AS (
            SELECT CAST(@path AS TEXT)
            UNION ALL
            SELECT folders.path || '/' || a.name FROM registry_artifacts a JOIN folders ON a.parent = folders.path WHERE a.hash IS NULL
        )
        """;

    /// <summary>Stores a file, replacing one of the same name; readers see the old or the new content, never a part.</summary>
    /// <param name="actor">Who uploads.</param>
    /// <param name="path">Full path below the root.</param>
    /// <param name="content">Read to its end with bounded memory.</param>
    /// <param name="ct">Stops the upload; nothing becomes visible then.</param>
    /// <exception cref="SlipwayException">InvalidArgument for a bad path, Conflict when a folder has that name or a file is above it.</exception>
    public async Task<BlobInfo> PutAsync(Actor actor, string path, Stream content, CancellationToken ct)
    {
        ArtifactPath.Check(path);
        var staged = await blobs.StageAsync(content, ct);
        var blob = staged.Info;
        var now = clock.NowMicros();
        await database.WriteAsync(
            async tx =>
            {
                var (parent, name) = ArtifactPath.Split(path);
                await EnsureFolderAsync(tx, parent, now);
                await staged.SaveAsync(tx);
                var changed = await tx.ExecuteAsync(
                    """
                    INSERT INTO registry_artifacts (parent, name, hash, size, updated_at) VALUES (@parent, @name, @Hash, @Size, @now)
                    ON CONFLICT (parent, name) DO UPDATE SET hash = excluded.hash, size = excluded.size, updated_at = excluded.updated_at
                    WHERE registry_artifacts.hash IS NOT NULL
                    """,
                    new { parent, name, blob.Hash, blob.Size, now });
                if (changed == 0)
                {
                    throw new SlipwayException(ErrorCode.Conflict, "the artifact cannot be stored", "a folder has that name", "choose another name");
                }

                await journal.AppendAsync(tx, actor, Events.ArtifactStored, SubjectOf(path), new ArtifactStored(path, blob.Hash, blob.Size));
            },
            ct);
        return blob;
    }

    /// <summary>Opens a file. The stream fails at its end if the content was damaged.</summary>
    /// <exception cref="SlipwayException">NotFound when nothing or a folder has that path.</exception>
    public async Task<ArtifactContent> OpenAsync(string path, CancellationToken ct)
    {
        var file = await FindAsync(path, ct) ?? throw SlipwayException.NotFound("artifact", path);
        return new ArtifactContent(file.Path, file.Hash!, file.Size!.Value, await blobs.OpenAsync(file.Hash!, ct));
    }

    /// <summary>The file at a path, or null when nothing or a folder is there.</summary>
    public async Task<ArtifactInfo?> FindAsync(string path, CancellationToken ct)
    {
        var (parent, name) = ArtifactPath.Split(ArtifactPath.Check(path));
        var row = await database.ReadAsync(
            s => s.FindAsync<ArtifactRow>("SELECT name, hash, size FROM registry_artifacts WHERE parent = @parent AND name = @name AND hash IS NOT NULL", new { parent, name }),
            ct);
        return row is null ? null : new ArtifactInfo(path, IsDir: false, row.Size, row.Hash);
    }

    /// <summary>What lies in a folder, by base name and ordered by it; empty for a file or when nothing is there.</summary>
    /// <param name="path">Full path; empty for the root.</param>
    /// <param name="ct">Stops the read.</param>
    public async Task<IReadOnlyList<ArtifactInfo>> ListAsync(string path, CancellationToken ct)
    {
        var parent = ArtifactPath.CheckFolder(path);
        var rows = await database.ReadAsync(s => s.QueryAsync<ArtifactRow>("SELECT name, hash, size FROM registry_artifacts WHERE parent = @parent", new { parent }), ct);
        return rows
            .OrderBy(r => r.Name, StringComparer.Ordinal)
            .Select(r => new ArtifactInfo(r.Name, r.Hash is null, r.Hash is null ? null : r.Size, r.Hash))
            .ToList();
    }

    /// <summary>Deletes a file, or a folder with everything in it; nothing there is no error.</summary>
    public Task DeleteAsync(Actor actor, string path, CancellationToken ct)
    {
        ArtifactPath.Check(path);
        return database.WriteAsync(
            async tx =>
            {
                if (await RemoveAsync(tx, path) is > 0 and var entries)
                {
                    await journal.AppendAsync(tx, actor, Events.ArtifactDeleted, SubjectOf(path), new ArtifactDeleted(path, entries));
                }
            },
            ct);
    }

    /// <summary>Removes a file, or a folder with everything in it.</summary>
    /// <returns>How many entries that were.</returns>
    internal static async Task<int> RemoveAsync(Tx tx, string path)
    {
        var (parent, name) = ArtifactPath.Split(path);
        var inside = await tx.ExecuteAsync($"{Tree} DELETE FROM registry_artifacts WHERE parent IN (SELECT path FROM folders)", new { path });
        return inside + await tx.ExecuteAsync("DELETE FROM registry_artifacts WHERE parent = @parent AND name = @name", new { parent, name });
    }

    /// <summary>How many files lie below a folder, and their bytes.</summary>
    internal static async Task<(long Files, long Bytes)> SizeAsync(Session session, string path)
    {
        var row = await session.FindAsync<SizeRow>(
            $"{Tree} SELECT COUNT(a.hash) AS Files, CAST(COALESCE(SUM(a.size), 0) AS BIGINT) AS Bytes FROM registry_artifacts a JOIN folders ON a.parent = folders.path", new { path });
        return (row!.Files, row.Bytes);
    }

    /// <summary>All files below a folder, or the file itself, with paths relative to it; ordered by path.</summary>
    internal static async Task<IReadOnlyList<ModelFile>> FilesAsync(Session session, string path)
    {
        var rows = await session.QueryAsync<ArtifactRow>(
            $"{Tree} SELECT a.parent, a.name, a.hash, a.size FROM registry_artifacts a JOIN folders ON a.parent = folders.path WHERE a.hash IS NOT NULL",
            new { path });
        if (rows.Count == 0)
        {
            var (parent, name) = ArtifactPath.Split(path);
            rows = await session.QueryAsync<ArtifactRow>(
                "SELECT parent, name, hash, size FROM registry_artifacts WHERE parent = @parent AND name = @name AND hash IS NOT NULL",
                new { parent, name });
            return rows.Select(r => new ModelFile(r.Name, r.Hash!, r.Size)).ToList();
        }

        return rows
            .Select(r => new ModelFile(ArtifactPath.Join(r.Parent, r.Name)[(path.Length == 0 ? 0 : path.Length + 1)..], r.Hash!, r.Size))
            .OrderBy(f => f.Path, StringComparer.Ordinal)
            .ToList();
    }

    /// <summary>A folder that exists has all folders above it, so the usual case is one look.</summary>
    private static async Task EnsureFolderAsync(Tx tx, string path, long now)
    {
        var missing = new Stack<(string Parent, string Name)>();
        while (path.Length > 0)
        {
            var (parent, name) = ArtifactPath.Split(path);
            var row = await tx.FindAsync<ArtifactRow>("SELECT name, hash, size FROM registry_artifacts WHERE parent = @parent AND name = @name", new { parent, name });
            if (row is { Hash: not null })
            {
                throw new SlipwayException(ErrorCode.Conflict, "the artifact cannot be stored", $"'{path}' is a file, not a folder", "choose another name");
            }

            if (row is not null)
            {
                break;
            }

            missing.Push((parent, name));
            path = parent;
        }

        foreach (var (parent, name) in missing)
        {
            await tx.ExecuteAsync(
                "INSERT INTO registry_artifacts (parent, name, hash, size, updated_at) VALUES (@parent, @name, NULL, 0, @now) ON CONFLICT (parent, name) DO NOTHING",
                new { parent, name, now });
        }
    }

    /// <summary>The run or logged model whose files the path belongs to; else the path itself.</summary>
    private static Subject SubjectOf(string path)
    {
        var segments = path.Split('/', 4);
        return segments switch
        {
            [_, "models", var model, var rest] when rest.StartsWith("artifacts/", StringComparison.Ordinal) => new Subject("logged-model", model),
            [_, var run, "artifacts", _] => new Subject("run", run),
            _ => new Subject("artifact", path),
        };
    }

    private sealed class SizeRow
    {
        public long Files { get; set; }

        public long Bytes { get; set; }
    }

    private sealed class ArtifactRow
    {
        public string Parent { get; set; } = "";

        public string Name { get; set; } = "";

        public string? Hash { get; set; }

        public long Size { get; set; }
    }
}

/// <summary>An open artifact. The reader disposes the content.</summary>
/// <param name="Path">Full path.</param>
/// <param name="Hash">SHA-256, 64 lower-case hex digits.</param>
/// <param name="Size">Bytes.</param>
/// <param name="Content">Readable from its beginning.</param>
public sealed record ArtifactContent(string Path, string Hash, long Size, Stream Content);
