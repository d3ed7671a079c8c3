using System.Collections.Concurrent;
using System.Text;
using System.Text.RegularExpressions;
using Slipway.Foundation;

namespace Slipway.Data;

/// <summary>
/// Datasets and their immutable versions. Bytes lie in the blob store under their hash, so a file that many versions share is stored once;
/// a version is a manifest whose SHA-256 is its id; only branches move, by compare-and-swap.
/// </summary>
public sealed partial class Datasets
{
    private const int MaxMessage = 4_000;
    private const int MaxDescription = 4_000;
    private const int MaxLog = 1_000;
    private const int ShortestPrefix = 6;
    private const string VersionColumns = "id AS Id, dataset AS Dataset, parent AS Parent, manifest AS Manifest, profile AS Profile";

    private readonly Database database;
    private readonly Journal journal;
    private readonly IBlobStore blobs;
    private readonly TimeProvider clock;
    private readonly Profiler profiler;
    private readonly DataOptions options;
    private readonly DataLayout layout;
    private readonly ConcurrentDictionary<string, (long Size, long Written)> verified = new(StringComparer.Ordinal);

    internal Datasets(Database database, Journal journal, IBlobStore blobs, TimeProvider clock, Profiler profiler, DataOptions options, DataLayout layout)
    {
        this.database = database;
        this.journal = journal;
        this.blobs = blobs;
        this.clock = clock;
        this.profiler = profiler;
        this.options = options;
        this.layout = layout;
    }

    /// <summary>Makes an empty dataset.</summary>
    /// <exception cref="SlipwayException"><see cref="ErrorCode.InvalidArgument"/> (name, description), <see cref="ErrorCode.AlreadyExists"/>.</exception>
    public async Task<Dataset> CreateAsync(Actor actor, string name, string? description, CancellationToken ct)
    {
        DemandName(name, "dataset");
        if (description?.Length > MaxDescription) throw SlipwayException.Invalid($"the dataset {name} was not created", $"its description has {description.Length} characters, at most {MaxDescription} are kept");
        return await database.WriteAsync(async tx =>
        {
            var now = clock.NowMicros();
            var made = await tx.ExecuteAsync("INSERT INTO data_datasets (name, description, created_at, created_by) VALUES (@name, @description, @now, @by) ON CONFLICT (name) DO NOTHING", new { name, description, now, by = actor.Principal });
            if (made == 0) throw new SlipwayException(ErrorCode.AlreadyExists, $"the dataset {name} exists", null, $"slipway dataset commit {name} …");
            var dataset = new Dataset(name, description, new Dictionary<string, string>(StringComparer.Ordinal), new Dictionary<string, string>(StringComparer.Ordinal), actor.Principal, Time.FromMicros(now));
            await journal.AppendAsync(tx, actor, "dataset.created", dataset.Subject, new DatasetCreated(name, description));
            return dataset;
        }, ct);
    }

    /// <summary>All datasets with their branches and tags, by name.</summary>
    public Task<IReadOnlyList<Dataset>> ListAsync(CancellationToken ct) => database.ReadAsync(session => LoadAsync(session, null), ct);

    /// <summary>One dataset, or null.</summary>
    public async Task<Dataset?> FindAsync(string name, CancellationToken ct) => await database.ReadAsync(session => LoadAsync(session, name), ct) is [var dataset] ? dataset : null;

    /// <exception cref="SlipwayException"><see cref="ErrorCode.NotFound"/>.</exception>
    public async Task<Dataset> GetAsync(string name, CancellationToken ct) => await FindAsync(name, ct) ?? throw SlipwayException.NotFound("dataset", name, "slipway dataset list");

