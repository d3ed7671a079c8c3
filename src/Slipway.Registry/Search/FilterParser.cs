using System.Globalization;

namespace Slipway.Registry;

/// <summary>One condition of a filter; all conditions of a filter must hold.</summary>
/// <param name="Entity">What it speaks about.</param>
/// <param name="Key">Canonical key.</param>
/// <param name="Comparison">Operator.</param>
/// <param name="Value">A <see cref="double"/>, a <see cref="string"/>, a list of strings for IN, or null for IS [NOT] NULL.</param>
internal sealed record Condition(Entity Entity, string Key, Comparison Comparison, object? Value);

/// <summary>One term of an order.</summary>
internal sealed record OrderTerm(Entity Entity, string Key, bool Descending);

/// <summary>Reads MLflow's search language: conditions joined by AND, no OR, NOT or parentheses, and order terms.</summary>
internal sealed class FilterParser
{
    /// <summary>Bounds the size of the SQL that a filter becomes.</summary>
    private const int MaxConditions = 50;

    private const int MaxLength = 65_536;
    private const int MaxListItems = 1000;
    private const int MaxOrderTerms = 10;

    private readonly string text;
    private readonly SearchGrammar grammar;
    private readonly List<FilterToken> tokens;
    private int at;
    private int listItems;

    private FilterParser(string text, SearchGrammar grammar)
    {
        if (text.Length > MaxLength)
        {
            throw SlipwayException.Invalid("Invalid filter string", $"it has {text.Length} characters; the limit is {MaxLength}");
        }

        this.text = text;
        this.grammar = grammar;
        tokens = FilterTokens.Read(text);
    }

    /// <summary>The conditions of a filter; empty for null or blank text.</summary>
    /// <exception cref="SlipwayException">InvalidArgument, naming the clause.</exception>
    public static IReadOnlyList<Condition> Parse(string? filter, SearchGrammar grammar) =>
        string.IsNullOrWhiteSpace(filter) ? [] : new FilterParser(filter, grammar).ReadConditions();

    /// <summary>The terms of an order_by list.</summary>
    /// <exception cref="SlipwayException">InvalidArgument, also for a field that stands twice.</exception>
    public static IReadOnlyList<OrderTerm> ParseOrder(IReadOnlyList<string> terms, SearchGrammar grammar)
    {
        if (terms.Count > MaxOrderTerms)
        {
            throw SlipwayException.Invalid("Invalid order_by", $"it has {terms.Count} terms; the limit is {MaxOrderTerms}");
        }

        var result = new List<OrderTerm>();
        foreach (var term in terms)
        {
            var read = new FilterParser(term, grammar).ReadOrder();
            if (result.Exists(o => o.Entity == read.Entity && o.Key == read.Key))
            {
                throw SlipwayException.Invalid($"order_by contains duplicate fields: {FilterTokens.Cut(term)}");
            }

            result.Add(read);
        }

        return result;
    }

    private List<Condition> ReadConditions()
    {
        var conditions = new List<Condition>();
        while (at < tokens.Count)
        {
            if (conditions.Count == MaxConditions)
            {
                throw Invalid($"there are more than {MaxConditions} conditions");
            }

            conditions.Add(ReadCondition());
            if (at < tokens.Count)
            {
                // A trailing AND is tolerated, as MLflow does.
                var and = Next("AND");
                if (!and.Is("AND"))
                {
                    throw Invalid($"expected AND, found '{and.Text}' at position {and.At + 1}");
                }
            }
        }

        return conditions;
    }

    private Condition ReadCondition()
    {
        var word = Next("an identifier");
        if (word.Kind != TokenKind.Word || (!word.Quoted && word.Key is null && IsReserved(word)))
        {
            throw Invalid($"expected an identifier, found '{word.Text}' at position {word.At + 1}");
        }

        var sign = at < tokens.Count ? tokens[at] : word;
        var comparison = ReadComparison();
        var (entity, key, rule) = grammar.Resolve(word, ordering: false);
        var allowed = grammar.Comparisons(entity, rule);
        if (!allowed.Contains(comparison))
        {
            throw SlipwayException.Invalid($"Invalid comparison operator for {Name(entity)} '{FilterTokens.Cut(key)}': {Sign(comparison)} is not one of {string.Join(", ", allowed.Select(Sign))}", $"at position {sign.At + 1}");
        }

        return new Condition(entity, key, comparison, ReadValue(entity, key, rule, comparison));
    }

