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

    private readonly string _directory;
    private readonly MonitoringOptions _options;
    private readonly TimeProvider _clock;
    private readonly ILogger _logger;
    private readonly FileStream _lock;
    private readonly PredictionBuffer[] _buffers;
    private readonly SemaphoreSlim _writing = new(1, 1);
    private readonly SemaphoreSlim _halfFull = new(0, 1);
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _writer;
    private readonly int _largest;
    private PredictionSegment[] _live = [];
    private PredictionSegment? _open;
    private ulong _generation;
    private long _syncedAt;
    private long _dropped;
    private long _written;
    private bool _dirty;

    /// <summary>Takes the folder, cuts torn tails, replays the buffers of a process that died, and starts the writer.</summary>
    public PredictionLog(string directory, MonitoringOptions options, TimeProvider clock, ILogger<PredictionLog> logger)
    {
        (_directory, _options, _clock, _logger) = (directory, options, clock, logger);
        Directory.CreateDirectory(directory);
        _lock = Lock(directory);
        try
        {
            Recover();
            int cores = Math.Clamp(Environment.ProcessorCount, 1, 16);
            int capacity = Math.Max(64 * 1024, options.BufferBytes) / 128 * 128;
            _buffers = Enumerable.Range(0, cores)
                .Select(i => new PredictionBuffer(Path.Combine(directory, $"buffer-{i:D2}.ring"), capacity, ++_generation, Nudge))
                .ToArray();
            _largest = Math.Min(options.LargestRecord, capacity / 2 - 64);
        }
        catch
        {
            _lock.Dispose();
            throw;
        }

        _syncedAt = clock.GetTimestamp();
        _writer = Task.Run(WriteLoopAsync);
    }

    /// <summary>Raised when a segment is complete and waits to be compacted.</summary>
    public event Action? Rolled;

    public long Dropped => Interlocked.Read(ref _dropped);

    public long Written => Interlocked.Read(ref _written);

    /// <summary>Segments that are not compacted yet: the rolled ones and the open one.</summary>
    public IReadOnlyList<PredictionSegment> Live => Volatile.Read(ref _live);

    public bool Append(in PredictionRecord record)
    {
        int size = PredictionFrame.SizeOf(record);
        if (size > 0 && size <= _largest)
        {
            int first = Thread.GetCurrentProcessorId();
            bool busy = false;
            for (int i = 0; i < _buffers.Length; i++)
            {
                switch (_buffers[(uint)(first + i) % (uint)_buffers.Length].TryAppend(record, size, wait: false))
                {
                    case AppendResult.Appended:
                        return true;
                    case AppendResult.Busy:
                        busy = true;
                        break;
                }
            }

            // Held locks are held for the copy of one record; only a buffer without room refuses.
            if (busy && _buffers.Any(Waiting(record, size)))
            {
                return true;
            }
        }

        Interlocked.Increment(ref _dropped);
        return false;

        static Func<PredictionBuffer, bool> Waiting(PredictionRecord record, int size) => b => b.TryAppend(record, size, wait: true) == AppendResult.Appended;
    }

    /// <summary>Moves what was appended before the call into the segment and forces it to the disk.</summary>
    public Task FlushAsync(CancellationToken ct) => WriteAsync(sync: true, roll: false, ct);

    /// <summary>Moves what was appended before the call into the segment, where reads see it.</summary>
    public Task CommitAsync(CancellationToken ct) => WriteAsync(sync: false, roll: false, ct);

    /// <summary>Flushes and closes the open segment, so that it can be compacted.</summary>
    public Task RollAsync(CancellationToken ct) => WriteAsync(sync: true, roll: true, ct);

    public IReadOnlyList<PredictionSegment> Complete()
    {
        PredictionSegment? open = Volatile.Read(ref _open);
        return Live.Where(s => !ReferenceEquals(s, open)).ToArray();
    }

    /// <summary>Forgets a compacted segment and removes its file. Readers that still hold it finish on the open handle, which the collector closes.</summary>
    public async Task ForgetAsync(PredictionSegment segment, CancellationToken ct)
    {
        await _writing.WaitAsync(ct);
        try
        {
            Volatile.Write(ref _live, _live.Where(s => !ReferenceEquals(s, segment)).ToArray());
        }
        finally
        {
            _writing.Release();
        }

        File.Delete(segment.Path);
    }

    public async ValueTask DisposeAsync()
    {
        if (_stop.IsCancellationRequested)
        {
            return;
        }

        await _stop.CancelAsync();
        await _writer;
        foreach (PredictionBuffer buffer in _buffers)
        {
            buffer.Close();
        }

        await WriteAsync(sync: true, roll: false, CancellationToken.None);
        foreach (PredictionBuffer buffer in _buffers)
        {
            buffer.Dispose();
        }

        foreach (PredictionSegment segment in _live)
        {
            segment.Dispose();
        }

        await _lock.DisposeAsync();
        _stop.Dispose();
        _writing.Dispose();
        _halfFull.Dispose();
    }

    private static FileStream Lock(string directory)
    {
        try
        {
            return new FileStream(Path.Combine(directory, "lock"), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (IOException e)
        {
            throw new SlipwayException(ErrorCode.Conflict, "The prediction log cannot be opened.", $"another process holds {directory}", "Stop the other server, or give this one its own --data folder.", e);
        }
    }

    private void Recover()
    {
        DateTimeOffset now = _clock.GetUtcNow();
        foreach (string path in Directory.EnumerateFiles(_directory, "*.log").Order(StringComparer.Ordinal))
        {
            var segment = PredictionSegment.Recover(path, now, out long cut);
            _live = [.. _live, segment];
            if (cut > 0)
            {
                Log.Cut(_logger, segment.Id, cut);
            }
        }

        var written = _live.SelectMany(s => s.Generations).ToHashSet();
        string[] rings = Directory.GetFiles(_directory, BufferPattern);
        var left = rings.SelectMany(PredictionBuffer.Recover).OrderBy(h => h.Generation).ToArray();
        _generation = left.Select(h => h.Generation).Concat(written).DefaultIfEmpty().Max();
        _open = _live.LastOrDefault(s => !IsFull(s, now));
        foreach ((ulong generation, byte[] frames) in left.Where(h => h.Frames.Length > 0 && !written.Contains(h.Generation)))
        {
            long before = _open?.Rows ?? 0;
            Commit(frames, generation);
            Log.Replayed(_logger, _open!.Rows - before);
        }

        _open?.Sync();
        foreach (string ring in rings)
        {
            File.Delete(ring);
        }
    }

    private bool IsFull(PredictionSegment s, DateTimeOffset now) =>
        s.Length >= _options.SegmentBytes || s.Rows >= _options.SegmentRows || (s.Rows > 0 && now - s.OpenedAt >= _options.SegmentAge);

    private void Nudge()
    {
        if (_halfFull.CurrentCount == 0)
        {
            try
            {
                _halfFull.Release();
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
        while (!_stop.IsCancellationRequested)
        {
            try
            {
                await _halfFull.WaitAsync(_options.FlushInterval, _stop.Token);
                await WriteAsync(sync: false, roll: false, _stop.Token);
            }
            catch (OperationCanceledException) when (_stop.IsCancellationRequested)
            {
                return;
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // The buffers keep what could not be written and refuse (and count) what no longer fits.
                Log.WriteFailed(_logger, e, _directory);
                await _halfFull.WaitAsync(TimeSpan.FromSeconds(1));
            }
        }
    }

    private async Task WriteAsync(bool sync, bool roll, CancellationToken ct)
    {
        bool rolled = false;
        await _writing.WaitAsync(ct);
        try
        {
            foreach (PredictionBuffer buffer in _buffers)
            {
                Drain(buffer);
            }

            if (_dirty && (sync || _clock.GetElapsedTime(_syncedAt) >= _options.SyncInterval))
            {
                _open!.Sync();
                _dirty = false;
                _syncedAt = _clock.GetTimestamp();
            }

            if (_open is { Rows: > 0 } && (roll || IsFull(_open, _clock.GetUtcNow())))
            {
                _open.Sync();
                _dirty = false;
                Volatile.Write(ref _open, null);
                rolled = true;
            }
        }
        finally
        {
            _writing.Release();
        }

        if (rolled)
        {
            Rolled?.Invoke();
        }
    }

    private void Drain(PredictionBuffer buffer)
    {
        ReadOnlySpan<byte> frames = buffer.Take(_generation + 1, out ulong generation);
        if (frames.IsEmpty)
        {
            return;
        }

        _generation++;
        long before = _open?.Rows ?? 0;
        Commit(frames, generation);
        buffer.Release();
        _dirty = true;
        Interlocked.Add(ref _written, _open!.Rows - before);
    }

    private void Commit(ReadOnlySpan<byte> frames, ulong generation)
    {
        if (_open is null)
        {
            DateTimeOffset now = _clock.GetUtcNow();
            _open = PredictionSegment.Create(_directory, Ids.Ulid(now), now);
            Volatile.Write(ref _live, [.. _live, _open]);
        }

        byte[] batch = new byte[frames.Length + PredictionFrame.BatchSize];
        frames.CopyTo(batch);
        PredictionFrame.WriteBatch(batch.AsSpan(frames.Length), generation);
        _open.Append(batch);
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
