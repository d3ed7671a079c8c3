using System.Text;
using System.Text.Json;

namespace Slipway.Tests.Serving;

/// <summary>The small reference models with a request and the outputs that their framework gave.</summary>
public static class ReferenceModels
{
    public static string Folder => Path.Combine(AppContext.BaseDirectory, "Serving", "models");

    public static TheoryData<string> All => [.. Directory.GetFiles(Folder, "*.onnx").Select(path => Path.GetFileNameWithoutExtension(path)).Order(StringComparer.Ordinal)];

    public static string PathOf(string model) => Path.Combine(Folder, $"{model}.onnx");

    public static byte[] Bytes(string model) => File.ReadAllBytes(PathOf(model));

    public static JsonElement Case(string model) => JsonDocument.Parse(File.ReadAllBytes(Path.Combine(Folder, $"{model}.case.json"))).RootElement;

    /// <summary>The case's request as it goes over the wire.</summary>
    public static byte[] Request(string model) => JsonSerializer.SerializeToUtf8Bytes(Case(model).GetProperty("request"));

    /// <summary>A tensor's data in the layout of the binary extension.</summary>
    public static byte[] Raw(string datatype, JsonElement data)
    {
        var raw = new MemoryStream();
        foreach (var value in data.EnumerateArray())
        {
            raw.Write(datatype switch
            {
                "BOOL" => [value.ValueKind == JsonValueKind.True ? (byte)1 : (byte)0],
                "UINT8" => [value.GetByte()],
                "FP16" => BitConverter.GetBytes((Half)value.GetDouble()),
                "FP32" => BitConverter.GetBytes(value.GetSingle()),
                "FP64" => BitConverter.GetBytes(value.GetDouble()),
                "INT32" => BitConverter.GetBytes(value.GetInt32()),
                "INT64" => BitConverter.GetBytes(value.GetInt64()),
                "BYTES" => [.. BitConverter.GetBytes(Encoding.UTF8.GetByteCount(value.GetString()!)), .. Encoding.UTF8.GetBytes(value.GetString()!)],
                _ => throw new NotSupportedException(datatype),
            });
        }

        return raw.ToArray();
    }

    /// <summary>The data of a tensor in that layout.</summary>
    public static List<object> Values(string datatype, ReadOnlySpan<byte> raw)
    {
        var values = new List<object>();
        while (raw.Length > 0)
        {
            var size = datatype switch { "FP16" => 2, "FP32" or "INT32" => 4, "FP64" or "INT64" => 8, "BYTES" => 4 + BitConverter.ToInt32(raw), _ => 1 };
            values.Add(datatype switch
            {
                "BOOL" => raw[0] != 0,
                "UINT8" => raw[0],
                "FP16" => (float)BitConverter.ToHalf(raw),
                "FP32" => BitConverter.ToSingle(raw),
                "FP64" => BitConverter.ToDouble(raw),
                "INT32" => BitConverter.ToInt32(raw),
                "INT64" => BitConverter.ToInt64(raw),
                "BYTES" => Encoding.UTF8.GetString(raw[4..size]),
                _ => throw new NotSupportedException(datatype),
            });
            raw = raw[size..];
        }

        return values;
    }

    /// <summary>Compares an answer's outputs with the expected ones, within the case's tolerance.</summary>
    public static void Check(string model, JsonElement outputs)
    {
        var expected = Case(model);
        var (atol, rtol) = (expected.GetProperty("atol").GetDouble(), expected.GetProperty("rtol").GetDouble());
        foreach (var want in expected.GetProperty("expected_outputs").EnumerateArray())
        {
            var got = outputs.EnumerateArray().Single(output => output.GetProperty("name").GetString() == want.GetProperty("name").GetString());
            Assert.Equal(want.GetProperty("datatype").GetString(), got.GetProperty("datatype").GetString());
            Assert.Equal(want.GetProperty("shape").EnumerateArray().Select(d => d.GetInt64()), got.GetProperty("shape").EnumerateArray().Select(d => d.GetInt64()));
            var (wanted, given) = (want.GetProperty("data"), got.GetProperty("data"));
            Assert.Equal(wanted.GetArrayLength(), given.GetArrayLength());
            foreach (var (a, b) in wanted.EnumerateArray().Zip(given.EnumerateArray()))
            {
                if (a.ValueKind == JsonValueKind.Number)
                {
                    Assert.True(Math.Abs(a.GetDouble() - b.GetDouble()) <= atol + (rtol * Math.Abs(a.GetDouble())), $"{model}: {a} expected, {b} given");
                }
                else
                {
                    Assert.Equal(a.ToString(), b.ToString());
                }
            }
        }
    }
}
