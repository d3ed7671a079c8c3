
namespace Slipway.Registry;

/// <summary>A search over logged models as SQL.</summary>
internal sealed class LoggedModelSearchSql
{
    private const int ColumnCount = 11;
    private const string Metrics = "metrics.";
    private readonly LoggedModelSearch search;
    private readonly SearchSql sql;
    private readonly SearchOrder order;
    private readonly string query;

    public LoggedModelSearchSql(LoggedModelSearch search, IReadOnlyList<long> experiments, Dialect dialect)
    {
        this.search = search;
        sql = new SearchSql(dialect);
        order = new SearchOrder(sql);
        // A change of any part of the search makes another search of it, for which the token is not good.
        query = string.Join('\n', ["logged-models", search.Filter ?? "", .. experiments.Select(e => e.ToString(System.Globalization.CultureInfo.InvariantCulture)), .. search.Datasets.Select(d => d.ToString()), .. search.OrderBy.Select(o => o.ToString())]);
        sql.Where("l.state = 0");
        sql.Where(experiments.Count == 0 ? "1 = 0" : $"l.experiment_id IN ({sql.BindAll(experiments.Cast<object>())})");
        var conditions = FilterParser.Parse(search.Filter, SearchGrammar.LoggedModels);
        foreach (var condition in conditions)
        {
            Add(condition);
        }

        if (search.Datasets.Count > 0 && conditions.All(c => c.Entity != Entity.Metric))
        {
            sql.Where($"EXISTS (SELECT 1 FROM registry_logged_model_metrics p WHERE p.model_id = l.id{On(search.Datasets)})");
        }

        AddOrder();
        if (!string.IsNullOrEmpty(search.PageToken))
        {
            order.After(search.PageToken, query);
        }
    }

    public Statement Build(Session session) => sql.Build(session, LoggedModelRows.Columns, "registry_logged_models l", order, search.Limit + 1);

    public string Token(Statement row) => order.Token(row, ColumnCount, query);

    private void Add(Condition condition)
    {
        switch (condition.Entity)
        {
            case Entity.Tag:
                sql.WhereTag("registry_logged_model_tags", "t.model_id = l.id", condition);
                break;
            case Entity.Param:
                sql.WhereTag("registry_logged_model_params", "t.model_id = l.id", condition);
                break;
            case Entity.Metric:
                // NaN is stored as 0, and 0 it is not.
                sql.Where($"EXISTS (SELECT 1 FROM registry_logged_model_metrics p WHERE p.model_id = l.id AND p.key = {sql.Bind(condition.Key)} AND p.is_nan = 0 AND {sql.CompareNumber("p.value", condition)}{On(search.Datasets)})");
                break;
            case Entity.Attribute when condition.Key == "status":
                sql.Where(sql.CompareText("l.status", condition with { Value = StatusOf(condition.Value) }));
                break;
            case Entity.Attribute when Column(condition.Key) is var (column, numeric):
                sql.Where(numeric ? sql.CompareNumber(column, condition, scale: 1000) : sql.CompareText(column, condition));
                break;
        }
    }

    private void AddOrder()
    {
        var byCreation = false;
        var seen = new HashSet<(string, MetricDataset?)>();
        foreach (var term in search.OrderBy)
        {
            if (!seen.Add((term.Field, term.Dataset)))
            {
                throw SlipwayException.Invalid($"order_by contains duplicate fields: {FilterTokens.Cut(term.Field)}");
            }

            if (term.Field.StartsWith(Metrics, StringComparison.Ordinal) && term.Field.Length > Metrics.Length)
            {
                var value = $"(SELECT p.value FROM registry_logged_model_metrics p WHERE p.model_id = l.id AND p.key = {sql.Bind(term.Field[Metrics.Length..])} AND p.is_nan = 0{On(term.Dataset is null ? [] : [term.Dataset])} ORDER BY p.timestamp_ms DESC, p.step DESC, p.value DESC LIMIT 1)";
                order.AddOptional(value, SortKind.Number, !term.Ascending);
                continue;
            }

            if (term.Dataset is not null)
            {
                throw SlipwayException.Invalid($"Invalid order_by {Limits.Quote(term.Field)}: a dataset can only be specified for metrics");
            }

            var (_, key, rule) = SearchGrammar.LoggedModels.Resolve(new FilterToken(TokenKind.Word, term.Field, null, false, 0), ordering: true);
            var (column, _) = Column(key);
            if (rule!.Numeric)
            {
                order.Add(column, SortKind.Integer, !term.Ascending);
                byCreation |= key == "creation_timestamp";
            }
            else
            {
                order.AddOptional(column, SortKind.Text, !term.Ascending);
            }
        }

        if (!byCreation)
        {
            order.Add("l.created_at", SortKind.Integer, descending: true);
        }

        order.Add(sql.Text("l.id"), SortKind.Text, descending: false);
    }

    private string On(IReadOnlyList<MetricDataset> datasets) => datasets.Count == 0
        ? ""
        : $" AND ({string.Join(" OR ", datasets.Select(d => $"(p.dataset_name = {sql.Bind(d.Name)}{(d.Digest is null ? "" : $" AND p.dataset_digest = {sql.Bind(d.Digest)}")})"))})";

    private static (string Column, bool Numeric) Column(string key) => key switch
    {
        "model_id" => ("l.id", false),
        "model_type" => ("l.model_type", false),
        "source_run_id" => ("l.source_run_id", false),
        "status" => ("l.status", false),
        "creation_timestamp" => ("l.created_at", true),
        "last_updated_timestamp" => ("l.updated_at", true),
        _ => ("l.name", false),
    };

    /// <summary>Both the protocol's names (<c>LOGGED_MODEL_READY</c>) and those of the Python client (<c>READY</c>, <c>FAILED</c>).</summary>
    private static object? StatusOf(object? value) => value switch
    {
        string text => One(text),
        List<string> list => list.ConvertAll(One),
        _ => value,
    };

    private static string One(string text)
    {
        var name = text.StartsWith("LOGGED_MODEL_", StringComparison.Ordinal) ? text["LOGGED_MODEL_".Length..] : text;
        return name == "FAILED" ? "UPLOAD_FAILED" : name;
    }
}
