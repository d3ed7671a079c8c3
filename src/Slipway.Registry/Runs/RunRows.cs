using System.Text.Json;

namespace Slipway.Registry;

/// <summary>Reads runs and what they logged: those that the cache knows under their revision cost nothing, the others few statements together.</summary>
internal static class RunRows
{
    public const string Columns = "r.id, r.experiment_id, r.name, r.user_id, r.status, r.started_at, r.ended_at, r.artifact_uri, r.state";
    private const int Chunk = 500;

    /// <summary>Everything of many runs at once; the first column says what a row is. Rows of runs come first.</summary>
    private const string Whole = """
        SELECT 0, r.id, r.name, r.user_id, r.status, r.artifact_uri, NULL::text, NULL::text, NULL::text, NULL::text, NULL::double precision, r.experiment_id, r.started_at, r.ended_at, r.state, r.rev FROM registry_runs r WHERE r.id = ANY($1::text[])
        UNION ALL SELECT 1, run_id, key, NULL, NULL, NULL, NULL, NULL, NULL, NULL, value, timestamp_ms, step, is_nan, NULL, NULL FROM registry_latest_metrics WHERE run_id = ANY($1::text[])
        UNION ALL SELECT 2, run_id, key, value, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM registry_params WHERE run_id = ANY($1::text[])
        UNION ALL SELECT 3, run_id, key, value, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM registry_tags WHERE run_id = ANY($1::text[])
        UNION ALL SELECT 4, i.run_id, d.name, d.digest, d.source_type, d.source, d.schema, d.profile, i.context, i.tags, NULL, i.position, NULL, NULL, NULL, NULL FROM registry_inputs i JOIN registry_datasets d ON d.id = i.dataset_id WHERE i.run_id = ANY($1::text[])
        UNION ALL SELECT 5, run_id, role, model_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, position, step, NULL, NULL, NULL FROM registry_run_models WHERE run_id = ANY($1::text[])
        """;

