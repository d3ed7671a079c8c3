using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Slipway.Serving.Runtimes.Compiled;

/// <summary>What is done to each number of a result.</summary>
internal enum Activation
{
    None,
    Relu,
    Logistic,
    Tanh,
}

/// <summary>
/// y = activation(x W + b), with W [features, outputs] row-major: for few rows, where the multiplication is over before a library has prepared for it.
/// </summary>
internal sealed class Dense(Value x, Value y, float[] weights) : RowStep(x, y)
{
    // Few outputs are a few scalar products, for which a column of W has to lie in one piece.
    private readonly float[]? columns = y.Width < Vector256<float>.Count ? Transpose(weights, x.Width, y.Width) : null;

    /// <summary>b [outputs].</summary>
    public required float[] Bias { get; set; }

    public Activation Activation { get; set; }

    protected override void Run(ReadOnlySpan<float> from, Span<float> to)
    {
        if (columns is null)
        {
            Multiply(from, to);
        }
        else
        {
            Products(columns, from, to);
        }

        Activate(to, Activation);
    }

    /// <summary>The matrix with its rows as columns.</summary>
    public static float[] Transpose(float[] matrix, int rows, int columns)
    {
        var transposed = new float[matrix.Length];
        for (var i = 0; i < matrix.Length; i++)
        {
            transposed[((i % columns) * rows) + (i / columns)] = matrix[i];
        }

        return transposed;
    }

    /// <summary>Applies a function to each number in place.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Activate(Span<float> values, Activation activation)
    {
        switch (activation)
        {
            case Activation.Relu:
                for (var i = 0; i < values.Length; i++)
                {
                    values[i] = values[i] > 0 ? values[i] : 0;
                }

                break;
            case Activation.Logistic:
                for (var i = 0; i < values.Length; i++)
                {
                    // By the absolute value, so that the exponential never overflows.
                    var share = 1 / (1 + MathF.Exp(-MathF.Abs(values[i])));
                    values[i] = values[i] < 0 ? 1 - share : share;
                }

                break;
            case Activation.Tanh:
                for (var i = 0; i < values.Length; i++)
                {
                    values[i] = MathF.Tanh(values[i]);
                }

                break;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Products(float[] columns, ReadOnlySpan<float> from, Span<float> to)
    {
        ref var x = ref MemoryMarshal.GetReference(from);
        for (var output = 0; output < to.Length; output++)
        {
            ref var w = ref columns[output * from.Length];
            var (sums, i) = (Vector256<float>.Zero, 0);
            for (; i + Vector256<float>.Count <= from.Length; i += Vector256<float>.Count)
            {
                sums = Vector256.FusedMultiplyAdd(Vector256.LoadUnsafe(ref w, (nuint)i), Vector256.LoadUnsafe(ref x, (nuint)i), sums);
            }

            var sum = Bias[output] + Vector256.Sum(sums);
            for (; i < from.Length; i++)
            {
                sum += Unsafe.Add(ref w, i) * Unsafe.Add(ref x, i);
            }

            to[output] = sum;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Multiply(ReadOnlySpan<float> from, Span<float> to)
    {
        Bias.CopyTo(to);
        var width = to.Length;
        ref var w = ref MemoryMarshal.GetArrayDataReference(weights);
        ref var sum = ref MemoryMarshal.GetReference(to);
        var f = 0;
        // Four features at a time, so that a sum is loaded and stored once for four products.
        for (; f + 4 <= from.Length && width >= Vector256<float>.Count; f += 4)
        {
            ref var w0 = ref Unsafe.Add(ref w, f * width);
            ref var w1 = ref Unsafe.Add(ref w0, width);
            ref var w2 = ref Unsafe.Add(ref w1, width);
            ref var w3 = ref Unsafe.Add(ref w2, width);
            var (x0, x1, x2, x3) = (from[f], from[f + 1], from[f + 2], from[f + 3]);
            var (v0, v1, v2, v3) = (Vector256.Create(x0), Vector256.Create(x1), Vector256.Create(x2), Vector256.Create(x3));
            var i = 0;
            for (; i + Vector256<float>.Count <= width; i += Vector256<float>.Count)
            {
                var total = Vector256.LoadUnsafe(ref sum, (nuint)i);
                total = Vector256.FusedMultiplyAdd(Vector256.LoadUnsafe(ref w0, (nuint)i), v0, total);
                total = Vector256.FusedMultiplyAdd(Vector256.LoadUnsafe(ref w1, (nuint)i), v1, total);
                total = Vector256.FusedMultiplyAdd(Vector256.LoadUnsafe(ref w2, (nuint)i), v2, total);
                total = Vector256.FusedMultiplyAdd(Vector256.LoadUnsafe(ref w3, (nuint)i), v3, total);
                total.StoreUnsafe(ref sum, (nuint)i);
            }

            for (; i < width; i++)
            {
                Unsafe.Add(ref sum, i) += (Unsafe.Add(ref w0, i) * x0) + (Unsafe.Add(ref w1, i) * x1) + (Unsafe.Add(ref w2, i) * x2) + (Unsafe.Add(ref w3, i) * x3);
            }
        }

        for (; f < from.Length; f++)
        {
            var value = from[f];
            ref var row = ref Unsafe.Add(ref w, f * width);
            for (var i = 0; i < width; i++)
            {
                Unsafe.Add(ref sum, i) += Unsafe.Add(ref row, i) * value;
            }
        }
    }
}
