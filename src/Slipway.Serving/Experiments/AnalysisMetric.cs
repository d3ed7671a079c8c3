using Slipway.Monitoring;

namespace Slipway.Serving;

/// <summary>Who answers for a metric of an analysis. The names are persisted and may only grow.</summary>
public enum MetricProvider
{
    /// <summary>The prediction log and its labels: candidate against baseline.</summary>
    Log,

    /// <summary>The newest point that the candidate's monitor made: drift, quality, estimated quality.</summary>
    Monitor,

    /// <summary>An instant query of a Prometheus server.</summary>
    Prometheus,

    /// <summary>A number in a JSON answer.</summary>
    Web,

    /// <summary>The exit code of a pipeline's command: 0 passes, any other fails, and a run that ends without one is an error.</summary>
    Job,

    /// <summary>The number that a query over the endpoint's predictions and labels gives.</summary>
    Sql,
}

/// <summary>One metric of an analysis: who answers, what is accepted, and how often it may go wrong. Every measurement is kept.</summary>
public sealed record AnalysisMetric
{
    /// <summary>Names it in reports; unique within an analysis.</summary>
    public required string Name { get; init; }

    /// <summary>Who answers.</summary>
    public MetricProvider Provider { get; init; }

    /// <summary>Log: what is compared; harm beyond its margin fails.</summary>
    public MetricSpec? Compare { get; init; }

    /// <summary>Monitor: the point's metric, such as <c>psi</c> or <c>auc</c>.</summary>
    public string? Point { get; init; }

    /// <summary>Monitor: the point's column; null: the whole window, or the worst column of what is measured by columns, such as drift.</summary>
    public string? Column { get; init; }

    /// <summary>Prometheus: the server's address. Web: the address that answers with JSON.</summary>
    public string? Url { get; init; }

    /// <summary>
    /// Prometheus: the query. <c>{endpoint}</c>, <c>{candidate}</c>, <c>{stable}</c> and <c>{rollout}</c> are filled in, in addresses too. SQL: a SELECT over the
    /// table <c>predictions</c> that gives one number; its parameters, such as <c>$candidate</c>, are bound and never written into the text.
    /// </summary>
    public string? Query { get; init; }

    /// <summary>Web: where the number is, as <c>data.result.0.value</c>.</summary>
    public string? Path { get; init; }

    /// <summary>Job: the pipeline that runs once for each measurement.</summary>
    public string? Pipeline { get; init; }

    /// <summary>Least accepted value.</summary>
    public double? AtLeast { get; init; }

    /// <summary>Largest accepted value.</summary>
    public double? AtMost { get; init; }

    /// <summary>Values below fail; between this and <see cref="AtLeast"/> the measurement is inconclusive. Null: whatever is not accepted fails.</summary>
    public double? FailBelow { get; init; }

    /// <summary>Values above fail; between this and <see cref="AtMost"/> the measurement is inconclusive. Null: whatever is not accepted fails.</summary>
    public double? FailAbove { get; init; }

