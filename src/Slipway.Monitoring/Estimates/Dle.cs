namespace Slipway.Monitoring;

/// <summary>Losses that <see cref="Dle"/> estimates.</summary>
public enum RowLoss
{
    /// <summary>|prediction - target|.</summary>
    Absolute,

    /// <summary>The squared error.</summary>
    Squared,

    /// <summary>|error / target|; undefined for a target of 0.</summary>
    AbsolutePercentage,

    /// <summary>The squared difference of ln(1 + y).</summary>
    SquaredLog,
}

/// <summary>
/// Direct loss estimation for regression without labels: a boosted model predicts each row's loss from the features and the prediction, and a window's
/// estimate is the mean of the predicted losses, none below 0. It assumes no concept drift. The reference's own estimates are made out of fold,
/// since a model that has seen a row's loss knows it too well.
/// </summary>
public sealed class Dle
{
    private const int Folds = 5;
    private readonly Boosting model;

    private Dle(RowLoss loss, Boosting model, double[] reference) => (Loss, this.model, ReferenceLosses) = (loss, model, reference);

    /// <summary>What is estimated.</summary>
    public RowLoss Loss { get; }

    /// <summary>Estimated losses of the reference's rows, each by a model that has not seen it.</summary>
    public IReadOnlyList<double> ReferenceLosses { get; }

    /// <summary>Fits on labelled reference rows.</summary>
    /// <param name="features">One array a feature; categories as ordinal numbers, missing as NaN.</param>
    /// <param name="predictions">The model's predictions.</param>
    /// <param name="targets">The truth.</param>
    /// <param name="loss">What to estimate.</param>
    public static Dle Fit(IReadOnlyList<double[]> features, double[] predictions, double[] targets, RowLoss loss)
    {
        double[] losses = targets.Zip(predictions, (y, p) => Of(loss, y, p)).ToArray();
        int[] rows = Enumerable.Range(0, losses.Length).Where(i => double.IsFinite(losses[i])).ToArray();
        if (rows.Length < 2 * Folds)
        {
            throw Foundation.SlipwayException.Invalid("the loss cannot be estimated", $"{rows.Length} rows of the reference have a loss, {2 * Folds} are needed", "give a larger labelled reference");
        }

        double[][] table = [.. features.Select(f => rows.Select(i => f[i]).ToArray()), rows.Select(i => predictions[i]).ToArray()];
        double[] target = rows.Select(i => losses[i]).ToArray(), out0 = new double[target.Length];
        for (int f = 0; f < Folds; f++)
        {
            // Folds are blocks in time, as the rows are in event order: neighbours resemble each other.
            int start = (int)((long)target.Length * f / Folds), end = (int)((long)target.Length * (f + 1) / Folds);
            int[] rest = Enumerable.Range(0, target.Length).Where(i => i < start || i >= end).ToArray();
            Boosting part = Boosting.Regression(table.Select(c => rest.Select(i => c[i]).ToArray()).ToArray(), rest.Select(i => target[i]).ToArray());
            for (int i = start; i < end; i++)
            {
                int row = i;
                out0[i] = part.Predict(table.Select(c => c[row]).ToArray());
            }
        }

        return new Dle(loss, Boosting.Regression(table, target), out0);
    }

    /// <summary>The estimate of a window.</summary>
    public Measured Estimate(IReadOnlyList<double[]> features, double[] predictions)
    {
        double[][] table = [.. features, predictions];
        double[] losses = new double[predictions.Length], row = new double[table.Length];
        for (int i = 0; i < losses.Length; i++)
        {
            for (int c = 0; c < row.Length; c++)
            {
                row[c] = table[c][i];
            }

            losses[i] = model.Predict(row);
        }

        return Mean(losses);
    }

    /// <summary>The mean of predicted losses, each taken as at least 0.</summary>
    public static Measured Mean(ReadOnlySpan<double> predictedLosses)
    {
        double[] kept = new double[predictedLosses.Length];
        int n = 0;
        foreach (double loss in predictedLosses)
        {
            if (!double.IsNaN(loss))
            {
                kept[n++] = Math.Max(0, loss);
            }
        }

        Moments m = Moments.Of(kept.AsSpan(0, n));
        return n == 0 ? Measured.Undefined("no row has a predicted loss") : Measured.Of(m.Mean, Math.Sqrt(m.Variance!.Value / n));
    }

    /// <summary>The root of a mean of squared losses, with its standard error.</summary>
    public static Measured Root(Measured meanSquared) =>
        meanSquared.Value is { } v ? Measured.Of(Math.Sqrt(v), v == 0 ? 0 : meanSquared.Error / (2 * Math.Sqrt(v))) : meanSquared;

    /// <summary>One row's realized loss; NaN where it is not defined.</summary>
    public static double Of(RowLoss loss, double target, double prediction) => loss switch
    {
        RowLoss.Absolute => Math.Abs(prediction - target),
        RowLoss.Squared => (prediction - target) * (prediction - target),
        RowLoss.AbsolutePercentage => target == 0 ? double.NaN : Math.Abs((prediction - target) / target),
        _ => target < 0 || prediction < 0 ? double.NaN : Math.Pow(Math.Log(1 + target) - Math.Log(1 + prediction), 2),
    };
}
