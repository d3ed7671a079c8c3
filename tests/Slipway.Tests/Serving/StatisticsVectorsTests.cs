using System.Text.Json;
using Slipway.Monitoring;
using Slipway.Serving;
using Slipway.Serving.Routing;
using Slipway.Tests.Monitoring;

namespace Slipway.Tests.Serving;

/// <summary>The file of reference figures itself, where it lies beside the repository: every number that the product computes is compared, and no group is passed over unnamed.</summary>
public sealed class StatisticsVectorsTests
{
    // Simulations of other methods, and another hash than the product's: there is nothing of ours to hold against them.
    private static readonly string[] NotOurs = ["peeking", "power", "assignment_vectors"];

    [Fact]
    public void Every_figure_of_the_reference_file_is_ours()
    {
        using var file = JsonDocument.Parse(File.ReadAllBytes(ReferenceData.File(Path.Combine("..", "stats_vectors.json"))));
        var (root, checks) = (file.RootElement, new Checks());
        var left = root.EnumerateObject().Select(group => group.Name).Except(NotOurs, StringComparer.Ordinal).ToHashSet(StringComparer.Ordinal);

        foreach (var (row, name) in Rows("two_proportions"))
        {
            long x1 = Long(row, "x1"), n1 = Long(row, "n1"), x2 = Long(row, "x2"), n2 = Long(row, "n2");
            var (found, z) = (FixedHorizon.Shares(x1, n1, x2, n2, 0.05), FixedHorizon.Z(x1, n1, x2, n2));
            checks.Relative($"{name} difference", Double(row, "diff"), found.Difference);
            checks.Relative($"{name} z", Double(row, "z"), z.Statistic);
            checks.Relative($"{name} p", Double(row, "p"), z.P);
            checks.Relative($"{name} lower", Doubles(row, "newcombe")[0], found.Lower);
            checks.Relative($"{name} upper", Doubles(row, "newcombe")[1], found.Upper);
        }

        foreach (var (row, name) in Rows("welch"))
        {
            double m1 = Double(row, "m1"), v1 = Double(row, "v1"), m2 = Double(row, "m2"), v2 = Double(row, "v2");
            long n1 = Long(row, "n1"), n2 = Long(row, "n2");
            var found = FixedHorizon.Means(m1, v1, n1, m2, v2, n2, 0.05);
            checks.Relative($"{name} t", Double(row, "t"), found.Statistic);
            checks.Relative($"{name} df", Double(row, "df"), TwoSample.Welch(m2, v2, n2, m1, v1, n1).Degrees);
            checks.Relative($"{name} p", Double(row, "p"), found.P);
            // The reference's own t quantile is off by 3e-9.
            checks.Relative($"{name} lower", Doubles(row, "ci")[0], found.Lower, 3e-9);
            checks.Relative($"{name} upper", Doubles(row, "ci")[1], found.Upper, 3e-9);
        }

        foreach (var (row, name) in Rows("sample_size_proportion"))
        {
            checks.Equal(name, (Long(row, "n_control"), Long(row, "n_treatment")), SampleSize.Proportions(Double(row, "p"), Double(row, "mde"), Double(row, "alpha"), Double(row, "power"), Double(row, "ratio")));
        }

        foreach (var (row, name) in Rows("sample_size_mean"))
        {
            checks.Equal(name, (Long(row, "n_per_arm"), Long(row, "n_per_arm")), SampleSize.Means(Double(row, "d"), Double(row, "alpha"), Double(row, "power")));
        }

        foreach (var (row, name) in Rows("srm"))
        {
            var observed = Doubles(row, "observed").Select(n => (long)n).ToArray();
            var found = SampleRatio.Check(observed, SampleRatio.Expected(observed.Length, [new(Doubles(row, "weights"), observed.Sum())]));
            checks.Near($"{name} chi2", Double(row, "chi2"), found.ChiSquare, 1e-9 * Math.Max(1, Double(row, "chi2")));
            checks.Relative($"{name} p", Double(row, "p"), found.P);
            checks.Equal($"{name} alarm", row.GetProperty("srm").GetBoolean(), found.Mismatch);
        }

        foreach (var (row, name) in Rows("msprt"))
        {
            double d = Double(row, "theta"), v = Double(row, "V"), tau2 = Double(row, "tau2");
            checks.Relative($"{name} lambda", Double(row, "lam"), SequentialTest.Lambda(d, v, tau2));
            checks.Relative($"{name} p", Double(row, "p_always_valid"), SequentialTest.PValue(d, v, tau2));
            checks.Relative($"{name} radius", Double(row, "radius95"), SequentialTest.Radius(v, tau2, 0.05));
        }

        foreach (var (row, name) in Rows("p_best"))
        {
            var posteriors = row.GetProperty("beta").EnumerateArray().Select(b => Posterior.Beta(b[0].GetDouble(), b[1].GetDouble())).ToList();
            foreach (var (expected, found) in Doubles(row, "p_best").Zip(Bandit.PBest(posteriors)))
            {
                checks.Relative(name, expected, found, 1e-6);
            }
        }

        foreach (var (row, name) in Rows("reassignment"))
        {
            var before = SlotTable.Reassign(SlotTable.Whole(), SlotTable.Share(Percents(row, "before")));
            var after = SlotTable.Reassign(before, SlotTable.Share(Percents(row, "after")));
            checks.Near($"{name} moved", Double(row, "least_possible"), before.Zip(after).Count(pair => pair.First != pair.Second) / (double)SlotTable.Size);
        }

        // The file has no rows of its data set, only what it comes to: one with the same theta and variances must come to the same.
        left.Remove("cuped");
        var cuped = root.GetProperty("cuped");
        double theta = Double(cuped, "theta"), raw = Double(cuped, "var_raw"), adjusted = Double(cuped, "var_adj");
        // x of variance s and e of variance var_adj are exactly uncorrelated, so that theta^2 * s + var_adj = var_raw.
        var (a, b) = (Math.Sqrt((raw - adjusted) / (theta * theta) * 3 / 4), Math.Sqrt(adjusted * 3 / 4));
        double[] x = [-a, -a, a, a], e = [-b, b, -b, b];
        double[] y = [.. x.Zip(e, (u, w) => (theta * u) + w)];
        var report = Cuped.Adjust(y, x);
        checks.Relative("cuped theta", theta, report.Theta);
        checks.Relative("cuped corr", Double(cuped, "corr"), report.Correlation);
        checks.Relative("cuped ratio", Double(cuped, "ratio"), report.VarianceRatio);
        checks.Relative("cuped var_adj", adjusted, y.Sum(v => v * v) / 3);

        Assert.Empty(left);
        checks.Done(80);

        IEnumerable<(JsonElement Row, string Name)> Rows(string group)
        {
            left.Remove(group);
            return root.GetProperty(group).EnumerateArray().Select((row, i) => (row, $"{group}[{i}]"));
        }
    }

    private static double Double(JsonElement row, string name) => row.GetProperty(name).GetDouble();

    private static long Long(JsonElement row, string name) => row.GetProperty(name).GetInt64();

    private static double[] Doubles(JsonElement row, string name) => [.. row.GetProperty(name).EnumerateArray().Select(value => value.GetDouble())];

    private static double[] Percents(JsonElement row, string name) => [.. row.GetProperty(name).EnumerateObject().Select(share => share.Value.GetDouble() * 100)];
}
