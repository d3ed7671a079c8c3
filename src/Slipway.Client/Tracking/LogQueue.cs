using System.Buffers;
using System.Text.Json;
using System.Threading.Channels;

namespace Slipway.Client;

/// <summary>
/// What a run logs, sent in the background in the order in which it was logged, at most 1,000 values in a call. Memory is
/// bounded: who logs faster than the server takes waits. The first call that fails for good stops the queue; whoever logs
/// or flushes after that gets its exception, and nothing is lost silently.
/// </summary>
internal sealed class LogQueue : IAsyncDisposable
{
    private const int MostValues = 1000;
    private const int MostWords = 100;
    private static readonly TimeSpan Slice = TimeSpan.FromMilliseconds(10);
    private readonly Channel<Entry> channel;
    private readonly TrackingWire wire;
    private readonly TrackingOptions options;
    private readonly string runId;
    private readonly Task sender;
    private volatile SlipwayClientException? failure;
    private int flushing;

    public LogQueue(TrackingWire wire, TrackingOptions options, string runId)
    {
        (this.wire, this.options, this.runId) = (wire, options, runId);
        channel = Channel.CreateBounded<Entry>(new BoundedChannelOptions(options.Capacity) { SingleReader = true });
        sender = Task.Run(SendAsync);
    }

    public enum Kind : byte
    {
        Metric,
        Param,
        Tag,
        Flush,
    }

    /// <summary>Queues a value; waits only when the queue is full.</summary>
    public void Add(in Entry entry)
    {
        if (failure is { } failed)
        {
            throw Again(failed);
        }

        if (!channel.Writer.TryWrite(entry))
        {
            AddWhenThereIsRoom(entry);
        }
    }

    /// <summary>Completes when everything that was queued before is with the server.</summary>
    public async Task FlushAsync(CancellationToken ct)
    {
        var done = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        Interlocked.Increment(ref flushing);
        try
        {
            await channel.Writer.WriteAsync(new Entry(Kind.Flush, "", 0, null, 0, 0, done), ct);
            await done.Task.WaitAsync(ct);
        }
        catch (ChannelClosedException) when (failure is { } failed)
        {
            throw Again(failed);
        }
        finally
        {
            Interlocked.Decrement(ref flushing);
        }
    }

    public async ValueTask DisposeAsync()
    {
        channel.Writer.TryComplete();
        await sender;
    }

    private void AddWhenThereIsRoom(Entry entry)
    {
        try
        {
            // The caller is a training loop without a synchronisation context: it waits here for the server, as it must.
            channel.Writer.WriteAsync(entry).AsTask().GetAwaiter().GetResult();
        }
        catch (ChannelClosedException e)
        {
            throw failure is { } failed ? Again(failed) : new SlipwayClientException("conflict", "nothing can be logged", "the run has ended", inner: e);
        }
    }

    private async Task SendAsync()
    {
        var batch = new Batch(runId);
        TaskCompletionSource? flushed = null;
        try
        {
            while (await channel.Reader.WaitToReadAsync())
            {
                var due = options.Clock.GetTimestamp();
                while (channel.Reader.Count < MostValues && Volatile.Read(ref flushing) == 0 && !channel.Reader.Completion.IsCompleted && options.Clock.GetElapsedTime(due) < options.FlushEvery)
                {
                    await Task.Delay(Slice, options.Clock);
                }

                flushed = null;
                while (flushed is null && !batch.IsFull && channel.Reader.TryRead(out var entry))
                {
                    flushed = entry.Flushed;
                    batch.Add(entry);
                }

                if (!batch.IsEmpty)
                {
                    await wire.PostAsync("runs/log-batch", batch.Close(), CancellationToken.None);
                    batch.Clear();
                }

                flushed?.TrySetResult();
            }
        }
        catch (SlipwayClientException e)
        {
            Fail(e, flushed);
        }
        catch (Exception e)
        {
            Fail(new SlipwayClientException("internal", "logged values cannot be sent", e.Message, inner: e), flushed);
        }
    }

    private void Fail(SlipwayClientException e, TaskCompletionSource? flushed)
    {
        failure = e;
        channel.Writer.TryComplete();
        flushed?.TrySetException(Again(e));
        while (channel.Reader.TryRead(out var entry))
        {
            entry.Flushed?.TrySetException(Again(e));
        }
    }

    /// <summary>The same refusal with the stack of who hears it now.</summary>
    private static SlipwayClientException Again(SlipwayClientException e) =>
        new(e.Code, $"logged values were not stored: {e.Message}", e.Why, e.Next, e.Request, e.Status, e);

    public readonly record struct Entry(Kind Kind, string Key, double Value, string? Text, long Timestamp, long Step, TaskCompletionSource? Flushed = null);

    /// <summary>The body of one log-batch.</summary>
    private sealed class Batch(string runId)
    {
        private static readonly JsonEncodedText Key = JsonEncodedText.Encode("key");
        private static readonly JsonEncodedText Value = JsonEncodedText.Encode("value");
        private static readonly JsonEncodedText Timestamp = JsonEncodedText.Encode("timestamp");
        private static readonly JsonEncodedText Step = JsonEncodedText.Encode("step");
        private readonly ArrayBufferWriter<byte> body = new(1 << 16);
        private readonly List<Entry> metrics = new(MostValues);
        private readonly List<Entry> parameters = [];
        private readonly List<Entry> tags = [];

        public bool IsEmpty => metrics.Count + parameters.Count + tags.Count == 0;

        public bool IsFull => metrics.Count + parameters.Count + tags.Count == MostValues || parameters.Count == MostWords || tags.Count == MostWords;

        public void Add(in Entry entry)
        {
            switch (entry.Kind)
            {
                case Kind.Metric:
                    metrics.Add(entry);
                    break;
                case Kind.Param:
                    // The same parameter twice in one call is refused, even with the same value.
                    if (!parameters.Contains(entry))
                    {
                        parameters.Add(entry);
                    }

                    break;
                case Kind.Tag:
                    tags.Add(entry);
                    break;
                default:
                    break;
            }
        }

        public ReadOnlyMemory<byte> Close()
        {
            body.ResetWrittenCount();
            using (var json = new Utf8JsonWriter(body))
            {
                json.WriteStartObject();
                json.WriteString("run_id", runId);
                json.WriteStartArray("metrics");
                foreach (var metric in metrics)
                {
                    json.WriteStartObject();
                    json.WriteString(Key, metric.Key);
                    if (double.IsFinite(metric.Value))
                    {
                        json.WriteNumber(Value, metric.Value);
                    }
                    else
                    {
                        json.WriteString(Value, double.IsNaN(metric.Value) ? "NaN" : metric.Value > 0 ? "Infinity" : "-Infinity");
                    }

                    json.WriteNumber(Timestamp, metric.Timestamp);
                    json.WriteNumber(Step, metric.Step);
                    json.WriteEndObject();
                }

                json.WriteEndArray();
                Words(json, "params", parameters);
                Words(json, "tags", tags);
                json.WriteEndObject();
            }

            return body.WrittenMemory;
        }

        public void Clear()
        {
            metrics.Clear();
            parameters.Clear();
            tags.Clear();
        }

        private static void Words(Utf8JsonWriter json, string name, List<Entry> words)
        {
            json.WriteStartArray(name);
            foreach (var word in words)
            {
                json.WriteStartObject();
                json.WriteString(Key, word.Key);
                json.WriteString(Value, word.Text);
                json.WriteEndObject();
            }

            json.WriteEndArray();
        }
    }
}
