using System.IO.Hashing;
using System.Text;
using System.Text.Json;

namespace Slipway.Monitoring;

/// <summary>
/// One window of one monitor: predictions go in one by one, points come out. Pure: the same predictions and labels give the same
/// points. A prediction that failed, or whose feature vector has another length, is counted and left out; of several with one id the
/// first counts.
/// </summary>
/// <param name="config">What the monitor was told.</param>
/// <param name="reference">What the window is compared with.</param>
/// <param name="start">First instant of the window.</param>
/// <param name="end">First instant behind it.</param>
/// <param name="earlierLatencies">The 95th percentiles of latency of the windows before, in milliseconds.</param>
internal sealed class WindowMeasure(MonitorConfig config, MonitorReference reference, DateTimeOffset start, DateTimeOffset end, IReadOnlyList<double>? earlierLatencies = null)
{
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);

    private readonly ColumnSketch[] columns = reference.Columns.Select(c => c.Sketch()).ToArray();
    private readonly int[] positions = reference.Columns.Select(c => config.FeatureNames.IndexOf(c.Name)).ToArray();
    private readonly OutputWindow outputs = OutputWindow.Of(config, reference, start, end);
    private readonly OperationWindow operation = new(config.Thresholds, start, end, earlierLatencies ?? []);
    private readonly BrokenDown[] brokenDown = BrokenDown.Of(config, reference, start, end);
    private readonly JointWindow? joint = reference.Joint is null ? null : new(reference.Joint, [.. reference.Joint.Names.Select(n => config.FeatureNames.IndexOf(n))]);
    private readonly Func<Func<int, float>, bool>? segment = config.Segment();
    private readonly ClassTally? classes = reference.Predicted is null ? null : ClassTally.Of(config);
    private readonly (double Min, double Max)?[] ranges = [.. reference.Columns.Select(c => c.IsRange && c.Moments.Count > 0 ? (c.Moments.Min!.Value, c.Moments.Max!.Value) : ((double, double)?)null)];
    private readonly long[] outside = new long[reference.Columns.Count];
    private readonly HashSet<UInt128> seen = [];
    private readonly HashSet<UInt128> vectors = [];
    private long alike;
    private long newest = long.MinValue;
    private long failed;
    private long misshapen;
    private long repeated;

    /// <summary>Rows of the log that were looked at, with those that do not count.</summary>
    public long Scanned { get; private set; }

    /// <summary>Predictions that count.</summary>
    public long Rows => outputs.Rows;

    /// <summary>Those of them with a label.</summary>
    public long Labelled => outputs.Labelled;

    /// <summary>Takes one prediction and its label, if there is one.</summary>
    public void Add(Prediction prediction, KnownLabel? label)
    {
        Scanned++;
        // Rows that do not say what the segment asks for, such as failed ones without numbers, are not known to be in it.
        if (segment is not null && (prediction.Features.Count != config.FeatureNames.Count || !segment(i => prediction.Features[i])))
        {
            return;
        }

        operation.Add(prediction);
        if (prediction.Status is < 200 or > 299)
        {
            failed++;
            return;
        }

        // Without a reference the names may be unknown, and any shape counts.
        if (prediction.Features.Count != config.FeatureNames.Count && reference.Rows > 0)
        {
            misshapen++;
            return;
        }

        UInt128 id = XxHash128.HashToUInt128(Encoding.UTF8.GetBytes(prediction.Id));
        if (!seen.Add(id))
        {
            repeated++;
            return;
        }

        for (int i = 0; i < columns.Length; i++)
        {
            float value = prediction.Features[positions[i]];
            columns[i].Add(value);
            if (ranges[i] is var (min, max) && float.IsFinite(value) && (value < min || value > max))
            {
                outside[i]++;
            }
        }

        newest = Math.Max(newest, prediction.At.UtcTicks);
        alike += columns.Length > 0 && !vectors.Add(HashOf(prediction.Features)) ? 1 : 0;
        classes?.Add(prediction.Outputs);

        joint?.Add(prediction, id);
        outputs.Add(prediction, label);
        foreach (BrokenDown by in brokenDown)
        {
            by.Add(prediction, label);
        }
    }

    /// <summary>
    /// The row count, drift of every watched feature and of the outputs, missing rates, estimates, and how requests were served. A window without rows
    /// has the row count and how requests were served only.
    /// </summary>
    public IReadOnlyList<MonitorPoint> Drift()
    {
        string? why = Rows > 0 ? null
            : misshapen > 0 ? $"each of {misshapen} predictions has another number of features than the {config.FeatureNames.Count} of the reference"
            : failed > 0 ? $"each of {failed} requests failed"
            : "no prediction of this version has an event time in the window";
        string counts = JsonSerializer.Serialize(new { failed, misshapen, repeated }, Json);
        var points = new List<MonitorPoint> { new(start, end, "rows", null, why is null ? Rows : null, Rows, why is null ? PointState.Ok : PointState.NoData, null, null, why, counts) };
        points.AddRange(operation.Points());
        if (Rows == 0)
        {
            return points;
        }

        (ColumnReference Reference, ColumnSketch Window)[] compared = [.. reference.Columns.Select((c, i) => (c, columns[i])), .. outputs.Outputs.Select(o => (o.Reference, o.Window))];
        points.AddRange(Repeated());
        if (compared.Length > 0)
        {
            IReadOnlyList<DriftVerdict> verdicts = Monitoring.Drift.Decide(compared, config.Thresholds);
            for (int i = 0; i < columns.Length; i++)
            {
                points.Add(Drifted("psi", compared[i].Reference.Name, compared[i].Reference, compared[i].Window, verdicts[i]));
                points.Add(Missing(compared[i].Reference, compared[i].Window));
                if (Unseen(compared[i].Reference, compared[i].Window) is { } unseen)
                {
                    points.Add(unseen);
                }

                if (ranges[i] is { } range)
                {
                    points.Add(NewRate("out_of_range_rate", compared[i].Reference, compared[i].Window, outside[i], new { outside = outside[i], least = range.Min, most = range.Max, heldOut = compared[i].Reference.HeldOut }));
                }

                if (Constant(compared[i].Reference, compared[i].Window) is { } constant)
                {
                    points.Add(constant);
                }
            }

            points.AddRange(outputs.Outputs.Select((o, i) => Drifted("score_psi", o.Column, o.Reference, o.Window, verdicts[columns.Length + i])));
        }

        points.AddRange(classes is null ? [] : Predicted(reference.Predicted!, classes.Read()));
        points.AddRange(joint?.Reports(Rows, config.Thresholds.Multivariate ?? []).Select(Together) ?? []);
        points.AddRange(outputs.Estimates());
        return points;
    }

    /// <summary>All watched features together. A breach is major: it has no index that says how much.</summary>
    private MonitorPoint Together(MultivariateReport r)
    {
        bool number = r.State is PointState.Ok or PointState.Alert;
        string detail = JsonSerializer.Serialize(
            new { method = r.Method, features = r.Features, rows = r.CurrentRows, referenceRows = r.ReferenceRows, p = r.P, alpha = r.Alpha, calibration = reference.Joint!.Calibrations.TryGetValue(r.Method, out Calibration? c) ? new { windowRows = c.Rows, values = c.Values } : null, note = number ? r.Why : null },
            Json);
        return new MonitorPoint(start, end, JointMetrics.Of(r.Method), null, number ? r.Value : null, Rows, r.State, r.Lower, r.Upper, number ? null : r.Why, detail, r.State == PointState.Alert ? DriftLevel.Major : DriftLevel.None, Error: number ? r.Error : null)
        {
            Clear = r.State != PointState.Alert,
        };
    }

    /// <summary>Realized performance over the labelled rows; none without rows.</summary>
    public IReadOnlyList<MonitorPoint> Performance() => Rows == 0 ? [] : [.. outputs.Performance(), .. brokenDown.SelectMany(b => b.Points())];

    /// <summary>The window's columns and outputs, as they are kept to be put together with those of other windows.</summary>
    public IEnumerable<(string Name, byte[] Body)> Sketches() =>
    [
        .. reference.Columns.Select((c, i) => (WindowSketches.NameOf("psi", c.Name), columns[i].ToBytes())),
        .. outputs.Outputs.Select(o => (WindowSketches.NameOf("score_psi", o.Column), o.Window.ToBytes())),
    ];

    private MonitorPoint Drifted(string metric, string? column, ColumnReference r, ColumnSketch w, DriftVerdict v) =>
        new(start, end, metric, column, v.Psi, w.Finite, v.State, null, v.Limit, v.Why, DriftDetail(config, reference, r, w, v), v.Level) { Clear = v.Clear };

    /// <summary>The parts of a drift decision as JSON: bins and shares of both sides, significance, means.</summary>
    public static string DriftDetail(MonitorConfig config, MonitorReference reference, ColumnReference r, ColumnSketch w, DriftVerdict v) =>
        JsonSerializer.Serialize(
            new
            {
                rule = r.Bins.Rule,
                bins = r.Counts.Select((c, i) => new { bin = Label(config, reference, r, i), reference = Share(c, r.Finite), window = Share(w.Counts[i], w.Finite) }),
                p = v.P,
                adjustedP = v.AdjustedP,
                material = v.Material,
                referenceRows = r.Finite,
                referenceMean = r.Moments.Count == 0 ? (double?)null : r.Moments.Mean,
                mean = w.Moments.Count == 0 ? (double?)null : w.Moments.Mean,
                missing = w.Missing,
                infinite = w.Infinite,
            },
            Json);

    /// <summary>A change of the missing rate alerts when it exceeds three standard errors of the difference of two shares and the change that matters.</summary>
    private MonitorPoint Missing(ColumnReference r, ColumnSketch w)
    {
        double before = (double)r.Missing / r.Rows, now = (double)w.Missing / w.Rows, pooled = (double)(r.Missing + w.Missing) / (r.Rows + w.Rows);
        double error = Math.Sqrt(pooled * (1 - pooled) * (1.0 / r.Rows + 1.0 / w.Rows)), band = Math.Max(3 * error, config.Thresholds.MissingChange);
        string detail = JsonSerializer.Serialize(new { reference = before, referenceRows = r.Rows, missing = w.Missing }, Json);
        if (w.Rows < Monitoring.Drift.LeastRows)
        {
            return new MonitorPoint(start, end, "missing_rate", r.Name, null, w.Rows, PointState.Insufficient, null, null, $"{w.Rows} rows, {Monitoring.Drift.LeastRows} are needed", detail);
        }

        string state = Math.Abs(now - before) > band ? PointState.Alert : PointState.Ok;
        return new MonitorPoint(start, end, "missing_rate", r.Name, now, w.Rows, state, Math.Max(0, before - band), Math.Min(1, before + band), null, detail, Error: error);
    }

    /// <summary>Rows with a value that no reference row has; only where the reference's values are all known.</summary>
    private MonitorPoint? Unseen(ColumnReference r, ColumnSketch w)
    {
        if (r.Bins.Rule is not (Bins.ValuesRule or Bins.CategoriesRule) || r.Finite == 0 || r.Counts[^1] > 0)
        {
            return null;
        }

        return NewRate("unseen_rate", r, w, w.Counts[^1], new { unseen = w.Counts[^1], rule = r.Bins.Rule, heldOut = r.HeldOut });
    }

    /// <summary>The share of rows with a value that is new to the reference. It alerts above one in a hundred, and above three times what each window of the reference had that the rest of it did not.</summary>
    private MonitorPoint NewRate(string metric, ColumnReference r, ColumnSketch w, long rows, object parts)
    {
        double limit = r.NewRateLimit;
        string detail = JsonSerializer.Serialize(parts, Json);
        if (w.Finite < Monitoring.Drift.LeastRows)
        {
            return new MonitorPoint(start, end, metric, r.Name, null, w.Finite, PointState.Insufficient, null, limit, $"{w.Finite} rows with a value, {Monitoring.Drift.LeastRows} are needed", detail);
        }

        double share = Share(rows, w.Finite);
        return new MonitorPoint(start, end, metric, r.Name, share, w.Finite, share > limit ? PointState.Alert : PointState.Ok, null, limit, null, detail, share > limit ? DriftLevel.Warn : DriftLevel.None, Error: Math.Sqrt(share * (1 - share) / w.Finite));
    }

    /// <summary>The share of the most frequent value: exact where the bins are values; of ranges it is known only when there is one value. A column that was almost constant in the reference is not judged.</summary>
    private MonitorPoint? Constant(ColumnReference r, ColumnSketch w)
    {
        if (r.Finite == 0 || w.Finite == 0)
        {
            return null;
        }

        bool only = w.Moments.Min == w.Moments.Max;
        double before = r.Moments.Min == r.Moments.Max ? 1 : r.IsRange ? 0 : Share(r.Counts.Max(), r.Finite), share = only ? 1 : r.IsRange ? 0 : Share(w.Counts[..^1].DefaultIfEmpty().Max(), w.Finite);
        if (before >= ColumnQuality.AlmostConstantFrom || (r.IsRange && !only))
        {
            return null;
        }

        string detail = JsonSerializer.Serialize(new { reference = before, value = only ? w.Moments.Min : null }, Json);
        return w.Finite < Monitoring.Drift.LeastRows
            ? new MonitorPoint(start, end, "constant_share", r.Name, null, w.Finite, PointState.Insufficient, null, ColumnQuality.AlmostConstantFrom, $"{w.Finite} rows with a value, {Monitoring.Drift.LeastRows} are needed", detail)
            : new MonitorPoint(start, end, "constant_share", r.Name, share, w.Finite, share >= ColumnQuality.AlmostConstantFrom ? PointState.Alert : PointState.Ok, null, ColumnQuality.AlmostConstantFrom, null, detail, Error: Math.Sqrt(share * (1 - share) / w.Finite));
    }

    /// <summary>Ids that came again, rows whose features all came before in the window, and how old the newest row is when the window ends.</summary>
    private IEnumerable<MonitorPoint> Repeated()
    {
        const double most = 0.01;
        double keys = Share(repeated, Rows + repeated), rows = Share(alike, Rows);
        string few = $"{Rows} rows, {Monitoring.Drift.LeastRows} are needed";
        bool enough = Rows >= Monitoring.Drift.LeastRows;
        yield return new MonitorPoint(
            start, end, "duplicate_key_rate", null, enough ? keys : null, Rows + repeated, !enough ? PointState.Insufficient : keys > most ? PointState.Alert : PointState.Ok, null, most, enough ? null : few, JsonSerializer.Serialize(new { repeated }, Json));
        if (columns.Length > 0)
        {
            yield return new MonitorPoint(start, end, "duplicate_row_rate", null, enough ? rows : null, Rows, enough ? PointState.Ok : PointState.Insufficient, null, null, enough ? null : few, JsonSerializer.Serialize(new { repeated = alike }, Json));
        }

        yield return new MonitorPoint(start, end, "freshness", null, (end.UtcTicks - newest) / (double)TimeSpan.TicksPerSecond, Rows, PointState.Ok, null, null, null, "{}");
    }

    private static UInt128 HashOf(IReadOnlyList<float> features)
    {
        Span<float> row = features.Count <= 256 ? stackalloc float[features.Count] : new float[features.Count];
        for (int i = 0; i < row.Length; i++)
        {
            row[i] = features[i];
        }

        return XxHash128.HashToUInt128(System.Runtime.InteropServices.MemoryMarshal.AsBytes(row));
    }

    /// <summary>
    /// Shares of predicted classes, confidence and entropy against the reference: significant beyond the normal quantile of 0.0027 over all of them, and material by the levels of drift, which
    /// are parts of one here too.
    /// </summary>
    private IEnumerable<MonitorPoint> Predicted(PredictedClasses before, PredictedClasses now)
    {
        bool binary = config.Type == ModelType.Binary;
        int[] shown = binary ? [1] : [.. Enumerable.Range(0, before.Chosen.Count)];
        double critical = Tails.NormalQuantile(0.0027 / 2 / (shown.Length + 2));
        foreach (int at in shown)
        {
            double p = Share(before.Chosen[at], before.N), q = Share(now.Chosen[at], now.N), pooled = Share(before.Chosen[at] + now.Chosen[at], before.N + now.N);
            yield return Moved("class_share", binary ? null : config.Classes![at], q, p, Math.Sqrt(pooled * (1 - pooled)), before.N, now.N, critical);
        }

        if (before.Confidence is { } sure)
        {
            yield return Moved("confidence", null, now.Confidence, sure, before.ConfidenceDeviation, before.Probable, now.Probable, critical);
        }

        if (before.Entropy is { } spread)
        {
            yield return Moved("entropy", null, now.Entropy, spread, before.EntropyDeviation, before.Probable, now.Probable, critical);
        }
    }

    private MonitorPoint Moved(string metric, string? column, double? now, double before, double deviation, long referenceRows, long rows, double critical)
    {
        if (now is not { } value || rows < Monitoring.Drift.LeastRows || referenceRows < Monitoring.Drift.LeastRows)
        {
            return new MonitorPoint(start, end, metric, column, null, rows, PointState.Insufficient, null, null, $"{rows} rows in the window and {referenceRows} in the reference, {Monitoring.Drift.LeastRows} are needed on either side", JsonSerializer.Serialize(new { reference = before, referenceRows }, Json));
        }

        Thresholds t = config.Thresholds;
        double error = deviation * Math.Sqrt(1.0 / referenceRows + 1.0 / rows), off = Math.Abs(value - before);
        double? z = error > 0 ? (value - before) / error : null;
        bool significant = error > 0 ? off > critical * error : off > 0;
        string level = !significant || off < t.Warn ? DriftLevel.None : off >= t.Severe ? DriftLevel.Severe : off >= t.Major ? DriftLevel.Major : DriftLevel.Warn;
        double least = t.AlertFrom switch { DriftLevel.Severe => t.Severe, DriftLevel.Major => t.Major, _ => t.Warn }, band = Math.Max(critical * error, least);
        return new MonitorPoint(
            start, end, metric, column, value, rows, DriftLevel.Rank(level) >= DriftLevel.Rank(t.AlertFrom) ? PointState.Alert : PointState.Ok, Math.Max(0, before - band), Math.Min(1, before + band), null,
            JsonSerializer.Serialize(new { reference = before, referenceRows, z, critical }, Json), level, Error: error)
        {
            Clear = off <= t.ClearBelow * band,
        };
    }

    /// <summary>A bin's name; the shares of predicted classes are told by the classes' names.</summary>
    private static string Label(MonitorConfig config, MonitorReference reference, ColumnReference r, int bin) => config.Type == ModelType.Multiclass && r.Bins == reference.Score?.Bins && bin < r.Bins.Values.Length ? config.ClassName(r.Bins.Values[bin]) : r.Bins.Label(bin);

    private static double Share(long count, long of) => of == 0 ? 0 : (double)count / of;
}

internal static class Lists
{
    public static int IndexOf(this IReadOnlyList<string> names, string name)
    {
        for (int i = 0; i < names.Count; i++)
        {
            if (names[i] == name)
            {
                return i;
            }
        }

        return -1;
    }
}
