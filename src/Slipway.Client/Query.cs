using System.Globalization;
using System.Text;

namespace Slipway.Client;

/// <summary>The query of a path, with every value escaped. Parameters without a value are left out.</summary>
public readonly struct Query : IEquatable<Query>
{
    private Query(string text) => Text = text;

    /// <summary>Empty, or <c>?a=1&amp;b=2</c>.</summary>
    public string Text => field ?? "";

    public static Query Of(params (string Name, object? Value)[] parameters)
    {
        var text = new StringBuilder();
        foreach (var (name, value) in parameters)
        {
            var word = value switch
            {
                null or "" or false => null,
                true => "true",
                DateTimeOffset at => at.UtcDateTime.ToString("O", CultureInfo.InvariantCulture),
                IFormattable number => number.ToString(null, CultureInfo.InvariantCulture),
                _ => value.ToString(),
            };
            if (word is not null)
            {
                text.Append(text.Length == 0 ? '?' : '&').Append(name).Append('=').Append(Uri.EscapeDataString(word));
            }
        }

        return new Query(text.ToString());
    }

    public bool Equals(Query other) => Text == other.Text;

    public override bool Equals(object? obj) => obj is Query other && Equals(other);

    public override int GetHashCode() => Text.GetHashCode(StringComparison.Ordinal);

    public static bool operator ==(Query left, Query right) => left.Equals(right);

    public static bool operator !=(Query left, Query right) => !left.Equals(right);

    public override string ToString() => Text;
}
