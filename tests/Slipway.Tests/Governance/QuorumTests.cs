using CsCheck;
using Slipway.Governance;

namespace Slipway.Tests.Governance;

public class QuorumTests
{
    private static readonly ApprovalStage Technical = new("technical", 1, ["role:validator"]);
    private static readonly ApprovalStage Risk = new("risk", 1, ["role:risk-officer"]);

    [Fact]
    public void A_person_who_may_serve_two_stages_serves_the_one_that_needs_them()
    {
        // Ada alone can serve risk; whoever is seated first must not take the other's only seat.
        Vote[] votes = [Approves("ada", "validator", "risk-officer"), Approves("bob", "validator")];

        Assert.Empty(Quorum.Missing([Technical, Risk], votes));
        Assert.Empty(Quorum.Missing([Technical, Risk], votes.Reverse()));
    }

    [Fact]
    public void One_person_fills_one_seat_only() =>
        Assert.Equal([("risk", 1)], Quorum.Missing([Technical, Risk], [Approves("ada", "validator", "risk-officer")]));

    [Fact]
    public void Names_that_differ_by_case_are_one_person() =>
        Assert.Equal([("two", 1)], Quorum.Missing([new ApprovalStage("two", 2, ["role:validator"])], [Approves("ada", "validator"), Approves("Ada", "validator")]));

    [Fact]
    public void A_vote_against_and_a_foreign_role_fill_nothing() =>
        Assert.Equal([("technical", 1)], Quorum.Missing([Technical], [Approves("ada", "risk-officer"), Approves("bob", "validator") with { Approve = false }]));

    [Fact]
    public void A_named_person_and_an_owner_may_serve()
    {
        Assert.Empty(Quorum.Missing([new ApprovalStage("s", 1, ["user:eve"])], [Approves("eve", "viewer")]));
        Assert.Empty(Quorum.Missing([Technical], [Approves("root", Roles.Owner)]));
    }

    [Fact]
    public void Seating_agrees_with_trying_every_assignment() =>
        Gen.Select(
            Gen.Int[1, 2].Array[1, 3].Select(requires => requires.Select((r, i) => new ApprovalStage($"s{i}", r, [$"role:r{i}"])).ToArray()),
            Gen.Int[0, 7].Array[0, 5]).Sample((stages, people) =>
        {
            var votes = people.Select((mask, i) => Approves($"p{i}", [.. Enumerable.Range(0, 3).Where(r => (mask & (1 << r)) != 0).Select(r => $"r{r}")])).ToArray();
            var most = Most(stages.SelectMany(s => Enumerable.Repeat(s, s.Require)).ToArray(), votes, 0, 0);
            var missing = Quorum.Missing(stages, votes).Sum(m => m.Missing);
            return missing == stages.Sum(s => s.Require) - most;
        });

    // The largest number of seats that can be filled, by trying every person in every seat.
    private static int Most(ApprovalStage[] seats, Vote[] votes, int seat, int used)
    {
        if (seat == seats.Length) return 0;
        var best = Most(seats, votes, seat + 1, used);
        for (var i = 0; i < votes.Length; i++)
        {
            if ((used & (1 << i)) == 0 && Quorum.MayServe(seats[seat], votes[i].Voter, votes[i].Roles))
                best = Math.Max(best, 1 + Most(seats, votes, seat + 1, used | (1 << i)));
        }
        return best;
    }

    private static Vote Approves(string person, params string[] roles) => new(person, true, "", "", roles, DateTimeOffset.UnixEpoch);
}
