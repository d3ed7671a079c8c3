namespace Slipway.Serving;

/// <summary>What an experiment says. The names are persisted and may only grow.</summary>
public enum ExperimentDecision
{
    /// <summary>Not decided yet.</summary>
    Running,

    /// <summary>A variant beats the baseline on the primary metric.</summary>
    Winner,

    /// <summary>No variant differs from the baseline by the smallest effect that matters.</summary>
    NoDifference,

    /// <summary>A variant is worse: on the primary metric, or beyond a guardrail's margin.</summary>
    Harm,

    /// <summary>The planned end came without an answer.</summary>
    Horizon,
}

/// <summary>One variant's part of an experiment.</summary>
/// <param name="Variant">Its name in the route.</param>
/// <param name="ModelVersion">What it served last.</param>
/// <param name="Exposed">Units that saw it first.</param>
/// <param name="Expected">Units that should have, by the weights at the time of each exposure; null if the route's history does not say.</param>
/// <param name="Units">Of the exposed, those whose attribution window is over.</param>
/// <param name="Immature">Those whose window is not over: left out of every arm by the same cut.</param>
/// <param name="Crossovers">Units that saw another variant later; what they did there does not count.</param>
public sealed record ArmReport(string Variant, string ModelVersion, long Exposed, double? Expected, long Units, long Immature, long Crossovers);

/// <summary>A metric of one variant against the baseline.</summary>
/// <param name="Metric">Its name.</param>
/// <param name="Role"><c>primary</c>, <c>secondary</c> or <c>guardrail</c>.</param>
/// <param name="Variant">The variant that is compared.</param>
/// <param name="Baseline">What it is compared with.</param>
/// <param name="Test">The test, such as <c>mixture sequential</c>, <c>Welch t</c>, <c>pooled z</c>, <c>Fisher exact</c>.</param>
/// <param name="N">Units of the variant with an outcome.</param>
/// <param name="BaselineN">Units of the baseline with an outcome.</param>
/// <param name="Value">The variant's estimate, in the metric's unit; null if undefined.</param>
/// <param name="BaselineValue">The baseline's.</param>
/// <param name="Effect">Variant minus baseline.</param>
/// <param name="Lower">Lower end of the interval of the effect at 1 - alpha.</param>
/// <param name="Upper">Upper end.</param>
/// <param name="P">Two-sided p-value of no difference; null where the test gives none.</param>
/// <param name="Adjusted">Of a secondary metric: p after Benjamini and Hochberg.</param>
/// <param name="Verdict">Pass: better (primary, secondary) or no harm beyond the margin (guardrail); Fail: worse.</param>
/// <param name="Why">The figures in words, or why there are none.</param>
public sealed record MetricResult(
    string Metric, string Role, string Variant, string Baseline, string Test, long N, long BaselineN, double? Value, double? BaselineValue,
    double? Effect, double? Lower, double? Upper, double? P, double? Adjusted, Verdict Verdict, string Why);

/// <summary>Whether the arms have the sizes that the weights promise.</summary>
/// <param name="ChiSquare">Pearson's statistic against the exposure-weighted expected counts; null if it cannot be computed.</param>
/// <param name="P">Its probability when assignment works.</param>
/// <param name="Mismatch">p below 0.001: results are not to be trusted, and nothing is promoted.</param>
/// <param name="Why">In words.</param>
public sealed record SampleRatioReport(double? ChiSquare, double? P, bool Mismatch, string Why);

/// <summary>What CUPED did.</summary>
/// <param name="Theta">Slope of the metric on its history, over all arms.</param>
/// <param name="Correlation">Of metric and history, over all arms.</param>
/// <param name="VarianceRatio">Adjusted over raw variance: 1 - correlation squared.</param>
/// <param name="WithHistory">Units with history; the others count with its mean.</param>
/// <param name="Why">Why there is no adjustment, or null.</param>
public sealed record CupedReport(double? Theta, double? Correlation, double? VarianceRatio, long WithHistory, string? Why);

