using System.Globalization;
using Microsoft.Extensions.Logging;
using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>
/// The append side of the prediction log: per-core buffers, one writer that commits them to the open segment every few
/// milliseconds and forces it to the disk at most each second, segments that roll by size and age. It knows no database.
/// </summary>
internal sealed partial class PredictionLog : IAsyncDisposable
{
    private const string BufferPattern = "buffer-*.ring";
    private static readonly TimeSpan LongestTakeOver = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan MarkInterval = TimeSpan.FromSeconds(1);

    private readonly string directory;
    private readonly MonitoringOptions options;
    private readonly TimeProvider clock;
    private readonly ILogger logger;
    private readonly FileStream folderLock;
    private readonly PredictionBuffer[] buffers;
    private readonly SemaphoreSlim writing = new(1, 1);
    private readonly SemaphoreSlim halfFull = new(0, 1);
    private readonly Lock sharing = new();
    private readonly CancellationTokenSource stop = new();
    private readonly Task writer;
    private readonly int largest;
    private PredictionSegment[] live = [];
    private PredictionSegment? open;
    private ulong lastGeneration;
    private readonly bool marks;
    private long syncedAt;
    private long markedAt;
    private long dropped;
    private long written;
    private bool dirty;
    private Task? shared;

    /// <summary>Takes the folder, cuts torn tails, replays the buffers of a process that died, and starts the writer.</summary>
    /// <param name="directory">The folder.</param>
    /// <param name="options">Sizes and intervals.</param>
    /// <param name="clock">The time.</param>
    /// <param name="logger">Where recovery and failures are told.</param>
    /// <param name="shared">Whether other nodes read the log: then it says up to when it can be read, and waits for a node that takes it over to end.</param>
    public PredictionLog(string directory, MonitoringOptions options, TimeProvider clock, ILogger<PredictionLog> logger, bool shared = false)
    {
        (this.directory, this.options, this.clock, this.logger, marks) = (directory, options, clock, logger, shared);
        Directory.CreateDirectory(directory);
        folderLock = Lock(directory, shared ? LongestTakeOver : TimeSpan.Zero);
        try
        {
            Recover();
            int cores = Math.Clamp(Environment.ProcessorCount, 1, 16);
            int capacity = Math.Max(64 * 1024, options.BufferBytes) / 128 * 128;
            buffers = Enumerable.Range(0, cores)
                .Select(i => new PredictionBuffer(Path.Combine(directory, $"buffer-{i:D2}.ring"), capacity, ++lastGeneration, Nudge))
                .ToArray();
            largest = Math.Min(options.LargestRecord, capacity / 2 - 64);
        }
        catch
        {
            folderLock.Dispose();
            throw;
        }

        syncedAt = clock.GetTimestamp();
        writer = Task.Run(WriteLoopAsync);
    }

    /// <summary>Raised when a segment is complete and waits to be compacted.</summary>
    public event Action? Rolled;

    public long Dropped => Interlocked.Read(ref dropped);

    public long Written => Interlocked.Read(ref written);

    /// <summary>Segments that are not compacted yet: the rolled ones and the open one.</summary>
    public IReadOnlyList<PredictionSegment> Live => Volatile.Read(ref live);

    public bool Append(in PredictionRecord record)
    {
        int size = PredictionFrame.SizeOf(record);
        if (size > 0 && size <= largest)
        {
            int first = Thread.GetCurrentProcessorId();
            bool busy = false;
            for (int i = 0; i < buffers.Length; i++)
            {
                switch (buffers[(uint)(first + i) % (uint)buffers.Length].TryAppend(record, size, wait: false))
                {
                    case AppendResult.Appended:
                        return true;
                    case AppendResult.Busy:
                        busy = true;
                        break;
                }
            }

            // Held locks are held for the copy of one record; only a buffer without room refuses.
            if (busy && buffers.Any(Waiting(record, size)))
            {
                return true;
            }
        }

        Interlocked.Increment(ref dropped);
        return false;

        static Func<PredictionBuffer, bool> Waiting(PredictionRecord record, int size) => b => b.TryAppend(record, size, wait: true) == AppendResult.Appended;
    }

