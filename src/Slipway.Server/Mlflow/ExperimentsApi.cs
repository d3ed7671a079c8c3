using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Registry;

namespace Slipway.Server.Mlflow;

/// <summary>Experiments over MLflow's REST protocol.</summary>
internal sealed class ExperimentsApi(Experiments experiments, Runs runs)
{
    internal static readonly IReadOnlyDictionary<string, View> Views = new Dictionary<string, View>(StringComparer.Ordinal)
    {
        ["ACTIVE_ONLY"] = View.ActiveOnly,
        ["DELETED_ONLY"] = View.DeletedOnly,
        ["ALL"] = View.All,
    };

    public IReadOnlyList<MlflowRoute> Routes =>
    [
        new("POST", "/mlflow/experiments/create", Permissions.RunWrite, CreateAsync),
        new("GET", "/mlflow/experiments/get", Permissions.RunRead, GetAsync),
        new("GET", "/mlflow/experiments/get-by-name", Permissions.RunRead, GetByNameAsync),
        new("POST", "/mlflow/experiments/search", Permissions.RunRead, SearchAsync),
        new("GET", "/mlflow/experiments/search", Permissions.RunRead, SearchAsync),
        // Gone from MLflow since 2.0; old clients still ask.
        new("GET", "/mlflow/experiments/list", Permissions.RunRead, SearchAsync),
        new("POST", "/mlflow/experiments/delete", Permissions.RunWrite, DeleteAsync),
        new("POST", "/mlflow/experiments/restore", Permissions.RunWrite, RestoreAsync),
        new("POST", "/mlflow/experiments/update", Permissions.RunWrite, UpdateAsync),
        new("POST", "/mlflow/experiments/set-experiment-tag", Permissions.RunWrite, SetTagAsync),
        new("POST", "/mlflow/experiments/delete-experiment-tag", Permissions.RunWrite, DeleteTagAsync),
        new("POST", "/mlflow/experiments/search-datasets", Permissions.RunRead, SearchDatasetsAsync),
    ];

    internal static IReadOnlyList<Tag> Tags(MlflowInput input) =>
        input.Items("tags").Select(t => new Tag(t.Required("key"), t.Text("value") ?? "")).ToList();

    private async Task CreateAsync(MlflowCall call)
    {
        var experiment = await experiments.CreateAsync(call.Actor, call.Input.Required("name"), call.Input.Text("artifact_location"), Tags(call.Input), call.Ct);
        await call.SendAsync(json => json.WriteString("experiment_id", experiment.Id));
    }

    private async Task GetAsync(MlflowCall call) =>
        await call.SendObjectAsync("experiment", await experiments.GetAsync(call.Input.Required("experiment_id"), call.Ct), MlflowJson.Experiment);

    private async Task GetByNameAsync(MlflowCall call)
    {
        var name = call.Input.Required("experiment_name");
        var experiment = await experiments.FindByNameAsync(name, call.Ct) ?? throw new SlipwayException(ErrorCode.NotFound, $"Could not find experiment with name '{name}'");
        await call.SendObjectAsync("experiment", experiment, MlflowJson.Experiment);
    }

    private async Task SearchAsync(MlflowCall call)
    {
        // An absent limit is 0 on the wire, which MLflow's own server refuses.
        var limit = call.Input.Int32("max_results") is { } given and not 0 ? given : 1000;
        var page = await experiments.SearchAsync(
            new ExperimentSearch
            {
                Filter = call.Input.Text("filter"),
                OrderBy = call.Input.Texts("order_by"),
                View = call.Input.Enum("view_type", Views) ?? View.ActiveOnly,
                Limit = limit,
                PageToken = call.Input.Text("page_token"),
            },
            call.Ct);
        await call.SendAsync(json => MlflowJson.Page(json, "experiments", page, MlflowJson.Experiment));
    }

    private async Task DeleteAsync(MlflowCall call)
    {
        await experiments.DeleteAsync(call.Actor, call.Input.Required("experiment_id"), call.Ct);
        await call.SendEmptyAsync();
    }

    private async Task RestoreAsync(MlflowCall call)
    {
        await experiments.RestoreAsync(call.Actor, call.Input.Required("experiment_id"), call.Ct);
        await call.SendEmptyAsync();
    }

    private async Task UpdateAsync(MlflowCall call)
    {
        await experiments.RenameAsync(call.Actor, call.Input.Required("experiment_id"), call.Input.Required("new_name"), call.Ct);
        await call.SendEmptyAsync();
    }

    private async Task SetTagAsync(MlflowCall call)
    {
        var tag = new Tag(call.Input.Required("key"), call.Input.RequiredPresent("value"));
        await experiments.SetTagAsync(call.Actor, call.Input.Required("experiment_id"), tag, call.Ct);
        await call.SendEmptyAsync();
    }

    private async Task DeleteTagAsync(MlflowCall call)
    {
        await experiments.DeleteTagAsync(call.Actor, call.Input.Required("experiment_id"), call.Input.Required("key"), call.Ct);
        await call.SendEmptyAsync();
    }

    private async Task SearchDatasetsAsync(MlflowCall call)
    {
        var summaries = await runs.DatasetsAsync(call.Input.Texts("experiment_ids"), call.Ct);
        await call.SendAsync(json => MlflowJson.List(json, "dataset_summaries", summaries, static (j, s) =>
        {
            j.WriteString("experiment_id", s.ExperimentId);
            j.WriteString("name", s.Name);
            j.WriteString("digest", s.Digest);
            if (s.Context is not null)
            {
                j.WriteString("context", s.Context);
            }
        }));
    }
}
