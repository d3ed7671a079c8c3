using System.Text.Json.Serialization;
using Slipway.Foundation;
using Slipway.Serving.Routing;

namespace Slipway.Serving;

/// <summary>Where a rollout stands. The names are persisted and may only grow.</summary>
public enum RolloutState
{
    /// <summary>Proposed; waits for the gate or for a start.</summary>
    Pending,

    /// <summary>Working through its steps.</summary>
    Progressing,

    /// <summary>Halted, see the pause reason; guardrails go on.</summary>
    Paused,

    /// <summary>All steps are done; the candidate takes all traffic next.</summary>
    Promoting,

    /// <summary>The candidate has all traffic and is watched before it becomes stable.</summary>
    Baking,

    /// <summary>Finished: the candidate is stable.</summary>
    Healthy,

    /// <summary>Traffic is back on stable; bookkeeping follows.</summary>
    Aborting,

    /// <summary>Ended on stable; may be retried.</summary>
    Aborted,

    /// <summary>A person takes a finished rollout back: the earlier version serves again; bookkeeping follows.</summary>
    RollingBack,

    /// <summary>Ended on stable because a newer rollout took over by policy.</summary>
    Superseded,
}

/// <summary>How a version is tried. The names are persisted and may only grow.</summary>
public enum RolloutKind
{
    /// <summary>Growing shares with checks between them.</summary>
    Canary,

    /// <summary>Tried behind a preview address, then all traffic at once, then watched.</summary>
    BlueGreen,

    /// <summary>Gets copies of requests; its answers are compared pair by pair and never returned. It ends on stable.</summary>
    Shadow,

    /// <summary>Fixed shares until an experiment decides.</summary>
    AbTest,

    /// <summary>Shares that follow the rewards.</summary>
    Bandit,
}

/// <summary>A variant's part in a rollout. The names are persisted and may only grow.</summary>
public enum VariantRole
{
    /// <summary>The version to go back to; always the variant <c>stable</c>.</summary>
    Stable,

    /// <summary>A second, equally small slice of the stable version that candidates are compared with.</summary>
    Baseline,

    /// <summary>Under trial.</summary>
    Candidate,
}

/// <summary>A variant of a rollout beside <c>stable</c>.</summary>
/// <param name="Name">Its name in routes, answers, health and the prediction log.</param>
/// <param name="ModelVersion">What it serves, as <c>name/version</c>; a proposal may also name an alias. A baseline serves stable's version, so it may be empty there.</param>
/// <param name="Role">Its part.</param>
public sealed record RolloutVariant(string Name, string ModelVersion, VariantRole Role = VariantRole.Candidate);

/// <summary>What a running rollout does when a newer proposal for its endpoint is ready. The names are persisted and may only grow.</summary>
public enum NewVersionRule
{
    /// <summary>The newer one waits.</summary>
    Queue,

    /// <summary>The running one goes back to stable and ends; the newer one starts.</summary>
    Supersede,
}

/// <summary>What nodes do when the control plane has not renewed the lease.</summary>
/// <param name="Duration">How long shares hold without a renewal.</param>
/// <param name="Freeze">Whether they stay as they are afterwards; otherwise every node returns to stable alone.</param>
public sealed record RolloutLease(TimeSpan Duration, bool Freeze = false);

/// <summary>Why a rollout is paused. The names are persisted and may only grow.</summary>
public enum PauseReason
{
    /// <summary>A pause step of the plan.</summary>
    Step,

    /// <summary>A person paused it.</summary>
    Manual,

    /// <summary>The analysis could not decide; it goes on measuring and continues by itself once it can.</summary>
    Inconclusive,

    /// <summary>The analysis has too little data; it goes on measuring and continues by itself once it has enough.</summary>
    NoData,

    /// <summary>An approve step waits for a person.</summary>
    Approval,

    /// <summary>The control plane was away for longer than the lease: nodes have gone back to stable alone, and a person says how it goes on.</summary>
    ControlPlane,
}

