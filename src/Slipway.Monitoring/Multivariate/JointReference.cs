using System.Globalization;

namespace Slipway.Monitoring;

/// <summary>
/// The rows of a reference that a monitor compares the features of its windows with together, evenly spread over it, with the limits that the reference's own windows give. Bounded:
/// at most <see cref="MostCells"/> numbers, and not more rows than <see cref="MultivariateDrift.MostReferenceRows"/>.
/// </summary>
/// <param name="Names">The features, in their order.</param>
/// <param name="Columns">One array a feature; NaN is missing.</param>
/// <param name="Codes">Whether the numbers of a feature are codes of categories.</param>
/// <param name="Rows">Rows of the whole reference.</param>
/// <param name="Calibrations">What each method gave for windows of the reference.</param>
internal sealed record JointReference(IReadOnlyList<string> Names, IReadOnlyList<float[]> Columns, IReadOnlyList<bool> Codes, int Rows, IReadOnlyDictionary<string, Calibration> Calibrations)
{
    /// <summary>The most numbers that are kept.</summary>
    public const int MostCells = 400_000;

    /// <summary>The least rows of a reference.</summary>
    public const int LeastRows = MultivariateDrift.Windows * Drift.LeastRows;

    /// <summary>Keeps what the methods need.</summary>
    public static JointReference Freeze(IReadOnlyList<string> names, IReadOnlyList<float[]> columns, IReadOnlyList<bool> codes, IReadOnlyList<string> methods)
    {
        int rows = columns.Count == 0 ? 0 : columns[0].Length;
        int[] at = MultivariateDrift.Spread(rows, Math.Min(MultivariateDrift.MostReferenceRows, MostCells / Math.Max(1, columns.Count)));
        var kept = new JointReference(names, [.. columns.Select(c => Array.ConvertAll(at, i => c[i]))], codes, rows, new Dictionary<string, Calibration>());
        (double[][] reference, _) = kept.Sides([]);
        return reference.Length is < 2 or > MultivariateDrift.MostFeatures || at.Length < LeastRows
            ? kept
            : kept with { Calibrations = methods.Distinct(StringComparer.Ordinal).ToDictionary(m => m, m => MultivariateDrift.Calibrated(m, reference), StringComparer.Ordinal) };
    }

    /// <summary>Compares rows of a window, in the order of event time.</summary>
    /// <param name="window">One array a row, in the order of <see cref="Names"/>.</param>
    /// <param name="rows">Rows of the whole window.</param>
    /// <param name="methods">Values of <see cref="MultivariateDrift.Methods"/>.</param>
    public IEnumerable<MultivariateReport> Compare(IReadOnlyList<float[]> window, long rows, IEnumerable<string> methods)
    {
        int kept = Columns.Count == 0 ? 0 : Columns[0].Length;
        (double[][] r, double[][] w) = Sides(window);
        (string? state, string? why) = kept < LeastRows || window.Count < Drift.LeastRows ? (PointState.Insufficient, $"{Rows} rows in the reference and {rows} in the window; {LeastRows} and {Drift.LeastRows} are needed")
            : r.Length < 2 ? (PointState.Undefined, $"{r.Length} features have values in the reference; two are needed to differ jointly")
            : r.Length > MultivariateDrift.MostFeatures ? (PointState.Undefined, $"{r.Length} features are more than {MultivariateDrift.MostFeatures}; watch those that matter")
            : ((string?)null, (string?)null);
        foreach (string method in methods)
        {
            var report = new MultivariateReport { Method = method, State = state ?? PointState.Undefined, ReferenceRows = kept, CurrentRows = window.Count, Features = r.Length, Why = why };
            yield return state is not null ? report : MultivariateDrift.Judged(report, r, w, Calibrations[method]);
        }
    }

    /// <summary>Both sides as numbers, without features that the reference has no value of. Codes count as the share of their category in the reference.</summary>
    private (double[][] Reference, double[][] Window) Sides(IReadOnlyList<float[]> window)
    {
        var sides = new List<(double[] Reference, double[] Window)>();
        for (int c = 0; c < Columns.Count; c++)
        {
            int at = c;
            float[] own = [.. window.Select(row => row[at])];
            (double[] Reference, double[] Window) side;
            if (Codes[c])
            {
                string?[] known = Array.ConvertAll(Columns[c], Code);
                side = (Pca.Frequencies(known, known), Pca.Frequencies(known, Array.ConvertAll(own, Code)));
            }
            else
            {
                side = (Array.ConvertAll(Columns[c], Known), Array.ConvertAll(own, Known));
            }

            if (Array.Exists(Columns[c], float.IsFinite))
            {
                sides.Add(side);
            }
        }

        return ([.. sides.Select(s => s.Reference)], [.. sides.Select(s => s.Window)]);

        static string? Code(float value) => float.IsFinite(value) ? value.ToString("R", CultureInfo.InvariantCulture) : null;

        static double Known(float value) => float.IsFinite(value) ? value : double.NaN;
    }
}

/// <summary>Rows of a window that are compared together: those whose ids have the least hashes, so that the same rows are taken in whichever order they come.</summary>
internal sealed class JointWindow(JointReference reference, IReadOnlyList<int> positions)
{
    private readonly PriorityQueue<(long At, UInt128 Id, float[] Row), UInt128> kept = new(Comparer<UInt128>.Create(static (a, b) => b.CompareTo(a)));

    public void Add(Prediction prediction, UInt128 id)
    {
        if (kept.Count == MultivariateDrift.MostCurrentRows)
        {
            if (id > kept.Peek().Id)
            {
                return;
            }

            kept.Dequeue();
        }

        kept.Enqueue((prediction.At.UtcTicks, id, [.. positions.Select(p => prediction.Features[p])]), id);
    }

    public IEnumerable<MultivariateReport> Reports(long rows, IEnumerable<string> methods) =>
        reference.Compare([.. kept.UnorderedItems.Select(i => i.Element).OrderBy(r => r.At).ThenBy(r => r.Id).Select(r => r.Row)], rows, methods);
}

/// <summary>The metrics of features together, by method.</summary>
internal static class JointMetrics
{
    public const string ReconstructionError = "reconstruction_error";
    public const string DomainAuc = "domain_auc";
    public const string Discrepancy = "mmd";

    public static string Of(string method) => method switch { "pca" => ReconstructionError, "domain_classifier" => DomainAuc, _ => Discrepancy };

    public static bool Has(string metric) => metric is ReconstructionError or DomainAuc or Discrepancy;
}
