using System.Data.Common;
using System.Globalization;
using DuckDB.NET.Data;
using Microsoft.Extensions.Logging;
using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>The rows of one endpoint, or of one of its versions, in one segment; times are Unix microseconds of event time.</summary>
internal sealed record ArchivePart(string Segment, long Rows, long First, long Last);

/// <summary>
/// The read side of the prediction log and its long-term form: complete segments become Parquet blobs with one row in the database
/// and one journal entry, which carries the digests that prove them. Reads join those blobs with the segments that are still open, this node's and the others'.
/// </summary>
internal sealed partial class PredictionArchive(PredictionLog log, NodeLogs nodes, Database database, IBlobStore blobs, Journal journal, DataLayout layout, TimeProvider clock, ILogger<PredictionArchive> logger) : IDisposable
{
    private const string Columns = "id, endpoint, variant, model_version, entity_key, event_us, latency_us, status, features, outputs, segment, kind, reason, revision, primary_variant, primary_status, primary_latency_us";

    // Segments of earlier releases have none of these columns; a table without rows gives them their types.
    private const string NoDecisions = "SELECT NULL::UTINYINT AS kind, NULL::UTINYINT AS reason, NULL::BIGINT AS revision, NULL::VARCHAR AS primary_variant, NULL::INTEGER AS primary_status, NULL::BIGINT AS primary_latency_us WHERE false";
    private static readonly string IsLive = Of(PredictionKind.Live);
    private static readonly Actor Self = Actor.System("predictions");
    private readonly SemaphoreSlim compacting = new(1, 1);

    public PredictionLog Log { get; } = log;

    /// <summary>Compacts every complete segment; returns how many. A segment whose row exists already (a crash behind the commit) is only removed.</summary>
    public Task<int> CompactAsync(CancellationToken ct) => CompactAsync(Log, ct);

    /// <summary>Compacts what processes that are gone have left in the shared folder.</summary>
    public Task TakeOverAsync(CancellationToken ct) => nodes.TakeOverAsync(CompactAsync, ct);

    /// <summary>Makes readable what this node has appended, and tells how far the others are: <see cref="NodeLogs.Turns"/>.</summary>
    public async Task<IReadOnlyDictionary<string, long>> TurnsAsync(CancellationToken ct)
    {
        await Log.CommitAsync(ct);
        return nodes.Turns();
    }

    /// <summary>A number that changes whenever a row becomes readable.</summary>
    public long Appended => Log.Written + nodes.Live().Sum(s => s.Length);

    private IReadOnlyList<PredictionSegment> Live() => [.. nodes.Live(), .. Log.Live];

    private async Task<int> CompactAsync(PredictionLog log, CancellationToken ct)
    {
        await compacting.WaitAsync(ct);
        try
        {
            int done = 0;
            foreach (PredictionSegment segment in log.Complete())
            {
                if (segment.Rows > 0)
                {
                    await StoreAsync(segment, ct);
                    done++;
                }

                await log.ForgetAsync(segment, ct);
            }

            return done;
        }
        finally
        {
            compacting.Release();
        }
    }

    public async Task<Prediction?> FindAsync(string id, CancellationToken ct)
    {
        if (await database.ReadAsync(s => s.ScalarAsync<long>("SELECT COUNT(*) FROM monitoring_tombstones WHERE prediction_id = @id", new { id }), ct) > 0)
        {
            return null;
        }

        foreach (PredictionSegment segment in Live().Reverse())
        {
            if (segment.Find(id) is { } found)
            {
                return found;
            }
        }

        return (await FindManyAsync([id], stored: true, ct)).GetValueOrDefault(id);
    }

    /// <summary>The predictions of those ids that are known, the live segments first.</summary>
    public Task<Dictionary<string, Prediction>> FindManyAsync(IReadOnlyCollection<string> ids, CancellationToken ct)
    {
        return FindManyAsync(ids, stored: false, ct);
    }

