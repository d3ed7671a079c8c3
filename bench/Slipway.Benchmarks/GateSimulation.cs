using Slipway.Serving;

namespace Slipway.Benchmarks;

/// <summary>What simulated rollouts came to.</summary>
/// <param name="Rollouts">How many.</param>
/// <param name="Decided">How many the test stopped or decided.</param>
/// <param name="MeanUnits">Requests of the candidate at that moment, or at the end, on average.</param>
internal sealed record SimulatedRollouts(int Rollouts, int Decided, double MeanUnits)
{
    public double Share => (double)Decided / Rollouts;
}

/// <summary>Rollouts of drawn outcomes, judged by the product's own gate and tests. A seed gives the same figures on every machine.</summary>
internal static class GateSimulation
{
    public const int Looks = 100;
    private const int PerLook = 400;

    /// <summary>How many rollouts the default gate aborts when it looks <see cref="Looks"/> times, at most 40,000 requests in all.</summary>
    public static SimulatedRollouts Gate(int rollouts, double stableRate, double candidateRate, double candidateShare, int seed)
    {
        var spec = new AnalysisSpec();
        int stopped = 0, perCandidate = (int)(PerLook * candidateShare), perStable = PerLook - perCandidate;
        double units = 0;
        for (var i = 0; i < rollouts; i++)
        {
            var random = new Random(seed + i);
            long stable = 0, candidate = 0;
            var memory = AnalysisMemory.Empty;
            for (var look = 1; look <= Looks; look++)
            {
                stable += Draw(random, perStable, stableRate);
                candidate += Draw(random, perCandidate, candidateRate);
                var report = Analysis.Guardrails(spec, new(new(look * perStable, stable, 1000), new(look * perCandidate, candidate, 1000)), memory);
                memory = report.Memory;
                if (report.Verdict == Verdict.Fail || look == Looks)
                {
                    stopped += report.Verdict == Verdict.Fail ? 1 : 0;
                    units += look * perCandidate;
                    break;
                }
            }
        }

        return new(rollouts, stopped, units / rollouts);
    }

    /// <summary>
    /// Halves with rates <paramref name="rate"/> and that plus <paramref name="lift"/>: how often the sequential experiment decides, how often a fixed-horizon
    /// test would that looks once at the end, and how often one that looks every time.
    /// </summary>
    public static (SimulatedRollouts Sequential, SimulatedRollouts Once, SimulatedRollouts Peeking) Experiments(int rollouts, double rate, double lift, int seed)
    {
        var spec = new ExperimentSpec { Primary = new() { Name = "converted", Kind = MetricKind.Proportion } };
        ExperimentArm[] arms = [new("stable", "m/1"), new("candidate", "m/2")];
        int sequential = 0, once = 0, peeking = 0;
        double sequentialUnits = 0, peekingUnits = 0;
        const int n = PerLook / 2;
        for (var i = 0; i < rollouts; i++)
        {
            var random = new Random(seed + i);
            ArmData[] data = [new(arms[0], 1), new(arms[1], 1)];
            var memory = AnalysisMemory.Empty;
            bool decided = false, peeked = false;
            for (var look = 1; look <= Looks; look++)
            {
                for (var arm = 0; arm < 2; arm++)
                {
                    double x = data[arm].Metrics[0].Sums.X + Draw(random, n, arm == 0 ? rate : rate + lift), all = look * n;
                    data[arm].Metrics[0].Sums = new((long)all, x, all, x, all, x);
                    (data[arm].Exposed, data[arm].Mature) = ((long)all, (long)all);
                }

                if (!decided)
                {
                    var report = Experiment.Judge(spec, new(data, null, null, default, default, 0, 0, 1), memory, default);
                    memory = report.Memory;
                    decided = report.Decision is ExperimentDecision.Winner or ExperimentDecision.Harm;
                    sequential += decided ? 1 : 0;
                    sequentialUnits += decided || look == Looks ? look * n : 0;
                }

                var significant = FixedHorizon.Z((long)data[0].Metrics[0].Sums.X, look * n, (long)data[1].Metrics[0].Sums.X, look * n).P < 0.05;
                if (!peeked)
                {
                    peeked = significant;
                    peeking += peeked ? 1 : 0;
                    peekingUnits += peeked || look == Looks ? look * n : 0;
                }

                once += look == Looks && significant ? 1 : 0;
            }
        }

        return (new(rollouts, sequential, sequentialUnits / rollouts), new(rollouts, once, Looks * n), new(rollouts, peeking, peekingUnits / rollouts));
    }

    private static int Draw(Random random, int n, double rate)
    {
        var events = 0;
        for (var i = 0; i < n; i++)
        {
            events += random.NextDouble() < rate ? 1 : 0;
        }

        return events;
    }
}
