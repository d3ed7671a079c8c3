using System.Text.Json;
using Slipway.Data;
using Slipway.Monitoring;
using Slipway.Pipelines.Steps;
using Slipway.Pipelines.Training;
using Slipway.Registry;

namespace Slipway.Pipelines;

/// <summary>
/// What a version was validated on, kept with its run under `reference/`: `rows.parquet` holds the feature values, predictions and outcomes of a sample of
/// the validation rows, `reference.json` says which columns they are. A train step writes both, and so may any client; a monitor of the version compares
/// with exactly these rows.
/// </summary>
public sealed class References
{
    private const string Folder = "reference";
    private const string Rows = Folder + "/rows.parquet";
    private const string About = Folder + "/reference.json";
    private const string Score = "slipway.score";
    private const string Label = "slipway.label";

    /// <summary>Tags of a version that say what outputs do not tell; a JSON document of the rule each.</summary>
    private const string RankingTag = "slipway.ranking";
    private const string ForecastTag = "slipway.forecast";

    private const int MostRows = 1_000_000;

    private readonly Monitors monitors;
    private readonly Models models;
    private readonly Registry.Runs runs;
    private readonly Datasets datasets;
    private readonly DataLayout layout;

    internal References(Models models, Registry.Runs runs, Datasets datasets, Monitors monitors, DataLayout layout) =>
        (this.models, this.runs, this.datasets, this.monitors, this.layout) = (models, runs, datasets, monitors, layout);

    /// <summary>Watches a version on an endpoint against its stored reference; without one, against the first full window with enough rows.</summary>
    /// <param name="actor">Who.</param>
    /// <param name="endpoint">The endpoint.</param>
    /// <param name="modelVersion"><c>flights/3</c> or <c>flights@champion</c>.</param>
    /// <param name="window">How event time is cut; null is weeks against a stored reference, days otherwise.</param>
    /// <param name="thresholds">When points alert; null is the defaults.</param>
    /// <param name="watched">The features to watch; null watches all.</param>
    /// <param name="ranking">How predictions make rankings; null is what stands beside the reference, or the version's tag.</param>
    /// <param name="forecast">How predictions make forecasts; null is what stands beside the reference, or the version's tag.</param>
    /// <param name="scope">Which predictions are looked at; null is all that callers got, in one piece.</param>
    /// <param name="ct">Stops waiting.</param>
    /// <exception cref="SlipwayException">InvalidArgument when the stored reference cannot be read, or features are chosen and none is stored; Conflict when the version is watched in another way.</exception>
    public async Task<Monitoring.Monitor> WatchAsync(
        Actor actor, string endpoint, string modelVersion, WindowRule? window, Thresholds? thresholds, IReadOnlyList<string>? watched, RankingRule? ranking, ForecastRule? forecast, MonitorScope? scope, CancellationToken ct) =>
        await FindAsync(endpoint, modelVersion, ct) is { } request
            ? await monitors.WatchAsync(
                actor, request with { Window = window ?? request.Window, Thresholds = thresholds ?? request.Thresholds, Watched = watched, Ranking = ranking ?? request.Ranking, Forecast = forecast ?? request.Forecast, Scope = scope ?? request.Scope }, ct)
            : watched is not null
                ? throw SlipwayException.Invalid("the version cannot be watched", $"columns ({string.Join(", ", watched)}) are chosen among those of a reference, and none is stored for {modelVersion}", "give a reference file, or watch all columns")
                : await WatchFirstWindowAsync(actor, endpoint, modelVersion, window, thresholds, ranking, forecast, scope, ct);

    /// <summary>Watches a version on an endpoint against the rows of a file.</summary>
    /// <param name="actor">Who.</param>
    /// <param name="endpoint">The endpoint.</param>
    /// <param name="modelVersion"><c>flights/3</c> or <c>flights@champion</c>.</param>
    /// <param name="file">The rows; its feature columns are named like the version's, or stand in the order of its inputs.</param>
    /// <param name="window">How event time is cut; null is weeks.</param>
    /// <param name="thresholds">When points alert; null is the defaults.</param>
    /// <param name="watched">The features to watch; null watches all.</param>
    /// <param name="scope">Which predictions are looked at; null is all that callers got, in one piece.</param>
    /// <param name="ct">Stops waiting.</param>
    /// <exception cref="SlipwayException">InvalidArgument when the file does not fit the version; Conflict when the version is watched in another way.</exception>
    public Task<Monitoring.Monitor> WatchFileAsync(Actor actor, string endpoint, string modelVersion, ReferenceFile file, WindowRule? window, Thresholds? thresholds, IReadOnlyList<string>? watched, MonitorScope? scope, CancellationToken ct) =>
        WatchFileAsync(actor, endpoint, modelVersion, file, [], window, thresholds, watched, scope, ct);

