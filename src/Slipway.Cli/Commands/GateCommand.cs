using System.CommandLine;
using System.Text.Json;
using Slipway.Client;

namespace Slipway.Cli.Commands;

/// <summary>Gate requests: a version asks to pass a policy.</summary>
internal static class GateCommand
{
    public static readonly Column[] Columns =
    [
        new("REQUEST", "id"), new("SUBJECT", "subject"), new("POLICY", "policy"), new("STATE", "state"), new("APPROVALS", e => $"{Output.Text(Output.At(e, "approvals"))} of {Output.Text(Output.At(e, "requiredApprovals"))}"),
        new("REQUESTED", "requestedAt"), new("BY", "requestedBy"), new("DECIDED", "decidedAt", wide: true), new("EVIDENCE", "evidenceDigest", wide: true),
    ];

    public static Command Build(Globals globals, Terminal terminal)
    {
        var version = new Argument<string>("version") { Description = "The version, for example flights/7" };
        var request = new Argument<string>("request") { Description = "A request's id, or a version for its newest request" };
        var policy = new Option<string>("--policy") { Description = "The policy to pass", Required = true };
        var state = new Option<string?>("--state") { Description = "pending, granted, denied or superseded" };
        var limit = Opt.Limit();
        var (wait, timeout) = (Opt.Wait(), Opt.Timeout());
        return new Noun("gate", "Requests of versions to pass a policy")
        {
            new Verb("request", "Asks for a version to pass a policy; exit code 8 while it waits for people", "slipway gate request flights/7 --policy production", "slipway gate request flights@candidate --policy production --wait --timeout 2h")
                .With(version, policy, wait, timeout)
                .Does(globals, terminal, async s =>
                {
                    var (model, reference) = VersionCommand.Split(s.Value(version));
                    var found = await s.Client.GetAsync<JsonElement>($"models/{s.About("models", model)}/versions/{reference}", s.Stop);
                    s.About("policies", s.Value(policy)!);
                    var asked = await s.Client.PostAsync<JsonElement>($"gates", new { subject = Output.Text(Output.At(found, "subject")), policy = s.Value(policy) }, s.Stop);
                    return await EndAsync(s, asked, s.Value(wait), s.Value(timeout)!);
                }),
            new Verb("list", "Lists gate requests", "slipway gate list", "slipway gate list --state denied")
                .With(state, limit)
                .Does(globals, terminal, s => s.ListAsync($"gates{Query.Of(("state", s.Value(state)))}", s.Value(limit), Columns)),
            new Verb("show", "Shows a request: rules, values and votes", "slipway gate show flights/7", "slipway gate show 0193a7c2f0d27f3c9a41b6d0a2e5c001 -o json")
                .With(request)
                .Does(globals, terminal, async s =>
                {
                    s.Out.One(await FindAsync(s, s.Value(request)), All);
                    return ExitCodes.Done;
                }),
        };
    }

    /// <summary>Every line of one request.</summary>
    public static Column[] All =>
    [
        .. Columns.Select(c => c with { Wide = false }), new("AUTHORS", "authors"), new("RULES", e => string.Join('\n', Output.At(e, "rules").EnumerateArray().Select(r => $"{Output.Text(Output.At(r, "outcome")),-5} {Rule(r)}"))),
        new("VOTES", e => string.Join('\n', Output.At(e, "votes").EnumerateArray().Select(v => $"{(Output.At(v, "approve").ValueKind == JsonValueKind.True ? "for" : "against")}  {Output.Text(Output.At(v, "voter"))}: {Output.Text(Output.At(v, "comment"))}").DefaultIfEmpty("-"))),
    ];

    /// <summary>A rule in words: what it asks, what was measured, and why it did not pass.</summary>
    public static string Rule(JsonElement rule) =>
        $"{Output.Text(Output.At(rule, "id"))}: {Output.Text(Output.At(rule, "measured"))} {Output.Text(Output.At(rule, "required"))}{(Output.At(rule, "why").ValueKind == JsonValueKind.String ? $" ({Output.Text(Output.At(rule, "why"))})" : "")}";

    /// <summary>A request by its id, or the newest one of a version.</summary>
    public static async Task<JsonElement> FindAsync(Session s, string request)
    {
        if (!request.Contains('/', StringComparison.Ordinal) && !request.Contains('@', StringComparison.Ordinal))
        {
            return await s.Client.GetAsync<JsonElement>($"gates/{s.About("gates", request, "id")}", s.Stop);
        }

        var (model, reference) = VersionCommand.Split(request);
        var version = await s.Client.GetAsync<JsonElement>($"models/{s.About("models", model)}/versions/{reference}", s.Stop);
        var subject = Output.Text(Output.At(version, "subject"));
        var (items, _) = await s.Client.ListAsync<JsonElement>($"gates{Query.Of(("subject", subject))}", 1, s.Stop);
        return items.Count > 0 ? items[0] : throw new CliException(ExitCodes.NotFound, $"{subject} has no gate request", "nobody asked for one", $"slipway gate request {request} --policy NAME");
    }

    /// <summary>Prints a request and ends with what became of it.</summary>
    public static async Task<int> EndAsync(Session s, JsonElement asked, bool wait, string timeout)
    {
        var id = Output.Text(Output.At(asked, "id"));
        var ended = wait
            ? await s.WaitAsync(() => s.Client.GetAsync<JsonElement>($"gates/{id}", s.Stop), g => $"{Output.Text(Output.At(g, "state"))}, {Columns[4].Of(g)} approvals", g => State(g) != "pending", Duration.Parse(timeout, "--timeout"))
            : asked;
        s.Out.One(ended, All);
        return State(ended) switch { "granted" => ExitCodes.Done, "pending" => ExitCodes.Pending, _ => ExitCodes.Conflict };
    }

    private static string State(JsonElement gate) => Output.Text(Output.At(gate, "state"));
}
