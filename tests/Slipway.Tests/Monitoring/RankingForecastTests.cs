using System.Globalization;
using System.Text;
using System.Text.Json;
using Slipway.Foundation;
using Slipway.Monitoring;
using Monitor = Slipway.Monitoring.Monitor;

namespace Slipway.Tests.Monitoring;

/// <summary>Monitors of rankings and of forecasts: what a point is made of, and when there is none.</summary>
public sealed class RankingForecastTests : IDisposable
{
    private const string Endpoint = "shop";
    private const string Version = "shop/1";
    private static readonly CancellationToken Ct = CancellationToken.None;
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Ranking_is_measured_by_query_and_alerts_when_the_order_is_lost(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var monitors = world.Get<Monitors>();
        Monitor monitor = await monitors.WatchAsync(TestWorld.Ada, Shop(new RankingRule { K = 5 }), Ct);
        Assert.Equal((ModelType.Ranking, "ndcg", 5), (monitor.Type, monitor.PrimaryMetric, monitor.Ranking!.K));
        Assert.InRange(monitor.ReferenceValue!.Value, 0.9, 0.999);

        List<RankedQuery> first = Queries(world, 0, 200, useful: true, out List<Label> labels);
        Queries(world, 1, 200, useful: false, out List<Label> more);
        Append(world, "tick", 2, 0, 0, [0, 0], [0]);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        MonitorPoint[] points = [.. await monitors.PointsAsync(monitor.Id, Ct)];
        Assert.All(points.Where(p => p.Metric is "ndcg" or "map" or "mrr"), p => Assert.Equal((PointState.Insufficient, null), (p.State, p.Value)));

        await world.Get<Labels>().AppendAsync(TestWorld.Ada, Endpoint, [.. labels, .. more], Ct);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        points = [.. await monitors.PointsAsync(monitor.Id, Ct)];
        RankingMetrics expected = RankingMetrics.Of(first, 5);
        Dictionary<string, MonitorPoint> day = points.Where(p => p.WindowStart == Traffic.Monday && p.Column is null).ToDictionary(p => p.Metric);
        foreach ((string metric, Measured value) in new[] { ("ndcg", expected.Ndcg), ("map", expected.MeanAveragePrecision), ("mrr", expected.MeanReciprocalRank), ("precision_at_k", expected.Precision), ("recall_at_k", expected.Recall), ("hit_rate", expected.HitRate) })
        {
            Assert.Equal(value.Value!.Value, day[metric].Value!.Value, 1e-12);
            Assert.Equal((expected.N, PointState.Ok), (day[metric].N, day[metric].State));
        }

        // Queries without anything relevant are counted beside the mean, never in it.
        Assert.Contains($"\"withoutRelevant\":{expected.WithoutRelevant}", day["ndcg"].Detail);
        Assert.True(expected.WithoutRelevant > 0);
        Assert.Equal([PointState.Ok, PointState.Alert], points.Where(p => p.Metric == "ndcg").Select(p => p.State));
        Assert.Equal(2, points.Count(p => p.Metric == "score_psi"));
        Alert alert = Assert.Single(await world.Get<Alerts>().ListAsync("firing", Ct), a => a.Family == Families.Performance);
        Assert.StartsWith("NDCG fell to 0.", alert.Sentence);
    }