    /// <summary>Moves what was appended before the call into the segment and forces it to the disk. Calls that wait for the writer share one flush.</summary>
    public Task FlushAsync(CancellationToken ct)
    {
        lock (sharing)
        {
            return (shared ??= Task.Run(FlushSharedAsync, CancellationToken.None)).WaitAsync(ct);
        }
    }

    /// <summary>Moves what was appended before the call into the segment, where reads see it.</summary>
    public Task CommitAsync(CancellationToken ct) => WriteAsync(sync: false, roll: false, ct);

    /// <summary>Flushes and closes the open segment, so that it can be compacted.</summary>
    public Task RollAsync(CancellationToken ct) => WriteAsync(sync: true, roll: true, ct);

    public IReadOnlyList<PredictionSegment> Complete()
    {
        PredictionSegment? current = Volatile.Read(ref open);
        return Live.Where(s => !ReferenceEquals(s, current)).ToArray();
    }

    /// <summary>Forgets a compacted segment and removes its file. Readers that still hold it finish on the open handle, which the collector closes.</summary>
    public async Task ForgetAsync(PredictionSegment segment, CancellationToken ct)
    {
        await writing.WaitAsync(ct);
        try
        {
            Volatile.Write(ref live, live.Where(s => !ReferenceEquals(s, segment)).ToArray());
        }
        finally
        {
            writing.Release();
        }

        File.Delete(segment.Path);
    }

    public async ValueTask DisposeAsync()
    {
        if (stop.IsCancellationRequested)
        {
            return;
        }

        await stop.CancelAsync();
        await writer;
        foreach (PredictionBuffer buffer in buffers)
        {
            buffer.Close();
        }

        try
        {
            await WriteAsync(sync: true, roll: false, CancellationToken.None);
        }
        finally
        {
            // What could not be written is still in the buffer files, and the next start replays it.
            foreach (PredictionBuffer buffer in buffers)
            {
                buffer.Dispose();
            }

            foreach (PredictionSegment segment in live)
            {
                segment.Dispose();
            }

            await folderLock.DisposeAsync();
            stop.Dispose();
            writing.Dispose();
            halfFull.Dispose();
        }
    }

    /// <summary>The file that the process which writes a log holds.</summary>
    public static string LockOf(string directory) => Path.Combine(directory, "lock");

    /// <summary>The file that says up to when, in Unix microseconds, everything that was appended to a log can be read.</summary>
    public static string MarkOf(string directory) => Path.Combine(directory, "readable");

