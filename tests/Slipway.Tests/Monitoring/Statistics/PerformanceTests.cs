using System.Globalization;
using System.Text.Json;
using Slipway.Monitoring;

namespace Slipway.Tests.Monitoring.Statistics;

/// <summary>Realized performance against scikit-learn, NannyML, LightGBM and Fairlearn.</summary>
public sealed class PerformanceTests
{
    [Fact]
    public void Binary_metrics_of_the_vectors()
    {
        var checks = new Checks();
        int at = 0;
        foreach (JsonElement f in Figures.Read("binary_vectors"))
        {
            double[] scores = f.Doubles("score");
            bool[] outcomes = f.Longs("y").Select(v => v == 1).ToArray();
            string of = $"#{at++} {f.GetProperty("mode")}{scores.Length}";
            BinaryMetrics m = BinaryMetrics.Of(scores, outcomes);
            var confusion = new Confusion(f.GetProperty("tp").GetDouble(), f.GetProperty("fp").GetDouble(), f.GetProperty("tn").GetDouble(), f.GetProperty("fn").GetDouble());
            // scikit-learn reports 0 where a ratio has no denominator.
            Near("accuracy", confusion.Accuracy.Value);
            Near("precision", confusion.Precision.Value ?? 0);
            Near("recall", confusion.Recall.Value ?? 0);
            Near("f1", confusion.F1.Value ?? 0);
            Near("mcc", confusion.Matthews.Value);
            if (scores.Length > 1)
            {
                Near("kappa", confusion.Kappa.Value);
            }

            Near("balanced_accuracy", confusion.BalancedAccuracy.Value);
            Near("brier", m.Brier.Value);
            Near("log_loss_eps1e_15", m.LogLoss.Value);
            Near("roc_auc", m.RocAuc.Value);
            // It also gives an average precision of 1 where every row is positive, which Slipway leaves undefined.
            Near("average_precision", m.AveragePrecision.Value ?? (m.Positives == m.N ? f.Maybe("average_precision") : null));
            Near("gini", m.Gini.Value);
            Near("ks", m.KolmogorovSmirnov.Value);
            Near("ece_10_equal_width", m.CalibrationError.Value);

            void Near(string name, double? actual) => checks.Near($"{of} {name}", f.Maybe(name), actual);
        }

        checks.Done(490);
    }

    [Fact]
    public void A_ratio_without_a_denominator_is_undefined_and_says_why()
    {
        var none = new Confusion(0, 0, 3, 0);
        Assert.Equal("nothing was predicted positive", none.Precision.Why);
        Assert.Null(none.Recall.Value);
        Assert.Null(none.F1.Value);
        // Positives exist and none was found: that is a recall of 0, not an undefined one.
        Assert.Equal(0, new Confusion(0, 0, 3, 2).Recall.Value);
        Assert.Contains("constant", RegressionMetrics.Of([2, 2], [1, 3]).R2.Why, StringComparison.Ordinal);
        Assert.Contains("negative", RegressionMetrics.Of([-0.5, 2], [1, 3]).MeanSquaredLogError.Why, StringComparison.Ordinal);
        Assert.Equal(1, RankingMetrics.Of([new([0, 0], [1, 2]), new([0, 1], [1, 2])], 5).WithoutRelevant);
        Assert.Contains("no error", ForecastMetrics.Of([new(1, null, 3, 4)], [5, 5, 5], 1).Mase.Why, StringComparison.Ordinal);
    }

    [Fact]
    public void Calibration_slope_and_lift()
    {
        var random = new Random(4);
        double[] honest = Enumerable.Range(0, 20_000).Select(_ => random.NextDouble()).ToArray();
        bool[] outcomes = honest.Select(p => random.NextDouble() < p).ToArray();
        BinaryMetrics m = BinaryMetrics.Of(honest, outcomes);
        Assert.Equal(1, m.CalibrationSlope.Value!.Value, 0.05);
        Assert.Equal(0, m.CalibrationIntercept.Value!.Value, 0.05);
        double[] bold = honest.Select(p => 1 / (1 + Math.Pow((1 - p) / p, 2))).ToArray();
        Assert.Equal(0.5, BinaryMetrics.Of(bold, outcomes).CalibrationSlope.Value!.Value, 0.03);
        Assert.Equal(1.9, BinaryMetrics.Lift(honest, outcomes, 0.1).Value!.Value, 0.05);
        Assert.Equal(1, BinaryMetrics.Lift(new double[100], outcomes.AsSpan(0, 100), 0.1).Value!.Value, 1e-12);
    }

