using System.Buffers;
using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Slipway.Foundation;

/// <summary>
/// JSON that has one byte form for one value (RFC 8785), so that it can be hashed. Numbers that are not integers are
/// written as strings: .NET and ECMAScript print doubles differently at the edges, and a hash may not depend on that.
/// </summary>
public static class CanonicalJson
{
    /// <summary>How records become JSON and are read back: camelCase, enums as text, numbers also accepted as text.</summary>
    public static JsonSerializerOptions Options { get; } = new(JsonSerializerDefaults.Web)
    {
        NumberHandling = JsonNumberHandling.AllowReadingFromString | JsonNumberHandling.AllowNamedFloatingPointLiterals,
        Converters = { new JsonStringEnumConverter(JsonNamingPolicy.CamelCase) },
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        AllowDuplicateProperties = false,
    };

    public static byte[] Serialize(object? value)
    {
        var buffer = new ArrayBufferWriter<byte>(512);
        using (var writer = new Utf8JsonWriter(buffer, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, SkipValidation = true }))
        {
            Write(writer, value);
        }

        return buffer.WrittenSpan.ToArray();
    }

    /// <summary>Writes a value into a larger text.</summary>
    internal static void Write(Utf8JsonWriter writer, object? value)
    {
        using var document = value is JsonElement ? null : JsonSerializer.SerializeToDocument(value, value?.GetType() ?? typeof(object), Options);
        Write(writer, document?.RootElement ?? (JsonElement)value!);
    }

    private static void Write(Utf8JsonWriter writer, JsonElement value)
    {
        switch (value.ValueKind)
        {
            case JsonValueKind.Object:
                writer.WriteStartObject();
                foreach (var property in Sorted(value))
                {
                    writer.WritePropertyName(property.Name);
                    Write(writer, property.Value);
                }

                writer.WriteEndObject();
                break;
            case JsonValueKind.Array:
                writer.WriteStartArray();
                foreach (var item in value.EnumerateArray())
                {
                    Write(writer, item);
                }

                writer.WriteEndArray();
                break;
            case JsonValueKind.Number when value.TryGetInt64(out var integer):
                writer.WriteNumberValue(integer);
                break;
            case JsonValueKind.Number:
                writer.WriteStringValue(value.GetDouble().ToString("R", CultureInfo.InvariantCulture));
                break;
            default:
                value.WriteTo(writer);
                break;
        }
    }

    private static JsonProperty[] Sorted(JsonElement value)
    {
        var properties = new JsonProperty[value.GetPropertyCount()];
        var i = 0;
        foreach (var property in value.EnumerateObject())
        {
            properties[i++] = property;
        }

        Array.Sort(properties, static (a, b) => string.CompareOrdinal(a.Name, b.Name));
        return properties;
    }
}