    /// <summary>Predictions of one endpoint with event time in [from, to), newest first.</summary>
    public async Task<IReadOnlyList<Prediction>> ListAsync(string endpoint, long from, long to, int limit, CancellationToken ct)
    {
        IReadOnlyList<PredictionSegment> live = Live();
        HashSet<string> deleted = await DeletedAsync(endpoint, from, to, ct);
        limit += deleted.Count;
        var found = live.SelectMany(s => s.Newest(endpoint, from, to, limit)).ToList();
        IReadOnlyList<string> files = await FilesAsync(endpoint, from, to, live, ct);
        if (files.Count > 0)
        {
            string sql = $"SELECT {Columns} FROM {Source(files)} WHERE endpoint = $endpoint AND event_us >= $from AND event_us < $to AND {IsLive} ORDER BY event_us DESC LIMIT {limit.ToString(CultureInfo.InvariantCulture)}";
            found.AddRange(Read(sql, [("endpoint", endpoint), ("from", from), ("to", to)]));
        }

        return found.Where(p => !deleted.Contains(p.Id)).OrderByDescending(p => p.At).ThenByDescending(p => p.Id, StringComparer.Ordinal).Take(limit - deleted.Count).ToArray();
    }

    /// <summary>All predictions of one kind of one model version on one endpoint with event time in [from, to), one by one, in no promised order.</summary>
    public async IAsyncEnumerable<Prediction> ScanAsync(string endpoint, string model, PredictionKind kind, long from, long to, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken ct)
    {
        HashSet<string> deleted = await DeletedAsync(endpoint, from, to, ct);
        IReadOnlyList<PredictionSegment> live = Live();
        foreach (Prediction p in live.SelectMany(s => s.Scan(endpoint, kind, from, to)).Where(p => p.ModelVersion == model && !deleted.Contains(p.Id)))
        {
            yield return p;
        }

        IReadOnlyList<string> files = await FilesAsync(endpoint, from, to, live, ct, kind);
        if (files.Count > 0)
        {
            string sql = $"SELECT {Columns} FROM {Source(files)} WHERE endpoint = $endpoint AND model_version = $model AND event_us >= $from AND event_us < $to AND {Of(kind)}";
            foreach (Prediction p in Read(sql, [("endpoint", endpoint), ("model", model), ("from", from), ("to", to)]))
            {
                ct.ThrowIfCancellationRequested();
                if (!deleted.Contains(p.Id))
                {
                    yield return p;
                }
            }
        }
    }

    /// <summary>How many rows <see cref="ScanAsync(string, string, PredictionKind, long, long, CancellationToken)"/> would give, without reading what is in them.</summary>
    public async Task<long> CountAsync(string endpoint, string model, PredictionKind kind, long from, long to, CancellationToken ct)
    {
        HashSet<string> deleted = await DeletedAsync(endpoint, from, to, ct);
        IReadOnlyList<PredictionSegment> live = Live();
        long rows = live.SelectMany(s => s.Scan(endpoint, kind, from, to)).LongCount(p => p.ModelVersion == model && !deleted.Contains(p.Id));
        IReadOnlyList<string> files = await FilesAsync(endpoint, from, to, live, ct, kind);
        if (files.Count == 0)
        {
            return rows;
        }

        using var duck = Open();
        using var command = duck.CreateCommand();
        command.CommandText = $"SELECT count(*) FROM {Source(files)} WHERE endpoint = $endpoint AND model_version = $model AND event_us >= $from AND event_us < $to AND {Of(kind)} AND id NOT IN (SELECT unnest($deleted))";
        foreach ((string name, object value) in new (string, object)[] { ("endpoint", endpoint), ("model", model), ("from", from), ("to", to), ("deleted", deleted.ToList()) })
        {
            command.Parameters.Add(new DuckDBParameter(name, value));
        }

        return rows + Convert.ToInt64(command.ExecuteScalar(), CultureInfo.InvariantCulture);
    }

