using System.Globalization;

namespace Slipway.Server.Oip;

/// <summary>Revisions as text for headers. They change rarely and are told with every answer, so the last ones are kept.</summary>
internal static class RevisionText
{
    private static readonly Entry[] Kept = new Entry[64];

    public static string Of(long revision)
    {
        ref var slot = ref Kept[(int)((ulong)revision % (ulong)Kept.Length)];
        var kept = Volatile.Read(ref slot);
        if (kept is null || kept.Revision != revision)
        {
            Volatile.Write(ref slot, kept = new(revision, revision.ToString(CultureInfo.InvariantCulture)));
        }

        return kept.Text;
    }

    private sealed record Entry(long Revision, string Text);
}