/// <summary>One step of a plan.</summary>
/// <param name="Kind">
/// <c>setWeight</c>, <c>pause</c>, <c>analysis</c>, <c>experiment</c>, <c>bandit</c>, <c>compare</c>, <c>mirror</c>, <c>match</c>, <c>warm</c>, <c>approve</c>, <c>webhook</c> or <c>job</c>.
/// </param>
public sealed record RolloutStep(string Kind)
{
    internal static readonly IReadOnlyList<string> Kinds =
        ["setWeight", "pause", "analysis", "experiment", "bandit", "compare", "mirror", "match", "warm", "approve", "webhook", "job"];

    /// <summary>setWeight: the variant's share, 0 to 100 in steps of 0.01. mirror: the share of requests that are copied; 0 ends it.</summary>
    public double? Percent { get; init; }

    /// <summary>setWeight, mirror, match, warm: which variant; null: the first candidate.</summary>
    public string? Variant { get; init; }

    /// <summary>pause: how long; null: until promoted.</summary>
    public TimeSpan? Duration { get; init; }

    /// <summary>analysis: what is compared; null: the plan's guardrails.</summary>
    public AnalysisSpec? Analysis { get; init; }

    /// <summary>analysis: whether it runs beside the later steps from here on; it must have passed before the candidate is promoted.</summary>
    public bool Background { get; init; }

    /// <summary>match: requests that carry this header go to the variant.</summary>
    public string? Header { get; init; }

    /// <summary>match: requests that carry this cookie go to the variant.</summary>
    public string? Cookie { get; init; }

    /// <summary>match: accepted values of the header or cookie; null: any.</summary>
    public IReadOnlyList<string>? Values { get; init; }

    /// <summary>match: entities that go to the variant whatever they carry.</summary>
    public IReadOnlyList<string>? Entities { get; init; }

    /// <summary>match: conditions on attributes of the request, all of which must hold; null: none.</summary>
    public IReadOnlyList<AttributeRule>? Attributes { get; init; }

    /// <summary>match: ends all matches of the variant.</summary>
    public bool Clear { get; init; }

    /// <summary>warm: longest call of the loaded model that is accepted, in milliseconds, as measured when it was loaded; null: any.</summary>
    public double? MaxMillis { get; init; }

    /// <summary>warm: live nodes that must have it loaded, besides that every live one must; null: as many as there are.</summary>
    public int? MinReady { get; init; }

    /// <summary>warm: warm-up requests that the node which takes the steps sends through the loaded model, 1 to 1,000; null: 100 if their p99 is limited, else none.</summary>
    public int? Requests { get; init; }

    /// <summary>warm: largest p99 of the warm-up requests, in milliseconds; null: any.</summary>
    public double? MaxP99Millis { get; init; }

    /// <summary>approve: whether it takes another person than the one who proposed the rollout; otherwise that one may approve, with the right to.</summary>
    public bool FourEyes { get; init; } = true;

    /// <summary>approve: a role that the approver must have; null: any person with the right to approve.</summary>
    public string? Role { get; init; }

    /// <summary>approve: how long it waits before the rollout aborts; null: for ever. webhook: how long it is tried again; null: 10 minutes. job: how long its end is waited for; null: an hour.</summary>
    public TimeSpan? Expiry { get; init; }

    /// <summary>webhook: the address; it is asked with POST and answers with a 2xx.</summary>
    public string? Url { get; init; }

    /// <summary>webhook: the key of its signature. Taken out of the plan when it is proposed, kept sealed and never shown.</summary>
    public string? Secret { get; init; }

    /// <summary>webhook: whether calls are signed.</summary>
    public bool Signed { get; init; }

    /// <summary>webhook: whether the address may be this machine.</summary>
    public bool AllowLoopback { get; init; }

    /// <summary>job: the pipeline that runs once for this step; the step is done when the run succeeds.</summary>
    public string? Pipeline { get; init; }

    /// <summary>webhook, job: whether a refusal, a failed run or no end in time aborts the rollout; otherwise the plan goes on and says so.</summary>
    public bool CountsAsFailure { get; init; } = true;

    /// <summary>Gives a variant a share of the traffic.</summary>
    public static RolloutStep SetWeight(double percent, string? variant = null) => new("setWeight") { Percent = percent, Variant = variant };

    /// <summary>Waits; without a duration until a person promotes.</summary>
    public static RolloutStep Pause(TimeSpan? duration = null) => new("pause") { Duration = duration };

