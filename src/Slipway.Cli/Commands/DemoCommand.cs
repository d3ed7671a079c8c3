using System.CommandLine;
using System.Diagnostics;
using Slipway.Foundation;
using Slipway.Server;
using Slipway.Server.Demo;
using Spectre.Console;

namespace Slipway.Cli.Commands;

/// <summary>The closed loop on real flight records: told step by step, verified, and left open to look around in.</summary>
internal static class DemoCommand
{
    private const string Marker = ".slipway-demo";

    public static Command Build(Globals globals, Terminal terminal)
    {
        var data = new Option<string>("--data") { Description = "The demo's folder; a second run goes on from what is there", DefaultValueFactory = _ => "slipway-demo", HelpName = "folder" };
        var port = new Option<int>("--port") { Description = "The port on 127.0.0.1; 0 takes a free one", DefaultValueFactory = _ => 5600, HelpName = "port" };
        var check = new Option<bool>("--check") { Description = "End when the story is told: exit code 0 only if every step was verified" };
        var reset = new Option<bool>("--reset") { Description = "Begin anew: removes the demo's folder first" };
        var noBrowser = new Option<bool>("--no-browser") { Description = "Do not open a browser" };
        return new Verb("demo", "Shows a model's whole life on real flight records", "slipway demo", "slipway demo --check --port 0")
            .With(data, port, check, reset, noBrowser)
            .Does(globals, terminal, s => RunAsync(s, Path.GetFullPath(s.Value(data)!), s.Value(port), s.Value(check), s.Value(reset), s.Value(noBrowser)));
    }

    private static async Task<int> RunAsync(Session s, string folder, int port, bool check, bool reset, bool noBrowser)
    {
        try
        {
            Prepare(folder, reset);
            var log = Path.Combine(folder, "demo.log");
            await using var server = SlipwayServer.Create(
                new SlipwayOptions { DataDirectory = folder, Urls = [$"http://127.0.0.1:{port}"], Identity = IdentityMode.SingleUser },
                builder =>
                {
                    // The terminal belongs to the story; warnings go to a file beside the data.
                    builder.Logging.SetMinimumLevel(LogLevel.Warning);
                    builder.Logging.AddProvider(new FileLog(log));
                });
            await server.StartAsync(s.Stop);
            var url = server.Urls[0];
            await s.Terminal.Out.WriteLineAsync($"Slipway {SlipwayServer.Version.Split('+')[0]} demo is live:  {url}   (folder {folder}; Ctrl-C ends it)");
            if (!check && !noBrowser)
            {
                OpenBrowser(url);
            }

            var told = await TellAsync(s, server);
            if (told is null)
            {
                await s.Terminal.Out.WriteLineAsync();
                await s.Terminal.Out.WriteLineAsync($"Every step was verified. Look around at {url}:");
                await s.Terminal.Out.WriteLineAsync($"  the canary and the rollback  {url}/endpoints/flights");
                await s.Terminal.Out.WriteLineAsync($"  the drift heat map           {url}/monitors");
                await s.Terminal.Out.WriteLineAsync($"  MLflow                       export MLFLOW_TRACKING_URI={url}");
            }
            else
            {
                Report.Error(s.Terminal, "the demo failed", told, $"see {log}; start again with slipway demo --reset", null);
            }

            if (!check)
            {
                await server.WaitForShutdownAsync(s.Stop);
            }

            await server.StopAsync(CancellationToken.None);
            return told is null ? ExitCodes.Done : ExitCodes.Failed;
        }
        catch (SlipwayException e)
        {
            Report.Error(s.Terminal, e.Message, e.Why, e.Next, null);
            return Errors.Of(e.Code).Exit;
        }
        catch (IOException e) when (e.InnerException is Microsoft.AspNetCore.Connections.AddressInUseException)
        {
            Report.Error(s.Terminal, $"the demo cannot listen on 127.0.0.1:{port}", "the port is in use", "slipway demo --port 0", null);
            return ExitCodes.Conflict;
        }
    }

    /// <summary>Tells the story; null when all of it was verified, else what failed.</summary>
    private static async Task<string?> TellAsync(Session s, SlipwayServer server)
    {
        var sample = Path.Combine(AppContext.BaseDirectory, "samples", "flights", "flights.parquet");
        using var changed = new SemaphoreSlim(0);
        await using var story = new DemoStory(server, sample, () => changed.Release());
        var running = Task.Run(() => story.RunAsync(s.Stop), s.Stop);
        if (s.Terminal.Colour)
        {
            await AnsiConsole.Live(Picture(story)).StartAsync(async live =>
            {
                while (!running.IsCompleted)
                {
                    await Task.WhenAny(running, Task.Delay(150, CancellationToken.None));
                    live.UpdateTarget(Picture(story));
                }
            });
        }
        else
        {
            await PrintAsync(s, story, running);
        }

        try
        {
            await running;
            return null;
        }
        catch (DemoFailedException e)
        {
            return e.Message;
        }
    }

