using System.Globalization;
using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>A CSV or Parquet file of rows that a version was validated on, and which of its columns are what.</summary>
public sealed record ReferenceFile
{
    /// <summary>The most numbers and texts of one file.</summary>
    public const long MostCells = 20_000_000;

    private const string DefaultScore = "slipway.score";
    private const string DefaultTarget = "slipway.label";

    /// <summary>Where the bytes are; the ending `.parquet` is read as Parquet, any other as CSV.</summary>
    public required string Path { get; init; }

    /// <summary>What its sender calls it; errors name it so.</summary>
    public required string Name { get; init; }

    /// <summary>What the model predicts.</summary>
    public ModelType Type { get; init; } = ModelType.Binary;

    /// <summary>
    /// Column of the score, the predicted number or the predicted class; of a multiclass model also what the columns `SCORE.CLASS` of probabilities begin
    /// with, in the order of the outputs. Null is `slipway.score` where there is one.
    /// </summary>
    public string? Score { get; init; }

    /// <summary>Column of what came true: 1 or 0, a number, or a class by index or name. Null is `slipway.label` where there is one.</summary>
    public string? Target { get; init; }

    /// <summary>Of rankings: the column that tells which query a row is a candidate of.</summary>
    public string? Query { get; init; }

    /// <summary>Of forecasts: the column of the lower end of the interval.</summary>
    public string? Lower { get; init; }

    /// <summary>Of forecasts: the column of the upper end of the interval.</summary>
    public string? Upper { get; init; }

    /// <summary>Of rankings: how predictions make them; null is the defaults.</summary>
    public RankingRule? Ranking { get; init; }

    /// <summary>Of forecasts: how predictions make them.</summary>
    public ForecastRule? Forecast { get; init; }

    /// <summary>Reads the rows; endpoint, version and rules are the caller's to set.</summary>
    /// <param name="features">
    /// Names of the features in the order of the inputs, as far as they are known. When the file has none of them, its other columns are the features, in
    /// their order, and as many as there are names.
    /// </param>
    /// <exception cref="SlipwayException">InvalidArgument when the file is no table, lacks a column, or holds something else in it.</exception>
    public WatchRequest Read(IReadOnlyList<string> features)
    {
        Table table = ReadTable();
        TableColumn? score = Find(table, Score, DefaultScore), target = Find(table, Target, DefaultTarget);
        string prefix = (Score ?? DefaultScore) + ".";
        TableColumn[] probabilities = Type == ModelType.Multiclass && score is null ? [.. table.Columns.Where(c => c.Name.StartsWith(prefix, StringComparison.Ordinal))] : [];
        if (Score is not null && score is null && probabilities.Length == 0)
        {
            throw Missing(table, Score, Type == ModelType.Multiclass ? $" and no columns {prefix}CLASS" : "");
        }

        if (Target is not null && target is null)
        {
            throw Missing(table, Target, "");
        }

        string? unknown = new[] { Query, Lower, Upper }.OfType<string>().FirstOrDefault(n => table.Find(n) is null);
        if (unknown is not null)
        {
            throw Missing(table, unknown, "");
        }

        if (Type == ModelType.Forecasting && Forecast is null)
        {
            throw Refuse("nothing says how many steps ahead a row is", "name the feature that holds it: --horizon COLUMN");
        }

        TableColumn? query = Query is null ? null : table.Find(Query);
        TableColumn[] outputs = [.. probabilities, .. new[] { score, target, Find(table, Lower, ""), Find(table, Upper, "") }.OfType<TableColumn>()];
        // A query's number may also be a feature that the model receives, where its signature says so or has an input left for it; otherwise requests tell queries apart.
        bool fed = query is not null && (features.Contains(query.Name, StringComparer.Ordinal) || (Ranking?.Query == query.Name && table.Columns.Except(outputs).Count() == features.Count));
        TableColumn[] inputs = Inputs(table, features, fed || query is null ? outputs : [.. outputs, query]);
        RankingRule? ranking = !fed && query is not null && Ranking?.Query == query.Name ? Ranking with { Query = RankingRule.ByRequest } : Ranking;
        IReadOnlyList<string> classes = Type != ModelType.Multiclass ? [] : probabilities.Length > 0 ? [.. probabilities.Select(c => c.Name[prefix.Length..])] : Classes(score, target);
        return new WatchRequest
        {
            Endpoint = "",
            ModelVersion = "",
            Type = Type,
            Classes = classes,
            FeatureNames = [.. inputs.Select(c => c.Name)],
            // Runtimes give the class before its probabilities.
            ScoreOutput = (Type == ModelType.Multiclass && score is not null) || Forecast?.LowerOutput is not null ? 0 : -1,
            Ranking = ranking,
            Forecast = Forecast,
            Reference = new ReferenceTable
            {
                Columns = [.. inputs.Select(c => Singles(Numbers(c, "features are the numbers that the model receives")))],
                Scores = score is null ? null : Singles(Type == ModelType.Multiclass ? Indexes(score, classes) : Numbers(score, "a score is a number")),
                Probabilities = probabilities.Length == 0 ? null : [.. probabilities.Select(c => Singles(Numbers(c, "a probability is a number")))],
                Labels = target is not null && Type == ModelType.Binary ? Outcomes(target) : null,
                Targets = target is null || Type == ModelType.Binary ? null : Type == ModelType.Multiclass ? Indexes(target, classes) : Numbers(target, "the target of a regression is a number"),
                Queries = query is null ? null : [.. Enumerable.Range(0, query.Rows).Select(query.TextAt)],
                Lower = Lower is null ? null : Singles(Numbers(table.Find(Lower)!, "the end of an interval is a number")),
                Upper = Upper is null ? null : Singles(Numbers(table.Find(Upper)!, "the end of an interval is a number")),
            },
        };
    }

