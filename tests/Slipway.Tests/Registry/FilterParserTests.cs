using Slipway.Foundation;
using Slipway.Registry;

namespace Slipway.Tests.Registry;

public sealed class FilterParserTests
{
    private static SearchGrammar Grammar(string name) => name switch
    {
        "runs" => SearchGrammar.Runs,
        "experiments" => SearchGrammar.Experiments,
        "models" => SearchGrammar.Models,
        _ => SearchGrammar.Versions,
    };

    [Theory]
    [InlineData("runs", "metrics.auc > 0.8", "Metric auc Greater 0.8")]
    [InlineData("runs", "metric.m >= -1", "Metric m GreaterOrEqual -1")]
    [InlineData("runs", "metrics.m != 1e-3", "Metric m NotEqual 0.001")]
    [InlineData("runs", "metrics.`a b/c` <= 5", "Metric a b/c LessOrEqual 5")]
    [InlineData("runs", "metrics.a.b < 1", "Metric a.b Less 1")]
    [InlineData("runs", "params.p = 'x'", "Param p Equal x")]
    [InlineData("runs", "parameters.p = \"x\"", "Param p Equal x")]
    [InlineData("runs", "param.p LIKE 'x%'", "Param p Like x%")]
    [InlineData("runs", "params.p ilike '%X_'", "Param p ILike %X_")]
    [InlineData("runs", "params.p IS NULL", "Param p IsNull ")]
    [InlineData("runs", "params.p is not null", "Param p IsNotNull ")]
    [InlineData("runs", "tags.`mlflow.runName` = 'a''b'", "Tag mlflow.runName Equal a''b")]
    [InlineData("runs", "tags.\"mlflow.runName\" != 'it\\'s'", "Tag mlflow.runName NotEqual it\\'s")]
    [InlineData("runs", "`tags`.`a.b` = ''", "Tag a.b Equal ")]
    [InlineData("runs", "status = 'RUNNING'", "Attribute status Equal RUNNING")]
    [InlineData("runs", "attributes.run_id IN ('a', 'b')", "Attribute run_id In a|b")]
    [InlineData("runs", "attr.run_id not in ('a')", "Attribute run_id NotIn a")]
    [InlineData("runs", "run.`Run Name` LIKE 'x'", "Attribute run_name Like x")]
    [InlineData("runs", "\"Run name\" = 'x'", "Attribute run_name Equal x")]
    [InlineData("runs", "Created > 17", "Attribute start_time Greater 17")]
    [InlineData("runs", "end_time <= 17", "Attribute end_time LessOrEqual 17")]
    [InlineData("runs", "dataset.name = 'd' AND datasets.digest IN ('x')", "Dataset name Equal d; Dataset digest In x")]
    [InlineData("runs", "metrics.a > 1 and metrics.a < 2 AND", "Metric a Greater 1; Metric a Less 2")]
    [InlineData("runs", "params.p='AND x'", "Param p Equal AND x")]
    [InlineData("runs", "  ", "")]
    [InlineData("experiments", "name ILIKE 'a%' AND creation_time > 5 AND tags.k = 'v'", "Attribute name ILike a%; Attribute creation_time Greater 5; Tag k Equal v")]
    [InlineData("models", "name = 'a' AND tag.`mlflow.prompt.is_prompt` != 'true'", "Attribute name Equal a; Tag mlflow.prompt.is_prompt NotEqual true")]
    [InlineData("versions", "name='a' and run_id IN ('r') and version_number >= 2 and source_path LIKE 's3:%'", "Attribute name Equal a; Attribute run_id In r; Attribute version_number GreaterOrEqual 2; Attribute source_path Like s3:%")]
    public void Filter_is_read(string grammar, string filter, string expected)
    {
        var read = FilterParser.Parse(filter, Grammar(grammar)).Select(c =>
            $"{c.Entity} {c.Key} {c.Comparison} {(c.Value is List<string> list ? string.Join('|', list) : Convert.ToString(c.Value, System.Globalization.CultureInfo.InvariantCulture))}");
        Assert.Equal(expected, string.Join("; ", read));
    }

