using System.Globalization;

namespace Slipway.Monitoring;

/// <summary>
/// The condition of a rule over the metrics of a window, such as <c>psi > 0.2</c>, <c>errors / total > 0.5</c> or <c>absent(psi{column="age"})</c>.
/// It holds for each set of labels by itself. Arithmetic follows IEEE 754: a comparison with NaN is false, one with infinity is not.
/// A set of labels that lacks one of the metrics has no value there.
/// </summary>
internal sealed class RuleExpression
{
    private const int Longest = 500;
    private readonly Node root;

    private RuleExpression(string text, Node root) => (Text, this.root) = (text, root);

    public string Text { get; }

    /// <summary>Reads an expression.</summary>
    /// <exception cref="FormatException">With what is wrong, and where.</exception>
    public static RuleExpression Parse(string text)
    {
        if (text.Length > Longest)
        {
            throw new FormatException($"the expression has {text.Length} characters, at most {Longest} are allowed");
        }

        var parser = new Parser(text);
        return new RuleExpression(text, parser.Condition());
    }

    /// <summary>Where the condition holds.</summary>
    /// <param name="samples">What was measured.</param>
    /// <returns>For each set of labels: the value on the left of the comparison, the limit on its right, and whether it holds.</returns>
    public IReadOnlyList<RuleResult> Evaluate(IReadOnlyList<RuleSample> samples)
    {
        if (root is Absent absent)
        {
            IReadOnlyDictionary<string, string> labels = LabelSet.Of(absent.Of.Matchers.Where(m => m.Op == "=").Select(m => KeyValuePair.Create(m.Name, m.Value)));
            bool none = !samples.Any(absent.Of.Takes);
            return [new RuleResult(labels, none ? 1 : 0, 1, none)];
        }

        var compare = (Compare)root;
        IEnumerable<string> keys = samples.Where(s => compare.Metrics.Any(m => m.Takes(s))).Select(s => s.Key).Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal);
        var results = new List<RuleResult>();
        foreach (string key in keys)
        {
            RuleSample[] here = [.. samples.Where(s => s.Key == key)];
            if (compare.Left.Value(here) is { } left && compare.Right.Value(here) is { } right)
            {
                results.Add(new RuleResult(here[0].Labels, left, right, compare.Holds(left, right)));
            }
        }

