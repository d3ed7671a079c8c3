namespace Slipway.Serving;

/// <summary>Where a metric's numbers come from. The names are persisted and may only grow.</summary>
public enum MetricSource
{
    /// <summary>The label of a prediction.</summary>
    Label,

    /// <summary>1 for a prediction whose score reaches <see cref="MetricSpec.PositiveFrom"/>, else 0.</summary>
    PositiveRate,

    /// <summary>The prediction's score.</summary>
    Score,

    /// <summary>1 for a request that the model failed, else 0.</summary>
    ErrorRate,

    /// <summary>Time in the model and its queue, microseconds.</summary>
    Latency,

    /// <summary>Log loss of a labelled score, nats.</summary>
    LogLoss,

    /// <summary>Squared difference of a labelled score and its label (Brier score, squared error).</summary>
    SquaredError,

    /// <summary>1 for a labelled score on the right side of <see cref="MetricSpec.PositiveFrom"/>, else 0.</summary>
    Accuracy,

    /// <summary>1 for an answer with an output that is not a finite number, else 0.</summary>
    NanRate,
}

/// <summary>What is estimated of a metric's numbers. The names are persisted and may only grow.</summary>
public enum MetricKind
{
    /// <summary>Share of units with an outcome of 1; an entity counts as 1 if any of its outcomes does.</summary>
    Proportion,

    /// <summary>Mean over units; an entity counts with the mean of its outcomes.</summary>
    Mean,

    /// <summary>Sum of outcomes over number of outcomes: every request weighs the same, the entities carry the variance (delta method).</summary>
    Ratio,

    /// <summary>A quantile of all outcomes, with a bootstrap over entities.</summary>
    Quantile,

    /// <summary>Area under the ROC curve of labelled scores, with the variance after DeLong; labels of one entity are taken together.</summary>
    Auc,
}

/// <summary>Which way a metric is better.</summary>
public enum MetricDirection
{
    /// <summary>More is better.</summary>
    Up,

    /// <summary>Less is better.</summary>
    Down,
}

/// <summary>One metric of an experiment or analysis.</summary>
public sealed record MetricSpec
{
    /// <summary>Names it in reports; unique within an experiment.</summary>
    public required string Name { get; init; }

    /// <summary>Where its numbers come from.</summary>
    public MetricSource Source { get; init; }

    /// <summary>What is estimated of them.</summary>
    public MetricKind Kind { get; init; }

    /// <summary>Which way is better.</summary>
    public MetricDirection Direction { get; init; }

    /// <summary>Harm in the metric's unit that is accepted of a guardrail (non-inferiority margin).</summary>
    public double Margin { get; init; }

    /// <summary>The quantile of <see cref="MetricKind.Quantile"/>, in (0, 1).</summary>
    public double Quantile { get; init; } = 0.95;

    /// <summary>Which number of a prediction's outputs is the score; negative counts from the end, so -1 is the last one.</summary>
    public int ScoreOutput { get; init; } = -1;

    /// <summary>Scores and labels from this value on are positive.</summary>
    public double PositiveFrom { get; init; } = 0.5;

    /// <summary>
    /// Whether a unit whose attribution window is over counts as zero without a label: for outcomes that are only reported when they happen, such as
    /// purchases. Otherwise unlabelled predictions are left out.
    /// </summary>
    public bool MissingIsZero { get; init; }

    internal bool NeedsLabels => Source is MetricSource.Label or MetricSource.LogLoss or MetricSource.SquaredError or MetricSource.Accuracy || Kind == MetricKind.Auc;

    internal IEnumerable<string> Faults()
    {
        if (string.IsNullOrWhiteSpace(Name) || Name.Length > 100)
        {
            yield return $"a metric needs a name of at most 100 characters, not '{Name}'";
        }

        if (!(Margin >= 0 && double.IsFinite(Margin)))
        {
            yield return $"{Name}: the margin must be a number that is not negative, it is {Margin}";
        }

        if (Kind == MetricKind.Quantile && Quantile is not (> 0 and < 1))
        {
            yield return $"{Name}: a quantile lies between 0 and 1, it is {Quantile}";
        }

        if (Kind == MetricKind.Auc && Source != MetricSource.Score)
        {
            yield return $"{Name}: an AUC is that of labelled scores (source: score), {Source} has none";
        }

        if (Kind == MetricKind.Proportion && Source is MetricSource.Score or MetricSource.Latency or MetricSource.LogLoss or MetricSource.SquaredError)
        {
            yield return $"{Name}: {Source} is not 0 or 1, so it has no proportion (mean, ratio, quantile)";
        }

        if (MissingIsZero && Source != MetricSource.Label)
        {
            yield return $"{Name}: only a label can count as zero when it is missing, {Source} cannot";
        }

        if (!double.IsFinite(PositiveFrom))
        {
            yield return $"{Name}: positiveFrom must be a number, it is {PositiveFrom}";
        }
    }
}

