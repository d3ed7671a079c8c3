using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Slipway.Client;

namespace Slipway.Cli;

/// <summary>One run of a command against a server: its options, its client, its output, and how it ends.</summary>
internal sealed class Session : IDisposable
{
    public const string DefaultUrl = "http://127.0.0.1:5600";
    private const int Lookups = 1000;
    private readonly ParseResult parse;
    private readonly Globals globals;
    private SlipwayClient? client;
    private (string Collection, string Key, string Name)? target;
    private string? command;

    private Session(ParseResult parse, Globals globals, Terminal terminal, CancellationToken stop)
    {
        this.parse = parse;
        this.globals = globals;
        Terminal = terminal;
        Stop = stop;
        var columns = (parse.GetValue(globals.Columns) ?? []).SelectMany(c => c.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)).ToList();
        Out = new Output(terminal, parse.GetValue(globals.Format) ?? "table", columns, parse.GetValue(globals.NoHeaders));
    }

    public Terminal Terminal { get; }

    public CancellationToken Stop { get; }

    public Output Out { get; }

    public SlipwayClient Client => client ??= Connect();

    /// <summary>Runs a command and turns whatever it throws into four lines and an exit code.</summary>
    public static async Task<int> RunAsync(ParseResult parse, Globals globals, Terminal terminal, Func<Session, Task<int>> act, CancellationToken stop)
    {
        using var session = new Session(parse, globals, terminal, stop);
        try
        {
            return await act(session);
        }
        catch (CliException e)
        {
            Report.Error(terminal, e.Message, e.Why, e.Next, null);
            return e.Exit;
        }
        catch (SlipwayClientException e)
        {
            var (why, next) = await session.HintAsync(e);
            Report.Error(terminal, e.Message, why, next, e.Request);
            return ExitCodes.Of(e.Code);
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            terminal.Error.WriteLine("interrupted");
            return ExitCodes.Interrupted;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Report.Error(terminal, "a file cannot be used", e.Message, "check its name and its rights", null);
            return ExitCodes.Failed;
        }
        catch (Exception e) when (e is JsonException or UriFormatException)
        {
            Report.Error(terminal, "the input cannot be read", e.Message, $"{CommandLine.PathOf(parse)} --help", null);
            return ExitCodes.Usage;
        }
    }

    /// <summary>Runs a look that may fail without a word: a shell that completes wants names or nothing.</summary>
    public static T? Quiet<T>(ParseResult parse, Globals globals, Terminal terminal, Func<Session, Task<T>> look)
    {
        using var session = new Session(parse, globals, terminal, CancellationToken.None);
        try
        {
            return look(session).GetAwaiter().GetResult();
        }
        catch (Exception e) when (e is SlipwayClientException or CliException or OperationCanceledException)
        {
            return default;
        }
    }

    public T? Value<T>(Option<T> option) => parse.GetValue(option);

    /// <summary>Whether an option was written, and does not have its default.</summary>
    public bool IsGiven(Option option) => parse.GetResult(option) is { Implicit: false };

    public T Value<T>(Argument<T> argument) => parse.GetValue(argument)!;

    /// <summary>A note for people, on standard error.</summary>
    public void Note(string text)
    {
        if (!parse.GetValue(globals.Quiet))
        {
            Terminal.Error.WriteLine(text);
        }
    }

    /// <summary>Prints a list of the server, up to <paramref name="most"/> items.</summary>
    public async Task<int> ListAsync(FormattableString path, int most, params Column[] columns)
    {
        var (items, more) = await Client.ListAsync<JsonElement>(path, most, Stop);
        Out.List(items, more, columns);
        if (more)
        {
            Note($"there are more than these {items.Count}: --limit {items.Count * 10}");
        }
        else if (items.Count == 0 && Out.IsTable)
        {
            Note("there are none");
        }

        return ExitCodes.Done;
    }

    /// <summary>Prints one record of the server.</summary>
    public async Task<int> ShowAsync(FormattableString path, params Column[] columns)
    {
        Out.One(await Client.GetAsync<JsonElement>(path, Stop), columns);
        return ExitCodes.Done;
    }

    /// <summary>Remembers which name the command is about, so that an unknown one brings the nearest that exists.</summary>
    /// <param name="collection">Where names are listed, for example <c>endpoints</c>.</param>
    /// <param name="name">The name given.</param>
    /// <param name="key">The member that holds an item's name.</param>
    public string About(string collection, string name, string key = "name")
    {
        target = (collection, key, name);
        command = CommandLine.PathOf(parse);
        return name;
    }

    /// <summary>Whether a destructive command goes on: --dry-run stops it, --yes or a person lets it go.</summary>
    /// <param name="act">What it would do, in words.</param>
    /// <param name="dry">Its option --dry-run.</param>
    /// <param name="yes">Its option --yes.</param>
    public async Task<bool> GoesOnAsync(string act, Option<bool> dry, Option<bool> yes)
    {
        if (Rehearses(act, dry))
        {
            return false;
        }

        if (Value(yes))
        {
            return true;
        }

        if (!Terminal.CanAsk)
        {
            throw new CliException(ExitCodes.Usage, $"not done: {act}", "it needs a confirmation, and there is no terminal to ask at", $"{CommandLine.PathOf(parse)} … --yes");
        }

        await Terminal.Error.WriteAsync($"{char.ToUpperInvariant(act[0])}{act[1..]} on {Client.Address.GetLeftPart(UriPartial.Authority)}? [y/N] ");
        var answer = await Terminal.In.ReadLineAsync(Stop);
        return answer?.Trim().ToLowerInvariant() is "y" or "yes"
            ? true
            : throw new CliException(ExitCodes.Usage, $"not done: {act}", "it was not confirmed", "answer y, or add --yes");
    }

    /// <summary>Whether --dry-run stops a command here, which says what it would have done.</summary>
    public bool Rehearses(string act, Option<bool> dry)
    {
        if (Value(dry))
        {
            Note($"dry run: would {act} on {Client.Address.GetLeftPart(UriPartial.Authority)}");
        }

        return Value(dry);
    }

    /// <summary>Looks until something is so, saying each change on standard error.</summary>
    /// <param name="look">Gets the present state.</param>
    /// <param name="state">It in words.</param>
    /// <param name="settled">Whether the waiting ends.</param>
    /// <param name="timeout">How long at most.</param>
    /// <exception cref="CliException">Pending when the time is over.</exception>
    public async Task<JsonElement> WaitAsync(Func<Task<JsonElement>> look, Func<JsonElement, string> state, Func<JsonElement, bool> settled, TimeSpan timeout)
    {
        var started = Terminal.Clock.GetTimestamp();
        var last = "";
        while (true)
        {
            var now = await look();
            var words = state(now);
            if (words != last)
            {
                Note(words);
                last = words;
            }

            if (settled(now))
            {
                return now;
            }

            if (Terminal.Clock.GetElapsedTime(started) >= timeout)
            {
                throw new CliException(ExitCodes.Pending, "still waiting", $"after {Duration.Text(timeout)} it is: {words}", "it goes on without this command; wait longer with --timeout");
            }

            try
            {
                await Task.Delay(TimeSpan.FromMilliseconds(500), Terminal.Clock, Stop);
            }
            catch (OperationCanceledException)
            {
                Note("stopped watching; the work goes on");
                throw;
            }
        }
    }

    public void Dispose() => client?.Dispose();

    private SlipwayClient Connect()
    {
        var (url, token) = Server();
        return Uri.TryCreate(url, UriKind.Absolute, out var address) && address.Scheme is "http" or "https"
            ? new SlipwayClient(address!, token)
            : throw new CliException(ExitCodes.Usage, "the server's address is not valid", $"\"{url}\" is not like {DefaultUrl}", "correct --url, SLIPWAY_URL or the context");
    }

    /// <summary>Flag before environment before file; a token belongs to the address that it was given with.</summary>
    private (string Url, string? Token) Server()
    {
        var token = parse.GetValue(globals.Token) ?? NotEmpty("SLIPWAY_TOKEN");
        if (parse.GetValue(globals.Url) is { } url)
        {
            return (url, token);
        }

        var named = parse.GetValue(globals.Context);
        if (named is null && NotEmpty("SLIPWAY_URL") is { } fromEnvironment)
        {
            return (fromEnvironment, token);
        }

        var contexts = Contexts.Load(Terminal);
        named ??= NotEmpty("SLIPWAY_CONTEXT") ?? contexts.Current;
        if (named is null)
        {
            return (DefaultUrl, token);
        }

        return contexts.All.TryGetValue(named, out var context)
            ? (context.Url, token ?? context.Token)
            : throw new CliException(
                ExitCodes.NotFound, $"there is no context \"{named}\"",
                Nearest.Of(named, contexts.All.Keys) is { } near ? $"did you mean \"{near}\"?" : contexts.All.Count == 0 ? "none was added" : $"there are {string.Join(", ", contexts.All.Keys)}",
                $"slipway context add {named} --url ADDRESS");
    }

    private string? NotEmpty(string variable) => Terminal.Environment(variable) is { Length: > 0 } value ? value : null;

    private async Task<(string? Why, string? Next)> HintAsync(SlipwayClientException refused)
    {
        if (refused.Code == "unauthenticated" && CommandLine.PathOf(parse) != "slipway login")
        {
            return (refused.Why, "give a key with --token or SLIPWAY_TOKEN, or become the owner: slipway login OWNER-LINK --name NAME");
        }

        if (refused.Code != "notFound" || target is not { } about)
        {
            return (refused.Why, refused.Next);
        }

        try
        {
            var (items, _) = await Client.ListAsync<JsonElement>(Literal(about.Collection), Lookups, Stop);
            var near = Nearest.Of(about.Name, items.Select(i => Output.Text(Output.At(i, about.Key))));
            return near is null || near == about.Name ? (refused.Why, refused.Next) : ($"did you mean \"{near}\"?", $"{command} {near}");
        }
        catch (SlipwayClientException)
        {
            // The hint is a courtesy: without the right to list, the refusal stands as it is.
            return (refused.Why, refused.Next);
        }
    }

    private static FormattableString Literal(string path) => System.Runtime.CompilerServices.FormattableStringFactory.Create(path);
}

/// <summary>Durations as people write them: <c>90s</c>, <c>10m</c>, <c>2h</c>, <c>7d</c>.</summary>
internal static class Duration
{
    public static TimeSpan Parse(string text, string option)
    {
        var unit = text.Length > 1 ? text[^1] : ' ';
        var number = text.Length > 1 && double.TryParse(text.AsSpan(0, text.Length - 1), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var value) && value <= 100_000 ? value : -1;
        return (unit, number >= 0) switch
        {
            ('s', true) => TimeSpan.FromSeconds(number),
            ('m', true) => TimeSpan.FromMinutes(number),
            ('h', true) => TimeSpan.FromHours(number),
            ('d', true) => TimeSpan.FromDays(number),
            _ => throw new CliException(ExitCodes.Usage, $"{option} is not valid", $"\"{text}\" is not a duration", "write for example 90s, 10m, 2h or 7d"),
        };
    }

    public static string Text(TimeSpan span) =>
        span.TotalHours >= 1 ? FormattableString.Invariant($"{span.TotalHours:0.##} h") : span.TotalMinutes >= 1 ? FormattableString.Invariant($"{span.TotalMinutes:0.##} min") : FormattableString.Invariant($"{span.TotalSeconds:0.##} s");
}