    /// <summary>Every row of one kind of an endpoint with event time in [from, to), one by one, in no promised order.</summary>
    public async IAsyncEnumerable<Prediction> ScanAsync(string endpoint, PredictionKind kind, long from, long to, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken ct)
    {
        HashSet<string> deleted = await DeletedAsync(endpoint, from, to, ct);
        IReadOnlyList<PredictionSegment> live = Live();
        foreach (Prediction p in live.SelectMany(s => s.Scan(endpoint, kind, from, to)).Where(p => !deleted.Contains(p.Id)))
        {
            yield return p;
        }

        IReadOnlyList<string> files = await FilesAsync(endpoint, from, to, live, ct, kind);
        if (files.Count > 0)
        {
            // Inputs are not asked for where nobody looks at them: they are most of a row.
            string columns = kind == PredictionKind.Shadow ? Columns : Columns.Replace("features", "[]::FLOAT[] AS features", StringComparison.Ordinal);
            string sql = $"SELECT {columns} FROM {Source(files)} WHERE endpoint = $endpoint AND event_us >= $from AND event_us < $to AND {Of(kind)}";
            foreach (Prediction p in Read(sql, [("endpoint", endpoint), ("from", from), ("to", to)]))
            {
                ct.ThrowIfCancellationRequested();
                if (!deleted.Contains(p.Id))
                {
                    yield return p;
                }
            }
        }
    }

    /// <summary>Rows and the first and last event time of an endpoint, over one model version or (null) all of them.</summary>
    public async Task<(long Rows, long First, long Last)> ExtentAsync(string endpoint, string? model, CancellationToken ct)
    {
        IReadOnlyList<ArchivePart> parts = await PartsAsync(endpoint, model, PredictionKind.Live, ct);
        return parts.Count == 0 ? (0, 0, 0) : (parts.Sum(p => p.Rows), parts.Min(p => p.First), parts.Max(p => p.Last));
    }

    /// <summary>Where the rows of one kind of an endpoint are: one entry for each segment that has any of them. Of closed segments, those that hold other rows than answers to callers do not tell versions apart.</summary>
    public async Task<IReadOnlyList<ArchivePart>> PartsAsync(string endpoint, string? model, PredictionKind kind, CancellationToken ct)
    {
        IReadOnlyList<PredictionSegment> live = Live();
        List<ArchivePart> parts = [.. live.SelectMany(s => s.Parts().Select(p => (s.Id, Part: p)))
            .Where(p => p.Part.Kind == kind && p.Part.Endpoint == endpoint && (model is null || p.Part.ModelVersion == model)).Select(p => new ArchivePart(p.Id, p.Part.Rows, p.Part.First, p.Part.Last))];
        string[] ids = live.Select(s => s.Id).ToArray();
        IReadOnlyList<PartRow> rows = await database.ReadAsync(
            s => s.QueryAsync<PartRow>(
                kind == PredictionKind.Live
                    ? "SELECT segment AS Segment, row_count AS RowCount, first_us AS FirstUs, last_us AS LastUs FROM monitoring_segment_parts WHERE endpoint = @endpoint" + (model is null ? "" : " AND model_version = @model")
                    : "SELECT segment AS Segment, row_count AS RowCount, first_us AS FirstUs, last_us AS LastUs FROM monitoring_segment_side_parts WHERE endpoint = @endpoint AND kind = @kind",
                new { endpoint, model, kind = (int)kind }),
            ct);
        parts.AddRange(rows.Where(r => !ids.Contains(r.Segment, StringComparer.Ordinal)).Select(r => new ArchivePart(r.Segment, r.RowCount, r.FirstUs, r.LastUs)));
        return parts;
    }

