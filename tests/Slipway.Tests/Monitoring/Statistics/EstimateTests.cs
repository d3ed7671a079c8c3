using System.Text.Json;
using Slipway.Monitoring;

namespace Slipway.Tests.Monitoring.Statistics;

/// <summary>Estimates without labels, multivariate drift and stream detectors against NannyML, scikit-learn and scikit-multiflow.</summary>
public sealed class EstimateTests
{
    [Fact]
    public void Isotonic_regression()
    {
        var checks = new Checks();
        foreach (JsonElement f in Figures.Read("isotonic"))
        {
            Isotonic map = Isotonic.Fit(f.Doubles("x"), f.Doubles("y"));
            double[] x = f.Doubles("thresholds_x"), y = f.Doubles("thresholds_y"), query = f.Doubles("query"), predicted = f.Doubles("predicted");
            for (int i = 0; i < x.Length; i++)
            {
                checks.Near($"knot {i}", y[i], map.Map(x[i]));
            }

            for (int i = 0; i < query.Length; i++)
            {
                checks.Near($"at {query[i]}", predicted[i], map.Map(query[i]));
            }
        }

        checks.Done(140);
    }

    [Fact]
    public void Calibrated_scores_give_the_expected_counts_of_the_vectors()
    {
        var checks = new Checks();
        foreach (JsonElement f in Figures.Read("binary_vectors"))
        {
            JsonElement e = f.GetProperty("cbpe_if_score_is_calibrated");
            double[] scores = f.Doubles("score");
            BinaryEstimate estimate = new Cbpe((Isotonic?)null).Estimate(scores, f.Longs("pred").Select(v => v == 1).ToArray());
            Confusion c = estimate.Confusion!.Value;
            foreach ((string name, double? actual) in new (string, double?)[]
            {
                ("tp", c.TruePositives), ("fp", c.FalsePositives), ("fn", c.FalseNegatives), ("tn", c.TrueNegatives), ("accuracy", c.Accuracy.Value), ("precision", c.Precision.Value ?? 0), ("recall", c.Recall.Value ?? 0),
                ("specificity", c.Specificity.Value ?? 0), ("f1", c.F1.Value ?? 0),
            })
            {
                checks.Near($"{name} of {scores.Length}", e.Maybe(name), actual);
            }

            if (scores.Distinct().Count() == scores.Length)
            {
                checks.Near($"auc of {scores.Length}", e.Maybe("roc_auc"), estimate.RocAuc.Value, 1e-6);
            }
        }

        checks.Done(330);
    }

    [Theory]
    [InlineData("monthly")]
    [InlineData("size1000")]
    public void Cbpe_of_california(string cut)
    {
        var checks = new Checks();
        Dictionary<string, string?[]> reference = ReferenceData.Csv("california/reference.csv"), analysis = ReferenceData.Csv("california/analysis.csv");
        JsonElement f = ReferenceData.Json($"california/nannyml_cbpe_{cut}.json");
        double[] scores = reference.Numbers("y_pred_proba");
        var cbpe = Cbpe.Fit(scores, reference.Numbers("clf_target").Select(v => v == 1).ToArray());
        checks.Equal("needs calibration", f.GetProperty("needs_calibration").GetBoolean(), cbpe.Calibration is not null);
        double[] x = f.Doubles("isotonic_x"), y = f.Doubles("isotonic_y");
        for (int i = 0; i < x.Length; i++)
        {
            checks.Near($"knot {x[i]}", y[i], cbpe.Probability(x[i]));
        }

        foreach (JsonElement row in f.GetProperty("rows").EnumerateArray())
        {
            JsonElement chunk = row.GetProperty("chunk");
            Dictionary<string, string?[]> table = chunk.GetProperty("period").GetString() == "reference" ? reference : analysis;
            int first = chunk.GetProperty("start_index").GetInt32(), end = chunk.GetProperty("end_index").GetInt32() + 1;
            BinaryEstimate e = cbpe.Estimate(table.Numbers("y_pred_proba").AsSpan(first..end), table.Numbers("y_pred")[first..end].Select(v => v == 1).ToArray());
            Confusion c = e.Confusion!.Value;
            foreach ((string name, double? value, double tolerance) in new (string, double?, double)[]
            {
                ("roc_auc", e.RocAuc.Value, 1e-6), ("average_precision", e.AveragePrecision.Value, 1e-6), ("f1", c.F1.Value ?? 0, 1e-9), ("precision", c.Precision.Value ?? 0, 1e-9), ("recall", c.Recall.Value, 1e-9), ("specificity", c.Specificity.Value, 1e-9),
                ("accuracy", c.Accuracy.Value, 1e-9), ("true_positive", c.TruePositives, 1e-6), ("true_negative", c.TrueNegatives, 1e-6), ("false_positive", c.FalsePositives, 1e-6), ("false_negative", c.FalseNegatives, 1e-6),
            })
            {
                JsonElement expected = row.GetProperty(name);
                checks.Near($"{chunk.GetProperty("key")} {name}", expected.Maybe("value"), value, tolerance);
                var limits = Limits.Constant(expected.Maybe("lower_threshold"), expected.Maybe("upper_threshold"));
                checks.Equal($"{chunk.GetProperty("key")} {name} alert", expected.GetProperty("alert").GetBoolean(), limits.Outside(value ?? double.NaN));
            }

            // The estimate in bounded memory stays within its own bound.
            var histogram = new CbpeHistogram();
            double[] own = table.Numbers("y_pred_proba")[first..end], labels = table.Numbers("y_pred")[first..end];
            for (int i = 0; i < own.Length; i++)
            {
                histogram.Add(own[i], labels[i] == 1);
            }

            BinaryEstimate coarse = histogram.Estimate(cbpe, out double bound);
            Assert.InRange(Math.Abs(coarse.RocAuc.Value!.Value - e.RocAuc.Value!.Value), 0, bound + 1e-9);
            Assert.Equal(c.TruePositives, coarse.Confusion!.Value.TruePositives, 1e-6);
        }

        checks.Done(250);
    }

