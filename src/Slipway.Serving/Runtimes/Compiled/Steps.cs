using System.Runtime.CompilerServices;

namespace Slipway.Serving.Runtimes.Compiled;

/// <summary>A matrix [rows, width] of floats between two steps; the matrices of one run lie behind each other in one arena.</summary>
/// <param name="width">Numbers a row.</param>
/// <param name="start">Numbers a row of the matrices before it.</param>
internal sealed class Value(int width, int start)
{
    public int Width => width;

    /// <summary>For a column of positions: what they stand for. Null: the numbers stand for themselves.</summary>
    public Labels? Labels { get; init; }

    public Span<float> All(Span<float> arena, int rows) => arena.Slice(start * rows, width * rows);

    public Span<float> Row(Span<float> arena, int rows, int row) => arena.Slice((start * rows) + (width * row), width);
}

/// <summary>Classes by position: integers, or texts in UTF-8.</summary>
internal sealed record Labels(long[] Integers, byte[][] Texts)
{
    public int Count => Math.Max(Integers.Length, Texts.Length);
}

/// <summary>One operation over all rows.</summary>
internal abstract class Step
{
    public abstract void Run(Span<float> arena, int rows);
}

/// <summary>One operation on each row by itself.</summary>
internal abstract class RowStep(Value x, Value y) : Step
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public sealed override void Run(Span<float> arena, int rows)
    {
        for (var row = 0; row < rows; row++)
        {
            Run(x.Row(arena, rows, row), y.Row(arena, rows, row));
        }
    }

    protected abstract void Run(ReadOnlySpan<float> from, Span<float> to);
}

/// <summary>Puts matrices side by side.</summary>
internal sealed class Concat(Value[] parts, Value y) : Step
{
    public override void Run(Span<float> arena, int rows)
    {
        for (var row = 0; row < rows; row++)
        {
            var to = y.Row(arena, rows, row);
            foreach (var part in parts)
            {
                part.Row(arena, rows, row).CopyTo(to);
                to = to[part.Width..];
            }
        }
    }
}

/// <summary>The columns at these positions.</summary>
internal sealed class Columns(Value x, Value y, int[] positions) : RowStep(x, y)
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    protected override void Run(ReadOnlySpan<float> from, Span<float> to)
    {
        for (var i = 0; i < to.Length; i++)
        {
            to[i] = from[positions[i]];
        }
    }
}

/// <summary>(x - offset) * scale, column by column: ai.onnx.ml's Scaler.</summary>
internal sealed class Scale(Value x, Value y, float[] offset, float[] scale) : RowStep(x, y)
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    protected override void Run(ReadOnlySpan<float> from, Span<float> to)
    {
        for (var i = 0; i < to.Length; i++)
        {
            to[i] = (from[i] - offset[i]) * scale[i];
        }
    }
}

/// <summary>Adds to, subtracts from, multiplies or divides each column.</summary>
internal sealed class Arithmetic(Value x, Value y, char operation, float[] by) : RowStep(x, y)
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    protected override void Run(ReadOnlySpan<float> from, Span<float> to)
    {
        for (var i = 0; i < to.Length; i++)
        {
            to[i] = operation switch { '+' => from[i] + by[i], '-' => from[i] - by[i], '*' => from[i] * by[i], _ => from[i] / by[i] };
        }
    }
}

/// <summary>A function of each number.</summary>
internal sealed class Apply(Value x, Value y, Activation activation) : RowStep(x, y)
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    protected override void Run(ReadOnlySpan<float> from, Span<float> to)
    {
        from.CopyTo(to);
        Dense.Activate(to, activation);
    }
}

/// <summary>exp(x) over its sum.</summary>
internal sealed class Softmax(Value x, Value y) : RowStep(x, y)
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    protected override void Run(ReadOnlySpan<float> from, Span<float> to)
    {
        var most = from[0];
        foreach (var score in from)
        {
            most = score > most ? score : most;
        }

        var sum = 0f;
        for (var i = 0; i < to.Length; i++)
        {
            sum += to[i] = MathF.Exp(from[i] - most);
        }

        for (var i = 0; i < to.Length; i++)
        {
            to[i] /= sum;
        }
    }
}

/// <summary>Each number over the sum of absolute values: ai.onnx.ml's Normalizer with L1.</summary>
internal sealed class Normalize(Value x, Value y) : RowStep(x, y)
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    protected override void Run(ReadOnlySpan<float> from, Span<float> to)
    {
        var sum = 0f;
        foreach (var number in from)
        {
            sum += MathF.Abs(number);
        }

        for (var i = 0; i < to.Length; i++)
        {
            to[i] = sum == 0 ? from[i] : from[i] / sum;
        }
    }
}

/// <summary>The position of the first largest number.</summary>
internal sealed class ArgMax(Value x, Value y) : RowStep(x, y)
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    protected override void Run(ReadOnlySpan<float> from, Span<float> to)
    {
        var best = 0;
        for (var i = 1; i < from.Length; i++)
        {
            best = from[i] > from[best] ? i : best;
        }

        to[0] = best;
    }
}

/// <summary>1 where the score is larger than the bound, else 0: the position of the class that it speaks for.</summary>
internal sealed class Above(Value x, Value y, float bound) : RowStep(x, y)
{
    protected override void Run(ReadOnlySpan<float> from, Span<float> to) => to[0] = from[0] > bound ? 1 : 0;
}

/// <summary>Both classes of a score of the second one: its complement and itself, or by the logistic function.</summary>
internal sealed class TwoClasses(Value x, Value y, bool logistic) : RowStep(x, y)
{
    protected override void Run(ReadOnlySpan<float> from, Span<float> to)
    {
        (to[0], to[1]) = logistic ? (-from[0], from[0]) : (1 - from[0], from[0]);
        if (logistic)
        {
            Dense.Activate(to, Activation.Logistic);
        }
    }
}