    [Theory]
    [InlineData("runs", "metrics.a > 1 OR metrics.b > 1", "Invalid clause(s)")]
    [InlineData("runs", "NOT metrics.a > 1", "Invalid clause(s)")]
    [InlineData("runs", "(metrics.a > 1)", "Invalid clause(s)")]
    [InlineData("runs", "metrics.a BETWEEN 1 AND 2", "Invalid clause(s)")]
    [InlineData("runs", "metrics.a > 1; DROP TABLE registry_runs", "Invalid clause(s)")]
    [InlineData("runs", "AND metrics.a > 1", "Invalid clause(s)")]
    [InlineData("runs", "metrics.a > 1 AND AND metrics.b > 1", "Invalid clause(s)")]
    [InlineData("runs", "metrics.a > 1 metrics.b > 1", "Invalid clause(s)")]
    [InlineData("runs", "metrics.a >", "Invalid clause(s)")]
    [InlineData("runs", "metrics.a", "Invalid clause(s)")]
    [InlineData("runs", "metrics.a ! 1", "Invalid clause(s)")]
    [InlineData("runs", "metrics.a == 1", "Invalid clause(s)")]
    [InlineData("runs", "params.p = 'x", "Invalid clause(s)")]
    [InlineData("runs", "params.p = \"x", "Invalid clause(s)")]
    [InlineData("runs", "metrics.a > '1'", "Expected numeric value")]
    [InlineData("runs", "metrics.a LIKE 'x'", "Invalid comparison operator")]
    [InlineData("runs", "params.p = 1", "Expected a quoted string value")]
    [InlineData("runs", "params.p = x", "Expected a quoted string value")]
    [InlineData("runs", "params.p > 'x'", "Invalid comparison operator")]
    [InlineData("runs", "params.p IN ('x')", "Invalid comparison operator")]
    [InlineData("runs", "status IN ('RUNNING')", "Invalid comparison operator")]
    [InlineData("runs", "run_id IN ()", "Invalid clause(s)")]
    [InlineData("runs", "run_id IN (1, 2)", "Invalid clause(s)")]
    [InlineData("runs", "run_id IN 'a'", "Invalid clause(s)")]
    [InlineData("runs", "lifecycle_stage = 'active'", "Invalid attribute key")]
    [InlineData("runs", "start_time > '5'", "Expected numeric value")]
    [InlineData("runs", "foo.bar = 'x'", "Invalid entity type")]
    [InlineData("runs", "dataset.source = 'x'", "Invalid dataset attribute key")]
    [InlineData("runs", "metrics. > 1", "the key behind the dot is empty")]
    [InlineData("runs", "status IS NULL", "Invalid comparison operator")]
    [InlineData("experiments", "metrics.a > 1", "Invalid entity type")]
    [InlineData("experiments", "name > 'a'", "Invalid comparison operator")]
    [InlineData("models", "creation_timestamp > 1", "Invalid attribute key")]
    [InlineData("versions", "name IN ('a')", "Invalid comparison operator")]
    public void Bad_filter_is_refused(string grammar, string filter, string message)
    {
        var e = Assert.Throws<SlipwayException>(() => FilterParser.Parse(filter, Grammar(grammar)));
        Assert.Equal(ErrorCode.InvalidArgument, e.Code);
        Assert.Contains(message, e.Sentence, StringComparison.Ordinal);
    }

    [Fact]
    public void Filter_with_too_many_conditions_is_refused()
    {
        var filter = string.Join(" AND ", Enumerable.Range(0, 51).Select(i => $"metrics.m{i} > 0"));
        Assert.Contains("more than 50", Assert.Throws<SlipwayException>(() => FilterParser.Parse(filter, SearchGrammar.Runs)).Sentence, StringComparison.Ordinal);
    }

