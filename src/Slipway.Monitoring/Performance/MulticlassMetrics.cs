namespace Slipway.Monitoring;

/// <summary>One class against the rest.</summary>
/// <param name="Name">The class.</param>
/// <param name="Confusion">Counts.</param>
/// <param name="RocAuc">Area under the ROC curve of its probability.</param>
public sealed record ClassMetrics(string Name, Confusion Confusion, Measured RocAuc)
{
    /// <summary>Rows whose truth is this class.</summary>
    public long Support => (long)(Confusion.TruePositives + Confusion.FalseNegatives);
}

/// <summary>
/// Realized performance of a choice among classes. Classes are ordered by their names as ordinal strings and matched with probabilities by name.
/// A class that has no row in the window is left out of macro means and named in <see cref="Absent"/>.
/// </summary>
public sealed record MulticlassMetrics
{
    private MulticlassMetrics()
    {
    }

    /// <summary>Rows measured.</summary>
    public long N { get; private init; }

    /// <summary>Rows left out because truth or prediction is missing.</summary>
    public long LeftOut { get; private init; }

    /// <summary>Each class against the rest, in order of names.</summary>
    public IReadOnlyList<ClassMetrics> Classes { get; private init; } = [];

    /// <summary>Classes without a row: left out of macro means.</summary>
    public IReadOnlyList<string> Absent { get; private init; } = [];

    /// <summary>Counts by truth, then by prediction.</summary>
    public IReadOnlyList<long[]> Confusion { get; private init; } = [];

    /// <summary>Share of rows that are right.</summary>
    public Measured Accuracy { get; private init; }

    /// <summary>Mean recall over the classes that occur.</summary>
    public Measured BalancedAccuracy => MacroRecall;

    /// <summary>Mean precision over the classes that occur; one that was never predicted counts 0 there, as nothing of it was found.</summary>
    public Measured MacroPrecision { get; private init; }

    /// <summary>Mean recall over the classes that occur.</summary>
    public Measured MacroRecall { get; private init; }

    /// <summary>Mean F1 over the classes that occur.</summary>
    public Measured MacroF1 { get; private init; }

    /// <summary>Mean specificity over the classes that occur.</summary>
    public Measured MacroSpecificity { get; private init; }

    /// <summary>Precision weighted by support.</summary>
    public Measured WeightedPrecision { get; private init; }

    /// <summary>Recall weighted by support: the accuracy.</summary>
    public Measured WeightedRecall { get; private init; }

    /// <summary>F1 weighted by support.</summary>
    public Measured WeightedF1 { get; private init; }

    /// <summary>Cohen's kappa.</summary>
    public Measured Kappa { get; private init; }

    /// <summary>Matthews' correlation for several classes (Gorodkin 2004).</summary>
    public Measured Matthews { get; private init; }

    /// <summary>Mean negative log likelihood in nats, probabilities renormalised by row and clipped to <see cref="BinaryMetrics.Clip"/>.</summary>
    public Measured LogLoss { get; private init; }

    /// <summary>Mean over classes of the AUC against the rest.</summary>
    public Measured RocAucOneVsRest { get; private init; }

    /// <summary>The same, weighted by support.</summary>
    public Measured RocAucOneVsRestWeighted { get; private init; }

    /// <summary>Mean over pairs of classes of the AUC of one against the other, both ways (Hand and Till 2001).</summary>
    public Measured RocAucOneVsOne { get; private init; }

