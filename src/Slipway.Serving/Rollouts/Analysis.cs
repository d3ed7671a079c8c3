using Slipway.Monitoring;

namespace Slipway.Serving;

/// <summary>What an analysis says. Only <see cref="Pass"/> lets a rollout go on.</summary>
public enum Verdict
{
    /// <summary>Enough data, and no harm beyond the margin.</summary>
    Pass,

    /// <summary>Harm beyond the margin is proven, or a hard limit is passed.</summary>
    Fail,

    /// <summary>Enough data, but harm beyond the margin is neither proven nor excluded.</summary>
    Inconclusive,

    /// <summary>Fewer requests or labels than the analysis asks for.</summary>
    NoData,

    /// <summary>A metric's provider does not answer.</summary>
    Error,
}

/// <summary>What an analysis compares, and how much worse the candidate may be.</summary>
public sealed record AnalysisSpec
{
    /// <summary>Requests each variant needs before an error rate or latency is judged.</summary>
    public long MinRequests { get; init; } = 50;

    /// <summary>Error rate the candidate may have above stable's, as a share (0.02 = two points).</summary>
    public double MaxErrorRateIncrease { get; init; } = 0.02;

    /// <summary>Candidate's p95 latency over stable's p95 that is still accepted.</summary>
    public double MaxLatencyRatio { get; init; } = 2;

    /// <summary>A p95 difference up to this many microseconds is accepted whatever the ratio: 10 us against 30 us harms nobody.</summary>
    public double LatencyFloorMicros { get; init; } = 5_000;

    /// <summary>Share of answers with a NaN in their outputs that the candidate may have above stable's (0.01 = one point).</summary>
    public double MaxNanShareIncrease { get; init; } = 0.01;

    /// <summary>Share of answers whose outputs are not what stable declares that the candidate may have above stable's.</summary>
    public double MaxViolationIncrease { get; init; } = 0.01;

    /// <summary>What compute time costs, and how much more the candidate may; null: cost is not compared.</summary>
    public CostSpec? Cost { get; init; }

    /// <summary>
    /// Of an analysis: which of <c>latencyP99</c>, <c>nanShare</c>, <c>schemaViolations</c> and <c>cost</c> must pass as well. Guardrails watch all of them
    /// anyway (cost where it is declared), so that proven harm aborts.
    /// </summary>
    public IReadOnlyList<string> Live { get; init; } = [];

    /// <summary>Quality metrics over labelled predictions: any of <c>auc</c> and <c>logLoss</c>; empty: labels are not asked for.</summary>
    public IReadOnlyList<string> Quality { get; init; } = [];

    /// <summary>Which number of a prediction's outputs is the score; negative counts from the end, so -1 is the last one.</summary>
    public int ScoreOutput { get; init; } = -1;

    /// <summary>Labels from this value on are positive.</summary>
    public double PositiveFrom { get; init; } = 0.5;

    /// <summary>Labelled predictions each variant needs before quality is judged.</summary>
    public long MinLabels { get; init; } = 200;

    /// <summary>AUC the candidate may lose against stable.</summary>
    public double MaxAucLoss { get; init; } = 0.03;

    /// <summary>Mean log loss (nats) the candidate may have above stable's.</summary>
    public double MaxLogLossIncrease { get; init; } = 0.03;

    /// <summary>Further metrics: of the prediction log, of the candidate's monitor, of Prometheus, a web address or a pipeline, and by SQL.</summary>
    public IReadOnlyList<AnalysisMetric> Metrics { get; init; } = [];

    /// <summary>Chance of calling an equally good candidate harmful, over all looks together.</summary>
    public double Alpha { get; init; } = 0.05;

