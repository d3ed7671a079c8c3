using System.Globalization;
using System.Text;

namespace Slipway.Registry;

/// <summary>The SQL that a search becomes: joins, conditions and bound values. User text is only ever a bound value.</summary>
internal sealed class SearchSql(Dialect dialect)
{
    private readonly List<object> values = [];
    private readonly StringBuilder joins = new();
    private readonly StringBuilder where = new();

    public bool IsPostgres => dialect.IsPostgres;

    /// <summary>Binds a value and gives its placeholder.</summary>
    public string Bind(object value)
    {
        values.Add(value);
        return string.Create(CultureInfo.InvariantCulture, $"${values.Count}");
    }

    public string BindAll(IEnumerable<object> items) => string.Join(", ", items.Select(Bind));

    public void Join(string sql) => joins.Append('\n').Append(sql);

    public void Where(string condition) => where.Append(where.Length == 0 ? "\nWHERE " : "\n  AND ").Append(condition);


    /// <summary>Text in the order of its code points on both databases.</summary>
    public string Text(string expression) => IsPostgres ? $"{expression} COLLATE \"C\"" : expression;

    /// <summary>Compares a text expression with the value of a condition.</summary>
    /// <remarks>LIKE is case-sensitive and knows no escape character; ILIKE folds ASCII on SQLite and all letters on PostgreSQL.</remarks>
    public string CompareText(string expression, Condition condition)
    {
        var escape = IsPostgres ? " ESCAPE ''" : "";
        return condition.Comparison switch
        {
            Comparison.Equal => $"{expression} = {Bind(condition.Value!)}",
            Comparison.NotEqual => $"{expression} <> {Bind(condition.Value!)}",
            Comparison.Like => $"{expression} LIKE {Bind(condition.Value!)}{escape}",
            Comparison.ILike => $"LOWER({expression}) LIKE LOWER({Bind(condition.Value!)}){escape}",
            Comparison.In => $"{expression} IN ({BindAll((List<string>)condition.Value!)})",
            Comparison.NotIn => $"{expression} NOT IN ({BindAll((List<string>)condition.Value!)})",
            _ => throw new InvalidOperationException($"{condition.Comparison} does not compare text"),
        };
    }

    /// <summary>Compares a number. <paramref name="scale"/> turns the condition's unit into the column's.</summary>
    public string CompareNumber(string expression, Condition condition, double scale = 1)
    {
        var sign = condition.Comparison switch
        {
            Comparison.Equal => "=",
            Comparison.NotEqual => "<>",
            Comparison.Greater => ">",
            Comparison.GreaterOrEqual => ">=",
            Comparison.Less => "<",
            Comparison.LessOrEqual => "<=",
            _ => throw new InvalidOperationException($"{condition.Comparison} does not compare numbers"),
        };
        return $"{expression} {sign} {Bind((double)condition.Value! * scale)}";
    }

    /// <summary>A condition on a table of (owner, key, value) rows: an owner without the key matches only IS NULL.</summary>
    public void WhereTag(string table, string owner, Condition condition)
    {
        var row = $"SELECT 1 FROM {table} t WHERE {owner} AND t.key = {Bind(condition.Key)}";
        Where(condition.Comparison switch
        {
            Comparison.IsNull => $"NOT EXISTS ({row})",
            Comparison.IsNotNull => $"EXISTS ({row})",
            _ => $"EXISTS ({row} AND {CompareText("t.value", condition)})",
        });
    }

    /// <summary>The statement, ready to run.</summary>
    /// <remarks>The limit is no parameter: the planner of PostgreSQL has to know how few rows are wanted.</remarks>
    public Statement Build(Session session, string columns, string from, SearchOrder order, int limit) =>
        Build(session, $"SELECT {columns}{order.Columns}\nFROM {from}{joins}", $"ORDER BY {order.Sql}\nLIMIT {limit}");

    /// <summary>The conditions between a head and a tail.</summary>
    public Statement Build(Session session, string head, string tail)
    {
        var statement = session.Statement($"{head}{where}\n{tail}");
        values.ForEach(v => statement.BindAny(v));
        return statement;
    }
}