    /// <summary>Watches a version on an endpoint against the rows of a dataset version, which the monitor's reference names as its source.</summary>
    /// <param name="actor">Who.</param>
    /// <param name="endpoint">The endpoint.</param>
    /// <param name="modelVersion"><c>flights/3</c> or <c>flights@champion</c>.</param>
    /// <param name="dataset">Which rows.</param>
    /// <param name="file">What its columns are; where the rows are is the dataset's to say.</param>
    /// <param name="window">How event time is cut; null is weeks.</param>
    /// <param name="thresholds">When points alert; null is the defaults.</param>
    /// <param name="watched">The features to watch; null watches all.</param>
    /// <param name="scope">Which predictions are looked at; null is all that callers got, in one piece.</param>
    /// <param name="ct">Stops waiting.</param>
    /// <exception cref="SlipwayException">NotFound for the dataset, the version or the file; InvalidArgument when it does not fit the model's version; Conflict when that is watched in another way.</exception>
    public async Task<Monitoring.Monitor> WatchDatasetAsync(
        Actor actor, string endpoint, string modelVersion, DatasetReference dataset, ReferenceFile file, WindowRule? window, Thresholds? thresholds, IReadOnlyList<string>? watched, MonitorScope? scope, CancellationToken ct)
    {
        var version = await datasets.GetVersionAsync(dataset.Name, dataset.Version, ct);
        DataFile[] tables = [.. version.Files.Where(f => dataset.Path is null ? f.Rows is not null : f.Path == dataset.Path)];
        if (tables is not [var table])
        {
            throw new SlipwayException(
                tables.Length == 0 ? ErrorCode.NotFound : ErrorCode.InvalidArgument, $"{dataset} cannot be used as the reference",
                tables.Length > 0 ? $"it has {tables.Length} tables: {string.Join(", ", tables.Take(10).Select(t => t.Path))}" : dataset.Path is null ? $"none of its {version.Files.Count} files is a CSV or Parquet table" : $"it has no file {dataset.Path}",
                $"name one of them: {DatasetReference.Prefix}{dataset.Name}@{dataset.Version}/PATH (slipway dataset show {dataset.Name} --version {dataset.Version})");
        }

        // Files of the store are named by their content; the ending says how a table is read.
        var copy = Path.Combine(layout.Temporary, $"reference-{Ids.New()}{(TableFile.IsParquet(table.Path) ? ".parquet" : ".csv")}");
        try
        {
            await using (var content = await datasets.OpenAsync(version, table.Path, ct))
            await using (var kept = File.Create(copy))
            {
                await content.CopyToAsync(kept, ct);
            }

            return await WatchFileAsync(actor, endpoint, modelVersion, file with { Path = copy, Name = $"{dataset} ({table.Path})" }, [version.Subject], window, thresholds, watched, scope, ct);
        }
        finally
        {
            File.Delete(copy);
        }
    }

    private async Task<Monitoring.Monitor> WatchFileAsync(
        Actor actor, string endpoint, string modelVersion, ReferenceFile file, IReadOnlyList<Subject> sources, WindowRule? window, Thresholds? thresholds, IReadOnlyList<string>? watched, MonitorScope? scope, CancellationToken ct)
    {
        var version = await models.ResolveAsync(modelVersion, ct);
        var request = await Task.Run(() => file.Read(FeatureNames(version.Signature)), ct) with { Endpoint = endpoint, ModelVersion = $"{version.Name}/{version.Version}", Watched = watched, Scope = scope ?? MonitorScope.All };
        return await monitors.WatchAsync(
            actor, request with { Window = window ?? request.Window, Thresholds = thresholds ?? request.Thresholds, Reference = request.Reference with { Sources = sources } }, ct);
    }

