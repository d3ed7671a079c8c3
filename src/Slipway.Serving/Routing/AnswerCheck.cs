using System.Numerics.Tensors;
using Slipway.Monitoring;
using Slipway.Registry;
using Slipway.Serving.Tensors;

namespace Slipway.Serving.Routing;

/// <summary>
/// Looks at the answers of every variant while a rollout runs: NaN in the outputs, and outputs that are not what stable declares, as callers are used to. An
/// output beside the declared ones harms nobody. Takes no lock and allocates nothing.
/// </summary>
/// <param name="declared">The outputs that stable's model declares; empty: it declares none, and nothing can violate them.</param>
internal sealed class AnswerCheck(IReadOnlyList<TensorSpec> declared)
{
    private readonly Output[] _declared = [.. declared.Select(output => new Output(output.Name, Datatypes.TryParse(output.Datatype, out var datatype) ? datatype : null, [.. output.Shape]))];

    public AnswerSigns Look(TensorSet outputs, long computeNanos)
    {
        var nan = false;
        for (var i = 0; i < outputs.Count && !nan; i++)
        {
            nan = HasNan(outputs[i]);
        }

        return new(nan, _declared.Length == 0 ? null : Fits(outputs), computeNanos);
    }

    private bool Fits(TensorSet outputs)
    {
        for (var i = 0; i < _declared.Length; i++)
        {
            // Models give their outputs in the order in which they declare them.
            var output = i < outputs.Count && outputs[i].Name == _declared[i].Name ? outputs[i] : outputs.Find(_declared[i].Name);
            if (output is null || !_declared[i].Takes(output))
            {
                return false;
            }
        }

        return true;
    }

    private static bool HasNan(Tensors.Tensor tensor)
    {
        switch (tensor.Datatype)
        {
            case Datatype.Fp32:
                return TensorPrimitives.IsNaNAny(tensor.As<float>());
            case Datatype.Fp64:
                return TensorPrimitives.IsNaNAny(tensor.As<double>());
            case Datatype.Fp16:
                return TensorPrimitives.IsNaNAny(tensor.As<Half>());
            case Datatype.Bf16:
                foreach (var bits in tensor.As<ushort>())
                {
                    if ((bits & 0x7FFF) > 0x7F80)
                    {
                        return true;
                    }
                }

                return false;
            default:
                return false;
        }
    }

    private sealed record Output(string Name, Datatype? Datatype, long[] Shape)
    {
        public bool Takes(Tensors.Tensor output)
        {
            var shape = output.Shape;
            if ((Datatype is { } datatype && output.Datatype != datatype) || shape.Length != Shape.Length)
            {
                return false;
            }

            for (var i = 0; i < shape.Length; i++)
            {
                if (Shape[i] >= 0 && Shape[i] != shape[i])
                {
                    return false;
                }
            }

            return true;
        }
    }
}