    [Theory]
    [InlineData("monthly")]
    [InlineData("size1000")]
    public void Binary_windows_of_california(string cut)
    {
        var checks = new Checks();
        Dictionary<string, string?[]> reference = ReferenceData.Csv("california/reference.csv"), analysis = ReferenceData.Csv("california/analysis.csv"), targets = ReferenceData.Csv("california/analysis_targets.csv");
        double[] scores = [.. reference.Numbers("y_pred_proba"), .. analysis.Numbers("y_pred_proba")];
        bool[] predicted = reference.Numbers("y_pred").Concat(analysis.Numbers("y_pred")).Select(v => v == 1).ToArray();
        bool[] outcomes = reference.Numbers("clf_target").Concat(targets.Numbers("clf_target")).Select(v => v == 1).ToArray();
        int split = reference["y_pred"].Length;
        JsonElement[] rows = ReferenceData.Json($"california/nannyml_realized_{cut}.json").GetProperty("rows").EnumerateArray().ToArray();
        var values = new List<Dictionary<string, double?>>();
        int[] before = rows.Select((r, i) => (r, i)).Where(p => p.r.GetProperty("chunk").GetProperty("period").GetString() == "reference").Select(p => p.i).ToArray();
        foreach (JsonElement row in rows)
        {
            JsonElement chunk = row.GetProperty("chunk");
            int offset = chunk.GetProperty("period").GetString() == "reference" ? 0 : split, first = offset + chunk.GetProperty("start_index").GetInt32(), end = offset + chunk.GetProperty("end_index").GetInt32() + 1;
            BinaryMetrics m = BinaryMetrics.Of(scores.AsSpan(first, end - first), outcomes.AsSpan(first, end - first));
            double Count(bool p, bool y) => Enumerable.Range(first, end - first).Count(i => predicted[i] == p && outcomes[i] == y);
            var c = new Confusion(Count(true, true), Count(true, false), Count(false, false), Count(false, true));
            values.Add(new()
            {
                ["roc_auc"] = m.RocAuc.Value,
                ["average_precision"] = m.AveragePrecision.Value,
                ["f1"] = c.F1.Value,
                ["precision"] = c.Precision.Value,
                ["recall"] = c.Recall.Value,
                ["specificity"] = c.Specificity.Value,
                ["accuracy"] = c.Accuracy.Value,
                ["true_positive"] = c.TruePositives,
                ["true_negative"] = c.TrueNegatives,
                ["false_positive"] = c.FalsePositives,
                ["false_negative"] = c.FalseNegatives,
            });
            SamplingError error = SamplingError.Of(scores.AsSpan(0, split), predicted.AsSpan(0, split), outcomes.AsSpan(0, split), end - first);
            foreach ((string name, double? e) in new[] { ("roc_auc", error.RocAuc), ("f1", error.F1), ("precision", error.Precision), ("recall", error.Recall), ("specificity", error.Specificity), ("accuracy", error.Accuracy) })
            {
                // How tied scores are ordered decides the fourth digit of the AUC's.
                checks.Near($"{chunk.GetProperty("key")} {name} sampling error", row.GetProperty(name).Maybe("sampling_error"), e, name == "roc_auc" ? 2e-5 : 1e-9);
            }
        }

        foreach (string name in values[0].Keys)
        {
            bool counted = name.Contains('_', StringComparison.Ordinal) && name[0] is 't' or 'f' && name.Contains("tive", StringComparison.Ordinal);
            // NannyML gives no number for precision, recall and F1 when a class is missing; its limits leave these windows out.
            Limits limits = Limits.OfStandardDeviation(before.Select(i => rows[i].GetProperty(name).Maybe("value") ?? double.NaN), least: 0, most: counted ? null : 1);
            for (int i = 0; i < rows.Length; i++)
            {
                string what = $"{cut} {rows[i].GetProperty("chunk").GetProperty("key")} {name}";
                if (rows[i].GetProperty(name).Maybe("value") is { } expected)
                {
                    checks.Near(what, expected, values[i][name]);
                    checks.Equal($"{what} alert", rows[i].GetProperty(name).GetProperty("alert").GetBoolean(), limits.Outside(expected));
                }

                checks.Near($"{what} upper", rows[i].GetProperty(name).Maybe("upper_threshold"), limits.Upper, 1e-9 * Math.Max(1, limits.Upper!.Value));
                checks.Near($"{what} lower", rows[i].GetProperty(name).Maybe("lower_threshold"), limits.Lower, 1e-9 * Math.Max(1, Math.Abs(limits.Lower!.Value)));
            }
        }

        checks.Done(500);
    }

