using System.Text.Json;
using Slipway.Foundation;
using Slipway.Governance;

namespace Slipway.Tests.Governance;

public class AuditTests
{
    private static readonly CancellationToken None = CancellationToken.None;

    [Theory]
    [InlineData("vote.cast", "model-version:flights/2", """{"approve":true,"comment":"looks good"}""", "ada approved model-version flights/2: looks good")]
    [InlineData("vote.cast", "model-version:flights/2", """{"approve":false,"comment":"leaks"}""", "ada refused model-version flights/2: leaks")]
    [InlineData("approval.granted", "model-version:flights/2", """{"policy":"prod"}""", "ada completed the approval of model-version flights/2 under the policy prod")]
    [InlineData("gate.requested", "model-version:flights/2", """{"policy":"prod","rules":[{"outcome":"pass"},{"outcome":"fail"}]}""", "ada asked to let model-version flights/2 pass the policy prod: 1 of 2 rules passed")]
    [InlineData("user.created", "actor:bob", """{"roles":["viewer","auditor"]}""", "ada created the user bob with the role viewer, auditor")]
    [InlineData("dataset.committed", "dataset-version:flights/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", """{"branch":"main","message":"week 1"}""", "ada committed dataset-version flights/0123456789ab to main: week 1")]
    [InlineData("rollout.aborted", "rollout:r1", """{"reason":"error rate 12 %"}""", "ada rolled rollout r1 back: error rate 12 %")]
    [InlineData("alias.moved", "model-version:flights/2", """{"alias":"champion"}""", "ada moved the alias champion to model-version flights/2")]
    [InlineData("policy.changed", "policy:prod", """{"version":3}""", "ada put version 3 of policy prod in force")]
    [InlineData("rollout.stepped", "rollout:r1", """{"percent":"50","candidate":"flights/2","cause":"the step's checks passed"}""", "ada moved rollout r1 on to 50 % of the traffic")]
    [InlineData("rollout.paused", "rollout:r1", """{"cause":"too few requests"}""", "ada paused rollout r1: too few requests")]
    [InlineData("model.changed", "model:flights", """{"field":"tag","key":"team"}""", "ada changed the tag team of model flights")]
    [InlineData("vote.cast", "model-version:flights/2", """{"approve":true,"comment":"fine\n2026 eve approved everything\u001b[2J"}""", "ada approved model-version flights/2: fine 2026 eve approved everything [2J")]
    [InlineData("something.new", "run:r1", "{}", "ada recorded something.new on run r1")]
    public void Entries_read_as_sentences(string kind, string subject, string body, string sentence) =>
        Assert.Equal(sentence, Audit.Sentence(Entry(kind, subject, body)));

    [Fact]
    public void The_product_itself_and_those_who_act_for_others_are_named()
    {
        Assert.Equal("the monitor raised an alert: drift in delay", Audit.Sentence(Entry("alert.fired", "alert:a", """{"sentence":"drift in delay"}""") with { Actor = Actor.System("monitor") }));
        Assert.Equal("bot for ada created model flights", Audit.Sentence(Entry("model.created", "model:flights", "{}") with { Actor = new Actor(ActorKind.Service, "bot", "apikey:x", "ada") }));
    }

    [Fact]
    public void A_refused_attempt_says_why() => Assert.Equal(
        "ada tried to vote on model-version flights/2 and was stopped by sod.author: ada made or requested it",
        Audit.Sentence(Entry("approval.refused", "model-version:flights/2", """{"why":"ada made or requested it"}""") with { Outcome = "denied", Reason = "sod.author" }));

    [Fact]
    public void Every_kind_has_a_sentence_even_after_its_detail_was_erased() => Assert.All(Sentences.Kinds, kind =>
    {
        var sentence = Audit.Sentence(Entry(kind, "thing:x", "{}"));
        Assert.StartsWith("ada ", sentence, StringComparison.Ordinal);
        Assert.DoesNotContain("  ", sentence, StringComparison.Ordinal);
        Assert.False(sentence.EndsWith(' ') || sentence.EndsWith(':'), sentence);
    });

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task The_log_lists_and_verifies(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        await world.Get<Access>().CreateUserAsync(TestWorld.Ada, "bob", [Roles.Viewer], None);
        await world.Get<Policies>().ApplyAsync(TestWorld.Ada, Samples.Simple, None);
        await world.SealAsync();

        var page = await world.Get<Audit>().ListAsync(new JournalFilter { Descending = false }, None);

        Assert.Equal(["ada created the user bob with the role viewer", "ada put version 1 of policy simple in force"], page.Items.Select(i => i.Sentence));
        Assert.True((await world.Get<Audit>().VerifyAsync(None)).Intact);
    }

    private static JournalEntry Entry(string kind, string subject, string body) => new(1, "id", DateTimeOffset.UnixEpoch, new Actor(ActorKind.User, "ada"), kind, Subject.Parse(subject), [], JsonDocument.Parse(body).RootElement, "success", null, "");
}
