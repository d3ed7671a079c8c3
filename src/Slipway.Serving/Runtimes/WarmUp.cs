using System.Diagnostics;
using Slipway.Serving.Tensors;

namespace Slipway.Serving.Runtimes;

/// <summary>What requests of zeros (texts: empty) measured of a loaded model, one after the other.</summary>
/// <param name="Ran">Requests that were answered.</param>
/// <param name="P99Micros">99th percentile of their times in microseconds, by the nearest rank; NaN if none was answered.</param>
/// <param name="Fault">Why a request failed, which ends them; null if none did.</param>
internal sealed record WarmUp(int Ran, double P99Micros, string? Fault)
{
    // A slow model is not kept busy by its own measurement; what ran by then counts.
    private static readonly TimeSpan Longest = TimeSpan.FromSeconds(10);

    /// <summary>Runs them. Ends the use of the model that the caller has begun.</summary>
    public static async Task<WarmUp> RunAsync(LoadedModel model, int requests, CancellationToken ct)
    {
        try
        {
            var times = new List<double>();
            for (var began = Stopwatch.GetTimestamp(); times.Count < requests && (times.Count == 0 || Stopwatch.GetElapsedTime(began) < Longest);)
            {
                using var request = InferRequest.Rent();
                foreach (var spec in model.Signature.Inputs)
                {
                    var input = request.Inputs.Add();
                    (input.Name, input.Datatype) = (spec.Name, Datatypes.TryParse(spec.Datatype, out var datatype) ? datatype : Datatype.Fp32);
                    input.TrySetShape([.. spec.Shape.Select(length => length < 0 ? 1 : length)]);
                    // A text of no bytes is a length of zero.
                    input.Allocate(checked((int)(input.Count * (datatype == Datatype.Bytes ? sizeof(uint) : datatype.Size())))).Clear();
                }

                var start = Stopwatch.GetTimestamp();
                var result = model.Fit(request) ?? await model.RunAsync(request, ct);
                if (!result.Ok)
                {
                    return new(times.Count, P99(times), result.Message ?? $"{result.Code}");
                }

                times.Add(Stopwatch.GetElapsedTime(start).TotalMicroseconds);
            }

            return new(times.Count, P99(times), null);
        }
        finally
        {
            model.Exit();
        }
    }

    private static double P99(List<double> times)
    {
        times.Sort();
        return times.Count == 0 ? double.NaN : times[(int)Math.Ceiling(0.99 * times.Count) - 1];
    }
}