    [Theory]
    [InlineData(false, 0, 2, 1)]
    [InlineData(true, 2, 0, 1)]
    public void Query_waits_for_all_labels_unless_only_what_was_chosen_gets_one(bool implicitly, int measured, int waiting, int without)
    {
        WatchRequest request = Shop(new RankingRule { Query = RankingRule.ByEntity, UnlabelledIsIrrelevant = implicitly }) with { Thresholds = new Thresholds { LeastLabelled = 2 } };
        var measure = new WindowMeasure(MonitorConfig.Of(request), MonitorReference.Freeze(request), Traffic.Monday, Traffic.Monday.AddDays(1));
        for (int q = 0; q < 2; q++)
        {
            for (int i = 0; i < 4; i++)
            {
                measure.Add(new Prediction($"{q}-{i}", Endpoint, "stable", Version, $"person {q}", Traffic.Monday, 1, new float[2], new float[] { -i }, 200, "s"), i == 1 ? new KnownLabel(1, Traffic.Monday) : null);
            }
        }

        measure.Add(new Prediction("nobody", Endpoint, "stable", Version, null, Traffic.Monday, 1, new float[2], new float[1], 200, "s"), null);
        MonitorPoint ndcg = measure.Performance().Single(p => p.Metric == "ndcg"), mrr = measure.Performance().Single(p => p.Metric == "mrr");
        Assert.Equal(measured, ndcg.N);
        Assert.Equal(implicitly ? 0.5 : null, mrr.Value);
        Assert.Equal(implicitly ? 1 / Math.Log2(3) : null, ndcg.Value);
        Assert.Contains($"\"waiting\":{waiting}", ndcg.Detail);
        Assert.Contains($"\"withoutQuery\":{without}", ndcg.Detail);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Forecasts_have_points_by_horizon_as_their_actuals_arrive(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var monitors = world.Get<Monitors>();
        Monitor monitor = await monitors.WatchAsync(TestWorld.Ada, Demand(), Ct);
        Assert.Equal((ModelType.Forecasting, "mae", "steps"), (monitor.Type, monitor.PrimaryMetric, monitor.Forecast!.Horizon));
        // Of forecasts the reference's number is that of the shortest horizon: horizons are not averaged.
        Assert.InRange(monitor.ReferenceValue!.Value, 0.6, 1.0);

        List<(Label Label, ForecastPoint Point)> day = Forecasts(world, 0, 100, spoilt: null), next = Forecasts(world, 1, 100, spoilt: 3);
        Append(world, "tick", 2, 0, 0, [1, 0], [0, 0, 0]);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        Assert.DoesNotContain(await monitors.PointsAsync(monitor.Id, Ct), p => p.Metric is "mae" or "mase" or "interval_coverage");

        await world.Get<Labels>().AppendAsync(TestWorld.Ada, Endpoint, [.. day.Where(d => d.Point.Horizon == 1).Select(d => d.Label)], Ct);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        MonitorPoint only = Assert.Single(await monitors.PointsAsync(monitor.Id, Ct), p => p.Metric == "mae");
        Assert.Equal(("horizon 1", 100, 1.0, Traffic.Monday), (only.Column, only.N, only.Coverage, only.WindowStart));

        await world.Get<Labels>().AppendAsync(TestWorld.Ada, Endpoint, [.. day.Concat(next).Where(d => d.Point.Horizon > 1 || d.Label.PredictionId.StartsWith("d1", StringComparison.Ordinal)).Select(d => d.Label)], Ct);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        MonitorPoint[] points = [.. await monitors.PointsAsync(monitor.Id, Ct)], mae = [.. points.Where(p => p.Metric == "mae" && p.WindowStart == Traffic.Monday)];
        Assert.Equal(["horizon 1", "horizon 2", "horizon 3"], mae.Select(p => p.Column));
        Assert.True(mae[0].Value < mae[1].Value && mae[1].Value < mae[2].Value);
        ForecastMetrics expected = ForecastMetrics.Of(day.Where(d => d.Point.Horizon == 2).Select(d => d.Point), Series, 7);
        Dictionary<string, MonitorPoint> second = points.Where(p => p.WindowStart == Traffic.Monday && p.Column == "horizon 2").ToDictionary(p => p.Metric);
        foreach ((string metric, Measured value) in new[]
        {
            ("mae", expected.Errors.MeanAbsoluteError), ("rmse", expected.Errors.RootMeanSquaredError), ("mase", expected.Mase), ("rmsse", expected.Rmsse), ("winkler", expected.Winkler), ("interval_coverage", expected.Coverage),
            ("tracking_signal", expected.TrackingSignal), ("wape", expected.Errors.WeightedPercentageError), ("smape", expected.Errors.SymmetricPercentageError),
        })
        {
            Assert.Equal(value.Value!.Value, second[metric].Value!.Value, 1e-6);
        }

        // The naive forecast that the model receives is as good as a constant of the series: the model beats it.
        Assert.InRange(second["skill"].Value!.Value, 0.3, 1);
        Assert.InRange(second["interval_coverage"].Value!.Value, 0.7, 1);
        Assert.Equal(["horizon 3"], points.Where(p => p.Metric == "mae" && p.State == PointState.Alert).Select(p => p.Column));
        Assert.DoesNotContain(points, p => p.Metric is "mae" or "rmse" or "mase" && p.Column is null);
        Alert alert = Assert.Single(await world.Get<Alerts>().ListAsync("firing", Ct), a => a.Family == Families.Performance);
        Assert.Contains("MAE of horizon 3 rose to", alert.Sentence, StringComparison.Ordinal);

        // An actual that is deleted takes its horizon's number with it.
        await world.Get<Labels>().DeleteAsync(TestWorld.Ada, Endpoint, [.. day.Where(d => d.Point.Horizon == 2).Select(d => d.Label.PredictionId)], Ct);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        MonitorPoint gone = (await monitors.PointsAsync(monitor.Id, Ct)).Single(p => p.Metric == "mae" && p.WindowStart == Traffic.Monday && p.Column == "horizon 2");
        Assert.Equal((PointState.NoData, null, 0), (gone.State, gone.Value, gone.N));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Forecasts_without_a_reference_are_watched_against_their_first_window(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var monitors = world.Get<Monitors>();
        ForecastRule rule = Demand().Forecast! with { Training = null };
        var wrong = await Assert.ThrowsAsync<SlipwayException>(() => monitors.WatchFirstWindowAsync(TestWorld.Ada, Endpoint, Version, ["steps", "naive"], null, null, null, rule with { Horizon = "h" }, null, Ct));
        Assert.Contains("`h`", wrong.Why, StringComparison.Ordinal);
        Monitor monitor = await monitors.WatchFirstWindowAsync(TestWorld.Ada, Endpoint, Version, ["steps", "naive"], WindowRule.Day(TimeSpan.Zero), null, null, rule, null, Ct);
        Assert.Equal(ModelType.Forecasting, monitor.Type);
        Forecasts(world, 0, 100, spoilt: null);
        List<(Label Label, ForecastPoint Point)> next = Forecasts(world, 1, 100, spoilt: null);
        Append(world, "tick", 2, 0, 0, [1, 0], [0, 0, 0]);
        await world.Get<Labels>().AppendAsync(TestWorld.Ada, Endpoint, [.. next.Select(n => n.Label)], Ct);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        Assert.Equal((BaselineKind.FirstWindow, ModelType.Forecasting), ((await monitors.GetAsync(monitor.Id, Ct)).Baseline, (await monitors.GetAsync(monitor.Id, Ct)).Type));
        MonitorPoint[] points = [.. await monitors.PointsAsync(monitor.Id, Ct)];
        Assert.Equal(["horizon 1", "horizon 2", "horizon 3"], points.Where(p => p is { Metric: "mae", State: PointState.Ok }).Select(p => p.Column));
        // Nothing tells the scale of the series: the scaled errors say so.
        Assert.All(points.Where(p => p.Metric == "mase"), p => Assert.Equal((PointState.Undefined, null), (p.State, p.Value)));
    }

    [Fact]
    public void Files_name_queries_and_horizons()
    {
        string ranked = Path.Combine(folder.Path, "ranked.csv");
        File.WriteAllText(ranked, "price,stars,q,score,bought\n" + string.Concat(Enumerable.Range(0, 60).Select(i => $"{i},{i % 5},query{i / 6},{60 - (i % 6)},{(i % 6 == 0 ? 2 : 0)}\n")));
        WatchRequest ranking = new ReferenceFile { Path = ranked, Name = "ranked.csv", Type = ModelType.Ranking, Score = "score", Target = "bought", Query = "q", Ranking = new RankingRule { K = 3 } }.Read(["price", "stars"]);
        Assert.Equal(["price", "stars"], ranking.FeatureNames);
        // A column that tells queries apart is no feature where the model has no input left for it: its predictions are told apart by request.
        WatchRequest unnamed = new ReferenceFile { Path = ranked, Name = "ranked.csv", Type = ModelType.Ranking, Score = "score", Target = "bought", Query = "q", Ranking = new RankingRule { Query = "q" } }.Read(["x[0]", "x[1]"]);
        Assert.Equal((RankingRule.ByRequest, 2), (unnamed.Ranking!.Query, unnamed.FeatureNames.Count));
        MonitorReference frozen = MonitorReference.Freeze(ranking);
        Assert.Equal((10, 1.0), (frozen.Before("ndcg")!.N, frozen.Before("ndcg")!.Value));
        var missing = Assert.Throws<SlipwayException>(() => new ReferenceFile { Path = ranked, Name = "ranked.csv", Type = ModelType.Ranking, Score = "score", Target = "bought", Query = "session" }.Read([]));
        Assert.Contains("session", missing.Why, StringComparison.Ordinal);

        string told = Path.Combine(folder.Path, "told.csv");
        var text = new StringBuilder("h,lag,yhat,lo,hi,y\n");
        for (int i = 0; i < 90; i++)
        {
            text.AppendLine(string.Create(CultureInfo.InvariantCulture, $"{1 + (i % 3)},{i},{i + 1 + (i % 3)},{i - 5},{i + 5},{i}"));
        }

        File.WriteAllText(told, text.ToString());
        var file = new ReferenceFile { Path = told, Name = "told.csv", Type = ModelType.Forecasting, Score = "yhat", Target = "y", Lower = "lo", Upper = "hi", Forecast = new ForecastRule { Horizon = "h", LowerOutput = 1, UpperOutput = 2 } };
        MonitorReference steps = MonitorReference.Freeze(file.Read([]));
        Assert.Equal([1.0, 2, 3], new[] { 1, 2, 3 }.Select(h => steps.Before("mae", $"horizon {h}")!.Value));
        // Actuals of the shortest horizon are 0, 3, 6, ...: a naive forecast of one step errs by 3.
        Assert.Equal(2 / 3.0, steps.Before("mase", "horizon 2")!.Value, 1e-12);
        Assert.Null(steps.Before("mae"));
        var no = Assert.Throws<SlipwayException>(() => (file with { Forecast = null }).Read([]));
        Assert.Contains("--horizon", no.Next, StringComparison.Ordinal);
    }

    [Fact]
    public void Rules_stand_in_the_configuration_and_say_what_is_wrong_with_them()
    {
        WatchRequest demand = Demand();
        MonitorConfig read = new MonitorRow { Config = Encoding.UTF8.GetString(CanonicalJson.Serialize(MonitorConfig.Of(demand))) }.ReadConfig();
        Assert.Equal((7, "steps", Series.Length), (read.Forecast!.Season, read.Forecast.Horizon, read.Forecast.Training!.Count));
        Assert.Equal(3, new ForecastRule { Horizon = "x", Season = 0, Alpha = 1, LowerOutput = 1 }.Problems([]).Count());
        Assert.Equal(["k is 0, 1 to 1000 are allowed", "the query is told by `y`, which is neither request nor entity nor a feature"], new RankingRule { K = 0, Query = "y" }.Problems(["x"]));
        Assert.Equal(JsonSerializer.Serialize(new RankingRule()), JsonSerializer.Serialize(JsonSerializer.Deserialize<RankingRule>("{}")));
    }

    private static readonly double[] Series = [.. Enumerable.Range(0, 140).Select(i => 50 + 10 * Math.Sin(i * 2 * Math.PI / 7) + 3 * Math.Cos(i * 1.7))];

    private static WatchRequest Shop(RankingRule rule)
    {
        var random = new Random(11);
        var rows = new List<(float[] Row, float Score, double Relevance, string Query)>();
        for (int q = 0; q < 300; q++)
        {
            for (int i = 0; i < 8; i++)
            {
                (float[] row, float score, double relevance) = Candidate(random, useful: true, q % 20 == 0);
                rows.Add((row, score, relevance, $"q{q}"));
            }
        }

        return new WatchRequest
        {
            Endpoint = Endpoint,
            ModelVersion = Version,
            Type = ModelType.Ranking,
            FeatureNames = ["price", "stars"],
            Ranking = rule,
            Window = WindowRule.Day(TimeSpan.Zero),
            Reference = new ReferenceTable
            {
                Columns = [.. Enumerable.Range(0, 2).Select(c => rows.Select(r => r.Row[c]).ToArray())],
                Scores = [.. rows.Select(r => r.Score)],
                Targets = [.. rows.Select(r => r.Relevance)],
                Queries = [.. rows.Select(r => r.Query)],
            },
        };
    }

    private static (float[] Row, float Score, double Relevance) Candidate(Random random, bool useful, bool barren)
    {
        double stars = random.NextDouble(), noise = random.NextDouble();
        double relevance = barren ? 0 : Math.Floor(stars * 3.4) is var r && r > 2 ? 3 : r;
        return ([(float)random.NextDouble(), (float)stars], (float)(useful ? stars + 0.25 * noise : noise + 0.25 * random.NextDouble()), relevance);
    }

    private static List<RankedQuery> Queries(TestWorld world, int day, int count, bool useful, out List<Label> labels)
    {
        var random = new Random(100 + day);
        var queries = new List<RankedQuery>();
        labels = [];
        for (int q = 0; q < count; q++)
        {
            var candidates = new List<(double Relevance, double Score)>();
            for (int i = 0; i < 8; i++)
            {
                (float[] row, float score, double relevance) = Candidate(random, useful, q % 20 == 0);
                Append(world, $"d{day}-{q}:{i}", day, q, count, row, [score]);
                labels.Add(new Label($"d{day}-{q}:{i}", relevance, Traffic.Monday.AddDays(day + 1)));
                candidates.Add((relevance, score));
            }

            queries.Add(new RankedQuery([.. candidates.Select(c => c.Relevance)], [.. candidates.Select(c => c.Score)]));
        }

        return queries;
    }

    private static WatchRequest Demand()
    {
        var random = new Random(17);
        List<(float[] Row, float[] Outputs, double Actual)> rows = [.. Enumerable.Range(0, 400).SelectMany(i => Enumerable.Range(1, 3).Select(h => Forecast(random, i, h, 1)))];
        return new WatchRequest
        {
            Endpoint = Endpoint,
            ModelVersion = Version,
            Type = ModelType.Forecasting,
            FeatureNames = ["steps", "naive"],
            Watched = ["naive"],
            ScoreOutput = 0,
            Forecast = new ForecastRule { Horizon = "steps", Naive = "naive", Season = 7, LowerOutput = 1, UpperOutput = 2, Training = Series },
            Window = WindowRule.Day(TimeSpan.Zero),
            Reference = new ReferenceTable
            {
                Columns = [.. Enumerable.Range(0, 2).Select(c => rows.Select(r => r.Row[c]).ToArray())],
                Scores = [.. rows.Select(r => r.Outputs[0])],
                Lower = [.. rows.Select(r => r.Outputs[1])],
                Upper = [.. rows.Select(r => r.Outputs[2])],
                Targets = [.. rows.Select(r => r.Actual)],
            },
        };
    }

    private static (float[] Row, float[] Outputs, double Actual) Forecast(Random random, int at, int horizon, double noise)
    {
        double actual = Series[at % Series.Length], forecast = actual + noise * horizon * Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
        return ([horizon, (float)Series[(at + 3) % Series.Length]], [(float)forecast, (float)(forecast - 1.65 * horizon), (float)(forecast + 1.65 * horizon)], actual);
    }

    private static List<(Label Label, ForecastPoint Point)> Forecasts(TestWorld world, int day, int origins, int? spoilt)
    {
        var random = new Random(200 + day);
        var made = new List<(Label, ForecastPoint)>();
        for (int i = 0; i < origins; i++)
        {
            for (int h = 1; h <= 3; h++)
            {
                (float[] row, float[] outputs, double actual) = Forecast(random, i, h, h == spoilt ? 3 : 1);
                DateTimeOffset at = Append(world, $"d{day}-{i}-{h}", day, i, origins, row, outputs);
                made.Add((new Label($"d{day}-{i}-{h}", actual, at.AddHours(h)), new ForecastPoint(h, at, actual, outputs[0], outputs[1], outputs[2])));
            }
        }

        return made;
    }

    private static DateTimeOffset Append(TestWorld world, string id, int day, int i, int of, float[] row, float[] outputs)
    {
        DateTimeOffset at = Traffic.Monday.AddDays(day).AddSeconds(of == 0 ? 0 : 86_000.0 * i / of);
        Assert.True(world.Get<Predictions>().Append(new PredictionRecord(id, Endpoint, "stable", Version, null, Time.ToMicros(at), 250, row, outputs, 200)));
        return at;
    }
}
