using System.Text.Json;
using Slipway.Governance;
using Slipway.Registry;

namespace Slipway.Server.Mlflow;

/// <summary>Logged models of MLflow 3 over its REST protocol.</summary>
internal sealed class LoggedModelsApi(LoggedModels models, ArtifactsApi artifacts)
{
    private static readonly IReadOnlyDictionary<string, LoggedModelStatus> Statuses = new Dictionary<string, LoggedModelStatus>(StringComparer.Ordinal)
    {
        ["LOGGED_MODEL_PENDING"] = LoggedModelStatus.Pending,
        ["LOGGED_MODEL_READY"] = LoggedModelStatus.Ready,
        ["LOGGED_MODEL_UPLOAD_FAILED"] = LoggedModelStatus.UploadFailed,
    };

    public IReadOnlyList<MlflowRoute> Routes =>
    [
        new("POST", "/mlflow/logged-models", Permissions.RunWrite, CreateAsync),
        new("POST", "/mlflow/logged-models/search", Permissions.RunRead, SearchAsync),
        new("GET", "/mlflow/logged-models/{model_id}", Permissions.RunRead, GetAsync),
        new("PATCH", "/mlflow/logged-models/{model_id}", Permissions.RunWrite, FinalizeAsync),
        new("DELETE", "/mlflow/logged-models/{model_id}", Permissions.RunWrite, DeleteAsync),
        new("PATCH", "/mlflow/logged-models/{model_id}/tags", Permissions.RunWrite, SetTagsAsync),
        new("DELETE", "/mlflow/logged-models/{model_id}/tags/{**tag_key}", Permissions.RunWrite, DeleteTagAsync),
        new("POST", "/mlflow/logged-models/{model_id}/params", Permissions.RunWrite, LogParamsAsync),
        new("GET", "/mlflow/logged-models/{model_id}/artifacts/directories", Permissions.RunRead, ListArtifactsAsync),
        new("GET", "/mlflow/logged-models/{model_id}/artifacts/files", Permissions.RunRead, DownloadAsync),
        new("POST", "/mlflow/runs/outputs", Permissions.RunWrite, LogOutputsAsync),
    ];

    /// <summary>The points of a batch that speak about logged models; the batch's own list has them as well.</summary>
    public static IReadOnlyList<ModelMetric> Metrics(string runId, IReadOnlyList<MlflowInput> inputs, IReadOnlyList<MetricPoint> points)
    {
        List<ModelMetric>? found = null;
        for (var i = 0; i < inputs.Count; i++)
        {
            if (inputs[i].Text("model_id") is { Length: > 0 } id)
            {
                (found ??= []).Add(new ModelMetric(points[i], id, runId, inputs[i].Text("dataset_name") ?? "", inputs[i].Text("dataset_digest") ?? ""));
            }
        }

        return found ?? (IReadOnlyList<ModelMetric>)[];
    }

    private static IReadOnlyList<Param> Params(MlflowInput input) =>
        input.Items("params").Select(p => new Param(p.Required("key"), p.Text("value") ?? "")).ToList();

    private static MetricDataset? Dataset(MlflowInput input)
    {
        var digest = input.Text("dataset_digest");
        return input.Text("dataset_name") switch
        {
            { Length: > 0 } name => new MetricDataset(name, string.IsNullOrEmpty(digest) ? null : digest),
            _ => string.IsNullOrEmpty(digest) ? null : throw input.Missing("dataset_name"),
        };
    }

    private static Task SendAsync(MlflowCall call, LoggedModel model) => call.SendObjectAsync("model", model, Write);

    private static void Write(Utf8JsonWriter json, LoggedModel model)
    {
        json.WriteStartObject("info");
        json.WriteString("model_id", model.Id);
        json.WriteString("experiment_id", model.ExperimentId);
        json.WriteString("name", model.Name);
        MlflowJson.Millis(json, "creation_timestamp_ms", model.CreatedAt);
        MlflowJson.Millis(json, "last_updated_timestamp_ms", model.UpdatedAt);
        json.WriteString("artifact_uri", model.ArtifactUri);
        json.WriteString("status", Statuses.First(s => s.Value == model.Status).Key);
        if (model.ModelType is not null)
        {
            json.WriteString("model_type", model.ModelType);
        }

        if (model.SourceRunId is not null)
        {
            json.WriteString("source_run_id", model.SourceRunId);
        }

        MlflowJson.List(json, "tags", model.Tags, MlflowJson.Tag);
        json.WriteEndObject();
        json.WriteStartObject("data");
        MlflowJson.List(json, "params", model.Params, static (j, p) =>
        {
            j.WriteString("key", p.Key);
            j.WriteString("value", p.Value);
        });
        MlflowJson.List(json, "metrics", model.Metrics, static (j, m) =>
        {
            MlflowJson.Metric(j, m.Point);
            if (m.DatasetName.Length > 0)
            {
                j.WriteString("dataset_name", m.DatasetName);
            }

            if (m.DatasetDigest.Length > 0)
            {
                j.WriteString("dataset_digest", m.DatasetDigest);
            }

            j.WriteString("model_id", m.ModelId);
            j.WriteString("run_id", m.RunId);
        });
        json.WriteEndObject();
    }

