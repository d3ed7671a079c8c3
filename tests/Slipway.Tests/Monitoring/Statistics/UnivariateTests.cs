using System.Globalization;
using System.Text.Json;
using Slipway.Monitoring;

namespace Slipway.Tests.Monitoring.Statistics;

/// <summary>Univariate drift on real data against scipy, NannyML and Evidently.</summary>
public sealed class UnivariateTests
{
    [Fact]
    public void Adults()
    {
        var checks = new Checks();
        Dictionary<string, string?[]> reference = ReferenceData.Csv("adults/reference.csv"), window = ReferenceData.Csv("adults/current.csv");
        JsonElement raw = ReferenceData.Json("adults/raw_univariate.json");
        foreach (JsonProperty column in raw.EnumerateObject().Where(p => p.Name != "summary"))
        {
            Raw(checks, column.Name, column.Value, reference, window, 0, window[column.Name].Length);
        }

        foreach (JsonProperty column in raw.GetProperty("summary").EnumerateObject())
        {
            Summary(checks, $"{column.Name} reference", column.Value.GetProperty("ref"), reference.Numbers(column.Name));
            Summary(checks, $"{column.Name} current", column.Value.GetProperty("cur"), window.Numbers(column.Name));
        }

        checks.Done(600);
    }

    [Theory]
    [InlineData("california", 1500)]
    [InlineData("bike", 1500)]
    public void Whole_and_monthly(string set, int least)
    {
        var checks = new Checks();
        Dictionary<string, string?[]> reference = ReferenceData.Csv($"{set}/reference.csv"), window = ReferenceData.Csv($"{set}/analysis.csv");
        (string Month, int First, int End)[] months = Months(window["timestamp"]);
        foreach (JsonProperty column in ReferenceData.Json($"{set}/raw_univariate.json").EnumerateObject().Where(c => window.ContainsKey(c.Name)))
        {
            Raw(checks, column.Name, column.Value.GetProperty("whole"), reference, window, 0, window["timestamp"].Length);
            if (column.Value.TryGetProperty("monthly", out JsonElement monthly))
            {
                foreach (JsonProperty month in monthly.EnumerateObject())
                {
                    (_, int first, int end) = months.Single(m => m.Month == month.Name);
                    Raw(checks, $"{column.Name} {month.Name}", month.Value, reference, window, first, end, column.Name);
                }
            }
        }

        checks.Done(least);
    }

    [Fact]
    public void Digits()
    {
        var checks = new Checks();
        Dictionary<string, string?[]> reference = ReferenceData.Csv("digits/reference.csv"), window = ReferenceData.Csv("digits/analysis.csv");
        foreach (JsonProperty column in ReferenceData.Json("digits/raw_univariate.json").EnumerateObject().Where(c => c.Value.ValueKind == JsonValueKind.Object && window.ContainsKey(c.Name)))
        {
            Raw(checks, column.Name, column.Value, reference, window, 0, window[column.Name].Length);
        }

        checks.Done(200);
    }

