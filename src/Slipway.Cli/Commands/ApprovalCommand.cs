using System.CommandLine;
using System.Text.Json;
using Slipway.Client;

namespace Slipway.Cli.Commands;

/// <summary>Approvals: what people are asked to decide.</summary>
internal static class ApprovalCommand
{
    public static Command Build(Globals globals, Terminal terminal)
    {
        var state = new Option<string>("--state") { Description = "pending, granted, denied, superseded or all", DefaultValueFactory = _ => "pending" };
        var limit = Opt.Limit();
        var request = new Argument<string>("request") { Description = "A request's id, or a version for its newest request" };
        return new Noun("approval", "What people are asked to decide")
        {
            new Verb("list", "Lists what waits for a decision", "slipway approval list", "slipway approval list --state all")
                .With(state, limit)
                .Does(globals, terminal, s => s.ListAsync($"approvals{Query.Of(("state", s.Value(state)))}", s.Value(limit), GateCommand.Columns)),
            new Verb("show", "Shows a request with its evidence", "slipway approval show flights/7", "slipway approval show 0193a7c2f0d27f3c9a41b6d0a2e5c001 -o json")
                .With(request)
                .Does(globals, terminal, async s =>
                {
                    s.Out.One(
                        await GateCommand.FindAsync(s, s.Value(request)),
                        [.. GateCommand.All, new("FACTS", e => string.Join('\n', Output.At(e, "evidence.facts").EnumerateObject().Select(f => $"{f.Name} = {Output.Text(f.Value)}").DefaultIfEmpty("-")))]);
                    return ExitCodes.Done;
                }),
            Decide(globals, terminal, "approve", "Approves a request", approve: true),
            Decide(globals, terminal, "refuse", "Refuses a request; say why", approve: false),
        };
    }

    private static Verb Decide(Globals globals, Terminal terminal, string name, string description, bool approve)
    {
        var request = new Argument<string>("request") { Description = "A request's id, or a version for its newest request" };
        var comment = new Option<string?>("--comment", "-m") { Description = "Why", Required = !approve };
        var evidence = new Option<string?>("--evidence") { Description = "The digest of the evidence you saw; without it, the present one is shown and taken" };
        var examples = approve
            ? new[] { "slipway approval approve flights/7", "slipway approval approve 0193a7c2f0d27f3c9a41b6d0a2e5c001 -m 'the loss in AUC is within the noise'" }
            : ["slipway approval refuse flights/7 -m 'calibration is off for short flights'", "slipway approval refuse 0193a7c2f0d27f3c9a41b6d0a2e5c001 -m 'no card'"];
        return new Verb(name, description, examples)
            .With(request, comment, evidence)
            .Does(globals, terminal, async s =>
            {
                var asked = await GateCommand.FindAsync(s, s.Value(request));
                var digest = s.Value(evidence) ?? Output.Text(Output.At(asked, "evidenceDigest"));
                var decided = await s.Client.PostAsync<JsonElement>(
                    $"approvals/{Output.Text(Output.At(asked, "id"))}/decision",
                    new { approve, comment = s.Value(comment) ?? "", evidenceDigest = digest },
                    s.Stop);
                s.Out.One(decided, GateCommand.All);
                return ExitCodes.Done;
            });
    }
}
