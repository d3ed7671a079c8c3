using System.Diagnostics;

namespace Slipway.Benchmarks;

/// <summary>How often the gate errs, what it stops, and what always-valid tests cost against a planned horizon.</summary>
internal static class RolloutStatisticsBench
{
    private const int Seed = 20260301;

    public static void Run(int rollouts)
    {
        var begun = Stopwatch.StartNew();
        Console.WriteLine($"default gate, {GateSimulation.Looks} looks of 400 requests, {rollouts} rollouts, alpha 0.05");
        Console.WriteLine("errors stable  errors candidate  candidate's share  aborted  requests of the candidate");
        foreach (var (stable, candidate, share) in new[] { (0.1, 0.1, 0.5), (0.1, 0.1, 0.1), (0.02, 0.02, 0.5), (0.001, 0.001, 0.5), (0.001, 0.001, 0.1), (0.1, 0.13, 0.5), (0.02, 0.05, 0.5), (0.001, 0.031, 0.5), (0.001, 0.031, 0.1) })
        {
            var found = GateSimulation.Gate(rollouts, stable, candidate, share, Seed);
            Console.WriteLine(FormattableString.Invariant($"{stable,13:P1}{candidate,18:P1}{share,19:P0}{found.Share,9:P2}{found.MeanUnits,27:0}"));
        }

        Console.WriteLine();
        Console.WriteLine($"experiment on a rate of 10 %, at most 20,000 units an arm, {rollouts} runs, alpha 0.05");
        Console.WriteLine("lift     sequential  mean units an arm  fixed horizon  fixed test at every look");
        foreach (var lift in new[] { 0, -0.03, 0.005, 0.01, 0.02 })
        {
            var (sequential, once, peeking) = GateSimulation.Experiments(rollouts, 0.1, lift, Seed);
            Console.WriteLine(FormattableString.Invariant($"{lift,-7:+0.000;-0.000;0}{sequential.Share,12:P1}{sequential.MeanUnits,19:0}{once.Share,15:P1}{peeking.Share,26:P1}"));
        }

        Console.WriteLine(FormattableString.Invariant($"{begun.Elapsed.TotalSeconds:0.0} s"));
    }
}