    [Fact]
    public void Regression_metrics_of_the_vectors_and_of_bike()
    {
        var checks = new Checks();
        foreach (JsonElement f in Figures.Read("regression_metrics"))
        {
            RegressionMetrics m = RegressionMetrics.Of(f.Doubles("y"), f.Doubles("pred"));
            Same(checks, f.GetProperty("mode").GetString()!, f, m);
        }

        checks.Done(40);
    }

    [Fact]
    public void Regression_windows_of_bike()
    {
        var checks = new Checks();
        Dictionary<string, string?[]> reference = ReferenceData.Csv("bike/reference.csv"), analysis = ReferenceData.Csv("bike/analysis.csv");
        JsonElement f = ReferenceData.Json("bike/sklearn_regression_metrics.json");
        Same(checks, "reference", f.GetProperty("reference"), RegressionMetrics.Of(reference.Numbers("cnt"), reference.Numbers("y_pred")));
        double[] y = analysis.Numbers("cnt"), p = analysis.Numbers("y_pred");
        Same(checks, "analysis", f.GetProperty("analysis"), RegressionMetrics.Of(y, p));
        foreach (JsonProperty month in f.GetProperty("monthly").EnumerateObject())
        {
            int[] own = Enumerable.Range(0, y.Length).Where(i => analysis["timestamp"][i]!.StartsWith(month.Name, StringComparison.Ordinal)).ToArray();
            Same(checks, month.Name, month.Value, RegressionMetrics.Of(own.Select(i => y[i]).ToArray(), own.Select(i => p[i]).ToArray()));
        }

        RegressionMetrics whole = RegressionMetrics.Of(reference.Numbers("cnt"), reference.Numbers("y_pred"));
        foreach (JsonElement row in ReferenceData.Json("bike/nannyml_realized_monthly.json").GetProperty("rows").EnumerateArray())
        {
            JsonElement chunk = row.GetProperty("chunk");
            Dictionary<string, string?[]> table = chunk.GetProperty("period").GetString() == "reference" ? reference : analysis;
            int first = chunk.GetProperty("start_index").GetInt32(), end = chunk.GetProperty("end_index").GetInt32() + 1;
            RegressionMetrics m = RegressionMetrics.Of(table.Numbers("cnt").AsSpan(first..end), table.Numbers("y_pred").AsSpan(first..end));
            double scale = Math.Sqrt((double)whole.N / (end - first));
            foreach ((string name, Measured value, Measured error) in new[]
            {
                ("mae", m.MeanAbsoluteError, whole.MeanAbsoluteError), ("mse", m.MeanSquaredError, whole.MeanSquaredError), ("rmse", m.RootMeanSquaredError, whole.RootMeanSquaredError),
                ("mape", m.MeanAbsolutePercentageError, whole.MeanAbsolutePercentageError), ("msle", m.MeanSquaredLogError, whole.MeanSquaredLogError), ("rmsle", m.RootMeanSquaredLogError, whole.RootMeanSquaredLogError),
            })
            {
                checks.Relative($"{chunk.GetProperty("key")} {name}", row.GetProperty(name).GetProperty("value").GetDouble(), value.Value);
                checks.Relative($"{chunk.GetProperty("key")} {name} sampling error", row.GetProperty(name).GetProperty("sampling_error").GetDouble(), error.Error * scale);
            }
        }

        checks.Done(400);
    }

