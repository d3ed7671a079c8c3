using System.Diagnostics;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using SessionOptions = Microsoft.ML.OnnxRuntime.SessionOptions;

namespace Slipway.Benchmarks;

/// <summary>What inference is compared with: a handler that only reads and answers, a server as it is written in an afternoon, and ONNX Runtime alone.</summary>
internal static class Servers
{
    /// <summary>Reads the body and answers a fixed inference response: the most that Kestrel can do here.</summary>
    public static Task EmptyAsync(string url)
    {
        var answer = """{"model_name":"iris","model_version":"1","outputs":[{"name":"label","datatype":"INT64","shape":[1],"data":[0]},{"name":"probabilities","datatype":"FP32","shape":[1,3],"data":[0.98,0.01,0.01]}]}"""u8.ToArray();
        var app = Slim(url);
        app.Run(async context =>
        {
            while (true)
            {
                var read = await context.Request.BodyReader.ReadAsync();
                context.Request.BodyReader.AdvanceTo(read.Buffer.End);
                if (read.IsCompleted)
                {
                    break;
                }
            }

            context.Response.ContentType = "application/json";
            context.Response.ContentLength = answer.Length;
            await context.Response.BodyWriter.WriteAsync(answer);
        });
        return app.RunAsync();
    }

    /// <summary>Minimal API, System.Text.Json, one Run with ONNX Runtime's default settings a request.</summary>
    public static Task NaiveAsync(string url, string model)
    {
        var session = new InferenceSession(model);
        var app = Slim(url);
        app.MapPost("/infer", async (HttpContext context) =>
        {
            var body = await JsonNode.ParseAsync(context.Request.Body);
            var values = body!["inputs"]!.AsArray().Select(input => NamedOnnxValue.CreateFromTensor(
                (string)input!["name"]!,
                new DenseTensor<float>(input["data"]!.AsArray().Select(x => (float)x!).ToArray(), input["shape"]!.AsArray().Select(d => (int)d!).ToArray()))).ToList();
            using var results = session.Run(values);
            return Results.Json(new { outputs = results.Select(Output).ToList() });
        });
        return app.RunAsync();
    }

    /// <summary>Calls of a model with two threads, bound buffers and no server: the most that this machine's cores can do.</summary>
    public static void Ort(string model, string request, int callers)
    {
        using var options = new SessionOptions { IntraOpNumThreads = 1, InterOpNumThreads = 1 };
        options.AddSessionConfigEntry("session.intra_op.allow_spinning", "0");
        using var session = new InferenceSession(model, options);
        var input = JsonNode.Parse(File.ReadAllText(request))!["inputs"]![0]!;
        var shape = input["shape"]!.AsArray().Select(d => (long)d!).ToArray();
        var data = input["data"]!.AsArray().Select(x => (float)x!).ToArray();
        var time = TimeSpan.FromSeconds(5);
        var calls = 0L;
        var threads = Enumerable.Range(0, callers).Select(_ => new Thread(() =>
        {
            using var run = new RunOptions();
            using var binding = session.CreateIoBinding();
            using var value = OrtValue.CreateTensorValueFromMemory(data, shape);
            binding.BindInput(session.InputNames[0], value);
            foreach (var output in session.OutputNames)
            {
                binding.BindOutputToDevice(output, OrtMemoryInfo.DefaultInstance);
            }

            for (var i = 0; i < 200; i++)
            {
                session.RunWithBinding(run, binding);
            }

            var mine = 0L;
            for (var start = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(start) < time; mine++)
            {
                session.RunWithBinding(run, binding);
            }

            Interlocked.Add(ref calls, mine);
        })).ToList();
        threads.ForEach(thread => thread.Start());
        threads.ForEach(thread => thread.Join());
        Console.WriteLine($"{calls / time.TotalSeconds:0}");
    }

    /// <summary>
    /// Writes a request to a model with one FP32 input as JSON (<c>.json</c>) and as binary tensor data (<c>.bin</c>), the same made-up numbers in both;
    /// returns the length of the latter's JSON.
    /// </summary>
    public static int Body(string model, int rows, string target)
    {
        using var session = new InferenceSession(model);
        var (name, input) = session.InputMetadata.Single();
        int[] shape = [rows, .. input.Dimensions.Skip(1)];
        var random = new Random(1);
        var values = Enumerable.Range(0, shape.Aggregate(1, (a, b) => a * b)).Select(_ => MathF.Round(random.NextSingle() * 5, 2)).ToArray();
        JsonObject Request(string key, JsonNode data) => new()
        {
            ["inputs"] = new JsonArray(new JsonObject { ["name"] = name, ["shape"] = new JsonArray([.. shape.Select(d => (JsonNode)d)]), ["datatype"] = "FP32", [key] = data }),
        };

        File.WriteAllText(target + ".json", Request("data", new JsonArray([.. values.Select(v => (JsonNode)v)])).ToJsonString());
        var header = Request("parameters", new JsonObject { ["binary_data_size"] = values.Length * sizeof(float) });
        header["parameters"] = new JsonObject { ["binary_data_output"] = true };
        var text = System.Text.Encoding.UTF8.GetBytes(header.ToJsonString());
        File.WriteAllBytes(target + ".bin", [.. text, .. System.Runtime.InteropServices.MemoryMarshal.AsBytes<float>(values)]);
        return text.Length;
    }

    private static object Output(DisposableNamedOnnxValue value) => value.Value switch
    {
        Tensor<float> floats => new { name = value.Name, datatype = "FP32", shape = floats.Dimensions.ToArray(), data = (object)floats.ToArray() },
        Tensor<long> longs => new { name = value.Name, datatype = "INT64", shape = longs.Dimensions.ToArray(), data = (object)longs.ToArray() },
        _ => new { name = value.Name, datatype = "", shape = Array.Empty<int>(), data = (object)"" },
    };

    private static WebApplication Slim(string url)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.WebHost.UseUrls(url);
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.AddServerHeader = false);
        builder.Logging.ClearProviders();
        return builder.Build();
    }
}
