using System.Globalization;
using Microsoft.AspNetCore.Http;
using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Registry;

namespace Slipway.Server.Api;

/// <summary>Experiments, runs, models and versions. What training writes comes in by the MLflow protocol.</summary>
internal static class RegistryApi
{
    /// <summary>Items of one purge; more are purged by asking again.</summary>
    private const int PurgeAtOnce = 1000;

    private sealed record NewExperiment(string Name, IReadOnlyList<Tag>? Tags = null);

    private sealed record NewModel(string Name, string? Description = null, IReadOnlyList<Tag>? Tags = null);

    private sealed record NewVersion(string Source, string? RunId = null, string? Description = null, IReadOnlyList<Tag>? Tags = null, ModelSignature? Signature = null);

    private sealed record AliasTarget(int Version);

    /// <summary>What to purge: named items as <c>kind:id</c>, or everything that was deleted before a time.</summary>
    private sealed record PurgeRequest(IReadOnlyList<string>? Items = null, string? Kind = null, DateTimeOffset? DeletedBefore = null, bool DryRun = false);

    public static void Map(ApiRoutes api)
    {
        MapExperiments(api);
        MapRuns(api);
        MapModels(api);
        MapTrash(api);
    }

    private static void MapTrash(ApiRoutes api)
    {
        api.Get("/trash", Permissions.RunRead, async c => await c.Of<Trash>().ListAsync(c.Query("kind"), c.Time("deletedBefore"), c.Limit(), c.Query("pageToken"), c.Stop));
        api.Get("/trash/{kind}/{id}", Permissions.RunRead, async c => await c.Of<Trash>().PreviewAsync(c["kind"], c["id"], c.Stop));
        api.Post("/trash/{kind}/{id}/restore", Permissions.RunWrite, async c =>
        {
            if (c["kind"] == "model")
            {
                await c.Of<Access>().DemandAsync(c.Actor, Permissions.ModelCreate, null, c.Stop);
            }

            var item = await c.Of<Trash>().GetAsync(c["kind"], c["id"], c.Stop);
            await c.Of<Trash>().RestoreAsync(c.Actor, item.Kind, item.Id, c.Stop);
            return item;
        });
        api.Post("/trash/purge", Permissions.ConfigManage, async c =>
        {
            var body = await c.BodyAsync<PurgeRequest>();
            var trash = c.Of<Trash>();
            if (body.Items is null == body.DeletedBefore is null)
            {
                throw SlipwayException.Invalid("nothing was purged", "either items or deletedBefore says what", "name items as kind:id, or a time");
            }

            var items = body.Items is not null
                ? body.Items.Take(PurgeAtOnce).Select(Item).ToList()
                : [.. (await trash.ListAsync(body.Kind, body.DeletedBefore, PurgeAtOnce, null, c.Stop)).Items.Select(i => (i.Kind, i.Id))];
            var results = new List<PurgeResult>();
            foreach (var (kind, id) in items)
            {
                results.Add(body.DryRun ? await trash.PreviewAsync(kind, id, c.Stop) : await trash.PurgeAsync(c.Actor, kind, id, c.Stop));
            }

            return new Page<PurgeResult>(results, null);
        });
    }

    private static (string Kind, string Id) Item(string text) => text.IndexOf(':', StringComparison.Ordinal) is > 0 and var colon
        ? (text[..colon], text[(colon + 1)..])
        : throw SlipwayException.Invalid("nothing was purged", $"\"{text}\" is no item", "write it as kind:id, for example run:0193a7c2f0d27f3c9a41b6d0a2e5c001");

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
    internal static Task<ModelVersion> VersionAsync(Call c) =>
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