    [Fact]
    public void Multiclass_metrics_of_digits()
    {
        var checks = new Checks();
        JsonElement f = ReferenceData.Json("digits/sklearn_multiclass_metrics.json");
        foreach (string part in new[] { "reference", "analysis" })
        {
            Dictionary<string, string?[]> table = ReferenceData.Csv($"digits/{part}.csv");
            JsonElement e = f.GetProperty(part);
            string[] names = e.GetProperty("classes").EnumerateArray().Select(c => c.GetString()!).ToArray();
            Dictionary<string, double[]> probabilities = names.ToDictionary(n => n, n => table.Numbers($"proba_{n}"));
            string target = table.ContainsKey("y_true") ? "y_true" : table.Keys.First(k => k.Contains("true", StringComparison.Ordinal) || k.Contains("target", StringComparison.Ordinal)), prediction = table.Keys.First(k => k.Contains("y_pred", StringComparison.Ordinal));
            MulticlassMetrics m = MulticlassMetrics.Of(table[target], table[prediction], probabilities);
            Near("accuracy", m.Accuracy);
            Near("balanced_accuracy", m.BalancedAccuracy);
            Near("kappa", m.Kappa);
            Near("mcc", m.Matthews);
            Near("log_loss", m.LogLoss);
            Near("roc_auc_ovr_macro", m.RocAucOneVsRest);
            Near("roc_auc_ovo_macro", m.RocAucOneVsOne);
            Near("roc_auc_ovr_weighted", m.RocAucOneVsRestWeighted);
            Near("top2_accuracy", MulticlassMetrics.TopK(table[target], probabilities, 2));
            foreach ((string mean, Measured p, Measured r, Measured f1) in new[] { ("macro", m.MacroPrecision, m.MacroRecall, m.MacroF1), ("weighted", m.WeightedPrecision, m.WeightedRecall, m.WeightedF1), ("micro", m.Accuracy, m.Accuracy, m.Accuracy) })
            {
                checks.Near($"{part} {mean} precision", e.GetProperty(mean).GetProperty("precision").GetDouble(), p.Value);
                checks.Near($"{part} {mean} recall", e.GetProperty(mean).GetProperty("recall").GetDouble(), r.Value);
                checks.Near($"{part} {mean} f1", e.GetProperty(mean).GetProperty("f1").GetDouble(), f1.Value);
            }

            for (int i = 0; i < names.Length; i++)
            {
                JsonElement own = e.GetProperty("per_class").GetProperty(names[i]);
                checks.Near($"{part} {names[i]} precision", own.GetProperty("precision").GetDouble(), m.Classes[i].Confusion.Precision.Value);
                checks.Near($"{part} {names[i]} recall", own.GetProperty("recall").GetDouble(), m.Classes[i].Confusion.Recall.Value);
                checks.Near($"{part} {names[i]} f1", own.GetProperty("f1").GetDouble(), m.Classes[i].Confusion.F1.Value);
                checks.Equal($"{part} {names[i]} support", own.GetProperty("support").GetInt64(), m.Classes[i].Support);
                long[] row = e.GetProperty("confusion")[i].EnumerateArray().Select(v => v.GetInt64()).ToArray();
                for (int j = 0; j < row.Length; j++)
                {
                    checks.Equal($"{part} confusion {i} {j}", row[j], m.Confusion[i][j]);
                }
            }

            void Near(string name, Measured actual) => checks.Near($"{part} {name}", e.GetProperty(name).GetDouble(), actual.Value);
        }

        checks.Done(300);
    }

    [Fact]
    public void Multiclass_windows_of_digits()
    {
        var checks = new Checks();
        foreach (JsonElement row in ReferenceData.Json("digits/nannyml_realized_size100.json").GetProperty("rows").EnumerateArray())
        {
            JsonElement chunk = row.GetProperty("chunk");
            Dictionary<string, string?[]> table = ReferenceData.Csv($"digits/{chunk.GetProperty("period").GetString()}.csv");
            int first = chunk.GetProperty("start_index").GetInt32(), end = chunk.GetProperty("end_index").GetInt32() + 1;
            string[] names = Enumerable.Range(0, 10).Select(i => $"d{i}").ToArray();
            MulticlassMetrics m = MulticlassMetrics.Of(table["y_true"][first..end], table["y_pred"][first..end], names.ToDictionary(n => n, n => table.Numbers($"proba_{n}")[first..end]));
            foreach ((string name, Measured value) in new[] { ("roc_auc", m.RocAucOneVsRest), ("f1", m.MacroF1), ("precision", m.MacroPrecision), ("recall", m.MacroRecall), ("specificity", m.MacroSpecificity), ("accuracy", m.Accuracy) })
            {
                checks.Near($"{chunk.GetProperty("key")} {name}", row.GetProperty(name).Maybe("value"), value.Value);
            }

            for (int i = 0; i < 10; i++)
            {
                for (int j = 0; j < 10; j++)
                {
                    checks.Equal($"{chunk.GetProperty("key")} {i} {j}", (long)row.GetProperty($"true_d{i}_pred_d{j}").GetProperty("value").GetDouble(), m.Confusion[i][j]);
                }
            }
        }

        checks.Done(1300);
    }