    [Fact]
    public void Monthly_windows_with_limits_and_alerts_as_NannyML_gives_them()
    {
        var checks = new Checks();
        Dictionary<string, string?[]> reference = ReferenceData.Csv("california/reference.csv"), analysis = ReferenceData.Csv("california/analysis.csv");
        DateTimeOffset[] times = reference["timestamp"].Concat(analysis["timestamp"]).Select(t => DateTimeOffset.Parse(t!, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal)).ToArray();
        int split = reference["timestamp"].Length;
        IReadOnlyList<Chunk> chunks = [.. Chunks.ByPeriod(times[..split], "month"), .. Chunks.ByPeriod(times[split..], "month").Select(c => c with { First = c.First + split, End = c.End + split })];
        JsonElement[] rows = ReferenceData.Json("california/nannyml_univariate_monthly.json").GetProperty("rows").EnumerateArray().ToArray();
        checks.Equal("windows", rows.Length, chunks.Count);
        string[] columns = rows[0].EnumerateObject().Where(p => p.Name != "chunk" && p.Value.TryGetProperty("kolmogorov_smirnov", out _)).Select(p => p.Name).ToArray();
        foreach (string column in columns)
        {
            double[] all = [.. reference.Numbers(column), .. analysis.Numbers(column)], sorted = TwoSample.Sorted(all[..split]);
            Bins bins = Bins.OfDoane(sorted);
            long[] before = Count(bins, sorted);
            var values = chunks.Select(c =>
            {
                double[] window = TwoSample.Sorted(all[c.First..c.End]);
                long[] counts = Count(bins, window);
                return new Dictionary<string, double>
                {
                    ["kolmogorov_smirnov"] = TwoSample.KolmogorovSmirnov(sorted, window, exact: false).Statistic,
                    ["wasserstein"] = TwoSample.Wasserstein(sorted, window),
                    ["jensen_shannon"] = Distances.JensenShannon(before, counts),
                    ["hellinger"] = Distances.Hellinger(before, counts),
                };
            }).ToArray();
            foreach (string method in values[0].Keys)
            {
                double? most = method == "wasserstein" ? null : 1;
                Limits limits = Limits.OfStandardDeviation(chunks.Zip(values).Where(p => p.First.End <= split).Select(p => p.Second[method]), least: 0, most: most, upperOnly: true);
                for (int i = 0; i < rows.Length; i++)
                {
                    JsonElement expected = rows[i].GetProperty(column).GetProperty(method);
                    string what = $"{column} {method} {chunks[i].Key}";
                    checks.Equal($"{what} key", rows[i].GetProperty("chunk").GetProperty("key").GetString(), chunks[i].Key);
                    checks.Near(what, expected.GetProperty("value").GetDouble(), values[i][method], 1e-9 * Math.Max(1, expected.GetProperty("value").GetDouble()));
                    if (expected.Maybe("upper_threshold") is { } upper)
                    {
                        checks.Near($"{what} limit", upper, limits.Upper, 1e-9 * Math.Max(1, upper));
                    }

                    checks.Equal($"{what} alert", expected.GetProperty("alert").GetBoolean(), limits.Outside(values[i][method]));
                }
            }
        }

        checks.Done(1000);
    }

    [Theory]
    [InlineData("adults", "current")]
    [InlineData("california", "analysis")]
    [InlineData("bike", "analysis")]
    public void Evidently_on_the_whole_set_and_its_first_rows(string set, string file)
    {
        var checks = new Checks();
        Dictionary<string, string?[]> reference = ReferenceData.Csv($"{set}/reference.csv"), current = ReferenceData.Csv($"{set}/{file}.csv");
        foreach (JsonProperty column in ReferenceData.Json($"{set}/evidently_drift.json").GetProperty("columns").EnumerateObject().Where(c => current.ContainsKey(c.Name)))
        {
            // The demo of the bike set compares with its first two months.
            Compare("", column.Value, int.MaxValue, set == "bike" ? 1482 : int.MaxValue);
            foreach ((string part, int rows) in new[] { ("first200", 200), ("first1000", 1000) })
            {
                if (column.Value.TryGetProperty(part, out JsonElement first))
                {
                    Compare(part, first, rows, rows);
                }
            }

            void Compare(string part, JsonElement expected, int before, int rows)
            {
                string?[] r = reference[column.Name].Where(v => v is not null).Take(before).ToArray(), c = current[column.Name].Where(v => v is not null).Take(rows).ToArray();
                bool numeric = column.Value.GetProperty("type").GetString() == "num";
                double[] x = numeric ? TwoSample.Sorted(Parse(r)) : [], y = numeric ? TwoSample.Sorted(Parse(c)) : [];
                (long[] p, long[] q) = numeric ? Counts(Bins.OfSturges(x, y), x, y) : Categories(r, c, leftover: false);
                foreach (JsonProperty test in expected.GetProperty("tests").EnumerateObject().Where(t => t.Value.TryGetProperty("score", out JsonElement s) && s.ValueKind == JsonValueKind.Number))
                {
                    double score = test.Value.GetProperty("score").GetDouble();
                    string what = $"{column.Name} {part} {test.Name}";
                    switch (test.Name)
                    {
                        case "ks":
                            checks.Probability(what, score, TwoSample.KolmogorovSmirnov(x, y).P);
                            break;
                        case "wasserstein":
                            checks.Relative(what, score, TwoSample.WassersteinNormed(x, y));
                            break;
                        case "psi":
                            checks.Near(what, score, Distances.PsiZerosRaised(p, q));
                            break;
                        case "kl_div":
                            checks.Near(what, score, Distances.KullbackLeiblerZerosRaised(p, q));
                            break;
                        case "jensenshannon":
                            checks.Near(what, score, Distances.JensenShannonNatural(p, q));
                            break;
                        case "anderson":
                            checks.Near(what, score, TwoSample.AndersonDarling(x, y).P, 1e-6);
                            break;
                        case "chisquare":
                            checks.Probability(what, score, Contingency.GoodnessOfFit(p, q).P);
                            break;
                        case "z":
                            // Evidently subtracts from 1, so that nothing below 1e-16 is left.
                            checks.Near(what, score, Contingency.ZOfShares(p[0], p.Sum(), q[0], q.Sum()).P, Math.Max(1e-15, 1e-6 * score));
                            break;
                        case "hellinger" when !numeric:
                            checks.Near(what, score, Distances.Hellinger(p, q), 1e-7);
                            break;
                    }
                }
            }
        }

        checks.Done(150);
    }

