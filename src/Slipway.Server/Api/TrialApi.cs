using System.Text;
using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Registry;
using Slipway.Serving;
using Slipway.Serving.Tensors;
using Slipway.Server.Oip;

namespace Slipway.Server.Api;

/// <summary>One request through a version that no endpoint serves. Who only predicts sees what was deployed, so it needs the right to read versions as well.</summary>
internal static class TrialApi
{
    public static void Map(ApiRoutes api)
    {
        // What the registry knows, or else the model itself says.
        api.Get("/models/{model}/versions/{version}/signature", Permissions.Predict, async c =>
        {
            var version = await FindAsync(c);
            if (version.Signature is { } known)
            {
                return known;
            }

            using var trial = await c.Of<Trials>().BeginAsync(version, c.Stop);
            return trial.Signature;
        });
        api.Post("/models/{model}/versions/{version}/try", Permissions.Predict, async c => await TryAsync(c));
    }

    private static async Task<ModelVersion> FindAsync(Call c)
    {
        var version = await RegistryApi.VersionAsync(c);
        await c.Of<Access>().DemandAsync(c.Actor, Permissions.VersionRead, version.Subject, c.Stop);
        return version;
    }

    private static async Task<object> TryAsync(Call c)
    {
        var version = await FindAsync(c);
        using var request = InferRequest.Rent();
        request.Endpoint = version.Name;
        // What is no request is refused before a process is started for it.
        if (await OipEndpoints.ReadAsync(c.Http, _ => version.Signature, request) is { } fault)
        {
            var code = fault.Status switch { 413 => ErrorCode.TooLarge, 501 => ErrorCode.NotImplemented, _ => ErrorCode.InvalidArgument };
            throw new SlipwayException(code, "the input is no request", fault.Message, $"slipway version show {version.Name}/{version.Version}");
        }

        using var trial = await c.Of<Trials>().BeginAsync(version, c.Stop);
        var took = await trial.InferAsync(request, c.Stop);
        var outputs = new List<object>(request.Outputs.Count);
        for (var i = 0; i < request.Outputs.Count; i++)
        {
            var tensor = request.Outputs[i];
            outputs.Add(new { name = tensor.Name, datatype = tensor.Datatype.Name(), shape = tensor.Shape.ToArray(), data = Values(tensor) });
        }

        return new { trial.ModelVersion, request.Id, loadMillis = Math.Round(trial.LoadTime.TotalMilliseconds, 1), latencyMillis = Math.Round(took.TotalMilliseconds, 3), outputs };
    }

    /// <summary>The elements in row-major order. What JSON has no number for is the text NaN, Infinity or -Infinity.</summary>
    private static object Values(Tensor tensor) => tensor.Datatype switch
    {
        Datatype.Bool => Each(tensor.Data, b => b != 0),
        Datatype.UInt8 => Each(tensor.Data, b => (int)b),
        Datatype.UInt16 => tensor.As<ushort>().ToArray(),
        Datatype.UInt32 => tensor.As<uint>().ToArray(),
        Datatype.UInt64 => tensor.As<ulong>().ToArray(),
        Datatype.Int8 => tensor.As<sbyte>().ToArray(),
        Datatype.Int16 => tensor.As<short>().ToArray(),
        Datatype.Int32 => tensor.As<int>().ToArray(),
        Datatype.Int64 => tensor.As<long>().ToArray(),
        Datatype.Fp16 => Each(tensor.As<Half>(), h => (float)h),
        Datatype.Bf16 => Each(tensor.As<ushort>(), bits => BitConverter.UInt32BitsToSingle((uint)bits << 16)),
        Datatype.Fp32 => tensor.As<float>().ToArray(),
        Datatype.Fp64 => tensor.As<double>().ToArray(),
        _ => Texts(tensor.Data),
    };

    private static TOut[] Each<TIn, TOut>(ReadOnlySpan<TIn> values, Func<TIn, TOut> of)
    {
        var result = new TOut[values.Length];
        for (var i = 0; i < values.Length; i++)
        {
            result[i] = of(values[i]);
        }

        return result;
    }

    private static List<string> Texts(ReadOnlySpan<byte> data)
    {
        List<string> result = [];
        while (data.Length > 0)
        {
            result.Add(Encoding.UTF8.GetString(Tensor.TakeBytes(ref data)));
        }

        return result;
    }
}
