using System.Globalization;
using Microsoft.AspNetCore.Http;
using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Registry;

namespace Slipway.Server.Api;

/// <summary>Experiments, runs, models and versions. What training writes comes in by the MLflow protocol.</summary>
internal static class RegistryApi
{
    private sealed record NewExperiment(string Name, IReadOnlyList<Tag>? Tags = null);

    private sealed record NewModel(string Name, string? Description = null, IReadOnlyList<Tag>? Tags = null);

    private sealed record NewVersion(string Source, string? RunId = null, string? Description = null, IReadOnlyList<Tag>? Tags = null, ModelSignature? Signature = null);

    private sealed record AliasTarget(int Version);

    public static void Map(ApiRoutes api)
    {
        MapExperiments(api);
        MapRuns(api);
        MapModels(api);
    }

    private static void MapExperiments(ApiRoutes api)
    {
        api.Get("/experiments", Permissions.RunRead, async c => await c.Of<Experiments>().SearchAsync(
            new ExperimentSearch { Filter = c.Query("filter"), OrderBy = Order(c), Limit = c.Limit(), PageToken = c.Query("pageToken") }, c.Stop));
        api.Post("/experiments", Permissions.RunWrite, async c =>
        {
            var body = await c.BodyAsync<NewExperiment>();
            return new Created(await c.Of<Experiments>().CreateAsync(c.Actor, body.Name, body.Tags ?? [], c.Stop));
        });
        api.Get("/experiments/{experiment}", Permissions.RunRead, async c => await ExperimentAsync(c, c["experiment"]));
        api.Delete("/experiments/{experiment}", Permissions.RunWrite, async c =>
        {
            await c.Of<Experiments>().DeleteAsync(c.Actor, (await ExperimentAsync(c, c["experiment"])).Id, c.Stop);
            return null;
        });
        api.Post("/experiments/{experiment}/restore", Permissions.RunWrite, async c =>
        {
            var experiment = await ExperimentAsync(c, c["experiment"]);
            await c.Of<Experiments>().RestoreAsync(c.Actor, experiment.Id, c.Stop);
            return await c.Of<Experiments>().GetAsync(experiment.Id, c.Stop);
        });
    }

    private static void MapRuns(ApiRoutes api)
    {
        api.Get("/runs", Permissions.RunRead, async c => await c.Of<Runs>().SearchAsync(
            new RunSearch
            {
                ExperimentIds = c.Query("experiment") is { } experiment ? [(await ExperimentAsync(c, experiment)).Id] : await AllExperimentsAsync(c),
                Filter = c.Query("filter"),
                OrderBy = Order(c),
                Limit = c.Limit(),
                PageToken = c.Query("pageToken"),
            },
            c.Stop));
        api.Get("/runs/{run}", Permissions.RunRead, async c => await c.Of<Runs>().GetAsync(c["run"], c.Stop));
        api.Get("/runs/{run}/metrics/{**key}", Permissions.RunRead, async c =>
            await c.Of<Runs>().HistoryAsync(c["run"], c["key"], c.Limit(), c.Query("pageToken"), c.Stop));
        api.Get("/runs/{run}/artifacts", Permissions.RunRead, async c =>
            c.Page(await c.Of<Runs>().ListArtifactsAsync(c["run"], c.Query("path") ?? "", c.Stop), a => a.Path));
        api.Get("/runs/{run}/artifacts/{**path}", Permissions.RunRead, async c =>
            Results.Stream(await c.Of<Runs>().OpenArtifactAsync(c["run"], c["path"], c.Stop), "application/octet-stream", Path.GetFileName(c["path"])));
        api.Delete("/runs/{run}", Permissions.RunWrite, async c =>
        {
            await c.Of<Runs>().DeleteAsync(c.Actor, c["run"], c.Stop);
            return null;
        });
        api.Post("/runs/{run}/restore", Permissions.RunWrite, async c =>
        {
            await c.Of<Runs>().RestoreAsync(c.Actor, c["run"], c.Stop);
            return await c.Of<Runs>().GetAsync(c["run"], c.Stop);
        });
    }