    /// <summary>Leaves a tombstone for each of these predictions of one endpoint, forgets their labels and marks the windows that they took part in as stale.</summary>
    public Task<int> DeleteAsync(Actor actor, string endpoint, IReadOnlyList<Prediction> found, CancellationToken ct) => database.WriteAsync(
        async tx =>
        {
            int deleted = 0;
            long now = clock.NowMicros();
            foreach (Prediction p in found)
            {
                long at = Time.ToMicros(p.At);
                int made = await tx.ExecuteAsync(
                    "INSERT INTO monitoring_tombstones (prediction_id, endpoint, model_version, event_us, deleted_by, deleted_us) VALUES (@Id, @endpoint, @ModelVersion, @at, @Name, @now) ON CONFLICT (prediction_id) DO NOTHING",
                    new { p.Id, endpoint, p.ModelVersion, at, actor.Name, now });
                if (made > 0)
                {
                    deleted++;
                    await Labels.ForgetAsync(tx, endpoint, p.Id);
                    await WindowRow.StaleAsync(tx, endpoint, p.ModelVersion, at);
                }
            }

            if (deleted > 0)
            {
                await journal.AppendAsync(tx, actor, "prediction.deleted", new Subject("endpoint", endpoint), new PredictionsDeleted(endpoint, deleted), []);
            }

            return deleted;
        },
        ct);

    public void Dispose() => compacting.Dispose();

    private async Task<HashSet<string>> DeletedAsync(string endpoint, long from, long to, CancellationToken ct) =>
        [.. await database.ReadAsync(s => s.QueryAsync<string>("SELECT prediction_id FROM monitoring_tombstones WHERE endpoint = @endpoint AND event_us >= @from AND event_us < @to", new { endpoint, from, to }), ct)];

    private async Task<Dictionary<string, Prediction>> FindManyAsync(IReadOnlyCollection<string> ids, bool stored, CancellationToken ct)
    {
        IReadOnlyList<PredictionSegment> live = Live();
        var found = new Dictionary<string, Prediction>(StringComparer.Ordinal);
        if (!stored)
        {
            foreach (string id in ids)
            {
                if (live.Reverse().Select(s => s.Find(id)).FirstOrDefault(p => p is not null) is { } p)
                {
                    found[id] = p;
                }
            }
        }

        string[] missing = ids.Where(id => !found.ContainsKey(id)).Distinct(StringComparer.Ordinal).ToArray();
        if (missing.Length == 0)
        {
            return await WithoutDeletedAsync(found, ct);
        }

        // The identifiers' range is compared here, by bytes, because databases collate text in their own ways.
        IReadOnlyList<SegmentRow> rows = await database.ReadAsync(
            s => s.QueryAsync<SegmentRow>("SELECT id AS Id, blob AS Blob, min_id AS MinId, max_id AS MaxId FROM monitoring_segments ORDER BY last_us DESC"), ct);
        string first = missing.Min(StringComparer.Ordinal)!, last = missing.Max(StringComparer.Ordinal)!;
        var files = new List<string>();
        foreach (SegmentRow row in rows)
        {
            if (string.CompareOrdinal(row.MinId, last) <= 0 && string.CompareOrdinal(row.MaxId, first) >= 0)
            {
                files.Add(await LocalAsync(row.Blob, ct));
            }
        }

        if (files.Count > 0)
        {
            string sql = $"SELECT {Columns} FROM {Source(files)} WHERE id IN (SELECT unnest($ids)) AND {IsLive} ORDER BY event_us";
            foreach (Prediction p in Read(sql, [("ids", missing.ToList())]))
            {
                found[p.Id] = p;
            }
        }

        return await WithoutDeletedAsync(found, ct);
    }

    private async Task<Dictionary<string, Prediction>> WithoutDeletedAsync(Dictionary<string, Prediction> found, CancellationToken ct)
    {
        foreach (IGrouping<string, Prediction> of in found.Values.ToArray().GroupBy(p => p.Endpoint))
        {
            HashSet<string> deleted = await DeletedAsync(of.Key, of.Min(p => Time.ToMicros(p.At)), of.Max(p => Time.ToMicros(p.At)) + 1, ct);
            foreach (Prediction p in of.Where(p => deleted.Contains(p.Id)))
            {
                found.Remove(p.Id);
            }
        }

        return found;
    }

