using System.Data.Common;
using System.Text.Json;

namespace Slipway.Registry;

/// <summary>Reads runs and what they logged. The parts of many runs come in a few statements, in chunks.</summary>
internal static class RunRows
{
    private const int Chunk = 500;

    public static async Task<Run?> FindAsync(Session session, string id)
    {
        using var command = session.Command($"SELECT {RunSearchSql.Columns} FROM registry_runs r WHERE r.id = @id");
        var parameter = command.CreateParameter();
        parameter.ParameterName = "@id";
        parameter.Value = id;
        command.Parameters.Add(parameter);
        RunHead head;
        await using (var reader = await command.ExecuteReaderAsync(session.Token))
        {
            if (!await reader.ReadAsync(session.Token))
            {
                return null;
            }

            head = Read(reader);
        }

        return (await FillAsync(session, [head]))[0];
    }

    public static RunHead Read(DbDataReader reader) => new()
    {
        Id = reader.GetString(0),
        ExperimentId = reader.GetInt64(1),
        Name = reader.GetString(2),
        UserId = reader.GetString(3),
        Status = Status(reader.GetString(4)),
        StartedAt = reader.GetInt64(5),
        EndedAt = reader.IsDBNull(6) ? null : reader.GetInt64(6),
        ArtifactUri = reader.GetString(7),
        State = reader.GetInt64(8),
    };

    /// <summary>The runs with their latest metrics, parameters, tags and inputs, in the order given.</summary>
    public static async Task<IReadOnlyList<Run>> FillAsync(Session session, IReadOnlyList<RunHead> heads)
    {
        var metrics = new Dictionary<string, List<MetricPoint>>(StringComparer.Ordinal);
        var parameters = new Dictionary<string, List<Param>>(StringComparer.Ordinal);
        var tags = new Dictionary<string, List<Tag>>(StringComparer.Ordinal);
        var inputs = new Dictionary<string, List<DatasetInput>>(StringComparer.Ordinal);
        var models = new Dictionary<(string Run, bool Output), IReadOnlyList<ModelLink>>();
        foreach (var ids in heads.Select(h => h.Id).Chunk(Chunk))
        {
            var (list, args) = SqlList.Of(ids);
            foreach (var row in await session.QueryAsync<RunMetrics.PointRow>(
                $"SELECT run_id AS RunId, key AS Key, timestamp_ms AS TimestampMs, step AS Step, value AS Value, is_nan AS IsNan FROM registry_latest_metrics WHERE run_id IN ({list}) ORDER BY run_id, key", args))
            {
                Put(metrics, row.RunId, row.ToPoint());
            }

            foreach (var row in await session.QueryAsync<PairRow>($"SELECT run_id AS RunId, key AS Key, value AS Value FROM registry_params WHERE run_id IN ({list}) ORDER BY run_id, key", args))
            {
                Put(parameters, row.RunId, new Param(row.Key, row.Value));
            }

            foreach (var row in await session.QueryAsync<PairRow>($"SELECT run_id AS RunId, key AS Key, value AS Value FROM registry_tags WHERE run_id IN ({list}) ORDER BY run_id, key", args))
            {
                Put(tags, row.RunId, new Tag(row.Key, row.Value));
            }

            foreach (var row in await session.QueryAsync<InputRow>(
                $"""
                SELECT i.run_id AS RunId, i.context AS Context, i.tags AS Tags, d.name AS Name, d.digest AS Digest, d.source_type AS SourceType,
                    d.source AS Source, d.schema AS Schema, d.profile AS Profile
                FROM registry_inputs i JOIN registry_datasets d ON d.id = i.dataset_id WHERE i.run_id IN ({list}) ORDER BY i.run_id, i.position
                """,
                args))
            {
                Put(inputs, row.RunId, new DatasetInput(row.Name, row.Digest, row.SourceType, row.Source, row.Schema, row.Profile, row.Context, JsonSerializer.Deserialize<Tag[]>(row.Tags)));
            }

            foreach (var links in await LoggedModelRows.LinksAsync(session, ids))
            {
                models[links.Key] = links.ToList();
            }
        }

        return heads.Select(h => new Run(
            h.Id,
            h.ExperimentId.ToString(System.Globalization.CultureInfo.InvariantCulture),
            h.Name,
            h.UserId,
            h.Status,
            Time.FromMicros(h.StartedAt),
            h.EndedAt is { } end ? Time.FromMicros(end) : null,
            h.ArtifactUri,
            h.State != 0,
            Of(metrics, h.Id),
            Of(parameters, h.Id),
            Of(tags, h.Id),
            Of(inputs, h.Id))
        {
            ModelInputs = models.GetValueOrDefault((h.Id, false), []),
            ModelOutputs = models.GetValueOrDefault((h.Id, true), []),
        }).ToList();
    }

    public static string Text(RunStatus status) => status switch
    {
        RunStatus.Running => "RUNNING",
        RunStatus.Scheduled => "SCHEDULED",
        RunStatus.Finished => "FINISHED",
        RunStatus.Failed => "FAILED",
        RunStatus.Killed => "KILLED",
        _ => throw SlipwayException.Invalid($"Invalid value {(int)status} for parameter 'status' supplied"),
    };

    public static RunStatus Status(string text) => text switch
    {
        "RUNNING" => RunStatus.Running,
        "SCHEDULED" => RunStatus.Scheduled,
        "FINISHED" => RunStatus.Finished,
        "FAILED" => RunStatus.Failed,
        "KILLED" => RunStatus.Killed,
        _ => throw new SlipwayException(ErrorCode.DataLoss, "a run has an unknown status", $"'{text}'"),
    };

    private static void Put<T>(Dictionary<string, List<T>> lists, string id, T item)
    {
        if (!lists.TryGetValue(id, out var list))
        {
            lists[id] = list = [];
        }

        list.Add(item);
    }

    private static IReadOnlyList<T> Of<T>(Dictionary<string, List<T>> lists, string id) => lists.TryGetValue(id, out var list) ? list : [];

    internal sealed class RunHead
    {
        public string Id { get; init; } = "";

        public long ExperimentId { get; init; }

        public string Name { get; init; } = "";

        public string UserId { get; init; } = "";

        public RunStatus Status { get; init; }

        public long StartedAt { get; init; }

        public long? EndedAt { get; init; }

        public string ArtifactUri { get; init; } = "";

        /// <summary>0 live, 1 deleted, 2 deleted with its experiment.</summary>
        public long State { get; init; }
    }

    private sealed class PairRow
    {
        public string RunId { get; set; } = "";

        public string Key { get; set; } = "";

        public string Value { get; set; } = "";
    }

    private sealed class InputRow
    {
        public string RunId { get; set; } = "";

        public string? Context { get; set; }

        public string Tags { get; set; } = "";

        public string Name { get; set; } = "";

        public string Digest { get; set; } = "";

        public string SourceType { get; set; } = "";

        public string Source { get; set; } = "";

        public string? Schema { get; set; }

        public string? Profile { get; set; }
    }
}
