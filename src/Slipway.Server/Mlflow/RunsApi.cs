using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using Microsoft.AspNetCore.Http;
using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Registry;

namespace Slipway.Server.Mlflow;

/// <summary>Runs over MLflow's REST protocol.</summary>
internal sealed class RunsApi(Runs runs)
{
    public const string ContextTag = "mlflow.data.context";
    private const int BulkRuns = 100;
    private const int BulkPoints = 25_000;
    private const int IntervalPoints = 2500;

    private static readonly IReadOnlyDictionary<string, RunStatus> Statuses = new Dictionary<string, RunStatus>(StringComparer.Ordinal)
    {
        ["RUNNING"] = RunStatus.Running,
        ["SCHEDULED"] = RunStatus.Scheduled,
        ["FINISHED"] = RunStatus.Finished,
        ["FAILED"] = RunStatus.Failed,
        ["KILLED"] = RunStatus.Killed,
    };

    public IReadOnlyList<MlflowRoute> Routes =>
    [
        new("POST", "/mlflow/runs/create", Permissions.RunWrite, CreateAsync),
        new("POST", "/mlflow/runs/update", Permissions.RunWrite, UpdateAsync),
        new("POST", "/mlflow/runs/delete", Permissions.RunWrite, DeleteAsync),
        new("POST", "/mlflow/runs/restore", Permissions.RunWrite, RestoreAsync),
        new("GET", "/mlflow/runs/get", Permissions.RunRead, GetAsync),
        new("POST", "/mlflow/runs/search", Permissions.RunRead, SearchAsync),
        new("POST", "/mlflow/runs/log-metric", Permissions.RunWrite, LogMetricAsync) { Quick = QuickMetric },
        new("POST", "/mlflow/runs/log-parameter", Permissions.RunWrite, LogParameterAsync),
        new("POST", "/mlflow/runs/log-batch", Permissions.RunWrite, LogBatchAsync) { Quick = QuickBatch },
        new("POST", "/mlflow/runs/set-tag", Permissions.RunWrite, SetTagAsync),
        new("POST", "/mlflow/runs/delete-tag", Permissions.RunWrite, DeleteTagAsync),
        new("POST", "/mlflow/runs/log-inputs", Permissions.RunWrite, LogInputsAsync),
        new("POST", "/mlflow/runs/log-model", Permissions.RunWrite, LogModelAsync),
        new("GET", "/mlflow/metrics/get-history", Permissions.RunRead, HistoryAsync),
        new("GET", "/mlflow/metrics/get-history-bulk", Permissions.RunRead, BulkHistoryAsync),
        new("GET", "/mlflow/metrics/get-history-bulk-interval", Permissions.RunRead, IntervalHistoryAsync),
        new("GET", "/mlflow/artifacts/list", Permissions.RunRead, ListArtifactsAsync),
    ];

    private static string RunId(MlflowInput input) => input.Text("run_id") is { Length: > 0 } id ? id : input.Text("run_uuid") is { Length: > 0 } uuid ? uuid : throw input.Missing("run_id");

    private static MetricPoint Metric(MlflowInput input) => new(
        input.Required("key"),
        input.Number("value") ?? throw input.Missing("value"),
        input.Integer("timestamp") ?? throw input.Missing("timestamp"),
        input.Integer("step") ?? 0);

    private static DateTimeOffset? Moment(MlflowInput input, string name)
    {
        if (input.Integer(name) is not { } millis)
        {
            return null;
        }

        return millis >= 0 && millis <= DateTimeOffset.MaxValue.ToUnixTimeMilliseconds()
            ? DateTimeOffset.FromUnixTimeMilliseconds(millis)
            : throw input.Bad(name, millis.ToString(CultureInfo.InvariantCulture), "it must be milliseconds since 1970, not negative");
    }

    private async Task CreateAsync(MlflowCall call)
    {
        var input = call.Input;
        var run = await runs.CreateAsync(
            call.Actor,
            new CreateRun
            {
                ExperimentId = input.Required("experiment_id"),
                Name = input.Text("run_name"),
                UserId = input.Text("user_id") ?? "",
                StartTime = Moment(input, "start_time"),
                Tags = ExperimentsApi.Tags(input),
            },
            call.Ct);
        await call.SendObjectAsync("run", run, MlflowJson.Run);
    }

    private async Task UpdateAsync(MlflowCall call)
    {
        var change = new RunChange(call.Input.Enum("status", Statuses), Moment(call.Input, "end_time"), call.Input.Text("run_name"));
        await call.SendObjectAsync("run_info", await runs.UpdateAsync(call.Actor, RunId(call.Input), change, call.Ct), MlflowJson.RunInfo);
    }