    private async Task StoreAsync(PredictionSegment segment, CancellationToken ct)
    {
        if (await database.ReadAsync(s => s.ScalarAsync<long>("SELECT COUNT(*) FROM monitoring_segments WHERE id = @id", new { id = segment.Id }), ct) > 0)
        {
            return;
        }

        Directory.CreateDirectory(layout.Temporary);
        string temporary = Path.Combine(layout.Temporary, $"predictions-{segment.Id}.parquet");
        try
        {
            (string min, string max, string digest) = await Background.RunAsync("compaction", () =>
            {
                (string least, string greatest) = PredictionParquet.Write(segment, temporary);
                return (least, greatest, segment.Digest());
            });
            BlobInfo blob;
            await using (var content = File.OpenRead(temporary))
            {
                blob = await blobs.PutAsync(content, ct);
            }

            IReadOnlyList<SegmentPart> parts = segment.Parts();
            long now = clock.NowMicros(), first = parts.Min(p => p.First), last = parts.Max(p => p.Last);
            var batch = new PredictionBatch(segment.Id, segment.Rows, blob.Hash, digest, Time.FromMicros(first), Time.FromMicros(last), parts.GroupBy(p => (p.Endpoint, p.ModelVersion)).Select(p => new PredictionBatchPart(p.Key.Endpoint, p.Key.ModelVersion, p.Sum(part => part.Rows))).ToArray());
            Subject[] links = parts.SelectMany(p => new[] { new Subject("endpoint", p.Endpoint), new Subject("model-version", p.ModelVersion) }).Distinct().ToArray();
            await database.WriteAsync(
                async tx =>
                {
                    await tx.ExecuteAsync(
                        "INSERT INTO monitoring_segments (id, blob, digest, row_count, byte_count, min_id, max_id, first_us, last_us, created_us) VALUES (@Id, @Hash, @digest, @Rows, @Size, @min, @max, @first, @last, @now)",
                        new { segment.Id, blob.Hash, digest, segment.Rows, blob.Size, min, max, first, last, now });
                    foreach (var side in parts.Where(p => p.Kind != PredictionKind.Live).GroupBy(p => (p.Endpoint, p.Kind)))
                    {
                        await tx.ExecuteAsync(
                            "INSERT INTO monitoring_segment_side_parts (segment, endpoint, kind, row_count, first_us, last_us) VALUES (@Id, @Endpoint, @kind, @rows, @from, @to)",
                            new { segment.Id, side.Key.Endpoint, kind = (int)side.Key.Kind, rows = side.Sum(p => p.Rows), from = side.Min(p => p.First), to = side.Max(p => p.Last) });
                    }

                    foreach (SegmentPart part in parts.Where(p => p.Kind == PredictionKind.Live))
                    {
                        await tx.ExecuteAsync(
                            "INSERT INTO monitoring_segment_parts (segment, endpoint, model_version, row_count, first_us, last_us) VALUES (@Id, @Endpoint, @ModelVersion, @Rows, @First, @Last)",
                            new { segment.Id, part.Endpoint, part.ModelVersion, part.Rows, part.First, part.Last });
                    }

                    await journal.AppendAsync(tx, Self, "prediction.batch", new Subject("prediction-batch", segment.Id), batch, links);
                },
                ct);
            Trace.Compacted(logger, segment.Id, segment.Rows, blob.Size);
        }
        finally
        {
            File.Delete(temporary);
        }
    }

    private async Task<IReadOnlyList<string>> FilesAsync(string endpoint, long from, long to, IReadOnlyList<PredictionSegment> live, CancellationToken ct, PredictionKind kind = PredictionKind.Live)
    {
        string parts = kind == PredictionKind.Live ? "monitoring_segment_parts p ON p.segment = s.id WHERE" : "monitoring_segment_side_parts p ON p.segment = s.id WHERE p.kind = @kind AND";
        IReadOnlyList<SegmentRow> rows = await database.ReadAsync(
            s => s.QueryAsync<SegmentRow>(
                $"SELECT DISTINCT s.id AS Id, s.blob AS Blob FROM monitoring_segments s JOIN {parts} p.endpoint = @endpoint AND p.first_us < @to AND p.last_us >= @from ORDER BY s.id",
                new { endpoint, from, to, kind = (int)kind }),
            ct);
        var files = new List<string>();
        foreach (SegmentRow row in rows.Where(r => live.All(s => s.Id != r.Id)))
        {
            files.Add(await LocalAsync(row.Blob, ct));
        }

        return files;
    }

