namespace Slipway.Registry;

/// <summary>Runs as tables and curves: an ordered list of ids is found once, and columns, groups and series are read for any part of it.</summary>
public sealed partial class Runs
{
    /// <summary>Most runs that one table lists.</summary>
    public const int MostListed = 50_000;

    /// <summary>The ids of the runs that match, in order.</summary>
    /// <param name="search">Experiments, filter and view; its order, limit and token are not used.</param>
    /// <param name="order">The column to order by; null for the newest first. Runs without a value, then NaN, come last in both directions.</param>
    /// <param name="descending">Largest first.</param>
    /// <param name="most">1 to <see cref="MostListed"/>.</param>
    /// <param name="ct">Stops the read.</param>
    /// <exception cref="SlipwayException">InvalidArgument for a bad filter.</exception>
    public async Task<RunList> FindAsync(RunSearch search, RunColumn? order, bool descending, int most, CancellationToken ct)
    {
        var experiments = ExperimentsOf(search.ExperimentIds);
        most = Math.Clamp(most, 1, MostListed);
        var terms = RunTable.OrderOf(order, descending);
        var query = new RunSearchSql(search with { OrderBy = terms ?? [], Limit = most, PageToken = null }, experiments.Count == 0 ? [-1] : experiments, database.Dialect);
        if (experiments.Count == 0)
        {
            return new RunList([], false);
        }

        await FoldAsync(experiments, ct);
        return await database.ReadAsync(
            async session =>
            {
                // What the search cannot order by is computed for all that match, and cut afterwards.
                var ids = await RunTable.IdsAsync(session, query, (terms is null ? MostListed : most) + 1);
                var sorted = terms is null ? await RunTable.SortAsync(session, database.Dialect.IsPostgres, ids, order!, descending) : ids;
                return sorted.Count > most ? new RunList([.. sorted.Take(most)], true) : new RunList(sorted, false);
            },
            ct);
    }

    /// <summary>Lines for a part of a list, in the order of the ids; a run that is gone is left out.</summary>
    public async Task<IReadOnlyList<RunLine>> LinesAsync(IReadOnlyList<string> runIds, IReadOnlyList<RunColumn> columns, CancellationToken ct)
    {
        if (runIds.Count == 0)
        {
            return [];
        }

        await FoldAsync(runIds, ct);
        return await database.ReadAsync(session => RunTable.LinesAsync(session, database.Dialect.IsPostgres, runIds, columns), ct);
    }

    /// <summary>Groups a list by the value of a column, the largest group first, and sums up other columns over each group.</summary>
    public async Task<IReadOnlyList<RunGroup>> GroupAsync(IReadOnlyList<string> runIds, RunColumn by, IReadOnlyList<RunColumn> columns, CancellationToken ct)
    {
        await FoldAsync(runIds, ct);
        return await database.ReadAsync(
            async session =>
            {
                var lines = await RunTable.CellsAsync(session, database.Dialect.IsPostgres, runIds, [by, .. columns]);
                return RunGroups.Of(lines, columns.Count);
            },
            ct);
    }

    /// <summary>Keys that the experiments' runs logged: all metrics; parameters and tags of the newest 1,000 runs.</summary>
    public async Task<RunKeys> KeysAsync(IReadOnlyList<string> experimentIds, CancellationToken ct)
    {
        var experiments = ExperimentsOf(experimentIds);
        if (experiments.Count == 0)
        {
            return new RunKeys([], [], []);
        }

        await FoldAsync(experiments, ct);
        return await database.ReadAsync(session => RunTable.KeysAsync(session, experiments), ct);
    }

    /// <summary>A metric of many runs as curves, sampled so that no peak is lost.</summary>
    /// <exception cref="SlipwayException">InvalidArgument for more than 1,000 runs, a bin count outside of 10 to 5,000, or a part of x that is none.</exception>
    public async Task<IReadOnlyList<RunSeries>> SeriesAsync(SeriesQuery query, CancellationToken ct)
    {
        if (query.RunIds.Count > SeriesQuery.MostRuns)
        {
            throw SlipwayException.Invalid($"Curves of {query.RunIds.Count} runs cannot be read at once", $"the limit is {SeriesQuery.MostRuns}", "take a sample of the runs");
        }

        if (query.Bins is < 10 or > 5000)
        {
            throw SlipwayException.Invalid($"Invalid number of bins {query.Bins}", "it must be 10 to 5000");
        }

        if (query is not { From: >= 0, To: <= 1 } || query.To <= query.From)
        {
            throw SlipwayException.Invalid($"Invalid part of x from {query.From} to {query.To}", "both are shares from 0 to 1, and the first is the smaller one");
        }

        await FoldAsync(query.RunIds, ct);
        return await database.ReadAsync(
            async session =>
            {
                var all = new List<(string Id, List<SeriesPoint> Points)>(query.RunIds.Count);
                foreach (var id in query.RunIds)
                {
                    var points = await PointsAsync(session, id, query.Key);
                    var other = query.Axis == SeriesAxis.Metric && query.AxisKey is { } key ? await PointsAsync(session, id, key) : null;
                    all.Add((id, SeriesSampling.Place(points, other, query)));
                }

                return SeriesSampling.Of(all, query);
            },
            ct);
    }

    private static async Task<List<MetricPoint>> PointsAsync(Session session, string runId, string key) =>
        (await RunMetrics.HistoryAsync(session, runId, key, null, int.MaxValue)).ConvertAll(p => new MetricPoint(key, p.Value, p.TimestampMs, p.Step));

    private static List<long> ExperimentsOf(IReadOnlyList<string> ids)
    {
        var experiments = ids.Distinct(StringComparer.Ordinal).Select(Experiments.ParseId).ToList();
        return experiments.Count <= 1000 ? experiments : throw SlipwayException.Invalid("A search takes at most 1000 experiments", $"got {experiments.Count}");
    }
}
