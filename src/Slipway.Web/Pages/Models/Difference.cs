using Slipway.Data;
using Slipway.Registry;

namespace Slipway.Web.Pages;

/// <summary>What one version has and the other has not.</summary>
/// <param name="A">The first version.</param>
/// <param name="B">The second version.</param>
/// <param name="Metrics">Metrics of the source runs; null where one lacks it.</param>
/// <param name="Params">Parameters that differ.</param>
/// <param name="EqualParams">How many do not.</param>
/// <param name="Signature">Tensors and features that differ, in words.</param>
/// <param name="Files">Files that differ.</param>
/// <param name="Data">Datasets that both read in other versions.</param>
public sealed record Difference(
    int A, int B, IReadOnlyList<(string Key, double? A, double? B)> Metrics, IReadOnlyList<(string Key, string? A, string? B)> Params, int EqualParams,
    IReadOnlyList<string> Signature, IReadOnlyList<(string Path, string Change)> Files, IReadOnlyList<(string Dataset, DatasetDiff Diff)> Data)
{
    private const int MostMetrics = 200;

    /// <summary>Compares two versions with what their runs logged: a pure function.</summary>
    public static Difference Between(ModelVersion a, ModelVersion b, Run? first, Run? second, IReadOnlyList<(string Dataset, DatasetDiff Diff)> data)
    {
        var metrics = (first?.Metrics ?? []).Concat(second?.Metrics ?? []).Select(m => m.Key).Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal)
            .Select(k => (k, first?.Metric(k), second?.Metric(k))).Take(MostMetrics).ToList();
        var (one, two) = (ParamsOf(first), ParamsOf(second));
        var keys = one.Keys.Union(two.Keys, StringComparer.Ordinal).Order(StringComparer.Ordinal).ToList();
        var differing = keys.Where(k => one.GetValueOrDefault(k) != two.GetValueOrDefault(k)).Select(k => (k, one.GetValueOrDefault(k), two.GetValueOrDefault(k))).ToList();
        return new Difference(a.Version, b.Version, metrics, differing, keys.Count - differing.Count, [.. Signatures(a.Signature, b.Signature)], [.. FilesOf(a, b)], data);
    }

    private static Dictionary<string, string?> ParamsOf(Run? run) => (run?.Params ?? []).ToDictionary(p => p.Key, p => (string?)p.Value, StringComparer.Ordinal);

    private static IEnumerable<string> Signatures(ModelSignature? a, ModelSignature? b)
    {
        if (a is null || b is null)
        {
            if (a is not null || b is not null)
                yield return $"only version {(a is null ? "two" : "one")} has a signature";
            yield break;
        }

        foreach (var (word, before, after) in new[] { ("input", a.Inputs, b.Inputs), ("output", a.Outputs, b.Outputs) })
        {
            foreach (var tensor in before)
            {
                var now = after.FirstOrDefault(t => t.Name == tensor.Name);
                if (now is null)
                    yield return $"{word} {tensor.Name} is gone";
                else if (now.Datatype != tensor.Datatype || !now.Shape.SequenceEqual(tensor.Shape))
                    yield return $"{word} {tensor.Name}: {Form(tensor)} became {Form(now)}";
            }

            foreach (var tensor in after.Where(t => before.All(o => o.Name != t.Name)))
                yield return $"{word} {tensor.Name} is new: {Form(tensor)}";
        }

        var (had, has) = (a.FeatureNames ?? [], b.FeatureNames ?? []);
        foreach (var gone in had.Except(has, StringComparer.Ordinal))
            yield return $"feature {gone} is gone";
        foreach (var fresh in has.Except(had, StringComparer.Ordinal))
            yield return $"feature {fresh} is new";
        if (had.Count == has.Count && !had.SequenceEqual(has, StringComparer.Ordinal) && !had.Except(has, StringComparer.Ordinal).Any())
            yield return "the features stand in another order";
    }

    private static string Form(TensorSpec tensor) => $"{tensor.Datatype} [{string.Join(", ", tensor.Shape.Select(d => d < 0 ? "any" : d.ToString(System.Globalization.CultureInfo.InvariantCulture)))}]";

    private static IEnumerable<(string, string)> FilesOf(ModelVersion a, ModelVersion b)
    {
        foreach (var file in a.Files)
        {
            var now = b.Files.FirstOrDefault(f => f.Path == file.Path);
            if (now is null)
                yield return (file.Path, "removed");
            else if (now.Hash != file.Hash)
                yield return (file.Path, $"{Say.Size(file.Size)} became {Say.Size(now.Size)}");
        }

        foreach (var file in b.Files.Where(f => a.Files.All(o => o.Path != f.Path)))
            yield return (file.Path, "added");
    }
}
