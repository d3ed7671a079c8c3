using Slipway.Foundation;
using Slipway.Governance;

namespace Slipway.Monitoring;

/// <summary>Which receiver hears of which alerts, how they are grouped, and what keeps them quiet.</summary>
/// <param name="Root">The tree; its root takes every alert that no child takes.</param>
/// <param name="Inhibitions">Alerts that mute others while they fire.</param>
/// <param name="Intervals">Named times of the week, month or year.</param>
/// <param name="Plain">True to behave exactly as Alertmanager: what resolved while muted is forgotten, and nothing is sent between two ticks of a group.</param>
public sealed record AlertRouting(AlertRoute Root, IReadOnlyList<Inhibition> Inhibitions, IReadOnlyDictionary<string, TimeInterval> Intervals, bool Plain)
{
    private const string ApiVersion = "slipway.dev/routing/v1";
    private const string Kind = "AlertRouting";
    private const int MostRoutes = 500;
    private static readonly TimeSpan DefaultResolveTimeout = TimeSpan.FromMinutes(5);

    /// <summary>How long a posted alert without an end fires after it was last posted.</summary>
    public TimeSpan ResolveTimeout { get; init; } = DefaultResolveTimeout;

    /// <summary>The leaves that take an alert with these labels, in the order of the tree. The root takes what no child does; a match goes on to the next sibling only with `continue`.</summary>
    public IReadOnlyList<AlertRoute> Match(IReadOnlyDictionary<string, string> labels)
    {
        var found = new List<AlertRoute>();
        Collect(Root, labels, found);
        return found;
    }

    /// <summary>The route with that path, or null.</summary>
    internal AlertRoute? Find(string path) => All(Root).FirstOrDefault(r => r.Path == path);

    internal IEnumerable<AlertRoute> Routes => All(Root);

    /// <summary>Without a document: every receiver hears of every alert.</summary>
    internal static AlertRouting Default(IEnumerable<string> receivers)
    {
        var root = AlertRoute.New("");
        return new AlertRouting(root with { Routes = [.. receivers.Select(r => root with { Path = $"/{r}", Receiver = r, Continue = true })] }, [], new Dictionary<string, TimeInterval>(), Plain: false);
    }

    /// <summary>Reads the YAML document.</summary>
    /// <param name="text">It.</param>
    /// <param name="receivers">The receivers that there are; null to ask for none.</param>
    /// <param name="file">Its name, for messages.</param>
    /// <exception cref="SlipwayException">InvalidArgument with every problem and its line.</exception>
    internal static AlertRouting Parse(string text, IReadOnlyCollection<string>? receivers, string? file = null)
    {
        var reader = new YamlReader(file);
        YamlReader.Fields? top = reader.Document(text, "routing", ApiVersion, Kind, "route", "inhibit", "timeIntervals", "resolveTimeout", "alertmanagerBehaviour");
        AlertRouting? routing = null;
        if (top is not null)
        {
            IReadOnlyDictionary<string, TimeInterval> intervals = TimeIntervals(reader, top);
            int count = 0;
            AlertRoute? root = top.Node("route") is { } node ? ReadRoute(reader, node, null, "", receivers, intervals, ref count) : null;
            if (root is null)
            {
                reader.Problem(top.Line, "the field 'route' is missing");
            }
            else if (root.Matchers.Count > 0 || root.MuteTimeIntervals.Count > 0)
            {
                reader.Problem(top.Node("route")!.Line, "the root of the tree takes every alert: it has no matchers and is never muted");
            }

            Inhibition[] inhibitions = [.. top.Items("inhibit", 200).Select(n => ReadInhibition(reader, n)).OfType<Inhibition>()];
            routing = root is null ? null : new AlertRouting(root, inhibitions, intervals, top.Flag("alertmanagerBehaviour", false)) { ResolveTimeout = top.Span("resolveTimeout", DefaultResolveTimeout) };
        }

        reader.Demand(file is null ? "the routing" : $"the routing {file}");
        return routing!;
    }

