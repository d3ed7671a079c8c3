using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Slipway.Foundation;

namespace Slipway.Server.Mlflow;

/// <summary>
/// The fields of a request with protobuf's JSON quirks: numbers may be strings, integers may be <c>5.0</c>, booleans may be
/// <c>"TRUE"</c>, enums may be names or numbers, NaN and infinities may be strings or bare tokens; unknown fields are ignored.
/// A wrong type is refused, never swallowed.
/// </summary>
internal readonly struct MlflowInput
{
    private const int MaxBody = 32 * 1024 * 1024;
    private readonly JsonElement body;
    private readonly IQueryCollection? query;
    private readonly string path;

    public MlflowInput(JsonElement body, string path = "")
    {
        this.body = body;
        this.path = path;
    }

    public MlflowInput(IQueryCollection query)
    {
        this.query = query;
        path = "";
    }

    /// <summary>Reads the fields: the query of a GET, else the JSON body. The document, if any, is disposed by the caller.</summary>
    public static async ValueTask<(MlflowInput Input, JsonDocument? Document)> ReadAsync(HttpContext http)
    {
        var request = http.Request;
        var hasBody = request.ContentLength > 0 || (request.ContentLength is null && request.Headers.TransferEncoding.Count > 0);
        var fromQuery = HttpMethods.IsGet(request.Method) || HttpMethods.IsHead(request.Method);
        if (fromQuery && (request.Query.Count > 0 || !hasBody))
        {
            return (new MlflowInput(request.Query), null);
        }

        if (!fromQuery)
        {
            CheckContentType(request.ContentType, hasBody);
        }

        var document = hasBody ? Parse(await ReadBodyAsync(http)) : null;
        return (new MlflowInput(document?.RootElement ?? default), document);
    }

    /// <summary>Parses a body. What is not JSON counts as an empty object; a string that holds JSON is decoded a second time.</summary>
    internal static JsonDocument? Parse(byte[] bytes)
    {
        var document = TryParse(bytes) ?? TryParse(QuoteBareNumbers(bytes));
        if (document is { RootElement.ValueKind: JsonValueKind.String })
        {
            var text = document.RootElement.GetRawText();
            document.Dispose();
            document = TryParse(Unquote(text));
        }

        return document;
    }

    public bool Has(string name) => query is null ? Find(name) is not null : query.ContainsKey(name);

    /// <summary>A text, or null when absent or null.</summary>
    public string? Text(string name)
    {
        if (query is not null)
        {
            return query.TryGetValue(name, out var values) ? values[^1] : null;
        }

        return Find(name) is { } value
            ? value.ValueKind == JsonValueKind.String ? String(name, value) : throw Bad(name, value.GetRawText(), "it must be a string")
            : null;
    }

    /// <summary>A text that must be there and not be empty.</summary>
    public string Required(string name) => Text(name) is { Length: > 0 } text ? text : throw Missing(name);

    /// <summary>A text that must be there, empty or not.</summary>
    public string RequiredPresent(string name) => Text(name) ?? throw Missing(name);

    public long? Integer(string name)
    {
        if (Scalar(name) is not { } text)
        {
            return null;
        }

        if (long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var integer))
        {
            return integer;
        }

        return decimal.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var number) && decimal.IsInteger(number) && number is >= long.MinValue and <= long.MaxValue
            ? (long)number
            : throw Bad(name, text, "it must be an integer of 64 bits");
    }

    public int? Int32(string name) => Integer(name) is { } value
        ? value is >= int.MinValue and <= int.MaxValue ? (int)value : throw Bad(name, value.ToString(CultureInfo.InvariantCulture), "it must be an integer of 32 bits")
        : null;

    public double? Number(string name) => Scalar(name) switch
    {
        null => null,
        "NaN" => double.NaN,
        "Infinity" => double.PositiveInfinity,
        "-Infinity" => double.NegativeInfinity,
        var text => double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var number) && text.AsSpan().ContainsAnyInRange('0', '9')
            ? number
            : throw Bad(name, text, "it must be a number"),
    };

    public bool? Flag(string name)
    {
        if (query is null && Find(name) is { ValueKind: JsonValueKind.True or JsonValueKind.False } value)
        {
            return value.ValueKind == JsonValueKind.True;
        }

        return Scalar(name) switch
        {
            null => null,
            var text when bool.TryParse(text, out var flag) => flag,
            var text => throw Bad(name, text, "it must be true or false"),
        };
    }

    /// <summary>An enum given by wire name or number.</summary>
    public T? Enum<T>(string name, IReadOnlyDictionary<string, T> names)
        where T : struct, Enum
    {
        if (Scalar(name) is not { } text)
        {
            return null;
        }

        if (names.TryGetValue(text, out var value))
        {
            return value;
        }

        return int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && System.Enum.IsDefined((T)(object)number)
            ? (T)(object)number
            : throw Bad(name, text, $"it must be one of {string.Join(", ", names.Keys)}");
    }

    /// <summary>A repeated text: a JSON list, or a repeated key of the query.</summary>
    public IReadOnlyList<string> Texts(string name)
    {
        if (query is not null)
        {
            return query.TryGetValue(name, out var values) ? values.Select(v => v ?? "").ToList() : [];
        }

        var list = new List<string>();
        foreach (var item in Array(name))
        {
            list.Add(item.ValueKind == JsonValueKind.String ? String(name, item) : throw Bad(name, item.GetRawText(), "it must be a list of strings"));
        }

        return list;
    }

    /// <summary>A repeated message; errors inside name it as <c>metrics[3].value</c>.</summary>
    public IReadOnlyList<MlflowInput> Items(string name)
    {
        var list = new List<MlflowInput>();
        foreach (var item in Array(name))
        {
            list.Add(item.ValueKind == JsonValueKind.Object ? new MlflowInput(item, $"{path}{name}[{list.Count}].") : throw Bad(name, item.GetRawText(), "it must be a list of objects"));
        }

        return list;
    }

    public MlflowInput? Message(string name) => query is not null || Find(name) is not { } value
        ? null
        : value.ValueKind == JsonValueKind.Object ? new MlflowInput(value, $"{path}{name}.") : throw Bad(name, value.GetRawText(), "it must be an object");

    public SlipwayException Missing(string name) =>
        SlipwayException.Invalid($"Missing value for required parameter '{path}{name}'. See the API docs for more information about request parameters.");

    public SlipwayException Bad(string name, string value, string hint) =>
        SlipwayException.Invalid($"Invalid value {(value.Length > 200 ? value[..200] + "…" : value)} for parameter '{path}{name}' supplied: {hint}");

    /// <summary>Puts quotes around the bare tokens NaN, Infinity and -Infinity, which Python writes and JSON does not know.</summary>
    internal static byte[] QuoteBareNumbers(ReadOnlySpan<byte> json)
    {
        var output = new ArrayBufferWriter<byte>(json.Length + 16);
        var inText = false;
        for (var i = 0; i < json.Length; i++)
        {
            if (inText)
            {
                if (json[i] == '\\' && i + 1 < json.Length)
                {
                    output.Write(json.Slice(i, 2));
                    i++;
                    continue;
                }

                inText = json[i] != '"';
            }
            else if (json[i] == '"')
            {
                inText = true;
            }
            else
            {
                var rest = json[i..];
                var token = rest.StartsWith("NaN"u8) ? 3 : rest.StartsWith("Infinity"u8) ? 8 : rest.StartsWith("-Infinity"u8) ? 9 : 0;
                if (token > 0)
                {
                    output.Write("\""u8);
                    output.Write(rest[..token]);
                    output.Write("\""u8);
                    i += token - 1;
                    continue;
                }
            }

            output.Write(json.Slice(i, 1));
        }

        return output.WrittenSpan.ToArray();
    }

    /// <summary>Whether the request has a body that says plainly that it is JSON.</summary>
    internal static bool IsJsonBody(HttpRequest request) => request.ContentLength > 0 && request.ContentType is "application/json";

    internal static async ValueTask<byte[]> ReadBodyAsync(HttpContext http)
    {
        var reader = http.Request.BodyReader;
        while (true)
        {
            var result = await reader.ReadAsync(http.RequestAborted);
            if (result.Buffer.Length > MaxBody)
            {
                throw new SlipwayException(ErrorCode.TooLarge, "The request body is too large", $"the limit is {MaxBody} bytes", "split the batch");
            }

            if (result.IsCompleted)
            {
                var bytes = result.Buffer.ToArray();
                reader.AdvanceTo(result.Buffer.End);
                return bytes;
            }

            reader.AdvanceTo(result.Buffer.Start, result.Buffer.End);
        }
    }

    private static byte[] Unquote(string json)
    {
        try
        {
            return Encoding.UTF8.GetBytes(JsonSerializer.Deserialize<string>(json)!);
        }
        catch (JsonException)
        {
            return [];
        }
    }

    private static JsonDocument? TryParse(ReadOnlyMemory<byte> bytes)
    {
        try
        {
            return JsonDocument.Parse(bytes);
        }
        catch (JsonException)
        {
            // Real servers read garbage as an empty object and then miss the required fields.
            return null;
        }
    }

    private static void CheckContentType(string? contentType, bool hasBody)
    {
        if (string.IsNullOrEmpty(contentType))
        {
            if (hasBody)
            {
                throw SlipwayException.Invalid("Bad Request. Content-Type header is missing.", next: "send application/json");
            }

            return;
        }

        var semicolon = contentType.IndexOf(';', StringComparison.Ordinal);
        if (!(semicolon < 0 ? contentType.AsSpan() : contentType.AsSpan(0, semicolon)).Trim().Equals("application/json", StringComparison.OrdinalIgnoreCase))
        {
            throw SlipwayException.Invalid("Bad Request. Content-Type should be application/json.");
        }
    }

    private JsonElement? Find(string name) =>
        body.ValueKind == JsonValueKind.Object && body.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;

    private string String(string name, JsonElement value)
    {
        try
        {
            return value.GetString()!;
        }
        catch (InvalidOperationException)
        {
            throw SlipwayException.Invalid($"Invalid value for parameter '{path}{name}' supplied: it is not valid Unicode text");
        }
    }

    private string? Scalar(string name)
    {
        if (query is not null)
        {
            return Text(name);
        }

        return Find(name) is { } value
            ? value.ValueKind switch
            {
                JsonValueKind.String => String(name, value),
                JsonValueKind.Number => value.GetRawText(),
                _ => throw Bad(name, value.GetRawText(), "it has the wrong type"),
            }
            : null;
    }

    private JsonElement.ArrayEnumerator Array(string name)
    {
        if (query is not null || Find(name) is not { } value)
        {
            return default;
        }

        return value.ValueKind == JsonValueKind.Array ? value.EnumerateArray() : throw Bad(name, value.GetRawText(), "it must be a list");
    }
}