    private static void MapModels(ApiRoutes api)
    {
        api.Get("/models", Permissions.ModelRead, async c => await c.Of<Models>().SearchAsync(
            new ModelSearch { Filter = c.Query("filter"), OrderBy = Order(c), Limit = c.Limit(), PageToken = c.Query("pageToken") }, c.Stop));
        api.Post("/models", Permissions.ModelCreate, async c =>
        {
            var body = await c.BodyAsync<NewModel>();
            return new Created(await c.Of<Models>().CreateAsync(c.Actor, body.Name, body.Description, body.Tags ?? [], c.Stop));
        });
        api.Get("/models/{model}", Permissions.ModelRead, async c => await c.Of<Models>().GetAsync(c["model"], c.Stop));
        api.Delete("/models/{model}", Permissions.ModelDelete, async c =>
        {
            await c.Of<Models>().DeleteAsync(c.Actor, c["model"], c.Stop);
            return null;
        });
        api.Get("/models/{model}/versions", Permissions.VersionRead, async c =>
            c.Page([.. (await c.Of<Models>().ListVersionsAsync(c["model"], c.Stop)).OrderByDescending(v => v.Version)], v => v.Version.ToString(CultureInfo.InvariantCulture)));
        api.Post("/models/{model}/versions", Permissions.VersionCreate, async c =>
        {
            var body = await c.BodyAsync<NewVersion>();
            return new Created(await c.Of<Models>().RegisterAsync(
                c.Actor,
                new RegisterVersion { Name = c["model"], Source = body.Source, RunId = body.RunId, Description = body.Description, Tags = body.Tags ?? [], Signature = body.Signature },
                c.Stop));
        });
        api.Get("/models/{model}/versions/{version}", Permissions.VersionRead, async c => await VersionAsync(c));
        api.Put("/models/{model}/aliases/{alias}", Permissions.AliasSet, async c =>
        {
            var target = await c.BodyAsync<AliasTarget>();
            await DemandAliasAsync(c);
            await c.Of<Models>().SetAliasAsync(c.Actor, c["model"], c["alias"], target.Version, c.Stop);
            return await c.Of<Models>().GetAsync(c["model"], c.Stop);
        });
        api.Delete("/models/{model}/aliases/{alias}", Permissions.AliasSet, async c =>
        {
            await DemandAliasAsync(c);
            await c.Of<Models>().DeleteAliasAsync(c.Actor, c["model"], c["alias"], c.Stop);
            return null;
        });
    }

    /// <summary>The version that the path names: a number, or <c>@alias</c>.</summary>
    private static Task<ModelVersion> VersionAsync(Call c) =>
        c.Of<Models>().ResolveAsync(c["version"].StartsWith('@') ? c["model"] + c["version"] : $"{c["model"]}/{c["version"]}", c.Stop);

    // A name that means "in production" is a deployment, and needs the right to make one.
    private static Task DemandAliasAsync(Call c) => Models.IsProtected(c["alias"])
        ? c.Of<Access>().DemandAsync(c.Actor, Permissions.AliasSetProtected, new Subject("model", c["model"]), c.Stop)
        : Task.CompletedTask;

    /// <summary>People say the name, programs the id; an id wins.</summary>
    private static async Task<Experiment> ExperimentAsync(Call c, string nameOrId) =>
        nameOrId.All(char.IsAsciiDigit)
            ? await c.Of<Experiments>().GetAsync(nameOrId, c.Stop)
            : await c.Of<Experiments>().FindByNameAsync(nameOrId, c.Stop) ?? throw SlipwayException.NotFound("experiment", nameOrId, "slipway experiment list");

    private static async Task<IReadOnlyList<string>> AllExperimentsAsync(Call c) =>
        [.. (await c.Of<Experiments>().SearchAsync(new ExperimentSearch { Limit = 1000 }, c.Stop)).Items.Select(e => e.Id)];

    private static string[] Order(Call c) => c.Query("orderBy")?.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries) ?? [];
}
