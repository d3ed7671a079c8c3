namespace Slipway.Monitoring;

/// <summary>
/// Counts of a yes/no prediction against the truth, and what follows from them. Counts may be expected ones, as an estimate without labels gives
/// them. A ratio with an empty denominator is undefined, never 0.
/// </summary>
[System.Runtime.InteropServices.StructLayout(System.Runtime.InteropServices.LayoutKind.Auto)]
public readonly record struct Confusion(double TruePositives, double FalsePositives, double TrueNegatives, double FalseNegatives)
{
    /// <summary>Rows.</summary>
    public double N => TruePositives + FalsePositives + TrueNegatives + FalseNegatives;

    /// <summary>Share of rows that are right.</summary>
    public Measured Accuracy => Ratio(TruePositives + TrueNegatives, N, "no rows");

    /// <summary>TP / (TP + FP).</summary>
    public Measured Precision => Ratio(TruePositives, TruePositives + FalsePositives, "nothing was predicted positive");

    /// <summary>TP / (TP + FN), the true positive rate.</summary>
    public Measured Recall => Ratio(TruePositives, TruePositives + FalseNegatives, "no row is positive");

    /// <summary>TN / (TN + FP), the true negative rate.</summary>
    public Measured Specificity => Ratio(TrueNegatives, TrueNegatives + FalsePositives, "no row is negative");

    /// <summary>FP / (FP + TN).</summary>
    public Measured FalsePositiveRate => Ratio(FalsePositives, TrueNegatives + FalsePositives, "no row is negative");

    /// <summary>FN / (FN + TP).</summary>
    public Measured FalseNegativeRate => Ratio(FalseNegatives, TruePositives + FalseNegatives, "no row is positive");

    /// <summary>TN / (TN + FN).</summary>
    public Measured NegativePredictiveValue => Ratio(TrueNegatives, TrueNegatives + FalseNegatives, "nothing was predicted negative");

    /// <summary>2 TP / (2 TP + FP + FN).</summary>
    public Measured F1 => FBeta(1);

    /// <summary>Mean of recall and specificity; undefined with one class.</summary>
    public Measured BalancedAccuracy => Recall.Value is { } r && Specificity.Value is { } s ? Measured.Of((r + s) / 2) : Measured.Undefined("both classes are needed");

    /// <summary>Matthews' correlation. With an empty row or column of the table it is 0 by convention.</summary>
    public Measured Matthews
    {
        get
        {
            double product = (TruePositives + FalsePositives) * (TruePositives + FalseNegatives) * (TrueNegatives + FalsePositives) * (TrueNegatives + FalseNegatives);
            return N == 0 ? Measured.Undefined("no rows") : Measured.Of(product == 0 ? 0 : (TruePositives * TrueNegatives - FalsePositives * FalseNegatives) / Math.Sqrt(product));
        }
    }

    /// <summary>Cohen's kappa; undefined when all rows and predictions fall into one class.</summary>
    public Measured Kappa
    {
        get
        {
            double n = N, expected = ((TruePositives + FalsePositives) * (TruePositives + FalseNegatives) + (TrueNegatives + FalseNegatives) * (TrueNegatives + FalsePositives)) / (n * n);
            return n == 0 || expected == 1 ? Measured.Undefined("truth and prediction are one and the same class throughout") : Measured.Of(((TruePositives + TrueNegatives) / n - expected) / (1 - expected));
        }
    }

    /// <summary>(1 + b^2) TP / ((1 + b^2) TP + b^2 FN + FP): recall counts b times as much as precision.</summary>
    public Measured FBeta(double beta)
    {
        double b2 = beta * beta;
        return Ratio((1 + b2) * TruePositives, (1 + b2) * TruePositives + b2 * FalseNegatives + FalsePositives, "no row is positive and nothing was predicted positive");
    }

    /// <summary>Value of the outcomes: each count times what one such outcome is worth.</summary>
    public double BusinessValue(double truePositive, double falsePositive, double trueNegative, double falseNegative) =>
        TruePositives * truePositive + FalsePositives * falsePositive + TrueNegatives * trueNegative + FalseNegatives * falseNegative;

    private static Measured Ratio(double part, double whole, string empty) => whole == 0 ? Measured.Undefined(empty) : Measured.Of(part / whole, Math.Sqrt(Math.Max(0, part / whole * (1 - part / whole)) / whole));
}