    private static bool Collect(AlertRoute route, IReadOnlyDictionary<string, string> labels, List<AlertRoute> found)
    {
        if (!Matcher.All(route.Matchers, labels))
        {
            return false;
        }

        bool taken = false;
        foreach (AlertRoute child in route.Routes)
        {
            if (Collect(child, labels, found))
            {
                taken = true;
                if (!child.Continue)
                {
                    break;
                }
            }
        }

        if (!taken)
        {
            found.Add(route);
        }

        return true;
    }

    private static IEnumerable<AlertRoute> All(AlertRoute route) => route.Routes.SelectMany(All).Prepend(route);

    private static AlertRoute? ReadRoute(YamlReader reader, YamlNode node, AlertRoute? parent, string path, IReadOnlyCollection<string>? receivers, IReadOnlyDictionary<string, TimeInterval> intervals, ref int count)
    {
        if (++count > MostRoutes)
        {
            reader.Problem(node.Line, $"there are more than {MostRoutes} routes");
            return null;
        }

        if (reader.Map(node, "route", "name", "receiver", "matchers", "continue", "groupBy", "groupWait", "groupInterval", "repeatInterval", "resolveFast", "muteTimeIntervals", "activeTimeIntervals", "routes") is not { } f)
        {
            return null;
        }

        AlertRoute above = parent ?? AlertRoute.New("");
        string receiver = f.Optional("receiver") ?? above.Receiver;
        if (receiver.Length > 0 && receivers is not null && !receivers.Contains(receiver))
        {
            reader.Problem((f.Node("receiver") ?? node).Line, $"there is no receiver '{receiver}', {Nearest.Hint(receiver, receivers) ?? (receivers.Count == 0 ? "make one with slipway receiver set" : "known: " + string.Join(", ", receivers))}");
        }

        var route = new AlertRoute(
            path.Length == 0 ? "/" : path, receiver, f.Each("matchers", 20, Matcher.Parse), f.Flag("continue", false),
            f.Has("groupBy") ? f.Each("groupBy", 20, t => t == "..." || LabelSet.IsName(t) ? t : throw new FormatException($"'{t}' is not a label name")) : above.GroupBy,
            f.Span("groupWait", above.GroupWait), f.Span("groupInterval", above.GroupInterval), f.Span("repeatInterval", above.RepeatInterval), f.Flag("resolveFast", above.ResolveFast),
            f.Each("muteTimeIntervals", 20, Interval), f.Each("activeTimeIntervals", 20, Interval), []);
        if (route.GroupInterval < TimeSpan.FromSeconds(1) || route.RepeatInterval < route.GroupInterval)
        {
            reader.Problem(node.Line, $"groupInterval is {Duration.Text(route.GroupInterval)} and repeatInterval {Duration.Text(route.RepeatInterval)}; at least 1s, and the second not below the first");
        }

        var children = new List<AlertRoute>();
        foreach (YamlNode child in f.Items("routes", MostRoutes))
        {
            string name = child is YamlMap map && map.Fields.FirstOrDefault(x => x.Name == "name")?.Value is YamlScalar scalar ? scalar.Value : (children.Count + 1).ToString(System.Globalization.CultureInfo.InvariantCulture);
            if (ReadRoute(reader, child, route, $"{path}/{name}", receivers, intervals, ref count) is { } read)
            {
                if (children.Exists(c => c.Path == read.Path))
                {
                    reader.Problem(child.Line, $"the route '{read.Path}' is given twice");
                }

                children.Add(read);
            }
        }

        return route with { Routes = children };

        string Interval(string name) => intervals.ContainsKey(name) ? name : throw new FormatException($"there is no time interval '{name}'");
    }

    private static Inhibition? ReadInhibition(YamlReader reader, YamlNode node)
    {
        if (reader.Map(node, "inhibition", "source", "target", "equal") is not { } f)
        {
            return null;
        }

        var inhibition = new Inhibition(f.Each("source", 20, Matcher.Parse), f.Each("target", 20, Matcher.Parse), f.Each("equal", 20, t => LabelSet.IsName(t) ? t : throw new FormatException($"'{t}' is not a label name")));
        if (inhibition.Source.Count == 0 || inhibition.Target.Count == 0)
        {
            reader.Problem(node.Line, "an inhibition needs a matcher in 'source' and one in 'target'");
        }

        return inhibition;
    }