    [Fact]
    public void The_null_law_of_the_index_is_what_its_mean_says()
    {
        var checks = new Checks();
        foreach (JsonElement study in ReferenceData.Json("null_study/false_alarm_rates.json").EnumerateArray())
        {
            double scale = 1.0 / study.GetProperty("n_ref").GetDouble() + 1.0 / study.GetProperty("n").GetDouble();
            checks.Near("mean without drift", study.GetProperty("psi_null_mean_theory").GetDouble(), 9 * scale);
        }

        checks.Done(42);
    }

    private static void Raw(Checks checks, string what, JsonElement f, Dictionary<string, string?[]> reference, Dictionary<string, string?[]> window, int first, int end, string? name = null)
    {
        string column = name ?? what;
        string?[] r = reference[column], c = window[column][first..end];
        checks.Equal($"{what} missing", f.GetProperty("missing_ref").GetInt32(), r.Count(v => v is null));
        checks.Equal($"{what} missing in window", f.GetProperty("missing_cur").GetInt32(), c.Count(v => v is null));
        if (!f.TryGetProperty("ks_stat", out _))
        {
            Categorical(checks, what, f, r, c);
            return;
        }

        double[] x = TwoSample.Sorted(Parse(r)), y = TwoSample.Sorted(Parse(c));
        StatisticalTest ks = TwoSample.KolmogorovSmirnov(x, y);
        checks.Near($"{what} KS", f.GetProperty("ks_stat").GetDouble(), ks.Statistic);
        checks.Probability($"{what} KS p", f.GetProperty("ks_p").GetDouble(), ks.P);
        checks.Probability($"{what} KS p asymptotic", f.GetProperty("ks_p_asymp").GetDouble(), TwoSample.KolmogorovSmirnov(x, y, exact: false).P);
        checks.Relative($"{what} Wasserstein", f.GetProperty("wasserstein").GetDouble(), TwoSample.Wasserstein(x, y));
        checks.Relative($"{what} Wasserstein normed", f.GetProperty("wasserstein_normed").GetDouble(), TwoSample.WassersteinNormed(x, y));
        Bins doane = Bins.OfDoane(x);
        checks.Equal($"{what} doane bins", f.GetProperty("doane_ref_nbins").GetInt32(), doane.Count - 1);
        checks.Near($"{what} doane first", f.GetProperty("doane_ref_first").GetDouble(), doane.Edges[0], 0);
        checks.Near($"{what} doane last", f.GetProperty("doane_ref_last").GetDouble(), doane.Edges[^1], 0);
        (long[] p, long[] q) = Counts(doane, x, y);
        checks.Near($"{what} JS doane", f.GetProperty("js2_doane_ref").GetDouble(), Distances.JensenShannon(p, q));
        checks.Near($"{what} Hellinger doane", f.GetProperty("hellinger_doane_ref").GetDouble(), Distances.Hellinger(p, q));
        (p, q) = Counts(Bins.OfSturges(x, y), x, y);
        checks.Near($"{what} evidently PSI", f.GetProperty("evid_psi").GetDouble(), Distances.PsiZerosRaised(p, q));
        checks.Near($"{what} evidently JS", f.GetProperty("evid_js_natural").GetDouble(), Distances.JensenShannonNatural(p, q));
        checks.Near($"{what} evidently KL", f.GetProperty("evid_kl").GetDouble(), Distances.KullbackLeiblerZerosRaised(p, q));
        Bins tenths = Bins.OfQuantiles(x);
        double[] edges = f.Doubles("q10_edges");
        checks.Equal($"{what} q10 edges", edges.Length, tenths.Edges.Length);
        for (int i = 0; i < edges.Length; i++)
        {
            checks.Near($"{what} q10 edge {i}", edges[i], tenths.Edges[i], 1e-9 * Math.Max(1, Math.Abs(edges[i])));
        }

        (p, q) = Counts(tenths, x, y);
        checks.Near($"{what} PSI q10", f.GetProperty("psi_q10").GetDouble(), Distances.Psi(p, q));
        checks.Near($"{what} JS q10", f.GetProperty("js2_q10").GetDouble(), Distances.JensenShannon(p, q));
        checks.Near($"{what} Hellinger q10", f.GetProperty("hellinger_q10").GetDouble(), Distances.Hellinger(p, q));
        checks.Near($"{what} TVD q10", f.GetProperty("tvd_q10").GetDouble(), Distances.TotalVariation(p, q));
    }

