using Slipway.Foundation;

namespace Slipway.Governance;

/// <summary>One journal entry and what it says in plain English.</summary>
public sealed record AuditLine(JournalEntry Entry, string Sentence);

/// <summary>The journal as people read it.</summary>
public sealed class Audit(Journal journal)
{
    /// <summary>Entries that match the filter, each with its sentence.</summary>
    public async Task<Page<AuditLine>> ListAsync(JournalFilter filter, CancellationToken ct)
    {
        var page = await journal.ListAsync(filter, ct);
        return new Page<AuditLine>([.. page.Items.Select(e => new AuditLine(e, Sentence(e)))], page.NextToken);
    }

    /// <summary>Reads the whole journal and says whether an entry was changed, removed or inserted.</summary>
    public Task<VerifyReport> VerifyAsync(CancellationToken ct) => journal.VerifyAsync(ct);

    /// <summary>
    /// The entry in one plain sentence, such as "ada approved model-version flights/2: looks good". Kinds without a sentence of their own, and entries
    /// whose detail was erased, still give who, what and about which thing.
    /// </summary>
    public static string Sentence(JournalEntry e) => Sentences.Of(e);
}
