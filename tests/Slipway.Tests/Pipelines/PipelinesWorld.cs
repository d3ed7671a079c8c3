using DuckDB.NET.Data;
using Microsoft.Extensions.DependencyInjection;
using Slipway.Data;
using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Monitoring;
using Slipway.Pipelines;
using Slipway.Pipelines.Training;
using Specs = Slipway.Pipelines.Pipelines;

namespace Slipway.Tests.Pipelines;

/// <summary>
/// A dataset of generated departures, 1,000 a week for six weeks from Monday 2001-01-01: they are late by a logistic law of <c>wait</c> and
/// <c>hour</c>; <c>noise</c> says nothing and is missing now and then; 20 rows have no outcome yet.
/// </summary>
internal static class PipelinesWorld
{
    public const int Week = 1_000;
    public static readonly DateTimeOffset Monday = new(2001, 1, 1, 0, 0, 0, TimeSpan.Zero);
    public static readonly CancellationToken None = CancellationToken.None;

    public const string Policy = """
        apiVersion: slipway.dev/policy/v1
        kind: GatePolicy
        metadata: { name: departures }
        approvals:
          - { stage: technical, require: 1, from: [role:validator] }
        gates:
          - id: auc-floor
            check: metric_threshold
            with: { metric: auc, op: ">=", value: "0.70", minSamples: 500 }
          - id: not-worse
            check: champion_noninferiority
            with: { metric: auc, margin: "0.05", noChampion: pass }
        """;

    public static TrainParameters Train => new()
    {
        Model = "departures",
        Dataset = "departures",
        Features = ["wait", "hour", "noise"],
        Categorical = ["hour"],
        Label = "late",
        Time = "at",
        From = Monday,
        To = Monday.AddDays(21),
        ValidateFrom = Monday.AddDays(21),
        ValidateTo = Monday.AddDays(28),
        Trainer = new LightGbmParameters { Trees = 20, Leaves = 7, MinRowsPerLeaf = 20 },
    };

    public static PipelineSpec Retrain => new("retrain", [StepSpec.Train(Train), StepSpec.Gate(new GateParameters { Policy = "departures" })]);

    public static async Task<TestWorld> CreateAsync(Engine engine, PipelineSpec? spec = null, string? folder = null, string? postgres = null)
    {
        var world = await TestWorld.CreateAsync(
            engine, services => services.AddSingleton(new PipelinesOptions { AllowCommands = true, Grace = TimeSpan.FromSeconds(1), TrackingUri = "http://127.0.0.1:5600" }), folder, postgres);
        if (spec is not null)
        {
            await world.Get<Access>().CreateUserAsync(Actor.System("test"), "grace", ["validator"], None);
            await world.Get<Policies>().ApplyAsync(TestWorld.Ada, Policy, None);
            await world.Get<Datasets>().CreateAsync(TestWorld.Ada, "departures", null, None);
            await CommitAsync(world);
            await world.Get<Specs>().ApplyAsync(TestWorld.Ada, spec, None);
        }

        return world;
    }

    public static async Task<DatasetVersion> CommitAsync(TestWorld world, int weeks = 6)
    {
        var file = Path.Combine(world.Folder, "departures.parquet");
        Write(file, weeks);
        return await world.Get<Datasets>().CommitAsync(TestWorld.Ada, "departures", new CommitRequest { Message = $"{weeks} weeks", Files = [CommitFile.FromDisk("departures.parquet", file)] }, None);
    }

    /// <summary>Moves a run to its end, as the running server's clock does.</summary>
    public static async Task<PipelineRun> EndAsync(TestWorld world, string id)
    {
        for (var i = 0; i < 100; i++)
        {
            await world.PumpAsync();
            var run = await world.Get<PipelineRuns>().GetAsync(id, None);
            if (run.FinishedAt is not null)
            {
                await world.PumpAsync();
                return run;
            }

            await world.Get<StepTasks>().IdleAsync();
        }

        throw new InvalidOperationException($"pipeline run {id} does not end");
    }

    public static async Task<PipelineRun> RunAsync(TestWorld world, StartRun? start = null, string pipeline = "retrain") =>
        await EndAsync(world, (await world.Get<PipelineRuns>().StartAsync(TestWorld.Ada, pipeline, start ?? new StartRun(), None)).Id);

    public static async Task<StepOutput> OutputAsync(TestWorld world, string run, int step) => (await world.Get<PipelineRuns>().StepsAsync(run, None))[step].Output!;

    public static async Task ApproveAsync(TestWorld world, string request)
    {
        var asked = await world.Get<Gates>().GetAsync(request, None);
        await world.Get<Approvals>().DecideAsync(TestWorld.Grace, request, approve: true, "good", asked.EvidenceDigest, None);
        await world.PumpAsync();
    }

    /// <summary>An alert as the monitor writes it: row and journal entry.</summary>
    public static async Task<string> AlertAsync(TestWorld world, string version, DateTimeOffset windowEnd, string family = "performance", string endpoint = "departures")
    {
        var id = Ids.New();
        await world.Database.WriteAsync(
            async tx =>
            {
                await tx.ExecuteAsync(
                    """
                    INSERT INTO monitoring_alerts (id, monitor, endpoint, model_version, family, state, severity, metric, column_name, value, threshold, n, start_us, end_us, sentence, members, fired_us, updated_us)
                    VALUES (@id, @monitor, @endpoint, @version, @family, 'firing', 'major', 'auc', NULL, 0.6, 0.7, 900, @start, @end, 'AUC fell', '[]', @now, @now)
                    """,
                    new { id, monitor = Ids.New(), endpoint, version, family, start = Time.ToMicros(windowEnd.AddDays(-7)), end = Time.ToMicros(windowEnd), now = world.Clock.NowMicros() });
                await world.Journal.AppendAsync(
                    tx, Actor.System("monitor"), "alert.fired", new Subject("alert", id),
                    new AlertFired(id, "m", endpoint, version, "auc", null, 0.6, 0.7, 900, windowEnd.AddDays(-7), windowEnd, "AUC fell"), [new Subject("endpoint", endpoint)]);
            },
            None);
        return id;
    }

    private static void Write(string file, int weeks)
    {
        using var connection = new DuckDBConnection("DataSource=:memory:");
        connection.Open();
        using var command = connection.CreateCommand();
        command.CommandText = "CREATE TABLE t (\"at\" TIMESTAMP, wait DOUBLE, hour INTEGER, noise FLOAT, note VARCHAR, late BOOLEAN)";
        command.ExecuteNonQuery();
        var random = new Random(11);
        using (var appender = connection.CreateAppender("t"))
        {
            for (var i = 0; i < weeks * Week; i++)
            {
                var at = Monday.AddMinutes(i * 7 * 24 * 60.0 / Week).UtcDateTime;
                var wait = Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
                var noise = random.NextDouble();
                var late = random.NextDouble() < 1 / (1 + Math.Exp(-((1.8 * wait) + (at.Hour >= 18 ? 1 : -0.5))));
                var row = appender.CreateRow().AppendValue(at).AppendValue(wait).AppendValue(at.Hour);
                row = i % 50 == 0 ? row.AppendNullValue() : row.AppendValue((float)noise);
                row = row.AppendValue("x");
                row = i < 20 ? row.AppendNullValue() : row.AppendValue(late);
                row.EndRow();
            }
        }

        command.CommandText = $"COPY t TO '{file}' (FORMAT parquet)";
        command.ExecuteNonQuery();
    }
}
