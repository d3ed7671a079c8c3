using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Slipway.Client;
using Slipway.Serving;

namespace Slipway.Cli.Commands;

/// <summary>Rollouts: a version replaces another one, step by step.</summary>
internal static class RolloutCommand
{
    private static readonly Column[] Columns =
    [
        new("ROLLOUT", "id"), new("ENDPOINT", "endpoint"), new("CANDIDATE", "candidate"), new("STABLE", "stable"), new("STATE", e => StateOf(e)), new("SHARE", e => Output.Text(Output.At(e, "status.percent")) + " %"),
        new("STEP", e => StepOf(e)), new("UPDATED", "updatedAt"), new("CAUSE", "status.cause", wide: true), new("POLICY", "policy", wide: true), new("BY", "proposedBy", wide: true),
    ];

    public static Command Build(Globals globals, Terminal terminal)
    {
        var endpoint = new Option<string?>("--endpoint") { Description = "Only of this endpoint" };
        var limit = Opt.Limit();
        var rollout = Opt.Id("rollout");
        return new Noun("rollout", "A version replaces another one, step by step")
        {
            new Verb("list", "Lists rollouts, newest first", "slipway rollout list", "slipway rollout list --endpoint late")
                .With(endpoint, limit)
                .Does(globals, terminal, s => s.ListAsync($"rollouts{Query.Of(("endpoint", s.Value(endpoint)))}", s.Value(limit), Columns)),
            Start(globals, terminal),
            Show(globals, terminal),
            new Verb("timeline", "Lists what happened to a rollout", "slipway rollout timeline 0193a7c2f0d27f3c9a41b6d0a2e5c001", "slipway rollout timeline 0193a7c2f0d27f3c9a41b6d0a2e5c001 -o json")
                .With(rollout, limit)
                .Does(globals, terminal, s => s.ListAsync($"rollouts/{s.About("rollouts", s.Value(rollout), "id")}/timeline", s.Value(limit), new("AT", "at"), new("EVENT", "kind"), new("STATE", "state"), new("SHARE", e => Output.Text(Output.At(e, "percent")) + " %"), new("ACTOR", "actor"), new("CAUSE", "cause"))),
            new Verb("nodes", "Lists the nodes with the shares that each really serves", "slipway rollout nodes 0193a7c2f0d27f3c9a41b6d0a2e5c001", "slipway rollout nodes 0193a7c2f0d27f3c9a41b6d0a2e5c001 -o json")
                .With(rollout, limit)
                .Does(globals, terminal, s => s.ListAsync($"rollouts/{s.About("rollouts", s.Value(rollout), "id")}/nodes", s.Value(limit), new("NODE", "node"), new("LIVE", e => Output.At(e, "live").GetBoolean() ? "yes" : "no"), new("REVISION", "revision"), new("CURRENT", e => Output.At(e, "current").GetBoolean() ? "yes" : "no"), new("SERVES", e => Shares(Output.At(e, "shares"))), new("TAKES THE STEPS", e => Output.At(e, "drives").GetBoolean() ? "yes" : "no"), new("WHY", "why"))),
            Watch(globals, terminal),
            DeclaredCommands.Lint(globals, terminal),
            RolloutPlanVerb.Build(globals, terminal),
            Explain(globals, terminal),
            Act(globals, terminal, "resume", "Goes on with a paused rollout", _ => new { }),
            Promote(globals, terminal),
            Approve(globals, terminal),
            Pause(globals, terminal),
            Abort(globals, terminal),
            Act(globals, terminal, "retry", "Tries an aborted rollout again", _ => new { }),
            Undo(globals, terminal),
        };
    }