    /// <summary>The blob as a local file: its own when the store has one, else a cached copy.</summary>
    private async Task<string> LocalAsync(string hash, CancellationToken ct)
    {
        if (blobs.LocalPath(hash) is { } own)
        {
            return own;
        }

        string cache = Path.Combine(layout.Predictions, "cache"), path = Path.Combine(cache, hash + ".parquet");
        if (!File.Exists(path))
        {
            Directory.CreateDirectory(cache);
            string part = Path.Combine(cache, Ids.New() + ".part");
            await using (Stream from = await blobs.OpenAsync(hash, ct))
            await using (var to = File.Create(part))
            {
                await from.CopyToAsync(to, ct);
            }

            File.Move(part, path, overwrite: true);
        }

        return path;
    }

    private static IEnumerable<Prediction> Read(string sql, IEnumerable<(string Name, object Value)> parameters)
    {
        using var duck = Open();
        using var command = duck.CreateCommand();
        command.CommandText = sql;
        foreach ((string name, object value) in parameters)
        {
            command.Parameters.Add(new DuckDBParameter(name, value));
        }

        using DbDataReader r = command.ExecuteReader();
        while (r.Read())
        {
            yield return new Prediction(
                r.GetString(0), r.GetString(1), r.GetString(2), r.GetString(3), r.IsDBNull(4) ? null : r.GetString(4), Time.FromMicros(r.GetInt64(5)), r.GetInt64(6),
                r.GetFieldValue<List<float>>(8), r.GetFieldValue<List<float>>(9), r.GetInt32(7), r.GetString(10))
            {
                Kind = r.IsDBNull(11) ? PredictionKind.Live : (PredictionKind)r.GetByte(11),
                Reason = r.IsDBNull(12) ? DecisionReason.None : (DecisionReason)r.GetByte(12),
                Revision = r.IsDBNull(13) ? 0 : r.GetInt64(13),
                PrimaryVariant = r.IsDBNull(14) ? null : r.GetString(14),
                PrimaryStatus = r.IsDBNull(15) ? 0 : r.GetInt32(15),
                PrimaryLatencyMicros = r.IsDBNull(16) ? 0 : r.GetInt64(16),
            };
        }
    }

    private static DuckDBConnection Open()
    {
        var duck = new DuckDBConnection("DataSource=:memory:");
        duck.Open();
        Run(duck, "SET threads = 1; SET memory_limit = '512MB'");
        return duck;
    }

    private static void Run(DuckDBConnection duck, string sql)
    {
        using var command = duck.CreateCommand();
        command.CommandText = sql;
        command.ExecuteNonQuery();
    }

    private static string Of(PredictionKind kind) => $"COALESCE(kind, 0) = {((int)kind).ToString(CultureInfo.InvariantCulture)}";

    private static string Source(IReadOnlyList<string> files) => $"(FROM read_parquet([{string.Join(", ", files.Select(Quote))}], union_by_name = true) UNION ALL BY NAME {NoDecisions})";

    private static string Quote(string text) => $"'{text.Replace("'", "''", StringComparison.Ordinal)}'";

    private static partial class Trace
    {
        [LoggerMessage(Level = LogLevel.Information, Message = "Compacted prediction segment {Segment}: {Rows} rows, {Bytes} bytes of Parquet.")]
        public static partial void Compacted(ILogger logger, string segment, long rows, long bytes);
    }

    private sealed class SegmentRow
    {
        public string Id { get; set; } = "";

        public string Blob { get; set; } = "";

        public string MinId { get; set; } = "";

        public string MaxId { get; set; } = "";
    }

    private sealed class PartRow
    {
        public string Segment { get; set; } = "";

        public long RowCount { get; set; }

        public long FirstUs { get; set; }

        public long LastUs { get; set; }
    }
}
