using System.Buffers;
using System.IO.Hashing;
using System.Text;

namespace Slipway.Serving.Routing;

/// <summary>
/// Which slot an entity has: <c>XXH3_64(utf8(key), seed = XXH3_64(utf8(salt))) mod 10000</c>. The salt is the rollout's id, so that every
/// rollout draws another set of first users.
/// </summary>
internal static class Picker
{
    /// <summary>The hash seed of a salt; computed once per table.</summary>
    public static long Seed(string salt) => unchecked((long)XxHash3.HashToUInt64(Encoding.UTF8.GetBytes(salt)));

    /// <summary>The slot of a key under a seed. Does not allocate for keys up to 512 bytes.</summary>
    public static int Slot(ReadOnlySpan<char> key, long seed)
    {
        const int OnStack = 512;
        if (key.Length * 3 <= OnStack)
        {
            Span<byte> utf8 = stackalloc byte[OnStack];
            var length = Encoding.UTF8.GetBytes(key, utf8);
            return Slot(utf8[..length], seed);
        }

        var rented = ArrayPool<byte>.Shared.Rent(Encoding.UTF8.GetMaxByteCount(key.Length));
        try
        {
            var length = Encoding.UTF8.GetBytes(key, rented);
            return Slot(rented.AsSpan(0, length), seed);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(rented);
        }
    }

    /// <summary>The slot of a key given as UTF-8.</summary>
    public static int Slot(ReadOnlySpan<byte> key, long seed) => (int)(XxHash3.HashToUInt64(key, seed) % SlotTable.Size);
}
