using System.CommandLine;
using System.Runtime.CompilerServices;
using System.Text.Json;
using Slipway.Client;

namespace Slipway.Cli.Commands;

/// <summary>The audit trail: who did what, and the proof of it.</summary>
internal static class AuditCommand
{
    private static readonly Column[] Columns =
    [
        new("SEQ", "seq"), new("AT", "at"), new("ACTOR", "actor.name"), new("KIND", "kind"), new("SUBJECT", "subject"), new("OUTCOME", "outcome"), new("SENTENCE", "sentence"), new("REASON", "reason", wide: true), new("ID", "id", wide: true),
    ];

    public static Command Build(Globals globals, Terminal terminal)
    {
        var entry = new Argument<string>("entry") { Description = "An entry's number or id" };
        var kind = new Option<string?>("--kind") { Description = "The beginning of a kind, for example rollout." };
        var actor = new Option<string?>("--actor") { Description = "Who" };
        var subject = new Option<string?>("--subject") { Description = "About or linked to, for example model-version:flights/7" };
        var from = new Option<string?>("--from") { Description = "Since, for example 2026-01-31T12:00:00Z" };
        var to = new Option<string?>("--to") { Description = "Before" };
        var ascending = new Option<bool>("--ascending") { Description = "Oldest first" };
        var limit = Opt.Limit();
        var data = new Option<string?>("--data") { Description = "Verify the data folder of a stopped server instead of asking one", HelpName = "folder" };
        return new Noun("audit", "Who did what, and the proof of it", counted: false)
        {
            new Verb("list", "Lists journal entries, newest first", "slipway audit list --kind rollout.", "slipway audit list --subject model-version:flights/7 --ascending -o json")
                .With(kind, actor, subject, from, to, ascending, limit)
                .Does(globals, terminal, s => s.ListAsync(
                    $"audit{Query.Of(("kind", s.Value(kind)), ("actor", s.Value(actor)), ("subject", s.Value(subject)), ("from", s.Value(from)), ("to", s.Value(to)), ("ascending", s.Value(ascending)))}", s.Value(limit), Columns)),
            new Verb("show", "Shows an entry with its body and links", "slipway audit show 42", "slipway audit show 01K0Z4M9Q8W3RT5Y7N2B6CDEFG -o json")
                .With(entry)
                .Does(globals, terminal, s => s.ShowAsync($"audit/{s.Value(entry)}", [.. Columns.Select(c => c with { Wide = false }), new("LINKS", e => string.Join('\n', Output.At(e, "links").EnumerateArray().Select(Output.Text).DefaultIfEmpty("-"))), new("LEAF", "leaf"), new("BODY", "body")])),
            new Verb("follow", "Prints entries as they come", "slipway audit follow", "slipway audit follow --kind alert. -o json")
                .With(kind)
                .Does(globals, terminal, async s =>
                {
                    await foreach (var e in s.Client.FollowAsync(null, s.Value(kind), s.Stop))
                    {
                        await s.Terminal.Out.WriteLineAsync(s.Out.IsTable ? $"{Output.Text(Output.At(e, "seq"))}  {Output.Text(Output.At(e, "at"))}  {Output.Text(Output.At(e, "sentence"))}" : e.GetRawText());
                        await s.Terminal.Out.FlushAsync(s.Stop);
                    }

                    return ExitCodes.Done;
                }),
            new Verb("verify", "Proves that no entry was changed, removed or inserted; exit code 1 when one was", "slipway audit verify", "slipway audit verify --data ./slipway-data")
                .With(data)
                .Does(globals, terminal, async s =>
                {
                    var report = s.Value(data) is { } folder ? await OfflineAsync(folder, s.Stop) : await s.Client.PostAsync<VerifyReport>($"audit/verify", new { }, s.Stop);
                    s.Out.One(
                        JsonSerializer.SerializeToElement(report, SlipwayClient.Json),
                        new("JOURNAL", e => Output.At(e, "intact").ValueKind == JsonValueKind.True ? "intact" : "BROKEN"), new("ENTRIES", "entries"), new("SIGNED", e => Output.At(e, "checkpointSize").ValueKind == JsonValueKind.Number ? $"the first {Output.Text(Output.At(e, "checkpointSize"))}" : "none yet"),
                        new("ERASED", "erased"), new("ROOT", "root"), new("FINDINGS", e => string.Join('\n', Output.At(e, "findings").EnumerateArray().Select(Output.Text).DefaultIfEmpty("none"))), new("TOOK", e => $"{report.Took.TotalSeconds:0.00} s", Wide: true));
                    return report.Intact ? ExitCodes.Done : ExitCodes.Failed;
                }),
        };
    }

    // Kept apart, so that the database is loaded by this way only.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static async Task<VerifyReport> OfflineAsync(string folder, CancellationToken ct)
    {
        try
        {
            var report = await Foundation.VerifyReport.OfFolderAsync(folder, ct);
            return new VerifyReport(report.Intact, report.Entries, report.Root, report.Erased, report.CheckpointSize, report.Findings, report.Took);
        }
        catch (Foundation.SlipwayException e)
        {
            throw new SlipwayClientException(JsonNamingPolicy.CamelCase.ConvertName(e.Code.ToString()), e.Message, e.Why, e.Next, inner: e);
        }
    }
}
