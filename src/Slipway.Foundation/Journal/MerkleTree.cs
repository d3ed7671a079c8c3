using System.Buffers;
using System.Buffers.Binary;
using System.Numerics;
using System.Security.Cryptography;

namespace Slipway.Foundation;

/// <summary>
/// An RFC 6962 Merkle tree that keeps only its right edge: one hash for each set bit of the size, largest subtree first.
/// Appending costs two hashes on average, and the root costs one for each set bit.
/// </summary>
public sealed class MerkleTree
{
    private const int HashSize = 32;
    private readonly List<byte[]> edge = [];

    public long Size { get; private set; }

    /// <summary>SHA-256(0x00 || entry), RFC 6962 section 2.1.</summary>
    public static byte[] Leaf(ReadOnlySpan<byte> entry)
    {
        var whole = ArrayPool<byte>.Shared.Rent(1 + entry.Length);
        whole[0] = 0;
        entry.CopyTo(whole.AsSpan(1));
        var hash = SHA256.HashData(whole.AsSpan(0, 1 + entry.Length));
        ArrayPool<byte>.Shared.Return(whole);
        return hash;
    }

    /// <summary>SHA-256(0x01 || left || right).</summary>
    public static byte[] Node(ReadOnlySpan<byte> left, ReadOnlySpan<byte> right)
    {
        Span<byte> data = stackalloc byte[1 + (2 * HashSize)];
        data[0] = 1;
        left.CopyTo(data[1..]);
        right.CopyTo(data[(1 + HashSize)..]);
        return SHA256.HashData(data);
    }

    public void Append(byte[] leaf)
    {
        var hash = leaf;
        // Each trailing one bit of the old size is a full subtree that the new leaf completes into a larger one.
        for (var bits = Size; (bits & 1) == 1; bits >>= 1)
        {
            hash = Node(edge[^1], hash);
            edge.RemoveAt(edge.Count - 1);
        }

        edge.Add(hash);
        Size++;
    }

    /// <summary>The root; of the empty tree SHA-256 of nothing.</summary>
    public byte[] Root()
    {
        if (edge.Count == 0)
        {
            return SHA256.HashData([]);
        }

        var root = edge[^1];
        for (var i = edge.Count - 2; i >= 0; i--)
        {
            root = Node(edge[i], root);
        }

        return root;
    }

    internal MerkleTree Clone()
    {
        var copy = new MerkleTree { Size = Size };
        copy.edge.AddRange(edge);
        return copy;
    }

    public byte[] Save()
    {
        var bytes = new byte[8 + (edge.Count * HashSize)];
        BinaryPrimitives.WriteInt64LittleEndian(bytes, Size);
        for (var i = 0; i < edge.Count; i++)
        {
            edge[i].CopyTo(bytes, 8 + (i * HashSize));
        }

        return bytes;
    }

    /// <exception cref="SlipwayException">DataLoss when the bytes are not a saved tree.</exception>
    public static MerkleTree Load(ReadOnlySpan<byte> saved)
    {
        var tree = new MerkleTree();
        if (saved.Length >= 8)
        {
            tree.Size = BinaryPrimitives.ReadInt64LittleEndian(saved);
        }

        if (tree.Size < 0 || saved.Length != 8 + (BitOperations.PopCount((ulong)tree.Size) * HashSize))
        {
            throw new SlipwayException(ErrorCode.DataLoss, "the journal's head is damaged", $"{saved.Length} bytes for {tree.Size} entries", "run slipway audit verify");
        }

        for (var at = 8; at < saved.Length; at += HashSize)
        {
            tree.edge.Add(saved.Slice(at, HashSize).ToArray());
        }

        return tree;
    }
}
