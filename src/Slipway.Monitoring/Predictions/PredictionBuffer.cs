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

    private readonly MemoryMappedFile file;
    private readonly MemoryMappedViewAccessor view;
    private readonly byte* origin;
    private readonly int halfSize;
    private readonly Lock gate = new();
    private readonly Action halfFull;
    private int active;
    private int taken = -1;
    private bool closed;

    /// <summary>Creates the file anew, with its blocks allocated, so that a full disk fails here and not at a later store.</summary>
    public PredictionBuffer(string path, int capacity, ulong generation, Action halfFull)
    {
        halfSize = capacity / 2;
        this.halfFull = halfFull;
        using (var zeros = new FileStream(path, new FileStreamOptions { Mode = FileMode.Create, Access = FileAccess.ReadWrite, Share = FileShare.ReadWrite }))
        {
            byte[] block = new byte[64 * 1024];
            for (int written = 0; written < capacity; written += block.Length)
            {
                zeros.Write(block, 0, Math.Min(block.Length, capacity - written));
            }
        }

        file = MemoryMappedFile.CreateFromFile(path, FileMode.Open, null, capacity, MemoryMappedFileAccess.ReadWrite);
        view = file.CreateViewAccessor(0, capacity);
        byte* start = null;
        view.SafeMemoryMappedViewHandle.AcquirePointer(ref start);
        origin = start;
        *(ulong*)Half(0) = generation;
    }

    /// <summary>Copies the record in if it can be done without waiting for another thread or for the writer.</summary>
    public AppendResult TryAppend(in PredictionRecord record, int size, bool wait)
    {
        if (wait)
        {
            gate.Enter();
        }
        else if (!gate.TryEnter())
        {
            return AppendResult.Busy;
        }

        bool nudge;
        try
        {
            if (closed)
            {
                return AppendResult.Full;
            }

            byte* half = Half(active);
            uint used = *(uint*)(half + 8);
            if (used + size > halfSize - HalfHeader)
            {
                return AppendResult.Full;
            }

            PredictionFrame.Write(new Span<byte>(half + HalfHeader + used, size), record);
            // The count moves last: a process that dies before this line never appended.
            Volatile.Write(ref *(uint*)(half + 8), used + (uint)size);
            nudge = used <= halfSize / 2 && used + size > halfSize / 2;
        }
        finally
        {
            gate.Exit();
        }

        if (nudge)
        {
            halfFull();
        }

        return AppendResult.Appended;
    }

    /// <summary>Hands the filled half to the writer, or the one it failed to write before. Empty when there is nothing to write.</summary>
    /// <param name="next">The generation of the half that is filled from now on.</param>
    /// <param name="generation">The generation of the half that is handed over.</param>
    public Span<byte> Take(ulong next, out ulong generation)
    {
        lock (gate)
        {
            if (taken < 0)
            {
                if (*(uint*)(Half(active) + 8) == 0)
                {
                    generation = 0;
                    return default;
                }

                taken = active;
                active = 1 - active;
                *(ulong*)Half(active) = next;
            }
        }

        byte* half = Half(taken);
        generation = *(ulong*)half;
        return new Span<byte>(half + HalfHeader, (int)*(uint*)(half + 8));
    }

    /// <summary>The half that was taken is in the segment and may be filled again.</summary>
    public void Release()
    {
        byte* half = Half(taken);
        lock (gate)
        {
            *(uint*)(half + 8) = 0;
            taken = -1;
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
        lock (gate)
        {
            closed = true;
        }
    }

    public void Dispose()
    {
        Close();
        view.SafeMemoryMappedViewHandle.ReleasePointer();
        view.Dispose();
        file.Dispose();
    }

    private byte* Half(int index) => origin + (long)index * halfSize;
}

internal enum AppendResult
{
    Appended,
    Busy,
    Full,
}
