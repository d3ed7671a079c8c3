using System.Text.Json;
using Slipway.Data;
using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Pipelines;
using Slipway.Registry;
using static Slipway.Tests.Pipelines.PipelinesWorld;
using Runs = Slipway.Registry.Runs;
using Specs = Slipway.Pipelines.Pipelines;

namespace Slipway.Tests.Pipelines;

public sealed class PipelineRunsTests
{
    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Train_and_gate_leave_everything_that_is_needed_to_repeat_and_to_judge(Engine engine)
    {
        await using var world = await CreateAsync(engine, Retrain);
        var run = await RunAsync(world);

        Assert.Equal((PipelineState.Succeeded, "departures/1", null), (run.State, run.ModelVersion, run.Error));
        var data = await world.Get<Datasets>().GetVersionAsync("departures", "main", None);
        Assert.Equal(data.Id, run.Spec.Steps[0].Read<TrainParameters>().Version);
        var trained = await OutputAsync(world, run.Id, 0);
        var logged = await world.Get<Runs>().GetAsync(trained.RunId!, None);
        Assert.Equal(RunStatus.Finished, logged.Status);
        Assert.InRange(logged.Metric("auc")!.Value, 0.78, 0.95);
        Assert.Equal((1000, 2980, 20), (logged.Metric("validation_rows"), logged.Metric("training_rows"), logged.Metric("rows_without_label")));
        Assert.Equal("1", logged.Params.Single(p => p.Key == "seed").Value);
        Assert.Equal((DatasetInput.SlipwaySource, data.Subject.ToString()), (logged.Inputs.Single().SourceType, logged.Inputs.Single().Source));
        Assert.Contains(logged.Tags, t => t.Key == "slipway.code_version" && t.Value.Length > 0);
        await using (var environment = await world.Get<Runs>().OpenArtifactAsync(logged.Id, "environment.json", None))
        {
            Assert.True((await JsonDocument.ParseAsync(environment)).RootElement.GetProperty("packages").EnumerateObject().Count() >= 3);
        }

        var version = await world.Get<Models>().GetVersionAsync("departures", 1, None);
        Assert.Equal(["wait", "hour", "noise"], version.Signature!.FeatureNames!);
        Assert.Equal("model.onnx", version.Files.Single().Path);
        Assert.Equal((logged.Id, "ada"), (version.RunId, version.CreatedBy));

        var request = await world.Get<Gates>().GetAsync((await OutputAsync(world, run.Id, 1)).GateRequest!, None);
        Assert.Equal(GateRequest.Pending, request.State);
        Assert.Equal(("none", "1000"), (request.Evidence.Facts["champion"], request.Evidence.Facts["metrics.auc.samples"]));
        Assert.Equal(logged.Metric("auc")!.Value, double.Parse(request.Evidence.Facts["metrics.auc"]), 1e-12);
        Assert.True(double.Parse(request.Evidence.Facts["metrics.auc.ci_lower"]) < logged.Metric("auc"));
        Assert.Contains("ada", request.Authors);

        await world.SealAsync();
        var finished = Assert.Single((await world.Journal.ListAsync(new JournalFilter { Subject = run.Subject.ToString(), Kind = "pipeline-run.finished" }, None)).Items);
        Assert.Contains(version.Subject, finished.Links);
        var registered = Assert.Single((await world.Journal.ListAsync(new JournalFilter { Subject = version.Subject.ToString(), Kind = "version.registered" }, None)).Items);
        Assert.Contains(data.Subject, registered.Links);
        Assert.Contains(run.Subject, registered.Links);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Challenger_with_shuffled_labels_is_measured_beside_the_champion_and_rejected(Engine engine)
    {
        await using var world = await CreateAsync(engine, Retrain);
        await RunAsync(world);
        await world.Get<Models>().SetAliasAsync(TestWorld.Ada, "departures", "champion", 1, None);

        var run = await RunAsync(world, new StartRun().With("train.shuffleLabels", true));

        Assert.Equal((PipelineState.Rejected, "departures/2"), (run.State, run.ModelVersion));
        Assert.Contains("not-worse: the challenger is 0.", run.Error);
        var facts = (await world.Get<Gates>().GetAsync((await OutputAsync(world, run.Id, 1)).GateRequest!, None)).Evidence.Facts;
        Assert.Equal(("departures/1", "true", "false"), (facts["champion"], facts["training.shuffled_labels"], facts["champion.saw_validation_rows"]));
        Assert.Equal(facts["metrics.auc.dataset"], facts["champion.metrics.auc.dataset"]);
        Assert.True(double.Parse(facts["champion.metrics.auc"]) > 0.78);
        Assert.True(double.Parse(facts["champion.metrics.auc.difference.ci_upper"]) < -0.1);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Step_that_fails_says_why_and_ends_run_and_experiment_run(Engine engine)
    {
        await using var world = await CreateAsync(engine, Retrain);
        var run = await RunAsync(world, new StartRun().With("train.features", new[] { "wait", "note", "nowhere" }).With("train.categorical", Array.Empty<string>()));

        Assert.Equal(PipelineState.Failed, run.State);
        Assert.Contains("there is no column 'nowhere'; 'note' is VARCHAR, not a number", run.Error);
        var steps = await world.Get<PipelineRuns>().StepsAsync(run.Id, None);
        Assert.Equal([StepState.Failed, StepState.Skipped], steps.Select(s => s.State));
        var experiment = await world.Get<Experiments>().FindByNameAsync("retrain", None);
        var logged = Assert.Single((await world.Get<Runs>().SearchAsync(new RunSearch { ExperimentIds = [experiment!.Id] }, None)).Items);
        Assert.Equal(RunStatus.Failed, logged.Status);
        Assert.Contains("nowhere", logged.Tags.Single(t => t.Key == "slipway.error").Value);
        await world.SealAsync();
        var finished = Assert.Single((await world.Journal.ListAsync(new JournalFilter { Kind = "pipeline-run.finished" }, None)).Items);
        Assert.Equal(("error", "pipeline.failed"), (finished.Outcome, finished.Reason));

        var early = await RunAsync(world, new StartRun().With("train.from", Monday.AddDays(-90)).With("train.to", Monday.AddDays(-60)));
        Assert.Contains("its event times go from 2001-01-01 00:00:00Z to 2001-02-11", early.Error);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Start_with_the_same_key_is_the_same_run_and_wrong_values_are_all_named(Engine engine)
    {
        await using var world = await CreateAsync(engine, Retrain);
        var runs = world.Get<PipelineRuns>();
        var first = await runs.StartAsync(TestWorld.Ada, "retrain", new StartRun { Key = "k" }, None);
        Assert.Equal(first.Id, (await runs.StartAsync(TestWorld.Ada, "retrain", new StartRun { Key = "k" }, None)).Id);
        await EndAsync(world, first.Id);

        var wrong = new StartRun().With("train.validateFrom", Monday.AddDays(20)).With("train.label", "wait").With("elsewhere.x", 1);
        var refusal = await Assert.ThrowsAsync<SlipwayException>(() => runs.StartAsync(TestWorld.Ada, "retrain", wrong, None));
        Assert.Contains("'elsewhere.x' names no step", refusal.Why);
        Assert.Contains("the label 'wait' is among the features", refusal.Why);
        Assert.Contains("judged on what it has seen", refusal.Why);
        var misspelt = await Assert.ThrowsAsync<SlipwayException>(() => runs.StartAsync(TestWorld.Ada, "retrain", new StartRun().With("train.trees", 5), None));
        Assert.Contains("trees", misspelt.Why);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Server_that_stops_in_the_middle_of_a_training_finishes_it_after_the_restart_with_one_version(Engine engine)
    {
        using var folder = new TemporaryFolder();
        var postgres = engine == Engine.Postgres ? await PostgresServer.NewDatabaseAsync() : null;
        string id;
        await using (var before = await CreateAsync(engine, Retrain, folder.Path, postgres))
        {
            id = (await before.Get<PipelineRuns>().StartAsync(TestWorld.Ada, "retrain", new StartRun().With("train.trainer", new { trees = 300, leaves = 7, minRowsPerLeaf = 20 }), None)).Id;
            await before.PumpAsync();
            Assert.Equal(StepState.Running, (await before.Get<PipelineRuns>().StepsAsync(id, None))[0].State);
        }

        await using var after = await CreateAsync(engine, null, folder.Path, postgres);
        // Of several nodes another one may be alive: it is given a minute.
        after.Clock.Advance(TimeSpan.FromSeconds(engine == Engine.Postgres ? 61 : 1));
        var run = await EndAsync(after, id);

        Assert.Equal((PipelineState.Succeeded, "departures/1", null), (run.State, run.ModelVersion, run.Error));
        Assert.Equal(2, (await after.Get<PipelineRuns>().StepsAsync(id, None))[0].Attempt);
        Assert.Single(await after.Get<Models>().ListVersionsAsync("departures", None));
        var experiment = await after.Get<Experiments>().FindByNameAsync("retrain", None);
        Assert.Single((await after.Get<Runs>().SearchAsync(new RunSearch { ExperimentIds = [experiment!.Id] }, None)).Items);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Command_gets_its_run_and_nothing_of_the_server_and_its_output_is_kept(Engine engine)
    {
        var spec = new PipelineSpec("shell", [StepSpec.Command(new CommandParameters
        {
            Command = ["sh", "-c", "echo run $MLFLOW_RUN_ID at $MLFLOW_TRACKING_URI; env | cut -d= -f1 | sort | tr '\\n' ' '; echo \"$WHAT\" >&2; exit ${CODE:-0}"],
            Environment = new Dictionary<string, string> { ["WHAT"] = "said on stderr" },
        })]);
        await using var world = await CreateAsync(engine, spec);
        Environment.SetEnvironmentVariable("SLIPWAY_TEST_SECRET", "s3cret");

        var run = await RunAsync(world, pipeline: "shell");

        Assert.Equal((PipelineState.Succeeded, null), (run.State, run.Error));
        var output = await OutputAsync(world, run.Id, 0);
        await using var log = await world.Get<IBlobStore>().OpenAsync(output.Log!, None);
        var text = await new StreamReader(log).ReadToEndAsync();
        Assert.Contains($"run {output.RunId} at http://127.0.0.1:5600", text);
        Assert.Contains("said on stderr", text);
        Assert.DoesNotContain("SLIPWAY_TEST_SECRET", text);
        Assert.Equal(RunStatus.Finished, (await world.Get<Runs>().GetAsync(output.RunId!, None)).Status);

        var failed = await RunAsync(world, new StartRun().With("command.environment", new Dictionary<string, string> { ["CODE"] = "3" }), "shell");
        Assert.Equal(PipelineState.Failed, failed.State);
        Assert.Contains("it ended with exit code 3", failed.Error);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Command_survives_a_restart_of_the_server_and_is_cancelled_with_all_its_children(Engine engine)
    {
        using var folder = new TemporaryFolder();
        var postgres = engine == Engine.Postgres ? await PostgresServer.NewDatabaseAsync() : null;
        // The marker makes the grandchild findable; the shell ignores SIGTERM, so that only SIGKILL to the group ends it.
        var marker = "7" + Random.Shared.Next(10_000_000, 99_999_999);
        var spec = new PipelineSpec("shell", [StepSpec.Command(new CommandParameters { Command = ["sh", "-c", $"trap '' TERM; sleep {marker}; sleep {marker}"] })]);
        string id;
        await using (var before = await CreateAsync(engine, spec, folder.Path, postgres))
        {
            id = (await before.Get<PipelineRuns>().StartAsync(TestWorld.Ada, "shell", new StartRun(), None)).Id;
            await before.PumpAsync();
            await UntilAsync(() => Processes(marker) == 1);
        }

        await using var after = await CreateAsync(engine, null, folder.Path, postgres);
        after.Clock.Advance(TimeSpan.FromSeconds(61));
        await after.PumpAsync();
        Assert.Equal(1, Processes(marker));
        Assert.Equal(2, (await after.Get<PipelineRuns>().StepsAsync(id, None))[0].Attempt);

        await after.Get<PipelineRuns>().CancelAsync(TestWorld.Grace, id, None);
        var run = await EndAsync(after, id);
        Assert.Equal((PipelineState.Cancelled, "grace"), (run.State, run.CancelledBy));
        await UntilAsync(() => Processes(marker) == 0);
    }

    [Fact]
    public async Task Command_over_its_deadline_is_ended()
    {
        var spec = new PipelineSpec("shell", [StepSpec.Command(new CommandParameters { Command = ["sleep", "600"], Deadline = TimeSpan.FromMinutes(5) })]);
        await using var world = await CreateAsync(Engine.Sqlite, spec);
        var id = (await world.Get<PipelineRuns>().StartAsync(TestWorld.Ada, "shell", new StartRun(), None)).Id;
        await world.PumpAsync();
        await UntilAsync(() => File.Exists(Path.Combine(world.Folder, "jobs", $"{id}-0", "pid")));
        world.Clock.Advance(TimeSpan.FromMinutes(6));
        Assert.Contains("it ran longer than 00:05:00", (await EndAsync(world, id)).Error);
    }

    [Fact]
    public async Task Command_is_refused_where_the_operator_has_not_allowed_it()
    {
        await using var world = await TestWorld.CreateAsync(Engine.Sqlite);
        var spec = new PipelineSpec("shell", [StepSpec.Command(new CommandParameters { Command = ["true"] })]);
        var refusal = await Assert.ThrowsAsync<SlipwayException>(() => world.Get<Specs>().ApplyAsync(TestWorld.Ada, spec, None));
        Assert.Contains("this server runs no commands", refusal.Why);
    }

    private static int Processes(string marker) => Directory.GetDirectories("/proc").Count(p => int.TryParse(Path.GetFileName(p), out _) && CommandLine(p) == $"sleep {marker} ");

    private static string CommandLine(string process)
    {
        try
        {
            return File.ReadAllText(Path.Combine(process, "cmdline")).Replace('\0', ' ');
        }
        catch (IOException)
        {
            return "";
        }
    }

    private static async Task UntilAsync(Func<bool> holds)
    {
        for (var i = 0; i < 300 && !holds(); i++)
        {
            await Task.Delay(100);
        }

        Assert.True(holds());
    }
}