    /// <summary>
    /// Commits a version: stores the files, profiles the tables among them, and moves the branch if it still stands where it stood.
    /// A commit of exactly the files of the branch's head changes nothing and gives the head.
    /// </summary>
    /// <remarks>Bytes are stored before the transaction, so a commit that fails can leave blobs behind that no version names; nothing reads them.</remarks>
    /// <exception cref="SlipwayException">
    /// <see cref="ErrorCode.NotFound"/> (dataset); <see cref="ErrorCode.InvalidArgument"/> (path, message, branch, or a file that is not the table its ending promises);
    /// <see cref="ErrorCode.TooLarge"/>; <see cref="ErrorCode.Conflict"/> naming the head when the branch is not at <see cref="CommitRequest.ExpectedParent"/> or moved meanwhile.
    /// </exception>
    public async Task<DatasetVersion> CommitAsync(Actor actor, string dataset, CommitRequest request, CancellationToken ct)
    {
        Demand(request);
        var head = await database.ReadAsync(async session =>
        {
            await DemandDatasetAsync(session, dataset);
            return await HeadAsync(session, dataset, request.Branch);
        }, ct);
        if (request.ExpectedParent is not null && request.ExpectedParent != head) throw Moved(dataset, request.Branch, request.ExpectedParent, head);
        var parent = head is null ? null : await database.ReadAsync(session => ByIdAsync(session, head), ct);

        var stored = await StoreAsync(request.Files, ct);
        if (parent is not null && parent.Files.Select(f => (f.Path, f.Hash)).SequenceEqual(stored.Select(f => (f.Path, f.Hash)))) return parent;

        var profiled = await ProfileAsync(stored, parent, ct);
        var files = stored.ConvertAll(f => f with { Rows = profiled.Rows.TryGetValue(f.Path, out var rows) ? rows : null });
        var profile = profiled.Profile is null ? null : Encoding.UTF8.GetString(CanonicalJson.Serialize(profiled.Profile));
        var manifest = new Manifest(Manifest.CurrentVersion, dataset, head, request.Branch, request.Message.Trim(), actor.Principal, clock.NowMicros(), files,
            profiled.Schema, profile is null ? null : Digest.Sha256Hex(Encoding.UTF8.GetBytes(profile)));
        var (text, id) = manifest.Freeze();
        var version = Manifest.Thaw(id, text, profile);

        await database.WriteAsync(async tx =>
        {
            var moved = head is null
                ? await tx.ExecuteAsync("INSERT INTO data_branches (dataset, name, head) VALUES (@dataset, @Branch, @id) ON CONFLICT (dataset, name) DO NOTHING", new { dataset, request.Branch, id })
                : await tx.ExecuteAsync("UPDATE data_branches SET head = @id WHERE dataset = @dataset AND name = @Branch AND head = @head", new { dataset, request.Branch, id, head });
            if (moved == 0) throw Moved(dataset, request.Branch, head, await HeadAsync(tx, dataset, request.Branch));
            await tx.ExecuteAsync("INSERT INTO data_versions (id, dataset, parent, manifest, profile) VALUES (@id, @dataset, @head, @text, @profile)", new { id, dataset, head, text, profile });
            Subject[] links = head is null ? [new("dataset", dataset)] : [new("dataset-version", $"{dataset}/{head}"), new("dataset", dataset)];
            await journal.AppendAsync(tx, actor, "dataset.committed", version.Subject,
                new DatasetCommitted(dataset, id, head, request.Branch, version.Message, files.Count, files.Sum(f => f.Size), version.Profile?.Rows), links);
        }, ct);
        return version;
    }

    /// <summary>The version a reference means: a full id, else a tag, else a branch's head, else the one id that begins so (at least 6 characters).</summary>
    /// <exception cref="SlipwayException"><see cref="ErrorCode.NotFound"/>; <see cref="ErrorCode.InvalidArgument"/> when several ids begin so, naming them.</exception>
    public Task<DatasetVersion> GetVersionAsync(string dataset, string reference, CancellationToken ct) => database.ReadAsync(async session =>
    {
        await DemandDatasetAsync(session, dataset);
        return await ByIdAsync(session, await ResolveAsync(session, dataset, reference));
    }, ct);

    /// <summary>The history of a branch from its head, newest first.</summary>
    /// <param name="dataset">The dataset.</param>
    /// <param name="branch">The branch.</param>
    /// <param name="limit">At most so many, 1 to 1,000.</param>
    /// <param name="ct">Stops waiting.</param>
    /// <exception cref="SlipwayException"><see cref="ErrorCode.NotFound"/> (dataset, branch), <see cref="ErrorCode.InvalidArgument"/> (limit).</exception>
    public Task<IReadOnlyList<DatasetVersion>> LogAsync(string dataset, string branch, int limit, CancellationToken ct)
    {
        if (limit is < 1 or > MaxLog) throw SlipwayException.Invalid("the log cannot be listed", $"the limit is {limit}, it must be 1 to {MaxLog}");
        return database.ReadAsync<IReadOnlyList<DatasetVersion>>(async session =>
        {
            await DemandDatasetAsync(session, dataset);
            var next = await HeadAsync(session, dataset, branch) ?? throw SlipwayException.NotFound("branch", $"{dataset}/{branch}", $"slipway dataset show {dataset}");
            var log = new List<DatasetVersion>();
            while (next is not null && log.Count < limit)
            {
                log.Add(await ByIdAsync(session, next));
                next = log[^1].Parent;
            }
            return log;
        }, ct);
    }

