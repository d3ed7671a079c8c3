using System.IO.Hashing;
using System.Runtime.InteropServices;
using Slipway.Monitoring;

namespace Slipway.Serving;

/// <summary>One answer of a pair.</summary>
/// <param name="Ok">Whether the model answered.</param>
/// <param name="LatencyMicros">Time in the model and its queue.</param>
/// <param name="Outputs">Its outputs; empty if it failed.</param>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct ShadowAnswer(bool Ok, long LatencyMicros, IReadOnlyList<float> Outputs);

/// <summary>
/// Compares a shadow with the primary pair by pair: paired differences need far fewer requests than two arms, because what makes a request hard or slow cancels.
/// Memory is bounded: counts are exact, ranks and quantiles come from at most <see cref="MostPairs"/> pairs chosen by a hash of the prediction's id.
/// </summary>
internal sealed class ShadowComparison(int scoreOutput = -1, double positiveFrom = 0.5)
{
    /// <summary>Pairs kept for ranks and quantiles.</summary>
    public const int MostPairs = 100_000;

    // Classes of one answer that are told apart; further ones share the last number.
    private const int MostClasses = 1000;
    private const int MostChanges = 20;
    private static readonly double[] Shares = [0.5, 0.9, 0.95, 0.99, 1];

    private readonly Dictionary<(int Primary, int Shadow), long> _classes = [];
    private readonly List<Kept> _kept = [];
    private ulong _threshold = ulong.MaxValue;
    private long _pairs;
    private long _both;
    private long _equal;
    private long _scored;
    private long _flips;
    private long _primaryErrors;
    private long _shadowErrors;
    private long _primaryOnly;
    private long _shadowOnly;
    private bool _classChangesLost;

    /// <summary>Takes one pair.</summary>
    public void Add(string id, in ShadowAnswer primary, in ShadowAnswer shadow)
    {
        _pairs++;
        _primaryErrors += primary.Ok ? 0 : 1;
        _shadowErrors += shadow.Ok ? 0 : 1;
        _primaryOnly += !primary.Ok && shadow.Ok ? 1 : 0;
        _shadowOnly += primary.Ok && !shadow.Ok ? 1 : 0;
        double before = double.NaN, after = double.NaN;
        if (primary.Ok && shadow.Ok)
        {
            _both++;
            _equal += Equal(primary.Outputs, shadow.Outputs) ? 1 : 0;
            (before, after) = (Score(primary.Outputs), Score(shadow.Outputs));
            if (double.IsFinite(before) && double.IsFinite(after))
            {
                _scored++;
                var change = (Class(primary.Outputs, before), Class(shadow.Outputs, after));
                _flips += change.Item1 == change.Item2 ? 0 : 1;
                if (_classes.Count < MostClasses || _classes.ContainsKey(change))
                {
                    _classes[change] = _classes.GetValueOrDefault(change) + 1;
                }
                else
                {
                    _classChangesLost = true;
                }
            }
        }

        var hash = XxHash3.HashToUInt64(MemoryMarshal.AsBytes(id.AsSpan()), 1);
        if (hash <= _threshold)
        {
            _kept.Add(new(hash, before, after, primary.Ok && shadow.Ok ? shadow.LatencyMicros - primary.LatencyMicros : double.NaN));
            while (_kept.Count > MostPairs)
            {
                _threshold /= 2;
                _kept.RemoveAll(pair => pair.Hash > _threshold);
            }
        }
    }