    [Fact]
    public void Ranking_metrics()
    {
        var checks = new Checks();
        Dictionary<string, string?[]> table = ReferenceData.Csv("ranking/scored.csv");
        double[] relevance = table.Numbers("relevance"), scores = table.Numbers("score");
        RankedQuery[] queries = table["query"].Select((q, i) => (q, i)).GroupBy(p => p.q).Select(g => new RankedQuery(g.Select(p => relevance[p.i]).ToArray(), g.Select(p => scores[p.i]).ToArray())).ToArray();
        JsonElement f = ReferenceData.Json("ranking/ranking_metrics.json");
        Compare("mean", f.GetProperty("mean"), queries);
        JsonElement[] each = f.GetProperty("per_query").EnumerateArray().ToArray();
        checks.Equal("queries", each.Length, queries.Length);
        for (int i = 0; i < each.Length; i++)
        {
            Compare($"query {i}", each[i], [queries[i]]);
        }

        checks.Done(1400);

        void Compare(string of, JsonElement e, RankedQuery[] own)
        {
            foreach (int k in new[] { 1, 3, 5, 10 })
            {
                RankingMetrics m = RankingMetrics.Of(own, k);
                Near($"ndcg_linear@{k}", RankingMetrics.Of(own, k, linearGain: true).Ndcg);
                Near($"ndcg_exp@{k}", m.Ndcg);
                Near($"ndcg_exp_noties@{k}", RankingMetrics.Of(own, k, averageTies: false).Ndcg);
                Near($"precision@{k}", m.Precision);
                Near($"recall@{k}", m.Recall);
                Near($"hit@{k}", m.HitRate);
                Near($"ap@{k}", m.MeanAveragePrecision);
            }

            Near("rr", RankingMetrics.Of(own, 10).MeanReciprocalRank);

            void Near(string name, Measured actual) => checks.Near($"{of} {name}", e.Maybe(name), actual.Value);
        }
    }

    [Fact]
    public void Forecast_metrics_by_horizon_and_window()
    {
        var checks = new Checks();
        Dictionary<string, string?[]> table = ReferenceData.Csv("us_employment/forecasts.csv");
        double[] actual = table.Numbers("actual"), forecast = table.Numbers("forecast"), low = table.Numbers("lo90"), high = table.Numbers("hi90"), horizon = table.Numbers("horizon");
        double[] training = ReferenceData.Csv("us_employment/train.csv").Numbers("y");
        ForecastPoint[] points = actual.Select((a, i) => new ForecastPoint((int)horizon[i], null, a, forecast[i], low[i], high[i])).ToArray();
        JsonElement f = ReferenceData.Json("us_employment/forecast_metrics.json");
        int season = f.GetProperty("season").GetInt32();
        IReadOnlyDictionary<int, ForecastMetrics> byHorizon = ForecastMetrics.ByHorizon(points, training, season);
        foreach (JsonProperty h in f.GetProperty("by_horizon").EnumerateObject())
        {
            Compare($"horizon {h.Name}", h.Value, byHorizon[int.Parse(h.Name, CultureInfo.InvariantCulture)]);
        }

        int[] first = Enumerable.Range(0, points.Length).Where(i => points[i].Horizon == 1).ToArray();
        foreach (JsonElement window in f.GetProperty("by_window_h1").EnumerateArray())
        {
            int start = Array.FindIndex(first, i => table["target_date"][i] == window.GetProperty("start").GetString());
            Compare($"window {window.GetProperty("start")}", window, ForecastMetrics.Of(first.Skip(start).Take(window.GetProperty("n").GetInt32()).Select(i => points[i]), training, season));
        }

        checks.Done(170);

        void Compare(string of, JsonElement e, ForecastMetrics m)
        {
            checks.Equal($"{of} n", e.GetProperty("n").GetInt64(), m.Errors.N);
            foreach ((string name, Measured value) in new[]
            {
                ("mae", m.Errors.MeanAbsoluteError), ("rmse", m.Errors.RootMeanSquaredError), ("bias_mean_forecast_minus_actual", m.Errors.MeanError), ("mape", m.Errors.MeanAbsolutePercentageError), ("smape", m.Errors.SymmetricPercentageError),
                ("wape", m.Errors.WeightedPercentageError), ("mase_seasonal", m.Mase), ("mase_naive", m.MaseNaive), ("rmsse", m.Rmsse), ("theils_u1", m.TheilU1), ("tracking_signal", m.TrackingSignal),
                ("coverage", m.Coverage), ("mean_width", m.IntervalWidth), ("winkler", m.Winkler), ("pinball_lo", m.PinballLower), ("pinball_hi", m.PinballUpper),
            })
            {
                checks.Near($"{of} {name}", e.GetProperty(name).GetDouble(), value.Value, 1e-9 * Math.Max(1, Math.Abs(e.GetProperty(name).GetDouble())));
            }
        }
    }

