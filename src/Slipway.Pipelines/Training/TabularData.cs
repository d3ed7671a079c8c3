namespace Slipway.Pipelines.Training;

/// <summary>The data or the parameters given to a trainer cannot make a model; the message says which column, row or value.</summary>
public sealed class TrainingException(string message) : Exception(message);

/// <summary>
/// A table of numbers with a yes/no label, held by column: <c>Columns[feature][row]</c>.
/// <see cref="float.NaN"/> is a missing value and allowed; an infinite value is not.
/// The arrays are not copied: whoever made them must leave them alone while the table is in use.
/// </summary>
public sealed class TabularData
{
    /// <param name="features">F distinct, non-empty names, in the order of <paramref name="columns"/>.</param>
    /// <param name="columns">F arrays of N values.</param>
    /// <param name="labels">N labels; true is the positive class, whose probability the model gives.</param>
    /// <exception cref="TrainingException">No column, no row, a repeated or empty name, columns of different lengths, or an infinite value.</exception>
    public TabularData(IReadOnlyList<string> features, float[][] columns, bool[] labels)
    {
        ArgumentNullException.ThrowIfNull(features);
        ArgumentNullException.ThrowIfNull(columns);
        ArgumentNullException.ThrowIfNull(labels);

        if (columns.Length == 0)
        {
            throw new TrainingException("The table has no feature column.");
        }
        if (features.Count != columns.Length)
        {
            throw new TrainingException($"The table has {features.Count} feature names for {columns.Length} columns.");
        }
        if (labels.Length == 0)
        {
            throw new TrainingException("The table has no rows.");
        }

        var seen = new HashSet<string>(StringComparer.Ordinal);
        for (var f = 0; f < columns.Length; f++)
        {
            if (string.IsNullOrWhiteSpace(features[f]))
            {
                throw new TrainingException($"Feature column {f} has no name.");
            }
            if (!seen.Add(features[f]))
            {
                throw new TrainingException($"The feature name '{features[f]}' is used twice.");
            }
            if (columns[f].Length != labels.Length)
            {
                throw new TrainingException($"Column '{features[f]}' has {columns[f].Length} values for {labels.Length} labels.");
            }
            var infinite = Array.FindIndex(columns[f], float.IsInfinity);
            if (infinite >= 0)
            {
                throw new TrainingException($"Column '{features[f]}' is infinite in row {infinite}; write a missing value as NaN.");
            }
        }

        Features = [.. features];
        Columns = columns;
        Labels = labels;
    }

    /// <summary>The feature names, in column order.</summary>
    public IReadOnlyList<string> Features { get; }

    /// <summary>The values, <c>[feature][row]</c>.</summary>
    public float[][] Columns { get; }

    /// <summary>One label a row.</summary>
    public bool[] Labels { get; }

    /// <summary>The number of rows, at least 1.</summary>
    public int Rows => Labels.Length;

    /// <summary>A copy of <paramref name="count"/> rows from <paramref name="start"/> on.</summary>
    /// <exception cref="TrainingException">The range is empty or outside the table.</exception>
    public TabularData Slice(int start, int count)
    {
        if (start < 0 || count <= 0 || start > Rows - count)
        {
            throw new TrainingException($"Rows {start} to {(long)start + count - 1} are not in a table of {Rows} rows.");
        }
        return new TabularData(Features, [.. Columns.Select(c => c.AsSpan(start, count).ToArray())], Labels.AsSpan(start, count).ToArray());
    }

    /// <summary>
    /// Cuts off the last <paramref name="share"/> of the rows for validation. The order is kept, because rows ordered by
    /// time must be validated on a later time than they were trained on: a random split would see the future.
    /// </summary>
    /// <exception cref="TrainingException">The share leaves one of the two parts without a row.</exception>
    public (TabularData Training, TabularData Validation) SplitLast(double share)
    {
        var last = double.IsFinite(share) ? (int)Math.Round(Rows * Math.Clamp(share, 0, 1)) : 0;
        if (last == 0 || last == Rows)
        {
            throw new TrainingException($"A validation share of {share} leaves no rows on one side of {Rows}.");
        }
        return (Slice(0, Rows - last), Slice(Rows - last, last));
    }

    /// <summary>Turns numbers into labels: 1 is true, 0 is false.</summary>
    /// <exception cref="TrainingException">A label is missing (NaN) or another number; the message counts them.</exception>
    public static bool[] LabelsFrom(ReadOnlySpan<float> values)
    {
        var labels = new bool[values.Length];
        int missing = 0, other = 0;
        for (var i = 0; i < values.Length; i++)
        {
            missing += float.IsNaN(values[i]) ? 1 : 0;
            other += !float.IsNaN(values[i]) && values[i] is not (0 or 1) ? 1 : 0;
            labels[i] = values[i] == 1;
        }
        return missing + other == 0
            ? labels
            : throw new TrainingException($"Of {values.Length} labels {missing} are missing and {other} are neither 0 nor 1.");
    }
}
