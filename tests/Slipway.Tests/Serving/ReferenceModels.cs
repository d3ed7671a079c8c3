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
