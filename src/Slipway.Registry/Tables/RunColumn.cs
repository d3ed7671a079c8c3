namespace Slipway.Registry;

/// <summary>What a column of a table of runs speaks about.</summary>
public enum RunColumnKind
{
    /// <summary>A fact of the run itself, for example <c>start_time</c>.</summary>
    Attribute,

    /// <summary>A number that the run logged over time.</summary>
    Metric,

    /// <summary>A write-once setting.</summary>
    Param,

    /// <summary>A label.</summary>
    Tag,
}

/// <summary>Which point of a metric's series stands for the run.</summary>
public enum MetricTake
{
    /// <summary>The latest by step and time.</summary>
    Last,

    /// <summary>The smallest number; NaN does not count.</summary>
    Min,

    /// <summary>The largest number; NaN does not count.</summary>
    Max,

    /// <summary>The one at the step where another metric was best.</summary>
    At,
}

/// <summary>A column of a table of runs, as text <c>params.lr</c>, <c>metrics.auc</c>, <c>metrics.auc:max</c> or <c>metrics.auc:at(min val_loss)</c>.</summary>
/// <param name="Kind">What it speaks about.</param>
/// <param name="Key">Key of the metric, parameter or tag; name of the attribute.</param>
/// <param name="Take">Which point of a metric counts.</param>
/// <param name="AtKey">For <see cref="MetricTake.At"/>: the metric that picks the step.</param>
/// <param name="AtMax">For <see cref="MetricTake.At"/>: true when that metric is best at its largest.</param>
public sealed record RunColumn(RunColumnKind Kind, string Key, MetricTake Take = MetricTake.Last, string? AtKey = null, bool AtMax = false)
{
    private static readonly string[] Attributes = ["run_id", "run_name", "experiment_id", "user_id", "status", "start_time", "end_time", "duration"];

    /// <summary>True for values that are numbers by nature.</summary>
    public bool IsNumber => Kind == RunColumnKind.Metric || (Kind == RunColumnKind.Attribute && Key is "start_time" or "end_time" or "duration");

    /// <summary>The key, and how the point is taken unless it is the last: <c>auc max</c>.</summary>
    public string Label => Take switch
    {
        MetricTake.Min => $"{Key} min",
        MetricTake.Max => $"{Key} max",
        MetricTake.At => $"{Key} at {(AtMax ? "max" : "min")} {AtKey}",
        _ => Key,
    };

    /// <summary>Reads the text form.</summary>
    /// <exception cref="SlipwayException">InvalidArgument for another form.</exception>
    public static RunColumn Parse(string text) => TryParse(text)
        ?? throw SlipwayException.Invalid($"'{FilterTokens.Cut(text)}' is not a column", "a column is metrics.KEY, params.KEY, tags.KEY or attributes.NAME", "take metrics.auc, metrics.auc:max or metrics.auc:at(min val_loss)");

    /// <summary>Reads the text form; null for another form.</summary>
    public static RunColumn? TryParse(string text)
    {
        var dot = text.IndexOf('.', StringComparison.Ordinal);
        if (dot < 0 || dot == text.Length - 1)
        {
            return null;
        }

        var key = text[(dot + 1)..];
        return text[..dot] switch
        {
            "metrics" => Metric(key),
            "params" => new RunColumn(RunColumnKind.Param, key),
            "tags" => new RunColumn(RunColumnKind.Tag, key),
            "attributes" when Attributes.Contains(key, StringComparer.Ordinal) => new RunColumn(RunColumnKind.Attribute, key),
            _ => null,
        };
    }

    /// <inheritdoc/>
    public override string ToString() => Kind switch
    {
        RunColumnKind.Param => "params." + Key,
        RunColumnKind.Tag => "tags." + Key,
        RunColumnKind.Attribute => "attributes." + Key,
        _ => "metrics." + Key + Take switch
        {
            MetricTake.Min => ":min",
            MetricTake.Max => ":max",
            MetricTake.At => $":at({(AtMax ? "max" : "min")} {AtKey})",

            // A key that itself ends like an expression is told from one by saying "last".
            _ => Metric(Key).Take == MetricTake.Last && Metric(Key).Key == Key ? "" : ":last",
        },
    };

    // Keys may hold colons, so only the endings that are expressions are cut off.
    private static RunColumn Metric(string text)
    {
        foreach (var (ending, take) in new[] { (":last", MetricTake.Last), (":min", MetricTake.Min), (":max", MetricTake.Max) })
        {
            if (text.Length > ending.Length && text.EndsWith(ending, StringComparison.Ordinal))
            {
                return new RunColumn(RunColumnKind.Metric, text[..^ending.Length], take);
            }
        }

        foreach (var (opening, max) in new[] { (":at(min ", false), (":at(max ", true) })
        {
            var at = text.IndexOf(opening, StringComparison.Ordinal);
            if (at > 0 && text[^1] == ')' && text.Length > at + opening.Length + 1)
            {
                return new RunColumn(RunColumnKind.Metric, text[..at], MetricTake.At, text[(at + opening.Length)..^1], max);
            }
        }

        return new RunColumn(RunColumnKind.Metric, text);
    }
}

/// <summary>A value in a table of runs: a number, a text, or neither when the run has none.</summary>
/// <param name="Text">Text as logged.</param>
/// <param name="Number">Number, also of a text that reads as one; NaN and infinities included.</param>
public readonly record struct RunCell(string? Text, double? Number)
{
    /// <summary>True when the run has no value.</summary>
    public bool IsEmpty => Text is null && Number is null;
}

/// <summary>A run in a table: its facts, and the cells of the columns that were asked for, in their order.</summary>
public sealed record RunLine(string Id, string ExperimentId, string Name, string UserId, RunStatus Status, DateTimeOffset StartedAt, DateTimeOffset? EndedAt, bool Deleted, IReadOnlyList<RunCell> Cells);

/// <summary>The runs of a table in their order.</summary>
/// <param name="Ids">Run ids.</param>
/// <param name="More">True when there are more than were asked for.</param>
public sealed record RunList(IReadOnlyList<string> Ids, bool More);

/// <summary>Keys that runs logged, each list in order.</summary>
public sealed record RunKeys(IReadOnlyList<string> Metrics, IReadOnlyList<string> Params, IReadOnlyList<string> Tags);

/// <summary>Runs that share a value.</summary>
/// <param name="Value">The value; null for runs without one.</param>
/// <param name="Rows">Their positions in the list that was grouped.</param>
/// <param name="Cells">A summary for each column that was asked for.</param>
public sealed record RunGroup(string? Value, IReadOnlyList<int> Rows, IReadOnlyList<GroupCell> Cells);

/// <summary>A column over the runs of a group.</summary>
/// <param name="Count">Runs that have a value (for numbers: a finite one).</param>
/// <param name="Mean">Arithmetic mean; null without numbers.</param>
/// <param name="Deviation">Sample standard deviation, divisor n - 1; null below two numbers.</param>
/// <param name="Min">Smallest.</param>
/// <param name="Max">Largest.</param>
/// <param name="Distinct">Different texts.</param>
/// <param name="Text">The text, when all that have one have the same.</param>
public readonly record struct GroupCell(int Count, double? Mean, double? Deviation, double? Min, double? Max, int Distinct, string? Text);
