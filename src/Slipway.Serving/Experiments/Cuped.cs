namespace Slipway.Serving;

/// <summary>
/// CUPED (Deng, Xu, Kohavi and Walker 2013): y - theta (x - mean(x)), where x is the same unit's metric before the experiment. theta is the slope over all
/// arms together, so that arms are shifted alike; a unit without history counts with the mean, which leaves its outcome as it is.
/// </summary>
internal static class Cuped
{
    /// <summary>Adjusts outcomes in place.</summary>
    /// <param name="outcomes">One for each unit, over all arms.</param>
    /// <param name="history">The covariate of each unit, NaN without history.</param>
    public static CupedReport Adjust(Span<double> outcomes, ReadOnlySpan<double> history)
    {
        double n = 0, meanX = 0, known = 0;
        foreach (var x in history)
        {
            if (double.IsFinite(x))
            {
                known++;
                meanX += (x - meanX) / known;
            }
        }

        var meanY = 0.0;
        foreach (var y in outcomes)
        {
            n++;
            meanY += (y - meanY) / n;
        }

        double xx = 0, xy = 0, yy = 0;
        for (var i = 0; i < outcomes.Length; i++)
        {
            double dx = double.IsFinite(history[i]) ? history[i] - meanX : 0, dy = outcomes[i] - meanY;
            xx += dx * dx;
            xy += dx * dy;
            yy += dy * dy;
        }

        if (known < 2 || !(xx > 0) || !(yy > 0) || !double.IsFinite(xx + xy + yy))
        {
            return new(null, null, null, (long)known, known < 2 ? "fewer than two units have history" : "history or outcome does not vary");
        }

        double theta = xy / xx, correlation = xy / Math.Sqrt(xx * yy);
        for (var i = 0; i < outcomes.Length; i++)
        {
            outcomes[i] -= double.IsFinite(history[i]) ? theta * (history[i] - meanX) : 0;
        }

        return new(theta, correlation, 1 - (correlation * correlation), (long)known, null);
    }
}
