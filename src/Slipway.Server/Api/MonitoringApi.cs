using System.Globalization;
using System.Text.Json;
using Microsoft.AspNetCore.WebUtilities;
using Microsoft.Net.Http.Headers;
using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Monitoring;
using Slipway.Pipelines;
using Slipway.Serving;
using Monitor = Slipway.Monitoring.Monitor;

namespace Slipway.Server.Api;

/// <summary>Predictions, labels and monitors.</summary>
internal static class MonitoringApi
{
    private const long LabelBody = 16 << 20;
    private const long ReferenceBody = 64 << 20;

    private sealed record NewLabel(string PredictionId, double Value, DateTimeOffset? At = null, int Revision = 0);

    /// <param name="Endpoint">The endpoint.</param>
    /// <param name="ModelVersion">Such as flights/3.</param>
    /// <param name="Window">How event time is cut; absent is weeks against a stored reference, days without one.</param>
    /// <param name="Thresholds">When points alert; what is absent stands at its default.</param>
    /// <param name="Watch">The features to watch; absent is all.</param>
    /// <param name="Type">What the model predicts, said of a reference file; absent is binary.</param>
    /// <param name="Score">Its column of the score, the predicted number or class.</param>
    /// <param name="Target">Its column of what came true.</param>
    /// <param name="Query">Its column of the query that a row is a candidate of.</param>
    /// <param name="Lower">Its column of the lower end of a forecast's interval.</param>
    /// <param name="Upper">Its column of the upper end of a forecast's interval.</param>
    /// <param name="Ranking">How predictions make rankings.</param>
    /// <param name="Forecast">How predictions make forecasts.</param>
    /// <param name="Reference">A dataset version whose rows are the reference, such as dataset:validation@v3; absent is a file, or what is stored with the version's run.</param>
    /// <param name="Scope">Which predictions are looked at, and what performance is broken down by; absent is all that callers got, in one piece.</param>
    private sealed record NewMonitor(
        string Endpoint, string ModelVersion, WindowRule? Window = null, Thresholds? Thresholds = null, IReadOnlyList<string>? Watch = null, ModelType? Type = null, string? Score = null, string? Target = null,
        string? Query = null, string? Lower = null, string? Upper = null, RankingRule? Ranking = null, ForecastRule? Forecast = null, string? Reference = null, MonitorScope? Scope = null)
    {
        /// <summary>What the columns of the reference's rows are.</summary>
        public ReferenceFile Rows(string path, string name) =>
            new() { Path = path, Name = name, Type = Type ?? ModelType.Binary, Score = Score, Target = Target, Query = Query, Lower = Lower, Upper = Upper, Ranking = Ranking, Forecast = Forecast };
    }

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
        api.Delete("/endpoints/{endpoint}/predictions/{prediction}", Permissions.SubjectErase, async c => new { deleted = await c.Of<Predictions>().DeleteAsync(c.Actor, c["endpoint"], [c["prediction"]], c.Stop) });
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
        api.Post("/monitors", Permissions.EndpointCreate, async c => new Created(
            MediaTypeHeaderValue.TryParse(c.Http.Request.ContentType, out var type) && type.MediaType.Equals("multipart/form-data", StringComparison.OrdinalIgnoreCase) && type.Boundary.Length > 0
                ? await WatchUploadAsync(c, HeaderUtilities.RemoveQuotes(type.Boundary).Value!)
                : await WatchAsync(c, await c.BodyAsync<NewMonitor>(), null)));
        api.Get("/monitors/{monitor}", Permissions.EndpointRead, async c => await c.Of<Monitors>().GetAsync(c["monitor"], c.Stop));
        api.Get("/monitors/{monitor}/points", Permissions.EndpointRead, async c =>
        {
            var metric = c.Query("metric");
            var column = c.Query("column");
            var points = (await c.Of<Monitors>().PointsAsync(c["monitor"], c.Stop)).Where(p => (metric is null || p.Metric == metric) && (column is null || p.Column == column));
            return c.Page([.. points.OrderByDescending(p => p.WindowStart)], p => $"{Time.ToMicros(p.WindowStart)}/{p.Metric}/{p.Column}");
        });
        api.Get("/monitors/{monitor}/stream", Permissions.EndpointRead, async c => await c.Of<Monitors>().StreamAsync(c["monitor"], c.Stop));
        api.Get("/monitors/{monitor}/moved", Permissions.EndpointRead, async c => c.Page([.. await c.Of<Monitors>().MovedAsync(c["monitor"], c.Stop)], m => $"{m.Rank}"));
        api.Get("/monitors/{monitor}/merged", Permissions.EndpointRead, async c =>
        {
            var merged = await c.Of<Monitors>().MergedAsync(c["monitor"], c.Query("period") ?? "window", c.Query("against") ?? Against.Reference, c.Query("column"), c.Time("from"), c.Time("to"), c.Stop);
            return c.Page([.. merged.OrderByDescending(m => m.WindowStart)], m => $"{Time.ToMicros(m.WindowStart)}/{m.Metric}/{m.Column}");
        });
        api.Get("/monitors/{monitor}/revisions", Permissions.EndpointRead, async c =>
            c.Page([.. await c.Of<Monitors>().RevisionsAsync(c["monitor"], c.Time("window") ?? throw SlipwayException.Invalid("the revisions cannot be listed", "no window is named", "add ?window= with the start of the window"), c.Stop)], p => $"{p.Revision}/{p.Metric}/{p.Column}"));
        api.Post("/monitors/{monitor}/run", Permissions.EndpointCreate, async c => new { evaluated = await c.Of<Monitors>().EvaluateAsync(c["monitor"], c.Stop) });
        api.Post("/monitors/{monitor}/stop", Permissions.DeploymentStop, async c => await c.Of<Monitors>().StopAsync(c.Actor, c["monitor"], c.Stop));
    }

    /// <summary>A multipart form: a part named monitor with the JSON of <see cref="NewMonitor"/>, and a part named reference with a CSV or Parquet file.</summary>
    private static async Task<Monitor> WatchUploadAsync(Call c, string boundary)
    {
        c.LimitBody(ReferenceBody);
        // The name on disk is the server's own: what the client calls the file never becomes a path.
        var kept = Path.Combine(c.Of<DataLayout>().Temporary, $"reference-{Ids.New()}");
        try
        {
            NewMonitor? monitor = null;
            string? name = null;
            var reader = new MultipartReader(boundary, c.Http.Request.Body);
            while (await reader.ReadNextSectionAsync(c.Stop) is { } section)
            {
                var disposition = section.GetContentDispositionHeader();
                var part = disposition is null ? null : HeaderUtilities.RemoveQuotes(disposition.Name).Value;
                if (part == "monitor" && monitor is null)
                {
                    monitor = await ReadAsync(section.Body, c.Stop);
                }
                else if (part == "reference" && name is null)
                {
                    name = HeaderUtilities.RemoveQuotes(disposition!.FileNameStar.HasValue ? disposition.FileNameStar : disposition.FileName).Value is { Length: > 0 } given ? given : "the file";
                    await using var file = new FileStream(kept, FileMode.CreateNew, FileAccess.Write, FileShare.None, 1 << 16, FileOptions.Asynchronous);
                    await section.Body.CopyToAsync(file, c.Stop);
                }
                else
                {
                    throw Refuse($"the part \"{part}\" is not expected, or comes twice");
                }
            }

            if (monitor is null || name is null)
            {
                throw Refuse($"the part {(monitor is null ? "monitor" : "reference")} is missing");
            }

            if (await IsParquetAsync(kept, c.Stop))
            {
                File.Move(kept, kept += ".parquet");
            }

            return await WatchAsync(c, monitor, monitor.Rows(kept, name));
        }
        finally
        {
            File.Delete(kept);
        }
    }

    private static async Task<Monitor> WatchAsync(Call c, NewMonitor body, ReferenceFile? file)
    {
        await c.Of<Endpoints>().GetAsync(body.Endpoint, c.Stop);
        if (file is not null)
        {
            if (body.Reference is not null)
            {
                throw Refuse("both a file and a dataset version are given as the reference");
            }

            return await c.Of<References>().WatchFileAsync(c.Actor, body.Endpoint, body.ModelVersion, file, body.Window, body.Thresholds, body.Watch, body.Scope, c.Stop);
        }

        if (body.Reference is { } rows)
        {
            await c.Of<Access>().DemandAsync(c.Actor, Permissions.DatasetRead, null, c.Stop);
            // Where the rows are, the dataset says.
            return await c.Of<References>().WatchDatasetAsync(c.Actor, body.Endpoint, body.ModelVersion, DatasetReference.Parse(rows), body.Rows("", rows), body.Window, body.Thresholds, body.Watch, body.Scope, c.Stop);
        }

        string[] of = [.. new[] { body.Type is null ? null : "type", body.Score is null ? null : "score", body.Target is null ? null : "target", body.Query is null ? null : "query", body.Lower is null ? null : "lower", body.Upper is null ? null : "upper" }.OfType<string>()];
        return of.Length == 0
            ? await c.Of<References>().WatchAsync(c.Actor, body.Endpoint, body.ModelVersion, body.Window, body.Thresholds, body.Watch, body.Ranking, body.Forecast, body.Scope, c.Stop)
            : throw SlipwayException.Invalid("the version cannot be watched", $"{string.Join(" and ", of)} {(of.Length == 1 ? "is" : "are")} said of a reference file, and none is given", "send the file too, or leave them out");
    }

    private static async Task<NewMonitor?> ReadAsync(Stream part, CancellationToken ct)
    {
        try
        {
            return await JsonSerializer.DeserializeAsync<NewMonitor>(part, ApiJson.Read, ct);
        }
        catch (JsonException e)
        {
            throw new SlipwayException(ErrorCode.InvalidArgument, "the request body is not valid", $"the part monitor: {ApiJson.Why(e)}", inner: e);
        }
    }

    /// <summary>Parquet files begin with PAR1, whatever they are called.</summary>
    private static async Task<bool> IsParquetAsync(string path, CancellationToken ct)
    {
        var start = new byte[4];
        await using var file = File.OpenRead(path);
        return await file.ReadAtLeastAsync(start, start.Length, throwOnEndOfStream: false, ct) == start.Length && start.AsSpan().SequenceEqual("PAR1"u8);
    }

    private static SlipwayException Refuse(string why) => new(ErrorCode.InvalidArgument, "the monitor cannot be created", why, "send a part named monitor with JSON and a part named reference with a CSV or Parquet file");

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
