using System.Globalization;
using System.Text;

namespace Slipway.Registry;

internal enum SortKind
{
    Integer,
    Number,
    Text,
}

/// <summary>
/// The order of a search, and page tokens that hold the sort values of the last row (keyset paging): rows that are added or
/// removed between two pages neither shift nor repeat the others.
/// </summary>
/// <remarks>Every sort column is non-null; what may be absent is preceded by a class column that puts it last in both directions.</remarks>
internal sealed class SearchOrder(SearchSql sql)
{
    /// <summary>Long texts are ordered by their start, which bounds the token.</summary>
    private const int TextPrefix = 100;

    private readonly List<(string Expression, bool Descending, SortKind Kind)> columns = [];
    private int constants;

    /// <summary>The sort columns as further columns of the SELECT list.</summary>
    public string Columns => string.Concat(columns.Select((c, i) => $", {c.Expression} AS s{i}"));

    public string Sql => string.Join(", ", columns.Skip(constants).Select(c => $"{c.Expression} {(c.Descending ? "DESC" : "ASC")}"));

    /// <summary>A leading column that has the same value in all rows; a token tells by it which statement it belongs to.</summary>
    public void AddConstant(int value)
    {
        columns.Add((value.ToString(CultureInfo.InvariantCulture), false, SortKind.Integer));
        constants++;
    }

    public void Add(string expression, SortKind kind, bool descending) =>
        columns.Add((expression, descending, kind));

    /// <summary>Ordered by the first characters of a text that may be long.</summary>
    public void AddText(string expression, bool descending) =>
        Add(sql.Text($"SUBSTR({expression}, 1, {TextPrefix})"), SortKind.Text, descending);

    /// <summary>Absent values last, in both directions.</summary>
    public void AddOptional(string expression, SortKind kind, bool descending)
    {
        Add($"CASE WHEN {expression} IS NULL THEN 1 ELSE 0 END", SortKind.Integer, false);
        if (kind == SortKind.Text)
        {
            AddText($"COALESCE({expression}, '')", descending);
        }
        else
        {
            Add($"COALESCE({expression}, 0)", kind, descending);
        }
    }

    /// <summary>Adds the condition "after the row of this token".</summary>
    /// <param name="token">Token of the page before.</param>
    /// <param name="query">What identifies the search: a token is good only for the search that gave it out.</param>
    public void After(string token, string query)
    {
        var parts = Read(token, query);
        if (constants > 0 && parts[1] != columns[0].Expression)
        {
            // The row stands before everything that this statement gives.
            return;
        }

        var bound = new string[columns.Count];
        for (var i = constants; i < columns.Count; i++)
        {
            bound[i] = sql.Bind(ReadValue(parts[i + 1], columns[i].Kind));
        }

        // What the rest of the condition implies, in a form that an index can start from.
        var first = columns[constants];
        sql.Where($"{first.Expression} {(first.Descending ? "<=" : ">=")} {bound[constants]}");

        // Lexicographic "greater" over mixed directions: a after x, or a at x and b after y, ...
        var after = new StringBuilder("(");
        for (var i = constants; i < columns.Count; i++)
        {
            after.Append(i == constants ? "(" : " OR (");
            for (var j = constants; j < i; j++)
            {
                after.Append($"{columns[j].Expression} = {bound[j]} AND ");
            }

            after.Append($"{columns[i].Expression} {(columns[i].Descending ? "<" : ">")} {bound[i]})");
        }

        sql.Where(after.Append(')').ToString());
    }

    /// <summary>The first sort value in a token.</summary>
    public long FirstOf(string token, string query) => ReadValue(Read(token, query)[1], columns[0].Kind) is long first ? first : 0;

    private string[] Read(string token, string query)
    {
        var parts = PageToken.Decode(token, columns.Count + 1);
        return parts[0] == Fingerprint(query)
            ? parts
            : throw SlipwayException.Invalid("Invalid page token", "it was given out for another search", "start again without a page token");
    }

    /// <summary>The token of the row that the reader stands on; its sort columns begin at <paramref name="first"/>.</summary>
    public string Token(Statement row, int first, string query)
    {
        var parts = new string[columns.Count + 1];
        parts[0] = Fingerprint(query);
        for (var i = 0; i < columns.Count; i++)
        {
            parts[i + 1] = columns[i].Kind switch
            {
                SortKind.Integer => row.Long(first + i).ToString(CultureInfo.InvariantCulture),
                SortKind.Number => row.Double(first + i).ToString("R", CultureInfo.InvariantCulture),
                _ => row.Text(first + i),
            };
        }

        return PageToken.Encode(parts);
    }

    /// <summary>Reads one page of a statement that asks for one row more, and ends it; the token is null when there is no further row.</summary>
    public static async Task<(List<T> Rows, string? Token)> PageAsync<T>(Statement statement, int limit, Func<Statement, T> read, Func<Statement, string> token)
    {
        using var ended = statement;
        var rows = new List<T>();
        string? last = null;
        while (await statement.NextAsync())
        {
            if (rows.Count == limit)
            {
                return (rows, last);
            }

            rows.Add(read(statement));
            if (rows.Count == limit)
            {
                last = token(statement);
            }
        }

        return (rows, null);
    }

    private static object ReadValue(string text, SortKind kind)
    {
        switch (kind)
        {
            case SortKind.Text:
                return text;
            case SortKind.Integer when long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var integer):
                return integer;
            case SortKind.Number when double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var number) && !double.IsNaN(number):
                return number;
            default:
                throw SlipwayException.Invalid("Invalid page token", "it was changed after it was given out", "start again without a page token");
        }
    }

    private static string Fingerprint(string query) => Digest.Sha256Hex(Encoding.UTF8.GetBytes(query))[..12];
}
