using System.Buffers;
using System.Globalization;
using System.Net.Http.Headers;
using System.Text.Json;
using Slipway.Foundation;
using Slipway.Registry;
using Slipway.Serving.Tensors;

namespace Slipway.Serving.Runtimes;

/// <summary>Speaks the Open Inference Protocol to another server: metadata as JSON, inference as binary tensor data.</summary>
internal sealed class OipClient(HttpClient http, string model, string? version)
{
    private const long MaxAnswer = 64 << 20;
    private const string HeaderLength = "Inference-Header-Content-Length";
    private readonly string _path = $"/v2/models/{Uri.EscapeDataString(model)}{(version is null ? "" : $"/versions/{Uri.EscapeDataString(version)}")}";

    /// <summary>What the model there takes and gives. Throws <see cref="SlipwayException"/> or <see cref="HttpRequestException"/>.</summary>
    public async Task<ModelSignature> SignatureAsync(CancellationToken ct)
    {
        using var response = await http.GetAsync(_path, HttpCompletionOption.ResponseHeadersRead, ct);
        var body = await BodyAsync(response, ct);
        if (!response.IsSuccessStatusCode)
        {
            throw new SlipwayException(
                ErrorCode.Unavailable, $"the server of model '{model}' does not describe it", $"it answers {(int)response.StatusCode}: {ErrorOf(body)}", "check the address and the model's name there");
        }

        try
        {
            using var json = JsonDocument.Parse(body);
            return new(Specs(json.RootElement.GetProperty("inputs")), Specs(json.RootElement.GetProperty("outputs")), null);
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
        {
            throw new SlipwayException(ErrorCode.Unavailable, $"the server of model '{model}' does not describe it", "its answer is not model metadata", "check that it speaks the Open Inference Protocol", e);
        }
    }

    /// <summary>Whether the server says that it can answer.</summary>
    public async Task<bool> ReadyAsync(CancellationToken ct)
    {
        using var response = await http.GetAsync("/v2/health/ready", ct);
        return response.IsSuccessStatusCode;
    }

    /// <summary>Sends the inputs and fills the outputs in the order of <paramref name="outputs"/>. Throws what HTTP throws; what the server refuses is a value.</summary>
    public async Task<RunResult> InferAsync(InferRequest request, IReadOnlyList<TensorSpec> outputs, CancellationToken ct)
    {
        var (body, jsonLength) = Encode(request);
        using var message = new HttpRequestMessage(HttpMethod.Post, _path + "/infer") { Content = new ReadOnlyMemoryContent(body) };
        message.Content.Headers.ContentType = new MediaTypeHeaderValue("application/octet-stream");
        message.Headers.Add(HeaderLength, jsonLength.ToString(CultureInfo.InvariantCulture));
        if (request.IsShadow)
        {
            message.Headers.Add("x-slipway-shadow", "1");
        }

        using var response = await http.SendAsync(message, HttpCompletionOption.ResponseHeadersRead, ct);
        var answer = await BodyAsync(response, ct);
        if (!response.IsSuccessStatusCode)
        {
            return new((int)response.StatusCode switch
            {
                400 or 413 or 415 or 422 => ErrorCode.InvalidArgument,
                429 => ErrorCode.ResourceExhausted,
                503 => ErrorCode.Unavailable,
                504 => ErrorCode.DeadlineExceeded,
                _ => ErrorCode.Internal,
            }, $"the model's server answers {(int)response.StatusCode}: {ErrorOf(answer)}");
        }

        var header = response.Headers.TryGetValues(HeaderLength, out var values) || response.Content.Headers.TryGetValues(HeaderLength, out values) ? values.First() : null;
        try
        {
            Decode(answer, header is null ? answer.Length : int.Parse(header, NumberStyles.None, CultureInfo.InvariantCulture), request, outputs);
            return new() { Rows = Math.Max(1, Flat.Rows(request.Inputs)) };
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException or FormatException or OverflowException or ArgumentException)
        {
            request.Outputs.Clear();
            return new(ErrorCode.Internal, $"the model's server gave an answer that cannot be read: {e.Message}");
        }
    }

    private static (ReadOnlyMemory<byte> Body, int JsonLength) Encode(InferRequest request)
    {
        var body = new ArrayBufferWriter<byte>(1024);
        using (var json = new Utf8JsonWriter(body))
        {
            json.WriteStartObject();
            json.WriteStartObject("parameters");
            json.WriteBoolean("binary_data_output", true);
            json.WriteEndObject();
            json.WriteStartArray("inputs");
            for (var i = 0; i < request.Inputs.Count; i++)
            {
                var tensor = request.Inputs[i];
                json.WriteStartObject();
                json.WriteString("name", tensor.Name);
                json.WriteString("datatype", tensor.Datatype.Name());
                json.WriteStartArray("shape");
                foreach (var dimension in tensor.Shape)
                {
                    json.WriteNumberValue(dimension);
                }

                json.WriteEndArray();
                json.WriteStartObject("parameters");
                json.WriteNumber("binary_data_size", tensor.Length);
                json.WriteEndObject();
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteEndObject();
        }

        var jsonLength = body.WrittenCount;
        for (var i = 0; i < request.Inputs.Count; i++)
        {
            body.Write(request.Inputs[i].Data);
        }

        return (body.WrittenMemory, jsonLength);
    }

    private static void Decode(byte[] answer, int jsonLength, InferRequest request, IReadOnlyList<TensorSpec> outputs)
    {
        using var json = JsonDocument.Parse(answer.AsMemory(0, jsonLength));
        var binary = answer.AsSpan(jsonLength);
        var found = new Dictionary<string, (Datatype Datatype, long[] Shape, byte[] Data)>(StringComparer.Ordinal);
        foreach (var output in json.RootElement.GetProperty("outputs").EnumerateArray())
        {
            var name = output.GetProperty("name").GetString()!;
            var shape = output.GetProperty("shape").EnumerateArray().Select(dimension => dimension.GetInt64()).ToArray();
            var datatype = Datatypes.TryParse(output.GetProperty("datatype").GetString() ?? "", out var known) ? known : throw new FormatException($"output '{name}' has an unknown datatype");
            byte[] data;
            if (output.TryGetProperty("parameters", out var parameters) && parameters.TryGetProperty("binary_data_size", out var size))
            {
                data = binary[..size.GetInt32()].ToArray();
                binary = binary[size.GetInt32()..];
            }
            else
            {
                data = Elements(output.GetProperty("data"), datatype);
            }

            var count = Tensor.Product(shape);
            if (shape.Length > Tensor.MaxRank || count < 0 || (datatype == Datatype.Bytes ? !Tensor.IsWellFormedBytes(data, count) : count * datatype.Size() != data.Length))
            {
                throw new FormatException($"output '{name}' does not have the data of its shape");
            }

            found[name] = (datatype, shape, data);
        }

        request.Outputs.Clear();
        foreach (var spec in outputs)
        {
            var (datatype, shape, data) = found[spec.Name];
            var tensor = request.Outputs.Add();
            (tensor.Name, tensor.Datatype) = (spec.Name, datatype);
            tensor.TrySetShape(shape);
            tensor.Set(data);
        }
    }

    // For servers without the binary extension.
    private static byte[] Elements(JsonElement data, Datatype datatype)
    {
        var bytes = new ArrayBufferWriter<byte>();
        Add(data, datatype, bytes, 0);
        return bytes.WrittenSpan.ToArray();
    }

    private static void Add(JsonElement data, Datatype datatype, ArrayBufferWriter<byte> bytes, int depth)
    {
        if (data.ValueKind == JsonValueKind.Array && depth <= Tensor.MaxRank)
        {
            foreach (var element in data.EnumerateArray())
            {
                Add(element, datatype, bytes, depth + 1);
            }

            return;
        }

        if (datatype == Datatype.Bytes)
        {
            var text = System.Text.Encoding.UTF8.GetBytes(data.GetString()!);
            bytes.Write(BitConverter.GetBytes((uint)text.Length));
            bytes.Write(text);
            return;
        }

        bytes.Write(datatype switch
        {
            Datatype.Bool => [data.ValueKind == JsonValueKind.Number ? data.GetByte() : data.GetBoolean() ? (byte)1 : (byte)0],
            Datatype.UInt8 => [data.GetByte()],
            Datatype.Int8 => [(byte)data.GetSByte()],
            Datatype.UInt16 => BitConverter.GetBytes(data.GetUInt16()),
            Datatype.Int16 => BitConverter.GetBytes(data.GetInt16()),
            Datatype.UInt32 => BitConverter.GetBytes(data.GetUInt32()),
            Datatype.Int32 => BitConverter.GetBytes(data.GetInt32()),
            Datatype.UInt64 => BitConverter.GetBytes(data.GetUInt64()),
            Datatype.Int64 => BitConverter.GetBytes(data.GetInt64()),
            Datatype.Fp32 => BitConverter.GetBytes(data.GetSingle()),
            Datatype.Fp64 => BitConverter.GetBytes(data.GetDouble()),
            _ => throw new FormatException($"{datatype.Name()} cannot be read from JSON"),
        });
    }

    private static List<TensorSpec> Specs(JsonElement tensors) =>
        [.. tensors.EnumerateArray().Select(tensor => new TensorSpec(
            tensor.GetProperty("name").GetString()!,
            tensor.GetProperty("datatype").GetString()!,
            [.. tensor.GetProperty("shape").EnumerateArray().Select(dimension => dimension.GetInt64())]))];

    private static async Task<byte[]> BodyAsync(HttpResponseMessage response, CancellationToken ct)
    {
        await response.Content.LoadIntoBufferAsync(MaxAnswer, ct);
        return await response.Content.ReadAsByteArrayAsync(ct);
    }

    private static string ErrorOf(byte[] body)
    {
        try
        {
            using var json = JsonDocument.Parse(body);
            return json.RootElement.TryGetProperty("error", out var error) && error.GetString() is { } text ? text[..Math.Min(400, text.Length)] : "no reason given";
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            return "no reason given";
        }
    }
}
