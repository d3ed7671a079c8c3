using System.Globalization;
using System.Text.Json;
using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>Where the stream detector of a monitor stands.</summary>
/// <param name="Detector">A value of <see cref="StreamDetectors"/>.</param>
/// <param name="Input">A value of <see cref="StreamInput"/>.</param>
/// <param name="State">A value of <see cref="PointState"/>: `alert` when the newest value completed the proof of a change, `insufficient` while its first values are gathered, `undefined` when it cannot judge this model.</param>
/// <param name="Drift">Whether the newest value completed the proof of a change.</param>
/// <param name="Warning">Whether the newest value gives reason to look.</param>
/// <param name="N">Values taken.</param>
/// <param name="SinceReset">Values since the last change, or since the beginning.</param>
/// <param name="LastChange">Index, from 0, of the value with which the last change was found; null before the first.</param>
/// <param name="LastChangeAt">When the label of that value became known; of a change among the first values, when the last of these became known.</param>
/// <param name="Mean">Mean of the values since the last change; null without any.</param>
/// <param name="Before">Mean of the values between the last two changes; null before the first change.</param>
/// <param name="Correlation">Correlation of the first values with their successors; null before it is known.</param>
/// <param name="BlockRows">How many values make one that is fed: 1, or <see cref="ConceptDriftStream.BlockRows"/> where they are correlated.</param>
/// <param name="Position">Time of the newest label that was taken; null before the first.</param>
/// <param name="Late">Labels that were joined behind the position, and were not taken.</param>
/// <param name="Why">The reason of a state without a verdict.</param>
public sealed record MonitorStream(
    string Detector, string Input, string State, bool Drift, bool Warning, long N, long SinceReset, long? LastChange, DateTimeOffset? LastChangeAt, double? Mean, double? Before,
    double? Correlation, int BlockRows, DateTimeOffset? Position, long Late, string? Why)
{
    /// <summary>How the values are ordered.</summary>
    public string Order { get; } = "label time";

    /// <summary>The newest windows of label time, newest first: the mean of the values in each, and whether a change was found in it.</summary>
    public IReadOnlyList<MonitorPoint> Windows { get; init; } = [];
}

/// <summary>
/// Feeds the errors of one monitor's predictions to its detector as labels become known. Labels are taken in the order of their time (then event time, then id), each prediction
/// once, by its first label: a correction does not rewrite what was known. A label that is joined behind the position is counted and not taken. The state moves in one
/// transaction with the points and the alert, so a process that dies goes on bit for bit.
/// </summary>
internal sealed class LabelStream(Database database, PredictionArchive archive, WindowRules rules, TimeProvider clock)
{
    /// <summary>The metric of its points.</summary>
    public const string Metric = "stream_drift";

    private const int AtOnce = 5_000;
    private const int BatchesAtOnce = 40;
    private const int ShownWindows = 60;

    private const string Labelled =
        "FROM monitoring_labels l WHERE l.endpoint = @Endpoint AND l.state = 'joined' AND l.model_version = @ModelVersion AND l.event_us >= @FromUs AND NOT EXISTS (SELECT 1 FROM monitoring_labels e WHERE e.prediction_id = l.prediction_id AND e.endpoint = l.endpoint AND e.revision < l.revision AND e.state = 'joined')";

