using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>
/// Watches a stream of errors, losses or residuals for a change, in constant or logarithmic memory. After a change it starts again by itself with the
/// next value. The values must be independent: serial correlation raises false alarms, see <see cref="ConceptDriftStream"/>.
/// </summary>
public abstract class StreamDetector
{
    private protected StreamDetector()
    {
    }

    /// <summary>Whether the newest value completed the proof of a change.</summary>
    public bool Drift { get; private set; }

    /// <summary>Whether the newest value gives reason to look; never together with <see cref="Drift"/>.</summary>
    public bool Warning { get; private set; }

    /// <summary>Values seen.</summary>
    public long N { get; private set; }

    /// <summary>Values since the last change, or since the beginning.</summary>
    public long SinceReset { get; private set; }

    /// <summary>Index, from 0, of the value at which the last change was found; null before the first.</summary>
    public long? LastChange { get; private set; }

    /// <summary>The detector's name.</summary>
    public abstract string Name { get; }

    /// <summary>Whether it may be fed means of blocks of values.</summary>
    internal virtual bool TakesMeans => true;

    /// <summary>Takes the next value.</summary>
    /// <returns>Whether there is a change.</returns>
    public bool Observe(double value)
    {
        if (!double.IsFinite(value))
        {
            throw new ArgumentOutOfRangeException(nameof(value), value, "A stream detector takes finite values.");
        }

        if (Drift)
        {
            SinceReset = 0;
            Reset();
        }

        N++;
        SinceReset++;
        (Drift, Warning) = Update(value);
        LastChange = Drift ? N - 1 : LastChange;
        return Drift;
    }

    /// <summary>The state as bytes: a detector of the same settings goes on from it as if nothing had happened.</summary>
    public byte[] Save() => SketchForm.Write(to =>
    {
        to.Write(Name);
        to.Write(Drift);
        to.Write(Warning);
        to.Write(N);
        to.Write(SinceReset);
        to.Write(LastChange ?? -1);
        Write(to);
    });

    /// <summary>Goes on from a state that a detector of the same settings saved.</summary>
    /// <exception cref="SlipwayException">DataLoss when the bytes are not the state of such a detector.</exception>
    public void Load(ReadOnlyMemory<byte> state) => SketchForm.Read(state, from =>
    {
        string name = from.ReadString();
        if (name != Name)
        {
            throw SketchForm.Broken($"it is the state of {name}, not of {Name}");
        }

        Drift = from.ReadBoolean();
        Warning = from.ReadBoolean();
        N = from.ReadInt64();
        SinceReset = from.ReadInt64();
        long last = from.ReadInt64();
        LastChange = last < 0 ? null : last;
        Read(from);
        return true;
    });

    private protected abstract (bool Drift, bool Warning) Update(double value);

    private protected abstract void Reset();

    private protected abstract void Write(BinaryWriter to);

    private protected abstract void Read(BinaryReader from);
}
