using Slipway.Registry;

namespace Slipway.Serving;

/// <summary>Whether a candidate takes every request that stable takes: what one version accepts and another refuses, or reads as another column, cannot be compared. Pure.</summary>
internal static class InputFit
{
    private const int MostFaults = 5;

    /// <summary>What of stable's requests the candidate would refuse or misread, each with what comes and what is expected; empty if nothing.</summary>
    public static IReadOnlyList<string> Faults(ModelSignature stable, ModelSignature candidate)
    {
        var faults = new List<string>();
        var columns = Columns(stable, candidate);
        faults.AddRange(columns);
        foreach (var (at, sent) in stable.Inputs.Index())
        {
            if (candidate.Inputs.FirstOrDefault(input => input.Name == sent.Name) is not { } taken)
            {
                faults.Add($"input '{sent.Name}' ({Text(sent)}) comes, expected is {string.Join(", ", candidate.Inputs.Select(input => $"'{input.Name}'"))}");
            }
            else if (sent.Datatype != taken.Datatype)
            {
                faults.Add($"input '{sent.Name}' comes as {sent.Datatype}, expected is {taken.Datatype}");
            }
            else if (!(at == 0 && columns.Count > 0) && !Takes(taken.Shape, sent.Shape))
            {
                faults.Add($"input '{sent.Name}' comes as [{string.Join(",", sent.Shape)}], expected is [{string.Join(",", taken.Shape)}]");
            }
        }

        faults.AddRange(candidate.Inputs.Where(input => stable.Inputs.All(sent => sent.Name != input.Name)).Select(input => $"input '{input.Name}' ({Text(input)}) is expected and does not come"));
        return faults.Count <= MostFaults ? faults : [.. faults.Take(MostFaults), $"and {faults.Count - MostFaults} more"];
    }

    // The same tensor with other columns would be accepted and read wrongly, which no error rate shows.
    private static List<string> Columns(ModelSignature stable, ModelSignature candidate)
    {
        if (stable.FeatureNames is not { } sent || candidate.FeatureNames is not { } taken || sent.SequenceEqual(taken, StringComparer.Ordinal))
        {
            return [];
        }

        return sent.Count == taken.Count
            ? [.. sent.Zip(taken).Index().Where(pair => pair.Item.First != pair.Item.Second).Select(pair => $"column {pair.Index + 1} comes as '{pair.Item.First}', expected is '{pair.Item.Second}'")]
            : [$"{sent.Count} columns come, expected are {taken.Count}",
                .. sent.Except(taken, StringComparer.Ordinal).Select(column => $"column '{column}' comes and is not expected"),
                .. taken.Except(sent, StringComparer.Ordinal).Select(column => $"column '{column}' is expected and does not come")];
    }

    // An open dimension takes any length, a fixed one only its own.
    private static bool Takes(IReadOnlyList<long> taken, IReadOnlyList<long> sent) =>
        taken.Count == sent.Count && taken.Zip(sent).All(pair => pair.First < 0 || pair.First == pair.Second);

    private static string Text(TensorSpec tensor) => $"{tensor.Datatype} [{string.Join(",", tensor.Shape)}]";
}
