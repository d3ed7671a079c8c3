using System.Text.Json;
using Slipway.Monitoring;

namespace Slipway.Tests.Monitoring.Statistics;

/// <summary>Every formula against numbers of scipy, numpy and statsmodels.</summary>
public sealed class VectorTests
{
    [Fact]
    public void Tail_functions()
    {
        var checks = new Checks();
        JsonElement root = Figures.Root("tail_functions");
        foreach (double[] f in Rows("norm_sf"))
        {
            checks.Probability($"normal {f[0]}", f[1], Tails.Normal(f[0]));
        }

        foreach (double[] f in Rows("kolmogorov_sf"))
        {
            checks.Probability($"kolmogorov {f[0]}", f[1], Tails.Kolmogorov(f[0]));
        }

        foreach (double[] f in Rows("chi2_sf"))
        {
            checks.Probability($"chi2 {f[0]} {f[1]}", f[2], Tails.ChiSquare(f[0], f[1]));
        }

        foreach (double[] f in Rows("t_sf"))
        {
            checks.Probability($"t {f[0]} {f[1]}", f[2], Tails.Student(f[0], f[1]));
        }

        foreach (double[] f in Rows("kstwo_sf"))
        {
            checks.Probability($"kstwo {f[0]} {f[1]}", f[2], Tails.KolmogorovSmirnov(f[0], (int)f[1]));
        }

        checks.Done(170);

        IEnumerable<double[]> Rows(string name) => root.GetProperty(name).EnumerateArray().Select(r => r.EnumerateArray().Select(v => v.GetDouble()).ToArray());
    }

    [Fact]
    public void Two_samples()
    {
        var checks = new Checks();
        int at = 0;
        foreach (JsonElement f in Figures.Read("two_sample"))
        {
            double[] x = TwoSample.Sorted(f.Doubles("x")), y = TwoSample.Sorted(f.Doubles("y"));
            string of = $"#{at++} {x.Length}x{y.Length}";
            StatisticalTest exact = TwoSample.KolmogorovSmirnov(x, y, exact: true);
            checks.Near($"{of} KS D", f.GetProperty("ks_stat").GetDouble(), exact.Statistic);
            checks.Near($"{of} KS p", f.GetProperty("ks_p_exact").GetDouble(), exact.P, 1e-8);
            Maybe("ks_p_asymp", p => checks.Probability($"{of} KS p asymptotic", p, TwoSample.KolmogorovSmirnov(x, y, exact: false).P));
            checks.Relative($"{of} Wasserstein", f.GetProperty("wasserstein").GetDouble(), TwoSample.Wasserstein(x, y));
            checks.Relative($"{of} energy", f.GetProperty("energy_distance").GetDouble(), TwoSample.Energy(x, y));
            StatisticalTest cvm = TwoSample.CramerVonMises(x, y);
            Maybe("cvm_stat", s => checks.Near($"{of} CvM", s, cvm.Statistic));
            if (cvm.P is not null)
            {
                Maybe("cvm_p_asymptotic", p => checks.Near($"{of} CvM p", p, cvm.P, Math.Max(1e-8, 1e-6 * p)));
            }
            else
            {
                Assert.Contains("tied", cvm.Why, StringComparison.Ordinal);
            }

            StatisticalTest welch = TwoSample.Welch(x, y);
            Maybe("welch_t", t => checks.Near($"{of} Welch t", t, welch.Statistic, 1e-9 * Math.Max(1, Math.Abs(t))));
            Maybe("welch_p", p => checks.Probability($"{of} Welch p", p, welch.P));
            StatisticalTest u = TwoSample.MannWhitney(x, y);
            Maybe("mannwhitney_u", s => checks.Near($"{of} U", s, u.Statistic));
            Maybe("mannwhitney_p_asymptotic_continuity", p => checks.Probability($"{of} U p", p, u.P));

            void Maybe(string name, Action<double> check)
            {
                if (f.TryGetProperty(name, out JsonElement v) && v.ValueKind == JsonValueKind.Number)
                {
                    check(v.GetDouble());
                }
            }
        }

        checks.Done(550);
    }

    [Fact]
    public void Contingency_tables()
    {
        var checks = new Checks();
        int at = 0;
        foreach (JsonElement f in Figures.Read("contingency"))
        {
            long[][] table = f.GetProperty("table").EnumerateArray().Select(r => r.EnumerateArray().Select(v => (long)v.GetDouble()).ToArray()).ToArray();
            long[] r = table[0], c = table[1];
            string of = $"#{at++} ";
            Test("yates_only_if_2x2", Contingency.ChiSquare(r, c, yates: true));
            Test("no_correction", Contingency.ChiSquare(r, c));
            Test("g_test", Contingency.GTest(r, c));
            if (f.TryGetProperty("fisher", out JsonElement fisher))
            {
                StatisticalTest exact = Contingency.Fisher(r, c);
                checks.Relative(of + "odds", fisher.GetProperty("odds").GetDouble(), exact.Statistic);
                checks.Probability(of + "fisher", fisher.GetProperty("p").GetDouble(), exact.P);
            }

            Near("min_expected", Contingency.LeastExpected(r, c));
            Near("cramers_v", Contingency.CramersV(r, c));
            Near("js2", Distances.JensenShannon(r, c));
            Near("js_natural", Distances.JensenShannonNatural(r, c));
            Near("hellinger", Distances.Hellinger(r, c));
            Near("l_infinity", Distances.LInfinity(r, c));
            Near("tvd", Distances.TotalVariation(r, c));
            Near("psi_floor_1e4", Distances.Psi(r, c));

            void Near(string name, double actual) => checks.Near(of + name, f.GetProperty(name).GetDouble(), actual);

            void Test(string name, StatisticalTest actual)
            {
                checks.Relative(of + name, f.GetProperty(name).GetProperty("stat").GetDouble(), actual.Statistic);
                checks.Probability(of + name, f.GetProperty(name).GetProperty("p").GetDouble(), actual.P);
            }
        }

        checks.Done(290);
    }

