using System.Globalization;

namespace Slipway.Server.Oip;

/// <summary>
/// Decimal text to binary numbers. Up to 19 digits with a power of ten that a double holds exactly are computed directly, which is exact when
/// the digits fit 53 bits (Clinger 1990); everything else goes to the framework's parser. Both round correctly.
/// </summary>
internal static class Numbers
{
    private static readonly double[] Powers = [.. Enumerable.Range(0, 23).Select(exponent => double.Parse($"1e{exponent}", CultureInfo.InvariantCulture))];

    /// <summary>A double; NaN, Infinity and -Infinity included.</summary>
    public static bool TryDouble(ReadOnlySpan<byte> text, out double value) =>
        TryDirect(text, out value) || double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out value);

    /// <summary>A float, rounded once from the decimal text.</summary>
    public static bool TrySingle(ReadOnlySpan<byte> text, out float value)
    {
        if (TryDirect(text, out var wide))
        {
            value = (float)wide;
            // A double that lies exactly between two floats may itself be rounded; only then could rounding twice differ.
            if ((BitConverter.DoubleToUInt64Bits(wide) & 0x1FFF_FFFF) != 0x1000_0000 && Math.Abs(wide) is >= 1e-37 or 0)
            {
                return true;
            }
        }

        return float.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out value);
    }

    private static bool TryDirect(ReadOnlySpan<byte> text, out double value)
    {
        value = 0;
        var at = !text.IsEmpty && text[0] == '-' ? 1 : 0;
        var negative = at == 1;
        ulong digits = 0;
        var count = 0;
        var scale = 0;
        var point = false;
        for (; at < text.Length; at++)
        {
            var digit = (uint)(text[at] - '0');
            if (digit <= 9)
            {
                if (++count > 19)
                {
                    return false;
                }

                digits = (digits * 10) + digit;
                scale += point ? 1 : 0;
            }
            else if (text[at] == '.' && !point)
            {
                point = true;
            }
            else
            {
                return false;
            }
        }

        if (count == 0 || digits > 1UL << 53 || scale > 22)
        {
            return false;
        }

        value = scale == 0 ? digits : digits / Powers[scale];
        value = negative ? -value : value;
        return true;
    }
}
