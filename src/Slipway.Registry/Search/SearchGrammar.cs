namespace Slipway.Registry;

/// <summary>What a condition or an order term speaks about.</summary>
internal enum Entity
{
    Attribute,
    Metric,
    Param,
    Tag,
    Dataset,
}

internal enum Comparison
{
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Like,
    ILike,
    In,
    NotIn,
    IsNull,
    IsNotNull,
}

/// <summary>An attribute of one search.</summary>
/// <param name="Name">Canonical name.</param>
/// <param name="Numeric">Compared as a number; else as text.</param>
/// <param name="Searchable">May stand in a filter.</param>
/// <param name="Orderable">May stand in an order term.</param>
/// <param name="In">Takes IN and NOT IN.</param>
internal sealed record AttributeRule(string Name, bool Numeric = false, bool Searchable = true, bool Orderable = true, bool In = false);

/// <summary>Which entities, keys and operators one search knows. All grammars of the module are here.</summary>
internal sealed class SearchGrammar
{
    private static readonly Comparison[] Numbers =
        [Comparison.Equal, Comparison.NotEqual, Comparison.Greater, Comparison.GreaterOrEqual, Comparison.Less, Comparison.LessOrEqual];

    private static readonly Comparison[] Texts = [Comparison.Equal, Comparison.NotEqual, Comparison.Like, Comparison.ILike];
    private static readonly Comparison[] Presence = [.. Texts, Comparison.IsNull, Comparison.IsNotNull];
    private static readonly Comparison[] Lists = [.. Texts, Comparison.In, Comparison.NotIn];

    private static readonly string[] AttributeNames = ["attribute", "attributes", "attr", "run"];
    private static readonly string[] TagNames = ["tag", "tags"];

    /// <summary>Runs: every entity.</summary>
    public static readonly SearchGrammar Runs = new(
        [
            (Entity.Metric, ["metric", "metrics"]),
            (Entity.Param, ["parameter", "parameters", "param", "params"]),
            (Entity.Tag, TagNames),
            (Entity.Attribute, AttributeNames),
            (Entity.Dataset, ["dataset", "datasets"]),
        ],
        [
            (new("run_id", In: true), []),
            (new("run_name"), ["run name", "Run name", "Run Name"]),
            (new("user_id"), []),
            (new("status"), []),
            (new("artifact_uri"), []),
            (new("experiment_id", Searchable: false), []),
            (new("start_time", Numeric: true), ["created", "Created"]),
            (new("end_time", Numeric: true), []),
        ]);

    public static readonly SearchGrammar Experiments = new(
        [(Entity.Tag, TagNames), (Entity.Attribute, ["attribute", "attributes", "attr"])],
        [
            (new("name"), []),
            (new("experiment_id", Searchable: false), []),
            (new("creation_time", Numeric: true), []),
            (new("last_update_time", Numeric: true), []),
        ]);

    public static readonly SearchGrammar Models = new(
        [(Entity.Tag, TagNames), (Entity.Attribute, ["attribute", "attributes", "attr"])],
        [
            (new("name"), []),
            (new("last_updated_timestamp", Numeric: true, Searchable: false), ["timestamp"]),
            (new("creation_timestamp", Numeric: true, Searchable: false), []),
        ]);

    public static readonly SearchGrammar Versions = new(
        [(Entity.Tag, TagNames), (Entity.Attribute, ["attribute", "attributes", "attr"])],
        [
            (new("name"), []),
            (new("run_id", Orderable: false, In: true), []),
            (new("source_path", Orderable: false), []),
            (new("version_number", Numeric: true), []),
            (new("creation_timestamp", Numeric: true, Searchable: false), []),
            (new("last_updated_timestamp", Numeric: true, Searchable: false), []),
        ]);

    /// <summary>Logged models: the entities are plural only, and lists are allowed for parameters and tags.</summary>
    public static readonly SearchGrammar LoggedModels = new(
        [(Entity.Metric, ["metrics"]), (Entity.Param, ["params"]), (Entity.Tag, ["tags"]), (Entity.Attribute, ["attributes"])],
        [
            (new("name", In: true), []),
            (new("model_id", In: true), []),
            (new("model_type", In: true), []),
            (new("status", In: true), []),
            (new("source_run_id", In: true), []),
            (new("creation_timestamp", Numeric: true), ["creation_time", "creation_timestamp_ms"]),
            (new("last_updated_timestamp", Numeric: true), ["last_updated_time", "last_updated_timestamp_ms"]),
        ],
        pairs: Lists);

    private static readonly string[] DatasetKeys = ["name", "digest", "context"];

    private readonly Dictionary<string, Entity> entities = new(StringComparer.Ordinal);
    private readonly Dictionary<string, AttributeRule> attributes = new(StringComparer.Ordinal);
    private readonly Comparison[] pairs;

    /// <param name="entities">What may be spoken about, by each of its names.</param>
    /// <param name="attributes">The attributes, with further names.</param>
    /// <param name="pairs">Operators of parameters and tags.</param>
    private SearchGrammar((Entity Entity, string[] Names)[] entities, (AttributeRule Rule, string[] Aliases)[] attributes, Comparison[]? pairs = null)
    {
        this.pairs = pairs ?? Presence;
        foreach (var (entity, names) in entities)
        {
            foreach (var name in names)
            {
                this.entities.Add(name, entity);
            }
        }

        foreach (var (rule, aliases) in attributes)
        {
            foreach (var name in (string[])[rule.Name, .. aliases])
            {
                this.attributes.Add(name, rule);
            }
        }
    }

    /// <summary>Resolves a word to an entity and its canonical key.</summary>
    public (Entity Entity, string Key, AttributeRule? Rule) Resolve(FilterToken word, bool ordering)
    {
        var (entityName, key) = word.Key is null ? (null, word.Text) : (word.Text, word.Key);
        var entity = Entity.Attribute;
        var where = ordering ? null : $"at position {word.At + 1}";
        if (entityName is not null && !entities.TryGetValue(entityName, out entity))
        {
            throw SlipwayException.Invalid($"Invalid entity type '{FilterTokens.Cut(entityName)}'. Valid values are {string.Join(", ", entities.Keys)}", where);
        }

        if (key.Length == 0)
        {
            throw SlipwayException.Invalid("Invalid identifier: the key behind the dot is empty", where);
        }

        if (entity == Entity.Dataset)
        {
            if (ordering || !DatasetKeys.Contains(key, StringComparer.Ordinal))
            {
                throw SlipwayException.Invalid($"Invalid dataset attribute key '{FilterTokens.Cut(key)}' specified. Valid keys in a filter are {string.Join(", ", DatasetKeys)}", where);
            }

            return (entity, key, null);
        }

        if (entity != Entity.Attribute)
        {
            return (entity, key, null);
        }

        if (!attributes.TryGetValue(key, out var rule) || !(ordering ? rule.Orderable : rule.Searchable))
        {
            var valid = attributes.Where(p => ordering ? p.Value.Orderable : p.Value.Searchable).Select(p => p.Key);
            throw SlipwayException.Invalid($"Invalid {(ordering ? "order_by" : "attribute")} key '{FilterTokens.Cut(key)}' specified. Valid keys are {string.Join(", ", valid)}", where);
        }

        return (entity, rule.Name, rule);
    }

    public IReadOnlyList<Comparison> Comparisons(Entity entity, AttributeRule? rule) => entity switch
    {
        Entity.Metric => Numbers,
        Entity.Param or Entity.Tag => pairs,
        Entity.Dataset => Lists,
        _ => rule!.Numeric ? Numbers : rule.In ? Lists : Texts,
    };
}