    private static float[] Singles(double[] numbers) => Array.ConvertAll(numbers, n => (float)n);

    private static TableColumn? Find(Table table, string? asked, string otherwise) => table.Find(asked ?? otherwise);

    private Table ReadTable()
    {
        Table table;
        try
        {
            table = TableFile.Read(Path, mostCells: MostCells);
        }
        catch (SlipwayException e) when (e.Code == ErrorCode.InvalidArgument)
        {
            // The path is the server's own.
            throw Refuse((e.Why ?? e.Message).Replace(Path, Name, StringComparison.Ordinal), "give a CSV file with a header line, or a Parquet file", e);
        }

        return table.Rows == 0 ? throw Refuse("it has no rows", "give the rows that the version was validated on")
            : (long)table.Rows * table.Columns.Count > MostCells ? throw TooLarge(table.Rows, table.Columns.Count)
            : table;
    }

    internal static SlipwayException TooLarge(long rows, int columns) => SlipwayException.Invalid(
        "the reference cannot be used", $"{rows} rows of {columns} columns are {rows * columns} values, {MostCells} are allowed", "give a sample of the rows: a reference needs some ten thousand");

    private TableColumn[] Inputs(Table table, IReadOnlyList<string> features, TableColumn[] outputs)
    {
        TableColumn[] named = [.. features.Select(table.Find).OfType<TableColumn>()];
        if (named.Length > 0)
        {
            return named.Length == features.Count ? named : throw Missing(table, features.First(f => table.Find(f) is null), ", a feature of the model");
        }

        TableColumn[] others = [.. table.Columns.Except(outputs)];
        return others.Length > 0 && (features.Count == 0 || others.Length == features.Count)
            ? others
            : throw Refuse(
                $"beside score and target it has {others.Length} columns ({Few(others.Select(c => c.Name))}), and the model has {(features.Count == 0 ? "features" : $"{features.Count} inputs ({Few(features)})")}",
                "give one column for each input, in their order or under their names, and name --score and --target");
    }