    [Fact]
    public void Fairness_of_adults()
    {
        var checks = new Checks();
        Dictionary<string, string?[]> table = ReferenceData.Csv("adults/scored.csv");
        bool[] predicted = table.Numbers("pred").Select(v => v == 1).ToArray(), outcomes = table.Numbers("y").Select(v => v == 1).ToArray();
        double[] scores = table.Numbers("score");
        JsonElement f = ReferenceData.Json("adults/fairness.json");
        foreach (string attribute in new[] { "sex", "race", "sex x race" })
        {
            string?[] groups = attribute == "sex x race" ? Fairness.Intersection(table["sex"], table["race"]) : table[attribute];
            Fairness fairness = Fairness.Of(groups, predicted, outcomes, scores);
            foreach (JsonProperty group in f.GetProperty("by").GetProperty(attribute).EnumerateObject())
            {
                Group($"{attribute} {group.Name}", group.Value, fairness.Groups.Single(g => g.Group == group.Name));
            }

            if (f.GetProperty("fairlearn").TryGetProperty(attribute, out JsonElement e))
            {
                foreach ((string name, Disparity d) in new[] { ("demographic_parity", fairness.DemographicParity), ("equal_opportunity", fairness.EqualOpportunity), ("equalized_odds", fairness.EqualizedOdds) })
                {
                    checks.Near($"{attribute} {name}", e.GetProperty($"{name}_difference").GetDouble(), d.Difference);
                    checks.Near($"{attribute} {name} ratio", e.GetProperty($"{name}_ratio").GetDouble(), d.Ratio);
                }
            }
        }

        Group("overall", f.GetProperty("overall"), Fairness.Of(Enumerable.Repeat("all", scores.Length).ToArray(), predicted, outcomes, scores).Groups[0]);
        checks.Done(300);

        void Group(string of, JsonElement e, GroupMetrics g)
        {
            checks.Equal($"{of} n", e.GetProperty("n").GetInt64(), g.N);
            foreach ((string name, double? actual) in new (string, double?)[]
            {
                ("tn", g.Confusion.TrueNegatives), ("fp", g.Confusion.FalsePositives), ("fn", g.Confusion.FalseNegatives), ("tp", g.Confusion.TruePositives), ("accuracy", g.Confusion.Accuracy.Value),
                ("selection_rate", g.SelectionRate), ("base_rate", g.BaseRate), ("tpr", g.Confusion.Recall.Value), ("fpr", g.Confusion.FalsePositiveRate.Value), ("fnr", g.Confusion.FalseNegativeRate.Value),
                ("tnr", g.Confusion.Specificity.Value), ("precision", g.Confusion.Precision.Value), ("npv", g.Confusion.NegativePredictiveValue.Value), ("f1", g.Confusion.F1.Value),
                ("roc_auc", g.Scores!.RocAuc.Value), ("log_loss", g.Scores.LogLoss.Value), ("brier", g.Scores.Brier.Value),
            })
            {
                if (e.TryGetProperty(name, out _))
                {
                    checks.Near($"{of} {name}", e.Maybe(name), actual);
                }
            }
        }
    }

