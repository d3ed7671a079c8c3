namespace Slipway.Monitoring;

/// <summary>What a classifier's outputs say as a whole: shares of the predicted classes, how sure it is of them (the largest probability), and the entropy of its probabilities as a share of the largest there is.</summary>
/// <param name="N">Rows with a predicted class.</param>
/// <param name="Chosen">Rows of each predicted class, in the order of the classes; of a binary model those below and from a score of 0.5.</param>
/// <param name="Probable">Rows with a probability of each class; 0 where the outputs hold none.</param>
/// <param name="Confidence">Mean of the largest probability; null without probabilities.</param>
/// <param name="ConfidenceDeviation">Its population standard deviation.</param>
/// <param name="Entropy">Mean entropy over the logarithm of the number of classes, 0 to 1; null without probabilities.</param>
/// <param name="EntropyDeviation">Its population standard deviation.</param>
internal sealed record PredictedClasses(long N, IReadOnlyList<long> Chosen, long Probable, double? Confidence, double ConfidenceDeviation, double? Entropy, double EntropyDeviation);

/// <summary>Counts <see cref="PredictedClasses"/> row by row. Sums are of whole numbers, so that rows of another order give the same figures bit for bit.</summary>
internal sealed class ClassTally(MonitorConfig config)
{
    /// <summary>Parts of one in sums: rows of a window times this fit into 64 bits.</summary>
    private const double Parts = 1L << 30;

    private readonly long[] chosen = new long[config.Type == ModelType.Multiclass ? config.Classes!.Count : 2];
    private readonly float[] probabilities = new float[config.Type == ModelType.Multiclass ? config.Classes!.Count : 2];
    private long probable;
    private Int128 confidence;
    private Int128 confidenceSquares;
    private Int128 entropy;
    private Int128 entropySquares;

    /// <summary>A tally of a classifier; null for other types.</summary>
    public static ClassTally? Of(MonitorConfig config) => config.Type is ModelType.Binary || (config.Type == ModelType.Multiclass && config.Classes is { Count: >= 2 }) ? new ClassTally(config) : null;

    /// <summary>Takes the outputs of one prediction.</summary>
    public void Add(IReadOnlyList<float> outputs)
    {
        if (config.Type == ModelType.Multiclass && config.Probabilities)
        {
            config.Distribution(outputs, probabilities);
            Add(probabilities);
        }
        else
        {
            Add((float)config.Score(outputs));
        }
    }

    /// <summary>Takes a binary score, or the index of a predicted class.</summary>
    public void Add(float score)
    {
        if (config.Type == ModelType.Multiclass)
        {
            if (score >= 0 && score < chosen.Length && score == MathF.Floor(score))
            {
                chosen[(int)score]++;
            }
        }
        else if (score is >= 0 and <= 1)
        {
            (probabilities[0], probabilities[1]) = (1 - score, score);
            Count(score >= 0.5f ? 1 : 0);
        }
        else if (float.IsFinite(score))
        {
            chosen[score >= 0.5f ? 1 : 0]++;
        }
    }

    /// <summary>Takes a probability of each class.</summary>
    public void Add(ReadOnlySpan<float> row)
    {
        row.CopyTo(probabilities);
        if (MonitorConfig.MostProbable(row) is >= 0 and var at)
        {
            Count(at);
        }
    }

    public PredictedClasses Read()
    {
        (double? mean, double deviation) sure = Moment(confidence, confidenceSquares), spread = Moment(entropy, entropySquares);
        return new PredictedClasses(chosen.Sum(), [.. chosen], probable, sure.mean, sure.deviation, spread.mean, spread.deviation);

        (double?, double) Moment(Int128 sum, Int128 squares)
        {
            if (probable == 0)
            {
                return (null, 0);
            }

            double mean = (double)sum / Parts / probable;
            return (mean, Math.Sqrt(Math.Max(0, (double)squares / Parts / Parts / probable - mean * mean)));
        }
    }

    private void Count(int at)
    {
        chosen[at]++;
        double bits = 0;
        foreach (float p in probabilities)
        {
            bits -= p > 0 ? p * Math.Log(p) : 0;
        }

        long sure = (long)Math.Round(Math.Clamp(probabilities[at], 0, 1) * Parts), spread = (long)Math.Round(Math.Clamp(bits / Math.Log(probabilities.Length), 0, 1) * Parts);
        (probable, confidence, confidenceSquares) = (probable + 1, confidence + sure, confidenceSquares + (Int128)sure * sure);
        (entropy, entropySquares) = (entropy + spread, entropySquares + (Int128)spread * spread);
    }
}
