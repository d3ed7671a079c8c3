using System.Globalization;
using Slipway.Governance;
using Slipway.Registry;

namespace Slipway.Server.Mlflow;

/// <summary>The model registry over MLflow's REST protocol.</summary>
internal sealed class ModelsApi(Models models)
{
    public IReadOnlyList<MlflowRoute> Routes =>
    [
        new("POST", "/mlflow/registered-models/create", Permissions.ModelCreate, CreateAsync),
        new("POST", "/mlflow/registered-models/rename", Permissions.ModelUpdate, RenameAsync),
        new("PATCH", "/mlflow/registered-models/update", Permissions.ModelUpdate, UpdateAsync),
        new("DELETE", "/mlflow/registered-models/delete", Permissions.ModelDelete, DeleteAsync),
        new("GET", "/mlflow/registered-models/get", Permissions.ModelRead, GetAsync),
        new("GET", "/mlflow/registered-models/search", Permissions.ModelRead, SearchAsync),
        new("POST", "/mlflow/registered-models/search", Permissions.ModelRead, SearchAsync),
        new("GET", "/mlflow/registered-models/get-latest-versions", Permissions.VersionRead, LatestAsync),
        new("POST", "/mlflow/registered-models/get-latest-versions", Permissions.VersionRead, LatestAsync),
        new("POST", "/mlflow/registered-models/set-tag", Permissions.ModelUpdate, SetTagAsync),
        new("DELETE", "/mlflow/registered-models/delete-tag", Permissions.ModelUpdate, DeleteTagAsync),
        new("POST", "/mlflow/registered-models/alias", Permissions.AliasSet, SetAliasAsync),
        new("DELETE", "/mlflow/registered-models/alias", Permissions.AliasSet, DeleteAliasAsync),
        new("GET", "/mlflow/registered-models/alias", Permissions.VersionRead, GetByAliasAsync),
        new("POST", "/mlflow/model-versions/create", Permissions.VersionCreate, RegisterAsync),
        new("PATCH", "/mlflow/model-versions/update", Permissions.ModelUpdate, UpdateVersionAsync),
        new("POST", "/mlflow/model-versions/transition-stage", Permissions.AliasSet, MoveToStageAsync),
        new("DELETE", "/mlflow/model-versions/delete", Permissions.ModelDelete, DeleteVersionAsync),
        new("GET", "/mlflow/model-versions/get", Permissions.VersionRead, GetVersionAsync),
        new("GET", "/mlflow/model-versions/search", Permissions.VersionRead, SearchVersionsAsync),
        new("POST", "/mlflow/model-versions/search", Permissions.VersionRead, SearchVersionsAsync),
        new("GET", "/mlflow/model-versions/get-download-uri", Permissions.VersionRead, GetDownloadUriAsync),
        new("POST", "/mlflow/model-versions/set-tag", Permissions.ModelUpdate, SetVersionTagAsync),
        new("DELETE", "/mlflow/model-versions/delete-tag", Permissions.ModelUpdate, DeleteVersionTagAsync),
    ];

    private static string Name(MlflowCall call) => call.Input.Required("name");

