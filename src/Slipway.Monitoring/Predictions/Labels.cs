using System.Collections.Concurrent;
using System.Data;
using System.Data.Common;
using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>A prediction whose true outcome is known.</summary>
/// <param name="Id">The prediction's id.</param>
/// <param name="Variant">The variant that answered.</param>
/// <param name="At">Event time.</param>
/// <param name="Outputs">The model's outputs, in the order of its signature.</param>
/// <param name="Label">The label in force.</param>
public sealed record LabelledPrediction(string Id, string Variant, DateTimeOffset At, IReadOnlyList<float> Outputs, double Label);

/// <summary>A prediction with the label in force, if it has one.</summary>
/// <param name="Prediction">The prediction; its features are left out.</param>
/// <param name="Label">The label's value, or null.</param>
/// <param name="LabelAt">When the label became known, or null.</param>
public sealed record Outcome(Prediction Prediction, double? Label, DateTimeOffset? LabelAt);

/// <summary>The truth about one prediction, as it became known.</summary>
/// <param name="PredictionId">The prediction's id; at most 512 characters.</param>
/// <param name="Value">The outcome; for a yes-or-no question 1 or 0. Finite.</param>
/// <param name="At">When it became known.</param>
/// <param name="Revision">Rises with each correction of the same prediction's label; not negative.</param>
public sealed record Label(string PredictionId, double Value, DateTimeOffset At, int Revision = 0);

/// <summary>What became of a batch of labels; the numbers add up to the batch.</summary>
/// <param name="Joined">Stored, and its prediction is known.</param>
/// <param name="Parked">Stored, and waits for its prediction.</param>
/// <param name="Duplicate">The same revision with the same value was there already.</param>
/// <param name="Conflict">The same revision was there with another value, which is kept.</param>
/// <param name="Stale">Stored, but a higher revision was there already and stays in force.</param>
/// <param name="Late">Stored, but it came later after its prediction than the label horizon and is not applied.</param>
public sealed record LabelReport(long Joined, long Parked, long Duplicate, long Conflict, long Stale = 0, long Late = 0);

/// <summary>A label in force: its value, and when it became known.</summary>
[System.Runtime.InteropServices.StructLayout(System.Runtime.InteropServices.LayoutKind.Auto)]
internal readonly record struct KnownLabel(double Value, DateTimeOffset At);

/// <summary>A stored label.</summary>
/// <param name="Label">The label.</param>
/// <param name="State">`joined`, `parked`, `late`, `orphan` (its prediction never came) or `deleted`.</param>
/// <param name="Current">Whether it is the highest revision.</param>
/// <param name="ReceivedAt">When it was stored.</param>
public sealed record StoredLabel(Label Label, string State, bool Current, DateTimeOffset ReceivedAt);

/// <summary>
/// True outcomes and their join with predictions. Appending is idempotent by (endpoint, prediction id, revision): a higher revision
/// replaces the one before, an equal one never does. What an append reports is durable when it returns.
/// </summary>
public sealed class Labels
{
    /// <summary>The most labels of one call.</summary>
    public const int LargestBatch = 10_000;

    private const int LongestId = 512;
    private const int ParkedAtOnce = 5_000;
    private const int LabelsAtOnce = 200_000;
    private readonly Database database;
    private readonly PredictionArchive archive;
    private readonly Journal journal;
    private readonly MonitoringOptions options;
    private readonly TimeProvider clock;
    private readonly ConcurrentDictionary<string, long> parkedSeen = new(StringComparer.Ordinal);

    internal Labels(Database database, PredictionArchive archive, Journal journal, MonitoringOptions options, TimeProvider clock) =>
        (this.database, this.archive, this.journal, this.options, this.clock) = (database, archive, journal, options, clock);

