using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>A value and how many rows have it, at most <see cref="FrequentItems.Error"/> more.</summary>
/// <param name="Value">The number, or the code of a category.</param>
/// <param name="Rows">Rows that are sure to have it.</param>
public sealed record FrequentValue(double Value, long Rows);

/// <summary>One column over one or more windows, put together from their sketches without reading the rows again.</summary>
public sealed record MergedColumn
{
    /// <summary>First instant of the first window.</summary>
    public required DateTimeOffset WindowStart { get; init; }

    /// <summary>First instant behind the last window.</summary>
    public required DateTimeOffset WindowEnd { get; init; }

    /// <summary>How many windows it is made of.</summary>
    public required int Windows { get; init; }

    /// <summary>`psi` for a feature, `score_psi` for an output.</summary>
    public required string Metric { get; init; }

    /// <summary>The feature, or the class whose probability it is; null for the output as a whole.</summary>
    public string? Column { get; init; }

    /// <summary>Rows, whatever their value.</summary>
    public long Rows { get; init; }

    /// <summary>Rows without a value.</summary>
    public long Missing { get; init; }

    /// <summary>Mean of the finite values; null without any.</summary>
    public double? Mean { get; init; }

    /// <summary>Population standard deviation; null without a value.</summary>
    public double? Deviation { get; init; }

    /// <summary>The least value.</summary>
    public double? Least { get; init; }

    /// <summary>The largest value.</summary>
    public double? Most { get; init; }

    /// <summary>Quantiles by level (`0.05`, `0.25`, `0.5`, `0.75`, `0.95`); empty for categories.</summary>
    public IReadOnlyDictionary<string, double> Quantiles { get; init; } = new Dictionary<string, double>();

    /// <summary>How far the rank of a quantile may be off, as a share, with 99 % confidence; 0 when exact.</summary>
    public double RankError { get; init; }

    /// <summary>Distinct values; null when they were not counted.</summary>
    public long? Distinct { get; init; }

    /// <summary>Relative standard error of <see cref="Distinct"/>; 0 when exact.</summary>
    public double DistinctError { get; init; }

    /// <summary>The most frequent values of a category, at most ten.</summary>
    public IReadOnlyList<FrequentValue> Frequent { get; init; } = [];

    /// <summary>The population stability index against what was asked for: bin counts add exactly, so that it has no sketch error. Null without a number.</summary>
    public double? Psi { get; init; }

    /// <summary>The least index that alerts.</summary>
    public double? Limit { get; init; }

    /// <summary>A value of <see cref="PointState"/>.</summary>
    public required string State { get; init; }

    /// <summary>A value of <see cref="DriftLevel"/>.</summary>
    public string Level { get; init; } = DriftLevel.None;

    /// <summary>Why there is no number.</summary>
    public string? Why { get; init; }

    /// <summary>JSON: bins and shares, significance, as of points.</summary>
    public string Detail { get; init; } = "{}";
}

/// <summary>What merged windows are compared with.</summary>
public static class Against
{
    /// <summary>The monitor's frozen reference.</summary>
    public const string Reference = "reference";

    /// <summary>The period before.</summary>
    public const string Previous = "previous";

    /// <summary>The <see cref="TrailingPeriods"/> periods before.</summary>
    public const string Trailing = "trailing";

    /// <summary>The period a week before.</summary>
    public const string LastWeek = "last-week";

    /// <summary>How many periods <see cref="Trailing"/> looks back.</summary>
    public const int TrailingPeriods = 7;

    internal static readonly string[] All = [Reference, Previous, Trailing, LastWeek];
}

/// <summary>Sketches of the windows of a monitor, one row a column, as they are kept and put together.</summary>
internal static class WindowSketches
{
    /// <summary>How long sketches are kept: behind it, a rollup of the same time of the year before is still possible.</summary>
    public static readonly TimeSpan Kept = TimeSpan.FromDays(400);

    /// <summary>The most sketches of one call.</summary>
    public const int MostAtOnce = 5_000;

    private const int MostFrequent = 10;
    private static readonly string[] Levels = ["0.05", "0.25", "0.5", "0.75", "0.95"];

    /// <summary>Replaces the sketches of one window.</summary>
    public static async Task StoreAsync(Tx tx, string monitor, long start, long end, IEnumerable<(string Name, byte[] Body)> sketches)
    {
        await tx.ExecuteAsync("DELETE FROM monitoring_sketches WHERE monitor = @monitor AND (start_us = @start OR start_us < @old)", new { monitor, start, old = start - Kept.Ticks / TimeSpan.TicksPerMicrosecond });
        foreach ((string name, byte[] body) in sketches)
        {
            await tx.ExecuteAsync("INSERT INTO monitoring_sketches (monitor, start_us, column_name, end_us, body) VALUES (@monitor, @start, @name, @end, @body)", new { monitor, start, name, end, body });
        }
    }

    /// <summary>The name of a row: what kind of column it is, and which.</summary>
    public static string NameOf(string metric, string? column) => $"{metric}:{column}";