    private double[] Numbers(TableColumn column, string what) => column.Kind != ColumnKind.Number
        ? throw Refuse($"the column {column.Name} holds texts such as \"{(column.Categories is [var first, ..] ? first : "")}\"; {what}", "give it as numbers")
        : column.Violations > 0
            ? throw Refuse($"the column {column.Name} holds {column.Violations} texts among its numbers; {what}", "correct or empty them")
            : column.Numbers;

    private bool[] Outcomes(TableColumn column)
    {
        double[] numbers = Numbers(column, "the target of a binary model is 1 or 0");
        int bad = Array.FindIndex(numbers, n => n is not (0 or 1));
        return bad < 0
            ? Array.ConvertAll(numbers, n => n == 1)
            : throw Refuse(
                $"the column {column.Name} {(double.IsNaN(numbers[bad]) ? "has no value" : $"is {column.TextAt(bad)}")} in row {bad + 1}; the target of a binary model is 1 or 0",
                double.IsNaN(numbers[bad]) ? "leave out rows without an outcome" : "correct it, or give the type multiclass or regression");
    }

    private IReadOnlyList<string> Classes(TableColumn? score, TableColumn? target)
    {
        TableColumn[] columns = [.. new[] { score, target }.OfType<TableColumn>()];
        if (columns.Length == 0)
        {
            throw Refuse("no column says which classes there are", $"name the predicted class with --score and the true one with --target, or give probabilities as columns {Score ?? DefaultScore}.CLASS");
        }

        if (columns.Any(c => c.Kind == ColumnKind.Category))
        {
            return [.. columns.SelectMany(c => c.Kind == ColumnKind.Category ? c.Categories : c.Numbers.Where(double.IsFinite).Distinct().Select(n => n.ToString("R", CultureInfo.InvariantCulture))).Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal)];
        }

        double[] numbers = [.. columns.SelectMany(c => Numbers(c, "a class is an index or a name")).Where(n => !double.IsNaN(n))];
        double bad = numbers.FirstOrDefault(n => n < 0 || n >= Monitors.MostClasses || n != Math.Floor(n));
        return bad != 0
            ? throw Refuse($"{bad.ToString("R", CultureInfo.InvariantCulture)} is no index of a class; indexes are whole numbers from 0 to {Monitors.MostClasses - 1}", "correct it, or give the type regression")
            : [.. Enumerable.Range(0, 1 + (int)numbers.DefaultIfEmpty(0).Max()).Select(i => i.ToString(CultureInfo.InvariantCulture))];
    }

    /// <summary>The index of each row's class, which the column gives by name or by index; NaN where it gives none.</summary>
    private double[] Indexes(TableColumn column, IReadOnlyList<string> classes)
    {
        var index = classes.Select((name, i) => (name, i)).ToDictionary(c => c.name, c => c.i, StringComparer.Ordinal);
        string?[] texts = [.. Enumerable.Range(0, column.Rows).Select(column.TextAt)];
        string? unknown = Array.Find(texts, t => t is not null && !index.ContainsKey(t));
        if (unknown is null)
        {
            return Array.ConvertAll(texts, t => t is null ? double.NaN : index[t]);
        }

        return column.Kind == ColumnKind.Number && Array.TrueForAll(column.Numbers, n => double.IsNaN(n) || (n >= 0 && n < classes.Count && n == Math.Floor(n)))
            ? Numbers(column, "a class is an index or a name")
            : throw Refuse($"the column {column.Name} holds {unknown}, which is none of the {classes.Count} classes ({Few(classes)})", "give each class by its index or its name");
    }

    private SlipwayException Missing(Table table, string column, string also) => Refuse($"it has no column {column}{also}; its columns are {Few(table.Columns.Select(c => c.Name))}", "correct the name, or add the column");

    private static string Few(IEnumerable<string> names)
    {
        string[] all = [.. names];
        return string.Join(", ", all.Take(10)) + (all.Length > 10 ? $" and {all.Length - 10} more" : "");
    }

    private SlipwayException Refuse(string why, string next, Exception? inner = null) => new(ErrorCode.InvalidArgument, $"{Name} cannot be used as the reference", why, next, inner);
}
