namespace Slipway.Monitoring;

/// <summary>One query's results.</summary>
/// <param name="Relevance">Graded relevance of each item, at least 0.</param>
/// <param name="Scores">The model's score of each item.</param>
public sealed record RankedQuery(double[] Relevance, double[] Scores);

/// <summary>
/// Realized performance of rankings at a depth k, the mean over queries. A query without a relevant item is left out and counted. Positions
/// follow descending scores; NDCG averages over the orders of tied scores, the other metrics keep the order of the items in a tie.
/// </summary>
public sealed record RankingMetrics
{
    private RankingMetrics()
    {
    }

    /// <summary>Queries measured.</summary>
    public long N { get; private init; }

    /// <summary>Queries without a relevant item.</summary>
    public long WithoutRelevant { get; private init; }

    /// <summary>Normalised discounted cumulative gain: gain 2^relevance - 1 (or relevance), discount log2(position + 1).</summary>
    public Measured Ndcg { get; private init; }

    /// <summary>Mean average precision, over min(k, relevant items).</summary>
    public Measured MeanAveragePrecision { get; private init; }

    /// <summary>Mean reciprocal rank of the first relevant item, at any depth.</summary>
    public Measured MeanReciprocalRank { get; private init; }

    /// <summary>Relevant items among the first k, over k.</summary>
    public Measured Precision { get; private init; }

    /// <summary>Relevant items among the first k, over all relevant ones.</summary>
    public Measured Recall { get; private init; }

    /// <summary>Share of queries with a relevant item among the first k.</summary>
    public Measured HitRate { get; private init; }

    /// <summary>Measures at depth <paramref name="k"/>.</summary>
    /// <param name="queries">The queries.</param>
    /// <param name="k">Depth, at least 1.</param>
    /// <param name="linearGain">Gain is the relevance itself instead of 2^relevance - 1.</param>
    /// <param name="averageTies">Whether NDCG averages over the orders of tied scores; otherwise ties keep the order of the items.</param>
    public static RankingMetrics Of(IEnumerable<RankedQuery> queries, int k, bool linearGain = false, bool averageTies = true)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(k, 1);
        List<double> ndcg = [], ap = [], rr = [], precision = [], recall = [], hit = [];
        long without = 0;
        foreach (RankedQuery query in queries)
        {
            int relevant = query.Relevance.Count(r => r > 0);
            if (relevant == 0)
            {
                without++;
                continue;
            }

            int[] order = Enumerable.Range(0, query.Scores.Length).OrderByDescending(i => query.Scores[i]).ToArray();
            double[] gains = query.Relevance.Select(r => linearGain ? r : Math.Pow(2, r) - 1).ToArray();
            ndcg.Add(Gained(order, query.Scores, gains, k, averageTies) / Ideal(gains, k));
            int found = 0, first = 0;
            double sum = 0;
            for (int at = 0; at < order.Length; at++)
            {
                if (query.Relevance[order[at]] > 0)
                {
                    first = first == 0 ? at + 1 : first;
                    if (at < k)
                    {
                        sum += ++found / (at + 1.0);
                    }
                }
            }

            ap.Add(sum / Math.Min(k, relevant));
            rr.Add(1.0 / first);
            precision.Add((double)found / k);
            recall.Add((double)found / relevant);
            hit.Add(found > 0 ? 1 : 0);
        }

        return new RankingMetrics
        {
            N = ndcg.Count,
            WithoutRelevant = without,
            Ndcg = Mean(ndcg),
            MeanAveragePrecision = Mean(ap),
            MeanReciprocalRank = Mean(rr),
            Precision = Mean(precision),
            Recall = Mean(recall),
            HitRate = Mean(hit),
        };

        Measured Mean(List<double> values)
        {
            Moments m = Moments.Of(values.ToArray());
            return m.Count == 0 ? Measured.Undefined($"none of {without} queries has a relevant item") : Measured.Of(m.Mean, Math.Sqrt(m.Variance!.Value / m.Count));
        }
    }

    /// <summary>Share of the catalogue that appears in any of the lists of recommendations.</summary>
    public static Measured CatalogueCoverage(IEnumerable<IEnumerable<string>> lists, int catalogue) =>
        catalogue == 0 ? Measured.Undefined("the catalogue is empty") : Measured.Of((double)lists.SelectMany(l => l).Distinct(StringComparer.Ordinal).Count() / catalogue);

    private static double Gained(int[] order, double[] scores, double[] gains, int k, bool averageTies)
    {
        double sum = 0;
        for (int start = 0; start < order.Length && start < k;)
        {
            int end = start + 1;
            double gain = gains[order[start]];
            while (averageTies && end < order.Length && scores[order[end]] == scores[order[start]])
            {
                gain += gains[order[end++]];
            }

            double discount = 0;
            for (int at = start; at < Math.Min(end, k); at++)
            {
                discount += 1 / Math.Log2(at + 2);
            }

            sum += gain / (end - start) * discount;
            start = end;
        }

        return sum;
    }

    private static double Ideal(double[] gains, int k) => gains.OrderDescending().Take(k).Select((gain, at) => gain / Math.Log2(at + 2)).Sum();
}