    [Fact]
    public void Cbpe_of_digits()
    {
        var checks = new Checks();
        Dictionary<string, string?[]> reference = ReferenceData.Csv("digits/reference.csv"), analysis = ReferenceData.Csv("digits/analysis.csv");
        JsonElement f = ReferenceData.Json("digits/nannyml_cbpe_size100.json");
        string[] names = Enumerable.Range(0, 10).Select(i => $"d{i}").ToArray();
        Dictionary<string, double[]> Of(Dictionary<string, string?[]> table, Range rows) => names.ToDictionary(n => n, n => table.Numbers($"proba_{n}")[rows]);
        // Which classes are calibrated depends on random folds: it is given. The knots are computed.
        Dictionary<string, double[]> all = Of(reference, ..);
        var cbpe = new MulticlassCbpe(names, names.Select(n => f.GetProperty("calibrators").GetProperty(n).GetProperty("kind").GetString() == "NoopCalibrator"
            ? new Cbpe((Isotonic?)null)
            : new Cbpe(Isotonic.Fit(all[n], reference["y_true"].Select(t => t == n ? 1.0 : 0).ToArray()))).ToArray());
        for (int i = 0; i < names.Length; i++)
        {
            if (cbpe.PerClass[i].Calibration is { } map)
            {
                JsonElement own = f.GetProperty("calibrators").GetProperty(names[i]);
                foreach ((double x, double y) in own.Doubles("x").Zip(own.Doubles("y")))
                {
                    checks.Near($"{names[i]} knot {x}", y, map.Map(x));
                }
            }
        }

        foreach (JsonElement row in f.GetProperty("rows").EnumerateArray())
        {
            JsonElement chunk = row.GetProperty("chunk");
            Dictionary<string, string?[]> table = chunk.GetProperty("period").GetString() == "reference" ? reference : analysis;
            Range rows = chunk.GetProperty("start_index").GetInt32()..(chunk.GetProperty("end_index").GetInt32() + 1);
            MulticlassEstimate e = cbpe.Estimate(Of(table, rows), table["y_pred"][rows]);
            foreach ((string name, Measured value, double tolerance) in new[] { ("roc_auc", e.RocAuc, 1e-6), ("f1", e.MacroF1, 1e-9), ("precision", e.MacroPrecision, 1e-9), ("recall", e.MacroRecall, 1e-9), ("specificity", e.MacroSpecificity, 1e-9), ("accuracy", e.Accuracy, 1e-9) })
            {
                checks.Near($"{chunk.GetProperty("key")} {name}", row.GetProperty(name).Maybe("value"), value.Value, tolerance);
            }

            for (int i = 0; i < 10; i++)
            {
                for (int j = 0; j < 10; j++)
                {
                    checks.Near($"{chunk.GetProperty("key")} {i} {j}", row.GetProperty($"true_d{i}_pred_d{j}").Maybe("value"), e.Confusion[i][j], 1e-9);
                }
            }
        }

        checks.Done(1300);
    }