    /// <summary>Opens a file of a version. Reading it to the end verifies its bytes.</summary>
    /// <exception cref="SlipwayException"><see cref="ErrorCode.NotFound"/>; while reading <see cref="ErrorCode.DataLoss"/>.</exception>
    public Task<Stream> OpenAsync(DatasetVersion version, string path, CancellationToken ct) => blobs.OpenAsync(FileOf(version, path).Hash, ct);

    /// <summary>
    /// A file of the local disk with exactly these bytes, for libraries that read files. It is read-only and shared, and was read in full and
    /// verified by this process since it was last written.
    /// </summary>
    /// <exception cref="SlipwayException"><see cref="ErrorCode.NotFound"/>; <see cref="ErrorCode.DataLoss"/> when the bytes are others.</exception>
    public async Task<string> LocalPathAsync(DatasetVersion version, string path, CancellationToken ct) => await LocalAsync(FileOf(version, path).Hash, ct);

    /// <summary>Holds a version for whoever uses it, so that its bytes stay. Pinning again is harmless.</summary>
    /// <exception cref="SlipwayException"><see cref="ErrorCode.NotFound"/> when the version is not of this server.</exception>
    public async Task PinAsync(Actor actor, DatasetVersion version, Subject by, CancellationToken ct) => await database.WriteAsync(async tx =>
    {
        if (await tx.ScalarAsync<long>("SELECT COUNT(*) FROM data_versions WHERE id = @Id AND dataset = @Dataset", new { version.Id, version.Dataset }) == 0)
            throw SlipwayException.NotFound("dataset version", $"{version.Dataset}/{version.Id}");
        var pinned = await tx.ExecuteAsync("INSERT INTO data_pins (version, subject, pinned_at, pinned_by) VALUES (@Id, @subject, @now, @by) ON CONFLICT (version, subject) DO NOTHING",
            new { version.Id, subject = by.ToString(), now = clock.NowMicros(), by = actor.Principal });
        if (pinned > 0) await journal.AppendAsync(tx, actor, "dataset.pinned", by, new DatasetPinned(version.Dataset, version.Id, by.ToString()), [version.Subject]);
    }, ct);

    /// <summary>Lets go of every version that a user holds, because it is gone.</summary>
    public async Task UnpinAsync(Actor actor, Subject by, CancellationToken ct) => await database.WriteAsync(async tx =>
    {
        if (await tx.ExecuteAsync("DELETE FROM data_pins WHERE subject = @subject", new { subject = by.ToString() }) > 0) await journal.AppendAsync(tx, actor, "dataset.unpinned", by);
    }, ct);

    /// <summary>Gives a version a name for good. The same tag for the same version again is harmless.</summary>
    /// <exception cref="SlipwayException"><see cref="ErrorCode.Conflict"/> when the tag names another version; <see cref="ErrorCode.NotFound"/>; <see cref="ErrorCode.InvalidArgument"/>.</exception>
    public async Task TagAsync(Actor actor, string dataset, string tag, string version, CancellationToken ct)
    {
        DemandName(tag, "tag");
        await database.WriteAsync(async tx =>
        {
            await DemandDatasetAsync(tx, dataset);
            var id = await ResolveAsync(tx, dataset, version);
            var made = await tx.ExecuteAsync("INSERT INTO data_tags (dataset, name, version, tagged_at, tagged_by) VALUES (@dataset, @tag, @id, @now, @by) ON CONFLICT (dataset, name) DO NOTHING",
                new { dataset, tag, id, now = clock.NowMicros(), by = actor.Principal });
            if (made == 0)
            {
                var named = await tx.ScalarAsync<string>("SELECT version FROM data_tags WHERE dataset = @dataset AND name = @tag", new { dataset, tag });
                if (named == id) return;
                throw new SlipwayException(ErrorCode.Conflict, $"the tag {tag} cannot move", $"it names {named} for good", "choose another tag");
            }
            await journal.AppendAsync(tx, actor, "dataset.tagged", new Subject("dataset-version", $"{dataset}/{id}"), new DatasetTagged(dataset, tag, id), [new Subject("dataset", dataset)]);
        }, ct);
    }

    /// <summary>What changed between two references of a dataset.</summary>
    /// <exception cref="SlipwayException">As <see cref="GetVersionAsync"/>.</exception>
    public async Task<DatasetDiff> DiffAsync(string dataset, string from, string to, CancellationToken ct) =>
        DatasetDiff.Between(await GetVersionAsync(dataset, from, ct), await GetVersionAsync(dataset, to, ct));