    /// <summary>Time between two looks.</summary>
    public TimeSpan Interval { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>How long an analysis step waits for a verdict before the rollout pauses.</summary>
    public TimeSpan MaxWait { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>Every fault at once; empty if the comparison can run.</summary>
    public IReadOnlyList<string> Faults()
    {
        var faults = new List<string>();
        Require(MinRequests > 0 && MinLabels > 0, $"minimum requests ({MinRequests}) and labels ({MinLabels}) must be positive: no data never passes");
        Require(MaxErrorRateIncrease is > 0 and < 1, $"the error rate margin must lie between 0 and 1, it is {MaxErrorRateIncrease}");
        Require(MaxLatencyRatio is >= 1 and < 1e6, $"the latency ratio must be at least 1, it is {MaxLatencyRatio}");
        Require(LatencyFloorMicros is >= 0 and < 1e12, $"the latency floor must be a number of microseconds, it is {LatencyFloorMicros}");
        Require(MaxNanShareIncrease is > 0 and < 1 && MaxViolationIncrease is > 0 and < 1, $"the margins of NaN ({MaxNanShareIncrease}) and of schema violations ({MaxViolationIncrease}) must lie between 0 and 1");
        Require(Cost is null or { RatePerHour: > 0 and < 1e12, CandidateRatePerHour: null or (> 0 and < 1e12), MaxIncrease: > 0 and < 1e6 },
            $"rates of cost are positive amounts for an hour and the accepted increase a positive share (0.2 = 20 %), they are {Cost?.RatePerHour}, {Cost?.CandidateRatePerHour ?? Cost?.RatePerHour} and {Cost?.MaxIncrease}");
        faults.AddRange(Live.Where(metric => !Analysis.LiveMetrics.Contains(metric, StringComparer.Ordinal)).Select(metric => $"'{metric}' is not a live metric ({string.Join(", ", Analysis.LiveMetrics)})"));
        Require(Cost is not null || !Live.Contains("cost", StringComparer.Ordinal), "cost is to pass and no rate is declared; say what an hour of compute costs under cost.ratePerHour");
        Require(MaxAucLoss is > 0 and < 1 && MaxLogLossIncrease is > 0 and < 1e6, $"quality margins must be positive, they are {MaxAucLoss} and {MaxLogLossIncrease}");
        Require(Alpha is > 0 and < 0.5, $"alpha must lie between 0 and 0.5, it is {Alpha}");
        Require(Interval > TimeSpan.Zero && MaxWait >= TimeSpan.Zero, $"the interval ({Interval}) must be positive and the wait ({MaxWait}) not negative");
        faults.AddRange(Quality.Where(metric => metric is not ("auc" or "logLoss")).Select(metric => $"'{metric}' is not a quality metric (auc, logLoss)"));
        faults.AddRange(Metrics.SelectMany(metric => metric.Faults()));
        Require(Metrics.Count <= 50, $"an analysis has at most 50 further metrics, this one has {Metrics.Count}");
        Require(Metrics.DistinctBy(metric => metric.Name).Count() == Metrics.Count, "two further metrics have one name");
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

/// <summary>
/// What serving costs: the time that answers spend in the model, times a declared rate. Waiting, network, memory and machines that stand idle are not in it; of
/// a remote model it is the time until it answered.
/// </summary>
/// <param name="RatePerHour">Price of an hour of compute, in any currency.</param>
/// <param name="CandidateRatePerHour">Price where the candidate needs another machine; null: the same.</param>
/// <param name="MaxIncrease">Increase over stable's cost for an answer that is accepted, as a share (0.2 = 20 %).</param>
public sealed record CostSpec(double RatePerHour, double? CandidateRatePerHour = null, double MaxIncrease = 0.2);

/// <summary>One variant's requests since the candidate was first exposed.</summary>
/// <param name="Requests">Requests answered or failed.</param>
/// <param name="Errors">Failures of the model.</param>
/// <param name="P95Micros">95th percentile of latency in microseconds; NaN without requests.</param>
internal sealed record ArmHealth(long Requests, long Errors, double P95Micros)
{
    /// <summary>What is known of its latencies and answers, all nodes together; null: only the figures above.</summary>
    public HealthCounts? Counts { get; init; }
}

/// <summary>One variant's quality over labelled predictions, see <see cref="Of"/>.</summary>
/// <param name="N">Labelled predictions.</param>
/// <param name="Positives">Those with a true label.</param>
/// <param name="LogLoss">Mean log loss in nats.</param>
/// <param name="LogLossVariance">Variance of one prediction's log loss.</param>
/// <param name="Auc">Area under the ROC curve; NaN if one class is missing.</param>
/// <param name="AucVariance">Its sampling variance; NaN if one class is missing.</param>
internal sealed record ArmQuality(long N, long Positives, double LogLoss, double LogLossVariance, double Auc, double AucVariance)
{
    /// <summary>
    /// Measures as monitors do. A score that is not a probability is not left out: it makes every figure NaN, and NaN never passes.
    /// </summary>
    public static ArmQuality Of(IReadOnlyList<LabelledScore> outcomes)
    {
        var metrics = BinaryMetrics.Of([.. outcomes.Select(o => o.Score)], [.. outcomes.Select(o => o.Positive)]);
        var positives = outcomes.Count(o => o.Positive);
        if (outcomes.Count == 0 || outcomes.Any(o => !(o.Score is >= 0 and <= 1)))
        {
            return new(outcomes.Count, positives, double.NaN, double.NaN, double.NaN, double.NaN);
        }

        double n = outcomes.Count, spread = metrics.LogLossSpread!.Value;
        return new(outcomes.Count, positives, metrics.LogLoss.Value!.Value, n > 1 ? spread * spread * n / (n - 1) : double.NaN, metrics.RocAuc.Value ?? double.NaN, metrics.AucVariance ?? double.NaN);
    }
}

/// <summary>A prediction whose true outcome is known.</summary>
/// <param name="Score">Predicted probability of the positive class.</param>
/// <param name="Positive">The outcome.</param>
internal readonly record struct LabelledScore(double Score, bool Positive);

/// <summary>Both variants in the same window. Quality is null when no labels were read.</summary>
/// <param name="Stable">Stable's requests since the candidate was first exposed.</param>
/// <param name="Candidate">The candidate's.</param>
/// <param name="StableQuality">Stable's labelled predictions, or null.</param>
/// <param name="CandidateQuality">The candidate's, or null.</param>
/// <param name="Fresh">
/// The candidate's requests since the step began; null outside of an analysis step. Statistics use everything since the exposure, but a step is
/// passed only on traffic of its own, or the first step's data would wave the later ones through.
/// </param>
/// <param name="Counted">On which nodes requests were counted, in words; null where there is only one.</param>
/// <param name="Missing">Whose latest count is unknown, in words; null if everyone's is known.</param>
internal sealed record AnalysisSample(
    ArmHealth Stable, ArmHealth Candidate, ArmQuality? StableQuality = null, ArmQuality? CandidateQuality = null, long? Fresh = null, string? Counted = null, string? Missing = null);

/// <summary>What earlier looks established: the smallest p-value and the intersection of the intervals. Kept with the rollout.</summary>
/// <param name="Looks">By metric.</param>
/// <param name="Labels">The candidate's labelled predictions when an analysis step last passed: the next one needs new ones.</param>
/// <param name="Tallies">What further metrics' measurements add up to, by metric; null: none were taken.</param>
public sealed record AnalysisMemory(IReadOnlyDictionary<string, AnalysisLook> Looks, long Labels = 0, IReadOnlyDictionary<string, MetricTally>? Tallies = null)
{
    /// <summary>Before the first look.</summary>
    public static AnalysisMemory Empty { get; } = new(new Dictionary<string, AnalysisLook>(StringComparer.Ordinal));
}

/// <summary>The state of one metric's sequential test.</summary>
public sealed record AnalysisLook(double P, double Lower, double Upper);

/// <summary>One metric's result: the harm (positive = candidate is worse) with its always-valid interval.</summary>
public sealed record AnalysisCheck(
    string Metric, Verdict Verdict, double? Stable, double? Candidate, double? Harm, double? Lower, double? Upper, double? P,
    long StableN, long CandidateN, string Why);

/// <summary>All checks of one look and their joint verdict: a failure wins over a provider's error, that over missing data, that over doubt, that over success.</summary>
/// <param name="Verdict">The joint verdict.</param>
/// <param name="Checks">One for each metric.</param>
/// <param name="Memory">What the looks so far established.</param>
/// <param name="Final">Whether a further metric has passed a limit of its own, so that waiting for a better verdict is no use.</param>
public sealed record AnalysisReport(Verdict Verdict, IReadOnlyList<AnalysisCheck> Checks, AnalysisMemory Memory, bool Final = false)
{
    /// <summary>The checks that decided the verdict, in words.</summary>
    public string Why => string.Join("; ", Checks.Where(check => check.Verdict == Verdict).Select(check => check.Why));
}

/// <summary>The comparison of candidate and stable. Pure: no clock, no store.</summary>
internal static class Analysis
{
    // The normal approximation of the mixture test needs about this many events in each arm (contract: rollouts, 5.2).
    private const long NormalEvents = 100;

    /// <summary>What can be asked beside error rate and p95.</summary>
    public static IReadOnlyList<string> LiveMetrics { get; } = ["latencyP99", "nanShare", "schemaViolations", "cost"];

    /// <summary>The guardrails that are always on: error rate, latency, NaN, schema violations, and cost where it is declared. Each at its own alpha: missing harm is worse than a false alarm.</summary>
    public static AnalysisReport Guardrails(AnalysisSpec spec, AnalysisSample sample, AnalysisMemory memory) =>
        Join(Live(spec, sample, memory, [.. LiveMetrics.Where(metric => metric != "cost" || spec.Cost is not null)]), sample, memory);

    /// <summary>Error rate, latency, and the live and quality metrics that <paramref name="spec"/> names.</summary>
    public static AnalysisReport Judge(AnalysisSpec spec, AnalysisSample sample, AnalysisMemory memory)
    {
        var checks = new List<AnalysisCheck>(Live(spec, sample, memory, spec.Live));
        checks.AddRange(spec.Quality.Select(metric => QualityOf(metric, spec, sample, memory)));
        return Join(checks, sample, memory);
    }

    private static AnalysisCheck[] Live(AnalysisSpec spec, AnalysisSample sample, AnalysisMemory memory, IReadOnlyList<string> further) =>
        [.. new[] { ErrorRate(spec, sample, memory), Latency(spec, sample) }.Concat(further.Distinct(StringComparer.Ordinal).Select(metric => Further(metric, spec, sample, memory))).Select(check => sample switch
        {
            // Requests that nobody could count may be the bad ones.
            { Missing: { } missing } => check with { Verdict = check.Verdict == Verdict.Pass ? Verdict.NoData : check.Verdict, Why = $"{check.Why}; {missing}" },
            { Counted: { } counted } => check with { Why = $"{check.Why}; {counted}" },
            _ => check,
        })];

    private static AnalysisReport Join(IReadOnlyList<AnalysisCheck> checks, AnalysisSample sample, AnalysisMemory memory)
    {
        var looks = new Dictionary<string, AnalysisLook>(memory.Looks, StringComparer.Ordinal);
        foreach (var check in checks)
        {
            if (check is { P: { } p, Lower: { } lower, Upper: { } upper })
            {
                looks[check.Metric] = new(p, lower, upper);
            }
        }

        var verdict = Joint(checks.Select(check => check.Verdict));
        var labels = verdict == Verdict.Pass && sample.CandidateQuality is { } quality ? quality.N : memory.Labels;
        return new(verdict, checks, memory with { Looks = looks, Labels = labels });
    }

    /// <summary>The joint verdict of several; of none NoData, because nothing was measured.</summary>
    public static Verdict Joint(IEnumerable<Verdict> verdicts) =>
        verdicts.Aggregate((Verdict?)null, (worst, next) => worst is { } present && Rank(present) >= Rank(next) ? present : next) ?? Verdict.NoData;

    private static int Rank(Verdict verdict) => verdict switch
    {
        Verdict.Fail => 4,
        Verdict.Error => 3,
        Verdict.NoData => 2,
        Verdict.Inconclusive => 1,
        _ => 0,
    };

    private static AnalysisCheck ErrorRate(AnalysisSpec spec, AnalysisSample sample, AnalysisMemory memory) =>
        Rate("errorRate", "requests", spec.MaxErrorRateIncrease, sample.Stable, sample.Candidate, spec, sample, memory);

    private static AnalysisCheck Further(string metric, AnalysisSpec spec, AnalysisSample sample, AnalysisMemory memory)
    {
        var (stable, candidate) = (sample.Stable.Counts?.Answers, sample.Candidate.Counts?.Answers);
        return metric switch
        {
            "latencyP99" => LatencyP99(spec, sample),
            "nanShare" => Rate(metric, "answers", spec.MaxNanShareIncrease, Part(stable?.Nans, stable?.Examined), Part(candidate?.Nans, candidate?.Examined), spec, sample, memory),
            "schemaViolations" => Rate(metric, "answers with declared outputs", spec.MaxViolationIncrease, Part(stable?.Violations, stable?.Declared), Part(candidate?.Violations, candidate?.Declared), spec, sample, memory),
            _ => Cost(spec, stable, candidate, memory),
        };

        static ArmHealth Part(long? events, long? of) => new(of ?? 0, events ?? 0, double.NaN);
    }

    /// <summary>A share of bad ones: errors, NaN, violations.</summary>
    private static AnalysisCheck Rate(string metric, string what, double margin, ArmHealth stable, ArmHealth candidate, AnalysisSpec spec, AnalysisSample sample, AnalysisMemory memory)
    {
        if (candidate.Requests < spec.MinRequests || stable.Requests < spec.MinRequests)
        {
            return TooFew(metric, what, stable.Requests, candidate.Requests, spec.MinRequests);
        }

        if (sample.Fresh < spec.MinRequests)
        {
            return TooFew(metric, "requests (the candidate's of this step only)", stable.Requests, sample.Fresh.GetValueOrDefault(), spec.MinRequests);
        }

        var stableRate = (double)stable.Errors / stable.Requests;
        var candidateRate = (double)candidate.Errors / candidate.Requests;
        var harm = candidateRate - stableRate;
        var variance = SequentialTest.ProportionVariance(stable.Errors, stable.Requests, candidate.Errors, candidate.Requests);
        var tau2 = margin * margin;
        var p = stable.Errors >= NormalEvents && candidate.Errors >= NormalEvents
            ? SequentialTest.PValue(harm, variance, tau2)
            : RareEventsPValue(stable, candidate);
        return Compare(metric, margin, stableRate, candidateRate, harm, variance, tau2, p, spec.Alpha, stable.Requests, candidate.Requests, memory);
    }

    /// <summary>
    /// Harm is proven when the candidate's p99 is certainly above the accepted multiple of what stable's p99 is at most: both bounds hold over all looks,
    /// each with half of alpha, so that together they are wrong with at most alpha.
    /// </summary>
    private static AnalysisCheck LatencyP99(AnalysisSpec spec, AnalysisSample sample)
    {
        const string Metric = "latencyP99";
        var (stable, candidate) = (sample.Stable, sample.Candidate);
        if (candidate.Requests < spec.MinRequests || stable.Requests < spec.MinRequests)
        {
            return TooFew(Metric, "requests", stable.Requests, candidate.Requests, spec.MinRequests);
        }

        if (stable.Counts?.Read().P99Micros is not { } before || candidate.Counts?.Read().P99Micros is not { } after)
        {
            return new(Metric, Verdict.NoData, null, null, null, null, null, null, stable.Requests, candidate.Requests, $"{Metric}: no latency was recorded");
        }

        var (stableLow, stableHigh) = QuantileSequence.Bounds(stable.Counts.Classes(), 0.99, spec.Alpha / 2);
        var (low, high) = QuantileSequence.Bounds(candidate.Counts.Classes(), 0.99, spec.Alpha / 2);
        var verdict = low > Accepted(stableHigh) ? Verdict.Fail : after <= Accepted(before) ? Verdict.Pass : Verdict.Inconclusive;
        var (lower, upper) = (low - stableHigh, high - stableLow);
        return new(Metric, verdict, before, after, after - before, Finite(lower), Finite(upper), null, stable.Requests, candidate.Requests,
            $"p99 {after} us [{Say(low)}, {Say(high)}] against {before} us [{Say(stableLow)}, {Say(stableHigh)}], accepted up to {spec.MaxLatencyRatio:0.##} times or {spec.LatencyFloorMicros:0} us more, n {candidate.Requests} and {stable.Requests}");

        double Accepted(double micros) => Math.Max(spec.MaxLatencyRatio * micros, micros + spec.LatencyFloorMicros);
        static double? Finite(double value) => double.IsFinite(value) ? value : null;
        static string Say(double micros) => double.IsFinite(micros) ? FormattableString.Invariant($"{micros:0}") : "unknown";
    }

    /// <summary>Cost of an answer, for a million of them: mean time in the model times the rate.</summary>
    private static AnalysisCheck Cost(AnalysisSpec spec, AnswerCounts? stable, AnswerCounts? candidate, AnalysisMemory memory)
    {
        const string Metric = "cost";
        const double HourNanos = 3.6e12, Million = 1e6;
        var needed = Math.Max(spec.MinRequests, NormalEvents);
        if (spec.Cost is not { } cost || stable is null || candidate is null || stable.Examined < needed || candidate.Examined < needed)
        {
            return TooFew(Metric, "answers with a measured time", stable?.Examined ?? 0, candidate?.Examined ?? 0, needed);
        }

        var (before, spread) = Of(stable, cost.RatePerHour);
        var (after, newSpread) = Of(candidate, cost.CandidateRatePerHour ?? cost.RatePerHour);
        var (harm, variance, margin) = (after - before, spread + newSpread, cost.MaxIncrease * before);
        if (!(margin > 0) || !double.IsFinite(harm + variance))
        {
            return new(Metric, Verdict.NoData, null, null, null, null, null, null, stable.Examined, candidate.Examined, $"{Metric}: stable's compute time is not measured");
        }

        return Compare(Metric, margin, before, after, harm, variance, margin * margin, SequentialTest.PValue(harm, variance, margin * margin), spec.Alpha, stable.Examined, candidate.Examined, memory);

        static (double Mean, double VarianceOfMean) Of(AnswerCounts counts, double rate)
        {
            double n = counts.Examined, mean = counts.ComputeNanos / n, scale = rate / HourNanos * Million;
            var variance = Math.Max(0, (counts.ComputeSquares / n) - (mean * mean)) * n / (n - 1);
            return (mean * scale, variance * scale * scale / n);
        }
    }

    /// <summary>
    /// Rare failures: given their total, each falls to the candidate with the candidate's share of requests if both fail equally often. The
    /// beta-binomial mixture with mean at that share and weight 2 is a martingale under that hypothesis, so 1/E is always valid.
    /// </summary>
    internal static double RareEventsPValue(ArmHealth stable, ArmHealth candidate)
    {
        var share = (double)candidate.Requests / (candidate.Requests + stable.Requests);
        var (a, b) = (2 * share, 2 * (1 - share));
        var log = 0.0;
        for (long i = 0; i < candidate.Errors; i++)
        {
            log += Math.Log((a + i) / share);
        }

        for (long i = 0; i < stable.Errors; i++)
        {
            log += Math.Log((b + i) / (1 - share));
        }

        for (long i = 0; i < candidate.Errors + stable.Errors; i++)
        {
            log -= Math.Log(2 + i);
        }

        return Math.Min(1, Math.Exp(-log));
    }

    private static AnalysisCheck Latency(AnalysisSpec spec, AnalysisSample sample)
    {
        const string Metric = "latencyP95";
        var (stable, candidate) = (sample.Stable, sample.Candidate);
        if (candidate.Requests < spec.MinRequests || stable.Requests < spec.MinRequests)
        {
            return TooFew(Metric, "requests", stable.Requests, candidate.Requests, spec.MinRequests);
        }

        if (!double.IsFinite(stable.P95Micros) || !double.IsFinite(candidate.P95Micros))
        {
            return new(Metric, Verdict.NoData, null, null, null, null, null, null, stable.Requests, candidate.Requests, "no latency was recorded");
        }

        var harm = candidate.P95Micros - stable.P95Micros;
        var slower = harm > spec.LatencyFloorMicros && candidate.P95Micros > spec.MaxLatencyRatio * stable.P95Micros;
        return new(Metric, slower ? Verdict.Fail : Verdict.Pass, stable.P95Micros, candidate.P95Micros, harm, null, null, null, stable.Requests, candidate.Requests,
            $"p95 {candidate.P95Micros:0} us against {stable.P95Micros:0} us, accepted up to {spec.MaxLatencyRatio:0.##} times or {spec.LatencyFloorMicros:0} us more");
    }

    private static AnalysisCheck QualityOf(string metric, AnalysisSpec spec, AnalysisSample sample, AnalysisMemory memory)
    {
        var (stable, candidate) = (sample.StableQuality, sample.CandidateQuality);
        if (stable is null || candidate is null)
        {
            return new(metric, Verdict.NoData, null, null, null, null, null, null, 0, 0, $"{metric}: no labelled predictions were read");
        }

        if (candidate.N < spec.MinLabels || stable.N < spec.MinLabels)
        {
            return TooFew(metric, "labelled predictions", stable.N, candidate.N, spec.MinLabels);
        }

        if (candidate.N - memory.Labels < spec.MinLabels)
        {
            return TooFew(metric, "labelled predictions (the candidate's of this step only)", stable.N, candidate.N - memory.Labels, spec.MinLabels);
        }

        var auc = metric == "auc";
        var (before, after) = auc ? (stable.Auc, candidate.Auc) : (stable.LogLoss, candidate.LogLoss);
        var harm = auc ? before - after : after - before;
        var variance = auc
            ? stable.AucVariance + candidate.AucVariance
            : (stable.LogLossVariance / stable.N) + (candidate.LogLossVariance / candidate.N);
        if (!double.IsFinite(harm) || !double.IsFinite(variance))
        {
            return new(metric, Verdict.NoData, null, null, null, null, null, null, stable.N, candidate.N, $"{metric} is undefined: the labels of one variant hold one class only");
        }

        var margin = auc ? spec.MaxAucLoss : spec.MaxLogLossIncrease;
        var tau2 = margin * margin;
        return Compare(metric, margin, before, after, harm, variance, tau2, SequentialTest.PValue(harm, variance, tau2), spec.Alpha, stable.N, candidate.N, memory);
    }

    private static AnalysisCheck Compare(
        string metric, double margin, double stable, double candidate, double harm, double variance, double tau2, double p, double alpha,
        long stableN, long candidateN, AnalysisMemory memory)
    {
        var radius = SequentialTest.Radius(variance, tau2, alpha);
        var (lower, upper) = (harm - radius, harm + radius);
        if (memory.Looks.TryGetValue(metric, out var earlier))
        {
            // The smallest p and the intersection are what make the statement valid over all looks.
            p = Math.Min(p, earlier.P);
            lower = Math.Max(lower, earlier.Lower);
            upper = Math.Min(upper, earlier.Upper);
        }

        var verdict = harm > margin && (p < alpha || lower > 0) ? Verdict.Fail : harm <= margin ? Verdict.Pass : Verdict.Inconclusive;
        var text = $"{metric} {candidate:0.####} against {stable:0.####}: harm {harm:0.####} [{lower:0.####}, {upper:0.####}], margin {margin:0.####}, n {candidateN} and {stableN}, p {p:0.####}";
        return new(metric, verdict, stable, candidate, harm, lower, upper, p, stableN, candidateN, text);
    }

    private static AnalysisCheck TooFew(string metric, string what, long stable, long candidate, long needed) =>
        new(metric, Verdict.NoData, null, null, null, null, null, null, stable, candidate, $"{metric}: candidate {candidate} and stable {stable} {what}, {needed} needed in each");
}
