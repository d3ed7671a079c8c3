using System.Globalization;
using System.Text.Json;

namespace Slipway.Monitoring;

/// <summary>A window of scores that order the candidates of queries.</summary>
internal sealed class RankingWindow(MonitorConfig config, MonitorReference reference, DateTimeOffset start, DateTimeOffset end) : OutputWindow(config, reference, start, end)
{
    private readonly RankingRule rule = config.Ranking ?? new RankingRule();
    private readonly WatchedOutput? score = reference.Score is null ? null : new(null, reference.Score, reference.Score.Sketch());
    private readonly Dictionary<string, List<(string Id, double Score, double? Relevance)>> queries = new(StringComparer.Ordinal);
    private readonly int feature = config.FeatureNames.IndexOf(config.Ranking?.Query ?? RankingRule.ByRequest);
    private long without;

    public override IReadOnlyList<WatchedOutput> Outputs => score is null ? [] : [score];

    /// <summary>Where only what was chosen gets a label, queries are what can be labelled.</summary>
    protected override double Coverage => rule.UnlabelledIsIrrelevant ? queries.Count == 0 ? 0 : (double)queries.Values.Count(q => q.Exists(c => c.Relevance is not null)) / queries.Count : base.Coverage;

    public override IEnumerable<MonitorPoint> Estimates() => [];

    public override IEnumerable<MonitorPoint> Performance()
    {
        (List<RankedQuery> ready, long waiting, long unusable) = Ready(queries.OrderBy(q => q.Key, StringComparer.Ordinal).Select(q => q.Value), rule);
        RankingMetrics m = RankingMetrics.Of(ready, rule.K, rule.LinearGain);
        string? few = TooFew(m.N, "queries whose candidates are labelled");
        string detail = JsonSerializer.Serialize(
            new { k = rule.K, gain = rule.LinearGain ? "linear" : "exponential", queries = queries.Count, measured = m.N, withoutRelevant = m.WithoutRelevant, waiting, unusable, withoutQuery = without, predictions = Rows, labelled = Labelled, medianLabelDelaySeconds = MedianDelay, reference = Reference.Metrics }, Json);
        yield return Realized("ndcg", m.Ndcg, m.N, few, detail, lower: Limit("ndcg", m.N, Config.Thresholds.NdcgDrop, lowIsBad: true));
        yield return Realized("map", m.MeanAveragePrecision, m.N, few, detail);
        yield return Realized("mrr", m.MeanReciprocalRank, m.N, few, detail);
        yield return Realized("precision_at_k", m.Precision, m.N, few, detail);
        yield return Realized("recall_at_k", m.Recall, m.N, few, detail);
        yield return Realized("hit_rate", m.HitRate, m.N, few, detail);
    }

    /// <summary>The queries that can be measured. Candidates come in the order of their ids, so that ties fall the same way whenever they are measured.</summary>
    public static (List<RankedQuery> Ready, long Waiting, long Unusable) Ready(IEnumerable<List<(string Id, double Score, double? Relevance)>> queries, RankingRule rule)
    {
        var ready = new List<RankedQuery>();
        long waiting = 0, unusable = 0;
        foreach (List<(string Id, double Score, double? Relevance)> candidates in queries)
        {
            if (rule.UnlabelledIsIrrelevant ? candidates.TrueForAll(c => c.Relevance is null) : candidates.Exists(c => c.Relevance is null))
            {
                waiting++;
            }
            else if (candidates.Exists(c => !double.IsFinite(c.Score) || c.Relevance is < 0))
            {
                unusable++;
            }
            else
            {
                (string Id, double Score, double? Relevance)[] ordered = [.. candidates.OrderBy(c => c.Id, StringComparer.Ordinal)];
                ready.Add(new RankedQuery([.. ordered.Select(c => c.Relevance ?? 0)], [.. ordered.Select(c => rule.ScoreIsRank ? -c.Score : c.Score)]));
            }
        }

        return (ready, waiting, unusable);
    }

    /// <summary>The query that a prediction is a candidate of; null when nothing tells it.</summary>
    public static string? QueryOf(Prediction prediction, RankingRule rule, int feature) => rule.Query switch
    {
        // Rows of one request have its id, a colon and their number.
        RankingRule.ByRequest => prediction.Id.LastIndexOf(':') is > 0 and var colon ? prediction.Id[..colon] : prediction.Id,
        RankingRule.ByEntity => prediction.EntityKey,
        _ => feature >= 0 && feature < prediction.Features.Count && float.IsFinite(prediction.Features[feature]) ? prediction.Features[feature].ToString("R", CultureInfo.InvariantCulture) : null,
    };

    protected override void Take(Prediction prediction, double? label)
    {
        double s = Config.Score(prediction.Outputs);
        score?.Window.Add(s);
        if (QueryOf(prediction, rule, feature) is not { } query)
        {
            without++;
            return;
        }

        if (!queries.TryGetValue(query, out List<(string Id, double Score, double? Relevance)>? candidates))
        {
            queries[query] = candidates = [];
        }

        candidates.Add((prediction.Id, s, label));
    }
}
