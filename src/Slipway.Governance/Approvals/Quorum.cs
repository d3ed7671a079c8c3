namespace Slipway.Governance;

/// <summary>
/// Whether the approvals fill every stage, when each person counts once over all stages. A person who could serve two stages
/// is put where they are needed, so the outcome does not depend on the order of voting.
/// </summary>
internal static class Quorum
{
    /// <summary>Which stages still lack how many approvals; empty when the quorum is reached.</summary>
    public static IReadOnlyList<(string Stage, int Missing)> Missing(IReadOnlyList<ApprovalStage> stages, IEnumerable<Vote> votes)
    {
        var people = votes.Where(v => v.Approve).DistinctBy(v => v.Voter, StringComparer.OrdinalIgnoreCase).ToList();
        var seats = stages.SelectMany((stage, index) => Enumerable.Repeat(index, stage.Require)).ToList();
        var sitter = new int[seats.Count];
        Array.Fill(sitter, -1);

        // Augmenting paths: seat one person after the other, letting those who sit already move to another seat they may take.
        for (var person = 0; person < people.Count; person++) Seat(person, new bool[seats.Count]);

        return [.. seats.Where((_, seat) => sitter[seat] < 0).GroupBy(stage => stage).Select(g => (stages[g.Key].Name, g.Count()))];

        bool Seat(int person, bool[] tried)
        {
            for (var seat = 0; seat < seats.Count; seat++)
            {
                if (tried[seat] || !MayServe(stages[seats[seat]], people[person].Voter, people[person].Roles)) continue;
                tried[seat] = true;
                if (sitter[seat] >= 0 && !Seat(sitter[seat], tried)) continue;
                sitter[seat] = person;
                return true;
            }
            return false;
        }
    }

    /// <summary>An owner may serve any stage; everybody else needs one of the stage's roles or to be named.</summary>
    public static bool MayServe(ApprovalStage stage, string person, IReadOnlyCollection<string> roles) =>
        roles.Contains(Roles.Owner) || stage.From.Any(from => from == $"user:{person}" || roles.Any(role => from == $"role:{role}"));
}
