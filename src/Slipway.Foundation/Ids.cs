using System.Buffers.Binary;
using System.Security.Cryptography;

namespace Slipway.Foundation;

/// <summary>The only place where identifiers are minted.</summary>
public static class Ids
{
    private const string Crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

    /// <summary>A new time-ordered identifier: 32 lower-case hexadecimal digits (UUID version 7), also a valid MLflow run id.</summary>
    public static string New()
    {
        Span<byte> bytes = stackalloc byte[16];
        Random(bytes[6..]);
#pragma warning disable RS0030 // this is the place that the ban points to
        BinaryPrimitives.WriteInt64BigEndian(bytes, (DateTimeOffset.UtcNow.ToUnixTimeMilliseconds() << 16) | BinaryPrimitives.ReadUInt16BigEndian(bytes[6..]));
#pragma warning restore RS0030
        bytes[6] = (byte)(0x70 | (bytes[6] & 0x0F));
        bytes[8] = (byte)(0x80 | (bytes[8] & 0x3F));
        return new Guid(bytes, bigEndian: true).ToString("N");
    }

    /// <summary>A ULID: 26 Crockford base-32 characters, 48 bits of milliseconds and 80 random bits.</summary>
    public static string Ulid(DateTimeOffset at)
    {
        Span<byte> random = stackalloc byte[10];
        RandomNumberGenerator.Fill(random);
        Span<char> text = stackalloc char[26];
        var time = at.ToUnixTimeMilliseconds();
        for (var i = 9; i >= 0; i--)
        {
            text[i] = Crockford[(int)(time & 31)];
            time >>= 5;
        }

        for (var half = 0; half < 2; half++)
        {
            ulong bits = 0;
            for (var i = 0; i < 5; i++)
            {
                bits = (bits << 8) | random[(half * 5) + i];
            }

            for (var i = 7; i >= 0; i--)
            {
                text[10 + (half * 8) + i] = Crockford[(int)(bits & 31)];
                bits >>= 5;
            }
        }

        return new string(text);
    }

    // The operating system is asked for kilobytes and not for ten bytes at a time: each question is a system call.
    private static void Random(Span<byte> target)
    {
        var pool = randomness ??= new byte[4096];
        if (unused < target.Length)
        {
            RandomNumberGenerator.Fill(pool);
            unused = pool.Length;
        }

        unused -= target.Length;
        pool.AsSpan(unused, target.Length).CopyTo(target);
    }

    [ThreadStatic]
    private static byte[]? randomness;

    [ThreadStatic]
    private static int unused;
}
