using System.Globalization;
using System.Text.Json;
using Slipway.Foundation;

namespace Slipway.Serving;

/// <summary>What a provider answered.</summary>
/// <param name="Query">What was asked.</param>
/// <param name="Value">The number; null if the answer holds none.</param>
/// <param name="Error">Why there is no answer; null if there is one.</param>
internal sealed record QueryAnswer(string Query, double? Value, string? Error);

/// <summary>
/// Numbers of other systems: an instant query of Prometheus, or a number in a JSON answer. The address is under the same rule as a webhook's; an answer has a
/// time-out and a largest size, and whatever goes wrong is an error of the measurement, not of the rollout.
/// </summary>
internal sealed class MetricQueries(Outbound outbound, ServingOptions options)
{
    private const int LargestAnswer = 1 << 20;

    /// <summary>Asks once; <paramref name="fill"/> puts names into addresses and queries.</summary>
    public async Task<QueryAnswer> AskAsync(AnalysisMetric metric, Func<string, string> fill, CancellationToken ct)
    {
        var (address, query) = (fill(metric.Url ?? ""), fill(metric.Query ?? ""));
        var prometheus = metric.Provider == MetricProvider.Prometheus;
        var asked = prometheus ? query : $"{metric.Path} of {address}";
        if (prometheus)
        {
            address = $"{address.TrimEnd('/')}/api/v1/query?query={Uri.EscapeDataString(query)}";
        }

        var answer = await outbound.GetAsync(address, options.MetricsFromLoopback, LargestAnswer, ct);
        if (answer.Body is not { } body)
        {
            return new(asked, null, answer.Error);
        }

        try
        {
            using var json = JsonDocument.Parse(body);
            return prometheus ? Instant(asked, json.RootElement) : new(asked, Number(At(json.RootElement, metric.Path!)), null);
        }
        catch (JsonException fault)
        {
            return new(asked, null, $"the answer is not JSON: {fault.Message}");
        }
        catch (FormatException fault)
        {
            return new(asked, null, fault.Message);
        }
    }

    /// <summary>A scalar, or a vector of one series: {"status":"success","data":{"resultType":"vector","result":[{"value":[time,"number"]}]}}.</summary>
    private static QueryAnswer Instant(string asked, JsonElement root)
    {
        if (Text(root, "status") != "success" || !root.TryGetProperty("data", out var data) || data.ValueKind != JsonValueKind.Object || !data.TryGetProperty("result", out var result))
        {
            return new(asked, null, $"Prometheus refuses the query: {Text(root, "error") ?? "no result"}");
        }

        if (Text(data, "resultType") == "scalar")
        {
            return new(asked, Number(Second(result)), null);
        }

        if (Text(data, "resultType") != "vector" || result.ValueKind != JsonValueKind.Array)
        {
            return new(asked, null, $"the query gives a {Text(data, "resultType")}, a scalar or a vector of one series is needed");
        }

        return result.GetArrayLength() switch
        {
            0 => new(asked, null, null),
            1 => new(asked, Number(result[0].TryGetProperty("value", out var pair) ? Second(pair) : throw new FormatException("the series has no value")), null),
            var series => new(asked, null, $"the query gives {series} series, one is needed; aggregate them"),
        };
    }

    private static JsonElement Second(JsonElement pair) =>
        pair.ValueKind == JsonValueKind.Array && pair.GetArrayLength() == 2 ? pair[1] : throw new FormatException("a value is not a pair of time and number");

    private static string? Text(JsonElement of, string name) =>
        of.ValueKind == JsonValueKind.Object && of.TryGetProperty(name, out var text) && text.ValueKind == JsonValueKind.String ? text.GetString() : null;

    private static JsonElement At(JsonElement root, string path)
    {
        foreach (var part in path.Split('.'))
        {
            root = root.ValueKind switch
            {
                JsonValueKind.Object when root.TryGetProperty(part, out var inner) => inner,
                JsonValueKind.Array when int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out var i) && i < root.GetArrayLength() => root[i],
                _ => throw new FormatException($"the answer has no '{part}' of {path}"),
            };
        }

        return root;
    }

    private static double? Number(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Null => null,
        JsonValueKind.Number => value.GetDouble(),
        JsonValueKind.String when double.TryParse(value.GetString(), NumberStyles.Float, CultureInfo.InvariantCulture, out var number) => number,
        JsonValueKind.String when value.GetString() is "+Inf" or "-Inf" => double.NaN,
        _ => throw new FormatException($"'{value}' is not a number"),
    };
}
