using System.Text.Json;
using System.Text.Json.Serialization;

namespace Slipway.Monitoring;

/// <summary>How a report is written as JSON: camel case, enums as words, a number that does not exist left out of dictionaries and null elsewhere.</summary>
public static class ReportJson
{
    /// <summary>The options.</summary>
    public static readonly JsonSerializerOptions Options = new(JsonSerializerDefaults.Web)
    {
        Converters = { new JsonStringEnumConverter(JsonNamingPolicy.CamelCase), new FiniteConverter() },
    };

    /// <summary>NaN and infinities have no JSON form; a report writes null for them.</summary>
    private sealed class FiniteConverter : JsonConverter<double>
    {
        public override double Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) => reader.TokenType == JsonTokenType.Null ? double.NaN : reader.GetDouble();

        public override void Write(Utf8JsonWriter writer, double value, JsonSerializerOptions options)
        {
            if (double.IsFinite(value))
            {
                writer.WriteNumberValue(value);
            }
            else
            {
                writer.WriteNullValue();
            }
        }
    }
}