    private static Verb Start(Globals globals, Terminal terminal)
    {
        var endpoint = new Argument<string>("endpoint") { Description = "The endpoint; or the id of a rollout that was held, alone" };
        var version = new Argument<string?>("version") { Description = "The candidate, for example flights/8; a file may name it", Arity = ArgumentArity.ZeroOrOne };
        var steps = new Option<string>("--steps") { Description = "The candidate's shares in percent; after each below 100 an analysis decides", DefaultValueFactory = _ => "10,50,100" };
        var file = new Option<string?>("--file", "-f") { Description = "The whole plan as YAML of kind Rollout or as JSON, instead of --steps; - for standard input" };
        var policy = new Option<string?>("--policy") { Description = "The policy whose gate it must have passed" };
        var requests = new Option<int?>("--min-requests") { Description = "Requests each variant needs before an analysis judges" };
        var quality = new Option<string[]>("--quality") { Description = "Also compare auc or logLoss over labelled predictions", AllowMultipleArgumentsPerToken = true };
        var hold = new Option<bool>("--hold") { Description = "Do not start by itself" };
        var other = new Option<bool>("--allow-other-inputs") { Description = "Start although the candidate takes other inputs than stable: callers send what it takes" };
        var (wait, timeout) = (Opt.Wait(), Opt.Timeout());
        var start = new Verb("start", "Starts a rollout of a version on an endpoint, once its gate is granted", "slipway rollout start late flights/8 --steps 5,25,100 --quality auc --wait --timeout 2h", "slipway rollout start late -f canary.yaml")
            .With(endpoint, version, steps, file, policy, requests, quality, hold, other, wait, timeout)
            .Does(globals, terminal, async s =>
            {
                if (s.Value(version) is null && s.Value(file) is null && IsId(s.Value(endpoint)!))
                {
                    var held = await s.Client.PostAsync<JsonElement>($"rollouts/{s.About("rollouts", s.Value(endpoint), "id")}/start", new { }, s.Stop);
                    return await EndAsync(s, held, s.Value(wait), s.Value(timeout)!);
                }

                object spec;
                var (candidate, gate) = (s.Value(version), s.Value(policy));
                if (s.Value(file) is { } plan && !plan.EndsWith(".json", StringComparison.OrdinalIgnoreCase) && await DeclaredCommands.ReadAsync(s, plan) is var items)
                {
                    var declared = items is [{ Rollout: { } only }] ? only : throw new CliException(ExitCodes.Usage, $"{plan} cannot be proposed", "it must hold one document of kind Rollout", $"slipway apply -f {plan}");
                    (spec, candidate, gate) = (declared.Spec, candidate ?? declared.Candidate, gate ?? declared.Policy);
                }
                else
                {
                    spec = s.Value(file) is { } json
                        ? JsonSerializer.Deserialize<JsonElement>(await Input.ReadAsync(s, json), SlipwayClient.Json)
                        : Canary(s.Value(steps)!, s.Value(requests), s.Value(quality) ?? [], s.Value(hold), s.Value(other));
                }

                s.About("endpoints", s.Value(endpoint));
                var proposed = await s.Client.PostAsync<JsonElement>($"rollouts", new { endpoint = s.Value(endpoint), candidate, policy = gate, spec }, s.Stop);
                return await EndAsync(s, proposed, s.Value(wait), s.Value(timeout)!);
            });
        start.Aliases.Add("propose");
        return start;
    }

    // As ids are minted. An endpoint of such a name is meant where a version or a file stands beside it.
    private static bool IsId(string text) => text.Length == 32 && text.All(char.IsAsciiHexDigitLower);