    /// <summary>What the pairs say.</summary>
    /// <param name="variant">The variant that got copies.</param>
    /// <param name="unmatched">Copies without a primary answer.</param>
    /// <param name="dropped">Copies that were never made.</param>
    public ShadowReport Report(string variant, long unmatched = 0, long? dropped = null)
    {
        var undefined = new List<string>();
        var scores = _kept.Where(pair => double.IsFinite(pair.Before) && double.IsFinite(pair.After)).ToList();
        double[] before = [.. scores.Select(pair => pair.Before)], after = [.. scores.Select(pair => pair.After)];
        double[] sizes = [.. scores.Select(pair => Math.Abs(pair.After - pair.Before)).Order()];
        double[] slower = [.. _kept.Where(pair => double.IsFinite(pair.Slower)).Select(pair => pair.Slower)];
        var errors = Paired.McNemar(_primaryOnly, _shadowOnly);
        var latency = Paired.Wilcoxon(slower);
        if (_pairs == 0)
        {
            undefined.Add("no pair has been logged yet");
        }
        else
        {
            Note(scores.Count > 0, "no pair has a score on both sides");
            Note(errors.P is not null, $"errors: {errors.Why}");
            Note(latency.P is not null, $"latency: {latency.Why}");
            Note(scores.Count < 2 || Paired.Spearman(before, after) is not null, "rank correlation: the scores of one side are constant");
            Note(!_classChangesLost, $"more than {MostClasses} changes of class; the rarest are not listed");
        }

        return new(
            variant, _pairs, unmatched, _both == 0 ? null : (double)_equal / _both,
            [.. _classes.OrderByDescending(change => change.Value).ThenBy(change => change.Key).Take(MostChanges).Select(change => new ClassChange(change.Key.Primary, change.Key.Shadow, change.Value))],
            _scored == 0 ? null : (double)_flips / _scored,
            sizes.Length == 0 ? [] : [.. Shares.Select(q => new ShadowQuantile(q, sizes[Math.Max(0, (int)Math.Ceiling(q * sizes.Length) - 1)]))],
            Psi(before, after), Paired.Spearman(before, after), _primaryErrors, _shadowErrors, errors.P, latency.P,
            slower.Length == 0 ? null : Median(slower), dropped, _pairs == 0 ? 1 : (double)_kept.Count / _pairs,
            undefined.Count == 0 ? null : string.Join("; ", undefined));

        void Note(bool defined, string why)
        {
            if (!defined)
            {
                undefined.Add(why);
            }
        }
    }

    /// <summary>PSI over deciles of the primary's scores; null below 100 pairs, where deciles say nothing.</summary>
    private static double? Psi(double[] before, double[] after)
    {
        if (before.Length < 100)
        {
            return null;
        }

        double[] sorted = [.. before.Order()];
        double[] edges = [.. Enumerable.Range(1, 9).Select(i => sorted[(int)((long)i * sorted.Length / 10)]).Distinct()];
        return Distances.Psi(Count(before), Count(after));

        long[] Count(double[] values)
        {
            var counts = new long[edges.Length + 1];
            foreach (var value in values)
            {
                var at = Array.BinarySearch(edges, value);
                counts[at >= 0 ? at + 1 : ~at]++;
            }

            return counts;
        }
    }

    private static double Median(double[] values)
    {
        double[] sorted = [.. values.Order()];
        return (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
    }

    private double Score(IReadOnlyList<float> outputs)
    {
        var at = scoreOutput < 0 ? outputs.Count + scoreOutput : scoreOutput;
        return at >= 0 && at < outputs.Count ? outputs[at] : double.NaN;
    }

    // Several outputs are class scores, the largest wins; a single one is positive or not.
    private int Class(IReadOnlyList<float> outputs, double score)
    {
        if (outputs.Count == 1)
        {
            return score >= positiveFrom ? 1 : 0;
        }

        var best = 0;
        for (var i = 1; i < outputs.Count; i++)
        {
            best = outputs[i] > outputs[best] ? i : best;
        }

        return Math.Min(best, MostClasses);
    }

    private static bool Equal(IReadOnlyList<float> a, IReadOnlyList<float> b)
    {
        if (a.Count != b.Count)
        {
            return false;
        }

        for (var i = 0; i < a.Count; i++)
        {
            if (BitConverter.SingleToInt32Bits(a[i]) != BitConverter.SingleToInt32Bits(b[i]))
            {
                return false;
            }
        }

        return true;
    }

    [StructLayout(LayoutKind.Auto)]
    private readonly record struct Kept(ulong Hash, double Before, double After, double Slower);
}
