using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace Slipway.Cli;

/// <summary>JSON as block YAML. Text is quoted as JSON wherever YAML could read it as anything but that text, and wherever it holds a digit.</summary>
internal static partial class Yaml
{
    private static readonly JsonSerializerOptions Quoted = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static void Write(StringBuilder to, JsonElement value, int indent)
    {
        switch (value.ValueKind)
        {
            case JsonValueKind.Object when value.EnumerateObject().Any():
                foreach (var member in value.EnumerateObject())
                {
                    to.Append(' ', indent).Append(Scalar(member.Name)).Append(':');
                    Nested(to, member.Value, indent);
                }

                break;
            case JsonValueKind.Array when value.GetArrayLength() > 0:
                foreach (var item in value.EnumerateArray())
                {
                    to.Append(' ', indent).Append('-');
                    if (item.ValueKind == JsonValueKind.Object && item.EnumerateObject().Any())
                    {
                        // The first member stands on the line of the dash.
                        var start = to.Length;
                        Write(to, item, indent + 2);
                        to.Remove(start, indent + 1);
                    }
                    else
                    {
                        Nested(to, item, indent);
                    }
                }

                break;
            default:
                to.Append(' ', indent).AppendLine(Leaf(value));
                break;
        }
    }

    private static void Nested(StringBuilder to, JsonElement value, int indent)
    {
        if (value.ValueKind is JsonValueKind.Object or JsonValueKind.Array && Leaf(value) is not ("{}" or "[]"))
        {
            to.AppendLine();
            Write(to, value, indent + 2);
        }
        else
        {
            to.Append(' ').AppendLine(Leaf(value));
        }
    }

    private static string Leaf(JsonElement value) => value.ValueKind == JsonValueKind.String ? Scalar(value.GetString()!) : value.GetRawText();

    private static string Scalar(string text) => Plain().IsMatch(text) && !Special().IsMatch(text) ? text : JsonSerializer.Serialize(text, Quoted);

    [GeneratedRegex(@"\A[A-Za-z_][A-Za-z_./@ -]*(?<! )\z", RegexOptions.CultureInvariant, matchTimeoutMilliseconds: 1000)]
    private static partial Regex Plain();

    [GeneratedRegex(@"\A(?:true|false|yes|no|on|off|null|y|n|inf|nan)\z", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant, matchTimeoutMilliseconds: 1000)]
    private static partial Regex Special();
}
