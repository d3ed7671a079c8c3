using System.Text;
using Slipway.Data;
using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Registry;
using Slipway.Tests.Governance;

namespace Slipway.Tests.Registry;

public sealed class ModelsTests
{
    private static readonly CancellationToken Ct = CancellationToken.None;

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Registered_version_freezes_the_files_of_its_run(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var (runs, models, artifacts) = (world.Get<Runs>(), world.Get<Models>(), world.Get<Artifacts>());
        var run = await runs.CreateAsync(TestWorld.Ada, new CreateRun { ExperimentId = "0" }, Ct);
        var blob = await runs.PutArtifactAsync(TestWorld.Ada, run.Id, "model/model.onnx", new MemoryStream(Encoding.UTF8.GetBytes("onnx")), Ct);
        await models.CreateAsync(TestWorld.Ada, "flights", "arrival delays", Ct);
        var signature = new ModelSignature([new TensorSpec("x", "FP32", [-1, 3])], [new TensorSpec("p", "FP32", [-1])], ["a", "b", "c"]);
        var version = await models.RegisterAsync(TestWorld.Ada, new RegisterVersion { Name = "flights", RunId = run.Id, Source = $"runs:/{run.Id}/model", Signature = signature, Tags = [new Tag("k", "v")] }, Ct);
        await artifacts.DeleteAsync(TestWorld.Ada, $"0/{run.Id}", Ct);

        var read = await models.ResolveAsync("flights/1", Ct);
        Assert.Equal([new ModelFile("model.onnx", blob.Hash, 4)], read.Files);
        Assert.Equal($"{run.ArtifactUri}/model", read.StorageUri);
        Assert.Equal(["a", "b", "c"], read.Signature!.FeatureNames);
        Assert.Equal([-1, 3], read.Signature.Inputs[0].Shape);
        Assert.Equal(("READY", "v", "ada", 1), (read.Status, read.Tags["k"], read.CreatedBy, version.Version));

        var copy = await models.RegisterAsync(TestWorld.Ada, new RegisterVersion { Name = "flights", Source = "models:/flights/1" }, Ct);
        Assert.Equal((2, read.StorageUri), (copy.Version, copy.StorageUri));
        Assert.Equal(read.Files, copy.Files);
        await world.SealAsync();
        var entry = Assert.Single((await world.Journal.ListAsync(new JournalFilter { Kind = "version.registered", Subject = version.Subject.ToString() }, Ct)).Items);
        Assert.Contains(run.Subject, entry.Links);
        Assert.Contains(new Subject("model", "flights"), entry.Links);
        Assert.Equal(1, entry.Read<VersionRegistered>().FileCount);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Version_numbers_are_never_used_again(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var models = world.Get<Models>();
        async Task<int> RegisterAsync(string name) => (await models.RegisterAsync(TestWorld.Ada, new RegisterVersion { Name = name, Source = "s3://bucket/m" }, Ct)).Version;
        await models.CreateAsync(TestWorld.Ada, "m", null, Ct);
        Assert.Equal(1, await RegisterAsync("m"));
        Assert.Equal(2, await RegisterAsync("m"));
        await models.SetAliasAsync(TestWorld.Ada, "m", "best", 2, Ct);
        await models.DeleteVersionAsync(TestWorld.Ada, "m", 2, Ct);
        Assert.Empty((await models.GetAsync("m", Ct)).Aliases);
        Assert.Equal(ErrorCode.NotFound, (await Assert.ThrowsAsync<SlipwayException>(() => models.GetVersionAsync("m", 2, Ct))).Code);
        Assert.Equal(3, await RegisterAsync("m"));
        await models.DeleteAsync(TestWorld.Ada, "m", Ct);
        await models.CreateAsync(TestWorld.Ada, "m", null, Ct);
        Assert.Equal(4, await RegisterAsync("m"));
        await models.CreateAsync(TestWorld.Ada, "other", null, Ct);
        await models.RenameAsync(TestWorld.Ada, "m", "n", Ct);
        Assert.Equal(ErrorCode.AlreadyExists, (await Assert.ThrowsAsync<SlipwayException>(() => models.RenameAsync(TestWorld.Ada, "other", "m", Ct))).Code);
        await models.RenameAsync(TestWorld.Ada, "n", "m", Ct);
        Assert.Equal(5, await RegisterAsync("m"));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Parallel_registrations_get_different_numbers(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var models = world.Get<Models>();
        await models.CreateAsync(TestWorld.Ada, "m", null, Ct);
        var numbers = await Task.WhenAll(Enumerable.Range(0, 12).Select(_ => Task.Run(async () =>
            (await models.RegisterAsync(TestWorld.Ada, new RegisterVersion { Name = "m", Source = "s3://bucket/m" }, Ct)).Version)));
        Assert.Equal(Enumerable.Range(1, 12), numbers.Order());
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Alias_moves_and_says_so(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var models = world.Get<Models>();
        await models.CreateAsync(TestWorld.Ada, "m", null, Ct);
        await models.RegisterAsync(TestWorld.Ada, new RegisterVersion { Name = "m", Source = "s3://b/1" }, Ct);
        await models.RegisterAsync(TestWorld.Ada, new RegisterVersion { Name = "m", Source = "s3://b/2" }, Ct);
        await models.SetAliasAsync(TestWorld.Ada, "m", "champion", 1, Ct);
        await models.SetAliasAsync(TestWorld.Ada, "m", "champion", 1, Ct);
        await models.SetAliasAsync(TestWorld.Grace, "m", "champion", 2, Ct);
        Assert.Equal(2, (await models.ResolveAsync("m@champion", Ct)).Version);
        Assert.Equal(["champion"], (await models.GetVersionAsync("m", 2, Ct)).Aliases);
        Assert.Equal(2, (await models.ResolveAsync("models:/m@latest", Ct)).Version);
        Assert.Equal("Registered model alias nope not found.", (await Assert.ThrowsAsync<SlipwayException>(() => models.ResolveAsync("m@nope", Ct))).Message);
        foreach (var alias in (string[])["latest", "LATEST", "v1", "a b", "", "a/b"])
        {
            Assert.Equal(ErrorCode.InvalidArgument, (await Assert.ThrowsAsync<SlipwayException>(() => models.SetAliasAsync(TestWorld.Ada, "m", alias, 1, Ct))).Code);
        }

        await world.SealAsync();
        var moves = (await world.Journal.ListAsync(new JournalFilter { Kind = "alias.moved", Descending = false }, Ct)).Items;
        Assert.Equal([new AliasMoved("m", "champion", null, 1), new AliasMoved("m", "champion", 1, 2)], moves.Select(e => e.Read<AliasMoved>()));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Stages_keep_the_newest_of_each(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var models = world.Get<Models>();
        await models.CreateAsync(TestWorld.Ada, "m", null, Ct);
        for (var i = 0; i < 3; i++)
        {
            await models.RegisterAsync(TestWorld.Ada, new RegisterVersion { Name = "m", Source = "s3://b/x" }, Ct);
        }

        await models.MoveToStageAsync(TestWorld.Ada, "m", 1, "production", archiveExisting: false, Ct);
        await models.MoveToStageAsync(TestWorld.Ada, "m", 2, "Production", archiveExisting: true, Ct);
        Assert.Equal("Archived", (await models.GetVersionAsync("m", 1, Ct)).Stage);
        Assert.Equal(["Archived 1", "None 3", "Production 2"], (await models.LatestAsync("m", [], Ct)).Select(v => $"{v.Stage} {v.Version}").Order(StringComparer.Ordinal));
        Assert.Equal([2], (await models.LatestAsync("m", ["PRODUCTION"], Ct)).Select(v => v.Version));
        await Assert.ThrowsAsync<SlipwayException>(() => models.MoveToStageAsync(TestWorld.Ada, "m", 2, "None", archiveExisting: true, Ct));
        await Assert.ThrowsAsync<SlipwayException>(() => models.MoveToStageAsync(TestWorld.Ada, "m", 2, "Live", archiveExisting: false, Ct));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Search_hides_prompts_and_pages_by_name(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var models = world.Get<Models>();
        foreach (var name in (string[])["b", "a", "C", "d"])
        {
            await models.CreateAsync(TestWorld.Ada, name, null, name == "a" ? [new Tag("team", "x"), new Tag("tier", "1")] : [], Ct);
        }

        await models.CreateAsync(TestWorld.Ada, "prompt", null, [new Tag("mlflow.prompt.is_prompt", "true")], Ct);
        async Task<string> Find(string? filter, params string[] order) => string.Concat((await models.SearchAsync(new ModelSearch { Filter = filter, OrderBy = order }, Ct)).Items.Select(m => m.Name));
        Assert.Equal("Cabd", await Find(null));
        Assert.Equal("Cabd", await Find("tag.`mlflow.prompt.is_prompt` != 'true'"));
        Assert.Equal("prompt", await Find("tag.`mlflow.prompt.is_prompt` = 'true'"));
        Assert.Equal("prompt", await Find("tags.`mlflow.prompt.is_prompt` != 'false'"));
        Assert.Equal("a", await Find("tags.team = 'x' AND tags.tier = '1'"));
        Assert.Equal("", await Find("tags.team = 'x' AND tags.tier = '2'"));
        Assert.Equal("C", await Find("name ILIKE 'c'"));
        Assert.Equal("dbaC", await Find(null, "name DESC"));
        var first = await models.SearchAsync(new ModelSearch { Limit = 3 }, Ct);
        await models.CreateAsync(TestWorld.Ada, "aa", null, Ct);
        var second = await models.SearchAsync(new ModelSearch { Limit = 3, PageToken = first.NextToken }, Ct);
        Assert.Equal("Cab|d", string.Concat(first.Items.Select(m => m.Name)) + "|" + string.Concat(second.Items.Select(m => m.Name)));

        await models.RegisterAsync(TestWorld.Ada, new RegisterVersion { Name = "a", Source = "s3://b/1" }, Ct);
        await models.RegisterAsync(TestWorld.Ada, new RegisterVersion { Name = "a", Source = "s3://b/2", RunId = "r1", Tags = [new Tag("k", "v")] }, Ct);
        await models.RegisterAsync(TestWorld.Ada, new RegisterVersion { Name = "b", Source = "s3://c/1" }, Ct);
        async Task<string> FindVersions(string? filter, params string[] order) =>
            string.Join(' ', (await models.SearchVersionsAsync(new ModelSearch { Filter = filter, OrderBy = order }, Ct)).Items.Select(v => $"{v.Name}{v.Version}"));
        Assert.Equal("a2 a1 b1", await FindVersions(null, "name"));
        Assert.Equal("a2", await FindVersions("name='a' AND version_number > 1"));
        Assert.Equal("a2", await FindVersions("run_id IN ('r1')"));
        Assert.Equal("a2", await FindVersions("tags.k = 'v'"));
        Assert.Equal("b1", await FindVersions("source_path LIKE 's3://c/%'"));
        Assert.Equal("a1", await FindVersions("name = 'a' AND version_number = 1"));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Protected_alias_moves_only_where_the_gate_of_the_policy_is_granted(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var models = world.Get<Models>();
        await world.Get<Policies>().ApplyAsync(Samples.Root, Samples.Automatic, Ct);
        await models.CreateAsync(TestWorld.Ada, "m", null, [new Tag(Models.PolicyTag, "automatic")], Ct);
        var version = await models.RegisterAsync(TestWorld.Ada, new RegisterVersion { Name = "m", Source = "s3://b/1" }, Ct);
        await models.SetAliasAsync(TestWorld.Ada, "m", "challenger", 1, Ct);
        foreach (var refused in (Func<Task>[])[
            () => models.SetAliasAsync(TestWorld.Ada, "m", "Champion", 1, Ct),
            () => models.MoveToStageAsync(TestWorld.Ada, "m", 1, "production", archiveExisting: false, Ct)])
        {
            Assert.Equal(ErrorCode.PreconditionFailed, (await Assert.ThrowsAsync<SlipwayException>(refused)).Code);
        }

        var evidence = new Evidence(new Dictionary<string, string>(StringComparer.Ordinal) { ["metrics.auc"] = "0.81" }, []);
        await world.Get<Gates>().RequestAsync(TestWorld.Ada, version.Subject, "automatic", evidence, ["ada"], Ct);
        await models.SetAliasAsync(TestWorld.Ada, "m", "champion", 1, Ct);
        Assert.Equal(1, (await models.ResolveAsync("m@champion", Ct)).Version);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Version_is_linked_to_the_dataset_version_its_run_read(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var (datasets, runs, models) = (world.Get<Datasets>(), world.Get<Runs>(), world.Get<Models>());
        await datasets.CreateAsync(TestWorld.Ada, "flights", null, Ct);
        var files = new[] { new CommitFile("a.csv", _ => Task.FromResult<Stream>(new MemoryStream(Encoding.UTF8.GetBytes("x,y\n1,2\n")))) };
        var data = await datasets.CommitAsync(TestWorld.Ada, "flights", new CommitRequest { Message = "one", Files = files }, Ct);
        var run = await runs.CreateAsync(TestWorld.Ada, new CreateRun { ExperimentId = "0" }, Ct);
        await runs.LogInputAsync(TestWorld.Ada, run.Id, new DatasetInput("flights", data.Id[..32], DatasetInput.SlipwaySource, "dataset-version:flights/main", Context: "training"), Ct);
        Assert.Equal(data.Subject.ToString(), Assert.Single((await runs.GetAsync(run.Id, Ct)).Inputs).Source);
        Assert.Contains(run.Subject, await datasets.UsedByAsync(data, Ct));
        var missing = await Assert.ThrowsAsync<SlipwayException>(() => runs.LogInputAsync(TestWorld.Ada, run.Id, new DatasetInput("f", "1", DatasetInput.SlipwaySource, "dataset-version:flights/nope"), Ct));
        Assert.Equal(ErrorCode.NotFound, missing.Code);

        await models.CreateAsync(TestWorld.Ada, "m", null, Ct);
        var version = await models.RegisterAsync(TestWorld.Ada, new RegisterVersion { Name = "m", Source = $"runs:/{run.Id}/model", RunId = run.Id }, Ct);
        await world.SealAsync();
        var entry = Assert.Single((await world.Journal.ListAsync(new JournalFilter { Kind = "version.registered" }, Ct)).Items);
        Assert.Equal([new Subject("model", "m"), run.Subject, data.Subject], entry.Links);
        var graph = await world.Get<Lineage>().OfAsync(version.Subject, LineageDirection.Both, 3, Ct);
        Assert.Contains(data.Subject, graph.Nodes.Select(n => n.Subject));
    }
}