    /// <summary>Stores a batch in one transaction and joins what can be joined.</summary>
    /// <exception cref="SlipwayException">InvalidArgument with every bad label (the first ten are named); TooLarge above <see cref="LargestBatch"/>.</exception>
    public async Task<LabelReport> AppendAsync(Actor actor, string endpoint, IReadOnlyList<Label> labels, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(actor);
        Validate(endpoint, labels);
        if (labels.Count == 0)
        {
            return new LabelReport(0, 0, 0, 0);
        }

        // The prediction of a label that comes at once may still be in a buffer.
        await archive.Log.CommitAsync(ct);
        string[] ids = labels.Select(l => l.PredictionId).Distinct(StringComparer.Ordinal).ToArray();
        Dictionary<string, Prediction> found = await archive.FindManyAsync(ids, ct);
        long now = clock.NowMicros();
        for (int attempt = 1; ; attempt++)
        {
            try
            {
                return await database.WriteAsync(tx => StoreAsync(tx, endpoint, labels, ids, found, now), ct);
            }
            catch (DbException e) when (attempt < 5 && database.Dialect.IsDuplicate(e))
            {
                // Another writer stored one of the labels in this moment: now it is there to compare with.
                continue;
            }
        }
    }

    /// <summary>
    /// Forgets the labels of predictions, for example at a person's request: values go, a tombstone of state `deleted` stays, so that the same label
    /// cannot come back by a repeated delivery. Windows that they took part in are measured again.
    /// </summary>
    /// <returns>How many revisions were forgotten.</returns>
    /// <exception cref="SlipwayException">InvalidArgument without ids; TooLarge above <see cref="LargestBatch"/>.</exception>
    public async Task<long> DeleteAsync(Actor actor, string endpoint, IReadOnlyList<string> predictionIds, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(actor);
        if (string.IsNullOrEmpty(endpoint) || predictionIds.Count == 0 || predictionIds.Any(string.IsNullOrEmpty))
        {
            throw SlipwayException.Invalid("the labels cannot be deleted", "an endpoint and at least one prediction id are needed", "name them");
        }

        if (predictionIds.Count > LargestBatch)
        {
            throw new SlipwayException(ErrorCode.TooLarge, "the labels cannot be deleted", $"{predictionIds.Count} predictions in one call, {LargestBatch} are allowed", "send them in several calls");
        }

        return await database.WriteAsync(
            async tx =>
            {
                long forgotten = 0;
                foreach (string id in predictionIds.Distinct(StringComparer.Ordinal))
                {
                    IReadOnlyList<TakenRow> taken = await tx.QueryAsync<TakenRow>(
                        "SELECT model_version AS ModelVersion, event_us AS EventUs FROM monitoring_labels WHERE prediction_id = @id AND endpoint = @endpoint AND state = 'joined' AND is_current = 1 AND event_us IS NOT NULL", new { id, endpoint });
                    foreach (TakenRow row in taken)
                    {
                        await WindowRow.StaleAsync(tx, endpoint, row.ModelVersion, row.EventUs);
                    }

                    forgotten += await ForgetAsync(tx, endpoint, id);
                }

                if (forgotten > 0)
                {
                    await journal.AppendAsync(tx, actor, "label.deleted", new Subject("endpoint", endpoint), new LabelsDeleted(endpoint, predictionIds.Count, forgotten), []);
                }

                return forgotten;
            },
            ct);
    }

    /// <summary>All revisions of one prediction's label, the highest first.</summary>
    public async Task<IReadOnlyList<StoredLabel>> FindAsync(string endpoint, string predictionId, CancellationToken ct)
    {
        IReadOnlyList<LabelRow> rows = await database.ReadAsync(
            s => s.QueryAsync<LabelRow>($"SELECT {LabelRow.Columns} FROM monitoring_labels WHERE endpoint = @endpoint AND prediction_id = @predictionId ORDER BY revision DESC", new { endpoint, predictionId }), ct);
        return rows.Select(r => new StoredLabel(new Label(r.PredictionId, r.Value, Time.FromMicros(r.AtUs), (int)r.Revision), r.State, r.IsCurrent == 1, Time.FromMicros(r.ReceivedUs))).ToArray();
    }

