using System.Text.Json;

namespace Slipway.Registry;

/// <summary>Reads runs and what they logged. The parts of many runs come in a few statements, in chunks.</summary>
internal static class RunRows
{
    private const int Chunk = 500;

    public static async Task<RunHead?> HeadAsync(Session session, string id)
    {
        using var find = session.Statement($"SELECT {RunSearchSql.Columns} FROM registry_runs r WHERE r.id = $1");
        return await find.Bind(id).NextAsync() ? Read(find) : null;
    }

    public static RunHead Read(Statement row) => new()
    {
        Id = row.Text(0),
        ExperimentId = row.Long(1),
        Name = row.Text(2),
        UserId = row.Text(3),
        Status = Status(row.Text(4)),
        StartedAt = row.Long(5),
        EndedAt = row.IsNull(6) ? null : row.Long(6),
        ArtifactUri = row.Text(7),
        State = row.Long(8),
    };

    /// <summary>The runs with their latest metrics, parameters, tags and inputs, in the order given.</summary>
    public static async Task<IReadOnlyList<Run>> FillAsync(Session session, bool postgres, IReadOnlyList<RunHead> heads)
    {
        var parts = heads.Select(_ => new Parts()).ToArray();
        await EachAsync(session, postgres, heads, parts, "SELECT run_id, key, value, is_nan, timestamp_ms, step FROM registry_latest_metrics", "key", static (row, p) =>
            p.Metrics.Add(new MetricPoint(row.Text(1), row.Long(3) == 1 ? double.NaN : row.Double(2), row.Long(4), row.Long(5))));
        await EachAsync(session, postgres, heads, parts, "SELECT run_id, key, value FROM registry_params", "key", static (row, p) => p.Params.Add(new Param(row.Text(1), row.Text(2))));
        await EachAsync(session, postgres, heads, parts, "SELECT run_id, key, value FROM registry_tags", "key", static (row, p) => p.Tags.Add(new Tag(row.Text(1), row.Text(2))));
        const string inputs = "SELECT i.run_id, i.context, i.tags, d.name, d.digest, d.source_type, d.source, d.schema, d.profile FROM registry_inputs i JOIN registry_datasets d ON d.id = i.dataset_id";
        await EachAsync(session, postgres, heads, parts, inputs, "position", static (row, p) => p.Inputs.Add(new DatasetInput(
            row.Text(3), row.Text(4), row.Text(5), row.Text(6), row.TextOrNull(7), row.TextOrNull(8), row.TextOrNull(1), JsonSerializer.Deserialize<Tag[]>(row.Text(2)))), rare: true);
        await EachAsync(session, postgres, heads, parts, "SELECT run_id, role, model_id, step FROM registry_run_models", "position", static (row, p) =>
            (row.Text(1) == LoggedModelRows.Output ? p.Outputs : p.Models).Add(new ModelLink(row.Text(2), row.Long(3))), rare: true);
        return heads.Select((h, i) => new Run(
            h.Id,
            h.ExperimentId.ToString(System.Globalization.CultureInfo.InvariantCulture),
            h.Name,
            h.UserId,
            h.Status,
            Time.FromMicros(h.StartedAt),
            h.EndedAt is { } end ? Time.FromMicros(end) : null,
            h.ArtifactUri,
            h.State != 0,
            parts[i].Metrics,
            parts[i].Params,
            parts[i].Tags,
            parts[i].Inputs)
        {
            ModelInputs = parts[i].Models,
            ModelOutputs = parts[i].Outputs,
        }).ToArray();
    }

    /// <summary>Reads rows of many runs: on SQLite run by run, which costs no round trip; on PostgreSQL, and where most runs have no row, in chunks.</summary>
    private static async Task EachAsync(Session session, bool postgres, IReadOnlyList<RunHead> heads, Parts[] parts, string select, string order, Action<Statement, Parts> read, bool rare = false)
    {
        if (!postgres && (!rare || heads.Count == 1))
        {
            using var one = session.Statement($"{select} WHERE run_id = $1 ORDER BY {order}");
            for (var i = 0; i < heads.Count; i++)
            {
                one.Bind(heads[i].Id);
                while (await one.NextAsync())
                {
                    read(one, parts[i]);
                }
            }

            return;
        }

        for (var from = 0; from < heads.Count; from += Chunk)
        {
            var places = new Dictionary<string, Parts>(StringComparer.Ordinal);
            for (var i = from; i < Math.Min(heads.Count, from + Chunk); i++)
            {
                places[heads[i].Id] = parts[i];
            }

            var among = postgres ? "= ANY($1::text[])" : "IN (SELECT value FROM json_each($1))";
            using var many = session.Statement($"{select} WHERE run_id {among} ORDER BY run_id, {order}");
            if (postgres)
            {
                many.Bind(places.Keys.ToArray());
            }
            else
            {
                many.Bind(JsonSerializer.Serialize(places.Keys));
            }

            while (await many.NextAsync())
            {
                read(many, places[many.Text(0)]);
            }
        }
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

    private sealed class Parts
    {
        public List<MetricPoint> Metrics { get; } = [];

        public List<Param> Params { get; } = [];

        public List<Tag> Tags { get; } = [];

        public List<DatasetInput> Inputs { get; } = [];

        public List<ModelLink> Models { get; } = [];

        public List<ModelLink> Outputs { get; } = [];
    }
}
