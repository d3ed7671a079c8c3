using System.Buffers.Binary;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace Slipway.Foundation;

/// <summary>
/// A signed statement of the tree's size and root, in the C2SP tlog-checkpoint form: origin, size, base64 root, an empty
/// line, and a signed-note signature line. It is a file outside the database, so that whoever edits rows cannot edit it.
/// </summary>
public sealed record Checkpoint(string Origin, long Size, byte[] Root)
{
    private const string SignaturePrefix = "— ";

    internal string Body => string.Create(CultureInfo.InvariantCulture, $"{Origin}\n{Size}\n{Convert.ToBase64String(Root)}\n");

    internal string Sign(JournalKeys keys)
    {
        var signature = keys.Sign(Encoding.UTF8.GetBytes(Body));
        return $"{Body}\n{SignaturePrefix}{Origin} {Convert.ToBase64String([.. KeyId(Origin, keys.PublicKey), .. signature])}\n";
    }

    /// <summary>Reads a checkpoint and checks its signature.</summary>
    /// <exception cref="SlipwayException">DataLoss when the form or the signature is wrong.</exception>
    internal static Checkpoint Open(string text, JournalKeys keys)
    {
        var lines = text.Split('\n');
        if (lines.Length < 5 || lines[3].Length != 0 || !long.TryParse(lines[1], NumberStyles.None, CultureInfo.InvariantCulture, out var size))
        {
            throw Damaged("it is not in the checkpoint form");
        }

        var root = new byte[32];
        if (!Convert.TryFromBase64String(lines[2], root, out var length) || length != 32)
        {
            throw Damaged("its root is not 32 bytes of base64");
        }

        var checkpoint = new Checkpoint(lines[0], size, root);
        var expected = $"{SignaturePrefix}{keys.Origin} ";
        var signed = new byte[4 + 64];
        var line = Array.Find(lines[4..], l => l.StartsWith(expected, StringComparison.Ordinal)) ?? throw Damaged($"it has no signature of {keys.Origin}");
        if (!Convert.TryFromBase64String(line[expected.Length..], signed, out length) || length != signed.Length
            || !signed.AsSpan(0, 4).SequenceEqual(KeyId(keys.Origin, keys.PublicKey))
            || !JournalKeys.Verify(keys.PublicKey, Encoding.UTF8.GetBytes(checkpoint.Body), signed[4..]))
        {
            throw Damaged("its signature does not verify");
        }

        return checkpoint;
    }

    /// <summary>The first four bytes of SHA-256(name || 0x0A || 0x01 || key), C2SP signed-note.</summary>
    internal static byte[] KeyId(string name, byte[] publicKey) => SHA256.HashData([.. Encoding.UTF8.GetBytes(name), 0x0A, 0x01, .. publicKey])[..4];

    /// <summary>The verifier key as text: <c>name+hex(id)+base64(0x01 || key)</c>.</summary>
    internal static string VerifierKey(JournalKeys keys) =>
        string.Create(CultureInfo.InvariantCulture, $"{keys.Origin}+{BinaryPrimitives.ReadUInt32BigEndian(KeyId(keys.Origin, keys.PublicKey)):x8}+{Convert.ToBase64String([0x01, .. keys.PublicKey])}");

    private static SlipwayException Damaged(string why) => new(ErrorCode.DataLoss, "the journal's checkpoint is damaged", why);
}