    private static IReadOnlyDictionary<string, TimeInterval> TimeIntervals(YamlReader reader, YamlReader.Fields top)
    {
        var intervals = new Dictionary<string, TimeInterval>(StringComparer.Ordinal);
        foreach (YamlNode node in top.Items("timeIntervals", 100))
        {
            if (reader.Map(node, "time interval", "name", "timeZone", "times", "weekdays", "daysOfMonth", "months") is not { } f || f.Text("name") is not { Length: > 0 } name)
            {
                continue;
            }

            intervals[name] = new TimeInterval(
                f.Read("timeZone", TimeZoneInfo.Utc, t => TimeZoneInfo.TryFindSystemTimeZoneById(t, out TimeZoneInfo? zone) ? zone : throw new FormatException($"there is no time zone '{t}'")),
                f.Each("times", 20, TimeInterval.Minutes), f.Each("weekdays", 7, TimeInterval.Weekdays), f.Each("daysOfMonth", 31, TimeInterval.DaysOfMonth), f.Each("months", 12, TimeInterval.Months));
        }

        return intervals;
    }
}

/// <summary>One node of the tree.</summary>
/// <param name="Path">Where it stands, such as `/pager` or `/2/1`.</param>
/// <param name="Receiver">Who hears; empty for nobody.</param>
/// <param name="Matchers">All must hold.</param>
/// <param name="Continue">Whether siblings behind it are asked as well.</param>
/// <param name="GroupBy">Labels that make one message; `...` is all of them.</param>
/// <param name="GroupWait">How long a new group waits for more alerts.</param>
/// <param name="GroupInterval">How long until a group that was sent is looked at again.</param>
/// <param name="RepeatInterval">After how long an unchanged group is sent again.</param>
/// <param name="ResolveFast">Whether a resolved alert is told at once.</param>
/// <param name="MuteTimeIntervals">Times in which it is quiet.</param>
/// <param name="ActiveTimeIntervals">Times outside of which it is quiet; empty is always.</param>
/// <param name="Routes">Its children.</param>
public sealed record AlertRoute(
    string Path,
    string Receiver,
    IReadOnlyList<Matcher> Matchers,
    bool Continue,
    IReadOnlyList<string> GroupBy,
    TimeSpan GroupWait,
    TimeSpan GroupInterval,
    TimeSpan RepeatInterval,
    bool ResolveFast,
    IReadOnlyList<string> MuteTimeIntervals,
    IReadOnlyList<string> ActiveTimeIntervals,
    IReadOnlyList<AlertRoute> Routes)
{
    /// <summary>One message for each model version and window, so that 400 drifted columns do not ring 400 times.</summary>
    internal static readonly string[] DefaultGroupBy = ["model", "version", "window"];

    internal static AlertRoute New(string receiver) => new("/", receiver, [], Continue: false, DefaultGroupBy, TimeSpan.FromSeconds(30), TimeSpan.FromMinutes(5), TimeSpan.FromHours(4), ResolveFast: false, [], [], []);

    /// <summary>The labels that make a group of this route.</summary>
    internal IReadOnlyDictionary<string, string> Group(IReadOnlyDictionary<string, string> labels) =>
        GroupBy.Contains("...", StringComparer.Ordinal) ? labels : LabelSet.Of(labels.Where(l => GroupBy.Contains(l.Key, StringComparer.Ordinal)));
}

/// <summary>While an alert that matches <paramref name="Source"/> fires, alerts that match <paramref name="Target"/> are muted where the labels in <paramref name="Equal"/> are the same; both lacking one counts as the same.</summary>
public sealed record Inhibition(IReadOnlyList<Matcher> Source, IReadOnlyList<Matcher> Target, IReadOnlyList<string> Equal)
{
    /// <summary>Whether the source mutes the target. An alert never mutes itself, and one that is both source and target is not muted by another such.</summary>
    internal bool Mutes(IReadOnlyDictionary<string, string> source, IReadOnlyDictionary<string, string> target) =>
        Matcher.All(Target, target) && Matcher.All(Source, source) && !(Matcher.All(Source, target) && Matcher.All(Target, source))
        && Equal.All(l => source.GetValueOrDefault(l, "") == target.GetValueOrDefault(l, ""));
}

