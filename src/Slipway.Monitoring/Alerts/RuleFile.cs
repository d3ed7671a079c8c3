using System.Globalization;
using Slipway.Foundation;
using Slipway.Governance;

namespace Slipway.Monitoring;

/// <summary>An alert rule of a user: a condition on the points of each window, and what its alerts say.</summary>
/// <param name="Name">Its name; the label `alertname` of its alerts.</param>
/// <param name="Expression">The condition, such as <c>psi > 0.2</c>.</param>
/// <param name="Clear">When a firing alert may end; null: when the condition is false.</param>
/// <param name="Where">Conditions on the labels of the points: endpoint, model, version, monitor, column.</param>
/// <param name="Severity">`warn`, `major` or `severe`.</param>
/// <param name="Labels">Further labels of its alerts.</param>
/// <param name="Annotations">Texts of its alerts; `summary` is the sentence, `runbook` a link.</param>
/// <param name="Spec">When it fires and when it ends.</param>
public sealed record RuleDefinition(
    string Name,
    string Expression,
    string? Clear,
    IReadOnlyList<string> Where,
    string Severity,
    IReadOnlyDictionary<string, string> Labels,
    IReadOnlyDictionary<string, string> Annotations,
    RuleSpec Spec);

/// <summary>One rule, ready to be evaluated.</summary>
internal sealed class RuleCondition
{
    private readonly RuleExpression fire;
    private readonly RuleExpression? clear;
    private readonly Matcher[] where;
    private readonly int rank;

    public RuleCondition(RuleDefinition rule)
    {
        Rule = rule;
        fire = RuleExpression.Parse(rule.Expression);
        clear = rule.Clear is null ? null : RuleExpression.Parse(rule.Clear);
        where = [.. rule.Where.Select(Matcher.Parse)];
        rank = DriftLevel.Rank(rule.Severity);
    }

    public RuleDefinition Rule { get; }

    public IReadOnlyList<string> Metrics => fire.MetricNames;

    /// <summary>Moves every set of labels that the rule knows, and those that are new.</summary>
    /// <param name="states">State by labels; changed in place.</param>
    /// <param name="samples">What was measured.</param>
    /// <param name="at">The time of the evaluation, Unix microseconds.</param>
    /// <returns>What the condition said about the sets of labels that have numbers.</returns>
    public IReadOnlyList<RuleResult> Next(Dictionary<string, RuleSet> states, IReadOnlyList<RuleSample> samples, long at)
    {
        RuleSample[] taken = [.. samples.Where(s => Matcher.All(where, s.Labels))];
        IReadOnlyList<RuleResult> results = fire.Evaluate(taken);
        Dictionary<string, bool>? cleared = clear?.Evaluate(taken).ToDictionary(r => LabelSet.Text(r.Labels), r => r.Holds, StringComparer.Ordinal);
        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (RuleResult result in results)
        {
            string key = LabelSet.Text(result.Labels);
            seen.Add(key);
            bool isClear = !result.Holds && (cleared is null || cleared.GetValueOrDefault(key));
            RuleSet set = states.GetValueOrDefault(key) ?? new RuleSet(result.Labels, AlertRule.New);
            states[key] = set with { State = set.State.Next(new RuleObservation(at, result.Holds ? rank : 0, isClear), Rule.Spec), Last = result };
        }

        foreach ((string key, RuleSet set) in states.Where(s => !seen.Contains(s.Key)).ToArray())
        {
            states[key] = set with { State = set.State.Next(new RuleObservation(at, 0, Clear: false, Gap: true), Rule.Spec) };
        }

        return results;
    }
}

/// <summary>Where a rule stands for one set of labels, and what its condition last said.</summary>
internal sealed record RuleSet(IReadOnlyDictionary<string, string> Labels, AlertRule State, RuleResult? Last = null);

/// <summary>Alert rules and their tests in one YAML document.</summary>
internal sealed record RuleFile(IReadOnlyList<RuleDefinition> Rules, IReadOnlyList<RuleFile.Test> Tests)
{
    public const int MostRules = 200;
    private const string ApiVersion = "slipway.dev/alert-rules/v1";
    private const string Kind = "AlertRules";

    /// <summary>What one test puts in, and what it expects.</summary>
    internal sealed record Test(string Name, TimeSpan Interval, TimeSpan Lookback, IReadOnlyList<Series> Input, IReadOnlyList<Expectation> Expected, long Line);

