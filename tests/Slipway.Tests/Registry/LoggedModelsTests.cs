using System.Text;
using Slipway.Foundation;
using Slipway.Registry;

namespace Slipway.Tests.Registry;

public sealed class LoggedModelsTests
{
    private static readonly CancellationToken Ct = CancellationToken.None;

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Model_is_logged_uploaded_and_registered(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var (runs, logged, models) = (world.Get<Runs>(), world.Get<LoggedModels>(), world.Get<Models>());
        var run = await runs.CreateAsync(TestWorld.Ada, new CreateRun { ExperimentId = "0" }, Ct);
        var model = await logged.CreateAsync(TestWorld.Ada, new CreateLoggedModel { ExperimentId = "0", Name = "clf", SourceRunId = run.Id, Params = [new Param("depth", "3")], Tags = [new Tag("a", "1")] }, Ct);
        Assert.Matches("^m-[0-9a-f]{32}$", model.Id);
        Assert.Equal((LoggedModelStatus.Pending, $"mlflow-artifacts:/0/models/{model.Id}/artifacts"), (model.Status, model.ArtifactUri));
        await logged.LogOutputsAsync(TestWorld.Ada, run.Id, [new ModelLink(model.Id, 7), new ModelLink(model.Id, 8)], Ct);
        await runs.LogInputsAsync(TestWorld.Ada, run.Id, [], [model.Id], Ct);
        var blob = await world.Get<Artifacts>().PutAsync(TestWorld.Ada, $"0/models/{model.Id}/artifacts/MLmodel", new MemoryStream(Encoding.UTF8.GetBytes("flavors: {}")), Ct);
        Assert.Equal(LoggedModelStatus.Ready, (await logged.FinalizeAsync(TestWorld.Ada, model.Id, LoggedModelStatus.Ready, Ct)).Status);

        var read = await runs.GetAsync(run.Id, Ct);
        Assert.Equal(new ModelLink(model.Id, 7), Assert.Single(read.ModelOutputs));
        Assert.Equal(new ModelLink(model.Id), Assert.Single(read.ModelInputs));
        Assert.Equal("MLmodel", Assert.Single((await logged.ListArtifactsAsync(model.Id, "", Ct)).Files).Path);

        await models.CreateAsync(TestWorld.Ada, "flights", null, Ct);
        var version = await models.RegisterAsync(TestWorld.Ada, new RegisterVersion { Name = "flights", Source = $"models:/{model.Id}" }, Ct);
        Assert.Equal((run.Id, $"models:/{model.Id}", model.ArtifactUri, model.Id), (version.RunId, version.Source, version.StorageUri, version.LoggedModelId));
        Assert.Equal([new ModelFile("MLmodel", blob.Hash, 11)], version.Files);
        await models.RegisterAsync(TestWorld.Ada, new RegisterVersion { Name = "flights", Source = $"models:/{model.Id}" }, Ct);
        var tags = (await logged.GetAsync(model.Id, allowDeleted: false, Ct)).Tags;
        Assert.Equal("""[{"name":"flights","version":"1"},{"name":"flights","version":"2"}]""", tags.Single(t => t.Key == "mlflow.modelVersions").Value);
        var copy = await models.RegisterAsync(TestWorld.Ada, new RegisterVersion { Name = "flights", Source = "models:/flights/1" }, Ct);
        Assert.Equal((version.StorageUri, null), (copy.StorageUri, copy.LoggedModelId));

        await world.SealAsync();
        var entry = (await world.Journal.ListAsync(new JournalFilter { Kind = "version.registered", Descending = false }, Ct)).Items[0];
        Assert.Equal([new Subject("model", "flights"), model.Subject, run.Subject], entry.Links);
        Assert.Equal(
            ["logged-model.created", "run.outputs-logged", "run.models-logged", "artifact.stored", "logged-model.finalized"],
            (await world.Journal.ListAsync(new JournalFilter { Subject = model.Subject.ToString(), Descending = false }, Ct)).Items.Select(e => e.Kind).Take(5));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Metrics_belong_to_the_run_and_the_model_or_to_neither(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var (runs, logged) = (world.Get<Runs>(), world.Get<LoggedModels>());
        var run = await runs.CreateAsync(TestWorld.Ada, new CreateRun { ExperimentId = "0" }, Ct);
        var model = await logged.CreateAsync(TestWorld.Ada, new CreateLoggedModel { ExperimentId = "0" }, Ct);
        var auc = new ModelMetric(new MetricPoint("auc", 0.8, 1, 1), model.Id, run.Id, "train", "d1");
        await runs.LogMetricAsync(TestWorld.Ada, run.Id, auc, Ct);
        await runs.LogMetricAsync(TestWorld.Ada, run.Id, auc, Ct);
        var loss = new MetricPoint("loss", double.NaN, 2, 2);
        await runs.LogBatchAsync(TestWorld.Ada, run.Id, [loss, new MetricPoint("other", 1, 1)], [], [], [new ModelMetric(loss, model.Id, run.Id)], Ct);
        Assert.Equal([auc, new ModelMetric(loss, model.Id, run.Id)], (await logged.GetAsync(model.Id, allowDeleted: false, Ct)).Metrics);
        Assert.Equal(["auc", "loss", "other"], (await runs.GetAsync(run.Id, Ct)).Metrics.Select(m => m.Key));

        var missing = await Assert.ThrowsAsync<SlipwayException>(() => runs.LogBatchAsync(
            TestWorld.Ada, run.Id, [new MetricPoint("new", 1, 1)], [new Param("p", "1")], [], [new ModelMetric(new MetricPoint("new", 1, 1), "m-none", run.Id)], Ct));
        Assert.Equal((ErrorCode.NotFound, "Logged model with ID 'm-none' not found."), (missing.Code, missing.Message));
        await Assert.ThrowsAsync<SlipwayException>(() => runs.LogInputsAsync(TestWorld.Ada, run.Id, [new DatasetInput("d", "1", "local", "x")], ["m-none"], Ct));
        await Assert.ThrowsAsync<SlipwayException>(() => logged.LogOutputsAsync(TestWorld.Ada, run.Id, [new ModelLink(model.Id), new ModelLink("m-none")], Ct));
        var read = await runs.GetAsync(run.Id, Ct);
        Assert.Equal((3, 0, 0, 0), (read.Metrics.Count, read.Params.Count, read.Inputs.Count, read.ModelOutputs.Count));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Models_are_searched_by_what_they_are_and_measured(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var (runs, logged) = (world.Get<Runs>(), world.Get<LoggedModels>());
        var run = await runs.CreateAsync(TestWorld.Ada, new CreateRun { ExperimentId = "0" }, Ct);
        var ids = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var (name, value, dataset) in new[] { ("a", 0.7, "train"), ("b", 0.9, "test"), ("c", double.NaN, "train") })
        {
            world.Clock.Advance(TimeSpan.FromSeconds(1));
            var model = await logged.CreateAsync(TestWorld.Ada, new CreateLoggedModel { ExperimentId = "0", Name = name, ModelType = name == "b" ? "agent" : null, SourceRunId = run.Id, Params = [new Param("p", name)], Tags = [new Tag("my tag", name)] }, Ct);
            ids[name] = model.Id;
            var point = new MetricPoint("acc", value, 1, 1);
            await runs.LogBatchAsync(TestWorld.Ada, run.Id, [point], [], [], [new ModelMetric(point, model.Id, run.Id, dataset, "x")], Ct);
        }

        world.Clock.Advance(TimeSpan.FromSeconds(1));
        await logged.CreateAsync(TestWorld.Ada, new CreateLoggedModel { ExperimentId = "0", Name = "d" }, Ct);
        await logged.FinalizeAsync(TestWorld.Ada, ids["a"], LoggedModelStatus.Ready, Ct);
        async Task<string> Find(string? filter, LoggedModelOrder[]? order = null, MetricDataset[]? datasets = null) =>
            string.Concat((await logged.SearchAsync(new LoggedModelSearch { ExperimentIds = ["0"], Filter = filter, OrderBy = order ?? [], Datasets = datasets ?? [] }, Ct)).Items.Select(m => m.Name));
        Assert.Equal("dcba", await Find(null));
        Assert.Equal("a", await Find("name = 'a'"));
        Assert.Equal("ba", await Find("attributes.name IN ('a', 'b') AND source_run_id = '" + run.Id + "'"));
        Assert.Equal("c", await Find("params.p NOT IN ('a', 'b')"));
        Assert.Equal("b", await Find("tags.`my tag` LIKE 'b%' AND model_type = 'agent'"));
        Assert.Equal("ba", await Find("metrics.acc > 0.5"));
        Assert.Equal("", await Find("metrics.acc = 0"));
        Assert.Equal("a", await Find("metrics.acc > 0.5", datasets: [new MetricDataset("train")]));
        Assert.Equal("ca", await Find(null, datasets: [new MetricDataset("train", "x")]));
        Assert.Equal("", await Find(null, datasets: [new MetricDataset("train", "y")]));
        Assert.Equal("a", await Find("status = 'READY'"));
        Assert.Equal("a", await Find("status = 'LOGGED_MODEL_READY'"));
        Assert.Equal("a", await Find($"model_id = '{ids["a"]}'"));
        Assert.Equal("dcb", await Find($"creation_timestamp > {world.Clock.GetUtcNow().AddSeconds(-3).ToUnixTimeMilliseconds()}"));
        Assert.Equal("abdc", await Find(null, [new LoggedModelOrder("metrics.acc")]));
        Assert.Equal("badc", await Find(null, [new LoggedModelOrder("metrics.acc", Ascending: false)]));
        Assert.Equal("adcb", await Find(null, [new LoggedModelOrder("metrics.acc", Ascending: false, new MetricDataset("train"))]));
        Assert.Equal("abcd", await Find(null, [new LoggedModelOrder("name")]));
        Assert.Equal("abcd", await Find(null, [new LoggedModelOrder("creation_timestamp")]));

        var search = new LoggedModelSearch { ExperimentIds = ["0"], Limit = 2, OrderBy = [new LoggedModelOrder("metrics.acc")] };
        var first = await logged.SearchAsync(search, Ct);
        world.Clock.Advance(TimeSpan.FromSeconds(1));
        await logged.CreateAsync(TestWorld.Ada, new CreateLoggedModel { ExperimentId = "0", Name = "late" }, Ct);
        var second = await logged.SearchAsync(search with { Limit = 3, PageToken = first.NextToken }, Ct);
        Assert.Equal("ab|latedc", string.Concat(first.Items.Select(m => m.Name)) + "|" + string.Concat(second.Items.Select(m => m.Name)));
        foreach (var bad in new[]
        {
            search with { Filter = "name = 'a'", PageToken = first.NextToken },
            search with { Filter = "metric.acc > 1" },
            search with { Filter = "metrics.acc = 'x'" },
            search with { Filter = "name = 'a' OR name = 'b'" },
            search with { Filter = "colour = 'red'" },
            search with { Limit = 0 },
            search with { Limit = 50_001 },
            search with { OrderBy = [new LoggedModelOrder("colour")] },
            search with { OrderBy = [new LoggedModelOrder("name"), new LoggedModelOrder("name")] },
            search with { OrderBy = [new LoggedModelOrder("name", true, new MetricDataset("train"))] },
        })
        {
            Assert.Equal(ErrorCode.InvalidArgument, (await Assert.ThrowsAsync<SlipwayException>(() => logged.SearchAsync(bad, Ct))).Code);
        }

        Assert.Empty((await logged.SearchAsync(new LoggedModelSearch(), Ct)).Items);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Parameters_are_written_once_tags_are_replaced_and_a_deleted_model_is_hidden(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var logged = world.Get<LoggedModels>();
        var model = await logged.CreateAsync(TestWorld.Ada, new CreateLoggedModel { ExperimentId = "0", Name = "x" }, Ct);
        await logged.LogParamsAsync(TestWorld.Ada, model.Id, [new Param("p", "1"), new Param("q", "")], Ct);
        await logged.LogParamsAsync(TestWorld.Ada, model.Id, [new Param("p", "1")], Ct);
        await Assert.ThrowsAsync<SlipwayException>(() => logged.LogParamsAsync(TestWorld.Ada, model.Id, [new Param("new", "1"), new Param("p", "2")], Ct));
        await logged.SetTagsAsync(TestWorld.Ada, model.Id, [new Tag("t", "1")], Ct);
        await logged.SetTagsAsync(TestWorld.Ada, model.Id, [new Tag("t", "2"), new Tag("u", "3")], Ct);
        await logged.DeleteTagAsync(TestWorld.Ada, model.Id, "u", Ct);
        Assert.Equal(ErrorCode.NotFound, (await Assert.ThrowsAsync<SlipwayException>(() => logged.DeleteTagAsync(TestWorld.Ada, model.Id, "u", Ct))).Code);
        var read = await logged.GetAsync(model.Id, allowDeleted: false, Ct);
        Assert.Equal([new Param("p", "1"), new Param("q", "")], read.Params);
        Assert.Equal([new Tag("t", "2")], read.Tags);

        await logged.DeleteAsync(TestWorld.Ada, model.Id, Ct);
        Assert.Equal(ErrorCode.NotFound, (await Assert.ThrowsAsync<SlipwayException>(() => logged.GetAsync(model.Id, allowDeleted: false, Ct))).Code);
        Assert.True((await logged.GetAsync(model.Id, allowDeleted: true, Ct)).Deleted);
        Assert.Empty((await logged.SearchAsync(new LoggedModelSearch { ExperimentIds = ["0"] }, Ct)).Items);
        await Assert.ThrowsAsync<SlipwayException>(() => logged.DeleteAsync(TestWorld.Ada, model.Id, Ct));
        foreach (var name in (string[])["a/b", "a:b", "a.b", "a%b", "a\"b", "a'b", "  "])
        {
            Assert.Equal(ErrorCode.InvalidArgument, (await Assert.ThrowsAsync<SlipwayException>(() => logged.CreateAsync(TestWorld.Ada, new CreateLoggedModel { ExperimentId = "0", Name = name }, Ct))).Code);
        }

        Assert.NotEmpty((await logged.CreateAsync(TestWorld.Ada, new CreateLoggedModel { ExperimentId = "0" }, Ct)).Name);
        Assert.Equal(ErrorCode.NotFound, (await Assert.ThrowsAsync<SlipwayException>(() => logged.CreateAsync(TestWorld.Ada, new CreateLoggedModel { ExperimentId = "9" }, Ct))).Code);
        Assert.Equal(ErrorCode.NotFound, (await Assert.ThrowsAsync<SlipwayException>(() => logged.CreateAsync(TestWorld.Ada, new CreateLoggedModel { ExperimentId = "0", SourceRunId = "none" }, Ct))).Code);
    }
}