    private static object Canary(string steps, int? requests, string[] quality, bool hold, bool allowOtherInputs)
    {
        var percents = steps.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)
            .Select(p => double.TryParse(p.TrimEnd('%'), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var percent) && percent is >= 0 and <= 100
                ? percent
                : throw new CliException(ExitCodes.Usage, "the steps cannot be read", $"\"{p}\" is not a share from 0 to 100", "write for example --steps 10,50,100"));
        var analysis = new { minRequests = requests ?? 50, quality };
        return new
        {
            autoStart = !hold,
            allowOtherInputs,
            guardrails = new { minRequests = requests ?? 50 },
            steps = percents.SelectMany(p => p < 100 ? new object[] { new { kind = "setWeight", percent = p }, new { kind = "analysis", analysis } } : [new { kind = "setWeight", percent = p }]),
        };
    }

    private static Verb Watch(Globals globals, Terminal terminal)
    {
        var rollout = Opt.Id("rollout");
        return new Verb("watch", "Follows a rollout until it has ended; exit code 1 when it was aborted", "slipway rollout watch 0193a7c2f0d27f3c9a41b6d0a2e5c001", "slipway rollout watch 0193a7c2f0d27f3c9a41b6d0a2e5c001 | tee rollout.log")
            .With(rollout)
            .Does(globals, terminal, async s =>
            {
                var id = s.About("rollouts", s.Value(rollout), "id");
                var now = await s.Client.GetAsync<JsonElement>($"rollouts/{id}", s.Stop);
                try
                {
                    if (s.Terminal.ShowsTables)
                    {
                        await Pretty.LiveAsync(
                            s.Terminal,
                            async () =>
                            {
                                now = await s.Client.GetAsync<JsonElement>($"rollouts/{id}", s.Stop);
                                return (await DrawAsync(s, now), Ended(now));
                            },
                            TimeSpan.FromSeconds(1),
                            s.Stop);
                    }
                    else
                    {
                        now = await FollowAsync(s, id);
                    }
                }
                catch (OperationCanceledException)
                {
                    s.Note("stopped watching; the rollout goes on");
                    throw;
                }

                return State(now) == "healthy" ? ExitCodes.Done : ExitCodes.Failed;
            });
    }

    /// <summary>Where it stands, the step's clock, what is set beside what is served, and the checks with their intervals.</summary>
    private static async Task<IReadOnlyList<string>> DrawAsync(Session s, JsonElement now)
    {
        var shares = await s.Client.GetAsync<JsonElement>($"endpoints/{Output.Text(Output.At(now, "endpoint"))}/shares", s.Stop);
        return
        [
            $"{StateOf(now)}  {Output.Text(Output.At(now, "candidate"))} at {Output.Text(Output.At(now, "status.percent"))} % of {Output.Text(Output.At(now, "endpoint"))}: {Output.Text(Output.At(now, "status.cause"))}",
            "",
            .. Steps(now, s.Terminal.Clock.GetUtcNow()),
            "",
            $"{"VARIANT",-12} {"VERSION",-20} {"SET",8} {"SERVED",8} {"REQUESTS",9} {"ERRORS",7} {"P95",10}",
            .. Output.At(shares, "items").EnumerateArray().Select(v =>
                $"{Output.Text(Output.At(v, "name")),-12} {Output.Text(Output.At(v, "modelVersion")),-20} {Output.Text(Output.At(v, "percent")) + " %",8} {(Output.Number(Output.At(v, "actual")) is { } actual ? FormattableString.Invariant($"{actual:0.0} %") : "-"),8} {Output.Text(Output.At(v, "requests")),9} {Output.Text(Output.At(v, "errors")),7} {(Output.Number(Output.At(v, "p95Micros")) is { } p95 ? FormattableString.Invariant($"{p95 / 1000:0.00} ms") : "-"),10}"),
            "",
            .. await NodesAsync(s, now),
            "",
            .. Checks(now),
        ];
    }

    /// <summary>What is set and what each node really serves.</summary>
    private static async Task<IEnumerable<string>> NodesAsync(Session s, JsonElement now)
    {
        var nodes = await s.Client.GetAsync<JsonElement>($"rollouts/{Output.Text(Output.At(now, "id"))}/nodes", s.Stop);
        return Output.At(nodes, "items").EnumerateArray().Select(node =>
            $"node {Output.Text(Output.At(node, "node"))}{(Output.At(node, "live").GetBoolean() ? "" : " (silent)")}: revision {Output.Text(Output.At(node, "revision"))} of {Output.Text(Output.At(nodes, "revision"))}, {Shares(Output.At(node, "shares"))}"
            + (Output.At(node, "drives").GetBoolean() ? ", takes the steps" : "") + (Output.At(node, "why") is { ValueKind: JsonValueKind.String } why ? $": {why.GetString()}" : ""));
    }

    private static string Shares(JsonElement shares) => string.Join(", ", shares.EnumerateObject().Select(share => $"{share.Name} {Output.Text(share.Value)} %"));

    /// <summary>A line for each new event of the timeline.</summary>
    private static async Task<JsonElement> FollowAsync(Session s, string id)
    {
        double seen = -1;
        while (true)
        {
            var now = await s.Client.GetAsync<JsonElement>($"rollouts/{id}", s.Stop);
            var timeline = await s.Client.GetAsync<JsonElement>($"rollouts/{id}/timeline", s.Stop);
            foreach (var e in Output.At(timeline, "items").EnumerateArray().Where(e => Output.Number(Output.At(e, "number")) > seen).OrderBy(e => Output.Number(Output.At(e, "number"))))
            {
                seen = Output.Number(Output.At(e, "number"))!.Value;
                await s.Terminal.Out.WriteLineAsync($"{Output.Text(Output.At(e, "at"))}  {Output.Text(Output.At(e, "state"))}  {Output.Text(Output.At(e, "percent"))} %  {Output.Text(Output.At(e, "cause"))}");
            }

            await s.Terminal.Out.FlushAsync(s.Stop);
            if (Ended(now))
            {
                return now;
            }

            await Task.Delay(TimeSpan.FromSeconds(1), s.Terminal.Clock, s.Stop);
        }
    }

    private static Verb Act(Globals globals, Terminal terminal, string verb, string description, Func<Session, object> body)
    {
        var rollout = Opt.Id("rollout");
        var (wait, timeout) = (Opt.Wait(), Opt.Timeout());
        return new Verb(verb, description, $"slipway rollout {verb} 0193a7c2f0d27f3c9a41b6d0a2e5c001", $"slipway rollout {verb} 0193a7c2f0d27f3c9a41b6d0a2e5c001 --wait --timeout 1h")
            .With(rollout, wait, timeout)
            .Does(globals, terminal, async s => await EndAsync(
                s, await s.Client.PostAsync<JsonElement>($"rollouts/{s.About("rollouts", s.Value(rollout), "id")}/{verb}", body(s), s.Stop), s.Value(wait), s.Value(timeout)!));
    }

    private static Verb Promote(Globals globals, Terminal terminal)
    {
        var full = new Option<bool>("--full") { Description = "Skip all remaining steps, but no approval and no guardrail" };
        var winner = new Option<string?>("--winner") { Description = "The variant that takes all traffic in the end, where there are several" };
        var because = new Option<string?>("--because", "-m") { Description = "Why" };
        return Act(globals, terminal, "promote", "Ends the present wait", s => new { full = s.Value(full), winner = s.Value(winner), reason = s.Value(because) }).With(full, winner, because);
    }

    private static Verb Approve(Globals globals, Terminal terminal)
    {
        var because = new Option<string?>("--because", "-m") { Description = "Why" };
        return Act(globals, terminal, "approve", "Ends a step that waits for an approval", s => new { reason = s.Value(because) }).With(because);
    }

    private static Verb Show(Globals globals, Terminal terminal)
    {
        var rollout = Opt.Id("rollout");
        var show = new Verb("show", "Shows a rollout: its steps and what the analysis says", "slipway rollout show 0193a7c2f0d27f3c9a41b6d0a2e5c001", "slipway rollout show 0193a7c2f0d27f3c9a41b6d0a2e5c001 -o json")
            .With(rollout)
            .Does(globals, terminal, s => s.ShowAsync($"rollouts/{s.About("rollouts", s.Value(rollout), "id")}", [.. Columns.Select(c => c with { Wide = false }), new("STEPS", e => string.Join('\n', Steps(e, s.Terminal.Clock.GetUtcNow()))), new("ANALYSIS", e => string.Join('\n', Checks(e)))]));
        show.Aliases.Add("status");
        return show;
    }

    private static Verb Explain(Globals globals, Terminal terminal)
    {
        var rollout = Opt.Id("rollout");
        var key = new Option<string?>("--key") { Description = "Also which variant this entity sees, and by which slot" };
        var headers = new Option<string[]>("--header") { Description = "With --key: a header that the request would carry, as name:value; may be repeated" };
        var attributes = new Option<string[]>("--attribute") { Description = "With --key: a request parameter that it would carry, as name:value; may be repeated" };
        return new Verb("explain", "Says why a rollout is where it is, and what each command would do", "slipway rollout explain 0193a7c2f0d27f3c9a41b6d0a2e5c001", "slipway rollout explain 0193a7c2f0d27f3c9a41b6d0a2e5c001 --key customer-7 --attribute amount:1500")
            .With(rollout, key, headers, attributes)
            .Does(globals, terminal, async s =>
            {
                var id = s.About("rollouts", s.Value(rollout), "id");
                var now = await s.Client.GetAsync<JsonElement>($"rollouts/{id}", s.Stop);
                s.Note($"{StateOf(now)}: {Output.Text(Output.At(now, "status.cause"))}");
                if (s.Value(key) is { } entity)
                {
                    var seen = await s.Client.GetAsync<JsonElement>($"rollouts/{id}/assignment{Query.Of([("key", entity), .. (s.Value(headers) ?? []).Select(header => ("header", (string?)header)), .. (s.Value(attributes) ?? []).Select(attribute => ("attribute", (string?)attribute))])}", s.Stop);
                    s.Note($"{entity} is in slot {Output.Text(Output.At(seen, "slot"))} and sees {Output.Text(Output.At(seen, "variant.name"))} ({Output.Text(Output.At(seen, "variant.modelVersion"))}) by route revision {Output.Text(Output.At(seen, "revision"))}: {Output.Text(Output.At(seen, "why"))}");
                }

                var actions = await s.Client.GetAsync<JsonElement>($"rollouts/{id}/actions", s.Stop);
                s.Out.List(
                    [.. Output.At(actions, "items").EnumerateArray()], more: false, new("COMMAND", e => Output.Text(Output.At(e, "command")) switch { "promoteFull" => "promote --full", "promoteWinner" => $"promote --full --winner {Output.Text(Output.At(e, "winner"))}", var command => command }), new("ALLOWED", e => Output.At(e, "allowed").GetBoolean() ? "yes" : "no"),
                    new("WHAT", e => Output.At(e, "allowed").GetBoolean() ? Output.Text(Output.At(e, "effect")) : Output.Text(Output.At(e, "why"))), new("SLOTS MOVED", "slotsMoved"), new("SERVES", "serves", wide: true));
                return ExitCodes.Done;
            });
    }

    private static Verb Undo(Globals globals, Terminal terminal)
    {
        var rollout = Opt.Id("rollout");
        var to = new Option<string?>("--to") { Description = "An earlier version than the one before" };
        var because = new Option<string?>("--because", "-m") { Description = "Why" };
        var (dry, yes) = (Opt.DryRun(), Opt.Yes());
        return new Verb("undo", "Takes a finished rollout back: at once if the earlier version is loaded and served within the window, else by a rollout", "slipway rollout undo 0193a7c2f0d27f3c9a41b6d0a2e5c001 --yes", "slipway rollout undo 0193a7c2f0d27f3c9a41b6d0a2e5c001 --to flights/6 --because 'complaints'")
            .With(rollout, to, because, dry, yes)
            .Does(globals, terminal, async s =>
            {
                var id = s.About("rollouts", s.Value(rollout), "id");
                var now = await s.Client.GetAsync<JsonElement>($"rollouts/{id}", s.Stop);
                if (await s.GoesOnAsync($"take endpoint {Output.Text(Output.At(now, "endpoint"))} back to {s.Value(to) ?? Output.Text(Output.At(now, "stable"))}", dry, yes))
                {
                    s.Out.One(await s.Client.PostAsync<JsonElement>($"rollouts/{id}/undo", new { to = s.Value(to), reason = s.Value(because) }, s.Stop), Columns);
                }

                return ExitCodes.Done;
            });
    }

    private static Verb Pause(Globals globals, Terminal terminal)
    {
        var because = new Option<string?>("--because", "-m") { Description = "Why" };
        return Act(globals, terminal, "pause", "Holds a rollout where it is", s => new { reason = s.Value(because) }).With(because);
    }

    private static Verb Abort(Globals globals, Terminal terminal)
    {
        var rollout = Opt.Id("rollout");
        var because = new Option<string?>("--because", "-m") { Description = "Why" };
        var (dry, yes) = (Opt.DryRun(), Opt.Yes());
        var abort = new Verb("abort", "Gives all traffic back to the stable version", "slipway rollout abort 0193a7c2f0d27f3c9a41b6d0a2e5c001 --because 'complaints'", "slipway rollout abort 0193a7c2f0d27f3c9a41b6d0a2e5c001 --yes")
            .With(rollout, because, dry, yes)
            .Does(globals, terminal, async s =>
            {
                var now = await s.Client.GetAsync<JsonElement>($"rollouts/{s.About("rollouts", s.Value(rollout), "id")}", s.Stop);
                if (await s.GoesOnAsync($"abort the rollout of {Output.Text(Output.At(now, "candidate"))} (at {Output.Text(Output.At(now, "status.percent"))} % of {Output.Text(Output.At(now, "endpoint"))}) back to {Output.Text(Output.At(now, "stable"))}", dry, yes))
                {
                    s.Out.One(await s.Client.PostAsync<JsonElement>($"rollouts/{s.Value(rollout)}/abort", new { reason = s.Value(because) }, s.Stop), Columns);
                }

                return ExitCodes.Done;
            });
        abort.Aliases.Add("rollback");
        return abort;
    }

    private static async Task<int> EndAsync(Session s, JsonElement rollout, bool wait, string timeout)
    {
        var id = Output.Text(Output.At(rollout, "id"));
        if (wait)
        {
            rollout = await s.WaitAsync(
                () => s.Client.GetAsync<JsonElement>($"rollouts/{id}", s.Stop), r => $"{StateOf(r)}, {Output.Text(Output.At(r, "status.percent"))} %: {Output.Text(Output.At(r, "status.cause"))}", Ended, Duration.Parse(timeout, "--timeout"));
        }

        s.Out.One(rollout, Columns);
        return wait && State(rollout) != "healthy" ? ExitCodes.Failed : ExitCodes.Done;
    }

    private static string State(JsonElement rollout) => Output.Text(Output.At(rollout, "status.state"));

    private static bool Ended(JsonElement rollout) => State(rollout) is "healthy" or "aborted" or "superseded";

    private static string StateOf(JsonElement rollout) =>
        State(rollout) + (Output.At(rollout, "status.pause") is { ValueKind: JsonValueKind.String } pause ? $" ({pause.GetString()})" : "");

    private static string StepOf(JsonElement rollout)
    {
        var steps = Output.At(rollout, "spec.steps").GetArrayLength();
        return FormattableString.Invariant($"{Math.Min((Output.Number(Output.At(rollout, "status.step")) ?? 0) + 1, steps)} of {steps}");
    }

    private static IEnumerable<string> Steps(JsonElement rollout, DateTimeOffset now)
    {
        var at = (int)(Output.Number(Output.At(rollout, "status.step")) ?? 0);
        return Output.At(rollout, "spec.steps").EnumerateArray().Select((step, i) =>
            $"{(i < at ? "done" : i == at && !Ended(rollout) ? "now " : "    ")}  {i + 1}. {step.Deserialize<RolloutStep>(SlipwayClient.Json)!.Words}{(i == at && !Ended(rollout) ? Clock(rollout, step, now) : "")}");
    }

    // How long the present step has run, and when it ends by itself.
    private static string Clock(JsonElement rollout, JsonElement step, DateTimeOffset now)
    {
        if (Output.Number(Output.At(rollout, "status.stepSince")) is not { } since || since <= 0)
        {
            return "";
        }

        var began = DateTimeOffset.UnixEpoch.AddTicks((long)since * TimeSpan.TicksPerMicrosecond);
        var spent = now > began ? now - began : TimeSpan.Zero;
        var until = Output.At(step, "duration") is { ValueKind: JsonValueKind.String } duration && TimeSpan.TryParse(duration.GetString(), CultureInfo.InvariantCulture, out var wait) ? $", until {(began + wait).UtcDateTime:HH:mm:ss} UTC" : "";
        return $"  ({Duration.Text(spent)}{until})";
    }

    private static IEnumerable<string> Checks(JsonElement rollout) => Output.At(rollout, "lastAnalysis.checks") is { ValueKind: JsonValueKind.Array } checks
        ? checks.EnumerateArray().Select(c => $"{Output.Text(Output.At(c, "verdict")),-12}  {Output.Text(Output.At(c, "metric"))}  stable {Output.Rounded(Output.At(c, "stable"))} (n {Output.Text(Output.At(c, "stableN"))}), candidate {Output.Rounded(Output.At(c, "candidate"))} (n {Output.Text(Output.At(c, "candidateN"))}){Interval(c)}: {Output.Text(Output.At(c, "why"))}")
        : ["no analysis yet"];

    private static string Interval(JsonElement check) => Output.At(check, "lower") is { ValueKind: JsonValueKind.Number } lower && Output.At(check, "upper") is { ValueKind: JsonValueKind.Number } upper
        ? $", harm {Output.Rounded(Output.At(check, "harm"))} [{Output.Rounded(lower)}, {Output.Rounded(upper)}]" : "";
}