    /// <summary>Predictions of one model version that have a label in force, the newest by event time first: what a rollout's quality analysis compares.</summary>
    /// <param name="endpoint">The endpoint.</param>
    /// <param name="modelVersion">The version in the form `flights/2`.</param>
    /// <param name="from">First event time, or null.</param>
    /// <param name="to">Event time from which nothing is read any more, or null.</param>
    /// <param name="limit">At most this many.</param>
    /// <param name="ct">Cancels.</param>
    public async Task<IReadOnlyList<LabelledPrediction>> ReadAsync(string endpoint, string modelVersion, DateTimeOffset? from, DateTimeOffset? to, int limit, CancellationToken ct)
    {
        long first = from is { } f ? Time.ToMicros(f) : long.MinValue, last = to is { } t ? Time.ToMicros(t) : long.MaxValue;
        Dictionary<string, KnownLabel> known = await InForceAsync(endpoint, modelVersion, first, last, ct);
        if (known.Count == 0)
        {
            return [];
        }

        await archive.Log.CommitAsync(ct);
        var found = new Dictionary<string, LabelledPrediction>(StringComparer.Ordinal);
        await foreach (Prediction p in archive.ScanAsync(endpoint, modelVersion, PredictionKind.Live, first, last, ct))
        {
            if (known.TryGetValue(p.Id, out KnownLabel label))
            {
                found[p.Id] = new LabelledPrediction(p.Id, p.Variant, p.At, p.Outputs, label.Value);
            }
        }

        return found.Values.OrderByDescending(p => p.At).ThenBy(p => p.Id, StringComparer.Ordinal).Take(limit).ToArray();
    }

    /// <summary>
    /// Which variants answered an endpoint's requests with event time in [from, to), and what became of it: answers, and exposures whose prediction itself is
    /// not in the log, with their labels, one by one in no promised order. Of the labels at most 200,000 are in memory: more are read slice by slice of event time.
    /// </summary>
    /// <param name="endpoint">The endpoint.</param>
    /// <param name="from">First event time.</param>
    /// <param name="to">Event time from which nothing is read any more.</param>
    /// <param name="labels">Whether labels are read; false: every label is null.</param>
    /// <param name="ct">Cancels.</param>
    public async IAsyncEnumerable<Outcome> OutcomesAsync(
        string endpoint, DateTimeOffset from, DateTimeOffset to, bool labels, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken ct)
    {
        await archive.Log.CommitAsync(ct);
        long start = Time.ToMicros(from), last = Time.ToMicros(to);
        while (start < last)
        {
            (Dictionary<string, KnownLabel> known, long end) = labels ? await SliceAsync(endpoint, start, last, ct) : ([], last);
            foreach (PredictionKind kind in new[] { PredictionKind.Live, PredictionKind.Exposure })
            {
                await foreach (Prediction p in archive.ScanAsync(endpoint, kind, start, end, ct))
                {
                    yield return known.TryGetValue(p.Id, out KnownLabel label) ? new Outcome(p, label.Value, label.At) : new Outcome(p, null, null);
                }
            }

            start = end;
        }
    }

    /// <summary>Labels in force of an endpoint, by state.</summary>
    public async Task<IReadOnlyDictionary<string, long>> CountAsync(string endpoint, CancellationToken ct)
    {
        IReadOnlyList<CountRow> rows = await database.ReadAsync(
            s => s.QueryAsync<CountRow>("SELECT state AS State, COUNT(*) AS N FROM monitoring_labels WHERE endpoint = @endpoint AND is_current = 1 GROUP BY state", new { endpoint }), ct);
        return rows.ToDictionary(r => r.State, r => r.N, StringComparer.Ordinal);
    }