    [Fact]
    public void Dle_of_bike_from_given_losses()
    {
        var checks = new Checks();
        Dictionary<string, string?[]> reference = ReferenceData.Csv("bike/reference.csv"), analysis = ReferenceData.Csv("bike/analysis.csv");
        JsonElement[] rows = ReferenceData.Json("bike/nannyml_dle_monthly.json").GetProperty("rows").EnumerateArray().ToArray();
        foreach (JsonElement row in rows)
        {
            JsonElement chunk = row.GetProperty("chunk");
            Dictionary<string, string?[]> table = chunk.GetProperty("period").GetString() == "reference" ? reference : analysis;
            int first = chunk.GetProperty("start_index").GetInt32(), end = chunk.GetProperty("end_index").GetInt32() + 1;
            Measured Of(string name) => Dle.Mean(table.Numbers($"dle_loss_{name}").AsSpan(first..end));
            foreach ((string name, Measured value) in new[] { ("mae", Of("mae")), ("mse", Of("mse")), ("mape", Of("mape")), ("msle", Of("msle")), ("rmse", Dle.Root(Of("mse"))), ("rmsle", Dle.Root(Of("msle"))) })
            {
                // The columns carry nine decimals.
                checks.Near($"{chunk.GetProperty("key")} {name}", row.GetProperty(name).GetProperty("value").GetDouble(), value.Value, 2e-9 * Math.Max(1, value.Value!.Value));
            }
        }

        checks.Done(120);
    }

    [Fact]
    public void Dle_of_bike_end_to_end()
    {
        Dictionary<string, string?[]> reference = ReferenceData.Csv("bike/reference.csv"), analysis = ReferenceData.Csv("bike/analysis.csv");
        string[] features = ["temp", "atemp", "hum", "windspeed", "season", "holiday", "weekday", "workingday", "weathersit", "hr"];
        double[][] Of(Dictionary<string, string?[]> table) => features.Select(table.Numbers).ToArray();
        Dle dle = Dle.Fit(Of(reference), reference.Numbers("y_pred"), reference.Numbers("cnt"), RowLoss.Absolute);
        double[][] window = Of(analysis);
        double[] predictions = analysis.Numbers("y_pred");
        var checks = new Checks();
        foreach (JsonElement row in ReferenceData.Json("bike/nannyml_dle_monthly.json").GetProperty("rows").EnumerateArray().Where(r => r.GetProperty("chunk").GetProperty("period").GetString() == "analysis"))
        {
            JsonElement chunk = row.GetProperty("chunk");
            int first = chunk.GetProperty("start_index").GetInt32(), end = chunk.GetProperty("end_index").GetInt32() + 1;
            checks.Relative(chunk.GetProperty("key").GetString()!, row.GetProperty("mae").GetProperty("value").GetDouble(), dle.Estimate(window.Select(c => c[first..end]).ToArray(), predictions[first..end]).Value, 0.05);
        }

        checks.Done(12);
    }

    [Fact]
    public void A_gap_of_estimate_and_realized_in_two_windows_running_is_concept_drift()
    {
        var gap = new ConceptGap();
        Measured estimate = new(0.9, 0.01, null), near = new(0.87, 0.01, null), far = new(0.8, 0.01, null);
        Assert.False(gap.Observe(estimate, far, mature: true));
        Assert.Null(gap.Observe(estimate, far, mature: false));
        Assert.Null(gap.Observe(estimate, new Measured(null, null, "no labels"), mature: true));
        Assert.True(gap.Observe(estimate, far, mature: true));
        Assert.False(gap.Observe(estimate, near, mature: true));
        Assert.False(gap.Observe(estimate, far, mature: true));
    }

