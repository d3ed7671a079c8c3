using Slipway.Data;
using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Registry;

namespace Slipway.Tests.Registry;

public sealed class TrashTests
{
    private static readonly CancellationToken None = CancellationToken.None;

    [Theory]
    [MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task A_purged_run_is_gone_with_its_files_and_its_content_is_collected(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var (runs, trash) = (world.Get<Runs>(), world.Get<Trash>());
        var run = await RunAsync(world, "0", "gone");
        var kept = await RunAsync(world, "0", "kept");
        var blob = await runs.PutArtifactAsync(TestWorld.Ada, run.Id, "model/large.bin", new MemoryStream(new byte[50_000]), None);
        var shared = await runs.PutArtifactAsync(TestWorld.Ada, run.Id, "shared.bin", new MemoryStream(new byte[60_000]), None);
        await runs.PutArtifactAsync(TestWorld.Ada, kept.Id, "shared.bin", new MemoryStream(new byte[60_000]), None);
        await RefusedAsync(ErrorCode.NotFound, () => trash.PurgeAsync(TestWorld.Ada, "run", run.Id, None));

        await runs.DeleteAsync(TestWorld.Grace, run.Id, None);
        var item = Assert.Single((await trash.ListAsync(null, null, 10, null, None)).Items);
        Assert.Equal(("run", run.Id, "gone", "grace", 2L, 110_000L), (item.Kind, item.Id, item.Name, item.DeletedBy, item.Files, item.Bytes));
        await trash.RestoreAsync(TestWorld.Ada, "run", "gone", None);
        Assert.Empty((await trash.ListAsync(null, null, 10, null, None)).Items);
        await runs.DeleteAsync(TestWorld.Ada, run.Id, None);
        Assert.True((await trash.PreviewAsync("run", run.Id, None)).Purged);
        Assert.True((await runs.GetAsync(run.Id, None)).Deleted);

        world.Clock.Advance(TimeSpan.FromHours(30));
        Assert.True((await trash.PurgeAsync(TestWorld.Ada, "run", run.Id, None)).Purged);
        await RefusedAsync(ErrorCode.NotFound, () => runs.GetAsync(run.Id, None));
        Assert.Empty(await world.Get<Artifacts>().ListAsync($"0/{run.Id}", None));
        Assert.DoesNotContain(await world.Get<Artifacts>().ListAsync("0", None), f => f.Path == run.Id);
        await world.PumpAsync();
        Assert.False(await world.Get<IBlobStore>().ExistsAsync(blob.Hash, None));
        Assert.True(await world.Get<IBlobStore>().ExistsAsync(shared.Hash, None));
        Assert.Contains((await world.Journal.ListAsync(new JournalFilter { Kind = "run.purged" }, None)).Items, e => e.Actor.Name == "ada");
    }

    [Theory]
    [MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task A_purged_experiment_frees_its_name(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var (experiments, trash) = (world.Get<Experiments>(), world.Get<Trash>());
        var experiment = await experiments.CreateAsync(TestWorld.Ada, "churn", [], None);
        for (var i = 0; i < 3; i++)
        {
            await RunAsync(world, experiment.Id, $"r{i}");
        }

        await experiments.DeleteAsync(TestWorld.Ada, experiment.Id, None);
        await RefusedAsync(ErrorCode.AlreadyExists, () => experiments.CreateAsync(TestWorld.Ada, "churn", [], None));

        var result = await trash.PurgeAsync(TestWorld.Ada, "experiment", "churn", None);
        Assert.Equal((true, 3L), (result.Purged, result.Item.Runs));
        Assert.NotEqual(experiment.Id, (await experiments.CreateAsync(TestWorld.Ada, "churn", [], None)).Id);
        await RefusedAsync(ErrorCode.NotFound, () => experiments.GetAsync(experiment.Id, None));
        Assert.Empty((await trash.ListAsync(null, null, 10, null, None)).Items);
    }

    [Theory]
    [MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task A_deleted_model_comes_back_whole_and_goes_on_counting(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var (models, trash) = (world.Get<Models>(), world.Get<Trash>());
        var run = await RunAsync(world, "0", "r");
        await world.Get<Runs>().PutArtifactAsync(TestWorld.Ada, run.Id, "model/m.bin", new MemoryStream(new byte[20_000]), None);
        await models.CreateAsync(TestWorld.Ada, "fraud", "finds fraud", [new Tag("team", "risk")], None);
        for (var i = 0; i < 2; i++)
        {
            await models.RegisterAsync(TestWorld.Ada, new RegisterVersion { Name = "fraud", RunId = run.Id, Source = $"runs:/{run.Id}/model", Tags = [new Tag("n", $"{i}")] }, None);
        }

        await models.SetAliasAsync(TestWorld.Ada, "fraud", "shadow", 2, None);
        var before = await models.GetVersionAsync("fraud", 2, None);

        await models.DeleteAsync(TestWorld.Ada, "fraud", None);
        await models.CreateAsync(TestWorld.Ada, "fraud", null, None);
        await RefusedAsync(ErrorCode.AlreadyExists, () => trash.RestoreAsync(TestWorld.Ada, "model", "fraud", None));
        await models.RegisterAsync(TestWorld.Ada, new RegisterVersion { Name = "fraud", Source = "s3://bucket/m" }, None);
        await models.DeleteAsync(TestWorld.Ada, "fraud", None);
        await RefusedAsync(ErrorCode.Conflict, () => trash.RestoreAsync(TestWorld.Ada, "model", "fraud", None));
        var old = (await trash.ListAsync("model", null, 10, null, None)).Items.Single(i => i.Versions == 2);
        await trash.RestoreAsync(TestWorld.Ada, "model", old.Id, None);

        var after = await models.GetVersionAsync("fraud", 2, None);
        Assert.Equal((before.Files.Single(), before.RunId, before.Source, "shadow", "1"), (after.Files.Single(), after.RunId, after.Source, after.Aliases.Single(), after.Tags.Single().Value));
        Assert.Equal("finds fraud", (await models.GetAsync("fraud", None)).Description);
        // Version 3 was another model's: an approval of fraud/3 must never cover another content.
        Assert.Equal(4, (await models.RegisterAsync(TestWorld.Ada, new RegisterVersion { Name = "fraud", Source = "s3://bucket/m" }, None)).Version);
    }

    [Theory]
    [MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task What_something_needs_is_kept_with_the_reason(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine, s => s
            .AddHold("SELECT 'endpoint shop' AS holder, '{\"variants\":[{\"version\":\"served/1\"}]}' AS text", serves: true)
            .AddHold("SELECT 'monitor m1' AS holder, 'watched/1' AS text"));
        var (models, runs, trash) = (world.Get<Models>(), world.Get<Runs>(), world.Get<Trash>());
        var run = await RunAsync(world, "0", "source");
        foreach (var name in (string[])["served", "watched", "watched1", "gated", "free", "retained"])
        {
            await models.CreateAsync(TestWorld.Ada, name, null, name == "retained" ? [new Tag(Trash.RetainTag, "2026-12-31")] : [], None);
            await models.RegisterAsync(TestWorld.Ada, new RegisterVersion { Name = name, RunId = run.Id, Source = $"runs:/{run.Id}/model" }, None);
        }

        Assert.StartsWith("endpoint shop", (await RefusedAsync(ErrorCode.PreconditionFailed, () => models.DeleteAsync(TestWorld.Ada, "served", None))).Why, StringComparison.Ordinal);
        foreach (var name in (string[])["watched", "watched1", "free", "retained"])
        {
            await models.DeleteAsync(TestWorld.Ada, name, None);
        }

        Assert.Equal(["monitor m1 needs version watched/1"], (await trash.PurgeAsync(TestWorld.Ada, "model", "watched", None)).Refused);
        Assert.True((await trash.PurgeAsync(TestWorld.Ada, "model", "watched1", None)).Purged);
        Assert.True((await trash.PurgeAsync(TestWorld.Ada, "model", "free", None)).Purged);
        Assert.Contains("2026-12-31", Assert.Single((await trash.PurgeAsync(TestWorld.Ada, "model", "retained", None)).Refused), StringComparison.Ordinal);
        world.Clock.Advance(TimeSpan.FromDays(365));
        Assert.True((await trash.PurgeAsync(TestWorld.Ada, "model", "retained", None)).Purged);

        await runs.DeleteAsync(TestWorld.Ada, run.Id, None);
        Assert.Equal(["version gated/1 came from it", "version served/1 came from it"], (await trash.PurgeAsync(TestWorld.Ada, "run", run.Id, None)).Refused);
        Assert.True((await runs.GetAsync(run.Id, None)).Deleted);
        await world.Get<Experiments>().DeleteAsync(TestWorld.Ada, "0", None);
        Assert.Contains("the experiment 0 always exists", (await trash.PreviewAsync("experiment", "0", None)).Refused);
    }

    [Theory]
    [MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task The_list_goes_on_where_its_page_ended(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        for (var i = 0; i < 5; i++)
        {
            await world.Get<Runs>().DeleteAsync(TestWorld.Ada, (await RunAsync(world, "0", $"r{i}")).Id, None);
            world.Clock.Advance(TimeSpan.FromMinutes(i % 2));
        }

        var seen = new List<string>();
        string? token = null;
        do
        {
            var page = await world.Get<Trash>().ListAsync("run", null, 2, token, None);
            seen.AddRange(page.Items.Select(i => i.Name));
            token = page.NextToken;
        }
        while (token is not null);
        Assert.Equal(["r0", "r1", "r2", "r3", "r4"], seen.Order());
        Assert.Equal("r4", seen[0]);
        await RefusedAsync(ErrorCode.InvalidArgument, () => world.Get<Trash>().ListAsync("dataset", null, 2, null, None));
    }

    private static Task<Run> RunAsync(TestWorld world, string experiment, string name) =>
        world.Get<Runs>().CreateAsync(TestWorld.Ada, new CreateRun { ExperimentId = experiment, Name = name, UserId = "ada" }, None);

    private static async Task<SlipwayException> RefusedAsync(ErrorCode code, Func<Task> act)
    {
        var refused = await Assert.ThrowsAsync<SlipwayException>(act);
        Assert.Equal(code, refused.Code);
        return refused;
    }
}

internal static class Holds
{
    public static Microsoft.Extensions.DependencyInjection.IServiceCollection AddHold(this Microsoft.Extensions.DependencyInjection.IServiceCollection services, string sql, bool serves = false)
    {
        services.Add(new Microsoft.Extensions.DependencyInjection.ServiceDescriptor(typeof(SubjectHold), new SubjectHold(sql, serves)));
        return services;
    }
}