    /// <summary>One series: a value for each evaluation; null is missing, and a stale marker ends it.</summary>
    internal sealed record Series(string Metric, IReadOnlyDictionary<string, string> Labels, IReadOnlyList<Sample> Values);

    internal readonly record struct Sample(double? Value, bool Stale);

    /// <summary>The expected states of one rule and set of labels, one character for each evaluation.</summary>
    internal sealed record Expectation(string Rule, IReadOnlyDictionary<string, string> Labels, int? At, string States, long Line);

    /// <exception cref="SlipwayException">InvalidArgument with every problem and its line.</exception>
    public static RuleFile Parse(string text, string? file = null)
    {
        var reader = new YamlReader(file);
        YamlReader.Fields? top = reader.Document(text, "rule file", ApiVersion, Kind, "rules", "tests");
        var rules = new List<RuleDefinition>();
        var tests = new List<Test>();
        if (top is not null)
        {
            foreach (YamlNode node in top.Items("rules", MostRules))
            {
                if (Rule(reader, node) is { } rule)
                {
                    if (rules.Any(r => r.Name == rule.Name))
                    {
                        reader.Problem(node.Line, $"the rule '{rule.Name}' is given twice");
                    }

                    rules.Add(rule);
                }
            }

            if (!top.Has("rules"))
            {
                reader.Problem(top.Line, "the field 'rules' is missing");
            }

            foreach (YamlNode node in top.Items("tests", 200))
            {
                if (ReadTest(reader, node, rules) is { } test)
                {
                    tests.Add(test);
                }
            }
        }

        reader.Demand(file is null ? "the rule file" : $"the rule file {file}");
        return new RuleFile(rules, tests);
    }

    private static RuleDefinition? Rule(YamlReader reader, YamlNode node)
    {
        if (reader.Map(node, "rule", "name", "expression", "clear", "where", "for", "keepFiringFor", "windows", "resolveAfter", "noData", "noDataFor", "severity", "labels", "annotations") is not { } f)
        {
            return null;
        }

        string? name = f.Text("name");
        if (name is { Length: > 0 } && !Names.IsName(name))
        {
            reader.Problem(f.Line, $"the name '{name}' must be {Names.Rule}");
        }

        string? expression = f.Text("expression");
        f.Read("expression", "", t => RuleExpression.Parse(t).Text);
        f.Read("clear", "", t => RuleExpression.Parse(t).Text);
        AlertFor breach = new(1, 1);
        if (f.Node("windows") is { } windows && reader.Map(windows, "windows", "breach", "of") is { } k)
        {
            int of = k.Integer("of", 1, 1, AlertRule.LongestHistory);
            breach = new AlertFor(k.Integer("breach", 1, 1, AlertRule.LongestHistory), of);
            if (breach.K > breach.N)
            {
                reader.Problem(windows.Line, $"{breach.K} of {breach.N} windows cannot breach");
            }
        }

        var spec = new RuleSpec
        {
            For = f.Span("for", TimeSpan.Zero),
            KeepFiringFor = f.Span("keepFiringFor", TimeSpan.Zero),
            Breach = breach,
            MajorBreach = breach,
            ResolveAfter = f.Integer("resolveAfter", 1, 1, AlertRule.LongestHistory),
            NoData = f.OneOf("noData", NoData.Keep, NoData.All),
            NoDataFor = f.Integer("noDataFor", 2, 1, AlertRule.LongestHistory),
        };
        IReadOnlyList<string> where = f.Each("where", 20, t => Matcher.Parse(t).ToString());
        string severity = f.OneOf("severity", DriftLevel.Major, DriftLevel.Warn, DriftLevel.Major, DriftLevel.Severe);
        string? clear = f.Optional("clear");
        return name is { Length: > 0 } && expression is { Length: > 0 } ? new RuleDefinition(name, expression, clear, where, severity, f.Labels("labels"), f.Labels("annotations"), spec) : null;
    }

