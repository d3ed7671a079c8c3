using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Slipway.Serving;

namespace Slipway.Cli.Commands;

/// <summary>What a rollout would do and need before anything is rolled out: the steps of a file, or the requests and days of an experiment.</summary>
internal static class RolloutPlanVerb
{
    public static Verb Build(Globals globals, Terminal terminal)
    {
        var file = new Argument<string?>("file") { Description = "YAML of kind Rollout, or - for standard input: its steps, without a server", Arity = ArgumentArity.ZeroOrOne };
        var endpoint = new Option<string?>("--endpoint") { Description = "Measure the traffic of this endpoint" };
        var percent = new Option<double>("--percent") { Description = "The candidate's share", DefaultValueFactory = _ => 10 };
        var rate = new Option<double?>("--rate") { Description = "Today's rate of a yes-or-no outcome, for example 0.1" };
        var deviation = new Option<double?>("--deviation") { Description = "Instead: the standard deviation of a number" };
        var effect = new Option<double?>("--effect") { Description = "Without a file: the smallest difference that an experiment is to find, for example 0.01" };
        var daily = new Option<double?>("--per-day") { Description = "Instead of measuring: units a day" };
        var alpha = new Option<double>("--alpha") { Description = "Chance of a false winner", DefaultValueFactory = _ => 0.05 };
        var power = new Option<double>("--power") { Description = "Chance of finding the difference", DefaultValueFactory = _ => 0.8 };
        var verb = new Verb("plan", "Says step by step what a file would do, or how many requests and days an experiment needs", "slipway rollout plan canary.yaml", "slipway rollout plan --rate 0.1 --effect 0.01 --endpoint late")
            .With(file, endpoint, percent, rate, deviation, effect, daily, alpha, power)
            .Does(globals, terminal, async s =>
            {
                if (s.Value(file) is { } path)
                {
                    return await StepsAsync(s, path);
                }

                if (s.Value(effect) is null)
                {
                    throw new CliException(ExitCodes.Usage, "nothing says what to plan", "there is neither a file nor --effect", "slipway rollout plan canary.yaml, or slipway rollout plan --rate 0.1 --effect 0.01 --endpoint late");
                }

                var plan = await s.Client.PostAsync<JsonElement>(
                    $"rollouts/plan",
                    new
                    {
                        endpoint = s.Value(endpoint) is { } name ? s.About("endpoints", name) : null,
                        percent = s.Value(percent),
                        rate = s.Value(rate),
                        deviation = s.Value(deviation),
                        effect = s.Value(effect),
                        unitsPerDay = s.Value(daily),
                        alpha = s.Value(alpha),
                        power = s.Value(power),
                    },
                    s.Stop);
                s.Out.One(
                    plan,
                    new Column("50/50", e => Split(Output.At(e, "even"))),
                    new Column("CANARY", e => $"{Split(Output.At(e, "canary"))}, {Number(Output.At(e, "canary.timesEven"), "0.0")} times the traffic of 50/50"),
                    new Column("TRAFFIC", e => Output.Number(Output.At(e, "unitsPerDay")) is { } a ? $"{a.ToString("#,0", CultureInfo.InvariantCulture)} a day: {Output.Text(Output.At(e, "traffic"))}" : Output.Text(Output.At(e, "traffic"))),
                    new Column("FOUND WITHIN", Horizons));
                return ExitCodes.Done;
            });
        verb.Aliases.Add("size");
        return verb;
    }

    private static async Task<int> StepsAsync(Session s, string path)
    {
        var rollouts = (await DeclaredCommands.ReadAsync(s, path)).Select(item => item.Rollout).OfType<ProposeRollout>().ToList();
        var rows = rollouts.SelectMany(rollout => rollout.Spec.Planned().Steps.Select((step, i) => JsonSerializer.SerializeToElement(new { endpoint = rollout.Endpoint, step = i + 1, kind = step.Kind, does = step.Words }))).ToList();
        s.Out.List(rows, more: false, new("ENDPOINT", "endpoint"), new("STEP", "step"), new("KIND", "kind"), new("DOES", "does"));
        return ExitCodes.Done;
    }

    private static string Split(JsonElement split) =>
        $"{Number(Output.At(split, "stableUnits"), "#,0")} of stable and {Number(Output.At(split, "candidateUnits"), "#,0")} of the candidate at {Number(Output.At(split, "percent"), "0.##")} %"
        + (Output.Number(Output.At(split, "days")) is { } days ? $", {days.ToString("0.0", CultureInfo.InvariantCulture)} days" : "");

    private static string Horizons(JsonElement plan)
    {
        var lines = Output.At(plan, "horizons").EnumerateArray()
            .Select(h => $"{Output.Text(Output.At(h, "days"))} days: {Number(Output.At(h, "even"), "0.####")} at 50/50, {Number(Output.At(h, "canary"), "0.####")} as a canary").ToList();
        return lines.Count == 0 ? "unknown without traffic" : string.Join('\n', lines);
    }

    private static string Number(JsonElement value, string format) => Output.Number(value)?.ToString(format, CultureInfo.InvariantCulture) ?? "nothing";
}