    /// <summary>What a version predicts is told from its outputs, or, where these tell nothing, by who asks or by the version's tags.</summary>
    internal async Task<Monitoring.Monitor> WatchFirstWindowAsync(
        Actor actor, string endpoint, string modelVersion, WindowRule? window, Thresholds? thresholds, RankingRule? ranking, ForecastRule? forecast, MonitorScope? scope, CancellationToken ct)
    {
        var version = await models.ResolveAsync(modelVersion, ct);
        if (ranking is null && forecast is null)
        {
            (ranking, forecast) = (Tagged<RankingRule>(version, RankingTag), Tagged<ForecastRule>(version, ForecastTag));
        }

        return await monitors.WatchFirstWindowAsync(actor, endpoint, $"{version.Name}/{version.Version}", FeatureNames(version.Signature), window, thresholds, ranking, forecast, scope, ct);
    }

    private static T? Tagged<T>(ModelVersion version, string tag)
        where T : class
    {
        if (!version.Tags.TryGetValue(tag, out var text))
        {
            return null;
        }

        try
        {
            return JsonSerializer.Deserialize<T>(text, CanonicalJson.Options);
        }
        catch (JsonException e)
        {
            throw new SlipwayException(ErrorCode.InvalidArgument, $"the tag {tag} of {version.Name}/{version.Version} cannot be read", e.Message, "write it as JSON, for example {\"query\": \"request\", \"k\": 10} or {\"horizon\": \"steps\"}", e);
        }
    }

    /// <summary>One name a number of the inputs, in their order; empty when the signature does not say how many there are.</summary>
    private static IReadOnlyList<string> FeatureNames(ModelSignature? signature)
    {
        if (signature?.FeatureNames is { Count: > 0 } names)
        {
            return names;
        }

        List<string> made = [];
        foreach (var input in signature?.Inputs ?? [])
        {
            // The first dimension is the batch's.
            long width = 1;
            foreach (var dimension in input.Shape.Skip(1))
            {
                width = dimension > 0 && width <= Monitors.MostFeatures ? width * dimension : long.MaxValue;
            }

            if (made.Count + width > Monitors.MostFeatures)
            {
                return [];
            }

            made.AddRange(width == 1 ? [input.Name] : Enumerable.Range(0, (int)width).Select(i => $"{input.Name}[{i}]"));
        }

        return made;
    }

    /// <summary>The request that watches a version on an endpoint against its stored reference; window and thresholds are the caller's to change.</summary>
    /// <param name="endpoint">The endpoint.</param>
    /// <param name="modelVersion"><c>flights/3</c> or <c>flights@champion</c>.</param>
    /// <param name="ct">Stops waiting.</param>
    /// <returns>Null when no reference is stored with the run of the version.</returns>
    public async Task<WatchRequest?> FindAsync(string endpoint, string modelVersion, CancellationToken ct)
    {
        var version = await models.ResolveAsync(modelVersion, ct);
        if (version.RunId is not { } runId || !(await runs.ListArtifactsAsync(runId, Folder, ct)).Any(a => a.Path == About))
        {
            return null;
        }

        var about = await ReadAboutAsync(runId, ct);
        var file = Path.Combine(layout.Temporary, $"reference-{Ids.New()}.parquet");
        try
        {
            await using (var content = await runs.OpenArtifactAsync(runId, Rows, ct))
            await using (var copy = File.Create(file))
            {
                await content.CopyToAsync(copy, ct);
            }

            return await Task.Run(() => Read(file, about), ct) with { Endpoint = endpoint, ModelVersion = $"{version.Name}/{version.Version}" };
        }
        catch (DuckDB.NET.Data.DuckDBException e)
        {
            // Any client may have written the file.
            throw new SlipwayException(
                ErrorCode.InvalidArgument, $"the reference of run {runId} cannot be read", e.Message.Split('\n')[0].Replace(file, Rows, StringComparison.Ordinal), $"correct {Rows} and {About} of the run", e);
        }
        finally
        {
            File.Delete(file);
        }
    }