    private static Test? ReadTest(YamlReader reader, YamlNode node, List<RuleDefinition> rules)
    {
        if (reader.Map(node, "test", "name", "interval", "lookback", "series", "timeline", "expect") is not { } f)
        {
            return null;
        }

        var series = new List<Series>();
        foreach (YamlNode item in f.Items("series", 100))
        {
            if (reader.Map(item, "series", "series", "values") is { } s)
            {
                (string Metric, IReadOnlyDictionary<string, string> Labels) name = s.Read("series", ("", LabelSet.Empty), Selector);
                series.Add(new Series(name.Metric, name.Labels, s.Read("values", (IReadOnlyList<Sample>)[], Values)));
            }
        }

        TimeSpan interval = f.Span("interval", TimeSpan.FromHours(1));
        if (interval <= TimeSpan.Zero)
        {
            reader.Problem(f.Line, "the interval is not above zero");
            interval = TimeSpan.FromHours(1);
        }

        var expected = new List<Expectation>();
        if (f.Node("timeline") is YamlMap timeline)
        {
            foreach (YamlField line in timeline.Fields)
            {
                Expect(reader, expected, rules, line.Name, null, line.Value is YamlScalar states ? states.Value : "", line.Line);
            }
        }

        foreach (YamlNode item in f.Items("expect", 1_000))
        {
            if (reader.Map(item, "expectation", "at", "alert", "state") is { } e && e.Text("alert") is { Length: > 0 } alert)
            {
                int at = (int)Math.Round(e.Span("at", TimeSpan.Zero) / interval);
                Expect(reader, expected, rules, alert, at, e.OneOf("state", "firing", "firing", "pending", "inactive", "no-data") switch { "firing" => "F", "pending" => "P", "no-data" => "N", _ => "." }, item.Line);
            }
        }

        if (expected.Count == 0)
        {
            reader.Problem(f.Line, "the test expects nothing; give a timeline or expect");
        }

        return new Test(f.Text("name") ?? "", interval, f.Span("lookback", TimeSpan.Zero), series, expected, f.Line);
    }

    private static void Expect(YamlReader reader, List<Expectation> expected, List<RuleDefinition> rules, string alert, int? at, string states, long line)
    {
        try
        {
            (string rule, IReadOnlyDictionary<string, string> labels) = Selector(alert);
            if (rules.TrueForAll(r => r.Name != rule))
            {
                reader.Problem(line, $"there is no rule '{rule}', {Nearest.Hint(rule, rules.ConvertAll(r => r.Name)) ?? "known: " + string.Join(", ", rules.Select(r => r.Name))}");
            }
            else if (states.Length == 0 || states.Any(c => c is not ('.' or 'P' or 'F' or 'N')))
            {
                reader.Problem(line, $"'{states}' is not made of . P F N (inactive, pending, firing, no data)");
            }
            else
            {
                expected.Add(new Expectation(rule, labels, at, states, line));
            }
        }
        catch (Exception e) when (e is FormatException or SlipwayException)
        {
            reader.Problem(line, (e as SlipwayException)?.Why ?? e.Message);
        }
    }

    private static (string Name, IReadOnlyDictionary<string, string> Labels) Selector(string text)
    {
        int brace = text.IndexOf('{', StringComparison.Ordinal);
        if (brace < 0)
        {
            return (text.Trim(), LabelSet.Empty);
        }

        if (!text.EndsWith('}'))
        {
            throw new FormatException($"'{text}' does not end with }}");
        }

        return (text[..brace].Trim(), LabelSet.Of(text[(brace + 1)..^1].Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries).Select(p =>
        {
            var matcher = Matcher.Parse(p);
            return matcher.Op == "=" ? KeyValuePair.Create(matcher.Name, matcher.Value) : throw new FormatException($"'{p}' is not name=\"value\"");
        })));
    }

    /// <summary>Numbers, `_` (missing), `stale`, `NaN`, `Inf`; `0.3x4` is 0.3 and four more of it, `1+2x3` is 1 3 5 7, `_x4` four missing ones.</summary>
    private static IReadOnlyList<Sample> Values(string text)
    {
        const int most = 10_000;
        var values = new List<Sample>();
        foreach (string word in text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries))
        {
            int x = word.LastIndexOf('x');
            int times = x > 0 && int.TryParse(word.AsSpan(x + 1), NumberStyles.None, CultureInfo.InvariantCulture, out int n) ? n : 0;
            string value = x > 0 ? word[..x] : word;
            if (times > most || values.Count + times > most)
            {
                throw new FormatException($"more than {most:N0} values");
            }

            if (value is "_" or "stale")
            {
                values.AddRange(Enumerable.Repeat(new Sample(null, value == "stale"), x > 0 ? times : 1));
                continue;
            }

            int step = value.AsSpan(1).IndexOfAny('+', '-') is var at && at >= 0 && value[at] is not ('e' or 'E') ? at + 1 : -1;
            double first = Number(step > 0 ? value[..step] : value, word), add = step > 0 ? Number(value[step..], word) : 0;
            values.AddRange(Enumerable.Range(0, times + 1).Select(i => new Sample(first + (i * add), false)));
        }

        return values;
    }

    private static double Number(string text, string word) => text switch
    {
        "NaN" => double.NaN,
        "Inf" or "+Inf" => double.PositiveInfinity,
        "-Inf" => double.NegativeInfinity,
        _ => double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double value) ? value : throw new FormatException($"'{word}' is not a value"),
    };
}

