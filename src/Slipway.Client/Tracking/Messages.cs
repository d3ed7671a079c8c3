using System.Text.Json.Serialization;

namespace Slipway.Client;

/// <summary>How a run stands.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<RunState>))]
public enum RunState
{
    [JsonStringEnumMemberName("RUNNING")]
    Running = 1,
    [JsonStringEnumMemberName("SCHEDULED")]
    Scheduled = 2,
    [JsonStringEnumMemberName("FINISHED")]
    Finished = 3,
    [JsonStringEnumMemberName("FAILED")]
    Failed = 4,
    [JsonStringEnumMemberName("KILLED")]
    Killed = 5,
}

/// <summary>A run as the server keeps it.</summary>
/// <param name="Id">Its id.</param>
/// <param name="Name">Its name; not unique.</param>
/// <param name="ExperimentId">The experiment's id.</param>
/// <param name="State">How it stands.</param>
/// <param name="Deleted">Whether it lies in the trash.</param>
/// <param name="StartedAt">When it began.</param>
/// <param name="EndedAt">When it ended; null while it runs.</param>
/// <param name="ArtifactUri">Where its files lie.</param>
/// <param name="Metrics">The latest value of each metric.</param>
/// <param name="Params">Its parameters.</param>
/// <param name="Tags">Its tags.</param>
public sealed record TrackedRun(
    string Id, string Name, string ExperimentId, RunState State, bool Deleted, DateTimeOffset StartedAt, DateTimeOffset? EndedAt, string ArtifactUri,
    IReadOnlyDictionary<string, double> Metrics, IReadOnlyDictionary<string, string> Params, IReadOnlyDictionary<string, string> Tags);

/// <summary>One value of a metric.</summary>
/// <param name="Value">The value; NaN and infinities are allowed.</param>
/// <param name="Step">The training step.</param>
/// <param name="At">When it was logged.</param>
public sealed record MetricValue(double Value, long Step, DateTimeOffset At);

/// <summary>A file or folder of a run.</summary>
/// <param name="Path">Relative to the run's root.</param>
/// <param name="IsFolder">True for a folder.</param>
/// <param name="Size">Bytes; null for a folder.</param>
public sealed record TrackedFile(string Path, bool IsFolder, long? Size);

/// <summary>A version of a registered model.</summary>
/// <param name="Model">The model's name.</param>
/// <param name="Version">Its number, from 1 on.</param>
/// <param name="RunId">The run that made it.</param>
/// <param name="Source">Where its files lie.</param>
public sealed record RegisteredVersion(string Model, int Version, string? RunId, string Source);

/// <summary>Data that a run read. Two runs read the same data when name and digest are equal.</summary>
/// <param name="Name">Up to 500 characters.</param>
/// <param name="Digest">A fingerprint of the content, up to 36 characters.</param>
/// <param name="Source">Where it came from, a path or an address.</param>
/// <param name="SourceType">What kind of place that is, for example <c>local</c> or <c>http</c>.</param>
/// <param name="Schema">Its columns, as JSON.</param>
/// <param name="Profile">Its statistics, as JSON.</param>
public sealed record TrackedData(string Name, string Digest, string Source, string SourceType = "local", string? Schema = null, string? Profile = null)
{
    /// <summary>A file, whose digest is half of its SHA-256.</summary>
    public static async Task<TrackedData> OfFileAsync(string file, CancellationToken ct = default)
    {
        await using var content = File.OpenRead(file);
        var hash = await System.Security.Cryptography.SHA256.HashDataAsync(content, ct);
        return new TrackedData(Path.GetFileNameWithoutExtension(file), Convert.ToHexStringLower(hash.AsSpan(0, 16)), Path.GetFullPath(file));
    }
}

internal sealed record ErrorMessage([property: JsonPropertyName("error_code")] string? Code, string? Message);

internal sealed record KeyValue(string Key, string Value);

internal sealed record MetricMessage(string Key, double Value, long Timestamp, long Step);

internal sealed record RunInfoMessage(
    string RunId, string? RunName, string ExperimentId, string Status, long StartTime, long? EndTime, string ArtifactUri, string LifecycleStage);

internal sealed record RunDataMessage(IReadOnlyList<MetricMessage>? Metrics, IReadOnlyList<KeyValue>? Params, IReadOnlyList<KeyValue>? Tags);

internal sealed record RunMessage(RunInfoMessage Info, RunDataMessage? Data)
{
    public TrackedRun Read() => new(
        Info.RunId,
        Info.RunName ?? "",
        Info.ExperimentId,
        Enum.TryParse<RunState>(Info.Status, ignoreCase: true, out var state) ? state : RunState.Running,
        Info.LifecycleStage == "deleted",
        DateTimeOffset.FromUnixTimeMilliseconds(Info.StartTime),
        Info.EndTime is > 0 and { } end ? DateTimeOffset.FromUnixTimeMilliseconds(end) : null,
        Info.ArtifactUri,
        (Data?.Metrics ?? []).ToDictionary(m => m.Key, m => m.Value, StringComparer.Ordinal),
        (Data?.Params ?? []).ToDictionary(p => p.Key, p => p.Value, StringComparer.Ordinal),
        (Data?.Tags ?? []).ToDictionary(t => t.Key, t => t.Value, StringComparer.Ordinal));
}

internal sealed record RunAnswer(RunMessage Run);

internal sealed record RunsAnswer(IReadOnlyList<RunMessage>? Runs, string? NextPageToken);

internal sealed record ExperimentMessage(string ExperimentId, string Name, string LifecycleStage);

internal sealed record ExperimentAnswer(ExperimentMessage Experiment);

internal sealed record CreatedAnswer(string ExperimentId);

internal sealed record HistoryAnswer(IReadOnlyList<MetricMessage>? Metrics, string? NextPageToken);

internal sealed record FileMessage(string Path, bool IsDir, long? FileSize);

internal sealed record FilesAnswer(IReadOnlyList<FileMessage>? Files, string? NextPageToken);

internal sealed record VersionMessage(string Name, string Version, string? RunId, string? Source, string? Status, string? StatusMessage)
{
    public RegisteredVersion Read() => new(Name, int.Parse(Version, System.Globalization.CultureInfo.InvariantCulture), RunId, Source ?? "");
}

internal sealed record VersionAnswer(VersionMessage ModelVersion);

internal sealed record UriAnswer(string ArtifactUri);
