using System.Runtime.InteropServices;

namespace Slipway.Serving.Tensors;

/// <summary>Rows of tensors as plain floats, for the prediction log.</summary>
internal static class Flat
{
    /// <summary>The rows that all tensors share as their first dimension, or 1 if they do not.</summary>
    public static long Rows(TensorSet tensors)
    {
        var rows = 0L;
        for (var i = 0; i < tensors.Count; i++)
        {
            var tensor = tensors[i];
            if (tensor.Shape.Length == 0 || tensor.Rows == 0 || (rows != 0 && rows != tensor.Rows))
            {
                return 1;
            }

            rows = tensor.Rows;
        }

        return rows == 0 ? 1 : rows;
    }

    /// <summary>Numbers in one row over all tensors.</summary>
    public static long Width(TensorSet tensors, long rows)
    {
        var width = 0L;
        for (var i = 0; i < tensors.Count; i++)
        {
            width += tensors[i].Count / rows;
        }

        return width;
    }

    /// <summary>Writes one row's numbers. Text has no number and becomes NaN, which monitoring reads as missing.</summary>
    public static void Row(TensorSet tensors, long row, long rows, Span<float> target)
    {
        for (var i = 0; i < tensors.Count; i++)
        {
            var tensor = tensors[i];
            var count = (int)(tensor.Count / rows);
            Copy(tensor, (int)(row * count), target[..count]);
            target = target[count..];
        }
    }

    private static void Copy(Tensor tensor, int from, Span<float> target)
    {
        switch (tensor.Datatype)
        {
            case Datatype.Fp32:
                tensor.As<float>().Slice(from, target.Length).CopyTo(target);
                break;
            case Datatype.Fp64:
                Convert(tensor.As<double>(), from, target, static value => (float)value);
                break;
            case Datatype.Fp16:
                Convert(tensor.As<Half>(), from, target, static value => (float)value);
                break;
            case Datatype.Bf16:
                Convert(tensor.As<ushort>(), from, target, static value => BitConverter.UInt32BitsToSingle((uint)value << 16));
                break;
            case Datatype.Int64:
                Convert(tensor.As<long>(), from, target, static value => value);
                break;
            case Datatype.UInt64:
                Convert(tensor.As<ulong>(), from, target, static value => value);
                break;
            case Datatype.Int32:
                Convert(tensor.As<int>(), from, target, static value => value);
                break;
            case Datatype.UInt32:
                Convert(tensor.As<uint>(), from, target, static value => value);
                break;
            case Datatype.Int16:
                Convert(tensor.As<short>(), from, target, static value => value);
                break;
            case Datatype.UInt16:
                Convert(tensor.As<ushort>(), from, target, static value => value);
                break;
            case Datatype.Int8:
                Convert(tensor.As<sbyte>(), from, target, static value => value);
                break;
            case Datatype.UInt8 or Datatype.Bool:
                Convert(MemoryMarshal.Cast<byte, byte>(tensor.Data), from, target, static value => value);
                break;
            default:
                target.Fill(float.NaN);
                break;
        }
    }

    private static void Convert<T>(ReadOnlySpan<T> source, int from, Span<float> target, Func<T, float> narrow)
    {
        for (var i = 0; i < target.Length; i++)
        {
            target[i] = narrow(source[from + i]);
        }
    }
}