/// <summary>One look at an experiment.</summary>
/// <param name="Decision">What it says.</param>
/// <param name="Winner">The winning variant, or null.</param>
/// <param name="Why">Why, in words.</param>
/// <param name="At">When it was looked at.</param>
/// <param name="From">First exposure that counts.</param>
/// <param name="Cut">Exposures from here on are immature and left out of every arm.</param>
/// <param name="Arms">The variants, the baseline first.</param>
/// <param name="Metrics">Every metric of every variant.</param>
/// <param name="SampleRatio">Whether the arms have the sizes that they should.</param>
/// <param name="Cuped">What CUPED did; null if it was not asked for.</param>
/// <param name="Anonymous">Units that are single requests because no entity key came with them.</param>
/// <param name="LeftOut">Predictions of overrides, match rules and mirrors.</param>
/// <param name="Sampled">Share of units that was read: below 1 when there were more than one look keeps in memory; the choice is a hash of the unit.</param>
/// <param name="Memory">What the sequential tests established so far.</param>
public sealed record ExperimentReport(
    ExperimentDecision Decision, string? Winner, string Why, DateTimeOffset At, DateTimeOffset From, DateTimeOffset Cut, IReadOnlyList<ArmReport> Arms,
    IReadOnlyList<MetricResult> Metrics, SampleRatioReport SampleRatio, CupedReport? Cuped, long Anonymous, long LeftOut, double Sampled, AnalysisMemory Memory)
{
    /// <summary>Whether promotion is blocked whatever the metrics say.</summary>
    public bool Blocked => SampleRatio.Mismatch;
}

/// <summary>One variant of a bandit.</summary>
/// <param name="Variant">Its name.</param>
/// <param name="N">Matured rewards.</param>
/// <param name="Mean">Mean reward as it was seen; biased by the moving weights.</param>
/// <param name="Unbiased">Inverse-propensity mean (self-normalised): each reward over the probability of its decision.</param>
/// <param name="UnbiasedError">Its standard error.</param>
/// <param name="PBest">Posterior probability that it is the best; null before the burn-in.</param>
/// <param name="Present">Its share now.</param>
/// <param name="Next">Its share from the next revision on.</param>
public sealed record BanditArmReport(string Variant, long N, double? Mean, double? Unbiased, double? UnbiasedError, double? PBest, double Present, double Next);

/// <summary>One look at a bandit. It has no p-values: they do not hold on weights that follow the outcomes.</summary>
/// <param name="At">When it was looked at.</param>
/// <param name="Cut">Exposures from here on are immature.</param>
/// <param name="Arms">The variants.</param>
/// <param name="Moved">Whether the next weights differ from the present ones.</param>
/// <param name="Best">The variant whose P(best) reached <see cref="BanditSpec.StopAt"/>, or null.</param>
/// <param name="Why">In words.</param>
public sealed record BanditReport(DateTimeOffset At, DateTimeOffset Cut, IReadOnlyList<BanditArmReport> Arms, bool Moved, string? Best, string Why);

/// <summary>Primary and shadow answers to the same requests, pair by pair.</summary>
/// <param name="Variant">The variant that got copies.</param>
/// <param name="Pairs">Requests that both answered or failed.</param>
/// <param name="Unmatched">Copies whose primary answer is not in the log.</param>
/// <param name="ExactMatch">Share of pairs, answered by both, whose outputs are equal to the bit.</param>
/// <param name="Classes">Which classes became which; at most the 20 most frequent changes and agreements.</param>
/// <param name="ClassFlips">Share of pairs whose class differs.</param>
/// <param name="Difference">Quantiles of the absolute score difference (0.5, 0.9, 0.95, 0.99, 1).</param>
/// <param name="ScorePsi">Population stability index of the shadow's scores against the primary's, deciles.</param>
/// <param name="RankCorrelation">Spearman's correlation of the scores.</param>
/// <param name="PrimaryErrors">Failures of the primary among the pairs.</param>
/// <param name="ShadowErrors">Failures of the shadow.</param>
/// <param name="ErrorsP">McNemar's exact p: whether one fails more often on the same requests.</param>
/// <param name="LatencyP">Wilcoxon signed-rank p: whether one is slower on the same requests.</param>
/// <param name="LatencyShiftMicros">Median of shadow minus primary latency.</param>
/// <param name="Dropped">Copies that were dropped because the queue was full; null if unknown.</param>
/// <param name="Sampled">Share of pairs that ranks and flips are computed from.</param>
/// <param name="Why">What is undefined and why; null if nothing is.</param>
public sealed record ShadowReport(
    string Variant, long Pairs, long Unmatched, double? ExactMatch, IReadOnlyList<ClassChange> Classes, double? ClassFlips, IReadOnlyList<ShadowQuantile> Difference,
    double? ScorePsi, double? RankCorrelation, long PrimaryErrors, long ShadowErrors, double? ErrorsP, double? LatencyP, double? LatencyShiftMicros,
    long? Dropped, double Sampled, string? Why);

/// <summary>Pairs that the primary put into one class and the shadow into another (or the same).</summary>
public sealed record ClassChange(int Primary, int Shadow, long Pairs);

/// <summary>A quantile of absolute score differences.</summary>
public sealed record ShadowQuantile(double Q, double Value);