    /// <summary>Compares candidate and stable and goes on only if the candidate passes.</summary>
    public static RolloutStep Analyse(AnalysisSpec? analysis = null) => new("analysis") { Analysis = analysis };

    /// <summary>Waits for a person who did not propose the rollout.</summary>
    public static RolloutStep Approve(string? role = null, TimeSpan? expiry = null) => new("approve") { Role = role, Expiry = expiry };

    /// <summary>Copies requests to a variant; 0 ends it.</summary>
    public static RolloutStep Mirror(double percent, string? variant = null) => new("mirror") { Percent = percent, Variant = variant };

    internal bool IsWait => Kind is "pause" or "analysis" or "approve" or "experiment" or "bandit" or "compare" or "warm" or "webhook" or "job";

    /// <summary>What the step does, as plans, causes, pages and the command line say it.</summary>
    [JsonIgnore]
    public string Words => Kind switch
    {
        "setWeight" => $"{Share} of the traffic{To}",
        "pause" => Duration is { } wait ? $"wait {Say(wait)}" : "wait for a person to promote",
        "analysis" => Background ? "compare candidate and stable from here on" : "compare candidate and stable",
        "experiment" => "experiment until it decides",
        "bandit" => "bandit until one variant is best",
        "compare" => "compare the pairs of answers",
        "mirror" => Percent > 0 ? $"copy {Share} of the requests{To}" : "end the copies",
        "match" => Clear ? "end the matches" : $"matched requests{To}",
        "warm" => Variant is null ? "load the model" : $"load the model of {Variant}",
        "approve" => Role is null ? "wait for an approval" : $"wait for an approval by {Role}",
        // The rest of an address may hold what is not for everyone.
        "webhook" => $"ask {(Uri.TryCreate(Url, UriKind.Absolute, out var address) ? address.Host : "a webhook")}",
        "job" => $"run pipeline {Pipeline}",
        _ => Kind,
    };

    private string Share => FormattableString.Invariant($"{Percent:0.##} %");

    private string To => Variant is null ? "" : $" to {Variant}";

    internal static string Say(TimeSpan span) =>
        span.TotalDays >= 1 ? FormattableString.Invariant($"{span.TotalDays:0.#} d") : span.TotalHours >= 1 ? FormattableString.Invariant($"{span.TotalHours:0.#} h")
        : span.TotalMinutes >= 1 ? FormattableString.Invariant($"{span.TotalMinutes:0.#} min") : FormattableString.Invariant($"{span.TotalSeconds:0.###} s");
}

/// <summary>How a blue-green rollout switches.</summary>
public sealed record BlueGreenSpec
{
    /// <summary>What the preview must pass before the switch; null: it needs only to be loaded.</summary>
    public AnalysisSpec? PrePromotion { get; init; }

    /// <summary>What the new version must pass before the bake ends; null: the guardrails alone.</summary>
    public AnalysisSpec? PostPromotion { get; init; }

    /// <summary>Wait after the pre-promotion analysis passed and before the switch; null: until a person approves or promotes.</summary>
    public TimeSpan? AutoPromoteAfter { get; init; }

    /// <summary>Whether a person who did not propose it must approve the switch.</summary>
    public bool Approve { get; init; }

    /// <summary>Share of the requests that the preview gets copies of before the switch, 0 to 100, so that it has traffic to be judged by.</summary>
    public double Mirror { get; init; }

    /// <summary>How long the previous version stays loaded after the rollout has finished.</summary>
    public TimeSpan ScaleDownDelay { get; init; } = TimeSpan.FromMinutes(30);
}

/// <summary>What the pairs of a shadow must show.</summary>
public sealed record ShadowSpec
{
    /// <summary>Share of the requests that are copied, above 0 to 100.</summary>
    public double Percent { get; init; } = 100;

    /// <summary>Pairs below which nothing is said.</summary>
    public long MinPairs { get; init; } = 1_000;

    /// <summary>Share of pairs whose class may differ (0 to 1); null: any.</summary>
    public double? MaxClassFlips { get; init; }

    /// <summary>Least rank correlation of the scores; null: any.</summary>
    public double? MinRankCorrelation { get; init; }

    /// <summary>Largest population stability index of the scores; null: any.</summary>
    public double? MaxScorePsi { get; init; }

