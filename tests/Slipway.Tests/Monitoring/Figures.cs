using System.Text.Json;

namespace Slipway.Tests.Monitoring;

/// <summary>Figures that independent programs (scipy, numpy, scikit-learn, statsmodels) computed, kept beside the tests.</summary>
internal static class Figures
{
    public static JsonElement[] Read(string name) => Root(name).EnumerateArray().ToArray();

    public static JsonElement Root(string name)
    {
        using Stream stream = typeof(Figures).Assembly.GetManifestResourceStream($"Slipway.Tests.Monitoring.Figures.{name}.json")!;
        using JsonDocument document = JsonDocument.Parse(stream);
        return document.RootElement.Clone();
    }

    public static double[] Doubles(this JsonElement e, string name) => e.GetProperty(name).EnumerateArray().Select(v => v.GetDouble()).ToArray();

    public static long[] Longs(this JsonElement e, string name) => e.GetProperty(name).EnumerateArray().Select(v => v.GetInt64()).ToArray();

    public static double? Maybe(this JsonElement e, string name) => e.GetProperty(name) is { ValueKind: JsonValueKind.Number } v ? v.GetDouble() : null;
}