    /// <summary>Measures.</summary>
    /// <param name="truth">The true class of each row; null where it is not known.</param>
    /// <param name="predicted">The predicted class of each row; null where it is missing.</param>
    /// <param name="probabilities">By class name, one value a row; null without probabilities.</param>
    public static MulticlassMetrics Of(IReadOnlyList<string?> truth, IReadOnlyList<string?> predicted, IReadOnlyDictionary<string, double[]>? probabilities = null)
    {
        if (truth.Count != predicted.Count || probabilities?.Values.Any(p => p.Length != truth.Count) == true)
        {
            throw new ArgumentException($"{truth.Count} true classes, {predicted.Count} predictions: one of each and every probability is needed for every row.", nameof(predicted));
        }

        int[] rows = Enumerable.Range(0, truth.Count).Where(i => truth[i] is not null && predicted[i] is not null).ToArray();
        string[] names = rows.SelectMany(i => new[] { truth[i]!, predicted[i]! }).Concat(probabilities?.Keys ?? []).Distinct().Order(StringComparer.Ordinal).ToArray();
        Dictionary<string, int> at = names.Select((n, i) => (n, i)).ToDictionary(p => p.n, p => p.i, StringComparer.Ordinal);
        int k = names.Length;
        long n = rows.Length;
        long[][] table = names.Select(_ => new long[k]).ToArray();
        int[] y = rows.Select(i => at[truth[i]!]).ToArray();
        for (int r = 0; r < rows.Length; r++)
        {
            table[y[r]][at[predicted[rows[r]]!]]++;
        }

        if (n == 0)
        {
            Measured none = Measured.Undefined("no row has both a true and a predicted class");
            return new MulticlassMetrics
            {
                LeftOut = truth.Count,
                Absent = names,
                Accuracy = none,
                MacroPrecision = none,
                MacroRecall = none,
                MacroF1 = none,
                MacroSpecificity = none,
                WeightedPrecision = none,
                WeightedRecall = none,
                WeightedF1 = none,
                Kappa = none,
                Matthews = none,
                LogLoss = none,
                RocAucOneVsRest = none,
                RocAucOneVsRestWeighted = none,
                RocAucOneVsOne = none,
            };
        }

        double[]?[] scores = names.Select(name => probabilities is not null && probabilities.TryGetValue(name, out double[]? p) ? rows.Select(i => p[i]).ToArray() : null).ToArray();
        var classes = new ClassMetrics[k];
        double right = 0, chance = 0, truthSquares = 0, predictedSquares = 0;
        for (int c = 0; c < k; c++)
        {
            double hits = table[c][c], support = table[c].Sum(), chosen = table.Sum(t => t[c]);
            right += hits;
            chance += support * chosen;
            truthSquares += support * support;
            predictedSquares += chosen * chosen;
            int own = c;
            Measured auc = scores[c] is { } s ? BinaryMetrics.Area(s, y.Select(v => v == own).ToArray()) : Measured.Undefined($"no probability of `{names[c]}` is known");
            classes[c] = new ClassMetrics(names[c], new Confusion(hits, chosen - hits, n - support - chosen + hits, support - hits), auc);
        }

        ClassMetrics[] present = classes.Where(c => c.Support > 0).ToArray();
        double agreement = right / n, expected = chance / ((double)n * n);
        double denominator = Math.Sqrt((double)n * n - predictedSquares) * Math.Sqrt((double)n * n - truthSquares);
        bool whole = scores.All(s => s is not null);
        return new MulticlassMetrics
        {
            N = n,
            LeftOut = truth.Count - n,
            Classes = classes,
            Absent = classes.Where(c => c.Support == 0).Select(c => c.Name).ToArray(),
            Confusion = table,
            Accuracy = Measured.Of(agreement, Math.Sqrt(agreement * (1 - agreement) / n)),
            MacroPrecision = Mean(present, c => c.Confusion.Precision.Value ?? 0),
            MacroRecall = Mean(present, c => c.Confusion.Recall.Value ?? double.NaN),
            MacroF1 = Mean(present, c => c.Confusion.F1.Value ?? 0),
            MacroSpecificity = Mean(present, c => c.Confusion.Specificity.Value ?? double.NaN),
            WeightedPrecision = Weighted(present, c => c.Confusion.Precision.Value ?? 0),
            WeightedRecall = Weighted(present, c => c.Confusion.Recall.Value ?? double.NaN),
            WeightedF1 = Weighted(present, c => c.Confusion.F1.Value ?? 0),
            Kappa = expected == 1 ? Measured.Undefined("truth and prediction are one and the same class throughout") : Measured.Of((agreement - expected) / (1 - expected)),
            Matthews = Measured.Of(denominator == 0 ? 0 : (right * n - chance) / denominator),
            LogLoss = whole ? Loss(scores!, y) : Measured.Undefined("a class has no probability"),
            RocAucOneVsRest = present.Length < 2 ? Measured.Undefined("one class only") : Mean(present, c => c.RocAuc.Value ?? double.NaN),
            RocAucOneVsRestWeighted = present.Length < 2 ? Measured.Undefined("one class only") : Weighted(present, c => c.RocAuc.Value ?? double.NaN),
            RocAucOneVsOne = whole && present.Length > 1 ? Pairs(scores!, y, Enumerable.Range(0, k).Where(c => classes[c].Support > 0).ToArray()) : Measured.Undefined("two classes with probabilities are needed"),
        };
    }

    /// <summary>Share of rows whose true class is among the <paramref name="k"/> most probable; ties go to the class that comes first.</summary>
    public static Measured TopK(IReadOnlyList<string?> truth, IReadOnlyDictionary<string, double[]> probabilities, int k)
    {
        string[] names = probabilities.Keys.Order(StringComparer.Ordinal).ToArray();
        long n = 0, hits = 0;
        for (int i = 0; i < truth.Count; i++)
        {
            if (truth[i] is { } own)
            {
                n++;
                hits += names.OrderByDescending(c => probabilities[c][i]).Take(k).Contains(own, StringComparer.Ordinal) ? 1 : 0;
            }
        }

        return Measured.Share(hits, n, "no row has a true class");
    }

    private static Measured Mean(ClassMetrics[] classes, Func<ClassMetrics, double> of) => Measured.Of(classes.Average(of));

    private static Measured Weighted(ClassMetrics[] classes, Func<ClassMetrics, double> of) => Measured.Of(classes.Sum(c => c.Support * of(c)) / classes.Sum(c => c.Support));

    private static Measured Loss(double[][] scores, int[] y)
    {
        double[] losses = new double[y.Length];
        for (int i = 0; i < y.Length; i++)
        {
            double sum = 0;
            foreach (double[] s in scores)
            {
                sum += Clipped(s[i]);
            }

            losses[i] = -Math.Log(Clipped(scores[y[i]][i]) / sum);
        }

        Moments m = Moments.Of(losses);
        return Measured.Of(m.Mean, Math.Sqrt(m.Variance!.Value / y.Length));

        static double Clipped(double p) => Math.Clamp(p, BinaryMetrics.Clip, 1 - BinaryMetrics.Clip);
    }

    private static Measured Pairs(double[][] scores, int[] y, int[] present)
    {
        double sum = 0;
        int pairs = 0;
        for (int a = 0; a < present.Length; a++)
        {
            for (int b = a + 1; b < present.Length; b++)
            {
                int one = present[a], other = present[b];
                int[] rows = Enumerable.Range(0, y.Length).Where(i => y[i] == one || y[i] == other).ToArray();
                sum += Area(one) + Area(other);
                pairs += 2;

                double Area(int c) => BinaryMetrics.Area(rows.Select(i => scores[c][i]).ToArray(), rows.Select(i => y[i] == c).ToArray()).Value ?? double.NaN;
            }
        }

        return Measured.Of(sum / pairs);
    }
}
