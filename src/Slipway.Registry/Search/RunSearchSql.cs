using System.Globalization;
using System.Text;

namespace Slipway.Registry;

/// <summary>
/// A run search as SQL. What leads a statement is decided here and not by a planner: an index that already stands in the order
/// asked for, so that a page costs the rows that it passes; or, in a large experiment, a condition that few runs meet.
/// </summary>
/// <remarks>
/// Ordered by a metric, a search has three phases, each walking an index: runs whose value is a number, those with NaN, those
/// without the metric. A run without the key never matches a condition, also for <c>!=</c>; NaN matches <c>!=</c> only.
/// </remarks>
internal sealed class RunSearchSql
{
    private const string Columns = "r.id, r.rev";
    private const int ColumnCount = 2;

    /// <summary>SQLite joins at most 64 tables.</summary>
    private const int MostJoined = 20;
    private const string Latest = "registry_latest_metrics";

    /// <summary>So much of a value stands in the index over parameters.</summary>
    private const string ValueStart = "SUBSTR(value, 1, 100)";

    private static readonly int[] Plain = [-1];
    private readonly RunSearch search;
    private readonly IReadOnlyList<long> experiments;
    private readonly Dialect dialect;
    private readonly IReadOnlyList<Condition> conditions;
    private readonly IReadOnlyList<OrderTerm> terms;
    private readonly string fingerprint;

    /// <exception cref="SlipwayException">InvalidArgument for a bad filter, order or token.</exception>
    public RunSearchSql(RunSearch search, IReadOnlyList<long> experiments, Dialect dialect)
    {
        (this.search, this.experiments, this.dialect) = (search, experiments, dialect);
        fingerprint = string.Join('\n', ["runs", search.Filter ?? "", search.View.ToString(), .. search.OrderBy, .. experiments.Select(e => e.ToString(CultureInfo.InvariantCulture))]);
        conditions = FilterParser.Parse(search.Filter, SearchGrammar.Runs);
        terms = FilterParser.ParseOrder(search.OrderBy, SearchGrammar.Runs);
        Phases = PhasesOf();
        if (!string.IsNullOrEmpty(search.PageToken))
        {
            // Read at once, so that a bad token is refused before anything is searched.
            var from = new Statements(this, Phases[0], null).PhaseOfToken(search.PageToken);
            Phases = Phases is [-1] ? Phases : [.. Phases.Where(p => p >= from)];
        }
    }

    /// <summary>What is searched one after the other: the class of the leading metric's value, or -1 for everything at once.</summary>
    public IReadOnlyList<int> Phases { get; }

    /// <summary>Conditions that an index can find the runs of: a parameter's exact value, a range of a metric.</summary>
    public IEnumerable<Condition> Leads => experiments.Count != 1
        ? []
        : conditions.Where(c => c is { Entity: Entity.Param, Comparison: Comparison.Equal } or { Entity: Entity.Metric, Comparison: not Comparison.NotEqual });

    /// <summary>How many runs meet a condition, counted up to a limit.</summary>
    public async Task<long> CountAsync(Session session, Condition lead, int most)
    {
        var sql = new SearchSql(dialect);
        if (lead.Entity == Entity.Param)
        {
            sql.Where($"key = {sql.Bind(lead.Key)}");
            sql.Where($"{ValueStart} = {ValueStart.Replace("value", sql.Bind(lead.Value!), StringComparison.Ordinal)}");
        }
        else
        {
            sql.Where($"experiment_id = {sql.Bind(experiments[0])} AND key = {sql.Bind(lead.Key)} AND is_nan = 0 AND {sql.CompareNumber("value", lead)}");
        }

        using var count = sql.Build(session, $"SELECT COUNT(*) FROM (SELECT 1 FROM {(lead.Entity == Entity.Param ? "registry_params" : Latest)}", $"LIMIT {most}) counted");
        return await count.NextAsync() ? count.Long(0) : 0;
    }

    /// <summary>One phase as a statement, and the token of a row that it gives.</summary>
    public (Statement Statement, Func<Statement, string> Token) Build(Session session, int phase, Condition? lead, int limit)
    {
        var statements = new Statements(this, phase, lead);
        return (statements.Build(session, limit), statements.Token);
    }