    /// <summary>Largest median by which the shadow may be slower on the same request, in microseconds; null: any.</summary>
    public double? MaxSlowerMicros { get; init; }

    /// <summary>McNemar's p-value below which the shadow fails requests more often than the primary.</summary>
    public double Alpha { get; init; } = 0.001;

    /// <summary>Longest time that pairs are waited for before the rollout pauses.</summary>
    public TimeSpan MaxWait { get; init; } = TimeSpan.FromHours(24);

    /// <summary>Time between two looks.</summary>
    public TimeSpan Interval { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>What pairs say: too few or undefined figures are no data, and no data never passes.</summary>
    public (Verdict Verdict, string Why) Judge(ShadowReport report)
    {
        if (report.Pairs < MinPairs)
        {
            return (Verdict.NoData, $"{report.Pairs} pairs, {MinPairs} needed");
        }

        var (faults, missing) = (new List<string>(), new List<string>());
        Check("class flips", report.ClassFlips, MaxClassFlips, above: true);
        Check("rank correlation", report.RankCorrelation, MinRankCorrelation, above: false);
        Check("score PSI", report.ScorePsi, MaxScorePsi, above: true);
        Check("median latency shift (us)", report.LatencyShiftMicros, MaxSlowerMicros, above: true);
        if (report.ErrorsP is { } p && p < Alpha && report.ShadowErrors > report.PrimaryErrors)
        {
            faults.Add($"{report.ShadowErrors} failures against {report.PrimaryErrors} on the same requests (McNemar p {p:0.######})");
        }

        return faults.Count > 0 ? (Verdict.Fail, string.Join("; ", faults))
            : missing.Count > 0 ? (Verdict.NoData, $"{string.Join(", ", missing)} undefined: {report.Why}")
            : (Verdict.Pass, $"{report.Pairs} pairs, exact match {report.ExactMatch:0.####}, class flips {report.ClassFlips:0.####}, failures {report.ShadowErrors} against {report.PrimaryErrors}");

        void Check(string what, double? value, double? limit, bool above)
        {
            if (limit is not { } most)
            {
                return;
            }

            if (value is not { } seen || !double.IsFinite(seen))
            {
                missing.Add(what);
            }
            else if (above ? seen > most : seen < most)
            {
                faults.Add($"{what} {seen:0.####}, accepted {(above ? "at most" : "at least")} {most:0.####}");
            }
        }
    }
}

/// <summary>How a candidate replaces stable. Fixed when proposed, but for the durations of pauses that have not begun.</summary>
public sealed record RolloutSpec
{
    /// <summary>How the version is tried.</summary>
    public RolloutKind Kind { get; init; }

    /// <summary>Variants beside stable; empty: one candidate named <c>candidate</c>.</summary>
    public IReadOnlyList<RolloutVariant> Variants { get; init; } = [];

    /// <summary>Executed in order; empty: what the kind implies. Weights of a canary only grow.</summary>
    public IReadOnlyList<RolloutStep> Steps { get; init; } = [];

    /// <summary>Error rate and latency limits that are watched from the first exposed request to the end, also during pauses.</summary>
    public AnalysisSpec Guardrails { get; init; } = new();