    private Comparison ReadComparison()
    {
        var token = Next("an operator");
        if (token.Kind == TokenKind.Operator)
        {
            return token.Text switch
            {
                "=" => Comparison.Equal,
                "!=" => Comparison.NotEqual,
                ">" => Comparison.Greater,
                ">=" => Comparison.GreaterOrEqual,
                "<" => Comparison.Less,
                "<=" => Comparison.LessOrEqual,
                _ => throw Invalid($"'{token.Text}' is not an operator, at position {token.At + 1}"),
            };
        }

        if (token.Is("LIKE"))
        {
            return Comparison.Like;
        }

        if (token.Is("ILIKE"))
        {
            return Comparison.ILike;
        }

        if (token.Is("IN"))
        {
            return Comparison.In;
        }

        if (token.Is("NOT") && Next("IN").Is("IN"))
        {
            return Comparison.NotIn;
        }

        if (token.Is("IS"))
        {
            var next = Next("NULL");
            if (next.Is("NULL"))
            {
                return Comparison.IsNull;
            }

            if (next.Is("NOT") && Next("NULL").Is("NULL"))
            {
                return Comparison.IsNotNull;
            }
        }

        throw Invalid($"expected an operator, found '{token.Text}' at position {token.At + 1}");
    }

    private object? ReadValue(Entity entity, string key, AttributeRule? rule, Comparison comparison)
    {
        if (comparison is Comparison.IsNull or Comparison.IsNotNull)
        {
            return null;
        }

        if (comparison is Comparison.In or Comparison.NotIn)
        {
            return ReadList();
        }

        var token = Next("a value");
        if (entity == Entity.Metric || rule is { Numeric: true })
        {
            return token.Kind == TokenKind.Number && double.TryParse(token.Text, NumberStyles.Float, CultureInfo.InvariantCulture, out var number)
                ? number
                : throw SlipwayException.Invalid($"Expected numeric value type for {Name(entity)} '{FilterTokens.Cut(key)}'. Found {FilterTokens.Cut(token.Text)}", $"at position {token.At + 1}");
        }

        return IsText(token)
            ? token.Text
            : throw SlipwayException.Invalid($"Expected a quoted string value for {Name(entity)} (e.g. 'my-value'). Got value {FilterTokens.Cut(token.Text)}", $"at position {token.At + 1}");
    }

    private List<string> ReadList()
    {
        var open = Next("a list");
        if (open.Kind != TokenKind.Open)
        {
            throw Invalid($"IN takes a list of quoted strings in parentheses, at position {open.At + 1}");
        }

        var items = new List<string>();
        while (true)
        {
            var item = Next("a quoted string");
            if (item.Kind == TokenKind.Close && items.Count > 0)
            {
                return items;
            }

            if (!IsText(item))
            {
                throw Invalid($"a list in IN holds only quoted strings, and at least one: found '{FilterTokens.Cut(item.Text)}' at position {item.At + 1}");
            }

            items.Add(item.Text);
            if (++listItems > MaxListItems)
            {
                throw Invalid($"its lists in IN hold more than {MaxListItems} items");
            }

            var next = Next("a comma");
            if (next.Kind == TokenKind.Close)
            {
                return items;
            }

            if (next.Kind != TokenKind.Comma)
            {
                throw Invalid($"expected a comma in the list, found '{FilterTokens.Cut(next.Text)}' at position {next.At + 1}");
            }
        }
    }

    private OrderTerm ReadOrder()
    {
        if (tokens.Count is 0 or > 2 || tokens[0].Kind != TokenKind.Word)
        {
            throw SlipwayException.Invalid($"Invalid order_by clause '{FilterTokens.Cut(text)}'", "a term is an identifier and ASC or DESC", "write for example metrics.auc DESC");
        }

        var descending = tokens.Count == 2 && tokens[1].Is("DESC");
        if (tokens.Count == 2 && !descending && !tokens[1].Is("ASC"))
        {
            throw SlipwayException.Invalid($"Invalid order_by clause '{FilterTokens.Cut(text)}'", $"'{FilterTokens.Cut(tokens[1].Text)}' is neither ASC nor DESC");
        }

        var (entity, key, _) = grammar.Resolve(tokens[0], ordering: true);
        return new OrderTerm(entity, key, descending);
    }

    private FilterToken Next(string expected)
    {
        if (at == tokens.Count)
        {
            throw Invalid($"it ends where {expected} is expected, at position {text.TrimEnd().Length + 1}");
        }

        return tokens[at++];
    }

    private SlipwayException Invalid(string why) => FilterTokens.Invalid(why, text);

    private static bool IsText(FilterToken token) => token.Kind == TokenKind.Text || (token.Kind == TokenKind.Word && token.Quoted);

    private static bool IsReserved(FilterToken word) => word.Is("AND") || word.Is("OR") || word.Is("NOT");

    private static string Name(Entity entity) => entity switch
    {
        Entity.Metric => "metric",
        Entity.Param => "parameter",
        Entity.Tag => "tag",
        Entity.Dataset => "dataset",
        _ => "attribute",
    };

    private static string Sign(Comparison comparison) => comparison switch
    {
        Comparison.Equal => "=",
        Comparison.NotEqual => "!=",
        Comparison.Greater => ">",
        Comparison.GreaterOrEqual => ">=",
        Comparison.Less => "<",
        Comparison.LessOrEqual => "<=",
        Comparison.Like => "LIKE",
        Comparison.ILike => "ILIKE",
        Comparison.In => "IN",
        Comparison.NotIn => "NOT IN",
        Comparison.IsNull => "IS NULL",
        _ => "IS NOT NULL",
    };
}
