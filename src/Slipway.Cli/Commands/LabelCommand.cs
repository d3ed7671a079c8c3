using System.CommandLine;
using System.Text;
using System.Text.Json;
using Slipway.Client;

namespace Slipway.Cli.Commands;

/// <summary>Labels: the truth about predictions, as it becomes known.</summary>
internal static class LabelCommand
{
    private const int Batch = 10_000;

    public static Command Build(Globals globals, Terminal terminal)
    {
        var file = new Argument<string>("file") { Description = "CSV with the columns prediction_id and value (at, revision), or a JSON array; - for standard input" };
        var endpoint = new Option<string>("--endpoint") { Description = "The endpoint that predicted", Required = true };
        var name = Opt.Name("endpoint");
        return new Noun("label", "The truth about predictions, as it becomes known")
        {
            new Verb("push", "Sends labels; sending the same again is harmless", "slipway label push outcomes.csv --endpoint late", "slipway label push outcomes.json --endpoint late -o json")
                .With(file, endpoint)
                .Does(globals, terminal, async s =>
                {
                    var text = await Input.ReadAsync(s, s.Value(file));
                    var report = new LabelReport(0, 0, 0, 0, 0, 0);
                    foreach (var (part, type) in Parts(text))
                    {
                        using var body = new StringContent(part, Encoding.UTF8, type);
                        report += await s.Client.PostAsync<LabelReport>($"endpoints/{s.About("endpoints", s.Value(endpoint)!)}/labels", body, s.Stop);
                    }

                    s.Out.One(
                        JsonSerializer.SerializeToElement(report, SlipwayClient.Json),
                        new("JOINED", "joined"), new("PARKED", "parked"), new("DUPLICATE", "duplicate"), new("CONFLICT", "conflict"), new("STALE", "stale"), new("LATE", "late"));
                    return report.Conflict > 0 ? ExitCodes.Conflict : ExitCodes.Done;
                }),
            new Verb("status", "Counts the labels of an endpoint", "slipway label status late", "slipway label status late -o json")
                .With(name)
                .Does(globals, terminal, async s =>
                {
                    var counts = await s.Client.GetAsync<JsonElement>($"endpoints/{s.About("endpoints", s.Value(name))}/labels", s.Stop);
                    s.Out.One(counts, [.. counts.EnumerateObject().Select(p => new Column(p.Name.ToUpperInvariant(), p.Name)).DefaultIfEmpty(new Column("LABELS", _ => "none"))]);
                    return ExitCodes.Done;
                }),
        };
    }

    /// <summary>Batches of the size that the server takes at once.</summary>
    private static IEnumerable<(string Text, string Type)> Parts(string text)
    {
        if (text.TrimStart().StartsWith('['))
        {
            return JsonSerializer.Deserialize<List<JsonElement>>(text, SlipwayClient.Json)!.Chunk(Batch).Select(part => (JsonSerializer.Serialize(part, SlipwayClient.Json), "application/json"));
        }

        var lines = text.Split('\n');
        return lines.Skip(1).Where(l => l.AsSpan().Trim().Length > 0).Chunk(Batch).Select(part => (lines[0].TrimEnd('\r') + "\n" + string.Join('\n', part), "text/csv"));
    }
}