/// <summary>Times of the calendar: every part that is given must hold.</summary>
/// <param name="Zone">Where the clock hangs.</param>
/// <param name="Times">Minutes of the day, half-open.</param>
/// <param name="Days">0 is Sunday, both ends included.</param>
/// <param name="MonthDays">1 to 31, or -1 for the last day and so on; both ends included.</param>
/// <param name="MonthNumbers">1 to 12, both ends included.</param>
public sealed record TimeInterval(TimeZoneInfo Zone, IReadOnlyList<(int From, int To)> Times, IReadOnlyList<(int From, int To)> Days, IReadOnlyList<(int From, int To)> MonthDays, IReadOnlyList<(int From, int To)> MonthNumbers)
{
    private static readonly string[] DayNames = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
    private static readonly string[] MonthNames = ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"];

    /// <summary>Whether the moment lies in the interval.</summary>
    public bool Contains(DateTimeOffset at)
    {
        DateTimeOffset local = TimeZoneInfo.ConvertTime(at, Zone);
        int minute = (int)local.TimeOfDay.TotalMinutes, days = DateTime.DaysInMonth(local.Year, local.Month);
        return (Times.Count == 0 || Times.Any(t => minute >= t.From && minute < t.To))
            && (Days.Count == 0 || Days.Any(d => Between(d, (int)local.DayOfWeek)))
            && (MonthDays.Count == 0 || MonthDays.Any(d => local.Day >= Day(d.From, days) && local.Day <= Day(d.To, days)))
            && (MonthNumbers.Count == 0 || MonthNumbers.Any(m => Between(m, local.Month)));
    }

    internal static (int From, int To) Minutes(string text)
    {
        string[] ends = text.Split('-', StringSplitOptions.TrimEntries);
        return ends.Length == 2 && Minute(ends[0]) is { } from && Minute(ends[1]) is { } to && from < to ? (from, to) : throw new FormatException($"'{text}' is not like 09:00-17:00, the first time before the second, at most 24:00");
    }

    internal static (int From, int To) Weekdays(string text) => Named(text, DayNames, 0, "monday:friday");

    internal static (int From, int To) Months(string text) => Named(text, MonthNames, 1, "june:august or 6:8");

    internal static (int From, int To) DaysOfMonth(string text)
    {
        string[] ends = text.Split(':', StringSplitOptions.TrimEntries);
        return ends.Length is 1 or 2 && Number(ends[0]) is { } from && Number(ends[^1]) is { } to && (from < 0) == (to < 0) && from <= to ? (from, to) : throw new FormatException($"'{text}' is not like 1:7 or -3:-1");

        static int? Number(string t) => int.TryParse(t, System.Globalization.NumberStyles.AllowLeadingSign, System.Globalization.CultureInfo.InvariantCulture, out int n) && n is >= -31 and <= 31 and not 0 ? n : null;
    }

    private static bool Between((int From, int To) range, int value) => range.From <= range.To ? value >= range.From && value <= range.To : value >= range.From || value <= range.To;

    private static int Day(int day, int days) => day < 0 ? days + 1 + day : day;

    private static int? Minute(string text) =>
        text.Split(':') is [var h, var m] && int.TryParse(h, System.Globalization.NumberStyles.None, null, out int hour) && int.TryParse(m, System.Globalization.NumberStyles.None, null, out int minute) && minute < 60 && (hour < 24 || (hour == 24 && minute == 0)) ? (hour * 60) + minute : null;

    private static (int From, int To) Named(string text, string[] names, int first, string example)
    {
        string[] ends = text.Split(':', StringSplitOptions.TrimEntries);
        return ends.Length is 1 or 2 && Index(ends[0]) is { } from && Index(ends[^1]) is { } to ? (from, to) : throw new FormatException($"'{text}' is not like {example}");

        int? Index(string t)
        {
            int at = Array.FindIndex(names, n => n.Equals(t, StringComparison.OrdinalIgnoreCase));
            return at >= 0 ? at + first
                : first == 1 && int.TryParse(t, System.Globalization.NumberStyles.None, null, out int n) && n is >= 1 and <= 12 ? n : null;
        }
    }
}