    private static FileStream Lock(string directory, TimeSpan wait)
    {
        for (var waited = TimeSpan.Zero; ; waited += Pause)
        {
            try
            {
                return new FileStream(LockOf(directory), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
            }
            catch (IOException) when (waited < wait)
            {
                using var still = new ManualResetEventSlim();
                still.Wait(Pause);
            }
            catch (IOException e)
            {
                throw new SlipwayException(ErrorCode.Conflict, "The prediction log cannot be opened.", $"another process holds {directory}", "Stop the other server, or give this one its own --data folder.", e);
            }
        }
    }

    private void Recover()
    {
        DateTimeOffset now = clock.GetUtcNow();
        foreach (string path in Directory.EnumerateFiles(directory, "*" + PredictionSegment.Extension).Order(StringComparer.Ordinal))
        {
            var segment = PredictionSegment.Recover(path, now, out long cut);
            live = [.. live, segment];
            if (cut > 0)
            {
                Log.Cut(logger, segment.Id, cut);
            }
        }

        var written = live.SelectMany(s => s.Generations).ToHashSet();
        string[] rings = Directory.GetFiles(directory, BufferPattern);
        var left = rings.SelectMany(PredictionBuffer.Recover).OrderBy(h => h.Generation).ToArray();
        lastGeneration = left.Select(h => h.Generation).Concat(written).DefaultIfEmpty().Max();
        open = live.LastOrDefault(s => !IsFull(s, now));
        foreach ((ulong generation, byte[] frames) in left.Where(h => h.Frames.Length > 0 && !written.Contains(h.Generation)))
        {
            long before = open?.Rows ?? 0;
            Commit(frames, generation);
            Log.Replayed(logger, open!.Rows - before);
        }

        open?.Sync();
        foreach (string ring in rings)
        {
            File.Delete(ring);
        }
    }

    private bool IsFull(PredictionSegment s, DateTimeOffset now) =>
        s.Length >= options.SegmentBytes || s.Rows >= options.SegmentRows || (s.Rows > 0 && now - s.OpenedAt >= options.SegmentAge);

    private void Nudge()
    {
        if (halfFull.CurrentCount == 0)
        {
            try
            {
                halfFull.Release();
            }
            catch (SemaphoreFullException)
            {
                // Another core has woken the writer in this moment.
                return;
            }
        }
    }

    private async Task WriteLoopAsync()
    {
        while (!stop.IsCancellationRequested)
        {
            try
            {
                await halfFull.WaitAsync(options.FlushInterval, stop.Token);
                await WriteAsync(sync: false, roll: false, stop.Token);
            }
            catch (OperationCanceledException) when (stop.IsCancellationRequested)
            {
                return;
            }
            catch (Exception e)
            {
                // The buffers keep what could not be written and refuse (and count) what no longer fits.
                Log.WriteFailed(logger, e, directory);
                await halfFull.WaitAsync(TimeSpan.FromSeconds(1));
            }
        }
    }

    private async Task FlushSharedAsync()
    {
        await writing.WaitAsync();
        lock (sharing)
        {
            // Whoever appends from now on may be too late for this flush.
            shared = null;
        }

        WriteOwned(sync: true, roll: false);
    }

    private async Task WriteAsync(bool sync, bool roll, CancellationToken ct)
    {
        await writing.WaitAsync(ct);
        WriteOwned(sync, roll);
    }

    // The caller holds the semaphore, which is released here.
    private void WriteOwned(bool sync, bool roll)
    {
        bool rolled = false;
        // What was appended before this moment is written below.
        long moment = clock.NowMicros();
        try
        {
            foreach (PredictionBuffer buffer in buffers)
            {
                Drain(buffer);
            }

            if (dirty && (sync || clock.GetElapsedTime(syncedAt) >= options.SyncInterval))
            {
                open!.Sync();
                dirty = false;
                syncedAt = clock.GetTimestamp();
            }

            if (open is { Rows: > 0 } && (roll || IsFull(open, clock.GetUtcNow())))
            {
                open.Sync();
                dirty = false;
                Volatile.Write(ref open, null);
                rolled = true;
            }

            if (marks && !dirty && (sync || markedAt == 0 || clock.GetElapsedTime(markedAt) >= MarkInterval))
            {
                string written = MarkOf(directory) + ".next";
                File.WriteAllText(written, moment.ToString(CultureInfo.InvariantCulture));
                File.Move(written, MarkOf(directory), overwrite: true);
                markedAt = clock.GetTimestamp();
            }
        }
        finally
        {
            writing.Release();
        }

        if (rolled)
        {
            Rolled?.Invoke();
        }
    }

    private void Drain(PredictionBuffer buffer)
    {
        ReadOnlySpan<byte> frames = buffer.Take(lastGeneration + 1, out ulong generation);
        if (frames.IsEmpty)
        {
            return;
        }

        lastGeneration++;
        long before = open?.Rows ?? 0;
        Commit(frames, generation);
        buffer.Release();
        dirty = true;
        Interlocked.Add(ref written, open!.Rows - before);
    }

    private void Commit(ReadOnlySpan<byte> frames, ulong generation)
    {
        if (open is null)
        {
            DateTimeOffset now = clock.GetUtcNow();
            open = PredictionSegment.Create(directory, Ids.Ulid(now), now);
            Volatile.Write(ref live, [.. live, open]);
        }

        open.Append(frames, generation);
    }

    private static partial class Log
    {
        [LoggerMessage(Level = LogLevel.Warning, Message = "Cut {Bytes} bytes of an unfinished batch from prediction segment {Segment}.")]
        public static partial void Cut(ILogger logger, string segment, long bytes);

        [LoggerMessage(Level = LogLevel.Information, Message = "Replayed {Rows} predictions that the last process had buffered.")]
        public static partial void Replayed(ILogger logger, long rows);

        [LoggerMessage(Level = LogLevel.Error, Message = "Predictions cannot be written to {Directory}; they stay buffered while there is room.")]
        public static partial void WriteFailed(ILogger logger, Exception e, string directory);
    }
}