    [Fact]
    public void Pca_of_california_and_digits()
    {
        var checks = new Checks();
        foreach ((string set, string file, string[] columns) in new[]
        {
            ("california", "nannyml_pca", new[] { "MedInc", "HouseAge", "AveRooms", "AveBedrms", "Population", "AveOccup", "Latitude", "Longitude" }),
            ("digits", "nannyml_pca", Enumerable.Range(0, 64).Select(i => $"px{i:00}").ToArray()),
        })
        {
            Dictionary<string, string?[]> reference = ReferenceData.Csv($"{set}/reference.csv"), analysis = ReferenceData.Csv($"{set}/analysis.csv");
            JsonElement f = ReferenceData.Json($"{set}/{file}.json");
            double[][] Of(Dictionary<string, string?[]> table) => columns.Select(table.Numbers).ToArray();
            double[][] before = Of(reference), after = Of(analysis);
            Pca pca = Pca.Fit(before);
            checks.Equal($"{set} components", f.GetProperty("n_components").GetInt32(), pca.Explained.Count);
            foreach (JsonElement row in f.GetProperty("rows").EnumerateArray())
            {
                JsonElement chunk = row.GetProperty("chunk"), e = row.GetProperty("reconstruction_error");
                double[][] table = chunk.GetProperty("period").GetString() == "reference" ? before : after;
                int first = chunk.GetProperty("start_index").GetInt32(), end = chunk.GetProperty("end_index").GetInt32() + 1;
                Measured error = pca.Error(table.Select(c => c[first..end]).ToArray());
                checks.Near($"{set} {chunk.GetProperty("key")}", e.GetProperty("value").GetDouble(), error.Value);
            }

            double[] windows = f.GetProperty("rows").EnumerateArray().Where(r => r.GetProperty("chunk").GetProperty("period").GetString() == "reference").Select(r => r.GetProperty("reconstruction_error").GetProperty("value").GetDouble()).ToArray();
            Limits limits = Limits.OfStandardDeviation(windows);
            JsonElement any = f.GetProperty("rows")[0].GetProperty("reconstruction_error");
            checks.Near($"{set} upper", any.GetProperty("upper_threshold").GetDouble(), limits.Upper);
            checks.Near($"{set} lower", any.GetProperty("lower_threshold").GetDouble(), limits.Lower);
        }

        checks.Done(30);
    }

    [Fact]
    public void Domain_classifier_of_california()
    {
        var checks = new Checks();
        string[] columns = ["MedInc", "HouseAge", "AveRooms", "AveBedrms", "Population", "AveOccup", "Latitude", "Longitude"];
        Dictionary<string, string?[]> reference = ReferenceData.Csv("california/reference.csv"), analysis = ReferenceData.Csv("california/analysis.csv");
        double[][] before = columns.Select(reference.Numbers).ToArray(), after = columns.Select(analysis.Numbers).ToArray();
        foreach (JsonElement row in ReferenceData.Json("california/nannyml_domain_classifier.json").GetProperty("rows").EnumerateArray().Where(r => r.GetProperty("chunk").GetProperty("period").GetString() == "analysis").Take(3))
        {
            JsonElement chunk = row.GetProperty("chunk");
            int first = chunk.GetProperty("start_index").GetInt32(), end = chunk.GetProperty("end_index").GetInt32() + 1;
            checks.Near(chunk.GetProperty("key").GetString()!, row.GetProperty("domain_classifier_auroc").GetProperty("value").GetDouble(), DomainClassifier.Auc(before, after.Select(c => c[first..end]).ToArray(), mostReference: int.MaxValue).Value, 0.03);
        }

        checks.Done(3);
    }

    [Fact]
    public void Identical_rows_cannot_be_told_apart()
    {
        double[][] rows = [Enumerable.Repeat(1.0, 200).ToArray()];
        Assert.Equal(0.5, DomainClassifier.Auc(rows, rows).Value!.Value, 12);
    }

    [Fact]
    public void Mmd_and_energy_distance()
    {
        var checks = new Checks();
        foreach (JsonElement f in Figures.Read("mmd"))
        {
            double[][] Of(string name) => f.GetProperty(name).EnumerateArray().Select(r => r.EnumerateArray().Select(v => v.GetDouble()).ToArray()).ToArray();
            double[][] x = Of("x"), y = Of("y");
            checks.Near("sigma", f.GetProperty("sigma_median_heuristic").GetDouble(), Mmd.MedianDistance(x, y));
            checks.Near("unbiased", f.GetProperty("mmd2_unbiased").GetDouble(), Mmd.Squared(x, y));
            checks.Near("biased", f.GetProperty("mmd2_biased").GetDouble(), Mmd.Squared(x, y, biased: true));
            checks.Near("energy", f.GetProperty("energy_distance_multivariate").GetDouble(), Mmd.Energy(x, y));
            Assert.InRange(Mmd.Test(x, y, permutations: 50).P!.Value, 1.0 / 51, 1);
        }

        checks.Done(16);
    }