    private const string Behind = "(l.at_us > @AtUs OR (l.at_us = @AtUs AND (l.event_us > @EventUs OR (l.event_us = @EventUs AND l.prediction_id > @PredictionId))))";
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);

    /// <summary>Labels of predictions before this are not taken by a monitor that begins: they are of its reference, or from before it.</summary>
    public static Task BeginAsync(Tx tx, string monitor, DateTimeOffset from) => tx.ExecuteAsync(
        "INSERT INTO monitoring_streams (monitor, from_us, at_us, event_us, prediction_id, taken) VALUES (@monitor, @from, @none, 0, '', 0) ON CONFLICT (monitor) DO UPDATE SET from_us = excluded.from_us, at_us = excluded.at_us, event_us = excluded.event_us, prediction_id = excluded.prediction_id, taken = 0, body = NULL",
        new { monitor, from = Time.ToMicros(from), none = StreamRow.None });

    /// <summary>Takes what can be taken by now.</summary>
    /// <returns>How many points were written.</returns>
    public async Task<int> StepAsync(MonitorRow monitor, MonitorConfig config, MonitorReference reference, CancellationToken ct)
    {
        if (config.Thresholds.Stream is not { } rule || monitor.Reference.Length == 0 || Unfit(rule, config, reference) is not null)
        {
            return 0;
        }

        int written = 0;
        for (int batch = 0; batch < BatchesAtOnce; batch++)
        {
            StreamRow before = await RowAsync(monitor, ct);
            long until = await UntilAsync(monitor, config, before, ct);
            IReadOnlyList<LabelRow> labels = until <= before.AtUs ? [] : await database.ReadAsync(
                s => s.QueryAsync<LabelRow>($"SELECT l.prediction_id AS PredictionId, l.value AS Value, l.at_us AS AtUs, l.event_us AS EventUs {Labelled} AND {Behind} AND l.at_us >= @AtUs AND l.at_us <= @until ORDER BY l.at_us, l.event_us, l.prediction_id LIMIT {AtOnce}",
                    new { monitor.Endpoint, monitor.ModelVersion, before.FromUs, before.AtUs, before.EventUs, before.PredictionId, until }), ct);
            if (labels.Count == 0)
            {
                break;
            }

            Dictionary<string, Prediction> found = await archive.FindManyAsync([.. labels.Select(l => l.PredictionId)], ct);
            Func<Func<int, float>, bool>? segment = config.Segment();
            StreamState state = StreamState.Of(rule, reference, before.Body);
            var points = new List<MonitorPoint>();
            foreach (LabelRow label in labels)
            {
                if (!found.TryGetValue(label.PredictionId, out Prediction? p) || p.Endpoint != monitor.Endpoint || p.Status is < 200 or > 299
                    || (segment is not null && (p.Features.Count != config.FeatureNames.Count || !segment(i => p.Features[i])))
                    || rule.Value(config, p.Outputs, label.Value) is not { } value)
                {
                    continue;
                }

                DateTimeOffset at = Time.FromMicros(label.AtUs), start = config.Window.StartOf(at);
                if (state.WindowN > 0 && state.WindowStart != start)
                {
                    points.Add(Point(rule, config, state));
                }

                state.Take(value, at, start);
            }

            if (state.WindowN > 0)
            {
                points.Add(Point(rule, config, state));
            }

            written += await SaveAsync(monitor, config, reference, before, labels[^1], labels.Count, state, points, ct);
            if (labels.Count < AtOnce)
            {
                break;
            }
        }

        return written;
    }

    /// <summary>Where the stream of a monitor stands; null when it has none.</summary>
    public async Task<MonitorStream?> ReadAsync(MonitorRow monitor, MonitorConfig config, MonitorReference reference, CancellationToken ct)
    {
        if (config.Thresholds.Stream is not { } rule)
        {
            return null;
        }

        string input = rule.Input ?? StreamInput.Of(config.Type);
        string? unfit = monitor.Reference.Length == 0 ? "the monitor has no reference yet" : Unfit(rule, config, reference);
        if (unfit is not null)
        {
            return new MonitorStream(rule.Detector, input, monitor.Reference.Length == 0 ? PointState.NoData : PointState.Undefined, false, false, 0, 0, null, null, null, null, null, 1, null, 0, unfit);
        }

        StreamRow row = await RowAsync(monitor, ct);
        StreamState state = StreamState.Of(rule, reference, row.Body);
        long behind = row.AtUs == StreamRow.None ? 0 : await database.ReadAsync(
            s => s.ScalarAsync<long>($"SELECT COUNT(*) {Labelled} AND l.at_us <= @AtUs AND NOT {Behind}", new { monitor.Endpoint, monitor.ModelVersion, row.FromUs, row.AtUs, row.EventUs, row.PredictionId }), ct);
        IReadOnlyList<WindowRow> windows = await database.ReadAsync(
            s => s.QueryAsync<WindowRow>($"SELECT start_us AS StartUs, end_us AS EndUs, value AS Value, n AS N, state AS State, why AS Why, detail AS Detail FROM monitoring_stream_points WHERE monitor = @Id ORDER BY start_us DESC LIMIT {ShownWindows}", new { monitor.Id }), ct);
        (string now, string? why) = state.Verdict(drift: state.Stream.N > 0 && state.Stream.LastChange == state.Stream.N - 1);
        return new MonitorStream(
            rule.Detector, input, now, now == PointState.Alert, state.Stream.Warning, state.Stream.N, state.Stream.SinceReset, state.Stream.LastChange, state.ChangedAt,
            state.SinceN == 0 ? null : state.SinceSum / state.SinceN, state.Before, state.Stream.Correlation, state.Stream.Blocked ? ConceptDriftStream.BlockRows : 1,
            row.AtUs == StreamRow.None ? null : Time.FromMicros(row.AtUs), Math.Max(0, behind - row.Taken), why)
        {
            Windows = [.. windows.Select(w => w.Read())],
        };
    }

    /// <summary>A point that alerts, in words.</summary>
    public static string Sentence(MonitorPoint point)
    {
        using JsonDocument detail = JsonDocument.Parse(point.Detail);
        JsonElement d = detail.RootElement;
        string before = d.TryGetProperty("before", out JsonElement b) && b.ValueKind == JsonValueKind.Number ? $" from {b.GetDouble().ToString("0.000", CultureInfo.InvariantCulture)}" : "";
        string at = d.TryGetProperty("lastChangeAt", out JsonElement when) && when.ValueKind == JsonValueKind.String ? $" at {AlertText.Moment(when.GetDateTimeOffset())}" : "";
        return $"{d.GetProperty("detector").GetString()} found a change of the {d.GetProperty("input").GetString()}{at} (label time){(before.Length == 0 ? "" : $":{before} to {d.GetProperty("window").GetDouble().ToString("0.000", CultureInfo.InvariantCulture)}")}";
    }

    /// <summary>The mean before the change that a point tells of.</summary>
    public static double BeforeOf(MonitorPoint point)
    {
        using JsonDocument detail = JsonDocument.Parse(point.Detail);
        return detail.RootElement.TryGetProperty("before", out JsonElement b) && b.ValueKind == JsonValueKind.Number ? b.GetDouble() : 0;
    }

    private static string? Unfit(StreamRule rule, MonitorConfig config, MonitorReference reference) => rule.Misfit(config.Type, config.Probabilities, config.Scope?.Shadow == true)
        ?? (rule.Detector == StreamDetectors.PageHinkley && rule.Deviation(reference) is null ? "Page and Hinkley's limit is in standard deviations of the reference, and the reference has no outcomes whose errors vary" : null);

    private static MonitorPoint Point(StreamRule rule, MonitorConfig config, StreamState state)
    {
        (string verdict, string? why) = state.Verdict(state.WindowChanges > 0);
        double mean = state.WindowSum / state.WindowN;
        bool number = verdict is PointState.Ok or PointState.Alert;
        string detail = JsonSerializer.Serialize(
            new
            {
                detector = rule.Detector,
                input = rule.Input ?? StreamInput.Of(config.Type),
                order = "label time",
                window = mean,
                changes = state.WindowChanges,
                warning = state.Stream.Warning,
                lastChangeIndex = state.Stream.LastChange,
                lastChangeAt = state.ChangedAt,
                sinceReset = state.Stream.SinceReset,
                before = state.Before,
                correlation = state.Stream.Correlation,
                blockRows = state.Stream.Blocked ? ConceptDriftStream.BlockRows : 1,
            },
            Json);
        return new MonitorPoint(
            state.WindowStart, config.Window.EndOf(state.WindowStart), Metric, null, number ? mean : null, state.WindowN, verdict, null, null, why, detail, verdict == PointState.Alert ? DriftLevel.Major : DriftLevel.None);
    }

    private async Task<int> SaveAsync(MonitorRow monitor, MonitorConfig config, MonitorReference reference, StreamRow before, LabelRow last, int taken, StreamState state, List<MonitorPoint> points, CancellationToken ct)
    {
        long now = clock.NowMicros();
        bool written = await database.WriteAsync(
            async tx =>
            {
                // Another node may have taken them since they were read; then this one has nothing to say.
                await tx.ExecuteAsync("INSERT INTO monitoring_streams (monitor, from_us, at_us, event_us, prediction_id, taken) VALUES (@Id, @FromUs, @none, 0, '', 0) ON CONFLICT (monitor) DO NOTHING", new { monitor.Id, before.FromUs, none = StreamRow.None });
                int moved = await tx.ExecuteAsync(
                    "UPDATE monitoring_streams SET at_us = @at, event_us = @eventAt, prediction_id = @newest, taken = taken + @taken, body = @body WHERE monitor = @Id AND from_us = @FromUs AND at_us = @AtUs AND event_us = @EventUs AND prediction_id = @PredictionId",
                    new { at = last.AtUs, eventAt = last.EventUs, newest = last.PredictionId, taken, body = state.Save(), monitor.Id, before.FromUs, before.AtUs, before.EventUs, before.PredictionId });
                if (moved == 0)
                {
                    return false;
                }

                foreach (MonitorPoint p in points)
                {
                    await tx.ExecuteAsync(
                        "INSERT INTO monitoring_stream_points (monitor, start_us, end_us, value, n, state, why, detail, made_us) VALUES (@Id, @start, @end, @Value, @N, @State, @Why, @Detail, @now) ON CONFLICT (monitor, start_us) DO UPDATE SET value = excluded.value, n = excluded.n, state = excluded.state, why = excluded.why, detail = excluded.detail, made_us = excluded.made_us",
                        new { monitor.Id, start = Time.ToMicros(p.WindowStart), end = Time.ToMicros(p.WindowEnd), p.Value, p.N, p.State, p.Why, p.Detail, now });
                    await rules.StreamAsync(tx, monitor.Watched, reference, config.Thresholds, p);
                }

                return true;
            },
            ct);
        return written ? points.Count : 0;
    }

    private async Task<StreamRow> RowAsync(MonitorRow monitor, CancellationToken ct) => await database.ReadAsync(
        s => s.FindAsync<StreamRow>("SELECT from_us AS FromUs, at_us AS AtUs, event_us AS EventUs, prediction_id AS PredictionId, taken AS Taken, body AS Body FROM monitoring_streams WHERE monitor = @Id", new { monitor.Id }), ct) ?? new StreamRow();

    /// <summary>Label time up to which labels are taken: the newest one less the lateness, or the newest one that has been here for as long as the lateness.</summary>
    private async Task<long> UntilAsync(MonitorRow monitor, MonitorConfig config, StreamRow row, CancellationToken ct)
    {
        long now = clock.NowMicros(), lateness = config.Window.Lateness.Ticks / TimeSpan.TicksPerMicrosecond;
        var at = new { monitor.Endpoint, monitor.ModelVersion, row.AtUs, now, settled = now - lateness };
        const string newest = "SELECT MAX(at_us) FROM monitoring_labels WHERE endpoint = @Endpoint AND state = 'joined' AND model_version = @ModelVersion AND at_us >= @AtUs AND at_us <= @now";
        long? known = await database.ReadAsync(s => s.ScalarAsync<long?>(newest, at), ct), settled = await database.ReadAsync(s => s.ScalarAsync<long?>($"{newest} AND received_us <= @settled", at), ct);
        return Math.Max(known - lateness ?? StreamRow.None, settled ?? StreamRow.None);
    }

    private sealed class StreamRow
    {
        /// <summary>Before any time; a number that both databases hold.</summary>
        public const long None = long.MinValue / 4;

        public long FromUs { get; set; } = None;

        public long AtUs { get; set; } = None;

        public long EventUs { get; set; }

        public string PredictionId { get; set; } = "";

        public long Taken { get; set; }

        public byte[]? Body { get; set; }
    }

    private sealed class LabelRow
    {
        public string PredictionId { get; set; } = "";

        public double Value { get; set; }

        public long AtUs { get; set; }

        public long EventUs { get; set; }
    }

    private sealed class WindowRow
    {
        public long StartUs { get; set; }

        public long EndUs { get; set; }

        public double? Value { get; set; }

        public long N { get; set; }

        public string State { get; set; } = "";

        public string? Why { get; set; }

        public string Detail { get; set; } = "";

        public MonitorPoint Read() => new(Time.FromMicros(StartUs), Time.FromMicros(EndUs), Metric, null, Value, N, State, null, null, Why, Detail, State == PointState.Alert ? DriftLevel.Major : DriftLevel.None);
    }

    /// <summary>The detector, and what was summed beside it.</summary>
    private sealed class StreamState(ConceptDriftStream stream)
    {
        public ConceptDriftStream Stream { get; } = stream;

        public DateTimeOffset WindowStart { get; private set; }

        public long WindowN { get; private set; }

        public double WindowSum { get; private set; }

        public long WindowChanges { get; private set; }

        public DateTimeOffset? ChangedAt { get; private set; }

        public long SinceN { get; private set; }

        public double SinceSum { get; private set; }

        /// <summary>Mean between the last two changes.</summary>
        public double? Before { get; private set; }

        public static StreamState Of(StreamRule rule, MonitorReference reference, byte[]? body)
        {
            var state = new StreamState(new ConceptDriftStream(StreamDetectors.New(rule.Detector), rule.Detector == StreamDetectors.PageHinkley ? rule.Deviation(reference)!.Value : 1));
            return body is null ? state : SketchForm.Read(body, from =>
            {
                SketchForm.ReadHead(from, SketchForm.LabelStream);
                state.WindowStart = Time.FromMicros(from.ReadInt64());
                state.WindowN = from.ReadInt64();
                state.WindowSum = from.ReadDouble();
                state.WindowChanges = from.ReadInt64();
                state.ChangedAt = from.ReadInt64() is > StreamRow.None and var at ? Time.FromMicros(at) : null;
                state.SinceN = from.ReadInt64();
                state.SinceSum = from.ReadDouble();
                state.Before = from.ReadDouble() is var mean && double.IsNaN(mean) ? null : mean;
                state.Stream.Load(from.ReadBytes(from.ReadInt32()));
                return state;
            });
        }

        public byte[] Save() => SketchForm.Write(to =>
        {
            SketchForm.WriteHead(to, SketchForm.LabelStream);
            to.Write(Time.ToMicros(WindowStart));
            to.Write(WindowN);
            to.Write(WindowSum);
            to.Write(WindowChanges);
            to.Write(ChangedAt is { } at ? Time.ToMicros(at) : StreamRow.None);
            to.Write(SinceN);
            to.Write(SinceSum);
            to.Write(Before ?? double.NaN);
            byte[] detector = Stream.Save();
            to.Write(detector.Length);
            to.Write(detector);
        });

        public void Take(double value, DateTimeOffset at, DateTimeOffset window)
        {
            if (WindowN == 0 || window != WindowStart)
            {
                (WindowStart, WindowN, WindowSum, WindowChanges) = (window, 0, 0, 0);
            }

            (WindowN, WindowSum) = (WindowN + 1, WindowSum + value);
            bool changed = Stream.Observe(value);
            (SinceN, SinceSum) = (SinceN + 1, SinceSum + value);
            if (changed)
            {
                (WindowChanges, ChangedAt, Before) = (WindowChanges + 1, at, SinceSum / SinceN);
                (SinceN, SinceSum) = (0, 0);
            }
        }

        public (string State, string? Why) Verdict(bool drift) =>
            Stream.Correlation is not { } r ? (PointState.Insufficient, $"{Stream.N} labelled predictions, {ConceptDriftStream.Measured} are needed to tell how errors are correlated")
            : !Stream.Judges ? (PointState.Undefined, $"the errors are correlated (lag 1: {r.ToString("0.00", CultureInfo.InvariantCulture)}), and {Stream.Detector.Name} counts the distance between independent ones: use {StreamDetectors.Adwin}")
            : (drift ? PointState.Alert : PointState.Ok, null);
    }
}
