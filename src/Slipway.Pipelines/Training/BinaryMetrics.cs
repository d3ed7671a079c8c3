namespace Slipway.Pipelines.Training;

/// <summary>How well probabilities meet yes/no outcomes.</summary>
/// <param name="Rows">Rows measured.</param>
/// <param name="PositiveShare">Share of true labels, 0 to 1.</param>
/// <param name="MeanProbability">Mean predicted probability; equal to <paramref name="PositiveShare"/> when calibrated in the large.</param>
/// <param name="Auc">Area under the ROC curve, ties counting half; null when only one class is present.</param>
/// <param name="LogLoss">Mean negative log likelihood in nats, probabilities clipped to [1e-15, 1 - 1e-15].</param>
/// <param name="Brier">Mean squared difference of probability and outcome.</param>
/// <param name="Accuracy">Share of rows where (probability at least 0.5) is the label.</param>
public sealed record BinaryMetrics(
    int Rows, double PositiveShare, double MeanProbability, double? Auc, double LogLoss, double Brier, double Accuracy)
{
    /// <summary>Measures N probabilities against N labels.</summary>
    /// <exception cref="TrainingException">No rows, different lengths, or a probability outside [0, 1].</exception>
    public static BinaryMetrics Of(ReadOnlySpan<float> probabilities, ReadOnlySpan<bool> labels)
    {
        if (probabilities.Length != labels.Length || labels.IsEmpty)
        {
            throw new TrainingException($"There are {probabilities.Length} probabilities for {labels.Length} labels; both must be the same and more than 0.");
        }

        int n = labels.Length, positives = 0, correct = 0;
        double mean = 0, logLoss = 0, brier = 0;
        for (var i = 0; i < n; i++)
        {
            double p = probabilities[i];
            if (!(p is >= 0 and <= 1))
            {
                throw new TrainingException($"The probability of row {i} is {p}.");
            }
            positives += labels[i] ? 1 : 0;
            correct += p >= 0.5 == labels[i] ? 1 : 0;
            mean += p;
            logLoss -= Math.Log(Math.Max(labels[i] ? p : 1 - p, 1e-15));
            brier += Math.Pow((labels[i] ? 1 : 0) - p, 2);
        }
        return new(n, (double)positives / n, mean / n, RocAuc(probabilities, labels, positives), logLoss / n, brier / n, (double)correct / n);
    }

    // Mann-Whitney: (sum of the positives' average ranks - n1 (n1 + 1) / 2) / (n1 n0).
    private static double? RocAuc(ReadOnlySpan<float> probabilities, ReadOnlySpan<bool> labels, long positives)
    {
        var negatives = labels.Length - positives;
        if (positives == 0 || negatives == 0)
        {
            return null;
        }

        var scores = probabilities.ToArray();
        var isPositive = labels.ToArray();
        Array.Sort(scores, isPositive);
        double rankSum = 0;
        for (int first = 0, next; first < scores.Length; first = next)
        {
            var tied = 0;
            for (next = first; next < scores.Length && scores[next] == scores[first]; next++)
            {
                tied += isPositive[next] ? 1 : 0;
            }
            rankSum += tied * ((first + next + 1) / 2.0); // ranks count from 1
        }
        return (rankSum - (positives * (positives + 1) / 2.0)) / ((double)positives * negatives);
    }
}