    /// <summary>Who pinned a version, oldest first.</summary>
    public Task<IReadOnlyList<Subject>> UsedByAsync(DatasetVersion version, CancellationToken ct) => database.ReadAsync<IReadOnlyList<Subject>>(async session =>
        [.. (await session.QueryAsync<string>("SELECT subject FROM data_pins WHERE version = @Id ORDER BY pinned_at, subject", new { version.Id })).Select(Subject.Parse)], ct);

    private void Demand(CommitRequest request)
    {
        DemandName(request.Branch, "branch");
        if (string.IsNullOrWhiteSpace(request.Message) || request.Message.Length > MaxMessage)
            throw SlipwayException.Invalid("nothing was committed", $"the message has {request.Message?.Length ?? 0} characters; it needs 1 to {MaxMessage}", "say why this version exists");
        if (request.Files.Count == 0) throw SlipwayException.Invalid("nothing was committed", "there are no files", "name at least one file");
        if (request.Files.Count > options.MaxFiles) throw new SlipwayException(ErrorCode.TooLarge, "nothing was committed", $"there are {request.Files.Count} files, at most {options.MaxFiles} fit into a version");
        foreach (var file in request.Files) LogicalPath.Demand(file.Path);
        LogicalPath.DemandDistinct([.. request.Files.Select(f => f.Path)]);
    }

    private async Task<List<DataFile>> StoreAsync(IReadOnlyList<CommitFile> files, CancellationToken ct)
    {
        var stored = new List<DataFile>(files.Count);
        long total = 0;
        foreach (var file in files.OrderBy(f => f.Path, StringComparer.Ordinal))
        {
            await using var content = await file.Open(ct);
            await using var bounded = new BoundedStream(content, options.MaxBytes - total, file.Path);
            var blob = await blobs.PutAsync(bounded, ct);
            total += blob.Size;
            stored.Add(new DataFile(file.Path, blob.Hash, blob.Size, null));
        }
        return stored;
    }

    private async Task<Profiled> ProfileAsync(List<DataFile> files, DatasetVersion? parent, CancellationToken ct)
    {
        var tables = files.Where(f => Profiler.IsTable(f.Path)).ToList();
        var before = parent?.Files.Where(f => Profiler.IsTable(f.Path)).ToList();
        if (before is not null && before.Select(f => (f.Path, f.Hash)).SequenceEqual(tables.Select(f => (f.Path, f.Hash))))
            return new Profiled(before.ToDictionary(f => f.Path, f => f.Rows ?? 0, StringComparer.Ordinal), parent!.Schema, parent.Profile);
        var local = new List<TableFile>(tables.Count);
        foreach (var table in tables) local.Add(new TableFile(table.Path, await LocalAsync(table.Hash, ct)));
        return await profiler.ProfileAsync(local, ct);
    }

    private async Task<string> LocalAsync(string hash, CancellationToken ct)
    {
        var path = blobs.LocalPath(hash) ?? await FetchAsync(hash, ct);
        var file = new FileInfo(path);
        var now = (file.Length, file.LastWriteTimeUtc.Ticks);
        if (verified.TryGetValue(hash, out var then) && then == now) return path;
        await using (var content = await blobs.OpenAsync(hash, ct))
        {
            await content.CopyToAsync(Stream.Null, ct);
        }
        verified[hash] = now;
        return path;
    }

    /// <summary>Where the blob store keeps no files: a copy that is complete before it is visible.</summary>
    private async Task<string> FetchAsync(string hash, CancellationToken ct)
    {
        var path = Path.Combine(layout.Temporary, "blob-" + hash);
        if (File.Exists(path)) return path;
        var part = path + "." + Ids.New();
        try
        {
            await using (var content = await blobs.OpenAsync(hash, ct))
            await using (var copy = new FileStream(part, FileMode.CreateNew, FileAccess.Write, FileShare.None))
            {
                await content.CopyToAsync(copy, ct);
            }
            File.Move(part, path, overwrite: true);
        }
        finally
        {
            File.Delete(part);
        }
        return path;
    }

    private static DataFile FileOf(DatasetVersion version, string path) =>
        version.Files.FirstOrDefault(f => f.Path == path) ?? throw SlipwayException.NotFound("file", $"{version.Dataset}/{version.Id[..12]}/{path}", $"slipway dataset show {version.Dataset}");

    private static async Task DemandDatasetAsync(Session session, string dataset)
    {
        if (await session.ScalarAsync<long>("SELECT COUNT(*) FROM data_datasets WHERE name = @dataset", new { dataset }) == 0)
            throw SlipwayException.NotFound("dataset", dataset, "slipway dataset list");
    }