    [Theory]
    [InlineData("elec", "error")]
    [InlineData("elec", "nswprice")]
    [InlineData("skmf_drift_stream", "value")]
    public void Stream_detectors(string set, string column)
    {
        var checks = new Checks();
        double[] stream = ReferenceData.Csv($"streams/{set}.csv").Numbers(column);
        JsonElement f = ReferenceData.Json($"streams/{set}.json");
        f = column == "nswprice" ? f.GetProperty("nswprice") : f;
        JsonElement paper = f.EnumerateObject().FirstOrDefault(p => p.Name.StartsWith("ADWIN from the paper", StringComparison.Ordinal)).Value;
        if (paper.ValueKind == JsonValueKind.Object)
        {
            foreach (double delta in new[] { 0.002, 0.05 })
            {
                JsonElement e = paper.GetProperty($"delta={delta}");
                var adwin = new Adwin(delta);
                Same($"ADWIN {delta}", e.GetProperty("detections"), Detections(adwin));
                checks.Equal("width", e.GetProperty("final_width").GetInt64(), adwin.Width);
                checks.Near("mean", e.GetProperty("final_mean").GetDouble(), adwin.Mean);
            }
        }

        JsonElement multiflow = f.EnumerateObject().First(p => p.Name.StartsWith("scikit-multiflow", StringComparison.Ordinal)).Value;
        foreach ((string name, Func<StreamDetector> make) in new (string, Func<StreamDetector>)[]
        {
            ("PageHinkley min=30 delta=0.005 lambda=50 alpha=0.9999", () => new PageHinkley()), ("PageHinkley min=30 delta=0.005 lambda=10 alpha=0.9999", () => new PageHinkley(lambda: 10)), ("DDM min=30 warn=2 out=3", () => new Ddm()),
            ("EDDM", () => new Eddm()), ("HDDM_A drift_conf=0.001 warn=0.005", () => new HddmA()), ("HDDM_W drift=0.001 warn=0.005 lambda=0.05", () => new HddmW()),
        })
        {
            if (multiflow.TryGetProperty(name, out JsonElement e))
            {
                Same(name, e.GetProperty("detections"), Detections(make()));
            }
        }

        checks.Done(set == "elec" && column == "error" ? 300 : 2);

        void Same(string name, JsonElement expected, List<long> actual)
        {
            long[] e = expected.EnumerateArray().Select(v => v.GetInt64()).ToArray();
            checks.Equal($"{name} count", e.Length, actual.Count);
            for (int i = 0; i < Math.Min(e.Length, actual.Count); i++)
            {
                checks.Equal($"{name} {i}", e[i], actual[i]);
            }
        }

        List<long> Detections(StreamDetector detector)
        {
            var found = new List<long>();
            for (int i = 0; i < stream.Length; i++)
            {
                if (detector.Observe(stream[i]))
                {
                    found.Add(i);
                    Assert.Equal(i, detector.LastChange);
                }
            }

            return found;
        }
    }

    [Fact]
    public void A_detector_goes_on_from_its_saved_state()
    {
        var random = new Random(1);
        double[] stream = Enumerable.Range(0, 3_000).Select(i => random.NextDouble() < (i < 1_500 ? 0.1 : 0.4) ? 1.0 : 0).ToArray();
        foreach (Func<StreamDetector> make in new Func<StreamDetector>[] { () => new Adwin(), () => new Ddm(), () => new Eddm(), () => new HddmA(), () => new HddmW(), () => new PageHinkley() })
        {
            StreamDetector whole = make(), first = make(), second = make();
            foreach (double v in stream)
            {
                whole.Observe(v);
            }

            foreach (double v in stream[..1_234])
            {
                first.Observe(v);
            }

            second.Load(first.Save());
            foreach (double v in stream[1_234..])
            {
                second.Observe(v);
            }

            Assert.Equal(whole.Save(), second.Save());
            Assert.True(whole.LastChange is > 1_500 and < 3_000 || whole is PageHinkley, $"{whole.Name} found {whole.LastChange}");
        }

        Assert.Throws<Slipway.Foundation.SlipwayException>(() => new Ddm().Load(new Eddm().Save()));
    }

    [Fact]
    public void Correlated_errors_are_fed_as_block_means()
    {
        var random = new Random(2);
        var sticky = new ConceptDriftStream(new Adwin());
        var free = new ConceptDriftStream(new Adwin());
        double state = 0;
        for (int i = 0; i < 4_000; i++)
        {
            state = random.NextDouble() < 0.1 ? (random.NextDouble() < 0.2 ? 1 : 0) : state;
            sticky.Observe(state);
            free.Observe(random.NextDouble() < 0.2 ? 1 : 0);
        }

        Assert.True(sticky.Blocked);
        Assert.Equal(400, sticky.Detector.N);
        Assert.False(free.Blocked);
        Assert.Null(free.Detector.LastChange);
    }
}