    private async Task DeleteAsync(MlflowCall call)
    {
        await runs.DeleteAsync(call.Actor, call.Input.Required("run_id"), call.Ct);
        await call.SendEmptyAsync();
    }

    private async Task RestoreAsync(MlflowCall call)
    {
        await runs.RestoreAsync(call.Actor, call.Input.Required("run_id"), call.Ct);
        await call.SendEmptyAsync();
    }

    private async Task GetAsync(MlflowCall call)
    {
        var run = await runs.GetAsync(RunId(call.Input), call.Ct);
        await call.SendAsync(json =>
        {
            json.WritePropertyName("run");
            MlflowJson.KnownRun(json, run);
        });
    }

    private async Task SearchAsync(MlflowCall call)
    {
        var page = await runs.SearchAsync(
            new RunSearch
            {
                ExperimentIds = call.Input.Texts("experiment_ids"),
                Filter = call.Input.Text("filter"),
                OrderBy = call.Input.Texts("order_by"),
                View = call.Input.Enum("run_view_type", ExperimentsApi.Views) ?? View.ActiveOnly,
                Limit = call.Input.Int32("max_results") ?? 1000,
                PageToken = call.Input.Text("page_token"),
            },
            call.Ct);
        await call.SendAsync(json =>
        {
            if (page.Items.Count > 0)
            {
                json.WriteStartArray("runs");
                foreach (var run in page.Items)
                {
                    MlflowJson.KnownRun(json, run);
                }

                json.WriteEndArray();
            }

            if (page.NextToken is not null)
            {
                json.WriteString("next_page_token", page.NextToken);
            }
        });
    }

    private bool QuickMetric(HttpContext http, byte[] body, [NotNullWhen(true)] out Task? answered)
    {
        answered = QuickLog.TryReadMetric(body, out var runId, out var point) ? AnswerAsync(http, runs.LogMetricAsync(http.GetActor(), runId, point, http.RequestAborted)) : null;
        return answered is not null;
    }

    private bool QuickBatch(HttpContext http, byte[] body, [NotNullWhen(true)] out Task? answered)
    {
        var (metrics, parameters, tags) = (new List<MetricPoint>(), new List<Param>(), new List<Tag>());
        answered = QuickLog.TryReadBatch(body, out var runId, metrics, parameters, tags)
            ? AnswerAsync(http, runs.LogBatchAsync(http.GetActor(), runId, metrics, parameters, tags, http.RequestAborted))
            : null;
        return answered is not null;
    }

    private static async Task AnswerAsync(HttpContext http, Task logged)
    {
        await logged;
        await MlflowJson.SendEmptyAsync(http);
    }

    private async Task LogMetricAsync(MlflowCall call)
    {
        var point = Metric(call.Input);
        var runId = RunId(call.Input);
        if (LoggedModelsApi.Metrics(runId, [call.Input], [point]) is [var ofModel])
        {
            await runs.LogMetricAsync(call.Actor, runId, ofModel, call.Ct);
        }
        else
        {
            await runs.LogMetricAsync(call.Actor, runId, point, call.Ct);
        }

        await call.SendEmptyAsync();
    }

    private async Task LogParameterAsync(MlflowCall call)
    {
        var parameter = new Param(call.Input.Required("key"), call.Input.Text("value") ?? "");
        await runs.LogParamAsync(call.Actor, RunId(call.Input), parameter, call.Ct);
        await call.SendEmptyAsync();
    }

    private async Task LogBatchAsync(MlflowCall call)
    {
        var runId = RunId(call.Input);
        var metrics = call.Input.Items("metrics");
        var points = metrics.Select(Metric).ToList();
        await runs.LogBatchAsync(
            call.Actor,
            runId,
            points,
            call.Input.Items("params").Select(p => new Param(p.Required("key"), p.Text("value") ?? "")).ToList(),
            ExperimentsApi.Tags(call.Input),
            LoggedModelsApi.Metrics(runId, metrics, points),
            call.Ct);
        await call.SendEmptyAsync();
    }

    private async Task SetTagAsync(MlflowCall call)
    {
        var tag = new Tag(call.Input.Required("key"), call.Input.Text("value") ?? "");
        await runs.SetTagAsync(call.Actor, RunId(call.Input), tag, call.Ct);
        await call.SendEmptyAsync();
    }

    private async Task DeleteTagAsync(MlflowCall call)
    {
        await runs.DeleteTagAsync(call.Actor, RunId(call.Input), call.Input.Required("key"), call.Ct);
        await call.SendEmptyAsync();
    }