    /// <summary>How long the candidate carries all traffic before it becomes stable.</summary>
    public TimeSpan Bake { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Time in progress (pauses do not count) after which the rollout aborts.</summary>
    public TimeSpan ProgressDeadline { get; init; } = TimeSpan.FromHours(24);

    /// <summary>Whether it starts by itself once the gate is granted, or at once without a policy.</summary>
    public bool AutoStart { get; init; } = true;

    /// <summary>blueGreen: how it switches.</summary>
    public BlueGreenSpec? BlueGreen { get; init; }

    /// <summary>shadow: what pairs must show; also of a compare step.</summary>
    public ShadowSpec? Shadow { get; init; }

    /// <summary>abTest: what is asked; also of an experiment step.</summary>
    public ExperimentSpec? Experiment { get; init; }

    /// <summary>bandit: how shares follow the rewards.</summary>
    public BanditSpec? Bandit { get; init; }

    /// <summary>
    /// What nodes do when the control plane is gone; null: after five minutes they go back to stable, and stay as they are in an A/B test and a bandit, which
    /// would lose who saw what.
    /// </summary>
    public RolloutLease? Lease { get; init; }

    /// <summary>How long the previous version stays loaded after the rollout has finished.</summary>
    public TimeSpan KeepWarm { get; init; } = TimeSpan.FromHours(24);

    /// <summary>How long after the end an undo goes back at once, without steps.</summary>
    public TimeSpan RollbackWindow { get; init; } = TimeSpan.FromHours(24);

    /// <summary>
    /// Whether a candidate may take other inputs than stable. Otherwise such a rollout does not start: requests that fit one are refused by the other, or
    /// read as other columns.
    /// </summary>
    public bool AllowOtherInputs { get; init; }

    /// <summary>What happens when a newer proposal for the endpoint is ready.</summary>
    public NewVersionRule OnNewVersion { get; init; }

    /// <summary>A rollout whose slots this one repeats, so that the same entities are first; null: its own.</summary>
    public string? InheritSalt { get; init; }

    /// <summary>abTest, bandit: the part of a namespace that takes part; it is held until the rollout has ended. Null: everyone.</summary>
    public NamespaceRule? Namespace { get; init; }

    /// <summary>Why it exists, in words; an undo that needs a rollout says so here.</summary>
    public string? Reason { get; init; }

    /// <summary>A canary: after each weight below 100 the analysis decides about the next.</summary>
    public static RolloutSpec Canary(AnalysisSpec analysis, params double[] percents) => new()
    {
        Guardrails = analysis with { Quality = [], Metrics = [] },
        Steps = [.. percents.SelectMany(percent => percent < 100
            ? new[] { RolloutStep.SetWeight(percent), RolloutStep.Analyse(analysis) }
            : [RolloutStep.SetWeight(percent)])],
    };

    /// <summary>The same plan with the steps that its kind implies, where it names none.</summary>
    public RolloutSpec Planned() => Steps.Count > 0 ? this : this with { Steps = Implied() };

    /// <summary>Every fault of the plan at once; empty if it can run.</summary>
    public IReadOnlyList<string> Faults() => [.. RolloutFaults.Of(this).Select(fault => fault.Text)];

    internal RolloutLease Leased => Lease ?? new(TimeSpan.FromMinutes(5), Kind is RolloutKind.AbTest or RolloutKind.Bandit);

    /// <summary>How long what was stable stays loaded after the end.</summary>
    internal TimeSpan Kept => Kind == RolloutKind.BlueGreen ? (BlueGreen ?? new()).ScaleDownDelay : KeepWarm;

    /// <summary>The variants with the default in place.</summary>
    internal IReadOnlyList<RolloutVariant> Arms(string candidate) => Variants.Count > 0 ? Variants : [new("candidate", candidate)];

    /// <summary>The variant that a step without a name speaks of.</summary>
    internal string First => Variants.FirstOrDefault(variant => variant.Role == VariantRole.Candidate)?.Name ?? "candidate";

    internal IReadOnlyList<string> Names => Variants.Count > 0 ? [.. Variants.Select(variant => variant.Name)] : ["candidate"];

    /// <summary>Those that may take all traffic in the end.</summary>
    internal IReadOnlyList<string> Candidates => Variants.Count > 0 ? [.. Variants.Where(variant => variant.Role == VariantRole.Candidate).Select(variant => variant.Name)] : ["candidate"];

    /// <summary>The analysis that the bake must pass, or null.</summary>
    internal AnalysisSpec? BakeAnalysis => Kind == RolloutKind.BlueGreen ? BlueGreen?.PostPromotion : null;

    /// <summary>Whether it may end with another version in charge of all traffic.</summary>
    internal bool Promotes => Kind != RolloutKind.Shadow;

    private IReadOnlyList<RolloutStep> Implied()
    {
        var (steps, switching) = (new List<RolloutStep>(), BlueGreen ?? new());
        switch (Kind)
        {
            case RolloutKind.BlueGreen:
                steps.Add(new("warm"));
                if (switching.Mirror > 0)
                {
                    steps.Add(RolloutStep.Mirror(switching.Mirror));
                }

                if (Shadow is not null)
                {
                    steps.Add(new("compare"));
                }

                if (switching.PrePromotion is { } before)
                {
                    steps.Add(RolloutStep.Analyse(before));
                }

                if (switching.Approve)
                {
                    steps.Add(RolloutStep.Approve());
                }
                else if (switching.AutoPromoteAfter != TimeSpan.Zero)
                {
                    steps.Add(RolloutStep.Pause(switching.AutoPromoteAfter));
                }

                if (switching.Mirror > 0)
                {
                    steps.Add(RolloutStep.Mirror(0));
                }

                steps.Add(RolloutStep.SetWeight(100));
                break;
            case RolloutKind.Shadow:
                steps.AddRange([new("warm"), RolloutStep.Mirror((Shadow ?? new()).Percent), new("compare")]);
                break;
            case RolloutKind.AbTest or RolloutKind.Bandit:
                // Equal shares: the fewest units for a given effect, and the start that favours nobody.
                var share = Math.Round(100.0 / (Names.Count + 1), 2);
                steps.AddRange(Names.Select(name => RolloutStep.SetWeight(share, name)));
                steps.Add(new(Kind == RolloutKind.AbTest ? "experiment" : "bandit"));
                break;
        }

        return steps;
    }
}

/// <summary>What the rollout's worker remembers; saved with every transition.</summary>
/// <param name="State">Where it stands.</param>
/// <param name="Pause">Why it is paused, or null.</param>
/// <param name="Step">Index of the step in progress; the number of steps when all are done.</param>
/// <param name="StepSince">When that step began, Unix microseconds: a timed pause keeps its deadline over restarts.</param>
/// <param name="Percent">The candidate's share by this rollout's last decision.</param>
/// <param name="ExposedSince">When the candidate first got traffic, or 0.</param>
/// <param name="ActiveMicros">Time in progress up to <paramref name="ActiveSince"/>.</param>
/// <param name="ActiveSince">Since when it progresses without a pause, or 0.</param>
/// <param name="Attempt">1, and one more with every retry.</param>
/// <param name="Cause">Why it is where it is, in words.</param>
/// <param name="Memory">What the sequential tests established so far.</param>
public sealed record RolloutStatus(
    RolloutState State, PauseReason? Pause, int Step, long StepSince, double Percent, long ExposedSince, long ActiveMicros, long ActiveSince,
    int Attempt, string Cause, AnalysisMemory Memory)
{
    /// <summary>Shares by variant, stable aside; null: older rollouts, whose candidate has <see cref="Percent"/>.</summary>
    public IReadOnlyDictionary<string, double>? Weights { get; init; }

    /// <summary>Variants that get copies, with the share of requests that are copied.</summary>
    public IReadOnlyDictionary<string, double>? Mirrors { get; init; }

    /// <summary>Indices of the match steps in force.</summary>
    public IReadOnlyList<int> Matches { get; init; } = [];

    /// <summary>The salt of its slots; null: its id.</summary>
    public string? Salt { get; init; }

    /// <summary>Indices of the analysis steps that run beside the present one, with what they established and since when.</summary>
    public IReadOnlyDictionary<int, BackgroundAnalysis>? Background { get; init; }

    /// <summary>What the experiment established so far.</summary>
    public AnalysisMemory? Experiment { get; init; }

    /// <summary>The job that was asked for last, or null.</summary>
    public StepJob? Job { get; init; }

    /// <summary>The variant that takes all traffic in the end; null: the first candidate.</summary>
    public string? Winner { get; init; }

    /// <summary>When a variant was first loaded beside stable (for a preview, copies or matches), Unix microseconds, or 0.</summary>
    public long PreviewSince { get; init; }

    /// <summary>When a bandit last moved shares, Unix microseconds, or 0.</summary>
    public long MovedAt { get; init; }

    /// <summary>When the bake began, Unix microseconds, or 0.</summary>
    public long BakingSince { get; init; }

    /// <summary>Whether a person ended the bake in spite of a missing verdict.</summary>
    public bool BakeWaived { get; init; }

    /// <summary>When it ended, Unix microseconds, or 0.</summary>
    public long EndedAt { get; init; }

    /// <summary>The rollout that took over, or null.</summary>
    public string? SupersededBy { get; init; }

    /// <summary>The version that an undo went back to, or null.</summary>
    public string? UndoneTo { get; init; }

    /// <summary>Steps with the time they began and ended, and who ended them; the newest attempt's.</summary>
    public IReadOnlyList<StepClock> Clocks { get; init; } = [];

    /// <summary>The share of a variant.</summary>
    public double WeightOf(string variant) => Weights is { } weights ? weights.GetValueOrDefault(variant) : variant == "candidate" ? Percent : 0;

    /// <summary>The status of a proposal.</summary>
    public static RolloutStatus Proposed(long at) => new(RolloutState.Pending, null, 0, at, 0, 0, 0, 0, 1, "proposed", AnalysisMemory.Empty);

    /// <summary>Whether nothing will happen any more by itself.</summary>
    [JsonIgnore]
    public bool Ended => State is RolloutState.Healthy or RolloutState.Aborted or RolloutState.Superseded;
}

/// <summary>An analysis that runs beside the steps.</summary>
/// <param name="Since">When it began, Unix microseconds.</param>
/// <param name="Memory">What it established so far.</param>
public sealed record BackgroundAnalysis(long Since, AnalysisMemory Memory);

/// <summary>A job step's run.</summary>
/// <param name="Step">The step's index.</param>
/// <param name="Succeeded">Whether it succeeded; null: it has not ended.</param>
/// <param name="Why">In words, with the run.</param>
public sealed record StepJob(int Step, bool? Succeeded, string Why);

/// <summary>When a step ran.</summary>
/// <param name="Step">Its index.</param>
/// <param name="Began">Unix microseconds.</param>
/// <param name="Ended">Unix microseconds.</param>
/// <param name="How">Why it ended, in words.</param>
public sealed record StepClock(int Step, long Began, long Ended, string How);

/// <summary>What the statistics of a rollout's kind said last.</summary>
/// <param name="Experiment">Of an A/B test.</param>
/// <param name="Bandit">Of a bandit.</param>
/// <param name="Shadow">Of a shadow.</param>
public sealed record RolloutFindings(ExperimentReport? Experiment = null, BanditReport? Bandit = null, ShadowReport? Shadow = null);

/// <summary>A rollout.</summary>
/// <param name="Id">32 hexadecimal digits; also the salt of the slots.</param>
/// <param name="Endpoint">The endpoint's name.</param>
/// <param name="Stable">The version to go back to, as <c>name/version</c>.</param>
/// <param name="Candidate">The version under trial, as <c>name/version</c>.</param>
/// <param name="Policy">The policy whose gate the candidate must have passed, or null.</param>
/// <param name="Spec">The plan.</param>
/// <param name="Status">Where it stands.</param>
/// <param name="Rev">Grows with every transition; commands are compare-and-set on it.</param>
/// <param name="LastAnalysis">The newest look, or null.</param>
/// <param name="ProposedBy">The person who proposed it.</param>
/// <param name="ProposedAt">UTC.</param>
/// <param name="UpdatedAt">UTC, of the last transition.</param>
public sealed record Rollout(
    string Id, string Endpoint, string Stable, string Candidate, string? Policy, RolloutSpec Spec, RolloutStatus Status, long Rev,
    AnalysisReport? LastAnalysis, string ProposedBy, DateTimeOffset ProposedAt, DateTimeOffset UpdatedAt)
{
    /// <summary>What an experiment, bandit or shadow said last, or null.</summary>
    public RolloutFindings? Findings { get; init; }

    /// <summary>The variants beside stable.</summary>
    public IReadOnlyList<RolloutVariant> Variants => Spec.Arms(Candidate);

    /// <summary>The version that takes all traffic in the end: the winner's, or the first candidate's.</summary>
    [JsonIgnore]
    public string Successor => Variants.FirstOrDefault(variant => variant.Name == Status.Winner)?.ModelVersion is { Length: > 0 } winner ? winner : Candidate;

    /// <summary>How the journal names it.</summary>
    public Subject Subject => new("rollout", Id);
}

/// <summary>One row of a rollout's story.</summary>
public sealed record RolloutEvent(long Number, DateTimeOffset At, string Kind, RolloutState State, int Step, double Percent, string Actor, string Cause, AnalysisReport? Analysis);
