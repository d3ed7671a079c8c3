using System.Text;
using System.Text.Json;

namespace Slipway.Pipelines;

/// <summary>A run as the table keeps it.</summary>
internal sealed class RunRow
{
    public const string Columns = "id AS Id, pipeline AS Pipeline, version AS Version, spec AS Spec, state AS State, cause_key AS CauseKey, causes AS Causes, trigger_name AS TriggerName, started_by AS StartedBy, authors AS Authors, created_us AS CreatedUs, finished_us AS FinishedUs, cancel_us AS CancelUs, cancelled_by AS CancelledBy, model_version AS ModelVersion, error AS Error";

    public string Id { get; set; } = "";

    public string Pipeline { get; set; } = "";

    public long Version { get; set; }

    public string Spec { get; set; } = "";

    public string State { get; set; } = "";

    public string? CauseKey { get; set; }

    public string Causes { get; set; } = "";

    public string? TriggerName { get; set; }

    public string StartedBy { get; set; } = "";

    public string Authors { get; set; } = "";

    public long CreatedUs { get; set; }

    public long? FinishedUs { get; set; }

    public long? CancelUs { get; set; }

    public string? CancelledBy { get; set; }

    public string? ModelVersion { get; set; }

    public string? Error { get; set; }

    public PipelineRun Read() => new(
        Id, Pipeline, (int)Version, FromJson<PipelineSpec>(Spec), Enum.Parse<PipelineState>(State), [.. FromJson<string[]>(Causes).Select(Subject.Parse)], TriggerName, StartedBy,
        FromJson<string[]>(Authors), Time.FromMicros(CreatedUs), FinishedUs is { } at ? Time.FromMicros(at) : null, CancelledBy, ModelVersion, Error)
    {
        Key = CauseKey,
    };

    public static Task<RunRow?> FindAsync(Session session, string id) =>
        session.FindAsync<RunRow>($"SELECT {Columns} FROM pipelines_runs WHERE id = @id", new { id });

    public static Task<RunRow?> FindByKeyAsync(Session session, string key) =>
        session.FindAsync<RunRow>($"SELECT {Columns} FROM pipelines_runs WHERE cause_key = @key", new { key });

    public static string ToJson(object value) => Encoding.UTF8.GetString(CanonicalJson.Serialize(value));

    public static T FromJson<T>(string text) => JsonSerializer.Deserialize<T>(text, CanonicalJson.Options)
        ?? throw new SlipwayException(ErrorCode.DataLoss, "a pipeline run cannot be read", "a field of its row is null");
}

/// <summary>A step as the table keeps it.</summary>
internal sealed class StepRow
{
    public const string Columns = "run AS Run, ordinal AS Ordinal, name AS Name, kind AS Kind, state AS State, attempt AS Attempt, owner AS Owner, beat_us AS BeatUs, started_us AS StartedUs, finished_us AS FinishedUs, done AS Done, total AS Total, progress AS Progress, output AS Output, error AS Error";

    public string Run { get; set; } = "";

    public long Ordinal { get; set; }

    public string Name { get; set; } = "";

    public string Kind { get; set; } = "";

    public string State { get; set; } = "";

    public long Attempt { get; set; }

    public string? Owner { get; set; }

    public long? BeatUs { get; set; }

    public long? StartedUs { get; set; }

    public long? FinishedUs { get; set; }

    public long? Done { get; set; }

    public long? Total { get; set; }

    public string? Progress { get; set; }

    public string? Output { get; set; }

    public string? Error { get; set; }

    public StepState Stands => Enum.Parse<StepState>(State);

    public PipelineStep Read() => new(
        Run, (int)Ordinal, Name, Kind, Stands, (int)Attempt, At(StartedUs), At(FinishedUs), Done, Total, Progress, Output is null ? null : RunRow.FromJson<StepOutput>(Output), Error);

    public static Task<IReadOnlyList<StepRow>> OfAsync(Session session, string run) =>
        session.QueryAsync<StepRow>($"SELECT {Columns} FROM pipelines_steps WHERE run = @run ORDER BY ordinal", new { run });

    private static DateTimeOffset? At(long? micros) => micros is { } m ? Time.FromMicros(m) : null;
}
