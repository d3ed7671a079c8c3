using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>What a column holds.</summary>
public enum ColumnKind
{
    /// <summary>Numbers; times are seconds since 1970.</summary>
    Number,

    /// <summary>Texts.</summary>
    Category,
}

/// <summary>One column of a table.</summary>
public sealed class TableColumn
{
    private TableColumn(string name, ColumnKind kind, double[] numbers, int[] codes, IReadOnlyList<string> categories, long violations) =>
        (Name, Kind, Numbers, Codes, Categories, Violations) = (name, kind, numbers, codes, categories, violations);

    /// <summary>The name.</summary>
    public string Name { get; }

    /// <summary>What it holds.</summary>
    public ColumnKind Kind { get; }

    /// <summary>The numbers; empty for a category. A null is NaN.</summary>
    public double[] Numbers { get; }

    /// <summary>Indices into <see cref="Categories"/>, -1 for a null; empty for numbers.</summary>
    public int[] Codes { get; }

    /// <summary>The different texts, in the order they were first seen.</summary>
    public IReadOnlyList<string> Categories { get; }

    /// <summary>Texts that stood among the numbers; they count as missing here.</summary>
    public long Violations { get; }

    /// <summary>Rows.</summary>
    public int Rows => Kind == ColumnKind.Number ? Numbers.Length : Codes.Length;

    /// <summary>A column of numbers; NaN is missing.</summary>
    public static TableColumn OfNumbers(string name, double[] numbers, long violations = 0) => new(name, ColumnKind.Number, numbers, [], [], violations);

    /// <summary>A column of texts; null is missing.</summary>
    public static TableColumn OfTexts(string name, IReadOnlyList<string?> texts)
    {
        var known = new Dictionary<string, int>(StringComparer.Ordinal);
        int[] codes = new int[texts.Count];
        for (int i = 0; i < codes.Length; i++)
        {
            codes[i] = texts[i] is not { } text ? -1 : known.TryGetValue(text, out int code) ? code : known[text] = known.Count;
        }

        return OfCodes(name, codes, [.. known.Keys]);
    }

    /// <summary>A column of texts by index; -1 is missing.</summary>
    public static TableColumn OfCodes(string name, int[] codes, IReadOnlyList<string> categories) => new(name, ColumnKind.Category, [], codes, categories, 0);

    /// <summary>The text of a row; null when it is missing.</summary>
    public string? TextAt(int row) => Kind == ColumnKind.Number
        ? double.IsNaN(Numbers[row]) ? null : Numbers[row].ToString("R", System.Globalization.CultureInfo.InvariantCulture)
        : Codes[row] < 0 ? null : Categories[Codes[row]];
}

/// <summary>A table in memory: named columns of one length.</summary>
public sealed class Table
{
    private readonly Dictionary<string, TableColumn> byName;

    /// <summary>A table of these columns.</summary>
    /// <exception cref="SlipwayException">InvalidArgument when names repeat or lengths differ.</exception>
    public Table(string name, IReadOnlyList<TableColumn> columns)
    {
        (Name, Columns) = (name, columns);
        byName = new Dictionary<string, TableColumn>(StringComparer.Ordinal);
        foreach (TableColumn column in columns)
        {
            if (!byName.TryAdd(column.Name, column))
            {
                throw SlipwayException.Invalid($"{name} is no table", $"two columns have the name `{column.Name}`", "rename one of them");
            }

            if (column.Rows != columns[0].Rows)
            {
                throw SlipwayException.Invalid($"{name} is no table", $"`{column.Name}` has {column.Rows} rows and `{columns[0].Name}` has {columns[0].Rows}", "give columns of one length");
            }
        }
    }

    /// <summary>What it is called in a report, such as its file name.</summary>
    public string Name { get; }

    /// <summary>The columns, in order.</summary>
    public IReadOnlyList<TableColumn> Columns { get; }

    /// <summary>Rows.</summary>
    public int Rows => Columns.Count == 0 ? 0 : Columns[0].Rows;

    /// <summary>A column by name; null when there is none.</summary>
    public TableColumn? Find(string column) => byName.GetValueOrDefault(column);
}
