namespace Slipway.Tests.Monitoring;

/// <summary>Compares with reference numbers and counts how many, so that a test cannot pass by comparing nothing.</summary>
internal sealed class Checks
{
    private readonly List<string> wrong = [];

    public int Count { get; private set; }

    /// <summary>Equal within an absolute tolerance.</summary>
    public void Near(string what, double? expected, double? actual, double tolerance = 1e-9)
    {
        Count++;
        bool same = expected is { } e && actual is { } a ? Math.Abs(e - a) <= tolerance || e.Equals(a) : expected is null or double.NaN && actual is null or double.NaN;
        Note(same, what, expected, actual);
    }

    /// <summary>Equal within a share of the expected number.</summary>
    public void Relative(string what, double expected, double? actual, double tolerance = 1e-9) => Near(what, expected, actual, tolerance * Math.Abs(expected) + double.Epsilon);

    /// <summary>A probability: 1e-6 relative down to 1e-300, below that only the order of magnitude.</summary>
    public void Probability(string what, double expected, double? actual, double least = 1e-300)
    {
        Count++;
        bool same = actual is { } a && (expected < least ? a < least * 1e3 : Math.Abs(a - expected) <= 1e-6 * expected);
        Note(same, what, expected, actual);
    }

    public void Equal<T>(string what, T expected, T actual)
    {
        Count++;
        Note(EqualityComparer<T>.Default.Equals(expected, actual), what, expected, actual);
    }

    /// <summary>Fails with every difference; at least this many numbers were compared.</summary>
    public void Done(int least)
    {
        Assert.True(wrong.Count == 0, $"{wrong.Count} of {Count} differ:\n{string.Join('\n', wrong.Take(12))}");
        Assert.True(Count >= least, $"{Count} numbers were compared, at least {least} were expected");
        TestContext.Current.TestOutputHelper?.WriteLine($"{Count} reference numbers reproduced");
    }

    private void Note<T>(bool same, string what, T expected, T actual)
    {
        if (!same)
        {
            wrong.Add($"{what}: expected {expected}, got {actual}");
        }
    }
}
