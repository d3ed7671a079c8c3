using System.Net;
using System.Net.Sockets;
using System.Text;
using Microsoft.Extensions.DependencyInjection;
using Slipway.Foundation;
using Slipway.Monitoring;
using Slipway.Serving;
using static Slipway.Tests.Serving.ServingWorld;

namespace Slipway.Tests.Serving;

/// <summary>Experiments, bandits and further metrics over a real prediction log, real labels and the route's own history.</summary>
public sealed class ExperimentObserverTests
{
    private static readonly MetricSpec Bought = new() { Name = "bought", Source = MetricSource.Label, Kind = MetricKind.Proportion, MissingIsZero = true };
    private static readonly MetricSpec Errors = new() { Name = "errors", Source = MetricSource.ErrorRate, Kind = MetricKind.Proportion, Direction = MetricDirection.Down, Margin = 0.02 };

    private static readonly ExperimentSpec Test = new()
    {
        Primary = Bought,
        Secondary = [new() { Name = "p95", Source = MetricSource.Latency, Kind = MetricKind.Quantile, Direction = MetricDirection.Down }],
        Guardrails = [Errors],
        AttributionWindow = TimeSpan.FromHours(1),
        Design = new() { Effect = 0.05 },
    };

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Experiment_finds_the_winner_among_mature_entities(Engine engine)
    {
        await using var world = await CreateAsync(engine);
        var rollout = await HalfAsync(world);
        await ServeAsync(world, rollout, 3000, bought: (0.10, 0.20));
        var early = await LookAsync(world, rollout, Test);
        Assert.Equal((ExperimentDecision.Running, 0), (early.Decision, early.Arms.Sum(arm => arm.Units)));
        Assert.Equal(3000, early.Arms.Sum(arm => arm.Immature));

        world.Clock.Advance(TimeSpan.FromHours(2));
        var report = await LookAsync(world, rollout, Test);
        Assert.Equal((ExperimentDecision.Winner, "candidate"), (report.Decision, report.Winner));
        Assert.Equal(3000, report.Arms.Sum(arm => arm.Units));
        Assert.False(report.Blocked, report.SampleRatio.Why);
        Assert.InRange(report.SampleRatio.P!.Value, 0.001, 1);
        var bought = report.Metrics.Single(metric => metric.Role == "primary");
        Assert.True(bought is { Lower: > 0, Upper: < 0.2, P: < 0.01 }, bought.Why);
        Assert.Equal(Verdict.Pass, report.Metrics.Single(metric => metric.Role == "guardrail").Verdict);
        Assert.NotNull(report.Metrics.Single(metric => metric.Role == "secondary").Adjusted);

        // The next look remembers: the interval can only shrink, p can only fall.
        var next = await world.Get<ExperimentObserver>().LookAsync(rollout, Test, report.Memory, None);
        Assert.True(next.Metrics[0].Lower >= bought.Lower && next.Metrics[0].P <= bought.P);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task First_exposure_wins_crossovers_count_and_late_labels_do_not(Engine engine)
    {
        await using var world = await CreateAsync(engine);
        var rollout = await HalfAsync(world);
        var at = world.Clock.GetUtcNow();
        Append(world, "a1", "ann", "stable", at);
        Append(world, "a2", "ann", "candidate", at.AddMinutes(5));
        Append(world, "b1", "bob", "candidate", at.AddMinutes(1));
        Append(world, "b2", "bob", "candidate", at.AddMinutes(90));
        Append(world, "c1", null, "candidate", at.AddMinutes(2));
        await LabelAsync(world, ("a2", 1, at.AddMinutes(10)), ("b2", 1, at.AddMinutes(95)), ("c1", 1, at.AddMinutes(70)));
        world.Clock.Advance(TimeSpan.FromHours(3));
        var report = await LookAsync(world, rollout, Test with { Design = new() { MinUnitsPerArm = 2 } });
        var (stable, candidate) = (report.Arms[0], report.Arms[1]);
        Assert.Equal((1, 1, 1), (stable.Exposed, stable.Units, stable.Crossovers));
        Assert.Equal((2, 2, 0), (candidate.Exposed, candidate.Units, candidate.Crossovers));
        Assert.Equal(1, report.Anonymous);

        // What ann bought under the candidate is not stable's, and labels behind the window are nobody's.
        var reader = await ReadAsync(world, rollout, ExperimentUnit.Entity);
        Assert.Equal([0.0, 0.0], reader.Arms.Select(arm => arm.Metrics[0].Sums.X));
        var requests = await ReadAsync(world, rollout, ExperimentUnit.Request);
        Assert.Equal([1L, 4L], requests.Arms.Select(arm => arm.Mature));
        Assert.Equal([0.0, 2.0], requests.Arms.Select(arm => arm.Metrics[0].Sums.X));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Lost_units_of_one_arm_block_the_experiment(Engine engine)
    {
        await using var world = await CreateAsync(engine);
        var rollout = await HalfAsync(world);
        await ServeAsync(world, rollout, 3000, bought: (0.10, 0.30), lose: "candidate");
        world.Clock.Advance(TimeSpan.FromHours(2));
        var report = await LookAsync(world, rollout, Test);
        Assert.True(report.Blocked);
        Assert.Equal((ExperimentDecision.Running, null), (report.Decision, report.Winner));
        Assert.Contains("mismatch", report.Why, StringComparison.Ordinal);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Errors_beyond_the_margin_are_harm(Engine engine)
    {
        await using var world = await CreateAsync(engine);
        var rollout = await HalfAsync(world);
        await ServeAsync(world, rollout, 2000, bought: (0.10, 0.30), errors: (0.01, 0.10));
        world.Clock.Advance(TimeSpan.FromHours(2));
        var report = await LookAsync(world, rollout, Test);
        Assert.Equal(ExperimentDecision.Harm, report.Decision);
        Assert.Contains("errors", report.Why, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Fixed_design_decides_once_at_its_end_and_history_narrows_the_interval()
    {
        await using var world = await CreateAsync(Engine.Sqlite);
        var before = world.Clock.GetUtcNow();
        await EndpointAsync(world);
        var random = new Random(6);
        var habit = Enumerable.Range(0, 1500).Select(_ => random.NextDouble()).ToArray();
        for (var i = 0; i < habit.Length; i++)
        {
            Append(world, $"h{i}", $"user-{i}", "stable", before, score: (float)habit[i]);
        }

        world.Clock.Advance(TimeSpan.FromDays(1));
        var rollout = await HalfAsync(world, endpoint: false);
        for (var i = 0; i < habit.Length; i++)
        {
            var variant = (await world.Get<Endpoints>().AssignAsync("flowers", $"user-{i}", null, null, None)).Variant.Name;
            Append(world, $"p{i}", $"user-{i}", variant, world.Clock.GetUtcNow(), score: (float)((0.8 * habit[i]) + (0.2 * random.NextDouble()) + (variant == "candidate" ? 0.03 : 0)));
        }

        var spec = new ExperimentSpec
        {
            Primary = new() { Name = "score", Source = MetricSource.Score, Kind = MetricKind.Mean },
            Design = new() { Stop = StopRule.Fixed, Horizon = TimeSpan.FromHours(10), Effect = 0.02 },
        };
        world.Clock.Advance(TimeSpan.FromHours(1));
        Assert.Equal(ExperimentDecision.Running, (await LookAsync(world, rollout, spec)).Decision);
        world.Clock.Advance(TimeSpan.FromHours(10));
        var plain = await LookAsync(world, rollout, spec);
        var cuped = await LookAsync(world, rollout, spec with { Cuped = true });
        Assert.Equal("Welch t", plain.Metrics[0].Test);
        Assert.Equal((ExperimentDecision.Winner, "candidate"), (cuped.Decision, cuped.Winner));
        Assert.Equal(1500, cuped.Cuped!.WithHistory);
        Assert.True(cuped.Cuped.Correlation > 0.95, $"{cuped.Cuped}");
        Assert.True(cuped.Metrics[0].Upper - cuped.Metrics[0].Lower < 0.5 * (plain.Metrics[0].Upper - plain.Metrics[0].Lower));
    }

    [Theory]
    [InlineData(StopRule.Sequential, "mixture sequential")]
    [InlineData(StopRule.Fixed, "DeLong")]
    public async Task Area_under_the_curve_of_labelled_scores_decides(StopRule stop, string test)
    {
        await using var world = await CreateAsync(Engine.Sqlite);
        var rollout = await HalfAsync(world);
        var (random, at, labels) = (new Random(11), world.Clock.GetUtcNow(), new List<(string, double, DateTimeOffset)>());
        for (var i = 0; i < 3000; i++)
        {
            var variant = (await world.Get<Endpoints>().AssignAsync("flowers", $"user-{i}", null, null, None)).Variant.Name;
            var bought = random.NextDouble() < 0.3;
            Append(world, $"p{i}", $"user-{i}", variant, at, score: (float)((random.NextDouble() / 2) + (bought ? variant == "candidate" ? 0.25 : 0.05 : 0)));
            labels.Add(($"p{i}", bought ? 1 : 0, at.AddMinutes(10)));
        }

        await LabelAsync(world, [.. labels]);
        world.Clock.Advance(TimeSpan.FromHours(3));
        var auc = new MetricSpec { Name = "auc", Source = MetricSource.Score, Kind = MetricKind.Auc };
        var report = await LookAsync(world, rollout, new ExperimentSpec { Primary = auc, Design = new() { Effect = 0.05, Stop = stop, Horizon = TimeSpan.FromHours(2) } });
        Assert.Equal((ExperimentDecision.Winner, "candidate"), (report.Decision, report.Winner));
        var result = report.Metrics.Single();
        Assert.Equal(test, result.Test);
        // P(positive scores higher) of scores uniform on half a unit, shifted by d: 1 - (1 - 2d)^2 / 2.
        Assert.InRange(result.Value!.Value, 0.875 - 0.03, 0.875 + 0.03);
        Assert.InRange(result.BaselineValue!.Value, 0.595 - 0.04, 0.595 + 0.04);
        Assert.True(result.Lower > 0.1 && result.Upper < 0.45, result.Why);

        Assert.Contains("labelled scores", Assert.Single(new ExperimentSpec { Primary = auc with { Source = MetricSource.Latency } }.Faults()));
        // One class only is no figure, and no figure decides nothing.
        var onlyOne = await LookAsync(world, rollout, new ExperimentSpec { Primary = auc with { PositiveFrom = 2 }, Design = new() { Effect = 0.05, Stop = stop, Horizon = TimeSpan.FromHours(2) } });
        Assert.Equal((Verdict.NoData, (double?)null), (onlyOne.Metrics.Single().Verdict, onlyOne.Metrics.Single().Value));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Bandit_moves_to_the_better_variant_by_matured_rewards(Engine engine)
    {
        await using var world = await CreateAsync(engine);
        var rollout = await HalfAsync(world);
        await ServeAsync(world, rollout, 1500, bought: (0.10, 0.30));
        var spec = new BanditSpec { Reward = Bought, RewardWindow = TimeSpan.FromHours(1), HalfLife = TimeSpan.FromDays(2), StopAt = 0.99 };
        var observer = world.Get<ExperimentObserver>();
        var early = await observer.WeighAsync(rollout, spec, None);
        Assert.False(early.Moved);
        Assert.Contains("burn-in", early.Why, StringComparison.Ordinal);

        world.Clock.Advance(TimeSpan.FromHours(2));
        var report = await observer.WeighAsync(rollout, spec, None);
        Assert.True(report.Moved, report.Why);
        Assert.Equal("candidate", report.Best);
        Assert.Equal([0.3, 0.7], report.Arms.Select(arm => Math.Round(arm.Next, 6)));
        Assert.All(report.Arms, arm => Assert.Equal(arm.Mean!.Value, arm.Unbiased!.Value, 0.01));
    }

    [Fact]
    public async Task Further_metrics_are_measured_when_due_kept_and_joined()
    {
        await using var metrics = new MetricServer();
        await using var world = await TestWorld.CreateAsync(Engine.Sqlite, services => services.AddSingleton(new ServingOptions { MetricsFromLoopback = true }));
        var rollout = Invented(world);
        var observer = world.Get<ExperimentObserver>();
        var spec = new AnalysisSpec
        {
            Metrics =
            [
                new() { Name = "prom", Provider = MetricProvider.Prometheus, Url = metrics.Url, Query = "errors{model=\"{candidate}\"}", AtMost = 1, MaxFailures = 1 },
                new() { Name = "web", Provider = MetricProvider.Web, Url = $"{metrics.Url}/json", Path = "data.0.value", AtLeast = 0.5 },
                new() { Name = "trial", Provider = MetricProvider.Web, Url = $"{metrics.Url}/json", Path = "nowhere", AtLeast = 0.5, DryRun = true },
            ],
        };
        Assert.Empty(spec.Faults());
        var passed = new AnalysisReport(Verdict.Pass, [], AnalysisMemory.Empty);
        metrics.Prometheus = """{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"0.5"]}]}}""";
        metrics.Json = """{"data":[{"value":0.75}]}""";
        var report = await observer.MeasureAsync(rollout, spec, passed, 1, None);
        Assert.Equal(Verdict.Pass, report.Verdict);
        Assert.Equal("errors{model=\"iris/2\"}", metrics.Asked);
        Assert.Equal(Verdict.Error, (await observer.MeasurementsAsync(rollout.Id, 10, None)).Single(m => m.Metric == "trial").Verdict);

        // A tally belongs to its step; a new one begins anew, and nothing is measured before it is due.
        world.Clock.Advance(TimeSpan.FromSeconds(1));
        metrics.Prometheus = metrics.Prometheus.Replace("0.5", "7", StringComparison.Ordinal);
        report = await observer.MeasureAsync(rollout, spec, report, 2, None);
        Assert.Equal(Verdict.Inconclusive, report.Verdict);
        report = await observer.MeasureAsync(rollout, spec, report with { Verdict = Verdict.Pass, Checks = [] }, 2, None);
        Assert.Equal((Verdict.Inconclusive, false), (report.Verdict, report.Final));
        world.Clock.Advance(TimeSpan.FromMinutes(1));
        report = await observer.MeasureAsync(rollout, spec, passed with { Memory = report.Memory }, 2, None);
        Assert.Equal((Verdict.Fail, true), (report.Verdict, report.Final));
        Assert.Equal(3, (await observer.MeasurementsAsync(rollout.Id, 100, None)).Count(m => m.Metric == "prom"));
    }

    [Theory]
    [InlineData("""{"status":"success","data":{"resultType":"vector","result":[]}}""", Verdict.NoData)]
    [InlineData("""{"status":"success","data":{"resultType":"vector","result":[{"value":[1,"NaN"]}]}}""", Verdict.NoData)]
    [InlineData("""{"status":"success","data":{"resultType":"scalar","result":[1,"0.2"]}}""", Verdict.Pass)]
    [InlineData("""{"status":"success","data":{"resultType":"vector","result":[{"value":[1,"0"]},{"value":[1,"0"]}]}}""", Verdict.Error)]
    [InlineData("""{"status":"error","error":"parse error"}""", Verdict.Error)]
    [InlineData("""{"status":"success","data":{"resultType":"matrix","result":[]}}""", Verdict.Error)]
    [InlineData("not json", Verdict.Error)]
    [InlineData("[1]", Verdict.Error)]
    public async Task Prometheus_answers_are_read_strictly(string answer, Verdict verdict)
    {
        await using var metrics = new MetricServer { Prometheus = answer };
        await using var world = await TestWorld.CreateAsync(Engine.Sqlite, services => services.AddSingleton(new ServingOptions { MetricsFromLoopback = true }));
        var spec = new AnalysisSpec { Metrics = [new() { Name = "prom", Provider = MetricProvider.Prometheus, Url = metrics.Url, Query = "up", AtMost = 1 }] };
        var rollout = Invented(world);
        await world.Get<ExperimentObserver>().MeasureAsync(rollout, spec, new(Verdict.Pass, [], AnalysisMemory.Empty), 1, None);
        Assert.Equal(verdict, Assert.Single(await world.Get<ExperimentObserver>().MeasurementsAsync(rollout.Id, 10, None)).Verdict);
    }

    [Theory]
    [InlineData("http://127.0.0.1:9090")]
    [InlineData("https://10.0.0.1")]
    [InlineData("https://169.254.169.254")]
    [InlineData("file:///etc/passwd")]
    public async Task Internal_addresses_are_refused_and_a_broken_provider_never_passes(string url)
    {
        await using var world = await TestWorld.CreateAsync(Engine.Sqlite);
        var spec = new AnalysisSpec { Metrics = [new() { Name = "prom", Provider = MetricProvider.Prometheus, Url = url, Query = "up", AtMost = 1, MaxErrors = 0 }] };
        var report = await world.Get<ExperimentObserver>().MeasureAsync(Invented(world), spec, new(Verdict.Pass, [], AnalysisMemory.Empty), 1, None);
        Assert.Equal((Verdict.Error, true), (report.Verdict, report.Final));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Log_metrics_compare_the_candidate_and_monitors_without_points_are_no_data(Engine engine)
    {
        await using var world = await CreateAsync(engine);
        var rollout = await HalfAsync(world);
        var spec = new AnalysisSpec
        {
            Metrics =
            [
                new() { Name = "errors", Provider = MetricProvider.Log, Compare = Errors },
                new() { Name = "psi", Provider = MetricProvider.Monitor, Point = "psi", Column = "x", AtMost = 0.2 },
            ],
        };
        var passed = new AnalysisReport(Verdict.Pass, [], AnalysisMemory.Empty);
        var observer = world.Get<ExperimentObserver>();
        var empty = await observer.MeasureAsync(rollout, spec, passed, 1, None);
        Assert.Equal([Verdict.NoData, Verdict.NoData], (await observer.MeasurementsAsync(rollout.Id, 10, None)).Select(m => m.Verdict));
        Assert.NotEqual(Verdict.Pass, empty.Verdict);

        await ServeAsync(world, rollout, 1000, errors: (0.01, 0.12));
        world.Clock.Advance(TimeSpan.FromMinutes(1));
        var report = await observer.MeasureAsync(rollout, spec, passed with { Memory = empty.Memory }, 1, None);
        Assert.Equal(Verdict.Fail, report.Verdict);
        var errors = (await observer.MeasurementsAsync(rollout.Id, 10, None)).First(m => m.Metric == "errors");
        Assert.True(errors is { Verdict: Verdict.Fail, Harm: > 0.05, P: < 0.01 }, errors.Why);
    }

    [Fact]
    public async Task A_monitors_newest_point_since_the_exposure_decides_by_bounds_or_by_its_own_limits()
    {
        await using var world = await CreateAsync(Engine.Sqlite);
        var rollout = await HalfAsync(world);
        var random = new Random(8);
        float[] Draw(int n) => [.. Enumerable.Range(0, n).Select(_ => random.NextSingle())];
        var monitor = await world.Get<Monitors>().WatchAsync(
            TestWorld.Ada,
            new WatchRequest { Endpoint = "flowers", ModelVersion = Better, FeatureNames = ["sepal"], Reference = new ReferenceTable { Columns = [Draw(2000)] }, Window = WindowRule.Day() },
            None);
        foreach (var (value, i) in Draw(1000).Select((value, i) => (value, i)))
        {
            world.Get<Predictions>().Append(new PredictionRecord($"p{i}", "flowers", "candidate", Better, null, Time.ToMicros(world.Clock.GetUtcNow()), 100, new[] { value }, new[] { 0.5f }, 200));
        }

        AnalysisMetric psi = new() { Name = "psi", Provider = MetricProvider.Monitor, Point = "psi", Column = "sepal" };
        await IsAsync(Verdict.NoData, psi);
        world.Clock.Advance(TimeSpan.FromDays(1));
        // A window closes when a later prediction has been seen.
        Append(world, "later", null, "candidate", world.Clock.GetUtcNow());
        await world.Get<Monitors>().EvaluateAsync(monitor.Id, None);
        await IsAsync(Verdict.Pass, psi with { Name = "limits" });
        await IsAsync(Verdict.Pass, psi with { Name = "bounds", AtMost = 0.1 });
        await IsAsync(Verdict.Fail, psi with { Name = "strict", AtMost = 1e-9 });
        await IsAsync(Verdict.NoData, psi with { Name = "unknown", Column = "petal" });
        // Drift is measured by columns: without one, the worst of them decides.
        await IsAsync(Verdict.Pass, psi with { Name = "all", Column = null, AtMost = 0.1 });
        await IsAsync(Verdict.Fail, psi with { Name = "worst", Column = null, AtMost = 1e-9 });

        async Task IsAsync(Verdict expected, AnalysisMetric metric)
        {
            await world.Get<ExperimentObserver>().MeasureAsync(rollout, new AnalysisSpec { Metrics = [metric] }, new(Verdict.Pass, [], AnalysisMemory.Empty), 1, None);
            var measured = (await world.Get<ExperimentObserver>().MeasurementsAsync(rollout.Id, 10, None)).First(m => m.Metric == metric.Name);
            Assert.True(measured.Verdict == expected, $"{metric.Name}: {measured}");
        }
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Sql_over_predictions_and_labels_decides_by_its_bounds(Engine engine)
    {
        await using var world = await CreateAsync(engine);
        var rollout = await HalfAsync(world);
        // Another endpoint's rows are not seen, and copies of requests are no predictions.
        var other = new PredictionRecord("other", "cars", "candidate", Better, null, Time.ToMicros(world.Clock.GetUtcNow()), 1000, new float[] { 1 }, new[] { 0.5f }, 200);
        Assert.True(world.Get<Predictions>().Append(other) && world.Get<Predictions>().Append(other with { Id = "copy", Endpoint = "flowers", Kind = PredictionKind.Shadow }));
        await ServeAsync(world, rollout, 1000, bought: (0.10, 0.30), errors: (0.01, 0.12));
        var all = await SqlAsync(world, rollout, "SELECT count(*) FROM predictions");
        Assert.Equal((Verdict.Fail, 1000.0), (all.Verdict, all.Value));
        var failed = await SqlAsync(world, rollout, "SELECT avg((status <> 200)::INT) FROM predictions WHERE variant = $candidate_variant AND model_version = $candidate");
        Assert.True(failed is { Verdict: Verdict.Pass, Value: > 0.05 and < 0.2 }, failed.Why);
        var stable = await SqlAsync(world, rollout, "SELECT avg((status <> 200)::INT) FROM predictions WHERE variant = $stable_variant AND model_version = $stable");
        Assert.True(stable is { Verdict: Verdict.Pass, Value: < 0.05 }, stable.Why);
        var bought = await SqlAsync(world, rollout, "WITH c AS (SELECT * FROM predictions WHERE variant = $candidate_variant) SELECT sum(label) / count(*) FROM c -- labelled");
        Assert.True(bought is { Verdict: Verdict.Pass, Value: > 0.2 and < 0.4 }, bought.Why);
        Assert.Contains("$candidate = iris/2", bought.Query, StringComparison.Ordinal);
        var outputs = await SqlAsync(world, rollout, "SELECT avg(outputs[1]) FROM predictions WHERE status = 200 AND event_at >= $window_start AND event_at < $window_end");
        Assert.Equal((Verdict.Pass, 0.5), (outputs.Verdict, outputs.Value));
        Assert.Equal((Verdict.Pass, 1.0), await VerdictAsync("SELECT count(*)::HUGEINT - 999 FROM predictions WHERE $endpoint = 'flowers'"));

        // Complete segments are Parquet; the answer is the same.
        world.Clock.Advance(TimeSpan.FromHours(2));
        await world.Get<Predictions>().CompactAsync(None);
        Assert.Equal(failed.Value, (await SqlAsync(world, rollout, "SELECT avg((status <> 200)::INT) FROM predictions WHERE variant = $candidate_variant")).Value);

        async Task<(Verdict, double?)> VerdictAsync(string query) => await SqlAsync(world, rollout, query) is var m ? (m.Verdict, m.Value) : default;
    }

    [Theory]
    [InlineData("SELECT NULL", Verdict.NoData, "NULL")]
    [InlineData("SELECT avg(label) FROM predictions", Verdict.NoData, "NULL")]
    [InlineData("SELECT 'nan'::DOUBLE", Verdict.NoData, "NaN")]
    [InlineData("SELECT 'inf'::DOUBLE", Verdict.NoData, "Infinity")]
    [InlineData("SELECT 1 WHERE false", Verdict.NoData, "no row")]
    [InlineData("SELECT 0 AS a, 0 AS b", Verdict.NoData, "2 columns")]
    [InlineData("SELECT 0 FROM range(5)", Verdict.NoData, "several rows")]
    [InlineData("SELECT 'green'", Verdict.NoData, "'green'")]
    [InlineData("SELECT false", Verdict.NoData, "no number")]
    [InlineData("SELECT 0 FROM nowhere", Verdict.Error, "nowhere")]
    [InlineData("SELECT $other", Verdict.Error, "refused")]
    [InlineData("SELECT 0) AS a, (SELECT 1", Verdict.NoData, "2 columns")]
    [InlineData("SELECT count(*) FROM read_text('/etc/passwd')", Verdict.Error, "disabled")]
    [InlineData("SELECT count(*) FROM '/etc/passwd.csv'", Verdict.Error, "disabled")]
    [InlineData("SELECT count(*) FROM glob('/etc/*')", Verdict.Error, "disabled")]
    [InlineData("SELECT count(*) FROM read_parquet('https://example.org/x.parquet')", Verdict.Error, "refused")]
    [InlineData("SELECT length(getenv('HOME'))", Verdict.Error, "getenv")]
    [InlineData("SELECT len(list(s)) FROM (SELECT repeat('x', 10000000) || range AS s FROM range(1000))", Verdict.Error, "emory")]
    public async Task Sql_that_gives_no_number_or_reaches_out_never_passes(string query, Verdict verdict, string why)
    {
        await using var world = await TestWorld.CreateAsync(Engine.Sqlite);
        var measured = await SqlAsync(world, Invented(world), query);
        Assert.True(measured.Verdict == verdict && measured.Value is null, $"{measured}");
        Assert.Contains(why, measured.Why, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Sql_is_ended_when_its_time_is_over()
    {
        await using var world = await TestWorld.CreateAsync(Engine.Sqlite);
        var queries = new PredictionQueries(world.Get<Labels>()) { Patience = TimeSpan.FromMilliseconds(500) };
        var now = world.Clock.GetUtcNow();
        var answer = await queries.AskAsync("flowers", now.AddDays(-1), now, "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b", new Dictionary<string, object>(), None);
        Assert.True(answer is { Failed: true, Value: null }, answer.Why);
        Assert.Contains("not finished after 0.5 s", answer.Why, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("", "needs a query")]
    [InlineData("SELECT 1; DROP TABLE predictions", "one statement")]
    [InlineData("COPY predictions TO 'x.csv'", "'COPY predictions TO '")]
    [InlineData("SET memory_limit = '1TB'", "SELECT or WITH")]
    public void Sql_is_refused_by_its_text(string query, string why) =>
        Assert.Contains(why, Assert.Single(new AnalysisMetric { Name = "sql", Provider = MetricProvider.Sql, Query = query, AtMost = 1 }.Faults()), StringComparison.Ordinal);

    private static async Task<Measurement> SqlAsync(TestWorld world, Rollout rollout, string query)
    {
        world.Clock.Advance(TimeSpan.FromSeconds(1));
        var spec = new AnalysisSpec { Metrics = [new() { Name = "sql", Provider = MetricProvider.Sql, Query = query, AtMost = 1 }] };
        Assert.Empty(spec.Faults());
        await world.Get<ExperimentObserver>().MeasureAsync(rollout, spec, new(Verdict.Pass, [], AnalysisMemory.Empty), 1, None);
        return (await world.Get<ExperimentObserver>().MeasurementsAsync(rollout.Id, 1, None))[0];
    }

    private static Task<ExperimentReport> LookAsync(TestWorld world, Rollout rollout, ExperimentSpec spec) =>
        world.Get<ExperimentObserver>().LookAsync(rollout, spec, AnalysisMemory.Empty, None);

    private static async Task<OutcomeReader> ReadAsync(TestWorld world, Rollout rollout, ExperimentUnit unit)
    {
        var reader = new OutcomeReader(world.Get<Labels>(), "flowers", ExperimentObserver.Arms(rollout), [Bought], unit, TimeSpan.FromHours(1), []);
        await reader.ReadAsync(Time.FromMicros(rollout.Status.ExposedSince), world.Clock.GetUtcNow(), null, None);
        return reader;
    }

    /// <summary>A rollout that gives half of the traffic to the candidate and waits.</summary>
    private static async Task<Rollout> HalfAsync(TestWorld world, bool endpoint = true)
    {
        if (endpoint)
        {
            await EndpointAsync(world);
        }

        var spec = new RolloutSpec { Steps = [RolloutStep.SetWeight(50), RolloutStep.Pause()], ProgressDeadline = TimeSpan.FromDays(30) };
        var proposed = await world.Get<Rollouts>().ProposeAsync(TestWorld.Ada, new ProposeRollout { Endpoint = "flowers", Candidate = Better, Spec = spec }, None);
        return await StepAsync(world, proposed.Id);
    }

    private static Rollout Invented(TestWorld world)
    {
        var now = world.Clock.GetUtcNow();
        return new(Ids.New(), "flowers", Good, Better, null, new RolloutSpec(), RolloutStatus.Proposed(Time.ToMicros(now)), 1, null, "ada", now, now);
    }

    /// <summary>Predictions as the route assigns them, for as many entities, and their labels.</summary>
    private static async Task ServeAsync(
        TestWorld world, Rollout rollout, int entities, (double Stable, double Candidate)? bought = null, (double Stable, double Candidate)? errors = null, string? lose = null)
    {
        var random = new Random(42);
        var labels = new List<(string, double, DateTimeOffset)>();
        var at = world.Clock.GetUtcNow();
        for (var i = 0; i < entities; i++)
        {
            var variant = (await world.Get<Endpoints>().AssignAsync("flowers", $"user-{i}", null, null, None)).Variant.Name;
            var (candidate, drawn, failed) = (variant == "candidate", random.NextDouble(), random.NextDouble());
            if (variant == lose && i % 5 == 0)
            {
                continue;
            }

            var ok = errors is not { } rates || failed >= (candidate ? rates.Candidate : rates.Stable);
            Append(world, $"p{i}", $"user-{i}", variant, at, ok: ok, latency: 1000 + random.Next(500));
            if (bought is { } shares && drawn < (candidate ? shares.Candidate : shares.Stable))
            {
                labels.Add(($"p{i}", 1, at.AddMinutes(10)));
            }
        }

        Assert.True(rollout.Status.ExposedSince > 0);
        world.Clock.Advance(TimeSpan.FromMinutes(1));
        await LabelAsync(world, [.. labels]);
    }

    private static void Append(TestWorld world, string id, string? entity, string variant, DateTimeOffset at, float score = 0.5f, bool ok = true, long latency = 1000) =>
        Assert.True(world.Get<Predictions>().Append(new PredictionRecord(
            id, "flowers", variant, variant == "candidate" ? Better : Good, entity, Time.ToMicros(at), latency, new float[] { 1 }, ok ? new[] { score } : [], ok ? 200 : 500)));

    private static async Task LabelAsync(TestWorld world, params (string Id, double Value, DateTimeOffset At)[] labels)
    {
        foreach (var batch in labels.Chunk(5000))
        {
            await world.Get<Labels>().AppendAsync(TestWorld.Ada, "flowers", [.. batch.Select(label => new Label(label.Id, label.Value, label.At))], None);
        }
    }

    /// <summary>Answers as a Prometheus server and as a JSON address do.</summary>
    private sealed class MetricServer : IAsyncDisposable
    {
        private readonly TcpListener listener = new(IPAddress.Loopback, 0);
        private readonly Task loop;

        public MetricServer()
        {
            listener.Start();
            loop = Task.Run(ServeAsync);
        }

        public string Url => $"http://127.0.0.1:{((IPEndPoint)listener.LocalEndpoint).Port}";

        public string Prometheus { get; set; } = "";

        public string Json { get; set; } = "";

        public string? Asked { get; private set; }

        public async ValueTask DisposeAsync()
        {
            listener.Stop();
            await loop;
        }

        private async Task ServeAsync()
        {
            try
            {
                while (true)
                {
                    using var client = await listener.AcceptTcpClientAsync();
                    await using var stream = client.GetStream();
                    using var reader = new StreamReader(stream, leaveOpen: true);
                    var target = (await reader.ReadLineAsync())!.Split(' ')[1];
                    while (await reader.ReadLineAsync() is { Length: > 0 })
                    {
                        continue;
                    }

                    var prometheus = target.StartsWith("/api/v1/query?query=", StringComparison.Ordinal);
                    Asked = prometheus ? Uri.UnescapeDataString(target["/api/v1/query?query=".Length..]) : Asked;
                    var body = Encoding.UTF8.GetBytes(prometheus ? Prometheus : Json);
                    await stream.WriteAsync(Encoding.ASCII.GetBytes($"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {body.Length}\r\nConnection: close\r\n\r\n"));
                    await stream.WriteAsync(body);
                }
            }
            catch (SocketException)
            {
                // The listener was stopped.
                return;
            }
        }
    }
}
