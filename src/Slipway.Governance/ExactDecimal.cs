using System.Numerics;

namespace Slipway.Governance;

/// <summary>
/// A decimal number exactly as written: unscaled digits and the count of digits after the point.
/// Binary floating point and <see cref="decimal"/> both round, and a gate that rounds 0.7999… up to 0.8 lets a failing model pass.
/// </summary>
internal readonly record struct ExactDecimal(BigInteger Unscaled, int Scale) : IComparable<ExactDecimal>
{
    /// <summary>Longest text read as a number; more digits than any metric has, few enough to compare at once.</summary>
    public const int MaxLength = 100;

    /// <summary>
    /// Reads <c>-?(0|[1-9][0-9]*)(\.[0-9]+)?</c> and nothing else: no spaces, plus sign, exponent, thousands, NaN or Infinity.
    /// </summary>
    /// <param name="text">The text as it was written.</param>
    /// <param name="value">The number.</param>
    /// <param name="why">When the answer is false: what is wrong with the text.</param>
    public static bool TryParse(string text, out ExactDecimal value, out string why)
    {
        value = default;
        why = "";
        if (text.Length == 0) { why = "it is empty"; return false; }
        if (text.Length > MaxLength) { why = $"it has {text.Length} characters; a decimal number has at most {MaxLength}"; return false; }
        if (text.Trim().ToLowerInvariant() is "nan" or ".nan" or "inf" or "-inf" or "+inf" or ".inf" or "-.inf" or "infinity" or "-infinity" or "+infinity" or "∞" or "-∞")
        {
            why = $"'{text}' is not a finite number";
            return false;
        }
        if (text.Any(char.IsWhiteSpace)) { why = $"'{text}' contains white space"; return false; }

        var digits = text.AsSpan(text[0] == '-' ? 1 : 0);
        var point = digits.IndexOf('.');
        var whole = point < 0 ? digits : digits[..point];
        var fraction = point < 0 ? [] : digits[(point + 1)..];
        var shaped = whole.Length > 0 && (whole.Length == 1 || whole[0] != '0') && (point < 0 || fraction.Length > 0);
        if (!shaped || whole.ContainsAnyExceptInRange('0', '9') || fraction.ContainsAnyExceptInRange('0', '9'))
        {
            why = $"'{text}' is not a plain decimal number such as 0.74";
            return false;
        }
        var unscaled = BigInteger.Parse(string.Concat(whole, fraction), System.Globalization.NumberStyles.None, System.Globalization.CultureInfo.InvariantCulture);
        value = new ExactDecimal(text[0] == '-' ? -unscaled : unscaled, fraction.Length);
        return true;
    }

    public static ExactDecimal operator -(ExactDecimal a, ExactDecimal b)
    {
        var scale = Math.Max(a.Scale, b.Scale);
        return new ExactDecimal(a.At(scale) - b.At(scale), scale);
    }

    public static ExactDecimal operator -(ExactDecimal a) => new(-a.Unscaled, a.Scale);

    public int CompareTo(ExactDecimal other)
    {
        var scale = Math.Max(Scale, other.Scale);
        return At(scale).CompareTo(other.At(scale));
    }

    public bool IsNegative => Unscaled.Sign < 0;

    public bool IsInteger => Scale == 0;

    public override string ToString()
    {
        var digits = BigInteger.Abs(Unscaled).ToString(System.Globalization.CultureInfo.InvariantCulture).PadLeft(Scale + 1, '0');
        var sign = Unscaled.Sign < 0 ? "-" : "";
        return Scale == 0 ? sign + digits : $"{sign}{digits[..^Scale]}.{digits[^Scale..]}";
    }

    private BigInteger At(int scale) => Unscaled * BigInteger.Pow(10, scale - Scale);
}
