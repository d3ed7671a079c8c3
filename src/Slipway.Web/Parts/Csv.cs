using System.Globalization;
using System.Text;

namespace Slipway.Web.Parts;

/// <summary>Text as RFC 4180 has it, that no spreadsheet runs.</summary>
internal static class Csv
{
    /// <summary>A field between quotes. One that begins like a formula gets an apostrophe first, because a spreadsheet would run it.</summary>
    public static string Quoted(string text) => "\"" + (text.Length > 0 && text[0] is '=' or '+' or '-' or '@' ? "'" : "") + text.Replace("\"", "\"\"", StringComparison.Ordinal) + "\"";

    /// <summary>A number so that reading it back gives the same number; nothing for nothing.</summary>
    public static string Number(double? value) => value?.ToString("R", CultureInfo.InvariantCulture) ?? "";

    /// <summary>A moment in UTC.</summary>
    public static string Moment(DateTimeOffset? at) => at?.UtcDateTime.ToString("O", CultureInfo.InvariantCulture) ?? "";

    /// <summary>Adds a line.</summary>
    public static void Line(this StringBuilder text, IEnumerable<string> fields) => text.AppendJoin(',', fields).Append("\r\n");
}
