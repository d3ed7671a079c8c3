using System.Globalization;
using System.Text.Json;
using Slipway.Monitoring;
using Slipway.Web.Charts;

namespace Slipway.Web.Pages;

/// <summary>The points of a monitor as the heat map wants them: features by windows, the most drifted first.</summary>
internal sealed class DriftTable
{
    /// <summary>The row of the model's own output.</summary>
    public const string Score = "model score";

    private DriftTable(IReadOnlyList<string> rows, IReadOnlyList<DateTimeOffset> windows, IReadOnlyList<string> columns, IReadOnlyList<HeatMap.Cell> cells, IReadOnlyList<double?>? primary, IReadOnlyDictionary<(int Row, int Column), MonitorPoint> points)
    {
        (Rows, Windows, Columns, Cells, Primary, Points) = (rows, windows, columns, cells, primary, points);
    }

    public IReadOnlyList<string> Rows { get; }

    public IReadOnlyList<DateTimeOffset> Windows { get; }

    public IReadOnlyList<string> Columns { get; }

    public IReadOnlyList<HeatMap.Cell> Cells { get; }

    /// <summary>The realized primary metric of each window; null where it cannot be judged. Null without any window of labels.</summary>
    public IReadOnlyList<double?>? Primary { get; }

    public IReadOnlyDictionary<(int Row, int Column), MonitorPoint> Points { get; }

    /// <summary>The horizon that <see cref="Primary"/> is of; null for what is no forecast.</summary>
    public string? PrimaryColumn { get; private init; }

    /// <summary>The newest revision of each point.</summary>
    public static IReadOnlyList<MonitorPoint> Latest(IReadOnlyList<MonitorPoint> points) =>
        [.. points.GroupBy(p => (p.WindowStart, p.Metric, p.Column)).Select(g => g.MaxBy(p => p.Revision)!)];

    /// <summary>Whether a point compares all features together.</summary>
    public static bool Together(MonitorPoint point) => point.Metric is "reconstruction_error" or "domain_auc" or "mmd";

    /// <summary>The row of a drift point.</summary>
    public static string RowOf(MonitorPoint point) => Together(point) ? point.Metric switch { "reconstruction_error" => "all features: PCA", "domain_auc" => "all features: AUC", _ => "all features: MMD" } : point.Metric != "score_psi" ? point.Column ?? Score : point.Column is null ? Score : $"probability of {point.Column}";

    /// <summary>Arranges the points; at most <paramref name="most"/> windows, the newest.</summary>
    /// <param name="points">Points of one monitor.</param>
    /// <param name="metric">The monitor's primary metric.</param>
    /// <param name="most">The most windows.</param>
    /// <param name="zone">The time zone whose days name the windows; null is UTC.</param>
    public static DriftTable Of(IReadOnlyList<MonitorPoint> points, string metric = "auc", int most = 90, string? zone = null)
    {
        var latest = Latest(points);
        var windows = latest.Select(p => p.WindowStart).Distinct().Order().TakeLast(most).ToList();
        var columnOf = windows.Select((w, i) => (w, i)).ToDictionary(x => x.w, x => x.i);
        var drift = latest.Where(p => (p.Metric is "psi" or "score_psi" || Together(p)) && columnOf.ContainsKey(p.WindowStart)).ToList();
        var rows = drift.GroupBy(RowOf)
            .OrderBy(g => g.Key == Score ? 0 : Together(g.First()) ? 1 : 2)
            .ThenByDescending(g => g.Max(p => DriftLevel.Rank(p.Level)))
            .ThenByDescending(g => g.Max(p => p.Value ?? -1))
            .ThenBy(g => g.Key, StringComparer.Ordinal)
            .Select(g => g.Key).ToList();
        var rowOf = rows.Select((r, i) => (r, i)).ToDictionary(x => x.r, x => x.i, StringComparer.Ordinal);
        var placed = drift.ToDictionary(p => (rowOf[RowOf(p)], columnOf[p.WindowStart]));
        var cells = placed.Select(x => new HeatMap.Cell(x.Key.Item1, x.Key.Item2, x.Value.Value, Math.Max(0, DriftLevel.Rank(x.Value.Level)), x.Value.Why ?? Words(x.Value.State))).ToList();
        // Horizons are never averaged: of forecasts the shortest one that has actuals is shown, and named.
        var series = latest.Where(p => p.Metric == metric).Select(p => p.Column).Distinct().OrderBy(c => c?.Length ?? 0).ThenBy(c => c, StringComparer.Ordinal).FirstOrDefault();
        var primary = latest.Where(p => p.Metric == metric && p.Column == series).ToDictionary(p => p.WindowStart, p => p.Value);
        var open = latest.Where(p => p.Phase == WindowPhase.Provisional).Select(p => p.WindowStart).ToHashSet();
        var sameYear = windows.Count == 0 || windows[0].Year == windows[^1].Year;
        return new DriftTable(
            rows, windows,
            [.. windows.Select(w => (zone is null ? w.UtcDateTime : TimeZoneInfo.ConvertTime(w, TimeZoneInfo.FindSystemTimeZoneById(zone)).DateTime).ToString(sameYear ? "MM-dd" : "yy-MM-dd", CultureInfo.InvariantCulture) + (open.Contains(w) ? " …" : ""))],
            cells,
            primary.Values.Any(v => v is not null) ? [.. windows.Select(w => primary.GetValueOrDefault(w))] : null,
            placed)
        {
            PrimaryColumn = series,
        };
    }

    /// <summary>A state without a number in words.</summary>
    public static string Words(string state) => state switch
    {
        PointState.Insufficient => "not enough data",
        PointState.NoData => "no rows",
        PointState.Undefined => "not defined here",
        PointState.Error => "the evaluation failed",
        var other => other,
    };
}

/// <summary>What a drift point says beside its number; every part may be missing.</summary>
internal sealed record DriftDetail(
    string? Rule, IReadOnlyList<DriftBin>? Bins, double? P, double? AdjustedP, double? Material, long? ReferenceRows, double? ReferenceMean, double? Mean, long? Missing, long? Rows = null, string? Note = null)
{
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);

    /// <summary>Reads a point's detail; null when it has none or it is of another shape.</summary>
    public static DriftDetail? Of(MonitorPoint point)
    {
        try
        {
            return string.IsNullOrEmpty(point.Detail) ? null : JsonSerializer.Deserialize<DriftDetail>(point.Detail, Json);
        }
        catch (JsonException)
        {
            return null;
        }
    }
}

/// <summary>One bin of a drift point: its name and the shares of the rows in it.</summary>
internal sealed record DriftBin(string Bin, double Reference, double Window);