/// <summary>What is assigned to a variant and counts once. The names are persisted and may only grow.</summary>
public enum ExperimentUnit
{
    /// <summary>The entity key: outcomes of one entity belong together. A prediction without a key is a unit of its own, which the report counts.</summary>
    Entity,

    /// <summary>Every request on its own.</summary>
    Request,
}

/// <summary>When an experiment may decide. The names are persisted and may only grow.</summary>
public enum StopRule
{
    /// <summary>At every look: always-valid p-values and intervals.</summary>
    Sequential,

    /// <summary>Once, when the horizon or the planned number of units is reached; earlier looks show the always-valid figures and decide nothing.</summary>
    Fixed,
}

/// <summary>How sure an experiment must be, and when it ends.</summary>
public sealed record ExperimentDesign
{
    /// <summary>Chance of a false winner.</summary>
    public double Alpha { get; init; } = 0.05;

    /// <summary>Chance of finding an effect as large as <see cref="Effect"/>.</summary>
    public double Power { get; init; } = 0.8;

    /// <summary>The smallest effect that matters, in the primary metric's unit. It is also the mixture's width of the sequential test.</summary>
    public double Effect { get; init; } = 0.01;

    /// <summary>When it may decide.</summary>
    public StopRule Stop { get; init; }

    /// <summary>Longest time from the first exposure; null: until decided.</summary>
    public TimeSpan? Horizon { get; init; }

    /// <summary>Units of each arm at which it ends; null: by the horizon alone.</summary>
    public long? UnitsPerArm { get; init; }

    /// <summary>Units below which nothing is said about an arm.</summary>
    public long MinUnitsPerArm { get; init; } = 100;
}

/// <summary>What an A/B test asks, and how it is answered.</summary>
public sealed record ExperimentSpec
{
    /// <summary>The metric that decides.</summary>
    public required MetricSpec Primary { get; init; }

    /// <summary>Further metrics: reported with p-values adjusted by Benjamini and Hochberg, they decide nothing.</summary>
    public IReadOnlyList<MetricSpec> Secondary { get; init; } = [];

    /// <summary>Metrics whose harm beyond their margin ends the experiment. They are not corrected for their number: a missed harm is worse.</summary>
    public IReadOnlyList<MetricSpec> Guardrails { get; init; } = [];

    /// <summary>What counts once.</summary>
    public ExperimentUnit Unit { get; init; }

    /// <summary>How sure, and until when.</summary>
    public ExperimentDesign Design { get; init; } = new();

    /// <summary>Whether the primary metric is adjusted by the same entity's metric before the experiment (CUPED).</summary>
    public bool Cuped { get; init; }

    /// <summary>How far before the experiment history is read for CUPED.</summary>
    public TimeSpan History { get; init; } = TimeSpan.FromDays(14);

    /// <summary>
    /// How long after a unit's exposure its outcomes count. A unit whose window is not over is left out of every arm: the same calendar cut, or the
    /// younger arm would look worse. Zero: whatever is known counts.
    /// </summary>
    public TimeSpan AttributionWindow { get; init; }

    /// <summary>Time between two looks.</summary>
    public TimeSpan Interval { get; init; } = TimeSpan.FromMinutes(1);