    /// <summary>Joins parked labels whose predictions have come, and gives up those that waited longer than <see cref="MonitoringOptions.OrphanTtl"/>.</summary>
    internal async Task JoinParkedAsync(string endpoint, CancellationToken ct)
    {
        await archive.Log.CommitAsync(ct);
        long written = archive.Appended;
        if (parkedSeen.TryGetValue(endpoint, out long seen) && seen == written)
        {
            return;
        }

        IReadOnlyList<LabelRow> parked = await database.ReadAsync(
            s => s.QueryAsync<LabelRow>($"SELECT {LabelRow.Columns} FROM monitoring_labels WHERE endpoint = @endpoint AND state = 'parked' ORDER BY received_us LIMIT {ParkedAtOnce}", new { endpoint }), ct);
        if (parked.Count > 0)
        {
            Dictionary<string, Prediction> found = await archive.FindManyAsync(parked.Select(p => p.PredictionId).Distinct(StringComparer.Ordinal).ToArray(), ct);
            long giveUp = clock.NowMicros() - Micros(options.OrphanTtl);
            await database.WriteAsync(
                async tx =>
                {
                    foreach (LabelRow row in parked)
                    {
                        Prediction? prediction = Of(endpoint, row.PredictionId, found);
                        string state = prediction is not null ? StateOf(prediction, row.AtUs) : row.ReceivedUs < giveUp ? "orphan" : "parked";
                        if (state != "parked")
                        {
                            await tx.ExecuteAsync(
                                "UPDATE monitoring_labels SET state = @state, model_version = @model, event_us = @at WHERE endpoint = @endpoint AND prediction_id = @PredictionId AND revision = @Revision",
                                new { state, model = prediction?.ModelVersion, at = prediction is null ? (long?)null : Time.ToMicros(prediction.At), endpoint, row.PredictionId, row.Revision });
                        }
                    }
                },
                ct);
        }

        // With a full page there may be more behind it, which the next call sees.
        if (parked.Count < ParkedAtOnce)
        {
            parkedSeen[endpoint] = written;
        }
    }

    /// <summary>Labels in force of one model version, or (null) of whichever answered, by prediction id, for predictions with event time in [from, to).</summary>
    internal async Task<Dictionary<string, KnownLabel>> InForceAsync(string endpoint, string? model, long from, long to, CancellationToken ct)
    {
        IReadOnlyList<LabelRow> rows = await database.ReadAsync(
            s => s.QueryAsync<LabelRow>(
                $"SELECT prediction_id AS PredictionId, value AS Value, at_us AS AtUs FROM monitoring_labels WHERE endpoint = @endpoint{OfModel(model)} AND event_us >= @from AND event_us < @to AND state = 'joined' AND is_current = 1",
                new { endpoint, model, from, to }),
            ct);
        return rows.ToDictionary(r => r.PredictionId, r => new KnownLabel(r.Value, Time.FromMicros(r.AtUs)), StringComparer.Ordinal);
    }

    /// <summary>The labels in force from a time on, as many as one slice may hold, and the event time up to which they are complete.</summary>
    private async Task<(Dictionary<string, KnownLabel> Known, long End)> SliceAsync(string endpoint, long from, long to, CancellationToken ct)
    {
        const string where = "FROM monitoring_labels WHERE endpoint = @endpoint AND event_us >= @from AND event_us < @to AND state = 'joined' AND is_current = 1";
        // The slice ends before the first label that does not fit, or behind it when that one shares the slice's first instant.
        long? behind = await database.ReadAsync(
            s => s.ScalarAsync<long?>($"SELECT event_us {where} ORDER BY event_us LIMIT 1 OFFSET {LabelsAtOnce}", new { endpoint, from, to }), ct);
        long end = behind is not { } at ? to : at > from ? at : at + 1;
        IReadOnlyList<LabelRow> rows = await database.ReadAsync(
            s => s.QueryAsync<LabelRow>($"SELECT prediction_id AS PredictionId, value AS Value, at_us AS AtUs {where}", new { endpoint, from, to = end }), ct);
        return (rows.ToDictionary(r => r.PredictionId, r => new KnownLabel(r.Value, Time.FromMicros(r.AtUs)), StringComparer.Ordinal), end);
    }

    /// <summary>A number that changes whenever a label in force of that window is added or replaced: the sum of revisions plus one.</summary>
    internal Task<long> VersionAsync(string endpoint, string? model, long from, long to, CancellationToken ct) => database.ReadAsync(
        s => s.ScalarAsync<long>(
            $"SELECT CAST(COALESCE(SUM(revision + 1), 0) AS BIGINT) FROM monitoring_labels WHERE endpoint = @endpoint{OfModel(model)} AND event_us >= @from AND event_us < @to AND state = 'joined' AND is_current = 1",
            new { endpoint, model, from, to }),
        ct);

    private static string OfModel(string? model) => model is null ? "" : " AND model_version = @model";