    /// <summary>What a run is, or that its points have to be folded before it can be read; null for one that is missing.</summary>
    public static async Task<IReadOnlyList<Found?>> FindAsync(Session session, bool postgres, RunCache cache, IReadOnlyList<string> ids)
    {
        using var find = session.Statement(
            $"SELECT r.id, r.rev, CASE WHEN EXISTS (SELECT 1 FROM registry_points p WHERE p.experiment_id = r.experiment_id AND p.run_id = r.id) THEN r.experiment_id ELSE -1 END FROM registry_runs r WHERE r.id {(postgres ? "= ANY($1::text[])" : "= $1")}");
        var heads = new List<(string Id, long Revision)>(ids.Count);
        var found = new Dictionary<string, Found>(ids.Count, StringComparer.Ordinal);
        for (var i = 0; i < (postgres ? 1 : ids.Count); i++)
        {
            _ = postgres ? find.Bind(ids.ToArray()) : find.Bind(ids[i]);
            while (await find.NextAsync())
            {
                if (find.Long(2) >= 0)
                {
                    found[find.Text(0)] = new Found(null, find.Long(2));
                }
                else
                {
                    heads.Add((find.Text(0), find.Long(1)));
                }
            }
        }

        foreach (var run in await ReadAsync(session, postgres, cache, heads))
        {
            found[run.Id] = new Found(run, -1);
        }

        return [.. ids.Select(found.GetValueOrDefault)];
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

    /// <summary>The runs with their latest metrics, parameters, tags and inputs, in the order given; one that is gone meanwhile is left out.</summary>
    public static async Task<IReadOnlyList<Run>> ReadAsync(Session session, bool postgres, RunCache cache, IReadOnlyList<(string Id, long Revision)> wanted)
    {
        var runs = new Run?[wanted.Count];
        var missing = new Dictionary<string, int>(StringComparer.Ordinal);
        for (var i = 0; i < runs.Length; i++)
        {
            runs[i] = cache.Find(wanted[i].Id, wanted[i].Revision);
            if (runs[i] is null)
            {
                missing[wanted[i].Id] = i;
            }
        }

        foreach (var ids in missing.Keys.Chunk(Chunk))
        {
            foreach (var (id, parts) in await (postgres ? WholeAsync(session, ids) : ByTableAsync(session, ids)))
            {
                var run = parts.ToRun();
                cache.Keep(parts.Revision, run);
                runs[missing[id]] = run;
            }
        }

        return [.. runs.OfType<Run>()];
    }

    private static async Task<Dictionary<string, Parts>> WholeAsync(Session session, string[] ids)
    {
        var found = new Dictionary<string, Parts>(ids.Length, StringComparer.Ordinal);
        using var row = session.Statement(Whole).Bind(ids);
        while (await row.NextAsync())
        {
            var (kind, id) = (row.Long(0), row.Text(1));
            if (kind == 0)
            {
                var head = new RunHead
                {
                    Id = id,
                    Name = row.Text(2),
                    UserId = row.Text(3),
                    Status = Status(row.Text(4)),
                    ArtifactUri = row.Text(5),
                    ExperimentId = row.Long(11),
                    StartedAt = row.Long(12),
                    EndedAt = row.IsNull(13) ? null : row.Long(13),
                    State = row.Long(14),
                };
                found.Add(id, new Parts(head, row.Long(15)));
            }
            else if (found.TryGetValue(id, out var parts))
            {
                switch (kind)
                {
                    case 1:
                        parts.Metrics.Add(new MetricPoint(row.Text(2), row.Long(13) == 1 ? double.NaN : row.Double(10), row.Long(11), row.Long(12)));
                        break;
                    case 2:
                        parts.Params.Add(new Param(row.Text(2), row.Text(3)));
                        break;
                    case 3:
                        parts.Tags.Add(new Tag(row.Text(2), row.Text(3)));
                        break;
                    case 4:
                        parts.Inputs.Add((row.Long(11), new DatasetInput(row.Text(2), row.Text(3), row.Text(4), row.Text(5), row.TextOrNull(6), row.TextOrNull(7), row.TextOrNull(8), JsonSerializer.Deserialize<Tag[]>(row.Text(9)))));
                        break;
                    default:
                        parts.Models.Add((row.Long(11), row.Text(2), new ModelLink(row.Text(3), row.Long(12))));
                        break;
                }
            }
        }

        return found;
    }

    /// <summary>On SQLite a look-up costs no round trip; only what most runs do not have is read for all of them at once.</summary>
    private static async Task<Dictionary<string, Parts>> ByTableAsync(Session session, string[] ids)
    {
        var found = new Dictionary<string, Parts>(ids.Length, StringComparer.Ordinal);
        using (var head = session.Statement($"SELECT {Columns}, r.rev FROM registry_runs r WHERE r.id = $1"))
        {
            foreach (var id in ids)
            {
                head.Bind(id);
                while (await head.NextAsync())
                {
                    found.Add(id, new Parts(Read(head), head.Long(9)));
                }
            }
        }

        await EachAsync("SELECT key, value, is_nan, timestamp_ms, step FROM registry_latest_metrics WHERE run_id = $1", static (row, p) =>
            p.Metrics.Add(new MetricPoint(row.Text(0), row.Long(2) == 1 ? double.NaN : row.Double(1), row.Long(3), row.Long(4))));
        await EachAsync("SELECT key, value FROM registry_params WHERE run_id = $1", static (row, p) => p.Params.Add(new Param(row.Text(0), row.Text(1))));
        await EachAsync("SELECT key, value FROM registry_tags WHERE run_id = $1", static (row, p) => p.Tags.Add(new Tag(row.Text(0), row.Text(1))));
        var all = JsonSerializer.Serialize(ids);
        using (var input = session.Statement(
            "SELECT i.run_id, i.context, i.tags, d.name, d.digest, d.source_type, d.source, d.schema, d.profile, i.position FROM registry_inputs i JOIN registry_datasets d ON d.id = i.dataset_id WHERE i.run_id IN (SELECT value FROM json_each($1))").Bind(all))
        {
            while (await input.NextAsync())
            {
                found[input.Text(0)].Inputs.Add((input.Long(9), new DatasetInput(
                    input.Text(3), input.Text(4), input.Text(5), input.Text(6), input.TextOrNull(7), input.TextOrNull(8), input.TextOrNull(1), JsonSerializer.Deserialize<Tag[]>(input.Text(2)))));
            }
        }

        using var model = session.Statement("SELECT run_id, role, model_id, step, position FROM registry_run_models WHERE run_id IN (SELECT value FROM json_each($1))").Bind(all);
        while (await model.NextAsync())
        {
            found[model.Text(0)].Models.Add((model.Long(4), model.Text(1), new ModelLink(model.Text(2), model.Long(3))));
        }

        return found;

        async Task EachAsync(string sql, Action<Statement, Parts> read)
        {
            using var one = session.Statement(sql);
            foreach (var (id, parts) in found)
            {
                one.Bind(id);
                while (await one.NextAsync())
                {
                    read(one, parts);
                }
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

    /// <summary>A run, or the experiment of one whose points have to be folded first.</summary>
    internal sealed record Found(Run? Run, long Unfolded);

    private sealed class Parts(RunHead head, long revision)
    {
        public long Revision { get; } = revision;

        public List<MetricPoint> Metrics { get; } = [];

        public List<Param> Params { get; } = [];

        public List<Tag> Tags { get; } = [];

        public List<(long Position, DatasetInput Input)> Inputs { get; } = [];

        public List<(long Position, string Role, ModelLink Link)> Models { get; } = [];

        public Run ToRun()
        {
            Metrics.Sort(static (a, b) => string.CompareOrdinal(a.Key, b.Key));
            Params.Sort(static (a, b) => string.CompareOrdinal(a.Key, b.Key));
            Tags.Sort(static (a, b) => string.CompareOrdinal(a.Key, b.Key));
            return new Run(
                head.Id,
                head.ExperimentId.ToString(System.Globalization.CultureInfo.InvariantCulture),
                head.Name,
                head.UserId,
                head.Status,
                Time.FromMicros(head.StartedAt),
                head.EndedAt is { } end ? Time.FromMicros(end) : null,
                head.ArtifactUri,
                head.State != 0,
                Metrics,
                Params,
                Tags,
                Inputs.Count == 0 ? [] : [.. Inputs.OrderBy(i => i.Position).Select(i => i.Input)])
            {
                ModelInputs = Links(output: false),
                ModelOutputs = Links(output: true),
            };
        }

        private IReadOnlyList<ModelLink> Links(bool output) =>
            Models.Count == 0 ? [] : [.. Models.Where(m => m.Role == LoggedModelRows.Output == output).OrderBy(m => m.Position).Select(m => m.Link)];
    }
}
