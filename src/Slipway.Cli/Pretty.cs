using Spectre.Console;
using Spectre.Console.Rendering;

namespace Slipway.Cli;

/// <summary>What is drawn for a person at a terminal. Nothing here is touched when the output goes into a pipe.</summary>
internal static class Pretty
{
    public static IAnsiConsole Console(Terminal terminal, TextWriter writer) => AnsiConsole.Create(new AnsiConsoleSettings
    {
        Ansi = terminal.Colour ? AnsiSupport.Detect : AnsiSupport.No,
        ColorSystem = terminal.Colour ? ColorSystemSupport.Detect : ColorSystemSupport.NoColors,
        Out = new AnsiConsoleOutput(writer),
    });

    public static void Table(Terminal terminal, IReadOnlyList<string>? titles, IReadOnlyList<IReadOnlyList<string>> rows)
    {
        var table = new Table { Border = TableBorder.None, ShowHeaders = titles is not null };
        foreach (var title in titles ?? (rows.Count > 0 ? rows[0] : []))
        {
            table.AddColumn(new TableColumn(new Markup($"[bold]{Markup.Escape(title)}[/]")) { Padding = new Padding(0, 0, 2, 0) });
        }

        foreach (var row in rows)
        {
            table.AddRow(row.Select(cell => (IRenderable)new Text(cell, StyleOf(cell))));
        }

        Console(terminal, terminal.Out).Write(table);
    }

    /// <summary>Draws again and again until the drawing says that it is the last one.</summary>
    /// <param name="terminal">Where.</param>
    /// <param name="draw">The lines to show now, and whether they are the last.</param>
    /// <param name="every">The pause between two drawings.</param>
    /// <param name="ct">Stops drawing.</param>
    public static Task LiveAsync(Terminal terminal, Func<Task<(IReadOnlyList<string> Lines, bool Last)>> draw, TimeSpan every, CancellationToken ct) =>
        Console(terminal, terminal.Out).Live(new Text("")).StartAsync(async context =>
        {
            while (true)
            {
                var (lines, last) = await draw();
                context.UpdateTarget(new Rows(lines.Select(l => new Text(l, StyleOf(l)))));
                context.Refresh();
                if (last)
                {
                    return;
                }

                await Task.Delay(every, terminal.Clock, ct);
            }
        });

    // The word says it; the colour only repeats it.
    private static Style StyleOf(string text) => text.Split(' ', 2)[0].ToLowerInvariant() switch
    {
        "firing" or "failed" or "fail" or "aborted" or "denied" or "error" or "severe" or "major" => new Style(Color.Red),
        "pending" or "paused" or "running" or "progressing" or "warn" or "baking" or "inconclusive" or "nodata" => new Style(Color.Yellow),
        "healthy" or "ready" or "granted" or "pass" or "resolved" or "finished" or "ok" => new Style(Color.Green),
        _ => Style.Plain,
    };
}