    /// <summary>Puts windows together by a longer rule and compares each period.</summary>
    public static IReadOnlyList<MergedColumn> Merge(IReadOnlyList<SketchRow> rows, WindowRule periods, string against, MonitorReference reference, MonitorConfig config)
    {
        var merged = new SortedDictionary<DateTimeOffset, Dictionary<string, Part>>();
        foreach (SketchRow row in rows.OrderBy(r => r.StartUs).ThenBy(r => r.Name, StringComparer.Ordinal))
        {
            DateTimeOffset start = Time.FromMicros(row.StartUs), period = periods.StartOf(start);
            if (Time.FromMicros(row.EndUs) > periods.EndOf(period))
            {
                throw SlipwayException.Invalid("the windows cannot be put together", $"the window that starts at {AlertText.Moment(start)} reaches over the end of its {periods.Period}", "choose a longer period, or one that the monitor's windows fit into");
            }

            if (!merged.TryGetValue(period, out Dictionary<string, Part>? columns))
            {
                merged[period] = columns = new(StringComparer.Ordinal);
            }

            ColumnSketch sketch = ColumnSketch.FromBytes(row.Body);
            if (columns.TryGetValue(row.Name, out Part? part))
            {
                part.Sketch.Merge(sketch);
                columns[row.Name] = part with { End = row.EndUs, Windows = part.Windows + 1 };
            }
            else
            {
                columns[row.Name] = new Part(sketch, row.StartUs, row.EndUs, 1);
            }
        }

        DateTimeOffset[] starts = [.. merged.Keys];
        return [.. starts.SelectMany(at => Compare(merged[at], Before(at)))];

        // What a period is compared with, by name; null for the frozen reference.
        Dictionary<string, ColumnSketch>? Before(DateTimeOffset at)
        {
            DateTimeOffset[] of = against switch
            {
                Against.Previous => [.. starts.Where(s => s < at).TakeLast(1)],
                Against.Trailing => [.. starts.Where(s => s < at).TakeLast(Against.TrailingPeriods)],
                Against.LastWeek => [.. starts.Where(s => s == at.AddDays(-7))],
                _ => [],
            };
            if (against == Against.Reference)
            {
                return null;
            }

            var before = new Dictionary<string, ColumnSketch>(StringComparer.Ordinal);
            foreach ((string name, Part part) in of.SelectMany(s => merged[s]))
            {
                if (before.TryGetValue(name, out ColumnSketch? sum))
                {
                    sum.Merge(part.Sketch);
                }
                else
                {
                    // A copy: the period itself stays what it is.
                    before[name] = ColumnSketch.FromBytes(part.Sketch.ToBytes());
                }
            }

            return before;
        }

        IEnumerable<MergedColumn> Compare(Dictionary<string, Part> period, Dictionary<string, ColumnSketch>? before)
        {
            (string Metric, string? Column, ColumnReference Reference)[] known =
            [
                .. reference.Columns.Select(c => ("psi", (string?)c.Name, c)),
                .. reference.Score is { } score ? new[] { ("score_psi", (string?)null, score) } : [],
                .. (reference.Outputs ?? []).Select(c => ("score_psi", (string?)c.Name, c)),
            ];
            (string Metric, string? Column, ColumnReference Reference, Part Part)[] there =
                [.. known.Where(k => period.ContainsKey(NameOf(k.Metric, k.Column))).Select(k => (k.Metric, k.Column, Base(k.Reference, NameOf(k.Metric, k.Column)), period[NameOf(k.Metric, k.Column)]))];
            IReadOnlyList<DriftVerdict> verdicts = there.Length == 0 ? [] : Monitoring.Drift.Decide(there.Select(t => (t.Reference, t.Part.Sketch)).ToArray(), config.Thresholds);
            return there.Select((t, i) => Of(t.Metric, t.Column, t.Reference, t.Part, verdicts[i]));

            ColumnReference Base(ColumnReference frozen, string name) => before is null ? frozen
                : before.TryGetValue(name, out ColumnSketch? s) ? new ColumnReference(frozen.Name, frozen.Bins, s.Counts, s.Finite, s.Missing, s.Infinite, s.Moments)
                : new ColumnReference(frozen.Name, frozen.Bins, new long[frozen.Counts.Length], 0, 0, 0, Moments.Empty);
        }

        MergedColumn Of(string metric, string? column, ColumnReference before, Part part, DriftVerdict verdict)
        {
            ColumnSketch s = part.Sketch;
            Moments m = s.Moments;
            bool nothing = against != Against.Reference && before.Rows == 0;
            return new MergedColumn
            {
                WindowStart = Time.FromMicros(part.Start),
                WindowEnd = Time.FromMicros(part.End),
                Windows = part.Windows,
                Metric = metric,
                Column = column,
                Rows = s.Rows,
                Missing = s.Missing,
                Mean = m.Count == 0 ? null : m.Mean,
                Deviation = m.Variance is { } v ? Math.Sqrt(v) : null,
                Least = m.Min,
                Most = m.Max,
                Quantiles = s.Quantiles is { N: > 0 } kll ? Levels.ToDictionary(l => l, l => kll.Quantile(double.Parse(l, System.Globalization.CultureInfo.InvariantCulture)), StringComparer.Ordinal) : new Dictionary<string, double>(),
                RankError = s.Quantiles?.RankError ?? 0,
                Distinct = s.Distinct?.Count,
                DistinctError = s.Distinct?.RelativeError ?? 0,
                Frequent = s.Items is { } items ? [.. items.Items().Take(MostFrequent).Select(i => new FrequentValue(ColumnSketch.ValueOf(i.Item), i.Count))] : [],
                Psi = nothing ? null : verdict.Psi,
                Limit = nothing ? null : verdict.Limit,
                State = nothing ? PointState.Insufficient : verdict.State,
                Level = nothing ? DriftLevel.None : verdict.Level,
                Why = nothing ? "there is no earlier period to compare with" : verdict.Why,
                Detail = WindowMeasure.DriftDetail(config, reference, before, s, verdict),
            };
        }
    }

    private sealed record Part(ColumnSketch Sketch, long Start, long End, int Windows);
}

/// <summary>One sketch as the table keeps it.</summary>
internal sealed class SketchRow
{
    public long StartUs { get; set; }

    public long EndUs { get; set; }

    public string Name { get; set; } = "";

    public byte[] Body { get; set; } = [];
}