    [Fact]
    public void A_tiny_group_does_not_set_the_differences()
    {
        string[] groups = [.. Enumerable.Repeat("a", 100), .. Enumerable.Repeat("b", 100), .. Enumerable.Repeat("c", 5)];
        bool[] predicted = groups.Select((g, i) => g == "c" || i % 2 == 0).ToArray(), outcomes = groups.Select((_, i) => i % 4 == 0).ToArray();
        Fairness fairness = Fairness.Of(groups, predicted, outcomes);
        Assert.Equal("5 rows, 30 are needed", fairness.Groups[2].Insufficient);
        Assert.Equal(0, fairness.DemographicParity.Difference!.Value, 12);
        Assert.False(fairness.DemographicParity.Separated);
        Assert.Equal(1, fairness.DisparateImpact("a")["b"]);
    }

    [Fact]
    public void Segments_are_found_by_effect_times_size_and_not_by_chance()
    {
        var random = new Random(8);
        string[] city = Enumerable.Range(0, 4000).Select(_ => "abcd"[random.Next(4)].ToString()).ToArray(), noise = Enumerable.Range(0, 4000).Select(_ => "xyz"[random.Next(3)].ToString()).ToArray();
        double[] losses = city.Select(c => random.NextDouble() < (c == "c" ? 0.3 : 0.1) ? 1.0 : 0).ToArray();
        IReadOnlyList<Segment> found = Segments.Discover(losses, new Dictionary<string, IReadOnlyList<string?>> { ["city"] = city, ["noise"] = noise });
        Assert.Equal(("city", "c"), (found[0].Column, found[0].Value));
        Assert.DoesNotContain(found, s => s.Column == "noise");
    }

    [Fact]
    public void Operational_metrics_of_two_nodes_merge_to_those_of_one()
    {
        var random = new Random(2);
        OperationalMetrics one = new(TimeSpan.FromMilliseconds(100)), other = new(TimeSpan.FromMilliseconds(100)), all = new(TimeSpan.FromMilliseconds(100));
        var latencies = new List<double>();
        for (int i = 0; i < 5000; i++)
        {
            double latency = Math.Exp(4 + random.NextDouble() * 3);
            latencies.Add(latency);
            var request = new ServedRequest(TimeSpan.FromMilliseconds(latency), TimeSpan.FromMilliseconds(latency / 10), i % 50 == 0 ? RequestOutcome.Failed : RequestOutcome.Answered, 1000 + i, i < 2, 0.001);
            (i % 2 == 0 ? one : other).Add(request);
            all.Add(request);
        }

        one.Merge(other);
        Assert.Equal((all.N, all.Latency.Quantile(0.999), all.Payload.Quantile(0.5)), (one.N, one.Latency.Quantile(0.999), one.Payload.Quantile(0.5)));
        Assert.Equal(0.02, one.ErrorRate.Value!.Value, 9);
        Assert.Equal(all.Apdex.Value, one.Apdex.Value);
        latencies.Sort();
        foreach (double q in new[] { 0.5, 0.9, 0.95, 0.99, 0.999 })
        {
            double exact = latencies[(int)(q * 4999)];
            Assert.Equal(exact, one.Latency.Quantile(q), 0.0101 * exact);
        }
    }

    private static void Same(Checks checks, string of, JsonElement f, RegressionMetrics m)
    {
        foreach ((string name, Measured value) in new[]
        {
            ("mae", m.MeanAbsoluteError), ("mse", m.MeanSquaredError), ("rmse", m.RootMeanSquaredError), ("median_ae", m.MedianAbsoluteError), ("max_error", m.MaxError), ("mean_error", m.MeanError), ("std_error_pop", m.ErrorDeviation),
            ("r2", m.R2), ("explained_variance", m.ExplainedVariance), ("mape_sklearn", m.MeanAbsolutePercentageError), ("smape", m.SymmetricPercentageError), ("wape", m.WeightedPercentageError), ("msle", m.MeanSquaredLogError),
            ("d2_absolute", m.AbsoluteD2), ("poisson_deviance", m.PoissonDeviance),
        })
        {
            // A constant target, and a deviance of predictions that are not positive, have numbers there and are undefined here.
            if (f.TryGetProperty(name, out JsonElement e) && e.ValueKind == JsonValueKind.Number && !(value.Value is null && (value.Why!.Contains("constant", StringComparison.Ordinal) || value.Why.Contains("not positive", StringComparison.Ordinal))))
            {
                checks.Near($"{of} {name}", e.GetDouble(), value.Value, 1e-9 * Math.Max(1, Math.Abs(e.GetDouble())));
            }
        }
    }
}
