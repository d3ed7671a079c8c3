using System.Buffers;
using System.Collections.Concurrent;
using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text.Encodings.Web;
using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Slipway.Foundation;
using Slipway.Registry;

namespace Slipway.Server.Mlflow;

/// <summary>Writes the protocol's messages: absent fields and empty lists are left out, empty messages are kept, NaN is a string.</summary>
internal static class MlflowJson
{
    private const int LargestKept = 1024 * 1024;
    private static readonly JsonWriterOptions Options = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, SkipValidation = true };
    private static readonly ConcurrentBag<Pad> Pads = [];
    private static readonly byte[] Empty = "{}"u8.ToArray();
    private static readonly ConditionalWeakTable<Run, byte[]> Known = [];

    /// <summary>Sends one JSON object.</summary>
    public static async Task SendAsync(HttpContext http, int status, Action<Utf8JsonWriter> write)
    {
        var pad = Pads.TryTake(out var kept) ? kept : new Pad();
        pad.Json.WriteStartObject();
        write(pad.Json);
        pad.Json.WriteEndObject();
        pad.Json.Flush();
        http.Response.StatusCode = status;
        http.Response.ContentType = "application/json";
        http.Response.ContentLength = pad.Buffer.WrittenCount;
        await http.Response.Body.WriteAsync(pad.Buffer.WrittenMemory, http.RequestAborted);
        if (pad.Buffer.Capacity <= LargestKept && Pads.Count < 64)
        {
            pad.Buffer.ResetWrittenCount();
            pad.Json.Reset();
            Pads.Add(pad);
        }
    }

    /// <summary>Sends the empty object.</summary>
    public static Task SendEmptyAsync(HttpContext http)
    {
        http.Response.ContentType = "application/json";
        http.Response.ContentLength = Empty.Length;
        return http.Response.Body.WriteAsync(Empty, http.RequestAborted).AsTask();
    }

    public static Task SendErrorAsync(HttpContext http, int status, string code, string message) => SendAsync(http, status, json =>
    {
        json.WriteString("error_code", code);
        json.WriteString("message", message);
    });

    public static void Double(Utf8JsonWriter json, string name, double value)
    {
        if (double.IsFinite(value))
        {
            json.WriteNumber(name, value);
        }
        else
        {
            json.WriteString(name, double.IsNaN(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity");
        }
    }

    public static void Millis(Utf8JsonWriter json, string name, DateTimeOffset at) => json.WriteNumber(name, at.ToUnixTimeMilliseconds());

    public static void List<T>(Utf8JsonWriter json, string name, IReadOnlyCollection<T> items, Action<Utf8JsonWriter, T> write)
    {
        if (items.Count == 0)
        {
            return;
        }

        json.WriteStartArray(name);
        foreach (var item in items)
        {
            json.WriteStartObject();
            write(json, item);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    public static void Page<T>(Utf8JsonWriter json, string name, Page<T> page, Action<Utf8JsonWriter, T> write)
    {
        List(json, name, page.Items, write);
        if (page.NextToken is not null)
        {
            json.WriteString("next_page_token", page.NextToken);
        }
    }

    public static void Tag(Utf8JsonWriter json, Tag tag) => Pair(json, tag.Key, tag.Value);

    public static void Experiment(Utf8JsonWriter json, Experiment experiment)
    {
        json.WriteString("experiment_id", experiment.Id);
        json.WriteString("name", experiment.Name);
        json.WriteString("artifact_location", experiment.ArtifactLocation);
        json.WriteString("lifecycle_stage", Stage(experiment.Deleted));
        Millis(json, "last_update_time", experiment.UpdatedAt);
        Millis(json, "creation_time", experiment.CreatedAt);
        List(json, "tags", experiment.Tags, Tag);
    }

    /// <summary>Writes a run as an object. The registry gives the same value again while a run does not change, and then its text is the same too.</summary>
    public static void KnownRun(Utf8JsonWriter json, Run run) => json.WriteRawValue(Known.GetValue(run, Text), skipInputValidation: true);

    private static byte[] Text(Run run)
    {
        var buffer = new ArrayBufferWriter<byte>(1024);
        using var json = new Utf8JsonWriter(buffer, Options);
        json.WriteStartObject();
        Run(json, run);
        json.WriteEndObject();
        json.Flush();
        return buffer.WrittenSpan.ToArray();
    }

    public static void Run(Utf8JsonWriter json, Run run)
    {
        json.WriteStartObject("info");
        RunInfo(json, run);
        json.WriteEndObject();
        json.WriteStartObject("data");
        List(json, "metrics", run.Metrics, Metric);
        List(json, "params", run.Params, static (j, p) => Pair(j, p.Key, p.Value));
        List(json, "tags", run.Tags, Tag);
        json.WriteEndObject();
        json.WriteStartObject("inputs");
        List(json, "dataset_inputs", run.Inputs, Input);
        List(json, "model_inputs", run.ModelInputs, static (j, m) => j.WriteString("model_id", m.ModelId));
        json.WriteEndObject();
        json.WriteStartObject("outputs");
        List(json, "model_outputs", run.ModelOutputs, static (j, m) =>
        {
            j.WriteString("model_id", m.ModelId);
            j.WriteNumber("step", m.Step);
        });
        json.WriteEndObject();
    }

    public static void RunInfo(Utf8JsonWriter json, Run run)
    {
        json.WriteString("run_id", run.Id);
        json.WriteString("run_uuid", run.Id);
        json.WriteString("run_name", run.Name);
        json.WriteString("experiment_id", run.ExperimentId);
        json.WriteString("user_id", run.UserId);
        json.WriteString("status", Status(run.Status));
        Millis(json, "start_time", run.StartedAt);
        if (run.EndedAt is { } end)
        {
            Millis(json, "end_time", end);
        }

        json.WriteString("artifact_uri", run.ArtifactUri);
        json.WriteString("lifecycle_stage", Stage(run.Deleted));
    }

    public static void Metric(Utf8JsonWriter json, MetricPoint point)
    {
        json.WriteString("key", point.Key);
        Double(json, "value", point.Value);
        json.WriteNumber("timestamp", point.TimestampMs);
        json.WriteNumber("step", point.Step);
    }

    public static void Model(Utf8JsonWriter json, Model model, bool whole)
    {
        json.WriteString("name", model.Name);
        Millis(json, "creation_timestamp", model.CreatedAt);
        Millis(json, "last_updated_timestamp", model.UpdatedAt);
        json.WriteString("user_id", model.CreatedBy);
        json.WriteString("description", model.Description ?? "");
        List(json, "latest_versions", model.Latest, (j, v) => Version(j, v, whole));
        List(json, "tags", model.Tags, Tag);
        List(json, "aliases", model.Aliases, static (j, a) =>
        {
            j.WriteString("alias", a.Alias);
            j.WriteString("version", Text(a.Version));
        });
    }

    /// <param name="json">The writer.</param>
    /// <param name="version">The version.</param>
    /// <param name="whole">False leaves tags and aliases out, as in the lists inside a model.</param>
    public static void Version(Utf8JsonWriter json, ModelVersion version, bool whole)
    {
        json.WriteString("name", version.Name);
        json.WriteString("version", Text(version.Version));
        Millis(json, "creation_timestamp", version.CreatedAt);
        Millis(json, "last_updated_timestamp", version.UpdatedAt);
        json.WriteString("user_id", version.CreatedBy);
        json.WriteString("current_stage", version.Stage);
        json.WriteString("description", version.Description ?? "");
        json.WriteString("source", version.Source);
        json.WriteString("run_id", version.RunId ?? "");
        json.WriteString("status", version.Status);
        json.WriteString("run_link", version.RunLink);
        if (version.LoggedModelId is { } id)
        {
            json.WriteString("model_id", id);
        }

        if (!whole)
        {
            return;
        }

        List(json, "tags", version.Tags, static (j, t) => Pair(j, t.Key, t.Value));
        if (version.Aliases.Count > 0)
        {
            json.WriteStartArray("aliases");
            foreach (var alias in version.Aliases)
            {
                json.WriteStringValue(alias);
            }

            json.WriteEndArray();
        }
    }

    public static void File(Utf8JsonWriter json, ArtifactInfo file)
    {
        json.WriteString("path", file.Path);
        // Clients index it without a default, so false is written too.
        json.WriteBoolean("is_dir", file.IsDir);
        if (file.Size is { } size)
        {
            json.WriteNumber("file_size", size);
        }
    }

    public static string Text(long value) => value.ToString(CultureInfo.InvariantCulture);

    private static void Input(Utf8JsonWriter json, DatasetInput input)
    {
        IEnumerable<Tag> tags = input.Tags ?? [];
        List(json, "tags", (input.Context is null ? tags : tags.Prepend(new Tag(RunsApi.ContextTag, input.Context))).ToList(), Tag);
        json.WriteStartObject("dataset");
        json.WriteString("name", input.Name);
        json.WriteString("digest", input.Digest);
        json.WriteString("source_type", input.SourceType);
        json.WriteString("source", input.Source);
        if (input.Schema is not null)
        {
            json.WriteString("schema", input.Schema);
        }

        if (input.Profile is not null)
        {
            json.WriteString("profile", input.Profile);
        }

        json.WriteEndObject();
    }

    private static void Pair(Utf8JsonWriter json, string key, string value)
    {
        json.WriteString("key", key);
        json.WriteString("value", value);
    }

    private static string Stage(bool deleted) => deleted ? "deleted" : "active";

    private static string Status(RunStatus status) => status switch
    {
        RunStatus.Running => "RUNNING",
        RunStatus.Scheduled => "SCHEDULED",
        RunStatus.Finished => "FINISHED",
        RunStatus.Failed => "FAILED",
        _ => "KILLED",
    };

    /// <summary>A writer and its memory, used again and again.</summary>
    private sealed class Pad
    {
        public Pad() => Json = new Utf8JsonWriter(Buffer, Options);

        public ArrayBufferWriter<byte> Buffer { get; } = new(4096);

        public Utf8JsonWriter Json { get; }
    }
}
