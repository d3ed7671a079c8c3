using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Text;
using Org.BouncyCastle.Crypto.Parameters;
using Org.BouncyCastle.Crypto.Signers;

namespace Slipway.Foundation;

/// <summary>
/// The journal's secrets: the master key that wraps one key for each owner, the pseudonyms derived from it, and the
/// Ed25519 key that signs checkpoints. They live outside the database, in files that only the server's user can read.
/// </summary>
internal sealed class JournalKeys
{
    private const int KeySize = 32;
    private const int NonceSize = 12;
    private const int TagSize = 16;
    private readonly byte[] master;
    private readonly Lazy<Ed25519PrivateKeyParameters> signing;
    private readonly ConcurrentDictionary<string, (string Id, byte[] Key)> byOwner = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, byte[]> byId = new(StringComparer.Ordinal);

    public JournalKeys(string directory, bool create)
    {
        master = Secret(Path.Combine(directory, "journal-master.key"), create);
        var seed = Secret(Path.Combine(directory, "journal-signing.key"), create);
        Origin = "slipway/" + Convert.ToHexStringLower(HMACSHA256.HashData(master, "origin"u8)[..8]);
        signing = new Lazy<Ed25519PrivateKeyParameters>(() => new Ed25519PrivateKeyParameters(seed));
    }

    /// <summary>The log's name, which is also the name of its key.</summary>
    public string Origin { get; }

    public byte[] PublicKey => signing.Value.GeneratePublicKey().GetEncoded();

    public byte[] Sign(ReadOnlySpan<byte> message)
    {
        var signer = new Ed25519Signer();
        signer.Init(forSigning: true, signing.Value);
        var bytes = message.ToArray();
        signer.BlockUpdate(bytes, 0, bytes.Length);
        return signer.GenerateSignature();
    }

    public static bool Verify(byte[] publicKey, ReadOnlySpan<byte> message, byte[] signature)
    {
        var verifier = new Ed25519Signer();
        verifier.Init(forSigning: false, new Ed25519PublicKeyParameters(publicKey));
        var bytes = message.ToArray();
        verifier.BlockUpdate(bytes, 0, bytes.Length);
        return verifier.VerifySignature(signature);
    }

    /// <summary>A name that says nothing to a reader without the master key, and is the same each time.</summary>
    public string Pseudonym(char prefix, string name)
    {
        Span<byte> hash = stackalloc byte[32];
        var text = Encoding.UTF8.GetBytes($"{prefix}:{name}");
        HMACSHA256.HashData(master, text, hash);
        return $"{prefix}_{Convert.ToHexStringLower(hash[..12])}";
    }

    /// <summary>The owner's key, made inside the transaction when there is none yet.</summary>
    public async ValueTask<(string Id, byte[] Key)> OfOwnerAsync(Tx tx, string owner)
    {
        if (byOwner.TryGetValue(owner, out var known))
        {
            return known;
        }

        var row = await tx.FindAsync<KeyRow>("SELECT key_id AS KeyId, wrapped AS Wrapped FROM journal_keys WHERE owner = @owner", new { owner });
        (string Id, byte[] Key) made;
        if (row is not null)
        {
            made = (row.KeyId, Decrypt(master, row.Wrapped));
        }
        else
        {
            made = ("k_" + Ids.New(), RandomNumberGenerator.GetBytes(KeySize));
            await tx.ExecuteAsync("INSERT INTO journal_keys (key_id, owner, wrapped) VALUES (@id, @owner, @wrapped)", new { id = made.Id, owner, wrapped = Encrypt(master, made.Key) });
        }

        // Only a committed key may be remembered: the row of a transaction that fails is gone.
        tx.OnCommitted(() => byOwner[owner] = made);
        return made;
    }

    /// <summary>The key, or null when it was destroyed.</summary>
    public async ValueTask<byte[]?> FindAsync(Session session, string keyId)
    {
        if (byId.TryGetValue(keyId, out var known))
        {
            return known;
        }

        var wrapped = await session.FindAsync<byte[]>("SELECT wrapped FROM journal_keys WHERE key_id = @keyId", new { keyId });
        return wrapped is null ? null : byId[keyId] = Decrypt(master, wrapped);
    }

    /// <summary>The key of one record: HKDF-SHA-256 of the owner's key with the entry id as context.</summary>
    public static byte[] RecordKey(byte[] ownerKey, string entryId)
    {
        var key = new byte[KeySize];
        HKDF.Expand(HashAlgorithmName.SHA256, ownerKey, key, Encoding.ASCII.GetBytes(entryId));
        return key;
    }

    public static byte[] Encrypt(byte[] key, ReadOnlySpan<byte> plain)
    {
        var sealedBytes = new byte[NonceSize + plain.Length + TagSize];
        var nonce = sealedBytes.AsSpan(0, NonceSize);
        RandomNumberGenerator.Fill(nonce);
        using var aes = new AesGcm(key, TagSize);
        aes.Encrypt(nonce, plain, sealedBytes.AsSpan(NonceSize, plain.Length), sealedBytes.AsSpan(NonceSize + plain.Length));
        return sealedBytes;
    }

    /// <exception cref="CryptographicException">The bytes were changed or belong to another key.</exception>
    public static byte[] Decrypt(byte[] key, ReadOnlySpan<byte> sealedBytes)
    {
        if (sealedBytes.Length < NonceSize + TagSize)
        {
            throw new CryptographicException("the record is too short");
        }

        var plain = new byte[sealedBytes.Length - NonceSize - TagSize];
        using var aes = new AesGcm(key, TagSize);
        aes.Decrypt(sealedBytes[..NonceSize], sealedBytes[NonceSize..^TagSize], sealedBytes[^TagSize..], plain);
        return plain;
    }

    /// <summary>A random key in a file that only the server's user can read, made when it is not there yet.</summary>
    internal static byte[] Secret(string path, bool create)
    {
        if (File.Exists(path))
        {
            var bytes = File.ReadAllBytes(path);
            return bytes.Length == KeySize ? bytes : throw new SlipwayException(ErrorCode.DataLoss, $"{path} is not a key", $"it has {bytes.Length} bytes, not {KeySize}", "restore it from a backup");
        }

        if (!create)
        {
            throw new SlipwayException(ErrorCode.NotFound, $"the key {path} does not exist", "the journal cannot be read without it", "name the data folder with --data");
        }

        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        var secret = RandomNumberGenerator.GetBytes(KeySize);
        var temporary = $"{path}.{Ids.New()}.tmp";
        using (var file = new FileStream(temporary, new FileStreamOptions { Mode = FileMode.Create, Access = FileAccess.Write, UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite }))
        {
            file.Write(secret);
            file.Flush(flushToDisk: true);
        }

        try
        {
            File.Move(temporary, path);
            return secret;
        }
        catch (IOException) when (File.Exists(path))
        {
            // Another node that starts at the same moment was faster, and its key counts.
            File.Delete(temporary);
            return Secret(path, create);
        }
    }

    private sealed class KeyRow
    {
        public string KeyId { get; set; } = "";

        public byte[] Wrapped { get; set; } = [];
    }
}