    /// <summary>Time between two measurements.</summary>
    public TimeSpan Interval { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Time before the first one.</summary>
    public TimeSpan InitialDelay { get; init; }

    /// <summary>Failed measurements that are accepted: it fails on failure number maxFailures + 1.</summary>
    public int MaxFailures { get; init; }

    /// <summary>Provider errors in a row that are accepted.</summary>
    public int MaxErrors { get; init; } = 4;

    /// <summary>Inconclusive measurements that are accepted.</summary>
    public int MaxInconclusive { get; init; } = 10;

    /// <summary>Measurements without data that are accepted.</summary>
    public int MaxNoData { get; init; } = 10;

    /// <summary>Successes in a row that it passes with.</summary>
    public int ConsecutiveSuccesses { get; init; } = 1;

    /// <summary>Measurements below which it does not pass.</summary>
    public int MinMeasurements { get; init; } = 1;

    /// <summary>Log: what counts once. Entities, if requests of one entity are alike.</summary>
    public ExperimentUnit Unit { get; init; } = ExperimentUnit.Request;

    /// <summary>Log: how long after its exposure a unit's outcomes count; younger units are left out of both arms. Zero: whatever is known counts.</summary>
    public TimeSpan AttributionWindow { get; init; }

    /// <summary>Log: units of each arm below which there is no data.</summary>
    public long MinSamplesPerArm { get; init; } = 100;

    /// <summary>Whether it is measured and shown but decides nothing.</summary>
    public bool DryRun { get; init; }

    /// <summary>Every fault at once.</summary>
    public IReadOnlyList<string> Faults()
    {
        var faults = new List<string>();
        Require(!string.IsNullOrWhiteSpace(Name) && Name.Length <= 100, "a metric needs a name of at most 100 characters");
        switch (Provider)
        {
            case MetricProvider.Log:
                faults.AddRange(Compare?.Faults() ?? ["the prediction log needs what to compare"]);
                Require(AttributionWindow >= TimeSpan.Zero && (AttributionWindow > TimeSpan.Zero || Compare is not { MissingIsZero: true }),
                    "without an attribution window nothing says when a missing label becomes a zero");
                break;
            case MetricProvider.Monitor:
                Require(!string.IsNullOrWhiteSpace(Point), "a monitor needs the metric of its points");
                break;
            case MetricProvider.Prometheus:
                Require(!string.IsNullOrWhiteSpace(Url) && !string.IsNullOrWhiteSpace(Query), "Prometheus needs an address and a query");
                break;
            case MetricProvider.Job:
                Require(!string.IsNullOrWhiteSpace(Pipeline) && Pipeline.Length <= 200, "a job names the pipeline that it runs");
                Require(AtLeast is null && AtMost is null && FailBelow is null && FailAbove is null, "a job passes with exit code 0; it has no bounds");
                break;
            case MetricProvider.Sql:
                faults.AddRange(PredictionQueries.Fault(Query) is { } fault ? [$"query: {fault}"] : []);
                Require(Url is null && Path is null, "SQL asks this server's prediction log; it has neither url nor path, leave them out");
                break;
            default:
                Require(!string.IsNullOrWhiteSpace(Url) && !string.IsNullOrWhiteSpace(Path), "a web metric needs an address and the path of its number");
                break;
        }

        Require(Url is not { Length: > 2048 } && (Provider == MetricProvider.Sql || Query is not { Length: > 4096 }) && Path is not { Length: > 512 }, "addresses have at most 2,048, queries 4,096 and paths 512 characters");
        Require(Provider is MetricProvider.Log or MetricProvider.Monitor or MetricProvider.Job || AtLeast is not null || AtMost is not null, "without atLeast or atMost no value is accepted");
        Require(new[] { AtLeast, AtMost, FailBelow, FailAbove }.All(bound => bound is not { } value || double.IsFinite(value)), "bounds must be finite numbers");
        Require(FailBelow is null || FailBelow <= AtLeast, $"failBelow ({FailBelow}) must not lie above atLeast ({AtLeast})");
        Require(FailAbove is null || FailAbove >= AtMost, $"failAbove ({FailAbove}) must not lie below atMost ({AtMost})");
        Require(Interval >= TimeSpan.FromSeconds(1) && InitialDelay >= TimeSpan.Zero, $"the interval ({Interval}) must be at least a second and the delay ({InitialDelay}) not negative");
        Require(MaxFailures >= 0 && MaxErrors >= 0 && MaxInconclusive >= 0 && MaxNoData >= 0, "limits must not be negative");
        Require(ConsecutiveSuccesses >= 1 && MinMeasurements >= 1 && MinSamplesPerArm >= 2, "an analysis without a measurement never passes: at least one success, one measurement and two samples of each arm are needed");
        return [.. faults.Select(fault => $"metric '{Name}': {fault}")];

        void Require(bool holds, string fault)
        {
            if (!holds)
            {
                faults.Add(fault);
            }
        }
    }

    /// <summary>What a value says by the bounds alone.</summary>
    public Verdict Judge(double value) =>
        !double.IsFinite(value) ? Verdict.NoData
        : value < (FailBelow ?? AtLeast) || value > (FailAbove ?? AtMost) ? Verdict.Fail
        : value < AtLeast || value > AtMost ? Verdict.Inconclusive
        : Verdict.Pass;
}

/// <summary>One measurement of a metric.</summary>
/// <param name="Metric">The metric's name.</param>
/// <param name="At">When it was taken.</param>
/// <param name="Verdict">What it says.</param>
/// <param name="Value">The candidate's value; null if there is none.</param>
/// <param name="Baseline">The baseline's; null if it was not compared.</param>
/// <param name="Harm">How much worse the candidate is; null if it was not compared.</param>
/// <param name="Lower">Lower end of the harm's always-valid interval.</param>
/// <param name="Upper">Upper end.</param>
/// <param name="P">Always-valid p-value of no harm.</param>
/// <param name="CandidateN">Units of the candidate.</param>
/// <param name="BaselineN">Units of the baseline.</param>
/// <param name="Query">What was asked, with its names filled in.</param>
/// <param name="Why">In words.</param>
public sealed record Measurement(
    string Metric, DateTimeOffset At, Verdict Verdict, double? Value, double? Baseline, double? Harm, double? Lower, double? Upper, double? P,
    long CandidateN, long BaselineN, string Query, string Why);

/// <summary>What a metric's measurements add up to; kept with the rollout. Begins anew with every analysis step.</summary>
/// <param name="Since">The step that it belongs to began then, Unix microseconds.</param>
/// <param name="LastAt">When it was measured last, Unix microseconds; 0: never.</param>
/// <param name="Measurements">All measurements.</param>
/// <param name="Failures">Failed ones.</param>
/// <param name="Errors">Provider errors in a row.</param>
/// <param name="Inconclusive">Inconclusive ones.</param>
/// <param name="NoData">Those without data.</param>
/// <param name="Successes">Successes in a row.</param>
public sealed record MetricTally(long Since, long LastAt, int Measurements, int Failures, int Errors, int Inconclusive, int NoData, int Successes)
{
    /// <summary>The tally of a step that has just begun.</summary>
    public static MetricTally Begin(long since) => new(since, 0, 0, 0, 0, 0, 0, 0);

