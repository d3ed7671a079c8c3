using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Slipway.Client;

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
            Propose(globals, terminal),
            new Verb("show", "Shows a rollout: its steps and what the analysis says", "slipway rollout show 0193a7c2f0d27f3c9a41b6d0a2e5c001", "slipway rollout show 0193a7c2f0d27f3c9a41b6d0a2e5c001 -o json")
                .With(rollout)
                .Does(globals, terminal, s => s.ShowAsync($"rollouts/{s.About("rollouts", s.Value(rollout), "id")}", [.. Columns.Select(c => c with { Wide = false }), new("STEPS", e => string.Join('\n', Steps(e))), new("ANALYSIS", e => string.Join('\n', Checks(e)))])),
            new Verb("timeline", "Lists what happened to a rollout", "slipway rollout timeline 0193a7c2f0d27f3c9a41b6d0a2e5c001", "slipway rollout timeline 0193a7c2f0d27f3c9a41b6d0a2e5c001 -o json")
                .With(rollout, limit)
                .Does(globals, terminal, s => s.ListAsync($"rollouts/{s.About("rollouts", s.Value(rollout), "id")}/timeline", s.Value(limit), new("AT", "at"), new("EVENT", "kind"), new("STATE", "state"), new("SHARE", e => Output.Text(Output.At(e, "percent")) + " %"), new("ACTOR", "actor"), new("CAUSE", "cause"))),
            Watch(globals, terminal),
            Act(globals, terminal, "start", "Starts a proposed rollout", _ => new { }),
            Act(globals, terminal, "resume", "Goes on with a paused rollout", _ => new { }),
            Promote(globals, terminal),
            Pause(globals, terminal),
            Abort(globals, terminal),
            Act(globals, terminal, "retry", "Tries an aborted rollout again", _ => new { }),
        };
    }

    private static Verb Propose(Globals globals, Terminal terminal)
    {
        var endpoint = Opt.Name("endpoint");
        var version = new Argument<string>("version") { Description = "The candidate, for example flights/8" };
        var steps = new Option<string>("--steps") { Description = "The candidate's shares in percent; after each below 100 an analysis decides", DefaultValueFactory = _ => "10,50,100" };
        var file = new Option<string?>("--file", "-f") { Description = "The whole plan as JSON, instead of --steps" };
        var policy = new Option<string?>("--policy") { Description = "The policy whose gate it must have passed" };
        var requests = new Option<int?>("--min-requests") { Description = "Requests each variant needs before an analysis judges" };
        var quality = new Option<string[]>("--quality") { Description = "Also compare auc or logLoss over labelled predictions", AllowMultipleArgumentsPerToken = true };
        var hold = new Option<bool>("--hold") { Description = "Do not start by itself" };
        var (wait, timeout) = (Opt.Wait(), Opt.Timeout());
        return new Verb("propose", "Proposes a version as the next one of an endpoint", "slipway rollout propose late flights/8", "slipway rollout propose late flights/8 --steps 5,25,100 --quality auc --wait --timeout 2h")
            .With(endpoint, version, steps, file, policy, requests, quality, hold, wait, timeout)
            .Does(globals, terminal, async s =>
            {
                object spec = s.Value(file) is { } plan
                    ? JsonSerializer.Deserialize<JsonElement>(await Input.ReadAsync(s, plan), SlipwayClient.Json)
                    : Canary(s.Value(steps)!, s.Value(requests), s.Value(quality) ?? [], s.Value(hold));
                s.About("endpoints", s.Value(endpoint));
                var proposed = await s.Client.PostAsync<JsonElement>($"rollouts", new { endpoint = s.Value(endpoint), candidate = s.Value(version), policy = s.Value(policy), spec }, s.Stop);
                return await EndAsync(s, proposed, s.Value(wait), s.Value(timeout)!);
            });
    }

    private static object Canary(string steps, int? requests, string[] quality, bool hold)
    {
        var percents = steps.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)
            .Select(p => double.TryParse(p.TrimEnd('%'), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var percent) && percent is >= 0 and <= 100
                ? percent
                : throw new CliException(ExitCodes.Usage, "the steps cannot be read", $"\"{p}\" is not a share from 0 to 100", "write for example --steps 10,50,100"));
        var analysis = new { minRequests = requests ?? 50, quality };
        return new
        {
            autoStart = !hold,
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
                                return ([$"{StateOf(now)}  {Output.Text(Output.At(now, "candidate"))} at {Output.Text(Output.At(now, "status.percent"))} % of {Output.Text(Output.At(now, "endpoint"))}: {Output.Text(Output.At(now, "status.cause"))}", "", .. Steps(now), "", .. Checks(now)], Ended(now));
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
        var full = new Option<bool>("--full") { Description = "Skip all remaining steps" };
        return Act(globals, terminal, "promote", "Goes to the next step now", s => new { full = s.Value(full) }).With(full);
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

    private static bool Ended(JsonElement rollout) => State(rollout) is "healthy" or "aborted";

    private static string StateOf(JsonElement rollout) =>
        State(rollout) + (Output.At(rollout, "status.pause") is { ValueKind: JsonValueKind.String } pause ? $" ({pause.GetString()})" : "");

    private static string StepOf(JsonElement rollout)
    {
        var steps = Output.At(rollout, "spec.steps").GetArrayLength();
        return FormattableString.Invariant($"{Math.Min((Output.Number(Output.At(rollout, "status.step")) ?? 0) + 1, steps)} of {steps}");
    }

    private static IEnumerable<string> Steps(JsonElement rollout)
    {
        var at = (int)(Output.Number(Output.At(rollout, "status.step")) ?? 0);
        return Output.At(rollout, "spec.steps").EnumerateArray().Select((step, i) => $"{(i < at ? "done" : i == at && !Ended(rollout) ? "now " : "    ")}  {i + 1}. {Step(step)}");
    }

    private static string Step(JsonElement step) => Output.Text(Output.At(step, "kind")) switch
    {
        "setWeight" => $"give {Output.Text(Output.At(step, "percent"))} % to the candidate",
        "pause" => Output.At(step, "duration") is { ValueKind: JsonValueKind.String } duration ? $"wait {duration.GetString()}" : "wait for a promotion",
        "analysis" => "compare candidate and stable",
        "approve" => "wait for an approval",
        var other => other,
    };

    private static IEnumerable<string> Checks(JsonElement rollout) => Output.At(rollout, "lastAnalysis.checks") is { ValueKind: JsonValueKind.Array } checks
        ? checks.EnumerateArray().Select(c => $"{Output.Text(Output.At(c, "verdict")),-12}  {Output.Text(Output.At(c, "metric"))}  stable {Output.Rounded(Output.At(c, "stable"))} (n {Output.Text(Output.At(c, "stableN"))}), candidate {Output.Rounded(Output.At(c, "candidate"))} (n {Output.Text(Output.At(c, "candidateN"))}): {Output.Text(Output.At(c, "why"))}")
        : ["no analysis yet"];
}
