using System.Data.Common;

namespace Slipway.Registry;

/// <summary>A run search as SQL.</summary>
/// <remarks>
/// A metric condition joins the latest value, so that an index on it can lead; the others probe by primary key. A run without
/// the key never matches, also for <c>!=</c>; NaN matches <c>!=</c> only.
/// </remarks>
internal sealed class RunSearchSql
{
    public const string Columns = "r.id, r.experiment_id, r.name, r.user_id, r.status, r.started_at, r.ended_at, r.artifact_uri, r.state";
    private const int ColumnCount = 9;
    private readonly RunSearch search;
    private readonly SearchSql sql;
    private readonly SearchOrder order;
    private readonly string query;
    private readonly Dictionary<string, (string Alias, bool IsNumber)> metrics = new(StringComparer.Ordinal);

    public RunSearchSql(RunSearch search, IReadOnlyList<long> experiments, Dialect dialect)
    {
        this.search = search;
        sql = new SearchSql(dialect);
        order = new SearchOrder(sql);
        query = string.Join('\n', ["runs", search.Filter ?? "", search.View.ToString(), .. search.OrderBy, .. experiments.Select(e => e.ToString())]);
        sql.Where(experiments.Count == 1
            ? $"r.experiment_id = {sql.Bind(experiments[0])}"
            : $"r.experiment_id IN ({sql.BindAll(experiments.Cast<object>())})");
        if (search.View != View.All)
        {
            sql.Where(search.View == View.ActiveOnly ? "r.state = 0" : "r.state <> 0");
        }

        foreach (var condition in FilterParser.Parse(search.Filter, SearchGrammar.Runs))
        {
            Add(condition);
        }

        AddOrder(FilterParser.ParseOrder(search.OrderBy, SearchGrammar.Runs));
        if (!string.IsNullOrEmpty(search.PageToken))
        {
            order.After(search.PageToken, query);
        }
    }

    /// <summary>One row more than a page, to see whether there is a next page.</summary>
    public DbCommand Build(Session session) => sql.Build(session, Columns, "registry_runs r", order, search.Limit + 1);

    /// <summary>Just the ids, for tables that read their columns apart.</summary>
    public DbCommand BuildIds(Session session, int limit) => sql.Build(session, "r.id", "registry_runs r", order, limit);

    public string Token(DbDataReader row) => order.Token(row, ColumnCount, query);

    private void Add(Condition condition)
    {
        switch (condition.Entity)
        {
            case Entity.Metric:
                var alias = metrics.TryGetValue(condition.Key, out var known) ? known.Alias : $"m{metrics.Count}";
                if (known.Alias is null)
                {
                    sql.Join($"JOIN registry_latest_metrics {alias} ON {alias}.run_id = r.id AND {alias}.experiment_id = r.experiment_id AND {alias}.key = {sql.Bind(condition.Key)}");
                }
                var number = condition.Comparison != Comparison.NotEqual;
                metrics[condition.Key] = (alias, known.IsNumber || number);
                sql.Where(number
                    ? $"{alias}.is_nan = 0 AND {sql.CompareNumber($"{alias}.value", condition)}"
                    : $"({alias}.is_nan = 1 OR {sql.CompareNumber($"{alias}.value", condition)})");
                break;
            case Entity.Param:
                sql.WhereTag("registry_params", "t.run_id = r.id", condition);
                break;
            case Entity.Tag:
                sql.WhereTag("registry_tags", "t.run_id = r.id", condition);
                break;
            case Entity.Dataset:
                var column = condition.Key == "context" ? "i.context" : $"d.{condition.Key}";
                sql.Where($"EXISTS (SELECT 1 FROM registry_inputs i JOIN registry_datasets d ON d.id = i.dataset_id WHERE i.run_id = r.id AND {sql.CompareText(column, condition)})");
                break;
            default:
                sql.Where(condition.Key switch
                {
                    "start_time" => sql.CompareNumber("r.started_at", condition, scale: 1000),
                    "end_time" => sql.CompareNumber("r.ended_at", condition, scale: 1000),
                    _ => sql.CompareText(Column(condition.Key), condition),
                });
                break;
        }
    }

    private void AddOrder(IReadOnlyList<OrderTerm> terms)
    {
        foreach (var (term, i) in terms.Select((t, i) => (t, i)))
        {
            switch (term.Entity)
            {
                case Entity.Metric:
                    AddMetricOrder(term);
                    break;
                case Entity.Param or Entity.Tag:
                    var table = term.Entity == Entity.Param ? "registry_params" : "registry_tags";
                    sql.Join($"LEFT JOIN {table} o{i} ON o{i}.run_id = r.id AND o{i}.key = {sql.Bind(term.Key)}");
                    order.AddOptional($"o{i}.value", SortKind.Text, term.Descending);
                    break;
                default:
                    AddAttributeOrder(term);
                    break;
            }
        }

        if (!terms.Any(t => t.Entity == Entity.Attribute && t.Key == "start_time"))
        {
            order.Add("r.started_at", SortKind.Integer, descending: true);
        }

        if (!terms.Any(t => t.Entity == Entity.Attribute && t.Key == "run_id"))
        {
            order.Add("r.id", SortKind.Text, descending: false);
        }
    }

    /// <summary>Numbers first, then NaN, then runs without the metric, in both directions.</summary>
    private void AddMetricOrder(OrderTerm term)
    {
        if (metrics.TryGetValue(term.Key, out var joined))
        {
            if (!joined.IsNumber)
            {
                order.Add($"{joined.Alias}.is_nan", SortKind.Integer, descending: false);
            }

            order.Add($"{joined.Alias}.value", SortKind.Number, term.Descending);
            return;
        }

        var alias = $"m{metrics.Count}";
        metrics[term.Key] = (alias, false);
        sql.Join($"LEFT JOIN registry_latest_metrics {alias} ON {alias}.run_id = r.id AND {alias}.key = {sql.Bind(term.Key)}");
        order.Add($"COALESCE({alias}.is_nan, 2)", SortKind.Integer, descending: false);
        order.Add($"COALESCE({alias}.value, 0)", SortKind.Number, term.Descending);
    }

    private void AddAttributeOrder(OrderTerm term)
    {
        switch (term.Key)
        {
            case "start_time":
                order.Add("r.started_at", SortKind.Integer, term.Descending);
                break;
            case "end_time":
                order.AddOptional("r.ended_at", SortKind.Integer, term.Descending);
                break;
            case "experiment_id":
                order.Add("r.experiment_id", SortKind.Integer, term.Descending);
                break;
            case "run_id":
                order.Add("r.id", SortKind.Text, term.Descending);
                break;
            default:
                order.AddText(Column(term.Key), term.Descending);
                break;
        }
    }

    private static string Column(string attribute) => attribute switch
    {
        "run_id" => "r.id",
        "run_name" => "r.name",
        "user_id" => "r.user_id",
        "status" => "r.status",
        _ => "r.artifact_uri",
    };
}
