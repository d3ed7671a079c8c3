using System.IO.MemoryMappedFiles;

namespace Slipway.Monitoring;

/// <summary>
/// Where one core appends: two halves of a memory-mapped file, one being filled while the writer empties the other. Since the pages
/// belong to the operating system, what was appended survives the death of the process (not of the machine) and the next start
/// replays it. The bytes of a half are exactly the frames that go to the segment.
/// </summary>
internal sealed unsafe class PredictionBuffer : IDisposable
{
    /// <summary>Per half: u64 generation, u32 bytes used, padding to a cache line.</summary>
    private const int HalfHeader = 64;

    private readonly MemoryMappedFile _file;
    private readonly MemoryMappedViewAccessor _view;
    private readonly byte* _start;
    private readonly int _half;
    private readonly Lock _gate = new();
    private readonly Action _halfFull;
    private int _active;
    private int _sealed = -1;
    private bool _closed;

    /// <summary>Creates the file anew, with its blocks allocated, so that a full disk fails here and not at a later store.</summary>
    public PredictionBuffer(string path, int capacity, ulong generation, Action halfFull)
    {
        _half = capacity / 2;
        _halfFull = halfFull;
        using (var zeros = new FileStream(path, new FileStreamOptions { Mode = FileMode.Create, Access = FileAccess.ReadWrite, Share = FileShare.ReadWrite }))
        {
            byte[] block = new byte[64 * 1024];
            for (int written = 0; written < capacity; written += block.Length)
            {
                zeros.Write(block, 0, Math.Min(block.Length, capacity - written));
            }
        }

        _file = MemoryMappedFile.CreateFromFile(path, FileMode.Open, null, capacity, MemoryMappedFileAccess.ReadWrite);
        _view = _file.CreateViewAccessor(0, capacity);
        byte* start = null;
        _view.SafeMemoryMappedViewHandle.AcquirePointer(ref start);
        _start = start;
        *(ulong*)Half(0) = generation;
    }

    /// <summary>Copies the record in if it can be done without waiting for another thread or for the writer.</summary>
    public AppendResult TryAppend(in PredictionRecord record, int size, bool wait)
    {
        if (wait)
        {
            _gate.Enter();
        }
        else if (!_gate.TryEnter())
        {
            return AppendResult.Busy;
        }

        bool nudge;
        try
        {
            if (_closed)
            {
                return AppendResult.Full;
            }

            byte* half = Half(_active);
            uint used = *(uint*)(half + 8);
            if (used + size > _half - HalfHeader)
            {
                return AppendResult.Full;
            }

            PredictionFrame.Write(new Span<byte>(half + HalfHeader + used, size), record);
            // The count moves last: a process that dies before this line never appended.
            Volatile.Write(ref *(uint*)(half + 8), used + (uint)size);
            nudge = used <= _half / 2 && used + size > _half / 2;
        }
        finally
        {
            _gate.Exit();
        }

        if (nudge)
        {
            _halfFull();
        }

        return AppendResult.Appended;
    }

    /// <summary>Hands the filled half to the writer, or the one it failed to write before. Empty when there is nothing to write.</summary>
    /// <param name="next">The generation of the half that is filled from now on.</param>
    /// <param name="generation">The generation of the half that is handed over.</param>
    public Span<byte> Take(ulong next, out ulong generation)
    {
        lock (_gate)
        {
            if (_sealed < 0)
            {
                if (*(uint*)(Half(_active) + 8) == 0)
                {
                    generation = 0;
                    return default;
                }

                _sealed = _active;
                _active = 1 - _active;
                *(ulong*)Half(_active) = next;
            }
        }

        byte* half = Half(_sealed);
        generation = *(ulong*)half;
        return new Span<byte>(half + HalfHeader, (int)*(uint*)(half + 8));
    }

    /// <summary>The half that was taken is in the segment and may be filled again.</summary>
    public void Release()
    {
        byte* half = Half(_sealed);
        lock (_gate)
        {
            *(uint*)(half + 8) = 0;
            _sealed = -1;
        }
    }

    /// <summary>What a dead process left in its buffer file: the frames of each half with their generation, older half first.</summary>
    public static IReadOnlyList<(ulong Generation, byte[] Frames)> Recover(string path)
    {
        byte[] bytes = File.ReadAllBytes(path);
        var found = new List<(ulong, byte[])>();
        for (int part = 0; part < 2; part++)
        {
            ReadOnlySpan<byte> half = bytes.AsSpan(part * (bytes.Length / 2), bytes.Length / 2);
            if (half.Length < HalfHeader)
            {
                continue;
            }

            int used = (int)Math.Min(BitConverter.ToUInt32(half[8..]), (uint)(half.Length - HalfHeader)), whole = 0;
            ReadOnlySpan<byte> frames = half.Slice(HalfHeader, used);
            for (ReadOnlySpan<byte> payload = PredictionFrame.Payload(frames); !payload.IsEmpty; payload = PredictionFrame.Payload(frames[whole..]))
            {
                whole += PredictionFrame.Header + payload.Length;
            }

            found.Add((BitConverter.ToUInt64(half), frames[..whole].ToArray()));
        }

        return found.OrderBy(f => f.Item1).ToArray();
    }

    /// <summary>Refuses further records; what is inside can still be taken.</summary>
    public void Close()
    {
        lock (_gate)
        {
            _closed = true;
        }
    }

    public void Dispose()
    {
        Close();
        _view.SafeMemoryMappedViewHandle.ReleasePointer();
        _view.Dispose();
        _file.Dispose();
    }

    private byte* Half(int index) => _start + (long)index * _half;
}

internal enum AppendResult
{
    Appended,
    Busy,
    Full,
}