    /// <summary>Keeps at most <paramref name="most"/> rows, evenly spread over the table.</summary>
    internal async Task WriteAsync(Actor actor, string runId, TabularData table, float[] scores, IReadOnlyList<string> categorical, IReadOnlyList<Subject> sources, int most, CancellationToken ct)
    {
        var kept = Math.Min(most, table.Rows);
        var file = Path.Combine(layout.Temporary, $"reference-{Ids.New()}.parquet");
        try
        {
            await Task.Run(() => Write(file, table, scores, kept), ct);
            await using (var content = File.OpenRead(file))
            {
                await runs.PutArtifactAsync(actor, runId, Rows, content, ct);
            }
        }
        finally
        {
            File.Delete(file);
        }

        // Written last: what it describes is complete.
        var about = new Description(table.Features, categorical, kept, table.Rows, [.. sources.Select(s => s.ToString())]);
        using var text = new MemoryStream(CanonicalJson.Serialize(about));
        await runs.PutArtifactAsync(actor, runId, About, text, ct);
    }

    private async Task<Description> ReadAboutAsync(string runId, CancellationToken ct)
    {
        await using var content = await runs.OpenArtifactAsync(runId, About, ct);
        try
        {
            return await JsonSerializer.DeserializeAsync<Description>(content, CanonicalJson.Options, ct) is { Features.Count: > 0 } about
                ? about
                : throw SlipwayException.Invalid($"the reference of run {runId} cannot be read", $"{About} names no features", $"correct {About} of the run");
        }
        catch (JsonException e)
        {
            throw new SlipwayException(ErrorCode.InvalidArgument, $"the reference of run {runId} cannot be read", $"{About}: {e.Message}", $"correct {About} of the run", e);
        }
    }

    private static void Write(string file, TabularData table, float[] scores, int kept)
    {
        using var duck = Duck.Open([]);
        using var command = duck.CreateCommand();
        var names = table.Features.Append(Score).Append(Label).ToList();
        command.CommandText = $"CREATE TABLE reference ({string.Join(", ", names.Select(n => $"{Duck.Name(n)} FLOAT"))})";
        command.ExecuteNonQuery();
        using (var appender = duck.CreateAppender("reference"))
        {
            for (var i = 0; i < kept; i++)
            {
                var at = (int)((long)i * table.Rows / kept);
                var row = appender.CreateRow();
                foreach (var column in table.Columns)
                {
                    _ = float.IsNaN(column[at]) ? row.AppendNullValue() : row.AppendValue(column[at]);
                }

                row.AppendValue(scores[at]).AppendValue(table.Labels[at] ? 1f : 0f).EndRow();
            }
        }

        command.CommandText = $"COPY reference TO {Duck.Text(file)} (FORMAT parquet)";
        command.ExecuteNonQuery();
    }

