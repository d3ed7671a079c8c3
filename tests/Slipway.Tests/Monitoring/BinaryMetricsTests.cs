using Slipway.Monitoring;

namespace Slipway.Tests.Monitoring;

public sealed class BinaryMetricsTests
{
    [Fact]
    public void Metrics_equal_the_figures_and_are_undefined_where_no_number_exists()
    {
        int defined = 0;
        foreach (var figure in Figures.Read("binary_metrics"))
        {
            BinaryMetrics m = BinaryMetrics.Of(figure.Doubles("score"), figure.Longs("y").Select(v => v == 1).ToArray());
            Assert.Equal(figure.GetProperty("brier").GetDouble(), m.Brier.Value!.Value, 1e-9);
            Assert.Equal(figure.GetProperty("log_loss").GetDouble(), m.LogLoss.Value!.Value, 1e-9);
            // One set predicts false whatever the score, so its accuracy is not that of a threshold.
            if (figure.GetProperty("mode").GetString() != "never_predicts")
            {
                Assert.Equal(figure.GetProperty("accuracy").GetDouble(), m.Accuracy.Value!.Value, 1e-9);
            }

            if (figure.Maybe("roc_auc") is { } auc)
            {
                defined++;
                Assert.Equal(auc, m.RocAuc.Value!.Value, 1e-9);
                Assert.Equal(figure.Maybe("auc_error")!.Value, m.RocAuc.Error!.Value, 1e-9);
            }
            else
            {
                Assert.Null(m.RocAuc.Value);
                Assert.Contains("both classes are needed", m.RocAuc.Why, StringComparison.Ordinal);
            }
        }

        Assert.True(defined >= 10);
    }

    [Fact]
    public void Rows_without_a_score_are_left_out_and_counted()
    {
        BinaryMetrics m = BinaryMetrics.Of([0.2, double.NaN, 0.8], [false, true, true]);
        Assert.Equal((2, 1, 1.0), (m.N, m.LeftOut, m.RocAuc.Value!.Value));
        BinaryMetrics none = BinaryMetrics.Of([double.NaN], [true]);
        Assert.Equal("none of 1 rows has a finite score", none.LogLoss.Why);
    }

    [Fact]
    public void Row_order_does_not_change_a_bit()
    {
        var random = new Random(9);
        (double Score, bool Outcome)[] rows = Enumerable.Range(0, 500).Select(_ => (Math.Round(random.NextDouble(), 2), random.NextDouble() < 0.3)).ToArray();
        BinaryMetrics a = Measure(rows);
        random.Shuffle(rows);
        Assert.Equal(a, Measure(rows));

        static BinaryMetrics Measure((double Score, bool Outcome)[] rows) => BinaryMetrics.Of(rows.Select(r => r.Score).ToArray(), rows.Select(r => r.Outcome).ToArray());
    }
}