    /// <summary>Just the ids of one phase, for tables that read their columns apart.</summary>
    public Statement BuildIds(Session session, int phase, int limit) => new Statements(this, phase, null).BuildIds(session, limit);

    private IReadOnlyList<int> PhasesOf()
    {
        if (experiments.Count != 1 || terms is not [{ Entity: Entity.Metric } first, ..])
        {
            return Plain;
        }

        var on = conditions.Where(c => c.Entity == Entity.Metric && c.Key == first.Key).ToList();
        return on.Count == 0 ? [0, 1, 2] : on.Exists(c => c.Comparison != Comparison.NotEqual) ? [0] : [0, 1];
    }

    /// <summary>The statement of one phase under construction.</summary>
    private sealed class Statements
    {
        private readonly RunSearchSql of;
        private readonly SearchSql sql;
        private readonly SearchOrder order;
        private readonly Dictionary<string, (string Alias, bool IsNumber)> metrics = new(StringComparer.Ordinal);
        private readonly string join;

        // Where few runs lead they are sorted, so that no index over the start may offer its order: PostgreSQL would walk all runs along it.
        private readonly string startedAt;

        /// <summary>What leads, and what is joined to it before the runs, so that most of what does not match costs no look-up of its run.</summary>
        private readonly StringBuilder leading = new();
        private string runId = "r.id";
        private int pairs;

        public Statements(RunSearchSql of, int phase, Condition? lead)
        {
            this.of = of;
            sql = new SearchSql(of.dialect);
            order = new SearchOrder(sql);
            // On SQLite a CROSS JOIN keeps the tables in the order written.
            join = of.dialect.IsPostgres ? "JOIN" : "CROSS JOIN";
            startedAt = lead is not null && of.dialect.IsPostgres ? "(r.started_at + 0)" : "r.started_at";
            if (lead is not null)
            {
                Lead(lead);
            }

            if (phase >= 0)
            {
                AddPhase(phase, of.terms[0]);
            }

            sql.Where(of.experiments.Count == 1
                ? $"r.experiment_id = {sql.Bind(of.experiments[0])}"
                : $"r.experiment_id IN ({sql.BindAll(of.experiments.Cast<object>())})");
            if (of.search.View != View.All)
            {
                sql.Where(of.search.View == View.ActiveOnly ? "r.state = 0" : "r.state <> 0");
            }

            foreach (var condition in of.conditions)
            {
                if (!ReferenceEquals(condition, lead) || lead.Entity == Entity.Metric)
                {
                    Add(condition);
                }
            }

            AddOrder(phase >= 0 ? of.terms.Skip(1) : of.terms);
            if (!string.IsNullOrEmpty(of.search.PageToken))
            {
                order.After(of.search.PageToken, of.fingerprint);
            }
        }

        public long PhaseOfToken(string token) => order.FirstOf(token, of.fingerprint);

        public Statement Build(Session session, int limit) => sql.Build(session, Columns, From, order, limit);

        public Statement BuildIds(Session session, int limit) => sql.Build(session, "r.id", From, order, limit);

        private string From => leading.Length == 0 ? "registry_runs r" : $"{leading}\n{join} registry_runs r ON r.id = {runId}";

        public string Token(Statement row) => order.Token(row, ColumnCount, of.fingerprint);

        private void Lead(Condition lead)
        {
            if (lead.Entity == Entity.Metric)
            {
                LeadByMetric(lead.Key, isNan: 0);
                return;
            }

            StartWith("registry_params d", "d.run_id");
            var value = sql.Bind(lead.Value!);
            sql.Where($"d.key = {sql.Bind(lead.Key)} AND SUBSTR(d.value, 1, 100) = SUBSTR({value}, 1, 100) AND d.value = {value}");
        }

        private void LeadByMetric(string key, int isNan)
        {
            StartWith($"{Latest} m0", "m0.run_id");
            sql.Where($"m0.experiment_id = {sql.Bind(of.experiments[0])} AND m0.key = {sql.Bind(key)} AND m0.is_nan = {isNan}");
            metrics.Add(key, ("m0", isNan == 0));
        }

