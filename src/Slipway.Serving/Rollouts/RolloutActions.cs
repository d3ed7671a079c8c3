using Slipway.Serving.Routing;

namespace Slipway.Serving;

/// <summary>A command of a rollout as a button shows it.</summary>
/// <param name="Command"><c>start</c>, <c>promote</c>, <c>promoteFull</c>, <c>promoteWinner</c> (once for each candidate that may be chosen), <c>approve</c>, <c>pause</c>, <c>resume</c>, <c>abort</c>, <c>retry</c> or <c>undo</c>.</param>
/// <param name="Allowed">Whether it would be done now.</param>
/// <param name="Why">Why not, as a sentence; null if it is allowed.</param>
/// <param name="Effect">What it would do, as a sentence.</param>
/// <param name="Before">Shares now, by variant, stable among them.</param>
/// <param name="After">Shares once it is done and the plan waits again.</param>
/// <param name="Skips">Steps that are passed without their verdict, in words.</param>
/// <param name="SlotsMoved">How many of the 10,000 slots change hands.</param>
/// <param name="Serves">The version that has most of the traffic afterwards.</param>
/// <param name="Winner"><c>promoteWinner</c>: the variant that takes all traffic.</param>
public sealed record RolloutAction(
    string Command, bool Allowed, string? Why, string Effect, IReadOnlyDictionary<string, double> Before, IReadOnlyDictionary<string, double> After,
    IReadOnlyList<string> Skips, int SlotsMoved, string Serves, string? Winner = null);

/// <summary>Where an undo would go.</summary>
/// <param name="Target">The version.</param>
/// <param name="AtOnce">Whether one revision does it; otherwise it takes a rollout.</param>
/// <param name="Refusal">Why it is refused, or null.</param>
internal readonly record struct UndoFacts(string Target, bool AtOnce, string? Refusal);

/// <summary>What every command would do, found by giving it to the plan and not carrying it out. Pure.</summary>
internal static class RolloutActions
{
    public static IReadOnlyList<RolloutAction> Of(
        Rollout rollout, bool proposer, IReadOnlyCollection<string> roles, GateState gate, UndoFacts undo, Func<bool, string?, Ruling> promote, long now)
    {
        var (spec, status) = (rollout.Spec, rollout.Status);
        return
        [
            Action("start", RolloutPlan.Start(status, gate, now), _ => "The first step begins."),
            Action("promote", promote(false, null), _ => "The present wait ends, and the plan goes on. Guardrails stay on."),
            Action("promoteFull", promote(true, null), end => end.State == RolloutState.Paused && end.Pause == PauseReason.Approval ? "The steps up to the next approval are skipped. Guardrails stay on." : "All remaining steps are skipped. Guardrails stay on."),
            .. RolloutPlan.Chooses(spec) ? spec.Candidates.Select(name => Action("promoteWinner", promote(true, name), end => end.State == RolloutState.Paused && end.Pause == PauseReason.Approval
                ? $"{name} is the winner and takes all traffic once it is approved. Guardrails stay on." : $"{name} takes all traffic, and {VersionOf(name)} becomes stable after the bake. Guardrails stay on.", name)) : [],
            Action("approve", RolloutPlan.Approve(spec, status, proposer, roles, "approved", now), _ => "The approval is given, and the plan goes on."),
            Action("pause", RolloutPlan.Pause(status, "paused", now), _ => "The shares stay as they are until somebody resumes or aborts. Guardrails stay on."),
            Action("resume", RolloutPlan.Resume(status, "resumed", now), _ => "The plan goes on where it stopped; a timed pause keeps its end."),
            Action("abort", RolloutPlan.AbortByHand(status, "aborted", now), _ => $"All traffic goes back to {rollout.Stable} at once with one revision; no request fails."),
            Action("retry", RolloutPlan.Retry(status, "retried", now), _ => "The plan begins again from its first step; the same entities are first."),
            Action("undo", undo.Refusal is { } refusal ? new(null, refusal) : RolloutPlan.Undo(status, undo.Target, "undone", now), _ => undo.AtOnce
                ? $"{undo.Target} serves again at once with one revision; it is loaded."
                : $"{undo.Target} is rolled out by a plan of its own: it is not loaded any more, or served too long ago."),
        ];

        RolloutAction Action(string command, Ruling ruling, Func<RolloutStatus, string> effect, string? winner = null)
        {
            var before = Shares(rollout, status);
            if (ruling.Transition is not { } transition)
            {
                return new(command, false, ruling.Refusal is { } why ? Sentence(why) : "It is so already.", effect(status), before, before, [], 0, Serves(before), winner);
            }

            var end = Onwards(spec, transition.Next, now);
            var after = command == "undo" && !undo.AtOnce ? before : Shares(rollout, end);
            IReadOnlyList<string> skipped = command is "promote" or "promoteFull" or "promoteWinner"
                ? [.. Enumerable.Range(status.Step, Math.Max(0, transition.Next.Step - status.Step)).Where(index => index < spec.Steps.Count).Select(index => $"step {index + 1}: {spec.Steps[index].Words}")]
                : [];
            var serves = command == "undo" ? undo.AtOnce ? undo.Target : rollout.Successor : Serves(after);
            return new(command, true, null, effect(end), before, after, skipped, command == "undo" ? undo.AtOnce ? SlotTable.Size : 0 : Moved(before, after), serves, winner);
        }

        string Serves(IReadOnlyDictionary<string, double> shares)
        {
            var most = shares.MaxBy(share => share.Value).Key;
            return status.State is RolloutState.Healthy && status.BakingSince > 0 && status.UndoneTo is null ? rollout.Successor
                : most == "stable" ? status.UndoneTo ?? rollout.Stable : VersionOf(most);
        }

        string VersionOf(string name) => rollout.Variants.FirstOrDefault(variant => variant.Name == name) is { ModelVersion.Length: > 0 } variant ? variant.ModelVersion : rollout.Stable;
    }

    /// <summary>Lets the plan run until it waits for something that only the world can say.</summary>
    private static RolloutStatus Onwards(RolloutSpec spec, RolloutStatus status, long now)
    {
        for (var taken = 0; taken < 250 && status.State is RolloutState.Progressing or RolloutState.Promoting; taken++)
        {
            if (RolloutPlan.Next(spec, status, new(now, GateState.NotAsked, null, null, null) { Answer = RolloutPlan.IsSet(spec, status) ? new(true, false, "served") : null }) is not { } next)
            {
                break;
            }

            status = next.Next;
        }

        return status;
    }

    private static Dictionary<string, double> Shares(Rollout rollout, RolloutStatus status)
    {
        var shares = rollout.Variants.ToDictionary(variant => variant.Name, variant => status.WeightOf(variant.Name), StringComparer.Ordinal);
        shares["stable"] = Math.Max(0, Math.Round(100 - shares.Values.Sum(), 4));
        return shares;
    }

    private static int Moved(IReadOnlyDictionary<string, double> before, IReadOnlyDictionary<string, double> after) =>
        (int)Math.Round(after.Sum(share => Math.Max(0, share.Value - before.GetValueOrDefault(share.Key))) * SlotTable.Size / 100);

    private static string Sentence(string why) => $"{char.ToUpperInvariant(why[0])}{why[1..]}.";
}