    private static void Validate(string endpoint, IReadOnlyList<Label> labels)
    {
        if (string.IsNullOrEmpty(endpoint))
        {
            throw SlipwayException.Invalid("the labels cannot be stored", "the endpoint has no name", "name the endpoint that made the predictions");
        }

        if (labels.Count > LargestBatch)
        {
            throw new SlipwayException(ErrorCode.TooLarge, "the labels cannot be stored", $"{labels.Count} labels in one call, {LargestBatch} are allowed", "send them in several calls");
        }

        string[] bad = labels.Select((l, i) => (Why: Problem(l), Index: i)).Where(p => p.Why is not null).Select(p => $"label {p.Index}: {p.Why}").ToArray();
        if (bad.Length > 0)
        {
            string more = bad.Length > 10 ? $" and {bad.Length - 10} more" : "";
            throw SlipwayException.Invalid("the labels cannot be stored", string.Join("; ", bad.Take(10)) + more, "correct them and send the batch again; nothing of it was stored");
        }
    }

    private static string? Problem(Label label) => label switch
    {
        { PredictionId: null or "" } => "the prediction id is empty",
        { PredictionId.Length: > LongestId } => $"the prediction id has {label.PredictionId.Length} characters, {LongestId} are allowed",
        { Revision: < 0 } => $"the revision is {label.Revision}",
        _ => double.IsFinite(label.Value) ? null : $"the value is {label.Value}",
    };

    private static Prediction? Of(string endpoint, string id, Dictionary<string, Prediction> found) =>
        found.TryGetValue(id, out Prediction? p) && p.Endpoint == endpoint ? p : null;

    private static long Micros(TimeSpan span) => span.Ticks / TimeSpan.TicksPerMicrosecond;

    private string StateOf(Prediction prediction, long labelAt) => labelAt - Time.ToMicros(prediction.At) > Micros(options.LabelHorizon) ? "late" : "joined";

    private async Task<LabelReport> StoreAsync(Tx tx, string endpoint, IReadOnlyList<Label> labels, string[] ids, Dictionary<string, Prediction> found, long now)
    {
        var known = new Dictionary<(string Id, long Revision), double>();
        var highest = new Dictionary<string, long>(StringComparer.Ordinal);
        // PostgreSQL pays for each round trip and takes the identifiers as one array; SQLite pays for each parameter, the more the
        // longer the statement is.
        (string among, int idsAtOnce, int rowsAtOnce) = database.Dialect.IsPostgres ? ("= ANY(@chunk)", 2000, 200) : ("IN @chunk", 50, 1);
        foreach (string[] chunk in ids.Chunk(idsAtOnce))
        {
            foreach (LabelRow row in await tx.QueryAsync<LabelRow>($"SELECT {LabelRow.Columns} FROM monitoring_labels WHERE prediction_id {among} AND endpoint = @endpoint", new { endpoint, chunk }))
            {
                known[(row.PredictionId, row.Revision)] = row.Value;
                highest[row.PredictionId] = Math.Max(highest.GetValueOrDefault(row.PredictionId, -1), row.Revision);
            }
        }

        var before = new Dictionary<string, long>(highest, StringComparer.Ordinal);
        var rows = new List<(Label Label, string State)>();
        long joined = 0, parked = 0, duplicate = 0, conflict = 0, stale = 0, late = 0;
        foreach (Label label in labels)
        {
            if (known.TryGetValue((label.PredictionId, label.Revision), out double value))
            {
                _ = value.Equals(label.Value) ? duplicate++ : conflict++;
                continue;
            }

            string state = Of(endpoint, label.PredictionId, found) is { } prediction ? StateOf(prediction, Time.ToMicros(label.At)) : "parked";
            bool higher = label.Revision > highest.GetValueOrDefault(label.PredictionId, -1);
            _ = !higher ? stale++ : state switch { "joined" => joined++, "late" => late++, _ => parked++ };
            known.Add((label.PredictionId, label.Revision), label.Value);
            highest[label.PredictionId] = Math.Max(highest.GetValueOrDefault(label.PredictionId, -1), label.Revision);
            rows.Add((label, state));
        }

        foreach ((string id, long revision) in before.Where(b => highest[b.Key] > b.Value))
        {
            await tx.ExecuteAsync("UPDATE monitoring_labels SET is_current = 0 WHERE prediction_id = @id AND endpoint = @endpoint AND revision = @revision", new { id, endpoint, revision });
        }

        await using var insert = new LabelInsert(tx, endpoint, now);
        foreach ((Label Label, string State)[] chunk in rows.Chunk(rowsAtOnce))
        {
            await insert.WriteAsync(chunk.Select(r => (r.Label, r.State, r.Label.Revision == highest[r.Label.PredictionId], Of(endpoint, r.Label.PredictionId, found))).ToArray());
        }

        return new LabelReport(joined, parked, duplicate, conflict, stale, late);
    }