    /// <summary>Job: when the run began that has not answered yet, Unix microseconds; 0: none is waited for.</summary>
    public long AskedAt { get; init; }

    /// <summary>One measurement later.</summary>
    public MetricTally Add(Verdict verdict, long at) => this with
    {
        LastAt = at,
        AskedAt = 0,
        Measurements = Measurements + 1,
        Failures = Failures + (verdict == Verdict.Fail ? 1 : 0),
        Errors = verdict == Verdict.Error ? Errors + 1 : 0,
        Inconclusive = Inconclusive + (verdict == Verdict.Inconclusive ? 1 : 0),
        NoData = NoData + (verdict == Verdict.NoData ? 1 : 0),
        Successes = verdict == Verdict.Pass ? Successes + 1 : 0,
    };

    /// <summary>
    /// What the measurements say together: failed beyond the limit, then provider errors, then inconclusive, then without data; passed only with
    /// enough measurements and successes in a row. <c>Final</c>: a limit is passed, more measurements change nothing.
    /// </summary>
    public (Verdict Verdict, bool Final, string Why) Judge(AnalysisMetric metric) =>
        Failures > metric.MaxFailures ? (Verdict.Fail, true, $"{Failures} of {Measurements} measurements failed, {metric.MaxFailures} accepted")
        : Errors > metric.MaxErrors ? (Verdict.Error, true, $"{Errors} provider errors in a row, {metric.MaxErrors} accepted")
        : Inconclusive > metric.MaxInconclusive ? (Verdict.Inconclusive, true, $"{Inconclusive} of {Measurements} measurements are inconclusive, {metric.MaxInconclusive} accepted")
        : NoData > metric.MaxNoData ? (Verdict.NoData, true, $"{NoData} of {Measurements} measurements had no data, {metric.MaxNoData} accepted")
        : Measurements >= metric.MinMeasurements && Successes >= metric.ConsecutiveSuccesses ? (Verdict.Pass, true, $"{Successes} successes in a row, {Measurements} measurements")
        : Measurements == 0 ? (Verdict.NoData, false, "not measured yet")
        : (Verdict.Inconclusive, false, $"{Successes} of {metric.ConsecutiveSuccesses} successes in a row, {Measurements} of at least {metric.MinMeasurements} measurements");
}