    private static int Version(MlflowCall call)
    {
        var text = call.Input.Required("version");
        return int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var version) && version > 0
            ? version
            : throw call.Input.Bad("version", text, "Model version must be a positive integer");
    }

    private static Tag TagOf(MlflowCall call, bool valueRequired) =>
        new(call.Input.Required("key"), valueRequired ? call.Input.RequiredPresent("value") : call.Input.Text("value") ?? "");

    private static ModelSearch Search(MlflowCall call, int limit) => new()
    {
        Filter = call.Input.Text("filter"),
        OrderBy = call.Input.Texts("order_by"),
        Limit = call.Input.Int32("max_results") ?? limit,
        PageToken = call.Input.Text("page_token"),
    };

    private static Task SendModelAsync(MlflowCall call, Model model) => call.SendObjectAsync("registered_model", model, static (j, m) => MlflowJson.Model(j, m, whole: false));

    private static Task SendVersionAsync(MlflowCall call, ModelVersion version) => call.SendObjectAsync("model_version", version, static (j, v) => MlflowJson.Version(j, v, whole: true));

    private async Task CreateAsync(MlflowCall call) =>
        await SendModelAsync(call, await models.CreateAsync(call.Actor, call.Input.Text("name") ?? "", call.Input.Text("description"), ExperimentsApi.Tags(call.Input), call.Ct));

    private async Task RenameAsync(MlflowCall call) => await SendModelAsync(call, await models.RenameAsync(call.Actor, Name(call), call.Input.Required("new_name"), call.Ct));

    private async Task UpdateAsync(MlflowCall call) => await SendModelAsync(call, call.Input.Text("description") is { } description
        ? await models.DescribeAsync(call.Actor, Name(call), description, call.Ct)
        : await models.GetAsync(Name(call), call.Ct));

    private async Task DeleteAsync(MlflowCall call)
    {
        await models.DeleteAsync(call.Actor, Name(call), call.Ct);
        await call.SendEmptyAsync();
    }

    private async Task GetAsync(MlflowCall call) => await SendModelAsync(call, await models.GetAsync(Name(call), call.Ct));

    private async Task SearchAsync(MlflowCall call)
    {
        var page = await models.SearchAsync(Search(call, 100), call.Ct);
        await call.SendAsync(json => MlflowJson.Page(json, "registered_models", page, static (j, m) => MlflowJson.Model(j, m, whole: false)));
    }

    private async Task LatestAsync(MlflowCall call)
    {
        var versions = await models.LatestAsync(Name(call), call.Input.Texts("stages"), call.Ct);
        await call.SendAsync(json => MlflowJson.List(json, "model_versions", versions, static (j, v) => MlflowJson.Version(j, v, whole: true)));
    }

    private async Task SetTagAsync(MlflowCall call)
    {
        await models.SetTagAsync(call.Actor, Name(call), TagOf(call, valueRequired: false), call.Ct);
        await call.SendEmptyAsync();
    }

    private async Task DeleteTagAsync(MlflowCall call)
    {
        await models.DeleteTagAsync(call.Actor, Name(call), call.Input.Required("key"), call.Ct);
        await call.SendEmptyAsync();
    }

    private async Task SetAliasAsync(MlflowCall call)
    {
        await models.SetAliasAsync(call.Actor, Name(call), call.Input.Required("alias"), Version(call), call.Ct);
        await call.SendEmptyAsync();
    }

    private async Task DeleteAliasAsync(MlflowCall call)
    {
        await models.DeleteAliasAsync(call.Actor, Name(call), call.Input.Required("alias"), call.Ct);
        await call.SendEmptyAsync();
    }

    private async Task GetByAliasAsync(MlflowCall call) => await SendVersionAsync(call, await models.GetByAliasAsync(Name(call), call.Input.Required("alias"), call.Ct));

    private async Task RegisterAsync(MlflowCall call)
    {
        var version = await models.RegisterAsync(
            call.Actor,
            new RegisterVersion
            {
                Name = Name(call),
                Source = call.Input.Required("source"),
                RunId = call.Input.Text("run_id"),
                RunLink = call.Input.Text("run_link") ?? "",
                Description = call.Input.Text("description"),
                Tags = call.Input.Items("tags").Select(t => new Tag(t.Required("key"), t.RequiredPresent("value"))).ToList(),
            },
            call.Ct);
        await SendVersionAsync(call, version);
    }

    private async Task UpdateVersionAsync(MlflowCall call) => await SendVersionAsync(call, call.Input.Text("description") is { } description
        ? await models.DescribeVersionAsync(call.Actor, Name(call), Version(call), description, call.Ct)
        : await models.GetVersionAsync(Name(call), Version(call), call.Ct));

    private async Task MoveToStageAsync(MlflowCall call)
    {
        var archive = call.Input.Flag("archive_existing_versions") ?? false;
        await SendVersionAsync(call, await models.MoveToStageAsync(call.Actor, Name(call), Version(call), call.Input.Required("stage"), archive, call.Ct));
    }

    private async Task DeleteVersionAsync(MlflowCall call)
    {
        await models.DeleteVersionAsync(call.Actor, Name(call), Version(call), call.Ct);
        await call.SendEmptyAsync();
    }

    private async Task GetVersionAsync(MlflowCall call) => await SendVersionAsync(call, await models.GetVersionAsync(Name(call), Version(call), call.Ct));

    private async Task SearchVersionsAsync(MlflowCall call)
    {
        var page = await models.SearchVersionsAsync(Search(call, 200_000), call.Ct);
        await call.SendAsync(json => MlflowJson.Page(json, "model_versions", page, static (j, v) => MlflowJson.Version(j, v, whole: true)));
    }

    private async Task GetDownloadUriAsync(MlflowCall call)
    {
        var version = await models.GetVersionAsync(Name(call), Version(call), call.Ct);
        await call.SendAsync(json => json.WriteString("artifact_uri", version.StorageUri));
    }

    private async Task SetVersionTagAsync(MlflowCall call)
    {
        await models.SetVersionTagAsync(call.Actor, Name(call), Version(call), TagOf(call, valueRequired: true), call.Ct);
        await call.SendEmptyAsync();
    }

    private async Task DeleteVersionTagAsync(MlflowCall call)
    {
        await models.DeleteVersionTagAsync(call.Actor, Name(call), Version(call), call.Input.Required("key"), call.Ct);
        await call.SendEmptyAsync();
    }
}
