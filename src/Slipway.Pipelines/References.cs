using System.Text.Json;
using Slipway.Monitoring;
using Slipway.Pipelines.Steps;
using Slipway.Pipelines.Training;
using Slipway.Registry;

namespace Slipway.Pipelines;

/// <summary>
/// What a trained version was validated on, kept with its run: the feature values, scores and outcomes of a sample of the validation rows.
/// A monitor of the version compares with exactly these.
/// </summary>
public sealed class References
{
    private const string Folder = "reference";
    private const string Rows = Folder + "/rows.parquet";
    private const string About = Folder + "/reference.json";
    private const string Score = "slipway.score";
    private const string Label = "slipway.label";

    private readonly Models models;
    private readonly Registry.Runs runs;
    private readonly DataLayout layout;

    internal References(Models models, Registry.Runs runs, DataLayout layout) => (this.models, this.runs, this.layout) = (models, runs, layout);

    /// <summary>The request that watches a version on an endpoint against its stored reference; window and thresholds are the caller's to change.</summary>
    /// <param name="endpoint">The endpoint.</param>
    /// <param name="modelVersion"><c>flights/3</c> or <c>flights@champion</c>.</param>
    /// <param name="ct">Stops waiting.</param>
    /// <returns>Null when the version was not made by a <c>train</c> step.</returns>
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

            var (columns, scores, labels) = await Task.Run(() => Read(file, about), ct);
            return new WatchRequest
            {
                Endpoint = endpoint,
                ModelVersion = $"{version.Name}/{version.Version}",
                FeatureNames = about.Features,
                Categorical = about.Categorical,
                Reference = new ReferenceTable { Columns = columns, Scores = scores, Labels = labels, Sources = [.. about.Sources.Select(Subject.Parse)] },
            };
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
        return await JsonSerializer.DeserializeAsync<Description>(content, CanonicalJson.Options, ct)
            ?? throw new SlipwayException(ErrorCode.DataLoss, $"the reference of run {runId} cannot be read", "its description is null");
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

    private static (float[][] Columns, float[] Scores, bool[] Labels) Read(string file, Description about)
    {
        using var duck = Duck.Open([file]);
        using var command = duck.CreateCommand();
        command.CommandText = $"SELECT {string.Join(", ", about.Features.Append(Score).Append(Label).Select(Duck.Name))} FROM read_parquet({Duck.Text(file)})";
        using var reader = command.ExecuteReader();
        var columns = about.Features.Select(_ => new float[about.Rows]).ToArray();
        var (scores, labels) = (new float[about.Rows], new bool[about.Rows]);
        for (var row = 0; row < about.Rows && reader.Read(); row++)
        {
            for (var c = 0; c < columns.Length; c++)
            {
                columns[c][row] = reader.IsDBNull(c) ? float.NaN : reader.GetFloat(c);
            }

            scores[row] = reader.GetFloat(columns.Length);
            labels[row] = reader.GetFloat(columns.Length + 1) == 1;
        }

        return (columns, scores, labels);
    }

    /// <summary>What stands beside the rows.</summary>
    private sealed record Description(IReadOnlyList<string> Features, IReadOnlyList<string> Categorical, int Rows, int ValidationRows, IReadOnlyList<string> Sources);
}