    /// <summary>Inserts rows with one statement for each batch; batches of one size share the prepared statement.</summary>
    private sealed class LabelInsert(Tx tx, string endpoint, long now) : IAsyncDisposable
    {
        private static readonly (string Name, DbType Type)[] Row =
        [
            ("id", DbType.String), ("revision", DbType.Int64), ("value", DbType.Double), ("at", DbType.Int64), ("state", DbType.String), ("current", DbType.Int32), ("model", DbType.String), ("event", DbType.Int64),
        ];

        private DbCommand? command;
        private int size;

        public async Task WriteAsync((Label Label, string State, bool Current, Prediction? Prediction)[] rows)
        {
            if (command is null || size != rows.Length)
            {
                await DisposeAsync();
                (command, size) = (Prepare(rows.Length), rows.Length);
            }

            int at = 2;
            foreach ((Label label, string state, bool current, Prediction? prediction) in rows)
            {
                object?[] values = [label.PredictionId, (long)label.Revision, label.Value, Time.ToMicros(label.At), state, current ? 1 : 0, prediction?.ModelVersion, prediction is null ? null : Time.ToMicros(prediction.At)];
                foreach (object? value in values)
                {
                    command.Parameters[at++].Value = value ?? DBNull.Value;
                }
            }

            await command.ExecuteNonQueryAsync(tx.Token);
        }

        public ValueTask DisposeAsync() => command?.DisposeAsync() ?? ValueTask.CompletedTask;

        private DbCommand Prepare(int count)
        {
            IEnumerable<string> rows = Enumerable.Range(0, count).Select(i => $"(@endpoint, @now, {string.Join(", ", Row.Select(r => $"@{r.Name}{i}"))})");
            DbCommand made = tx.Command("INSERT INTO monitoring_labels (endpoint, received_us, prediction_id, revision, value, at_us, state, is_current, model_version, event_us) VALUES " + string.Join(", ", rows));
            Add(made, "endpoint", DbType.String, endpoint);
            Add(made, "now", DbType.Int64, now);
            foreach (int i in Enumerable.Range(0, count))
            {
                foreach ((string name, DbType type) in Row)
                {
                    Add(made, $"{name}{i}", type, DBNull.Value);
                }
            }

            return made;
        }

        private static void Add(DbCommand command, string name, DbType type, object value)
        {
            DbParameter parameter = command.CreateParameter();
            (parameter.ParameterName, parameter.DbType, parameter.Value) = (name, type, value);
            command.Parameters.Add(parameter);
        }
    }

    private sealed class LabelRow
    {
        public const string Columns = "prediction_id AS PredictionId, revision AS Revision, value AS Value, at_us AS AtUs, received_us AS ReceivedUs, state AS State, is_current AS IsCurrent";

        public string PredictionId { get; set; } = "";

        public long Revision { get; set; }

        public double Value { get; set; }

        public long AtUs { get; set; }

        public long ReceivedUs { get; set; }

        public string State { get; set; } = "";

        public long IsCurrent { get; set; }
    }

    /// <summary>Forgets every revision of the label of one prediction; gives how many there were.</summary>
    internal static Task<int> ForgetAsync(Tx tx, string endpoint, string id) =>
        tx.ExecuteAsync("UPDATE monitoring_labels SET state = 'deleted', value = 0, is_current = 0 WHERE prediction_id = @id AND endpoint = @endpoint AND state <> 'deleted'", new { id, endpoint });

    private sealed class TakenRow
    {
        public string ModelVersion { get; set; } = "";

        public long EventUs { get; set; }
    }

    private sealed class CountRow
    {
        public string State { get; set; } = "";

        public long N { get; set; }
    }
}