        return results;
    }

    /// <summary>The metrics that it reads.</summary>
    public IReadOnlyList<string> MetricNames => (root switch { Absent a => [a.Of.Name], Compare c => c.Metrics.Select(m => m.Name).Distinct(StringComparer.Ordinal).ToArray(), _ => Array.Empty<string>() });

    private abstract record Node;

    private sealed record Absent(Metric Of) : Node;

    private sealed record Compare(Term Left, string Op, Term Right) : Node
    {
        public IReadOnlyList<Metric> Metrics { get; } = [.. Left.Metrics(), .. Right.Metrics()];

        public bool Holds(double left, double right) => Op switch
        {
            ">" => left > right,
            ">=" => left >= right,
            "<" => left < right,
            "<=" => left <= right,
            "==" => left == right,
            _ => left != right && !double.IsNaN(left) && !double.IsNaN(right),
        };
    }

    private abstract record Term
    {
        public abstract double? Value(IReadOnlyList<RuleSample> here);

        public abstract IEnumerable<Metric> Metrics();
    }

    private sealed record Number(double Of) : Term
    {
        public override double? Value(IReadOnlyList<RuleSample> here) => Of;

        public override IEnumerable<Metric> Metrics() => [];
    }

    private sealed record Metric(string Name, IReadOnlyList<Matcher> Matchers) : Term
    {
        public bool Takes(RuleSample sample) => sample.Metric == Name && Matcher.All(Matchers, sample.Labels);

        public override double? Value(IReadOnlyList<RuleSample> here) => here.FirstOrDefault(Takes)?.Value;

        public override IEnumerable<Metric> Metrics() => [this];
    }

    private sealed record Operation(Term Left, char Op, Term Right) : Term
    {
        public override double? Value(IReadOnlyList<RuleSample> here) => (Left.Value(here), Right.Value(here)) switch
        {
            ({ } a, { } b) => Op switch { '+' => a + b, '-' => a - b, '*' => a * b, _ => a / b },
            _ => null,
        };

        public override IEnumerable<Metric> Metrics() => [.. Left.Metrics(), .. Right.Metrics()];
    }

    private sealed class Parser(string text)
    {
        private const int Deepest = 20;
        private int at;
        private int depth;

        public Node Condition()
        {
            if (Word("absent"))
            {
                Expect('(');
                Metric of = Selector(Name() ?? throw Wrong("a metric"));
                Expect(')');
                End();
                return new Absent(of);
            }

            Term left = Sum();
            string op = Operator();
            Term right = Sum();
            End();
            return left.Metrics().Any() || right.Metrics().Any() ? new Compare(left, op, right) : throw new FormatException($"'{text}' names no metric");
        }

        private Term Sum()
        {
            Term left = Product();
            while (Take('+', '-') is { } op)
            {
                left = new Operation(left, op, Product());
            }

            return left;
        }

        private Term Product()
        {
            Term left = Factor();
            while (Take('*', '/') is { } op)
            {
                left = new Operation(left, op, Factor());
            }

            return left;
        }

        private Term Factor()
        {
            if (++depth > Deepest)
            {
                throw new FormatException($"'{text}' is nested deeper than {Deepest}");
            }

            try
            {
                if (Take('(', '(') is not null)
                {
                    Term inner = Sum();
                    Expect(')');
                    return inner;
                }

                if (Take('-', '-') is not null)
                {
                    return new Operation(new Number(0), '-', Factor());
                }

                Skip();
                int start = at;
                while (at < text.Length && (char.IsAsciiDigit(text[at]) || text[at] == '.' || (at > start && text[at] is 'e' or 'E') || (at > start && text[at] is '-' or '+' && text[at - 1] is 'e' or 'E')))
                {
                    at++;
                }

                if (at > start)
                {
                    return double.TryParse(text.AsSpan(start, at - start), NumberStyles.Float, CultureInfo.InvariantCulture, out double value) ? new Number(value) : throw Wrong("a number");
                }

                return Selector(Name() ?? throw Wrong("a metric, a number or ("));
            }
            finally
            {
                depth--;
            }
        }

        private Metric Selector(string name)
        {
            var matchers = new List<Matcher>();
            if (Take('{', '{') is not null)
            {
                while (Take('}', '}') is null)
                {
                    int start = at;
                    bool quoted = false;
                    while (at < text.Length && (quoted || text[at] is not (',' or '}')))
                    {
                        quoted ^= text[at] == '"' && text[at - 1] != '\\';
                        at++;
                    }

                    if (at == text.Length)
                    {
                        throw Wrong("}");
                    }

                    try
                    {
                        matchers.Add(Matcher.Parse(text[start..at].Trim()));
                    }
                    catch (Foundation.SlipwayException e)
                    {
                        throw new FormatException(e.Why ?? e.Message, e);
                    }

                    Take(',', ',');
                }
            }

            return new Metric(name, matchers);
        }

        private string Operator()
        {
            Skip();
            foreach (string op in new[] { ">=", "<=", "==", "!=", ">", "<" })
            {
                if (text.AsSpan(at).StartsWith(op, StringComparison.Ordinal))
                {
                    at += op.Length;
                    return op;
                }
            }

            throw Wrong("one of > >= < <= == !=");
        }

        private string? Name()
        {
            Skip();
            int start = at;
            while (at < text.Length && (char.IsAsciiLetterOrDigit(text[at]) || text[at] == '_'))
            {
                at++;
            }

            return at > start ? text[start..at] : null;
        }

        private bool Word(string word)
        {
            Skip();
            if (!text.AsSpan(at).StartsWith(word, StringComparison.Ordinal) || (at + word.Length < text.Length && text[at + word.Length] is not ('(' or ' ')))
            {
                return false;
            }

            at += word.Length;
            return true;
        }

        private char? Take(char one, char other)
        {
            Skip();
            return at < text.Length && (text[at] == one || text[at] == other) ? text[at++] : null;
        }

        private void Expect(char c)
        {
            if (Take(c, c) is null)
            {
                throw Wrong(c.ToString());
            }
        }

        private void End()
        {
            Skip();
            if (at < text.Length)
            {
                throw Wrong("the end");
            }
        }

        private void Skip()
        {
            while (at < text.Length && text[at] == ' ')
            {
                at++;
            }
        }

        private FormatException Wrong(string expected) => new($"'{text}' has {(at < text.Length ? $"'{text[at]}'" : "its end")} at character {at + 1}, where {expected} is expected");
    }
}

/// <summary>One measured value: a metric, the labels it is about, and the number.</summary>
internal sealed record RuleSample(string Metric, IReadOnlyDictionary<string, string> Labels, double Value)
{
    /// <summary>What makes two samples belong together: equal labels.</summary>
    public string Key { get; } = LabelSet.Text(Labels);
}

/// <summary>What an expression says about one set of labels.</summary>
/// <param name="Labels">What it is about.</param>
/// <param name="Value">The left side of the comparison.</param>
/// <param name="Limit">The right side.</param>
/// <param name="Holds">Whether the condition is true.</param>
internal sealed record RuleResult(IReadOnlyDictionary<string, string> Labels, double Value, double Limit, bool Holds);
