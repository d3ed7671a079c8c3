using System.Text;
using System.Text.Json;
using Slipway.Foundation;

namespace Slipway.Data;

/// <summary>
/// What a version is: canonical JSON (RFC 8785) whose SHA-256 is the version's id. It names the parent, so an id stands for the whole history before it,
/// and the digest of the profile, so neither can be exchanged.
/// </summary>
internal sealed record Manifest(
    int V, string Dataset, string? Parent, string Branch, string Message, string Author, long At, IReadOnlyList<DataFile> Files, TableSchema? Schema, string? Profile)
{
    public const int CurrentVersion = 1;

    /// <summary>The canonical text and its SHA-256.</summary>
    public (string Text, string Id) Freeze()
    {
        var bytes = CanonicalJson.Serialize(this);
        return (Encoding.UTF8.GetString(bytes), Digest.Sha256Hex(bytes));
    }

    /// <summary>Reads a stored manifest and its profile, refusing either when it does not hash to what it is known by.</summary>
    /// <exception cref="SlipwayException"><see cref="ErrorCode.DataLoss"/>.</exception>
    public static DatasetVersion Thaw(string id, string text, string? profile)
    {
        if (Digest.Sha256Hex(Encoding.UTF8.GetBytes(text)) != id) throw Damaged(id, "its manifest hashes to another id");
        var m = JsonSerializer.Deserialize<Manifest>(text, CanonicalJson.Options) ?? throw Damaged(id, "its manifest is null");
        if (m.Profile is not null && (profile is null || Digest.Sha256Hex(Encoding.UTF8.GetBytes(profile)) != m.Profile)) throw Damaged(id, "its profile hashes to another digest");
        return new DatasetVersion(id, m.Dataset, m.Parent, m.Branch, m.Message, m.Author, Time.FromMicros(m.At), m.Files, m.Schema,
            m.Profile is null ? null : JsonSerializer.Deserialize<TableProfile>(profile!, CanonicalJson.Options));
    }

    private static SlipwayException Damaged(string id, string why) => new(ErrorCode.DataLoss, $"dataset version {id} is damaged", why, "restore the database from a backup");
}
