using System.Buffers.Binary;
using System.Text;
using System.Text.Json;
using CsCheck;
using Slipway.Server.Oip;
using Slipway.Serving.Tensors;

namespace Slipway.Tests.Serving;

public sealed class OipFormatTests
{
    [Theory]
    [InlineData("", "'{' is expected")]
    [InlineData("[]", "'{' is expected")]
    [InlineData("{}", "'inputs' is missing")]
    [InlineData("""{"inputs":[]""", "ends where ',' is expected")]
    [InlineData("""{"inputs":[]} x""", "the end is expected")]
    [InlineData("""{"inputs":[],"inputs":[]}""", "given twice")]
    [InlineData("""{"inputs":[{"shape":[1],"datatype":"FP32","data":[1]}]}""", "has no name")]
    [InlineData("""{"inputs":[{"name":"X","datatype":"FP32","data":[1]}]}""", "has no shape")]
    [InlineData("""{"inputs":[{"name":"X","shape":[1],"data":[1]}]}""", "has no datatype")]
    [InlineData("""{"inputs":[{"name":"X","shape":[1],"datatype":"FP32"}]}""", "needs either data or binary_data_size")]
    [InlineData("""{"inputs":[{"name":"X","shape":[1],"datatype":"fp32","data":[1]}]}""", "'fp32' is not a datatype")]
    [InlineData("""{"inputs":[{"name":"X","shape":[1],"datatype":"FP32","data":[1],"data":[1]}]}""", "'data' is given twice")]
    [InlineData("""{"inputs":[{"name":"X","shape":[-1,4],"datatype":"FP32","data":[1]}]}""", "negative dimension")]
    [InlineData("""{"inputs":[{"name":"X","shape":[4294967296,4294967296],"datatype":"FP32","data":[1]}]}""", "too many elements")]
    [InlineData("""{"inputs":[{"name":"X","shape":[99999999999999999999],"datatype":"FP32","data":[1]}]}""", "is not an integer")]
    [InlineData("""{"inputs":[{"name":"X","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"datatype":"FP32","data":[1]}]}""", "at most 16 dimensions")]
    [InlineData("""{"inputs":[{"name":"X","shape":[1.5],"datatype":"FP32","data":[1]}]}""", "is not an integer")]
    [InlineData("""{"inputs":[{"name":"X","shape":[2],"datatype":"FP32","data":[1]}]}""", "has 1 elements of data, its shape needs 2")]
    [InlineData("""{"inputs":[{"name":"X","shape":[2],"datatype":"FP32","data":[1,2,3]}]}""", "more data than the 2 elements")]
    [InlineData("""{"inputs":[{"name":"X","shape":[1000000000],"datatype":"FP64","data":[1]}]}""", "its shape needs 1000000000")]
    [InlineData("""{"inputs":[{"name":"X","shape":[1],"datatype":"FP32","data":1}]}""", "must be an array")]
    [InlineData("""{"inputs":[{"name":"X","shape":[1],"datatype":"FP32","data":["1"]}]}""", "a number is expected")]
    [InlineData("""{"inputs":[{"name":"X","shape":[1],"datatype":"FP32","data":[01]}]}""", "a number is expected")]
    [InlineData("""{"inputs":[{"name":"X","shape":[1],"datatype":"FP32","data":[1.]}]}""", "a number is expected")]
    [InlineData("""{"inputs":[{"name":"X","shape":[1],"datatype":"FP32","data":[1e39]}]}""", "is not a value of FP32")]
    [InlineData("""{"inputs":[{"name":"X","shape":[1],"datatype":"FP32","data":[null]}]}""", "a number is expected")]
    [InlineData("""{"inputs":[{"name":"X","shape":[1],"datatype":"INT8","data":[128]}]}""", "is not a value of INT8")]
    [InlineData("""{"inputs":[{"name":"X","shape":[1],"datatype":"UINT8","data":[-1]}]}""", "is not a value of UINT8")]
    [InlineData("""{"inputs":[{"name":"X","shape":[1],"datatype":"INT32","data":[1.5]}]}""", "is not a value of INT32")]
    [InlineData("""{"inputs":[{"name":"X","shape":[1],"datatype":"BOOL","data":[2]}]}""", "is not a BOOL")]
    [InlineData("""{"inputs":[{"name":"X","shape":[1],"datatype":"FP16","data":[1]}]}""", "use binary tensor data")]
    [InlineData("""{"inputs":[{"name":"X","shape":[1],"datatype":"BYTES","data":["\ud800"]}]}""", "surrogate")]
    [InlineData("""{"inputs":[{"name":"X","shape":[1],"datatype":"FP32","data":[[[[[[1]]]]]]}]}""", "nested deeper")]
    [InlineData("""{"inputs":[{"name":"X","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}}]}""", "claims 4 bytes of binary data, 0 are left")]
    [InlineData("""{"inputs":[{"name":"X","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":-4}}]}""", "cannot be negative")]
    [InlineData("""{"inputs":[{"name":"X","shape":[1],"datatype":"FP32","parameters":{"shared_memory_region":"r"}}]}""", "shared memory is not supported")]
    [InlineData("""{"inputs":[],"outputs":[{}]}""", "needs a name")]
    [InlineData("""{"inputs":[],"parameters":{"event_time":"yesterday"}}""", "event_time is")]
    public void Bad_request_is_refused_with_its_reason(string json, string reason) =>
        Assert.Contains(reason, Assert.Throws<OipFormatException>(() => OnnxRuntimeTests.Read(Encoding.UTF8.GetBytes(json)).Dispose()).Message);

