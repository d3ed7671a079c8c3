using Slipway.Foundation;
using Slipway.Monitoring;
using Monitor = Slipway.Monitoring.Monitor;

namespace Slipway.Tests.Monitoring;

/// <summary>Monitors of models that are not binary, of versions without a reference, and of how requests are served.</summary>
public sealed class ModelTypeTests
{
    private const string Endpoint = "prices";
    private const string Version = "prices/1";
    private static readonly CancellationToken Ct = CancellationToken.None;

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Regression_is_estimated_then_realized_and_a_lost_concept_is_told_in_words(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var monitors = world.Get<Monitors>();
        Monitor monitor = await monitors.WatchAsync(TestWorld.Ada, Prices(), Ct);
        Assert.Equal((ModelType.Regression, "mae", BaselineKind.Reference), (monitor.Type, monitor.PrimaryMetric, monitor.Baseline));
        Assert.InRange(monitor.ReferenceValue!.Value, 3, 5);
        Assert.Null(monitor.ReferenceAuc);

        var labels = new List<Label>();
        Append(world, 0, 800, r => Price(r, noise: 5), labels);
        Append(world, 1, 800, r => Price(r, noise: 15), labels);
        Append(world, 2, 1, r => Price(r, noise: 5), []);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        MonitorPoint[] points = [.. await monitors.PointsAsync(monitor.Id, Ct)];
        // Losses are learnt from the features: without labels both days promise the same.
        Assert.All(points.Where(p => p.Metric == "estimated_mae"), p => Assert.InRange(p.Value!.Value, monitor.ReferenceValue.Value - 0.6, monitor.ReferenceValue.Value + 0.6));
        Assert.All(points.Where(p => p.Metric is "mae" or "r2" or "rmse"), p => Assert.Equal((PointState.Insufficient, null), (p.State, p.Value)));
        Assert.Equal(2, points.Count(p => p is { Metric: "score_psi", Column: null, State: PointState.Ok }));

        await world.Get<Labels>().AppendAsync(TestWorld.Ada, Endpoint, labels, Ct);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        points = [.. await monitors.PointsAsync(monitor.Id, Ct)];
        MonitorPoint[] mae = [.. points.Where(p => p.Metric == "mae")], gap = [.. points.Where(p => p.Metric == "concept_gap")];
        Assert.Equal([(PointState.Ok, 1), (PointState.Alert, 1)], mae.Select(p => (p.State, p.Revision)));
        Assert.Equal([PointState.Ok, PointState.Alert], gap.Select(p => p.State));
        Assert.InRange(mae[1].Value!.Value / mae[0].Value!.Value, 2.5, 3.5);
        Assert.InRange(mae[0].Upper!.Value, monitor.ReferenceValue.Value * 1.09, monitor.ReferenceValue.Value * 1.4);
        MonitorPoint[] root = [.. points.Where(p => p.Metric == "estimated_rmse")], real = [.. points.Where(p => p.Metric == "rmse")], roots = [.. points.Where(p => p.Metric == "rmse_gap")];
        Assert.Equal(real[0].Value!.Value, root[0].Value!.Value, 0.8);
        Assert.Equal([PointState.Ok, PointState.Alert], roots.Select(p => p.State));
        Assert.Equal(Math.Abs(real[1].Value!.Value - root[1].Value!.Value), roots[1].Value!.Value, 1e-9);
        Alert alert = Assert.Single(await world.Get<Alerts>().ListAsync("firing", Ct));
        Assert.Matches(@"^MAE rose to 1\d\.\d\d \(above \d\.\d\d, reference \d\.\d\d; 100\.0 % labelled\) on 800 rows in 2001-02-06\.\.2001-02-07$", alert.Sentence);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Classes_drift_by_share_and_by_probability_and_lose_accuracy(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var monitors = world.Get<Monitors>();
        var random = new Random(5);
        (float[] Row, float[] P, int Truth)[] rows = [.. Enumerable.Range(0, 4000).Select(_ => Kind(random, 0, concept: true))];
        Monitor monitor = await monitors.WatchAsync(
            TestWorld.Ada,
            new WatchRequest
            {
                Endpoint = Endpoint,
                ModelVersion = Version,
                Type = ModelType.Multiclass,
                Classes = ["truck", "car", "bus"],
                FeatureNames = ["length", "noise"],
                Window = WindowRule.Day(TimeSpan.Zero),
                Reference = new ReferenceTable
                {
                    Columns = [.. Enumerable.Range(0, 2).Select(i => rows.Select(r => r.Row[i]).ToArray())],
                    Probabilities = [.. Enumerable.Range(0, 3).Select(c => rows.Select(r => r.P[c]).ToArray())],
                    Targets = [.. rows.Select(r => (double)r.Truth)],
                },
            },
            Ct);
        Assert.Equal((ModelType.Multiclass, "accuracy", 3), (monitor.Type, monitor.PrimaryMetric, monitor.Classes.Count));

        var labels = new List<Label>();
        // The runtime gives the class before the probabilities, as converted scikit-learn models do.
        Append(world, 0, 1000, r => Answer(Kind(r, 0, concept: true)), labels);
        Append(world, 1, 1000, r => Answer(Kind(r, 1.5, concept: true)), labels);
        Append(world, 2, 1000, r => Answer(Kind(r, 0, concept: false)), labels);
        Append(world, 3, 1, r => Answer(Kind(r, 0, concept: true)), []);
        await world.Get<Labels>().AppendAsync(TestWorld.Ada, Endpoint, labels, Ct);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        MonitorPoint[] points = [.. await monitors.PointsAsync(monitor.Id, Ct)];
        Assert.Equal([PointState.Ok, PointState.Alert, PointState.Ok], points.Where(p => p is { Metric: "score_psi", Column: null }).Select(p => p.State));
        Assert.Equal(["bus", "car", "truck"], points.Where(p => p.Metric == "score_psi" && p.WindowStart == Traffic.Monday && p.Column is not null).Select(p => p.Column));
        MonitorPoint[] accuracy = [.. points.Where(p => p.Metric == "accuracy")], promised = [.. points.Where(p => p.Metric == "estimated_accuracy")];
        Assert.Equal([PointState.Ok, PointState.Ok, PointState.Alert], accuracy.Select(p => p.State));
        Assert.Equal(accuracy[0].Value!.Value, promised[0].Value!.Value, 0.04);
        Assert.Equal(accuracy[1].Value!.Value, promised[1].Value!.Value, 0.06);
        Assert.Equal(PointState.Alert, points.Single(p => p.Metric == "concept_gap" && p.WindowStart == Traffic.Monday.AddDays(2)).State);
        MonitorPoint[] auc = [.. points.Where(p => p.Metric == "auc")], hoped = [.. points.Where(p => p.Metric == "estimated_auc")], off = [.. points.Where(p => p.Metric == "auc_gap")];
        Assert.Equal(auc[0].Value!.Value, hoped[0].Value!.Value, 0.03);
        Assert.Equal((PointState.Ok, PointState.Alert), (off[0].State, off[2].State));
        Assert.Contains("\"bound\":", hoped[0].Detail);
        Assert.All(points.Where(p => p.Metric is "macro_f1" or "auc" or "log_loss" or "macro_recall"), p => Assert.NotNull(p.Value));
        Assert.Contains("\"truck\"", points.First(p => p is { Metric: "score_psi", Column: null }).Detail);
        string[] sentences = [.. (await world.Get<Alerts>().ListAsync(null, Ct)).Select(a => a.Sentence)];
        Assert.Contains(sentences, s => s.StartsWith("accuracy fell to 0.", StringComparison.Ordinal));
        Assert.Contains(sentences, s => s.Contains("the share of predicted classes drifted: PSI", StringComparison.Ordinal) || s.Contains("the probability of ", StringComparison.Ordinal));
    }

    [Fact]
    public void Auc_of_classes_is_estimated_in_bounded_memory_within_its_bound()
    {
        var random = new Random(6);
        (float[] Row, float[] P, int Truth)[] rows = [.. Enumerable.Range(0, 3000).Select(_ => Kind(random, 0, concept: true))];
        string[] classes = ["truck", "car", "bus"];
        Dictionary<string, double[]> named = classes.Select((name, c) => (name, rows.Select(r => (double)r.P[c]).ToArray())).ToDictionary(x => x.name, x => x.Item2, StringComparer.Ordinal);
        string?[] truth = [.. rows.Select(r => classes[r.Truth])];
        MulticlassCbpe cbpe = MulticlassCbpe.Fit(named, truth);
        double exact = cbpe.Estimate(named, truth).RocAuc.Value!.Value;
        ExpectedCurve[] curves = [.. classes.Select(_ => new ExpectedCurve(1 << 12))];
        double[] row = new double[3];
        foreach ((_, float[] p, _) in rows)
        {
            for (int c = 0; c < 3; c++)
            {
                row[cbpe.Classes.ToList().IndexOf(classes[c])] = p[c];
            }

            cbpe.Calibrate(row);
            for (int c = 0; c < 3; c++)
            {
                curves[c].Add(p[c], row[cbpe.Classes.ToList().IndexOf(classes[c])]);
            }
        }

        double sum = 0, bound = 0;
        foreach (ExpectedCurve curve in curves)
        {
            sum += curve.RocAuc(out double off).Value!.Value / 3;
            bound += off / 3;
        }

        Assert.InRange(Math.Abs(sum - exact), 0, bound + 1e-12);
        Assert.InRange(bound, 0, 0.01);
        Assert.Null(new ExpectedCurve(16).RocAuc(out _).Value);
    }

    [Fact]
    public void Class_index_alone_measures_classes_and_a_label_that_no_class_has_is_counted()
    {
        float[] chosen = [.. Enumerable.Range(0, 300).Select(i => (float)(i % 3))];
        var request = new WatchRequest
        {
            Endpoint = Endpoint,
            ModelVersion = Version,
            Type = ModelType.Multiclass,
            Classes = ["a", "b", "c"],
            FeatureNames = ["x"],
            Reference = new ReferenceTable { Columns = [new float[300]], Scores = chosen, Targets = [.. chosen.Select((c, i) => i % 10 == 0 ? (c + 1) % 3 : (double)c)] },
        };
        var measure = new WindowMeasure(MonitorConfig.Of(request), MonitorReference.Freeze(request), Traffic.Monday, Traffic.Monday.AddDays(1));
        for (int i = 0; i < 100; i++)
        {
            measure.Add(new Prediction($"p{i}", Endpoint, "stable", Version, null, Traffic.Monday, 1, new float[1], new float[] { i % 3 }, 200, "s"), new KnownLabel(i < 5 ? 7 : i % 3, Traffic.Monday));
        }

        MonitorPoint accuracy = measure.Performance().Single(p => p.Metric == "accuracy");
        Assert.Equal((0.95, PointState.Ok), (accuracy.Value, accuracy.State));
        Assert.Contains("\"unknownLabels\":5", accuracy.Detail);
        Assert.DoesNotContain(measure.Performance(), p => p.Metric is "auc" or "log_loss" or "concept_gap");
    }

    [Fact]
    public void Configuration_from_before_there_were_types_is_binary_and_keeps_its_digest()
    {
        byte[] now = CanonicalJson.Serialize(MonitorConfig.Of(Traffic.Watch(rows: 1)));
        string text = System.Text.Encoding.UTF8.GetString(now);
        Assert.DoesNotContain("classes", text);
        Assert.DoesNotContain("\"type\"", text);
        Assert.Equal(ModelType.Binary, new MonitorRow { Config = text }.ReadConfig().Type);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Version_without_a_reference_is_compared_with_its_first_full_window(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var monitors = world.Get<Monitors>();
        Monitor monitor = await monitors.WatchFirstWindowAsync(Actor.System(Monitors.ByDefault), Endpoint, Version, [], WindowRule.Day(TimeSpan.Zero), null, null, null, null, Ct);
        Assert.Equal((BaselineKind.Awaited, 0), (monitor.Baseline, monitor.ReferenceRows));
        var labels = new List<Label>();
        Append(world, 0, 40, r => Price(r, 5), []);
        Append(world, 1, 600, r => Price(r, 5), []);
        Append(world, 2, 600, r => Price(r, 5), labels);
        Append(world, 3, 600, r => Price(r, 5, shift: 2), []);
        Append(world, 4, 1, r => Price(r, 5), []);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        monitor = await monitors.GetAsync(monitor.Id, Ct);
        Assert.Equal((BaselineKind.FirstWindow, 600, ModelType.Regression), (monitor.Baseline, monitor.ReferenceRows, monitor.Type));
        Assert.Equal(["feature 0", "feature 1"], monitor.FeatureNames);
        IReadOnlyList<MonitorPoint> points = await monitors.PointsAsync(monitor.Id, Ct);
        Assert.DoesNotContain(points, p => p.Metric == "psi" && p.WindowStart < Traffic.Monday.AddDays(2));
        Assert.Equal([PointState.Ok, PointState.Alert], points.Where(p => p is { Metric: "psi", Column: "feature 0" }).Select(p => p.State));
        Assert.Equal([40.0, 600, 600, 600], points.Where(p => p.Metric == "rows").Select(p => p.Value!.Value));
        Assert.DoesNotContain(points, p => p.Metric == "auc" || (p.Metric == "mae" && p.WindowStart == Traffic.Monday));
        await world.Get<Labels>().AppendAsync(TestWorld.Ada, Endpoint, labels, Ct);
        await monitors.EvaluateAsync(monitor.Id, Ct);
        MonitorPoint mae = (await monitors.PointsAsync(monitor.Id, Ct)).Single(p => p.Metric == "mae" && p.WindowStart == Traffic.Monday.AddDays(2));
        Assert.Equal((PointState.Ok, null), (mae.State, mae.Upper));
        await world.SealAsync();
        Assert.Single((await world.Journal.ListAsync(new JournalFilter { Kind = "monitor.referenced" }, Ct)).Items);

        // Somebody who brings a reference takes the place of what nobody asked for.
        Monitor own = await monitors.WatchAsync(TestWorld.Ada, Prices(), Ct);
        Monitor before = await monitors.GetAsync(monitor.Id, Ct);
        Assert.Equal(("ada", BaselineKind.Reference), (before.StoppedBy, own.Baseline));
    }

    [Theory]
    [InlineData(ModelType.Binary, false, "0.2", "0.9", "0.4")]
    [InlineData(ModelType.Multiclass, false, "0", "3", "2")]
    [InlineData(ModelType.Regression, false, "0.5", "12.5", "-3")]
    [InlineData(ModelType.Binary, false, "0 0.8 0.2", "1 0.3 0.7")]
    [InlineData(ModelType.Multiclass, true, "2 0.1 0.2 0.7", "0 0.5 0.25 0.25")]
    [InlineData(ModelType.Multiclass, true, "0.1 0.2 0.7", "0.5 0.25 0.25")]
    public void Outputs_tell_what_a_model_predicts(ModelType type, bool probabilities, params string[] outputs)
    {
        Prediction[] rows = [.. outputs.Select((o, i) => new Prediction(
            $"p{i}", "e", "stable", "m/1", null, Traffic.Monday, 1, new float[2], o.Split(' ').Select(v => float.Parse(v, System.Globalization.CultureInfo.InvariantCulture)).ToArray(), 200, "s"))];
        MonitorConfig told = FirstWindow.Tell(MonitorConfig.Of(Traffic.Watch(rows: 1)) with { FeatureNames = [] }, rows).Config;
        Assert.Equal((type, probabilities), (told.Type, told.Probabilities));
    }

    [Fact]
    public void Failures_and_latencies_alert_beyond_their_limits()
    {
        Assert.Equal([PointState.Ok, PointState.Ok], States(failed: 10, latency: 12, earlier: 8));
        Assert.Equal([PointState.Alert, PointState.Ok], States(failed: 30, latency: 12, earlier: 8));
        Assert.Equal([PointState.Ok, PointState.Alert], States(failed: 0, latency: 30, earlier: 8));
        // Too few windows to know what is usual: shown, without a limit.
        Assert.Equal([PointState.Ok, PointState.Ok], States(failed: 0, latency: 30, earlier: 5));

        static string[] States(int failed, int latency, int earlier)
        {
            WatchRequest request = Traffic.Watch(rows: 100);
            var measure = new WindowMeasure(MonitorConfig.Of(request), MonitorReference.Freeze(request), Traffic.Monday, Traffic.Monday.AddDays(1), [.. Enumerable.Range(0, earlier).Select(i => 10 + (i % 3))]);
            for (int i = 0; i < 1000; i++)
            {
                measure.Add(new Prediction($"p{i}", "flights", "stable", "flights/1", null, Traffic.Monday, latency * 1000, new float[3], new float[1], i < failed ? 500 : 200, "s"), null);
            }

            IReadOnlyList<MonitorPoint> points = measure.Drift();
            Assert.Equal(1000 / 86_400.0, points.Single(p => p.Metric == "throughput").Value!.Value, 1e-9);
            Assert.Equal(latency, points.Single(p => p.Metric == "latency_p99").Value!.Value, 0.02 * latency);
            return [points.Single(p => p.Metric == "error_rate").State, points.Single(p => p.Metric == "latency_p95").State];
        }
    }

    private static WatchRequest Prices()
    {
        var random = new Random(3);
        (float[] Row, float[] Outputs, double Truth)[] rows = [.. Enumerable.Range(0, 3000).Select(_ => Price(random, 5))];
        return new WatchRequest
        {
            Endpoint = Endpoint,
            ModelVersion = Version,
            Type = ModelType.Regression,
            FeatureNames = ["area", "age"],
            Window = WindowRule.Day(TimeSpan.Zero),
            Reference = new ReferenceTable
            {
                Columns = [.. Enumerable.Range(0, 2).Select(i => rows.Select(r => r.Row[i]).ToArray())],
                Scores = [.. rows.Select(r => r.Outputs[0])],
                Targets = [.. rows.Select(r => r.Truth)],
            },
        };
    }

    private static (float[] Row, float[] Outputs, double Truth) Price(Random random, double noise, double shift = 0)
    {
        double area = Normal(random) + shift, age = random.NextDouble(), price = 100 + 20 * area;
        return ([(float)area, (float)age], [(float)price], price + noise * Normal(random));
    }

    private static (float[] Row, float[] P, int Truth) Kind(Random random, double shift, bool concept)
    {
        double x = Normal(random) + shift;
        double[] weight = [Math.Exp(2 * x), 1.5, Math.Exp(-2 * x)];
        float[] p = [.. weight.Select(w => (float)(w / weight.Sum()))];
        double draw = random.NextDouble();
        return ([(float)x, (float)random.NextDouble()], p, concept ? draw < p[0] ? 0 : draw < p[0] + p[1] ? 1 : 2 : random.Next(3));
    }

    private static (float[] Row, float[] Outputs, double Truth) Answer((float[] Row, float[] P, int Truth) kind) => (kind.Row, [kind.P.IndexOf(kind.P.Max()), .. kind.P], kind.Truth);

    private static double Normal(Random random) => Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());

    private static void Append(TestWorld world, int day, int rows, Func<Random, (float[] Row, float[] Outputs, double Truth)> draw, List<Label> labels)
    {
        var random = new Random(day * 7919 + rows);
        for (int i = 0; i < rows; i++)
        {
            (float[] row, float[] outputs, double truth) = draw(random);
            DateTimeOffset at = Traffic.Monday.AddDays(day).AddSeconds(86_000.0 * i / rows);
            Assert.True(world.Get<Predictions>().Append(new PredictionRecord($"d{day}-{i}", Endpoint, "stable", Version, null, Time.ToMicros(at), 250, row, outputs, 200)));
            labels.Add(new Label($"d{day}-{i}", truth, at.AddHours(5)));
        }
    }
}
