using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using Slipway.Serving.Runtimes;
using Slipway.Serving.Tensors;

namespace Slipway.Benchmarks;

/// <summary>Calls of a model with one FP32 input, compiled and through ONNX Runtime's bindings, on rows that differ from call to call.</summary>
internal static class CompiledBench
{
    private const int Requests = 512;

    public static async Task RunAsync(IReadOnlyList<string> models)
    {
        Console.WriteLine("| model | rows | ONNX Runtime us | compiled us | times |");
        Console.WriteLine("|---|---|---|---|---|");
        foreach (var path in models)
        {
            using var compiled = OnnxRuntime.Load(path);
            using var session = OnnxRuntime.Load(path, compile: false);
            var name = Path.GetFileNameWithoutExtension(path);
            if (compiled.NotCompiled is { } why)
            {
                Console.WriteLine($"| {name} | - | | not compiled: {why} | |");
                continue;
            }

            foreach (var rows in new[] { 1, 8, 32, 128 }.Where(rows => rows <= compiled.CompiledRows))
            {
                var requests = Enumerable.Range(0, Requests).Select(seed => Request(session.Signature.Inputs[0].Name, rows, (int)session.Signature.Inputs[0].Shape[1], seed)).ToList();
                // Alternating, so that what slows the machine slows both.
                double theirs = double.MaxValue, ours = double.MaxValue;
                for (var round = 0; round < 7; round++)
                {
                    theirs = Math.Min(theirs, await MicrosAsync(session, requests));
                    ours = Math.Min(ours, await MicrosAsync(compiled, requests));
                }

                Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"| {name} | {rows} | {theirs:0.00} | {ours:0.00} | {theirs / ours:0.0} |"));
                requests.ForEach(request => request.Dispose());
            }
        }
    }

    private static async Task<double> MicrosAsync(OnnxRuntime runtime, List<InferRequest> requests)
    {
        var start = Stopwatch.GetTimestamp();
        var calls = 0;
        for (; Stopwatch.GetElapsedTime(start).TotalMilliseconds < 200; calls += requests.Count)
        {
            foreach (var request in requests)
            {
                if (await runtime.RunAsync(request, CancellationToken.None) is { Ok: false } refused)
                {
                    throw new InvalidOperationException(refused.Message);
                }
            }
        }

        return Stopwatch.GetElapsedTime(start).TotalMicroseconds / calls;
    }

    private static InferRequest Request(string name, int rows, int columns, int seed)
    {
        var random = new Random(seed);
        var request = InferRequest.Rent();
        var tensor = request.Inputs.Add();
        (tensor.Name, tensor.Datatype) = (name, Datatype.Fp32);
        tensor.TrySetShape([rows, columns]);
        foreach (ref var number in MemoryMarshal.Cast<byte, float>(tensor.Allocate(rows * columns * sizeof(float))))
        {
            number = (float)((random.NextDouble() * 4) - 2);
        }

        return request;
    }
}
