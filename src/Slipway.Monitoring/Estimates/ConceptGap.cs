namespace Slipway.Monitoring;

/// <summary>
/// Concept drift as the gap between estimated and realized performance: both see the same inputs, so a gap beyond their sampling errors says that
/// the relation of inputs and outcomes has changed. It is given when |estimated - realized| exceeds three combined standard errors in two windows
/// running. Only mature windows count: at least 95 % labelled, or older than the 95th percentile of label delay.
/// </summary>
public sealed class ConceptGap
{
    /// <summary>Coverage from which a window counts as mature whatever its age.</summary>
    public const double MatureCoverage = 0.95;

    private int running;

    /// <summary>Windows running whose gap was too large.</summary>
    public int Running => running;

    /// <summary>Takes the next window; a window that cannot be compared changes nothing.</summary>
    /// <returns>Whether the gap says concept drift; null when the window cannot be compared.</returns>
    public bool? Observe(Measured estimated, Measured realized, bool mature)
    {
        if (!mature || Exceeds(estimated, realized) is not { } exceeds)
        {
            return null;
        }

        running = exceeds ? running + 1 : 0;
        return running >= 2;
    }

    /// <summary>Whether one window's gap exceeds three combined standard errors; null when a value or both errors are missing.</summary>
    public static bool? Exceeds(Measured estimated, Measured realized) =>
        estimated.Value is { } e && realized.Value is { } r && (estimated.Error ?? realized.Error) is not null
            ? Math.Abs(e - r) > 3 * Math.Sqrt(Square(estimated.Error ?? 0) + Square(realized.Error ?? 0))
            : null;

    private static double Square(double x) => x * x;
}
