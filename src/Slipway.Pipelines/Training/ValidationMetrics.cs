using Slipway.Monitoring;

namespace Slipway.Pipelines.Training;

/// <summary>
/// How well probabilities meet yes/no outcomes, by the same arithmetic that monitors use on live predictions, so that a run's
/// AUC and a window's AUC can be compared.
/// </summary>
/// <param name="Rows">Rows measured.</param>
/// <param name="PositiveShare">Share of true labels, 0 to 1.</param>
/// <param name="MeanProbability">Mean predicted probability; equal to <paramref name="PositiveShare"/> when calibrated in the large.</param>
/// <param name="Auc">Area under the ROC curve, ties counting half; null when only one class is present.</param>
/// <param name="LogLoss">Mean negative log likelihood in nats, probabilities clipped to [1e-15, 1 - 1e-15].</param>
/// <param name="Brier">Mean squared difference of probability and outcome.</param>
/// <param name="Accuracy">Share of rows where (probability at least 0.5) is the label.</param>
public sealed record ValidationMetrics(
    int Rows, double PositiveShare, double MeanProbability, double? Auc, double LogLoss, double Brier, double Accuracy)
{
    /// <summary>Measures N probabilities against N labels.</summary>
    /// <exception cref="TrainingException">No rows, different lengths, or a probability outside [0, 1].</exception>
    public static ValidationMetrics Of(ReadOnlySpan<float> probabilities, ReadOnlySpan<bool> labels)
    {
        if (probabilities.Length != labels.Length || labels.IsEmpty)
        {
            throw new TrainingException($"There are {probabilities.Length} probabilities for {labels.Length} labels; both must be the same and more than 0.");
        }

        var scores = new double[probabilities.Length];
        var mean = 0.0;
        for (var i = 0; i < scores.Length; i++)
        {
            scores[i] = probabilities[i];
            if (!(scores[i] is >= 0 and <= 1))
            {
                throw new TrainingException($"The probability of row {i} is {probabilities[i]}.");
            }

            mean += scores[i];
        }

        var m = BinaryMetrics.Of(scores, labels);
        return new(labels.Length, (double)m.Positives / labels.Length, mean / labels.Length, m.RocAuc.Value, m.LogLoss.Value!.Value, m.Brier.Value!.Value, m.Accuracy.Value!.Value);
    }
}