    private static void Categorical(Checks checks, string what, JsonElement f, string?[] r, string?[] c)
    {
        (long[] p, long[] q) = Categories(r, c, leftover: false);
        checks.Equal($"{what} cardinality", f.GetProperty("cardinality_ref").GetInt32(), p.Count(n => n > 0));
        checks.Equal($"{what} cardinality in window", f.GetProperty("cardinality_cur").GetInt32(), q.Count(n => n > 0));
        checks.Equal($"{what} unseen values", f.GetProperty("n_unseen_values").GetInt32(), p.Zip(q).Count(b => b.First == 0 && b.Second > 0));
        checks.Equal($"{what} unseen rows", f.GetProperty("unseen_rows").GetInt64(), p.Zip(q).Where(b => b.First == 0).Sum(b => b.Second));
        Near("l_infinity", Distances.LInfinity(p, q));
        Near("tvd", Distances.TotalVariation(p, q));
        Near("js2", Distances.JensenShannon(p, q));
        Near("hellinger", Distances.Hellinger(p, q));
        Near("js_natural", Distances.JensenShannonNatural(p, q));
        Near("psi_floor", Distances.Psi(p, q));
        Near("evid_psi", Distances.PsiZerosRaised(p, q));
        Test("chi2_stat_nocorr", "chi2_p_nocorr", Contingency.ChiSquare(p, q));
        Test("chi2_stat", "chi2_p", Contingency.ChiSquare(p, q, yates: true));
        Test("g_stat", "g_p", Contingency.GTest(p, q));
        Near("min_expected", Contingency.LeastExpected(p, q));
        (p, q) = Categories(r, c, leftover: true);
        Near("js2_leftover", Distances.JensenShannon(p, q));
        Near("hellinger_leftover", Distances.Hellinger(p, q));

        void Near(string name, double actual) => checks.Near($"{what} {name}", f.GetProperty(name).GetDouble(), actual);

        void Test(string statistic, string p, StatisticalTest actual)
        {
            checks.Relative($"{what} {statistic}", f.GetProperty(statistic).GetDouble(), actual.Statistic);
            checks.Probability($"{what} {p}", f.GetProperty(p).GetDouble(), actual.P);
        }
    }