/// <summary>Runs the tests of a rule file, without a server.</summary>
public static class RuleTests
{
    /// <summary>Checks the rules and runs every test.</summary>
    /// <param name="text">The YAML document.</param>
    /// <param name="file">Its name, for messages; null for none.</param>
    /// <returns>One result for each test.</returns>
    /// <exception cref="SlipwayException">InvalidArgument with every problem of the document and its line.</exception>
    public static IReadOnlyList<RuleTestResult> Run(string text, string? file)
    {
        var parsed = RuleFile.Parse(text, file);
        return [.. parsed.Tests.Select(t => Run(parsed, t, file))];
    }

    private static RuleTestResult Run(RuleFile file, RuleFile.Test test, string? name)
    {
        int steps = Math.Max(test.Input.Select(s => s.Values.Count).DefaultIfEmpty(0).Max(), test.Expected.Select(e => (e.At ?? 0) + e.States.Length).DefaultIfEmpty(0).Max());
        var conditions = file.Rules.Select(r => (Condition: new RuleCondition(r), States: new Dictionary<string, RuleSet>(StringComparer.Ordinal))).ToList();
        var seen = new Dictionary<(string Rule, string Labels), char[]>();
        for (int i = 0; i < steps; i++)
        {
            RuleSample[] samples = [.. test.Input.Select(s => At(s, i, test)).OfType<RuleSample>()];
            foreach ((RuleCondition condition, Dictionary<string, RuleSet> states) in conditions)
            {
                condition.Next(states, samples, i * (test.Interval.Ticks / TimeSpan.TicksPerMicrosecond));
                foreach ((string labels, RuleSet set) in states)
                {
                    if (!seen.TryGetValue((condition.Rule.Name, labels), out char[]? line))
                    {
                        seen[(condition.Rule.Name, labels)] = line = Enumerable.Repeat('.', steps).ToArray();
                    }

                    bool noData = condition.Rule.Spec.NoData == NoData.Alert && set.State.Gaps >= condition.Rule.Spec.NoDataFor;
                    line[i] = noData ? 'N' : set.State.State switch { AlertRule.Firing => 'F', AlertRule.Pending => 'P', _ => '.' };
                }
            }
        }

        var failures = new List<string>();
        foreach (RuleFile.Expectation e in test.Expected)
        {
            string got = new(seen.GetValueOrDefault((e.Rule, LabelSet.Text(e.Labels))) ?? Enumerable.Repeat('.', steps).ToArray());
            string part = got.Substring(e.At ?? 0, e.States.Length);
            if (part != e.States)
            {
                string where = name is null ? $"line {e.Line}" : $"{name}:{e.Line}";
                failures.Add(e.At is { } at
                    ? $"{where}: {e.Rule}{LabelSet.Text(e.Labels)} at {Duration.Text(at * test.Interval)}: expected {Word(e.States[0])}, got {Word(part[0])}"
                    : $"{where}: {e.Rule}{LabelSet.Text(e.Labels)}: expected {e.States}, got {part}");
            }
        }

        return new RuleTestResult(test.Name, failures.Count == 0, failures);
    }

    private static string Word(char state) => state switch { 'F' => "firing", 'P' => "pending", 'N' => "no data", _ => "inactive" };

    /// <summary>The value of a series at one evaluation: its own, or the last one within the look-back unless a stale marker ended it.</summary>
    private static RuleSample? At(RuleFile.Series series, int i, RuleFile.Test test)
    {
        for (int j = i; j >= 0 && (i - j) * test.Interval <= test.Lookback; j--)
        {
            RuleFile.Sample sample = j < series.Values.Count ? series.Values[j] : default;
            if (sample.Stale)
            {
                return null;
            }

            if (sample.Value is { } value)
            {
                return new RuleSample(series.Metric, series.Labels, value);
            }
        }

        return null;
    }
}

/// <summary>What one test of a rule file said.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Passed">Whether every expectation was met.</param>
/// <param name="Failures">The expectations that were not, each with its place.</param>
public sealed record RuleTestResult(string Name, bool Passed, IReadOnlyList<string> Failures);
