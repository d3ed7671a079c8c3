using System.Globalization;
using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Monitoring;
using Slipway.Pipelines;

namespace Slipway.Server.Api;

/// <summary>Predictions, labels and monitors.</summary>
internal static class MonitoringApi
{
    private const long LabelBody = 16 << 20;

    private sealed record NewLabel(string PredictionId, double Value, DateTimeOffset? At = null, int Revision = 0);

    /// <param name="Endpoint">The endpoint.</param>
    /// <param name="ModelVersion">Such as flights/3.</param>
    /// <param name="Window">How event time is cut; absent is weeks against a stored reference, days without one.</param>
    /// <param name="Thresholds">When points alert; what is absent stands at its default.</param>
    private sealed record NewMonitor(string Endpoint, string ModelVersion, WindowRule? Window = null, Thresholds? Thresholds = null);

    public static void Map(ApiRoutes api)
    {
        MapPredictions(api);
        MapMonitors(api);
    }

    private static void MapPredictions(ApiRoutes api)
    {
        api.Get("/endpoints/{endpoint}/predictions", Permissions.PredictionLogRead, async c => await PredictionsAsync(c));
        api.Get("/endpoints/{endpoint}/predictions/extent", Permissions.PredictionLogRead, async c =>
            await c.Of<Predictions>().ExtentAsync(c["endpoint"], c.Query("version"), c.Stop) ?? (object)new { rows = 0 });
        api.Get("/predictions/{prediction}", Permissions.PredictionLogRead, async c =>
            await c.Of<Predictions>().FindAsync(c["prediction"], c.Stop) ?? throw SlipwayException.NotFound("prediction", c["prediction"], "slipway endpoint predictions ENDPOINT"));
        api.Post("/endpoints/{endpoint}/labels", Permissions.LabelWrite, async c => await c.Of<Labels>().AppendAsync(c.Actor, c["endpoint"], await LabelsAsync(c), c.Stop));
        api.Delete("/endpoints/{endpoint}/labels/{prediction}", Permissions.LabelWrite, async c => new { deleted = await c.Of<Labels>().DeleteAsync(c.Actor, c["endpoint"], [c["prediction"]], c.Stop) });
        api.Get("/endpoints/{endpoint}/labels", Permissions.PredictionLogRead, async c => await c.Of<Labels>().CountAsync(c["endpoint"], c.Stop));
        api.Get("/endpoints/{endpoint}/labels/{prediction}", Permissions.PredictionLogRead, async c =>
            new { items = await c.Of<Labels>().FindAsync(c["endpoint"], c["prediction"], c.Stop) });
    }

    private static void MapMonitors(ApiRoutes api)
    {
        api.Get("/monitors", Permissions.EndpointRead, async c =>
            c.Page([.. (await c.Of<Monitors>().ListAsync(c.Stop)).Where(m => c.Query("endpoint") is not { } endpoint || m.Endpoint == endpoint)], m => m.Id));
        api.Post("/monitors", Permissions.EndpointCreate, async c =>
        {
            var body = await c.BodyAsync<NewMonitor>();
            return new Created(await c.Of<References>().WatchAsync(c.Actor, body.Endpoint, body.ModelVersion, body.Window, body.Thresholds, c.Stop));
        });
        api.Get("/monitors/{monitor}", Permissions.EndpointRead, async c => await c.Of<Monitors>().GetAsync(c["monitor"], c.Stop));
        api.Get("/monitors/{monitor}/points", Permissions.EndpointRead, async c =>
        {
            var metric = c.Query("metric");
            var column = c.Query("column");
            var points = (await c.Of<Monitors>().PointsAsync(c["monitor"], c.Stop)).Where(p => (metric is null || p.Metric == metric) && (column is null || p.Column == column));
            return c.Page([.. points.OrderByDescending(p => p.WindowStart)], p => $"{Time.ToMicros(p.WindowStart)}/{p.Metric}/{p.Column}");
        });
        api.Post("/monitors/{monitor}/run", Permissions.EndpointCreate, async c => new { evaluated = await c.Of<Monitors>().EvaluateAsync(c["monitor"], c.Stop) });
        api.Post("/monitors/{monitor}/stop", Permissions.DeploymentStop, async c => await c.Of<Monitors>().StopAsync(c.Actor, c["monitor"], c.Stop));
    }

    // Newest first. The token carries the event time where the page before ended, and how many of that instant were shown.
    private static async Task<object> PredictionsAsync(Call c)
    {
        var limit = c.Limit();
        var to = c.Time("to");
        var (instant, skip) = c.Query("pageToken") is { } token ? Position(PageToken.Decode(token, 2), token) : (-1, 0);
        if (instant >= 0)
        {
            to = Time.FromMicros(instant + 1);
        }

        var found = await c.Of<Predictions>().ListAsync(c["endpoint"], c.Time("from"), to, Math.Min(limit + skip + 1, Predictions.LargestPage), c.Stop);
        var items = found.Skip(skip).Take(limit).ToList();
        if (items.Count == 0 || found.Count == skip + items.Count)
        {
            return new Page<Prediction>(items, null);
        }

        var last = Time.ToMicros(items[^1].At);
        var shown = items.Count(p => Time.ToMicros(p.At) == last) + (last == instant ? skip : 0);
        return new Page<Prediction>(items, PageToken.Encode(last.ToString(CultureInfo.InvariantCulture), shown.ToString(CultureInfo.InvariantCulture)));
    }

    private static (long Instant, int Skip) Position(string[] parts, string token) =>
        long.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out var instant) && instant < long.MaxValue / 10
        && int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out var skip) && skip < Predictions.LargestPage
            ? (instant, skip)
            : throw SlipwayException.Invalid("the page token is not valid", $"\"{token}\" was not given out by this list", "start again without a page token");

    /// <summary>A JSON array, or CSV with a header line that names prediction_id and value, and may name at and revision.</summary>
    private static async Task<IReadOnlyList<Label>> LabelsAsync(Call c)
    {
        var now = c.Of<TimeProvider>().GetUtcNow();
        if (c.Http.Request.ContentType?.StartsWith("text/csv", StringComparison.OrdinalIgnoreCase) == true)
        {
            return LabelCsv.Parse(await c.TextAsync(LabelBody), now);
        }

        var body = await c.BodyAsync<List<NewLabel>>(LabelBody);
        return [.. body.Select(l => new Label(l.PredictionId, l.Value, l.At ?? now, l.Revision))];
    }
}
