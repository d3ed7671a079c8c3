using System.Text.Json;

namespace Slipway.Foundation;

/// <summary>One fact that happened, sealed under its number.</summary>
/// <param name="Seq">Dense, from 1, in commit order; the index of its leaf in the Merkle tree plus one.</param>
/// <param name="Id">ULID.</param>
/// <param name="At">When the command that wrote it ran.</param>
/// <param name="Actor">Who did it.</param>
/// <param name="Kind">What happened, <c>noun.verb-ed</c>.</param>
/// <param name="Subject">What it happened to.</param>
/// <param name="Links">What else it concerns; lineage is read from these.</param>
/// <param name="Body">The event's own fields; an empty object when its detail was erased.</param>
/// <param name="Outcome"><c>success</c>, <c>denied</c> or <c>error</c>.</param>
/// <param name="Reason">A stable code for an outcome that is not success, for example <c>sod.author</c>.</param>
/// <param name="Leaf">The RFC 6962 leaf hash, 64 hexadecimal digits.</param>
public sealed record JournalEntry(
    long Seq,
    string Id,
    DateTimeOffset At,
    Actor Actor,
    string Kind,
    Subject Subject,
    IReadOnlyList<Subject> Links,
    JsonElement Body,
    string Outcome,
    string? Reason,
    string Leaf)
{
    /// <summary>The body as the event's record.</summary>
    /// <exception cref="SlipwayException">DataLoss when the detail was erased or is of another shape.</exception>
    public T Read<T>()
    {
        try
        {
            return Body.Deserialize<T>(CanonicalJson.Options) ?? throw new JsonException("the body is null");
        }
        catch (JsonException e)
        {
            throw new SlipwayException(ErrorCode.DataLoss, $"journal entry {Seq} ({Kind}) cannot be read as {typeof(T).Name}", e.Message, inner: e);
        }
    }
}

/// <summary>Which entries to list. Null means any.</summary>
public sealed record JournalFilter
{
    public long? AfterSeq { get; init; }

    public long? BeforeSeq { get; init; }

    /// <summary>The start of the kind, for example <c>alert.</c>.</summary>
    public string? Kind { get; init; }

    public string? Actor { get; init; }

    /// <summary>The subject, or a subject that the entry links to.</summary>
    public string? Subject { get; init; }

    public DateTimeOffset? From { get; init; }

    public DateTimeOffset? To { get; init; }

    /// <summary>At most 1,000.</summary>
    public int Limit { get; init; } = 100;

    public bool Descending { get; init; } = true;
}

/// <summary>An entry that waits for its number. <c>Head</c> and <c>Tail</c> are the canonical JSON around it.</summary>
internal sealed record PendingEntry(
    string Id,
    long At,
    string Kind,
    string Actor,
    string Subject,
    IReadOnlyList<string> Links,
    string Outcome,
    string Head,
    string Tail,
    string KeyId,
    byte[] Detail);

/// <summary>What stands in the encrypted detail record, beside its salt.</summary>
internal sealed record EntryDetail(Actor Actor, string Subject, IReadOnlyList<string> Links, JsonElement Body);
