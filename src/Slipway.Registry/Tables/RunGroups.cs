namespace Slipway.Registry;

/// <summary>Sums up columns over the runs of each group.</summary>
internal static class RunGroups
{
    /// <summary>The first cell of a line is the value to group by; the others are summed up.</summary>
    public static IReadOnlyList<RunGroup> Of(RunCell[][] lines, int columns)
    {
        var groups = new Dictionary<string, List<int>>(StringComparer.Ordinal);
        var without = new List<int>();
        for (var i = 0; i < lines.Length; i++)
        {
            var cell = lines[i][0];
            if (cell.IsEmpty)
            {
                without.Add(i);
                continue;
            }

            var value = cell.Text ?? cell.Number!.Value.ToString("R", System.Globalization.CultureInfo.InvariantCulture);
            if (!groups.TryGetValue(value, out var rows))
            {
                groups[value] = rows = [];
            }

            rows.Add(i);
        }

        var result = groups.OrderByDescending(g => g.Value.Count).ThenBy(g => g.Key, StringComparer.Ordinal).Select(g => Group(g.Key, g.Value)).ToList();
        if (without.Count > 0)
        {
            result.Add(Group(null, without));
        }

        return result;

        RunGroup Group(string? value, List<int> rows) => new(value, rows, [.. Enumerable.Range(1, columns).Select(c => Cell(lines, rows, c))]);
    }

    private static GroupCell Cell(RunCell[][] lines, List<int> rows, int column)
    {
        var (count, mean, squares, min, max) = (0, 0d, 0d, double.PositiveInfinity, double.NegativeInfinity);
        var texts = new HashSet<string>(StringComparer.Ordinal);
        var withText = 0;
        foreach (var row in rows)
        {
            var cell = lines[row][column];
            if (cell.Text is { } text)
            {
                withText++;
                texts.Add(text);
            }

            // Welford's update: one pass, without the loss of digits of a sum of squares.
            if (cell.Number is { } number && double.IsFinite(number))
            {
                count++;
                var delta = number - mean;
                mean += delta / count;
                squares += delta * (number - mean);
                (min, max) = (Math.Min(min, number), Math.Max(max, number));
            }
        }

        return count == 0
            ? new GroupCell(withText, null, null, null, null, texts.Count, texts.Count == 1 ? texts.First() : null)
            : new GroupCell(count, mean, count > 1 ? Math.Sqrt(squares / (count - 1)) : null, min, max, texts.Count, texts.Count == 1 ? texts.First() : null);
    }
}