    private static void Summary(Checks checks, string what, JsonElement f, double[] values)
    {
        ColumnQuality q = ColumnQuality.OfNumbers(values);
        checks.Equal($"{what} count", f.GetProperty("count").GetInt64() - f.GetProperty("missing").GetInt64(), q.Finite);
        checks.Equal($"{what} missing", f.GetProperty("missing").GetInt64(), q.Missing);
        double distinct = f.GetProperty("distinct").GetDouble();
        checks.Near($"{what} distinct", distinct, q.Distinct!.Value, 3 * q.DistinctError * distinct);
        checks.Equal($"{what} zeros", f.GetProperty("zeros").GetInt64(), q.Zeros);
        checks.Equal($"{what} negatives", f.GetProperty("negatives").GetInt64(), q.Negatives);
        checks.Relative($"{what} mean", f.GetProperty("mean").GetDouble(), q.Mean);
        checks.Relative($"{what} sd", f.GetProperty("std_pop").GetDouble(), q.Deviation);
        checks.Relative($"{what} sample sd", f.GetProperty("std_sample").GetDouble(), q.SampleDeviation);
        checks.Relative($"{what} sum", f.GetProperty("sum").GetDouble(), q.Sum);
        checks.Relative($"{what} skewness", f.GetProperty("skew_biased").GetDouble(), q.Skewness);
        checks.Relative($"{what} kurtosis", f.GetProperty("kurtosis_excess_biased").GetDouble(), q.ExcessKurtosis);
        checks.Equal($"{what} min", f.GetProperty("min").GetDouble(), q.Min);
        checks.Equal($"{what} max", f.GetProperty("max").GetDouble(), q.Max);
        double[] sorted = TwoSample.Sorted(values);
        foreach (JsonProperty quantile in f.GetProperty("quantiles").EnumerateObject())
        {
            checks.Relative($"{what} q{quantile.Name}", quantile.Value.GetDouble(), Bins.Quantile(sorted, double.Parse(quantile.Name, CultureInfo.InvariantCulture)));
        }
    }

    private static double[] Parse(string?[] values) => values.Select(v => v is null ? double.NaN : double.Parse(v, CultureInfo.InvariantCulture)).ToArray();

    private static (long[] P, long[] Q) Counts(Bins bins, double[] x, double[] y) => (Count(bins, x), Count(bins, y));

    private static long[] Count(Bins bins, double[] values)
    {
        long[] counts = new long[bins.Count];
        bins.CountInto(values, counts);
        return counts;
    }

    private static (long[] P, long[] Q) Categories(string?[] r, string?[] c, bool leftover)
    {
        string[] seen = r.OfType<string>().Distinct().Order(StringComparer.Ordinal).ToArray();
        string[] all = leftover ? seen : r.Concat(c).OfType<string>().Distinct().Order(StringComparer.Ordinal).ToArray();
        Dictionary<string, int> at = all.Select((v, i) => (v, i)).ToDictionary(p => p.v, p => p.i);
        return (Of(r), Of(c));

        long[] Of(string?[] values)
        {
            long[] counts = new long[all.Length + (leftover ? 1 : 0)];
            foreach (string value in values.OfType<string>())
            {
                counts[at.GetValueOrDefault(value, all.Length)]++;
            }

            return counts;
        }
    }

    private static (string Month, int First, int End)[] Months(string?[] times) =>
        times.Select((t, i) => (Month: t![..7], i)).GroupBy(p => p.Month).Select(g => (g.Key, g.First().i, g.Last().i + 1)).ToArray();
}
