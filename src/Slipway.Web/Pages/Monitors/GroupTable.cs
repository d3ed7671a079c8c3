using System.Text.Json;
using Slipway.Monitoring;
using Monitor = Slipway.Monitoring.Monitor;

namespace Slipway.Web.Pages;

/// <summary>Performance by the groups of one feature, or two, in the newest window that has any.</summary>
/// <param name="By">What groups are made by.</param>
/// <param name="Window">Start of the window.</param>
/// <param name="Rows">The primary metric of each group, and its rates where the model is binary.</param>
/// <param name="Apart">How far groups are apart; empty for other models.</param>
internal sealed record GroupTable(string By, DateTimeOffset Window, IReadOnlyList<(MonitorPoint Point, GroupRates? Rates)> Rows, IReadOnlyList<MonitorPoint> Apart)
{
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);

    public bool Binary => Apart.Count > 0;

    /// <summary>One for each way that the monitor is broken down by; without those that no window has groups of yet.</summary>
    /// <param name="monitor">The monitor.</param>
    /// <param name="latest">The newest revision of each of its points.</param>
    public static IReadOnlyList<GroupTable> Of(Monitor monitor, IReadOnlyList<MonitorPoint> latest)
    {
        var grouped = latest.Where(p => p.Metric == $"group_{monitor.PrimaryMetric}").Select(p => (Point: p, Read<Told>(p)?.By)).ToList();
        return
        [
            .. from feature in monitor.Scope.By
               let own = grouped.Where(g => g.By == feature).Select(g => g.Point).ToList()
               where own.Count > 0
               // A window whose labels have not come yet says nothing; the one before does.
               let window = own.Where(p => p.Value is not null).Select(p => p.WindowStart).DefaultIfEmpty(own.Max(p => p.WindowStart)).Max()
               let apart = latest.Where(p => p.WindowStart == window && p.Column == feature && (p.Metric.EndsWith("_ratio", StringComparison.Ordinal) || p.Metric.EndsWith("_difference", StringComparison.Ordinal))).OrderBy(p => p.Metric, StringComparer.Ordinal).ToList()
               let rates = apart.Select(Read<Told>).Select(t => t?.Groups).FirstOrDefault(g => g is not null)?.ToDictionary(g => g.Group, StringComparer.Ordinal) ?? []
               select new GroupTable(feature, window, [.. own.Where(p => p.WindowStart == window).OrderByDescending(p => p.N).ThenBy(p => p.Column, StringComparer.Ordinal).Select(p => (p, rates.GetValueOrDefault(p.Column ?? "")))], apart),
        ];
    }

    private static T? Read<T>(MonitorPoint point) => JsonSerializer.Deserialize<T>(point.Detail, Json);

    private sealed record Told(string? By, IReadOnlyList<GroupRates>? Groups);
}

/// <summary>Rates of one group of a binary model.</summary>
internal sealed record GroupRates(string Group, long N, double? SelectionRate, double? TruePositiveRate, double? FalsePositiveRate, double? Precision, string? Insufficient);