    /// <summary>Every fault at once; empty if it can run.</summary>
    public IReadOnlyList<string> Faults()
    {
        var faults = new List<string>();
        IReadOnlyList<MetricSpec> all = [Primary, .. Secondary, .. Guardrails];
        faults.AddRange(all.SelectMany(metric => metric.Faults()));
        faults.AddRange(all.GroupBy(metric => metric.Name, StringComparer.Ordinal).Where(same => same.Count() > 1).Select(same => $"two metrics are named '{same.Key}'"));
        Require(all.Count <= 50, $"an experiment has at most 50 metrics, this one has {all.Count}");
        Require(Design.Alpha is > 0 and < 0.5, $"alpha must lie between 0 and 0.5, it is {Design.Alpha}");
        Require(Design.Power is > 0 and < 1, $"the power must lie between 0 and 1, it is {Design.Power}");
        Require(Design.Effect > 0 && double.IsFinite(Design.Effect), $"the smallest effect that matters must be positive, it is {Design.Effect}");
        Require(Design.Horizon is not { } horizon || horizon > TimeSpan.Zero, $"the horizon must be positive, it is {Design.Horizon}");
        Require(Design.UnitsPerArm is not { } units || units > 1, $"units per arm must be at least 2, they are {Design.UnitsPerArm}");
        Require(Design.MinUnitsPerArm > 1, $"at least 2 units of each arm are needed, {Design.MinUnitsPerArm} are asked for");
        Require(Design.Stop == StopRule.Sequential || Design.Horizon is not null || Design.UnitsPerArm is not null, "a fixed design needs a horizon or units per arm: it decides once, at its end");
        Require(AttributionWindow >= TimeSpan.Zero && History > TimeSpan.Zero && Interval > TimeSpan.Zero,
            $"the attribution window ({AttributionWindow}) cannot be negative, history ({History}) and interval ({Interval}) must be positive");
        Require(!Cuped || Unit == ExperimentUnit.Entity, "CUPED needs entities: a request has no history");
        Require(!Cuped || Primary.Kind is MetricKind.Mean or MetricKind.Proportion, $"CUPED adjusts a mean or a proportion, {Primary.Name} is a {Primary.Kind}");
        faults.AddRange(all.Where(metric => metric.MissingIsZero && AttributionWindow == TimeSpan.Zero)
            .Select(metric => $"{metric.Name}: without an attribution window nothing says when a missing label becomes a zero"));
        return faults;

        void Require(bool holds, string fault)
        {
            if (!holds)
            {
                faults.Add(fault);
            }
        }
    }
}

/// <summary>How a bandit moves traffic to the better variants.</summary>
public sealed record BanditSpec
{
    /// <summary>The reward; a proportion gives Beta posteriors, a mean Normal-inverse-gamma ones.</summary>
    public required MetricSpec Reward { get; init; }

    /// <summary>Least share of every variant.</summary>
    public double Floor { get; init; } = 0.01;

    /// <summary>Most that a share may change at once.</summary>
    public double StepLimit { get; init; } = 0.2;

    /// <summary>Matured rewards that every variant needs before weights move.</summary>
    public long BurnIn { get; init; } = 100;

    /// <summary>Time after which a reward counts half; null: rewards do not fade.</summary>
    public TimeSpan? HalfLife { get; init; }

    /// <summary>Time between two changes of weights.</summary>
    public TimeSpan Interval { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>How long after an exposure its reward is waited for; younger exposures are left out of every variant, or those that fail fast would win.</summary>
    public TimeSpan RewardWindow { get; init; }

    /// <summary>P(best) of a variant at which the bandit may stop; null: it runs until somebody ends it.</summary>
    public double? StopAt { get; init; }

    /// <summary>Every fault at once; empty if it can run.</summary>
    public IReadOnlyList<string> Faults()
    {
        var faults = new List<string>(Reward.Faults());
        Require(Reward.Kind is MetricKind.Proportion or MetricKind.Mean, $"a reward is a proportion or a mean, {Reward.Name} is a {Reward.Kind}");
        Require(Floor is >= 0 and <= 0.2, $"the floor must lie between 0 and 0.2, it is {Floor}");
        Require(StepLimit is > 0 and <= 1, $"the step limit must lie between 0 and 1, it is {StepLimit}");
        Require(BurnIn >= 1, $"a burn-in needs at least one reward of each variant, it asks for {BurnIn}");
        Require(Interval > TimeSpan.Zero && RewardWindow >= TimeSpan.Zero, $"the interval ({Interval}) must be positive and the reward window ({RewardWindow}) not negative");
        Require(HalfLife is not { } half || half > TimeSpan.Zero, $"the half-life must be positive, it is {HalfLife}");
        Require(StopAt is not { } stop || stop is > 0.5 and < 1, $"the bandit stops at a P(best) between 0.5 and 1, not at {StopAt}");
        Require(!Reward.MissingIsZero || RewardWindow > TimeSpan.Zero, $"{Reward.Name}: without a reward window nothing says when a missing label becomes a zero");
        return faults;

        void Require(bool holds, string fault)
        {
            if (!holds)
            {
                faults.Add(fault);
            }
        }
    }
}
