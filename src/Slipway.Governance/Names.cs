using System.Text.RegularExpressions;
using Slipway.Foundation;

namespace Slipway.Governance;

/// <summary>The shape of names that people give to users, keys, policies and gates: short, lower case, no look-alikes by case.</summary>
public static partial class Names
{
    public const string Rule = "1 to 64 of a-z 0-9 . _ -, beginning with a letter or digit";

    public static bool IsName(string text) => Shape().IsMatch(text);

    /// <exception cref="SlipwayException"><see cref="ErrorCode.InvalidArgument"/>.</exception>
    public static void Demand(string text, string what)
    {
        if (!IsName(text))
            throw new SlipwayException(ErrorCode.InvalidArgument, $"'{text[..Math.Min(text.Length, 80)]}' cannot be the name of a {what}", $"a name is {Rule}");
    }

    [GeneratedRegex(@"\A[a-z0-9][a-z0-9._-]{0,63}\z", RegexOptions.CultureInvariant, matchTimeoutMilliseconds: 100)]
    private static partial Regex Shape();
}