    [Fact]
    public void Nesting_of_two_thousand_levels_is_refused_and_not_followed()
    {
        var deep = new string('[', 2000) + new string(']', 2000);
        Refused($$"""{"inputs":[],"x":{{deep}}}""");
        Refused($$"""{"inputs":[{"name":"X","shape":[1],"datatype":"FP32","data":{{deep}}}]}""");
        Refused($$"""{"inputs":[{"name":"X","data":{{deep}},"shape":[1],"datatype":"FP32"}]}""");

        static void Refused(string json) => Assert.Contains("nested deeper", Assert.Throws<OipFormatException>(() => OnnxRuntimeTests.Read(Encoding.UTF8.GetBytes(json)).Dispose()).Message);
    }

    [Fact]
    public void Every_truncation_of_a_good_request_is_refused()
    {
        var whole = ReferenceModels.Request("iris_mixed_inputs");
        for (var length = 0; length < whole.Length; length++)
        {
            Assert.Throws<OipFormatException>(() => OnnxRuntimeTests.Read(whole.AsSpan(0, length)).Dispose());
        }
    }

    [Fact]
    public void Random_damage_is_refused_or_read_but_never_anything_else()
    {
        var whole = ReferenceModels.Request("iris_mixed_inputs");
        Gen.Select(Gen.Int[0, whole.Length - 1], Gen.Byte).Array[1, 4].Sample(damage =>
        {
            var bytes = (byte[])whole.Clone();
            foreach (var (at, value) in damage)
            {
                bytes[at] = value;
            }

            try
            {
                OnnxRuntimeTests.Read(bytes).Dispose();
            }
            catch (OipFormatException refused)
            {
                Assert.NotEmpty(refused.Message);
            }
        });
    }

    [Fact]
    public void Keys_in_any_order_nested_data_unknown_keys_and_named_numbers_are_read()
    {
        using var request = OnnxRuntimeTests.Read(
            """
            {"model_name":"x","parameters":{"entity_key":17,"event_time":"2026-03-01T00:00:00Z","binary_data_output":true,"priority":1},
             "outputs":[{"name":"b","parameters":{"binary_data":false}},{"parameters":{},"name":"a"}],
             "inputs":[{"data":[[1,2.5e0],[NaN,-Infinity]],"parameters":{"content_type":"np"},"datatype":"FP32","name":"X","shape":[2,2]}],"id":"r-1"}
            """u8);
        Assert.Equal(("r-1", "17", true), (request.Id, request.EntityKey, request.BinaryOutputs));
        Assert.Equal(1_772_323_200_000_000, request.EventMicros);
        Assert.Equal([new OutputChoice("b", false), new OutputChoice("a", null)], request.RequestedOutputs);
        Assert.Equal([1f, 2.5f, float.NaN, float.NegativeInfinity], request.Inputs[0].As<float>().ToArray());
    }

    [Fact]
    public void Scalars_and_empty_tensors_are_read()
    {
        using var request = OnnxRuntimeTests.Read(
            """{"inputs":[{"name":"s","shape":[],"datatype":"INT64","data":[9007199254740993]},{"name":"e","shape":[0,4],"datatype":"FP32","data":[]},{"name":"i","shape":[1],"datatype":"INT32","data":[3.0]}]}"""u8);
        Assert.Equal([9007199254740993], request.Inputs[0].As<long>().ToArray());
        Assert.Equal(0, request.Inputs[1].Length);
        Assert.Equal([3], request.Inputs[2].As<int>().ToArray());
    }

    [Fact]
    public void Binary_and_JSON_inputs_mix_and_leftovers_are_refused()
    {
        var json = """{"inputs":[{"name":"a","shape":[2],"datatype":"FP16","parameters":{"binary_data_size":4}},{"name":"b","shape":[1],"datatype":"FP32","data":[1]},{"name":"c","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":11}}]}"""u8.ToArray();
        byte[] tail = [1, 2, 3, 4, 2, 0, 0, 0, 255, 254, 1, 0, 0, 0, 65];
        using var request = InferRequest.Rent();
        OipReader.Read([.. json, .. tail], json.Length, request);
        Assert.Equal([1, 2, 3, 4], request.Inputs[0].Data.ToArray());
        Assert.Equal(11, request.Inputs[2].Length);
        using var over = InferRequest.Rent();
        Assert.Contains("belong to no input", Assert.Throws<OipFormatException>(() => OipReader.Read([.. json, .. tail, 9], json.Length, over)).Message);
        using var torn = InferRequest.Rent();
        BinaryPrimitives.WriteUInt32LittleEndian(tail.AsSpan(4), 3);
        Assert.Contains("exactly 2 elements", Assert.Throws<OipFormatException>(() => OipReader.Read([.. json, .. tail], json.Length, torn)).Message);
    }

