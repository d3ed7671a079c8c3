using System.Text.Json.Serialization;

namespace Slipway.Monitoring;

/// <summary>
/// How one column is cut into bins, fixed once from the reference so that bin counts of any window add up exactly.
/// <see cref="QuantileRule"/>: bin i = (Edges[i-1], Edges[i]] with open ends. <see cref="ValuesRule"/> and
/// <see cref="CategoriesRule"/>: one bin a value and a last bin `other`, which is empty in the reference (values) or holds what is
/// left after the most frequent categories. Values outside the reference range fall into the end bins or into `other`.
/// </summary>
internal sealed record Bins(string Rule, double[] Edges, double[] Values)
{
    public const string QuantileRule = "quantile10";
    public const string ValuesRule = "values";
    public const string CategoriesRule = "categories";

    /// <summary>Columns with at most this many distinct reference values get one bin a value.</summary>
    public const int FewValues = 20;

    /// <summary>A column that is declared categorical keeps this many of its most frequent values.</summary>
    public const int MostCategories = 50;

    [JsonIgnore]
    public int Count => Rule == QuantileRule ? Edges.Length + 1 : Values.Length + 1;

    /// <summary>Cuts a numeric reference (finite values, at least one): the rule `quantile10`, or one bin a value when they are few.</summary>
    public static Bins OfNumbers(double[] sorted)
    {
        double[] distinct = Distinct(sorted, FewValues);
        return distinct.Length <= FewValues ? new Bins(ValuesRule, [], distinct) : OfQuantiles(sorted);
    }

    /// <summary>The rule `quantile10` itself: the distinct reference quantiles 0.1 to 0.9; tied quantiles collapse.</summary>
    public static Bins OfQuantiles(double[] sorted)
    {
        var edges = new List<double>(9);
        for (int tenth = 1; tenth <= 9; tenth++)
        {
            double edge = Quantile(sorted, tenth / 10.0);
            if (edges.Count == 0 || edge > edges[^1])
            {
                edges.Add(edge);
            }
        }

        return new Bins(QuantileRule, edges.ToArray(), []);
    }

    /// <summary>One bin for each of the most frequent values (ties: the smaller value first) and `other` for the rest.</summary>
    public static Bins OfCategories(double[] sorted)
    {
        var counts = new List<(double Value, int Count)>();
        foreach (double value in sorted)
        {
            if (counts.Count > 0 && counts[^1].Value == value)
            {
                counts[^1] = (value, counts[^1].Count + 1);
            }
            else
            {
                counts.Add((value, 1));
            }
        }

        double[] kept = counts.OrderByDescending(c => c.Count).ThenBy(c => c.Value).Take(MostCategories).Select(c => c.Value).Order().ToArray();
        return new Bins(CategoriesRule, [], kept);
    }

    /// <summary>Quantile by linear interpolation between order statistics at (n - 1) q, the rule that most numeric tools default to.</summary>
    public static double Quantile(double[] sorted, double q)
    {
        double at = (sorted.Length - 1) * q;
        int below = (int)Math.Floor(at);
        double part = at - below;
        double a = sorted[below], b = sorted[Math.Min(below + 1, sorted.Length - 1)];
        return part >= 0.5 ? b - (b - a) * (1 - part) : a + (b - a) * part;
    }

    /// <summary>The bin of a finite value.</summary>
    public int IndexOf(double value)
    {
        double[] keys = Rule == QuantileRule ? Edges : Values;
        int low = 0, high = keys.Length;
        while (low < high)
        {
            int middle = (low + high) >>> 1;
            if (keys[middle] < value)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return Rule == QuantileRule || (low < keys.Length && keys[low] == value) ? low : keys.Length;
    }

    /// <summary>The text of a bin for people: `(3, 7]`, `= 4`, `other`.</summary>
    public string Label(int bin)
    {
        if (Rule != QuantileRule)
        {
            return bin < Values.Length ? $"= {Values[bin]:G6}" : "other";
        }

        string from = bin == 0 ? "-inf" : $"{Edges[bin - 1]:G6}";
        return bin == Edges.Length ? $"({from}, inf)" : $"({from}, {Edges[bin]:G6}]";
    }

    private static double[] Distinct(double[] sorted, int most)
    {
        var found = new List<double>();
        foreach (double value in sorted)
        {
            if (found.Count == 0 || value > found[^1])
            {
                found.Add(value);
                if (found.Count > most)
                {
                    break;
                }
            }
        }

        return found.ToArray();
    }
}