    private static Table Picture(DemoStory story)
    {
        var table = new Table().Border(TableBorder.None).HideHeaders().AddColumn("").AddColumn("").AddColumn(new TableColumn("").RightAligned());
        foreach (var step in story.Steps)
        {
            var mark = step.State switch { DemoState.Verified => "[green]✓[/]", DemoState.Failed => "[red]✗[/]", DemoState.Running => "[blue]●[/]", _ => "[grey]○[/]" };
            var title = step.State == DemoState.Waiting ? $"[grey]{step.Title}[/]" : $"[bold]{step.Title}[/]";
            table.AddRow(new Markup($"{mark} {step.Number}"), new Markup(title), new Markup(step.Took > TimeSpan.Zero ? $"[grey]{step.Took.TotalSeconds:0.0} s[/]" : ""));
            foreach (var fact in step.Facts)
            {
                table.AddRow(new Markup(""), new Markup($"[grey]{Markup.Escape(fact)}[/]"), new Markup(""));
            }

            if (step.State == DemoState.Running && step.Doing.Length > 0)
            {
                var bar = step.Share is { } share ? $" [blue]{new string('━', (int)(share * 20))}[/][grey]{new string('━', 20 - (int)(share * 20))}[/]" : "";
                table.AddRow(new Markup(""), new Markup($"[blue]{Markup.Escape(step.Doing)}[/]{bar}"), new Markup(""));
            }
            else if (step.State == DemoState.Failed)
            {
                table.AddRow(new Markup(""), new Markup($"[red]{Markup.Escape(step.Doing)}[/]"), new Markup(""));
            }
        }

        return table;
    }

    /// <summary>In a pipe: one line when a step begins, one for each fact, one when it ends.</summary>
    private static async Task PrintAsync(Session s, DemoStory story, Task running)
    {
        var shown = story.Steps.ToDictionary(step => step, _ => (State: DemoState.Waiting, Facts: 0));
        for (var last = false; ; last = running.IsCompleted)
        {
            foreach (var step in story.Steps)
            {
                var (state, facts) = shown[step];
                if (state == DemoState.Waiting && step.State != DemoState.Waiting)
                {
                    await s.Terminal.Out.WriteLineAsync($"{step.Number} {step.Title}");
                }

                for (; facts < step.Facts.Count; facts++)
                {
                    await s.Terminal.Out.WriteLineAsync($"    {step.Facts[facts]}");
                }

                if (state != step.State && step.State is DemoState.Verified or DemoState.Failed && state is not (DemoState.Verified or DemoState.Failed))
                {
                    await s.Terminal.Out.WriteLineAsync($"  {(step.State == DemoState.Verified ? "verified" : "FAILED: " + step.Doing)} ({step.Took.TotalSeconds:0.0} s)");
                }

                shown[step] = (step.State, facts);
            }

            if (last)
            {
                return;
            }

            await Task.WhenAny(running, Task.Delay(200, CancellationToken.None));
        }
    }

    private static void Prepare(string folder, bool reset)
    {
        var marker = Path.Combine(folder, Marker);
        var empty = !Directory.Exists(folder) || !Directory.EnumerateFileSystemEntries(folder).Any();
        if (!empty && !File.Exists(marker))
        {
            throw new SlipwayException(ErrorCode.Conflict, $"{folder} is not a demo's folder", "it holds something else", "name another with slipway demo --data FOLDER");
        }

        if (reset && !empty)
        {
            Directory.Delete(folder, recursive: true);
        }

        Directory.CreateDirectory(folder);
        File.WriteAllText(marker, "This folder belongs to slipway demo; --reset removes it.\n");
    }

    private static void OpenBrowser(string url)
    {
        var opener = OperatingSystem.IsMacOS() ? "open" : "xdg-open";
        if (OperatingSystem.IsLinux() && Environment.GetEnvironmentVariable("DISPLAY") is null && Environment.GetEnvironmentVariable("WAYLAND_DISPLAY") is null)
        {
            return;
        }

        try
        {
            using var browser = Process.Start(new ProcessStartInfo(opener, [url]) { UseShellExecute = false, RedirectStandardError = true, RedirectStandardOutput = true });
        }
        catch (System.ComponentModel.Win32Exception)
        {
            // Without a browser the printed address serves as well.
        }
    }
}
