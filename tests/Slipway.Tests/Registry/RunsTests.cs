using System.Text;
using Slipway.Foundation;
using Slipway.Registry;

namespace Slipway.Tests.Registry;

public sealed class RunsTests
{
    private static readonly CancellationToken Ct = CancellationToken.None;

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Default_experiment_exists_and_ids_count_up(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var experiments = world.Get<Experiments>();
        Assert.Equal("Default", (await experiments.GetAsync("0", Ct)).Name);
        var a = await experiments.CreateAsync(TestWorld.Ada, "a", [new Tag("team", "x")], Ct);
        var b = await experiments.CreateAsync(TestWorld.Ada, "b", [], Ct);
        Assert.Equal(("1", "2", "mlflow-artifacts:/1"), (a.Id, b.Id, a.ArtifactLocation));
        Assert.Equal([new Tag("team", "x")], a.Tags);

        await experiments.DeleteAsync(TestWorld.Ada, "1", Ct);
        var again = await Assert.ThrowsAsync<SlipwayException>(() => experiments.CreateAsync(TestWorld.Ada, "a", [], Ct));
        Assert.Equal(ErrorCode.AlreadyExists, again.Code);
        Assert.Equal(ErrorCode.NotFound, (await Assert.ThrowsAsync<SlipwayException>(() => experiments.DeleteAsync(TestWorld.Ada, "1", Ct))).Code);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Restored_experiment_brings_back_only_the_runs_deleted_with_it(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var (experiments, runs) = (world.Get<Experiments>(), world.Get<Runs>());
        var e = await experiments.CreateAsync(TestWorld.Ada, "e", [], Ct);
        var kept = await runs.CreateAsync(TestWorld.Ada, new CreateRun { ExperimentId = e.Id }, Ct);
        var gone = await runs.CreateAsync(TestWorld.Ada, new CreateRun { ExperimentId = e.Id }, Ct);
        await runs.DeleteAsync(TestWorld.Ada, gone.Id, Ct);
        await experiments.DeleteAsync(TestWorld.Ada, e.Id, Ct);
        Assert.True((await runs.GetAsync(kept.Id, Ct)).Deleted);
        await experiments.RestoreAsync(TestWorld.Ada, e.Id, Ct);
        Assert.False((await runs.GetAsync(kept.Id, Ct)).Deleted);
        Assert.True((await runs.GetAsync(gone.Id, Ct)).Deleted);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Run_name_and_name_tag_follow_each_other(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var runs = world.Get<Runs>();
        var unnamed = await runs.CreateAsync(TestWorld.Ada, new CreateRun { ExperimentId = "0" }, Ct);
        Assert.Matches("^[a-z]+-[a-z]+-[0-9]+$", unnamed.Name);
        Assert.Equal(unnamed.Name, Assert.Single(unnamed.Tags).Value);

        await runs.LogBatchAsync(TestWorld.Ada, unnamed.Id, [], [], [new Tag("mlflow.runName", "by-tag")], Ct);
        Assert.Equal("by-tag", (await runs.GetAsync(unnamed.Id, Ct)).Name);
        var updated = await runs.UpdateAsync(TestWorld.Ada, unnamed.Id, new RunChange(Name: "by-update"), Ct);
        Assert.Equal("by-update", updated.Tags.Single(t => t.Key == "mlflow.runName").Value);
        await Assert.ThrowsAsync<SlipwayException>(() => runs.CreateAsync(TestWorld.Ada, new CreateRun { ExperimentId = "0", Name = "a", Tags = [new Tag("mlflow.runName", "b")] }, Ct));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Every_change_of_a_run_is_in_the_next_read(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var (runs, experiments, models) = (world.Get<Runs>(), world.Get<Experiments>(), world.Get<LoggedModels>());
        var e = await experiments.CreateAsync(TestWorld.Ada, "e", [], Ct);
        var run = await runs.CreateAsync(TestWorld.Ada, new CreateRun { ExperimentId = e.Id, Name = "first" }, Ct);
        var model = await models.CreateAsync(TestWorld.Ada, new CreateLoggedModel { ExperimentId = e.Id, Name = "m" }, Ct);
        var other = await models.CreateAsync(TestWorld.Ada, new CreateLoggedModel { ExperimentId = e.Id, Name = "o" }, Ct);
        (Func<Task> Change, Func<Run, bool> Seen)[] changes =
        [
            (() => runs.LogParamAsync(TestWorld.Ada, run.Id, new Param("p", "1"), Ct), r => r.Params is [{ Value: "1" }]),
            (() => runs.SetTagAsync(TestWorld.Ada, run.Id, new Tag("t", "1"), Ct), r => Tag(r, "t") == "1"),
            (() => runs.SetTagAsync(TestWorld.Ada, run.Id, new Tag("t", "2"), Ct), r => Tag(r, "t") == "2"),
            (() => runs.DeleteTagAsync(TestWorld.Ada, run.Id, "t", Ct), r => Tag(r, "t") is null),
            (() => runs.LogMetricAsync(TestWorld.Ada, run.Id, new MetricPoint("m", 1, 1, 1), Ct), r => r.Metric("m") == 1),
            (() => runs.LogBatchAsync(TestWorld.Ada, run.Id, [new MetricPoint("m", 2, 2, 2), new MetricPoint("n", 3, 2, 2)], [], [], Ct), r => r.Metric("m") == 2 && r.Metric("n") == 3),
            (() => runs.LogInputAsync(TestWorld.Ada, run.Id, new DatasetInput("d", "1", "local", "s", null, null, null), Ct), r => r.Inputs is [{ Name: "d" }]),
            (() => runs.LogInputsAsync(TestWorld.Ada, run.Id, [], [model.Id], Ct), r => r.ModelInputs is [var link] && link.ModelId == model.Id),
            (() => models.LogOutputsAsync(TestWorld.Ada, run.Id, [new ModelLink(other.Id)], Ct), r => r.ModelOutputs is [var link] && link.ModelId == other.Id),
            (() => runs.LogModelAsync(TestWorld.Ada, run.Id, """{"artifact_path":"a","flavors":{},"utc_time_created":"now","run_id":"r"}""", Ct), r => Tag(r, "mlflow.log-model.history") is not null),
            (() => runs.UpdateAsync(TestWorld.Ada, run.Id, new RunChange(Name: "second"), Ct), r => r.Name == "second"),
            (() => runs.FinishAsync(TestWorld.Ada, run.Id, RunStatus.Finished, Ct), r => r is { Status: RunStatus.Finished, EndedAt: not null }),
            (() => runs.DeleteAsync(TestWorld.Ada, run.Id, Ct), r => r.Deleted),
            (() => runs.RestoreAsync(TestWorld.Ada, run.Id, Ct), r => !r.Deleted),
            (() => experiments.DeleteAsync(TestWorld.Ada, e.Id, Ct), r => r.Deleted),
            (() => experiments.RestoreAsync(TestWorld.Ada, e.Id, Ct), r => !r.Deleted),
        ];
        var search = new RunSearch { ExperimentIds = [e.Id], View = View.All };
        foreach (var (change, seen) in changes)
        {
            Assert.Same(await runs.GetAsync(run.Id, Ct), await runs.GetAsync(run.Id, Ct));
            await change();
            var found = Assert.Single((await runs.SearchAsync(search, Ct)).Items);
            Assert.True(seen(found) && seen(await runs.GetAsync(run.Id, Ct)), found.ToString());
        }

        static string? Tag(Run run, string key) => run.Tags.FirstOrDefault(t => t.Key == key)?.Value;
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Latest_metric_is_the_largest_by_step_time_and_value(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var runs = world.Get<Runs>();
        var run = await runs.CreateAsync(TestWorld.Ada, new CreateRun { ExperimentId = "0" }, Ct);
        MetricPoint[] points =
        [
            new("m", 5, 100, 2), new("m", 9, 300, 1), new("m", 6, 100, 2), new("m", 6, 100, 2),
            new("nan", double.NaN, 1, 1), new("nan", 3, 1, 1), new("inf", double.PositiveInfinity, 1, 0), new("neg", 1, 1, -5), new("neg", 2, 9, -7),
        ];
        foreach (var point in points)
        {
            await runs.LogBatchAsync(TestWorld.Ada, run.Id, [point], [], [], Ct);
        }

        await runs.LogBatchAsync(TestWorld.Ada, run.Id, points, [], [], Ct);
        var read = await runs.GetAsync(run.Id, Ct);
        Assert.Equal(6, read.Metric("m"));
        Assert.Equal(3, read.Metric("nan"));
        Assert.Equal(double.PositiveInfinity, read.Metric("inf"));
        Assert.Equal(1, read.Metric("neg"));

        var history = (await runs.HistoryAsync(run.Id, "m", null, null, Ct)).Items;
        Assert.Equal([new("m", 5, 100, 2), new("m", 6, 100, 2), new("m", 9, 300, 1)], history);
        Assert.Equal(2, (await runs.HistoryAsync(run.Id, "nan", null, null, Ct)).Items.Count);
        Assert.Empty((await runs.HistoryAsync(run.Id, "unknown", null, null, Ct)).Items);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task History_pages_hold_every_point_once(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var runs = world.Get<Runs>();
        var run = await runs.CreateAsync(TestWorld.Ada, new CreateRun { ExperimentId = "0" }, Ct);
        var points = Enumerable.Range(0, 25).Select(i => new MetricPoint("m", i % 5 == 0 ? double.NaN : i / 3.0, i / 10, i)).ToList();
        await runs.LogBatchAsync(TestWorld.Ada, run.Id, points, [], [], Ct);
        var read = new List<MetricPoint>();
        string? token = null;
        do
        {
            var page = await runs.HistoryAsync(run.Id, "m", 7, token, Ct);
            read.AddRange(page.Items);
            token = page.NextToken;
        }
        while (token is not null);
        Assert.Equal(points, read);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Batch_with_one_bad_part_changes_nothing(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var runs = world.Get<Runs>();
        var run = await runs.CreateAsync(TestWorld.Ada, new CreateRun { ExperimentId = "0" }, Ct);
        await runs.LogBatchAsync(TestWorld.Ada, run.Id, [], [new Param("p", "1")], [], Ct);
        await runs.LogBatchAsync(TestWorld.Ada, run.Id, [], [new Param("p", "1")], [], Ct);

        var clash = await Assert.ThrowsAsync<SlipwayException>(() =>
            runs.LogBatchAsync(TestWorld.Ada, run.Id, [new("m", 1, 1)], [new Param("new", "x"), new Param("p", "2")], [new Tag("t", "v")], Ct));
        Assert.Equal($"Changing param values is not allowed. Param with key='p' was already logged with value='1' for run ID='{run.Id}'. Attempted logging new value '2'.", clash.Message);
        await Assert.ThrowsAsync<SlipwayException>(() => runs.LogBatchAsync(TestWorld.Ada, run.Id, [new("m", 1, 1)], [], [new Tag("../t", "v")], Ct));
        await Assert.ThrowsAsync<SlipwayException>(() => runs.LogBatchAsync(TestWorld.Ada, run.Id, [], [new Param("d", "1"), new Param("d", "1")], [], Ct));
        var read = await runs.GetAsync(run.Id, Ct);
        Assert.Empty(read.Metrics);
        Assert.Equal([new Param("p", "1")], read.Params);
        Assert.Single(read.Tags);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Deleted_run_is_readable_and_refuses_writes(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var runs = world.Get<Runs>();
        var run = await runs.CreateAsync(TestWorld.Ada, new CreateRun { ExperimentId = "0" }, Ct);
        await runs.DeleteAsync(TestWorld.Ada, run.Id, Ct);
        await runs.DeleteAsync(TestWorld.Ada, run.Id, Ct);
        Assert.True((await runs.GetAsync(run.Id, Ct)).Deleted);
        var e = await Assert.ThrowsAsync<SlipwayException>(() => runs.LogBatchAsync(TestWorld.Ada, run.Id, [new("m", 1, 1)], [], [], Ct));
        Assert.Equal($"The run {run.Id} must be in the 'active' state. Current state is deleted.", e.Message);
        await Assert.ThrowsAsync<SlipwayException>(() => runs.UpdateAsync(TestWorld.Ada, run.Id, new RunChange(RunStatus.Failed), Ct));
        await Assert.ThrowsAsync<SlipwayException>(() => runs.PutArtifactAsync(TestWorld.Ada, run.Id, "a.txt", new MemoryStream([1]), Ct));
        await runs.RestoreAsync(TestWorld.Ada, run.Id, Ct);
        await runs.LogBatchAsync(TestWorld.Ada, run.Id, [new("m", 1, 1)], [], [], Ct);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Sixteen_parallel_writers_lose_nothing(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var runs = world.Get<Runs>();
        var shared = await runs.CreateAsync(TestWorld.Ada, new CreateRun { ExperimentId = "0" }, Ct);
        const int writers = 16;
        const int batches = 12;
        var own = await Task.WhenAll(Enumerable.Range(0, writers).Select(w => Task.Run(async () =>
        {
            var run = await runs.CreateAsync(TestWorld.Ada, new CreateRun { ExperimentId = "0", Name = $"w{w}" }, Ct);
            for (var b = 0; b < batches; b++)
            {
                var points = Enumerable.Range(0, 20).Select(i => new MetricPoint($"m{i % 4}", (b * 20) + i, b, (b * 20) + i)).ToList();
                await runs.LogBatchAsync(TestWorld.Ada, run.Id, points, [new Param($"p{b}", $"{w}")], [new Tag("last", $"{b}")], Ct);
                await runs.LogBatchAsync(TestWorld.Ada, shared.Id, [new MetricPoint("shared", w, b, (b * writers) + w)], [], [], Ct);
            }

            return run.Id;
        })));
        foreach (var id in own)
        {
            var run = await runs.GetAsync(id, Ct);
            Assert.Equal(batches, run.Params.Count);
            Assert.Equal((batches * 20) - 1, run.Metrics.Max(m => m.Value));
            var points = 0;
            for (var m = 0; m < 4; m++)
            {
                points += (await runs.HistoryAsync(id, $"m{m}", null, null, Ct)).Items.Count;
            }

            Assert.Equal(batches * 20, points);
        }

        Assert.Equal(writers * batches, (await runs.HistoryAsync(shared.Id, "shared", null, null, Ct)).Items.Count);
        Assert.Equal((batches * writers) - 1, (await runs.GetAsync(shared.Id, Ct)).Metrics[0].Step);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Search_follows_the_rules_of_absence_and_NaN(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var runs = world.Get<Runs>();
        async Task<string> RunAsync(string name, double? m, string? p, string? tag = null)
        {
            world.Clock.Advance(TimeSpan.FromSeconds(1));
            var run = await runs.CreateAsync(TestWorld.Ada, new CreateRun { ExperimentId = "0", Name = name, UserId = name == "b" ? "Bob" : "ada" }, Ct);
            await runs.LogBatchAsync(TestWorld.Ada, run.Id, m is { } v ? [new("m", v, 1)] : [], p is null ? [] : [new Param("p", p)], tag is null ? [] : [new Tag("t", tag)], Ct);
            return run.Id;
        }

        await RunAsync("a", 0.5, "x");
        var b = await RunAsync("b", 0, "X");
        await RunAsync("c", double.NaN, "y%", "v");
        await RunAsync("d", null, null);
        await RunAsync("e", -2, "x");
        async Task<string> Find(string? filter, params string[] order) =>
            string.Concat((await runs.SearchAsync(new RunSearch { ExperimentIds = ["0"], Filter = filter, OrderBy = order }, Ct)).Items.Select(r => r.Name));

        Assert.Equal("edcba", await Find(null));
        Assert.Equal("b", await Find("metrics.m = 0"));
        Assert.Equal("eca", await Find("metrics.m != 0"));
        Assert.Equal("ba", await Find("metrics.m >= 0 AND metrics.m < 1"));
        Assert.Equal("ea", await Find("params.p = 'x'"));
        Assert.Equal("cb", await Find("params.p != 'x'"));
        Assert.Equal("ea", await Find("params.p LIKE 'x'"));
        Assert.Equal("eba", await Find("params.p ILIKE 'X'"));
        Assert.Equal("c", await Find("params.p LIKE 'y%'"));
        Assert.Equal("d", await Find("params.p IS NULL"));
        Assert.Equal("c", await Find("tags.t IS NOT NULL"));
        Assert.Equal("b", await Find($"run_id IN ('{b}', 'nope')"));
        Assert.Equal("b", await Find("user_id = 'Bob'"));
        Assert.Equal("edcba", await Find("status = 'RUNNING'"));
        Assert.Equal("c", await Find("run_name LIKE 'c'"));
        Assert.Equal("abecd", await Find(null, "metrics.m DESC"));
        Assert.Equal("ebacd", await Find(null, "metrics.m"));
        Assert.Equal("aeb", await Find("metrics.m > -5", "params.p DESC", "run_name"));
        Assert.Equal("bdace".Length, (await Find(null, "params.p")).Length);
        Assert.Equal("beacd", await Find(null, "params.p"));
        Assert.Equal("ceabd", await Find(null, "params.p DESC"));
        Assert.Equal("ba", await Find($"start_time < {world.Clock.GetUtcNow().AddSeconds(-2).ToUnixTimeMilliseconds()}"));
        Assert.Empty((await runs.SearchAsync(new RunSearch(), Ct)).Items);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Pages_stay_stable_while_rows_are_added(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var runs = world.Get<Runs>();
        async Task AddAsync(string name, double m)
        {
            var run = await runs.CreateAsync(TestWorld.Ada, new CreateRun { ExperimentId = "0", Name = name }, Ct);
            await runs.LogBatchAsync(TestWorld.Ada, run.Id, m == 7 ? [] : [new("m", m == 6 ? double.NaN : m, 1)], [], [], Ct);
        }

        for (var i = 0; i < 23; i++)
        {
            await AddAsync($"r{i}", i % 8);
        }

        foreach (var order in (string[][])[["metrics.m DESC"], ["metrics.m", "run_name DESC"], ["params.none"], []])
        {
            var all = (await runs.SearchAsync(new RunSearch { ExperimentIds = ["0"], OrderBy = order }, Ct)).Items.Select(r => r.Id).ToList();
            var paged = new List<string>();
            string? token = null;
            do
            {
                var page = await runs.SearchAsync(new RunSearch { ExperimentIds = ["0"], OrderBy = order, Limit = 5, PageToken = token }, Ct);
                paged.AddRange(page.Items.Select(r => r.Id));
                token = page.NextToken;
                await AddAsync("late", 100);
            }
            while (token is not null && paged.Count < 200);
            Assert.Equal(all, paged.Where(all.Contains));
            Assert.Equal(paged.Count, paged.Distinct().Count());
        }

        var first = await runs.SearchAsync(new RunSearch { ExperimentIds = ["0"], Limit = 2 }, Ct);
        var other = await Assert.ThrowsAsync<SlipwayException>(() => runs.SearchAsync(new RunSearch { ExperimentIds = ["0"], Filter = "metrics.m > 1", Limit = 2, PageToken = first.NextToken }, Ct));
        Assert.Contains("Invalid page token", other.Message, StringComparison.Ordinal);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Datasets_are_shared_in_an_experiment_and_linked_once(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var runs = world.Get<Runs>();
        var run = await runs.CreateAsync(TestWorld.Ada, new CreateRun { ExperimentId = "0" }, Ct);
        var input = new DatasetInput("flights", "abc", "local", "{}", Context: "training", Tags: [new Tag("k", "v")]);
        await runs.LogInputsAsync(TestWorld.Ada, run.Id, [input, input with { Source = "other" }], Ct);
        await runs.LogInputsAsync(TestWorld.Ada, run.Id, [input], Ct);
        var read = Assert.Single((await runs.GetAsync(run.Id, Ct)).Inputs);
        Assert.Equal(("{}", "training", "k"), (read.Source, read.Context, read.Tags![0].Key));
        Assert.Equal(new DatasetSummary("0", "flights", "abc", "training"), Assert.Single(await runs.DatasetsAsync(["0"], Ct)));
        var found = await runs.SearchAsync(new RunSearch { ExperimentIds = ["0"], Filter = "dataset.name = 'flights' AND dataset.context LIKE 'train%'" }, Ct);
        Assert.Single(found.Items);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Artifacts_form_a_tree_over_shared_content(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var (runs, artifacts) = (world.Get<Runs>(), world.Get<Artifacts>());
        var run = await runs.CreateAsync(TestWorld.Ada, new CreateRun { ExperimentId = "0" }, Ct);
        var one = await runs.PutArtifactAsync(TestWorld.Ada, run.Id, "model/MLmodel", Bytes("same"), Ct);
        var two = await runs.PutArtifactAsync(TestWorld.Ada, run.Id, "model/data/b.bin", Bytes("same"), Ct);
        await runs.PutArtifactAsync(TestWorld.Ada, run.Id, "top.txt", Bytes("x"), Ct);
        Assert.Equal(one, two);
        Assert.Equal(["model/data", "model/MLmodel"], (await runs.ListArtifactsAsync(run.Id, "model", Ct)).Select(a => a.Path).Order(StringComparer.OrdinalIgnoreCase));
        Assert.Equal(["model", "top.txt"], (await artifacts.ListAsync($"0/{run.Id}/artifacts", Ct)).Select(a => a.Path));
        Assert.Empty(await artifacts.ListAsync($"0/{run.Id}/artifacts/top.txt", Ct));
        await using (var content = await runs.OpenArtifactAsync(run.Id, "model/data/b.bin", Ct))
        {
            Assert.Equal("same", await new StreamReader(content).ReadToEndAsync(Ct));
        }

        Assert.Equal(ErrorCode.NotFound, (await Assert.ThrowsAsync<SlipwayException>(() => runs.OpenArtifactAsync(run.Id, "model", Ct))).Code);
        Assert.Equal(ErrorCode.Conflict, (await Assert.ThrowsAsync<SlipwayException>(() => runs.PutArtifactAsync(TestWorld.Ada, run.Id, "model", Bytes("x"), Ct))).Code);
        Assert.Equal(ErrorCode.Conflict, (await Assert.ThrowsAsync<SlipwayException>(() => runs.PutArtifactAsync(TestWorld.Ada, run.Id, "top.txt/x", Bytes("x"), Ct))).Code);
        await artifacts.DeleteAsync(TestWorld.Ada, $"0/{run.Id}/artifacts/model", Ct);
        await artifacts.DeleteAsync(TestWorld.Ada, $"0/{run.Id}/artifacts/model", Ct);
        Assert.Equal(["top.txt"], (await runs.ListArtifactsAsync(run.Id, "", Ct)).Select(a => a.Path));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Run_life_is_journalled_and_metrics_are_not(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var runs = world.Get<Runs>();
        var run = await runs.CreateAsync(TestWorld.Ada, new CreateRun { ExperimentId = "0" }, Ct);
        await runs.LogBatchAsync(TestWorld.Ada, run.Id, [new("m", 1, 1)], [new Param("p", "1")], [], Ct);
        await runs.FinishAsync(TestWorld.Grace, run.Id, RunStatus.Finished, Ct);
        await runs.FinishAsync(TestWorld.Grace, run.Id, RunStatus.Finished, Ct);
        await runs.UpdateAsync(TestWorld.Ada, run.Id, new RunChange(RunStatus.Running), Ct);
        await world.SealAsync();
        var entries = (await world.Journal.ListAsync(new JournalFilter { Subject = run.Subject.ToString(), Descending = false }, Ct)).Items;
        Assert.Equal(["run.started ada", "run.finished grace", "run.reopened ada"], entries.Select(e => $"{e.Kind} {e.Actor.Name}"));
        Assert.Equal("FINISHED", entries[1].Read<RunFinished>().Status);
        Assert.True((await world.Journal.VerifyAsync(Ct)).Intact);
    }

    private static MemoryStream Bytes(string text) => new(Encoding.UTF8.GetBytes(text));
}