    [Fact]
    public void Numbers_equal_the_frameworks_parser_bit_by_bit() => Gen.OneOf(
            Gen.Float.Where(float.IsFinite).Select(value => value.ToString("R")),
            Gen.Double.Where(double.IsFinite).Select(value => value.ToString("R")),
            Gen.Float.Where(float.IsFinite).Select(value => ((double)value).ToString("R")),
            Gen.Select(Gen.ULong, Gen.Int[0, 25]).Select((digits, point) => point == 0 ? $"{digits}" : $"{digits / 100000}.{digits % 100000}"))
        .Sample(text =>
        {
            var utf8 = Encoding.ASCII.GetBytes(text);
            Assert.True(Numbers.TrySingle(utf8, out var single));
            Assert.Equal(BitConverter.SingleToInt32Bits(float.Parse(text)), BitConverter.SingleToInt32Bits(single));
            Assert.True(Numbers.TryDouble(utf8, out var wide));
            Assert.Equal(BitConverter.DoubleToInt64Bits(double.Parse(text)), BitConverter.DoubleToInt64Bits(wide));
        }, iter: 20_000);

    [Fact]
    public void Strings_with_every_escape_equal_the_frameworks_reading() => Gen.String.Sample(text =>
    {
        // Lone surrogates have no UTF-8 form and are refused; see above.
        if (!text.IsNormalizedSafely())
        {
            return;
        }

        var json = JsonSerializer.SerializeToUtf8Bytes(new { inputs = new[] { new { name = "X", shape = new[] { 1 }, datatype = "BYTES", data = new[] { text } } } });
        using var request = OnnxRuntimeTests.Read(json);
        Assert.Equal(text, Encoding.UTF8.GetString(request.Inputs[0].Data[4..]));
    });

    [Fact]
    public void Answer_is_strict_JSON_with_escaped_names_and_exact_numbers()
    {
        using var request = InferRequest.Rent();
        request.Endpoint = "flights";
        request.Id = "a\"b";
        Put("weird \"name\"\n", Datatype.Fp32, [1f / 3, -0f, 1e-20f, 3.4e38f]);
        Put("n", Datatype.Int64, [long.MaxValue, long.MinValue]);
        Put("b", Datatype.Bool, new byte[] { 1, 0 });
        var answer = OnnxRuntimeTests.Answer(request);
        Assert.Equal("a\"b", answer.GetProperty("id").GetString());
        var outputs = answer.GetProperty("outputs");
        Assert.Equal("weird \"name\"\n", outputs[0].GetProperty("name").GetString());
        Assert.Equal([1f / 3, -0f, 1e-20f, 3.4e38f], outputs[0].GetProperty("data").EnumerateArray().Select(value => value.GetSingle()));
        Assert.Equal([long.MaxValue, long.MinValue], outputs[1].GetProperty("data").EnumerateArray().Select(value => value.GetInt64()));
        Assert.Equal("[true,false]", outputs[2].GetProperty("data").ToString());

        void Put<T>(string name, Datatype datatype, T[] values)
            where T : unmanaged
        {
            var tensor = request.Outputs.Add();
            (tensor.Name, tensor.Datatype) = (name, datatype);
            tensor.TrySetShape([values.Length]);
            tensor.Set(System.Runtime.InteropServices.MemoryMarshal.AsBytes<T>(values));
        }
    }

    [Fact]
    public void Answer_with_a_value_that_is_not_finite_is_refused_as_JSON_and_sent_as_binary()
    {
        using var request = InferRequest.Rent();
        var tensor = request.Outputs.Add();
        (tensor.Name, tensor.Datatype) = ("p", Datatype.Fp32);
        tensor.TrySetShape([1]);
        tensor.Set(BitConverter.GetBytes(float.NaN));
        Assert.Contains("not finite", Assert.Throws<OipFormatException>(() => OnnxRuntimeTests.Answer(request)).Message);
        tensor.Binary = true;
        var bytes = OipWriter.Write(request, new(null, null, "m", "1", "stable", "p", 1), out var length);
        Assert.Equal(4, bytes.Length - length);
        Assert.Equal(4, JsonDocument.Parse(bytes[..length]).RootElement.GetProperty("outputs")[0].GetProperty("parameters").GetProperty("binary_data_size").GetInt32());
    }
}

internal static class Surrogates
{
    public static bool IsNormalizedSafely(this string text)
    {
        for (var i = 0; i < text.Length; i++)
        {
            if (char.IsSurrogate(text[i]) && !(char.IsHighSurrogate(text[i]) && i + 1 < text.Length && char.IsLowSurrogate(text[++i])))
            {
                return false;
            }
        }

        return true;
    }
}
