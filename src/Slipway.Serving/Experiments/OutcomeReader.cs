using System.IO.Hashing;
using System.Runtime.InteropServices;
using Slipway.Foundation;
using Slipway.Monitoring;

namespace Slipway.Serving;

/// <summary>The weights of one revision of the route.</summary>
/// <param name="Revision">Its number.</param>
/// <param name="From">Since when it was in force, Unix microseconds.</param>
/// <param name="Shares">Share of each arm, 0 to 1.</param>
internal sealed record RevisionWeights(long Revision, long From, IReadOnlyList<double> Shares);

/// <summary>One mature unit.</summary>
/// <param name="Arm">Which arm it saw first.</param>
/// <param name="At">When, Unix microseconds.</param>
/// <param name="Weights">Index of the weights that were in force then; -1 if the history does not say.</param>
/// <param name="Hash">Of its key.</param>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct MatureUnit(int Arm, long At, int Weights, ulong Hash);

/// <summary>
/// Turns logged predictions into units: the first exposure decides the arm, what a unit does under another variant does not count, and units whose
/// attribution window is not over are left out of every arm. Memory is bounded: of more than <see cref="MostUnits"/> entities those with small hashes are kept,
/// whatever their arm, so that the sample is fair.
/// </summary>
internal sealed class OutcomeReader(
    Labels labels, string endpoint, IReadOnlyList<ExperimentArm> arms, IReadOnlyList<MetricSpec> metrics, ExperimentUnit unit, TimeSpan window,
    IReadOnlyList<RevisionWeights> weights)
{
    /// <summary>Entities in memory.</summary>
    public const int MostUnits = 500_000;

    // Values of one metric and arm whose figure needs all of them.
    private const int MostValues = 200_000;
    private const byte NoArm = byte.MaxValue;

    private readonly Dictionary<ulong, int> _index = [];
    private readonly List<Entity> _entities = [];
    private readonly ArmData[] _arms = [.. arms.Select(arm => new ArmData(arm, metrics.Count))];
    private readonly uint[,] _valueThresholds = new uint[arms.Count, Math.Max(1, metrics.Count)];
    private readonly long[] _exposures = new long[weights.Count];
    private readonly bool _labelled = metrics.Any(metric => metric.NeedsLabels);
    private ulong _threshold = ulong.MaxValue;
    private long _unknownWeights;
    private long _cut;

    /// <summary>The arms after <see cref="ReadAsync"/>.</summary>
    public IReadOnlyList<ArmData> Arms => _arms;

    /// <summary>Units that are requests because no key came with them.</summary>
    public long Anonymous { get; private set; }

    /// <summary>Predictions whose variant was not decided by a slot.</summary>
    public long LeftOut { get; private set; }

    /// <summary>Share of entities that is in memory.</summary>
    public double Sampled => _threshold == ulong.MaxValue ? 1 : _threshold / (double)ulong.MaxValue;

    /// <summary>Units that each arm should have; null if the history does not cover every exposure.</summary>
    public IReadOnlyList<double>? Expected =>
        _unknownWeights > 0 || weights.Count == 0 ? null : SampleRatio.Expected(arms.Count, weights.Select((span, i) => new WeightSpan(span.Shares, _exposures[i])));

    /// <summary>Reads everything from the first exposure to now; each mature unit is also given to <paramref name="each"/>.</summary>
    /// <param name="from">First event time.</param>
    /// <param name="now">Event time from which nothing is read.</param>
    /// <param name="each">Called with a unit and its outcomes by metric.</param>
    /// <param name="ct">Cancels.</param>
    public async Task ReadAsync(DateTimeOffset from, DateTimeOffset now, Action<MatureUnit, ReadOnlySpan<UnitOutcome>>? each, CancellationToken ct)
    {
        _cut = Time.ToMicros(now - window);
        for (var i = 0; i < arms.Count; i++)
        {
            for (var m = 0; m < metrics.Count; m++)
            {
                _valueThresholds[i, m] = uint.MaxValue;
            }
        }

        // First exposures need no labels, and outcomes need all first exposures.
        if (unit == ExperimentUnit.Entity)
        {
            await foreach (var outcome in labels.OutcomesAsync(endpoint, from, now, labels: false, ct))
            {
                if (Counts(outcome.Prediction))
                {
                    Expose(outcome.Prediction);
                }
            }
        }

        var outcomes = new UnitOutcome[metrics.Count];
        var cells = unit == ExperimentUnit.Entity ? new UnitOutcome[_entities.Count * metrics.Count] : [];
        await foreach (var outcome in labels.OutcomesAsync(endpoint, from, now, _labelled, ct))
        {
            if (!Counts(outcome.Prediction))
            {
                LeftOut++;
            }
            else if (unit == ExperimentUnit.Entity)
            {
                Collect(outcome, cells);
            }
            else
            {
                Array.Clear(outcomes);
                Single(outcome, outcomes, each);
            }
        }

        for (var i = 0; i < _entities.Count; i++)
        {
            Finish(_entities[i], cells.AsSpan(i * metrics.Count, metrics.Count), each);
        }
    }

    /// <summary>The same metric of the read entities before the experiment, by hash; only those that are in memory.</summary>
    public async Task<IReadOnlyDictionary<ulong, double>> HistoryAsync(MetricSpec metric, DateTimeOffset from, DateTimeOffset to, CancellationToken ct)
    {
        var history = new Dictionary<ulong, UnitOutcome>();
        await foreach (var outcome in labels.OutcomesAsync(endpoint, from, to, metric.NeedsLabels, ct))
        {
            if (outcome.Prediction.EntityKey is { } key && Hash(key) is var hash && _index.ContainsKey(hash)
                && MetricValue.Of(metric, outcome.Prediction, outcome.Label) is { } value)
            {
                CollectionsMarshal.GetValueRefOrAddDefault(history, hash, out _).Add(value);
            }
        }

        return history.ToDictionary(entry => entry.Key, entry => entry.Value.Value(metric.Kind));
    }

    // Match rules, overrides, previews and copies say nothing about the slots, and an answer of stable in place of another variant is not stable's own.
    private static bool Counts(Prediction prediction) => prediction.Reason is DecisionReason.Slot or DecisionReason.None;

    private void Expose(Prediction prediction)
    {
        var hash = Hash(prediction.EntityKey ?? prediction.Id);
        if (hash > _threshold)
        {
            return;
        }

        var (arm, at) = (ArmOf(prediction), Time.ToMicros(prediction.At));
        ref var index = ref CollectionsMarshal.GetValueRefOrAddDefault(_index, hash, out var known);
        if (!known)
        {
            index = _entities.Count;
            _entities.Add(new(hash, at, prediction.Revision, arm, false, prediction.EntityKey is null));
            if (_entities.Count > MostUnits)
            {
                Halve();
            }

            return;
        }

        var entity = _entities[index];
        var crossed = entity.Crossed || entity.Arm != arm;
        _entities[index] = at < entity.At ? entity with { At = at, Revision = prediction.Revision, Arm = arm, Crossed = crossed } : entity with { Crossed = crossed };
    }

    private void Halve()
    {
        _threshold /= 2;
        _entities.RemoveAll(entity => entity.Hash > _threshold);
        _index.Clear();
        for (var i = 0; i < _entities.Count; i++)
        {
            _index[_entities[i].Hash] = i;
        }
    }

    private void Collect(Outcome outcome, UnitOutcome[] cells)
    {
        if (!_index.TryGetValue(Hash(outcome.Prediction.EntityKey ?? outcome.Prediction.Id), out var index))
        {
            return;
        }

        var entity = _entities[index];
        var at = Time.ToMicros(outcome.Prediction.At);
        if (entity.Arm == NoArm || ArmOf(outcome.Prediction) != entity.Arm || Immature(entity.At) || (window > TimeSpan.Zero && at > entity.At + Micros(window)))
        {
            return;
        }

        Take(outcome, entity.At, entity.Arm, entity.Hash, cells.AsSpan(index * metrics.Count, metrics.Count));
    }

    private void Single(Outcome outcome, UnitOutcome[] outcomes, Action<MatureUnit, ReadOnlySpan<UnitOutcome>>? each)
    {
        var arm = ArmOf(outcome.Prediction);
        if (arm != NoArm)
        {
            var (at, hash) = (Time.ToMicros(outcome.Prediction.At), Hash(outcome.Prediction.Id));
            if (!Immature(at))
            {
                Take(outcome, at, arm, hash, outcomes);
            }

            Finish(new(hash, at, outcome.Prediction.Revision, arm, false, false), outcomes, each);
        }
    }

    private void Take(Outcome outcome, long exposedAt, int arm, ulong hash, Span<UnitOutcome> into)
    {
        // A label that became known after the window would be known of old units only.
        var label = window > TimeSpan.Zero && outcome.LabelAt is { } labelAt && Time.ToMicros(labelAt) > exposedAt + Micros(window) ? null : outcome.Label;
        for (var m = 0; m < metrics.Count; m++)
        {
            if (MetricValue.Of(metrics[m], outcome.Prediction, label) is { } value)
            {
                into[m].Add(value);
                if (metrics[m].Kind is MetricKind.Quantile or MetricKind.Auc)
                {
                    Keep(arm, m, hash, value, label >= metrics[m].PositiveFrom);
                }
            }
        }
    }

    // The unit's number is the upper half of its hash, so that thinning keeps or drops whole units.
    private void Keep(int arm, int metric, ulong hash, double value, bool positive)
    {
        var data = _arms[arm].Metrics[metric];
        var unitNumber = (uint)(hash >> 32);
        if (unitNumber > _valueThresholds[arm, metric])
        {
            return;
        }

        if (metrics[metric].Kind == MetricKind.Auc)
        {
            data.Scores.Add((unchecked((int)unitNumber), value, positive));
        }
        else
        {
            data.Values.Add((unchecked((int)unitNumber), value));
        }

        while (data.Values.Count > MostValues || data.Scores.Count > MostValues)
        {
            var threshold = _valueThresholds[arm, metric] /= 2;
            data.Values.RemoveAll(kept => (uint)kept.Unit > threshold);
            data.Scores.RemoveAll(kept => (uint)kept.Unit > threshold);
        }
    }

    private void Finish(Entity entity, ReadOnlySpan<UnitOutcome> outcomes, Action<MatureUnit, ReadOnlySpan<UnitOutcome>>? each)
    {
        if (entity.Arm == NoArm)
        {
            return;
        }

        var arm = _arms[entity.Arm];
        arm.Exposed++;
        arm.Crossovers += entity.Crossed ? 1 : 0;
        Anonymous += entity.Anonymous ? 1 : 0;
        var span = WeightsAt(entity);
        if (span < 0)
        {
            _unknownWeights++;
        }
        else
        {
            _exposures[span]++;
        }

        if (Immature(entity.At))
        {
            arm.Immature++;
            return;
        }

        arm.Mature++;
        for (var m = 0; m < metrics.Count; m++)
        {
            var outcome = outcomes[m];
            if (outcome.Count == 0)
            {
                if (!metrics[m].MissingIsZero)
                {
                    continue;
                }

                outcome.Add(0);
            }

            if (metrics[m].Kind == MetricKind.Ratio)
            {
                arm.Metrics[m].Sums.Add(outcome.Sum, outcome.Count);
            }
            else
            {
                arm.Metrics[m].Sums.Add(outcome.Value(metrics[m].Kind), 1);
            }
        }

        each?.Invoke(new(entity.Arm, entity.At, span, entity.Hash), outcomes);
    }

    // Records of before revisions were logged are placed by their time.
    private int WeightsAt(in Entity entity)
    {
        var found = -1;
        for (var i = 0; i < weights.Count; i++)
        {
            if (entity.Revision > 0 ? weights[i].Revision == entity.Revision : weights[i].From <= entity.At)
            {
                found = i;
            }
        }

        return found;
    }

    private bool Immature(long at) => window > TimeSpan.Zero && at >= _cut;

    private byte ArmOf(Prediction prediction)
    {
        for (var i = 0; i < arms.Count; i++)
        {
            if (arms[i].Variant == prediction.Variant)
            {
                return (byte)i;
            }
        }

        return NoArm;
    }

    private static ulong Hash(string key) => XxHash3.HashToUInt64(MemoryMarshal.AsBytes(key.AsSpan()), 2);

    private static long Micros(TimeSpan span) => span.Ticks / TimeSpan.TicksPerMicrosecond;

    [StructLayout(LayoutKind.Auto)]
    private readonly record struct Entity(ulong Hash, long At, long Revision, byte Arm, bool Crossed, bool Anonymous);
}
