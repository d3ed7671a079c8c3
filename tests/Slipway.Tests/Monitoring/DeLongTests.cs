using Slipway.Monitoring;

namespace Slipway.Tests.Monitoring;

public sealed class DeLongTests
{
    [Fact]
    public void DeLong_agrees_with_the_definition_over_all_pairs()
    {
        var random = new Random(5);
        var labels = Enumerable.Range(0, 300).Select(_ => random.NextDouble() < 0.3).ToArray();
        // Rounded, so that there are ties.
        var a = labels.Select(l => Math.Round(random.NextDouble() + (l ? 0.4 : 0), 1)).ToArray();
        var b = labels.Select((l, i) => Math.Round((a[i] / 2) + random.NextDouble() + (l ? 0.1 : 0), 1)).ToArray();
        var (difference, lower, upper) = DeLong.Of(a, labels)!.Less(DeLong.Of(b, labels)!);

        double[] sa = Structure(a, true), sb = Structure(b, true), ta = Structure(a, false), tb = Structure(b, false);
        var expected = sa.Average() - sb.Average();
        var d = sa.Zip(sb, (x, y) => x - y).ToArray();
        var e = ta.Zip(tb, (x, y) => x - y).ToArray();
        var half = 1.959963984540054 * Math.Sqrt((Variance(d) / d.Length) + (Variance(e) / e.Length));
        Assert.Equal(expected, difference, 1e-12);
        Assert.Equal(expected - half, lower, 1e-12);
        Assert.Equal(expected + half, upper, 1e-12);
        Assert.Null(DeLong.Of([0.1, 0.2], [true, false]));

        // Of each row of one class the share of the other class that it beats, ties counting half.
        double[] Structure(double[] scores, bool positives) =>
        [
            .. Enumerable.Range(0, labels.Length).Where(i => labels[i] == positives).Select(i => Enumerable.Range(0, labels.Length).Where(j => labels[j] != positives)
                .Average(j => scores[i] == scores[j] ? 0.5 : scores[i] > scores[j] == positives ? 1.0 : 0.0)),
        ];

        static double Variance(double[] values) => values.Sum(v => Math.Pow(v - values.Average(), 2)) / (values.Length - 1);
    }

    [Fact]
    public void Rows_of_one_unit_count_together()
    {
        var random = new Random(7);
        var labels = Enumerable.Range(0, 200).Select(_ => random.NextDouble() < 0.4).ToArray();
        var scores = labels.Select(l => random.NextDouble() + (l ? 0.3 : 0)).ToArray();
        var alone = DeLong.Of(scores, labels)!;
        Assert.Equal(alone.Variance, DeLong.Of(scores, labels, [.. Enumerable.Range(0, 200)])!.Variance, 1e-12);

        // The same rows three times say nothing new, and only whoever knows their units sees that.
        double[] thrice = [.. scores, .. scores, .. scores];
        bool[] outcomes = [.. labels, .. labels, .. labels];
        int[] units = [.. Enumerable.Range(0, 600).Select(i => i % 200)];
        Assert.Equal(alone.Auc, DeLong.Of(thrice, outcomes, units)!.Auc, 1e-12);
        Assert.Equal(alone.Variance, DeLong.Of(thrice, outcomes, units)!.Variance, 1e-12);
        Assert.InRange(DeLong.Of(thrice, outcomes)!.Variance, alone.Variance / 3.1, alone.Variance / 2.9);

        Assert.Null(DeLong.Of([0.1, 0.2, 0.8, 0.9], [false, false, true, true], [1, 1, 2, 3]));
        // Perfect separation is no certainty.
        Assert.True(DeLong.Of([0.1, 0.2, 0.8, 0.9], [false, false, true, true])!.Variance > 0);
    }
}
