using Slipway.Registry;
using Slipway.Serving.Tensors;

namespace Slipway.Serving.Runtimes;

/// <summary>A declared input or output.</summary>
internal sealed record Port(string Name, Datatype Datatype, long[] Shape, bool ClassMap)
{
    public Port(TensorSpec spec, bool ClassMap)
        : this(spec.Name, Datatypes.TryParse(spec.Datatype, out var datatype) ? datatype : Datatype.Bytes, [.. spec.Shape], ClassMap)
    {
    }

    /// <summary>Whether the first dimension is open.</summary>
    public bool Batched => Shape.Length > 0 && Shape[0] < 0;

    /// <summary>Whether every other dimension is fixed.</summary>
    public bool FixedBehindBatch => Shape.AsSpan(Math.Min(1, Shape.Length)).IndexOf(-1) < 0;

    /// <summary>Type and shape for messages.</summary>
    public string Text => $"{Datatype.Name()} [{string.Join(",", Shape)}]";

    public long[] ShapeFor(long batch) => [.. Shape.Select(dimension => dimension < 0 ? batch : dimension)];

    /// <summary>What is wrong with a tensor for this input, or null.</summary>
    public string? Mismatch(Tensor tensor)
    {
        if (tensor.Datatype != Datatype)
        {
            return $"input '{Name}' must be {Datatype.Name()}, got {tensor.Datatype.Name()}";
        }

        var shape = tensor.Shape;
        var fits = shape.Length == Shape.Length;
        for (var i = 0; fits && i < shape.Length; i++)
        {
            fits = Shape[i] < 0 || Shape[i] == shape[i];
        }

        return fits ? null : $"input '{Name}' must have the shape [{string.Join(",", Shape)}], got [{string.Join(",", shape.ToArray())}]";
    }
}
