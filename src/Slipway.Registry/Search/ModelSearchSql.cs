
namespace Slipway.Registry;

/// <summary>A search over registered models or over model versions as SQL.</summary>
/// <remarks>Prompts live in the same tables; they are hidden unless the filter asks for them.</remarks>
internal sealed class ModelSearchSql
{
    private const string ModelList = "m.id, m.name, m.description, m.last_version, m.created_by, m.created_at, m.updated_at";
    private const string VersionList = "m.name, v.version";
    private readonly ModelSearch search;
    private readonly SearchSql sql;
    private readonly SearchOrder order;
    private readonly bool versions;
    private readonly string query;

    public ModelSearchSql(ModelSearch search, bool versions, Dialect dialect)
    {
        this.search = search;
        this.versions = versions;
        sql = new SearchSql(dialect);
        order = new SearchOrder(sql);
        query = string.Join('\n', [versions ? "versions" : "models", search.Filter ?? "", .. search.OrderBy]);
        var grammar = versions ? SearchGrammar.Versions : SearchGrammar.Models;
        if (versions)
        {
            sql.Where("v.deleted = 0");
        }

        var prompts = false;
        foreach (var condition in FilterParser.Parse(search.Filter, grammar))
        {
            if (condition is { Entity: Entity.Tag, Key: ModelSource.PromptTag, Value: string value } && condition.Comparison is Comparison.Equal or Comparison.NotEqual)
            {
                prompts |= (condition.Comparison == Comparison.Equal) == (value == "true");
                continue;
            }

            Add(condition);
        }

        sql.Where($"{(prompts ? "" : "NOT ")}EXISTS (SELECT 1 FROM {TagTable} t WHERE {TagOwner} AND t.key = {sql.Bind(ModelSource.PromptTag)} AND t.value = 'true')");
        AddOrder(FilterParser.ParseOrder(search.OrderBy, grammar));
        if (!string.IsNullOrEmpty(search.PageToken))
        {
            order.After(search.PageToken, query);
        }
    }

    private string TagTable => versions ? "registry_version_tags" : "registry_model_tags";

    private string TagOwner => versions ? "t.model_id = v.model_id AND t.version = v.version" : "t.model_id = m.id";

    public Statement Build(Session session) => versions
        ? sql.Build(session, VersionList, ModelRows.VersionTables, order, search.Limit + 1)
        : sql.Build(session, ModelList, "registry_models m", order, search.Limit + 1);

    public string Token(Statement row) => order.Token(row, versions ? 2 : 7, query);

    public static ModelRows.ModelRow ReadModel(Statement row) => new()
    {
        Id = row.Text(0),
        Name = row.Text(1),
        Description = row.IsNull(2) ? null : row.Text(2),
        LastVersion = row.Long(3),
        CreatedBy = row.Text(4),
        CreatedAt = row.Long(5),
        UpdatedAt = row.Long(6),
    };

    public static (string Name, int Version) ReadVersion(Statement row) => (row.Text(0), (int)row.Long(1));

    private void Add(Condition condition)
    {
        if (condition.Entity == Entity.Tag)
        {
            sql.WhereTag(TagTable, TagOwner, condition);
            return;
        }

        sql.Where(condition.Key switch
        {
            "name" => sql.CompareText("m.name", condition),
            "run_id" => sql.CompareText("v.run_id", condition),
            "source_path" => sql.CompareText("v.source", condition),
            _ => sql.CompareNumber("v.version", condition),
        });
    }

    private void AddOrder(IReadOnlyList<OrderTerm> terms)
    {
        var updated = versions ? "v.updated_at" : "m.updated_at";
        foreach (var term in terms)
        {
            if (term.Entity == Entity.Tag)
            {
                throw SlipwayException.Invalid($"Invalid order_by key {Limits.Quote(term.Key)} specified: the registry is not ordered by tags");
            }

            switch (term.Key)
            {
                case "name":
                    order.Add(sql.Text("m.name"), SortKind.Text, term.Descending);
                    break;
                case "version_number":
                    order.Add("v.version", SortKind.Integer, term.Descending);
                    break;
                case "creation_timestamp":
                    order.Add(versions ? "v.created_at" : "m.created_at", SortKind.Integer, term.Descending);
                    break;
                default:
                    order.Add(updated, SortKind.Integer, term.Descending);
                    break;
            }
        }

        if (versions && terms.Count == 0)
        {
            order.Add(updated, SortKind.Integer, descending: true);
        }

        if (!terms.Any(t => t.Key == "name"))
        {
            order.Add(sql.Text("m.name"), SortKind.Text, descending: false);
        }

        if (versions && !terms.Any(t => t.Key == "version_number"))
        {
            order.Add("v.version", SortKind.Integer, descending: true);
        }
    }
}