    private static WatchRequest Read(string file, Description about)
    {
        var classes = about.Classes ?? [];
        if (about.Type == ModelType.Forecasting && about.Forecast is null)
        {
            throw SlipwayException.Invalid("the stored reference cannot be read", $"{About} says that the model forecasts, and not how: forecast.horizon is missing", $"name the feature that holds the steps ahead in {About}");
        }

        string[] scores = about.Type == ModelType.Multiclass && about.Score is null ? [.. classes.Select(c => $"{Score}.{c}")] : [about.Score ?? Score];
        string[] ends = about.Lower is { } low && about.Upper is { } high ? [low, high] : [];
        using var duck = Duck.Open([file]);
        using var command = duck.CreateCommand();
        command.CommandText = $"SELECT {string.Join(", ", about.Features.Concat(scores).Append(about.Label ?? Label).Concat(ends).Select(n => $"CAST({Duck.Name(n)} AS DOUBLE)"))}, {(about.Query is { } q ? $"CAST({Duck.Name(q)} AS VARCHAR)" : "NULL")} FROM read_parquet({Duck.Text(file)}) LIMIT {MostRows}";
        using var reader = command.ExecuteReader();
        List<float>[] columns = [.. about.Features.Concat(scores).Select(_ => new List<float>(about.Rows))];
        List<float>[] intervals = [.. ends.Select(_ => new List<float>(about.Rows))];
        var queries = new List<string?>(about.Rows);
        var labels = new List<double>(about.Rows);
        while (reader.Read())
        {
            for (var c = 0; c < columns.Length; c++)
            {
                columns[c].Add(reader.IsDBNull(c) ? float.NaN : (float)reader.GetDouble(c));
            }

            labels.Add(reader.IsDBNull(columns.Length) ? double.NaN : reader.GetDouble(columns.Length));
            for (var e = 0; e < intervals.Length; e++)
            {
                var at = columns.Length + 1 + e;
                intervals[e].Add(reader.IsDBNull(at) ? float.NaN : (float)reader.GetDouble(at));
            }

            var queryAt = columns.Length + 1 + intervals.Length;
            queries.Add(reader.IsDBNull(queryAt) ? null : reader.GetString(queryAt));
        }

        float[][] values = [.. columns.Select(c => c.ToArray())];
        var outputs = values[about.Features.Count..];
        return new WatchRequest
        {
            Endpoint = "",
            ModelVersion = "",
            Type = about.Type,
            Classes = classes,
            FeatureNames = about.Features,
            Categorical = about.Categorical ?? [],
            Ranking = about.Ranking,
            Forecast = about.Forecast,
            ScoreOutput = about.Forecast?.LowerOutput is null ? -1 : 0,
            Reference = new ReferenceTable
            {
                Columns = values[..about.Features.Count],
                Scores = outputs.Length == 1 ? outputs[0] : null,
                Probabilities = outputs.Length > 1 ? outputs : null,
                // A binary outcome that is not known would count as a negative one.
                Labels = about.Type == ModelType.Binary && !labels.Exists(double.IsNaN) ? [.. labels.Select(v => v >= 0.5)] : null,
                Targets = about.Type == ModelType.Binary ? null : [.. labels],
                Importance = about.Importance,
                Queries = about.Query is null ? null : [.. queries],
                Lower = intervals.Length == 2 ? [.. intervals[0]] : null,
                Upper = intervals.Length == 2 ? [.. intervals[1]] : null,
                Sources = [.. (about.Sources ?? []).Select(Subject.Parse)],
            },
        };
    }

    /// <summary>What stands beside the rows; only the features are needed.</summary>
    private sealed record Description(
        IReadOnlyList<string> Features,
        IReadOnlyList<string>? Categorical = null,
        int Rows = 0,
        int ValidationRows = 0,
        IReadOnlyList<string>? Sources = null,
        ModelType Type = ModelType.Binary,
        IReadOnlyList<string>? Classes = null,
        string? Score = null,
        string? Label = null,
        string? Query = null,
        string? Lower = null,
        string? Upper = null,
        RankingRule? Ranking = null,
        ForecastRule? Forecast = null,
        IReadOnlyDictionary<string, double>? Importance = null);
}

/// <summary>A table of a dataset version, written <c>dataset:NAME@VERSION</c> or <c>dataset:NAME@VERSION/PATH</c>.</summary>
/// <param name="Name">The dataset.</param>
/// <param name="Version">A version's id or the beginning of one, a tag, or a branch, which means its head at present.</param>
/// <param name="Path">The file, where the version has several tables.</param>
public sealed record DatasetReference(string Name, string Version, string? Path = null)
{
    /// <summary>What every such reference begins with.</summary>
    public const string Prefix = "dataset:";

    /// <exception cref="SlipwayException">InvalidArgument when the text is no such reference.</exception>
    public static DatasetReference Parse(string text)
    {
        if (text.StartsWith(Prefix, StringComparison.Ordinal) && text[Prefix.Length..].Split('@', 2) is [{ Length: > 0 } name, { Length: > 0 } rest])
        {
            // Names of tags and branches hold no slash that a path could begin with.
            var slash = rest.IndexOf('/', StringComparison.Ordinal);
            var (version, path) = slash < 0 ? (rest, null) : (rest[..slash], rest[(slash + 1)..]);
            if (version.Length > 0 && path is not "")
            {
                return new(name, version, path);
            }
        }

        throw SlipwayException.Invalid("the reference cannot be read", $"\"{text}\" does not name a dataset version", $"write {Prefix}NAME@VERSION, where the version is an id, a tag or a branch, or {Prefix}NAME@VERSION/PATH for one of several tables");
    }

    /// <inheritdoc/>
    public override string ToString() => $"{Prefix}{Name}@{Version}{(Path is null ? "" : $"/{Path}")}";
}