    [Fact]
    public void Filter_with_too_many_list_items_is_refused()
    {
        var list = string.Join(", ", Enumerable.Range(0, 600).Select(i => $"'r{i}'"));
        Assert.Single(FilterParser.Parse($"run_id IN ({list})", SearchGrammar.Runs));
        Assert.Contains("more than 1000", Assert.Throws<SlipwayException>(() => FilterParser.Parse($"run_id IN ({list}) AND run_id IN ({list})", SearchGrammar.Runs)).Sentence, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("metrics.auc DESC", "Metric auc True")]
    [InlineData("metrics.`a b` asc", "Metric a b False")]
    [InlineData("start_time", "Attribute start_time False")]
    [InlineData("attributes.Created desc", "Attribute start_time True")]
    [InlineData("tags.\"mlflow.user\"", "Tag mlflow.user False")]
    public void Order_is_read(string term, string expected)
    {
        var read = Assert.Single(FilterParser.ParseOrder([term], SearchGrammar.Runs));
        Assert.Equal(expected, $"{read.Entity} {read.Key} {read.Descending}");
    }

    [Theory]
    [InlineData("metrics.a UP")]
    [InlineData("metrics.a DESC DESC")]
    [InlineData("lifecycle_stage")]
    [InlineData("")]
    [InlineData("dataset.name")]
    [InlineData("start_time; DROP TABLE x")]
    public void Bad_order_is_refused(string term) =>
        Assert.Equal(ErrorCode.InvalidArgument, Assert.Throws<SlipwayException>(() => FilterParser.ParseOrder([term], SearchGrammar.Runs)).Code);

    [Fact]
    public void Same_order_field_twice_is_refused() =>
        Assert.Contains("duplicate fields", Assert.Throws<SlipwayException>(() => FilterParser.ParseOrder(["created", "start_time DESC"], SearchGrammar.Runs)).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData("model/MLmodel")]
    [InlineData("a b/ä.txt")]
    [InlineData("नमूना/モデル/모델.bin")]
    [InlineData(".part-0.crc")]
    public void Artifact_path_is_taken(string path) => Assert.Equal(path, ArtifactPath.Check(path));

    [Theory]
    [InlineData("")]
    [InlineData("/etc/passwd")]
    [InlineData("a/../b")]
    [InlineData("..")]
    [InlineData("a/./b")]
    [InlineData("a//b")]
    [InlineData("a/")]
    [InlineData("..%2f..%2fx")]
    [InlineData("%2e%2e/x")]
    [InlineData("..\\x")]
    [InlineData("C:\\x")]
    [InlineData("\\\\host\\share")]
    [InlineData("con")]
    [InlineData("nul.txt")]
    [InlineData("a.")]
    [InlineData("a ")]
    [InlineData("a:stream")]
    [InlineData("a#b")]
    [InlineData("a\0b")]
    [InlineData("a\r\nX-Evil: 1")]
    [InlineData("a\u007fb")]
    [InlineData("a\u202eb")]
    [InlineData("．．／x")]
    [InlineData("cafe\u0301.txt")]
    public void Bad_artifact_path_is_refused(string path) =>
        Assert.Equal(ErrorCode.InvalidArgument, Assert.Throws<SlipwayException>(() => ArtifactPath.Check(path)).Code);

    [Theory]
    [InlineData("/srv")]
    [InlineData("file:///srv")]
    [InlineData("C:\\x")]
    [InlineData("http:///#/../../../srv")]
    [InlineData("s3://b/a/%252e%252e/x")]
    [InlineData("http://h/x?path=../../srv")]
    [InlineData("s3://b/a\\..\\x")]
    [InlineData("data")]
    public void Source_that_could_be_a_path_is_refused(string source)
    {
        Assert.Equal(ErrorCode.InvalidArgument, Assert.Throws<SlipwayException>(() => ModelSource.Check(source, [])).Code);
        if (source != "data")
        {
            Assert.Equal(ErrorCode.InvalidArgument, Assert.Throws<SlipwayException>(() => ModelSource.Check(source, [new Tag("mlflow.prompt.is_prompt", "true")])).Code);
        }
    }
}