    private static Task<string?> HeadAsync(Session session, string dataset, string branch) =>
        session.FindAsync<string>("SELECT head FROM data_branches WHERE dataset = @dataset AND name = @branch", new { dataset, branch });

    private static async Task<DatasetVersion> ByIdAsync(Session session, string id)
    {
        var row = await session.FindAsync<VersionRow>($"SELECT {VersionColumns} FROM data_versions WHERE id = @id", new { id }) ?? throw SlipwayException.NotFound("dataset version", id);
        return Manifest.Thaw(row.Id, row.Manifest, row.Profile);
    }

    private static async Task<string> ResolveAsync(Session session, string dataset, string reference)
    {
        if (Digest.IsSha256(reference))
        {
            if (await session.FindAsync<string>("SELECT id FROM data_versions WHERE id = @reference AND dataset = @dataset", new { reference, dataset }) is { } exact) return exact;
        }
        else
        {
            if (await session.FindAsync<string>("SELECT version FROM data_tags WHERE dataset = @dataset AND name = @reference", new { dataset, reference }) is { } tagged) return tagged;
            if (await HeadAsync(session, dataset, reference) is { } head) return head;
            if (reference.Length >= ShortestPrefix && reference.All(char.IsAsciiHexDigitLower))
            {
                var found = await session.QueryAsync<string>("SELECT id FROM data_versions WHERE dataset = @dataset AND id >= @reference AND id < @end ORDER BY id LIMIT 5", new { dataset, reference, end = reference + "g" });
                if (found.Count == 1) return found[0];
                if (found.Count > 1) throw SlipwayException.Invalid($"{reference} is not one version of {dataset}", $"several begin so: {string.Join(", ", found)}", "write more of the id");
            }
        }
        throw SlipwayException.NotFound("dataset version", $"{dataset}/{reference[..Math.Min(reference.Length, 80)]}", $"slipway dataset log {dataset}");
    }

    private static async Task<IReadOnlyList<Dataset>> LoadAsync(Session session, string? name)
    {
        var (one, its) = name is null ? ("", "") : ("WHERE name = @name", "WHERE dataset = @name");
        var rows = await session.QueryAsync<DatasetRow>($"SELECT name AS Name, description AS Description, created_at AS CreatedAt, created_by AS CreatedBy FROM data_datasets {one} ORDER BY name", new { name });
        var branches = (await session.QueryAsync<NamedRow>($"SELECT dataset AS Dataset, name AS Name, head AS Version FROM data_branches {its}", new { name })).ToLookup(r => r.Dataset, StringComparer.Ordinal);
        var tags = (await session.QueryAsync<NamedRow>($"SELECT dataset AS Dataset, name AS Name, version AS Version FROM data_tags {its}", new { name })).ToLookup(r => r.Dataset, StringComparer.Ordinal);
        return [.. rows.Select(r => new Dataset(r.Name, r.Description, Map(branches[r.Name]), Map(tags[r.Name]), r.CreatedBy, Time.FromMicros(r.CreatedAt)))];

        static Dictionary<string, string> Map(IEnumerable<NamedRow> named) => named.ToDictionary(n => n.Name, n => n.Version, StringComparer.Ordinal);
    }

    private static SlipwayException Moved(string dataset, string branch, string? expected, string? head) => new(ErrorCode.Conflict, $"{dataset} was not committed to {branch}",
        $"its head is {head ?? "not there"}, not {expected ?? "absent"}", $"look at what changed (slipway dataset diff {dataset}) and commit on top of it");

    private static void DemandName(string name, string what)
    {
        if (!NameShape().IsMatch(name) || Digest.IsSha256(name))
            throw SlipwayException.Invalid($"\"{name[..Math.Min(name.Length, 80)]}\" cannot be the name of a {what}", "a name is 1 to 128 of a-z 0-9 . _ -, begins with a letter or digit and is no version id");
    }

    [GeneratedRegex(@"\A[a-z0-9][a-z0-9._-]{0,127}\z", RegexOptions.CultureInvariant, matchTimeoutMilliseconds: 100)]
    private static partial Regex NameShape();

    private sealed class DatasetRow
    {
        public string Name { get; set; } = "";
        public string? Description { get; set; }
        public long CreatedAt { get; set; }
        public string CreatedBy { get; set; } = "";
    }

    private sealed class NamedRow
    {
        public string Dataset { get; set; } = "";
        public string Name { get; set; } = "";
        public string Version { get; set; } = "";
    }

    private sealed class VersionRow
    {
        public string Id { get; set; } = "";
        public string Dataset { get; set; } = "";
        public string? Parent { get; set; }
        public string Manifest { get; set; } = "";
        public string? Profile { get; set; }
    }
}