    [Fact]
    public void Binning_rules_and_quantiles()
    {
        var checks = new Checks();
        int at = 0;
        foreach (JsonElement f in Figures.Read("binning"))
        {
            double[] sorted = TwoSample.Sorted(f.Doubles("x"));
            string of = $"#{at++} {f.GetProperty("kind")}{sorted.Length}";
            Same("doane", Bins.OfDoane(sorted));
            Bins sturges = Bins.OfSturges(sorted, []);
            if (sturges.Rule == Bins.SturgesRule)
            {
                Same("sturges", sturges);
            }

            foreach (JsonProperty q in f.GetProperty("quantiles_linear").EnumerateObject())
            {
                checks.Relative($"{of} q{q.Name}", q.Value.GetDouble(), Bins.Quantile(sorted, double.Parse(q.Name)));
            }

            void Same(string rule, Bins bins)
            {
                JsonElement e = f.GetProperty(rule);
                checks.Equal($"{of} {rule} bins", e.GetProperty("bins").GetInt32(), bins.Edges.Length - 1);
                checks.Equal($"{of} {rule} first", e.GetProperty("first").GetDouble(), bins.Edges[0]);
                checks.Equal($"{of} {rule} last", e.GetProperty("last").GetDouble(), bins.Edges[^1]);
                long[] counts = new long[bins.Count];
                bins.CountInto(sorted, counts);
                long[] expected = e.Longs("counts");
                // A value within one unit of an edge may move one count.
                checks.Equal($"{of} {rule} moved counts <= 2", true, expected.Zip(counts).Sum(p => Math.Abs(p.First - p.Second)) <= 2);
                checks.Equal($"{of} {rule} all", sorted.Length, counts.Take(bins.Edges.Length - 1).Sum());
            }
        }

        checks.Done(370);
    }

    [Fact]
    public void Corrections_for_many_tests()
    {
        var checks = new Checks();
        foreach (JsonElement f in Figures.Read("multiple_testing"))
        {
            double[] p = f.Doubles("p");
            double alpha = f.GetProperty("alpha").GetDouble();
            foreach ((string name, double[] adjusted) in new[] { ("bonferroni", MultipleTesting.Bonferroni(p)), ("holm", MultipleTesting.Holm(p)), ("fdr_bh", MultipleTesting.BenjaminiHochberg(p)), ("fdr_by", MultipleTesting.BenjaminiYekutieli(p)) })
            {
                double[] expected = f.GetProperty(name).Doubles("adjusted");
                bool[] reject = f.GetProperty(name).GetProperty("reject").EnumerateArray().Select(r => r.GetBoolean()).ToArray();
                for (int i = 0; i < p.Length; i++)
                {
                    checks.Near($"{name} {i} of {p.Length}", expected[i], adjusted[i], 1e-12);
                    checks.Equal($"{name} {i} rejects", reject[i], adjusted[i] <= alpha);
                }
            }
        }

        checks.Done(1000);
    }

    [Fact]
    public void Moments_of_parts_merge_to_the_moments_of_the_whole()
    {
        var checks = new Checks();
        foreach (JsonElement f in Figures.Read("moments"))
        {
            double[][] parts = f.GetProperty("parts").EnumerateArray().Select(p => p.EnumerateArray().Select(v => v.GetDouble()).ToArray()).ToArray();
            Moments all = parts.Aggregate(Moments.Empty, (sum, part) => sum.Merge(Moments.Of(part)));
            checks.Equal("count", f.GetProperty("count").GetInt64(), all.Count);
            checks.Relative("mean", f.GetProperty("mean").GetDouble(), all.Mean);
            checks.Relative("variance", f.GetProperty("var_pop").GetDouble(), all.Variance);
            checks.Relative("sample variance", f.GetProperty("var_sample").GetDouble(), all.SampleVariance);
            checks.Relative("skewness", f.GetProperty("skew_biased").GetDouble(), all.Skewness, 1e-6);
            checks.Relative("kurtosis", f.GetProperty("kurtosis_excess_biased").GetDouble(), all.ExcessKurtosis, 1e-6);
            checks.Equal("min", f.GetProperty("min").GetDouble(), all.Min!.Value);
            checks.Equal("max", f.GetProperty("max").GetDouble(), all.Max!.Value);
        }

        checks.Done(24);
    }
}