    private async Task LogInputsAsync(MlflowCall call)
    {
        var inputs = call.Input.Items("datasets").Select(item =>
        {
            var dataset = item.Message("dataset") ?? throw item.Missing("dataset");
            var tags = item.Items("tags").Select(t => new Tag(t.Required("key"), t.RequiredPresent("value"))).ToList();
            return new DatasetInput(
                dataset.Required("name"),
                dataset.Required("digest"),
                dataset.Required("source_type"),
                dataset.Required("source"),
                dataset.Text("schema"),
                dataset.Text("profile"),
                tags.FindLast(t => t.Key == ContextTag)?.Value,
                tags.Where(t => t.Key != ContextTag).ToList());
        }).ToList();
        var models = call.Input.Items("models").Select(m => m.Required("model_id")).ToList();
        await runs.LogInputsAsync(call.Actor, call.Input.Required("run_id"), inputs, models, call.Ct);
        await call.SendEmptyAsync();
    }

    private async Task LogModelAsync(MlflowCall call)
    {
        await runs.LogModelAsync(call.Actor, RunId(call.Input), call.Input.Required("model_json"), call.Ct);
        await call.SendEmptyAsync();
    }

    private async Task HistoryAsync(MlflowCall call)
    {
        // Absent means all: a page of nothing would make old clients believe that there are no points.
        var limit = call.Input.Int32("max_results") is { } given and not 0 ? given : (int?)null;
        if (limit < 0)
        {
            throw call.Input.Bad("max_results", limit.ToString()!, "it must not be negative");
        }

        var page = await runs.HistoryAsync(RunId(call.Input), call.Input.Required("metric_key"), limit, call.Input.Text("page_token"), call.Ct);
        await call.SendAsync(json => MlflowJson.Page(json, "metrics", page, MlflowJson.Metric));
    }

    private async Task BulkHistoryAsync(MlflowCall call)
    {
        var limit = Math.Min(call.Input.Int32("max_results") ?? BulkPoints, BulkPoints);
        var points = new List<(string Run, MetricPoint Point)>();
        foreach (var run in RunIds(call.Input, "run_id"))
        {
            if (points.Count < limit)
            {
                var page = await runs.HistoryAsync(run, call.Input.Required("metric_key"), limit - points.Count, null, call.Ct);
                points.AddRange(page.Items.Select(p => (run, p)));
            }
        }

        await SendPointsAsync(call, points);
    }

    private async Task IntervalHistoryAsync(MlflowCall call)
    {
        var (from, to) = (call.Input.Int32("start_step"), call.Input.Int32("end_step"));
        if (from is null != to is null)
        {
            throw SlipwayException.Invalid("If either start step or end step are specified, both must be specified.");
        }

        if (from > to)
        {
            throw SlipwayException.Invalid($"end_step must be greater than start_step. Found start_step={from} and end_step={to}.");
        }

        var limit = call.Input.Int32("max_results") ?? IntervalPoints;
        if (limit is < 1 or > IntervalPoints)
        {
            throw SlipwayException.Invalid($"max_results must be between 1 and {IntervalPoints}.");
        }

        var points = new List<(string Run, MetricPoint Point)>();
        foreach (var run in RunIds(call.Input, "run_ids"))
        {
            var page = await runs.HistoryAsync(run, call.Input.Required("metric_key"), null, null, call.Ct);
            var inside = page.Items.Where(p => from is null || (p.Step >= from && p.Step <= to)).OrderBy(p => p.Step).ThenBy(p => p.TimestampMs).ToList();
            var every = Math.Max(1, (inside.Count + limit - 1) / limit);
            for (var i = 0; i < inside.Count; i++)
            {
                if (i % every == 0 || i == inside.Count - 1)
                {
                    points.Add((run, inside[i]));
                }
            }
        }

        await SendPointsAsync(call, points);
    }

    private static IReadOnlyList<string> RunIds(MlflowInput input, string name)
    {
        var ids = input.Texts(name);
        return ids.Count switch
        {
            0 => throw input.Missing(name),
            > BulkRuns => throw SlipwayException.Invalid($"GetMetricHistoryBulk request cannot specify more than {BulkRuns} run_ids. Received {ids.Count} run_ids."),
            _ => ids,
        };
    }

    private static Task SendPointsAsync(MlflowCall call, List<(string Run, MetricPoint Point)> points) => call.SendAsync(json => MlflowJson.List(json, "metrics", points, static (j, p) =>
    {
        MlflowJson.Metric(j, p.Point);
        j.WriteString("run_id", p.Run);
    }));

    private async Task ListArtifactsAsync(MlflowCall call)
    {
        var run = await runs.GetAsync(RunId(call.Input), call.Ct);
        var files = await runs.ListArtifactsAsync(run.Id, call.Input.Text("path") ?? "", call.Ct);
        await call.SendAsync(json =>
        {
            json.WriteString("root_uri", run.ArtifactUri);
            MlflowJson.List(json, "files", files, MlflowJson.File);
        });
    }
}