    private async Task CreateAsync(MlflowCall call)
    {
        var model = await models.CreateAsync(
            call.Actor,
            new CreateLoggedModel
            {
                ExperimentId = call.Input.Required("experiment_id"),
                Name = call.Input.Text("name"),
                ModelType = call.Input.Text("model_type"),
                SourceRunId = call.Input.Text("source_run_id"),
                Params = Params(call.Input),
                Tags = ExperimentsApi.Tags(call.Input),
            },
            call.Ct);
        await SendAsync(call, model);
    }

    private async Task GetAsync(MlflowCall call) => await SendAsync(call, await models.GetAsync(call["model_id"], call.Input.Flag("allow_deleted") ?? false, call.Ct));

    private async Task FinalizeAsync(MlflowCall call)
    {
        var status = call.Input.Enum("status", Statuses) ?? throw call.Input.Missing("status");
        await SendAsync(call, await models.FinalizeAsync(call.Actor, call["model_id"], status, call.Ct));
    }

    private async Task DeleteAsync(MlflowCall call)
    {
        await models.DeleteAsync(call.Actor, call["model_id"], call.Ct);
        await call.SendEmptyAsync();
    }

    private async Task SetTagsAsync(MlflowCall call) => await SendAsync(call, await models.SetTagsAsync(call.Actor, call["model_id"], ExperimentsApi.Tags(call.Input), call.Ct));

    private async Task DeleteTagAsync(MlflowCall call)
    {
        // Routing leaves an encoded slash as it came.
        await models.DeleteTagAsync(call.Actor, call["model_id"], call["tag_key"].Replace("%2F", "/", StringComparison.OrdinalIgnoreCase), call.Ct);
        await call.SendEmptyAsync();
    }

    private async Task LogParamsAsync(MlflowCall call)
    {
        await models.LogParamsAsync(call.Actor, call["model_id"], Params(call.Input), call.Ct);
        await call.SendEmptyAsync();
    }

    private async Task SearchAsync(MlflowCall call)
    {
        var page = await models.SearchAsync(
            new LoggedModelSearch
            {
                ExperimentIds = call.Input.Texts("experiment_ids"),
                Filter = call.Input.Text("filter"),
                Datasets = call.Input.Items("datasets").Select(d => Dataset(d) ?? throw d.Missing("dataset_name")).ToList(),
                OrderBy = call.Input.Items("order_by").Select(o => new LoggedModelOrder(o.Required("field_name"), o.Flag("ascending") ?? true, Dataset(o))).ToList(),
                Limit = call.Input.Int32("max_results") is { } given and not 0 ? given : 50,
                PageToken = call.Input.Text("page_token"),
            },
            call.Ct);
        await call.SendAsync(json => MlflowJson.Page(json, "models", page, Write));
    }

    private async Task ListArtifactsAsync(MlflowCall call)
    {
        var (root, files) = await models.ListArtifactsAsync(call["model_id"], call.Input.Text("artifact_directory_path") ?? "", call.Ct);
        await call.SendAsync(json =>
        {
            json.WriteString("root_uri", root);
            MlflowJson.List(json, "files", files, MlflowJson.File);
        });
    }

    private async Task DownloadAsync(MlflowCall call) =>
        await artifacts.DownloadAsync(call.Http, await models.ArtifactPathAsync(call["model_id"], call.Input.Required("artifact_file_path"), call.Ct));

    private async Task LogOutputsAsync(MlflowCall call)
    {
        var links = call.Input.Items("models").Select(m => new ModelLink(m.Required("model_id"), m.Integer("step") ?? 0)).ToList();
        await models.LogOutputsAsync(call.Actor, call.Input.Required("run_id"), links, call.Ct);
        await call.SendEmptyAsync();
    }
}