        private void AddPhase(int phase, OrderTerm term)
        {
            order.AddConstant(phase);
            if (phase == 2)
            {
                sql.Where($"NOT EXISTS (SELECT 1 FROM {Latest} x WHERE x.run_id = r.id AND x.key = {sql.Bind(term.Key)})");
                order.AddConstant(0);
                return;
            }

            if (!metrics.ContainsKey(term.Key))
            {
                if (leading.Length == 0)
                {
                    LeadByMetric(term.Key, phase);
                }
                else
                {
                    var alias = JoinMetric(term.Key, phase == 0);
                    sql.Where($"{alias}.is_nan = {phase}");
                }
            }

            if (phase == 0)
            {
                order.Add($"{metrics[term.Key].Alias}.value", SortKind.Number, term.Descending);
            }
            else
            {
                order.AddConstant(0);
            }
        }

        private string JoinMetric(string key, bool isNumber)
        {
            var alias = $"m{metrics.Count}";
            Join($"{Latest} {alias} ON {alias}.run_id = {runId} AND {alias}.key = {sql.Bind(key)}");
            metrics.Add(key, (alias, isNumber));
            return alias;
        }

        private void StartWith(string table, string run)
        {
            leading.Append(table);
            runId = run;
        }

        /// <summary>Joins a table with at most one row for a run.</summary>
        private void Join(string table)
        {
            if (leading.Length == 0)
            {
                sql.Join($"{join} {table}");
            }
            else
            {
                leading.Append($"\n{join} {table}");
            }
        }

        /// <summary>A pair that must be there is joined, and so leads before the run itself where it can; any other condition is asked of each run.</summary>
        private void AddPair(string table, Condition condition)
        {
            if (condition.Comparison == Comparison.IsNull || pairs == MostJoined)
            {
                sql.WhereTag(table, "t.run_id = r.id", condition);
                return;
            }

            var alias = $"t{pairs++}";
            Join($"{table} {alias} ON {alias}.run_id = {runId} AND {alias}.key = {sql.Bind(condition.Key)}");
            if (condition.Comparison != Comparison.IsNotNull)
            {
                sql.Where(sql.CompareText($"{alias}.value", condition));
            }
        }

        private void Add(Condition condition)
        {
            switch (condition.Entity)
            {
                case Entity.Metric:
                    var number = condition.Comparison != Comparison.NotEqual;
                    var alias = metrics.TryGetValue(condition.Key, out var known) ? known.Alias : JoinMetric(condition.Key, number);
                    metrics[condition.Key] = (alias, known.IsNumber || number);
                    sql.Where(number
                        ? $"{alias}.is_nan = 0 AND {sql.CompareNumber($"{alias}.value", condition)}"
                        : $"({alias}.is_nan = 1 OR {sql.CompareNumber($"{alias}.value", condition)})");
                    break;
                case Entity.Param:
                    AddPair("registry_params", condition);
                    break;
                case Entity.Tag:
                    AddPair("registry_tags", condition);
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

        private void AddOrder(IEnumerable<OrderTerm> terms)
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

            if (!of.terms.Any(t => t.Entity == Entity.Attribute && t.Key == "start_time"))
            {
                order.Add(startedAt, SortKind.Integer, descending: true);
            }

            if (!of.terms.Any(t => t.Entity == Entity.Attribute && t.Key == "run_id"))
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
            sql.Join($"LEFT JOIN {Latest} {alias} ON {alias}.run_id = r.id AND {alias}.key = {sql.Bind(term.Key)}");
            order.Add($"COALESCE({alias}.is_nan, 2)", SortKind.Integer, descending: false);
            order.Add($"COALESCE({alias}.value, 0)", SortKind.Number, term.Descending);
        }

        private void AddAttributeOrder(OrderTerm term)
        {
            switch (term.Key)
            {
                case "start_time":
                    order.Add(startedAt, SortKind.Integer, term.Descending);
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
}
