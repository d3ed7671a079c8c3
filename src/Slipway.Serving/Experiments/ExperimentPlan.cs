namespace Slipway.Serving;

/// <summary>What an experiment's plan is asked.</summary>
public sealed record PlanRequest
{
    /// <summary>The endpoint whose traffic is measured; null: give <see cref="UnitsPerDay"/>.</summary>
    public string? Endpoint { get; init; }

    /// <summary>Share of the candidate, above 0 to 50, in percent.</summary>
    public double Percent { get; init; } = 10;

    /// <summary>Proportions: today's rate, above 0 and below 1.</summary>
    public double? Rate { get; init; }

    /// <summary>Means: standard deviation of one unit's outcome.</summary>
    public double? Deviation { get; init; }

    /// <summary>The smallest effect to be found, in the metric's unit.</summary>
    public double Effect { get; init; }

    /// <summary>Chance of a false winner.</summary>
    public double Alpha { get; init; } = 0.05;

    /// <summary>Chance of finding the effect.</summary>
    public double Power { get; init; } = 0.8;

    /// <summary>Units a day, all arms together; null: as measured at the endpoint.</summary>
    public double? UnitsPerDay { get; init; }

    /// <summary>Whether entities or requests are the units of the measured traffic.</summary>
    public ExperimentUnit Unit { get; init; }
}

/// <summary>Units and time that one split needs.</summary>
/// <param name="Percent">The candidate's share.</param>
/// <param name="StableUnits">Units of stable.</param>
/// <param name="CandidateUnits">Units of the candidate.</param>
/// <param name="Units">Both.</param>
/// <param name="TimesEven">Traffic over that of a 50/50 split.</param>
/// <param name="Days">At the traffic of the plan; null if that is unknown.</param>
public sealed record PlanSplit(double Percent, long StableUnits, long CandidateUnits, long Units, double TimesEven, double? Days);

/// <summary>The smallest effect that a number of days finds.</summary>
/// <param name="Days">Days.</param>
/// <param name="Even">With a 50/50 split, in the metric's unit; null if none is found.</param>
/// <param name="Canary">With the candidate's share.</param>
public sealed record PlanHorizon(int Days, double? Even, double? Canary);

/// <summary>How large and how long an experiment must be.</summary>
/// <param name="Even">With a 50/50 split.</param>
/// <param name="Canary">With the candidate's share.</param>
/// <param name="UnitsPerDay">Traffic that days are computed with; null if unknown.</param>
/// <param name="Traffic">Where that comes from, in words.</param>
/// <param name="Horizons">Smallest effects within 7, 14 and 28 days; empty without traffic.</param>
public sealed record ExperimentPlan(PlanSplit Even, PlanSplit Canary, double? UnitsPerDay, string Traffic, IReadOnlyList<PlanHorizon> Horizons)
{
    /// <summary>Every fault of a request at once.</summary>
    public static IReadOnlyList<string> Faults(PlanRequest request)
    {
        var faults = new List<string>();
        Require(request.Percent is > 0 and <= 50, $"the candidate's share must lie above 0 and up to 50 %, it is {request.Percent}");
        Require(request.Rate is null != request.Deviation is null, "either the rate of a proportion or the standard deviation of a mean is needed");
        Require(request.Rate is not { } rate || rate is > 0 and < 1, $"the rate must lie between 0 and 1, it is {request.Rate}");
        Require(request.Deviation is not { } deviation || (deviation > 0 && double.IsFinite(deviation)), $"the standard deviation must be positive, it is {request.Deviation}");
        Require(request.Effect > 0 && double.IsFinite(request.Effect), $"the effect must be positive, it is {request.Effect}");
        Require(request.Rate is not { } p || p + request.Effect < 1, $"a rate of {request.Rate} cannot rise by {request.Effect}");
        Require(request.Deviation is not { } d || request.Effect / d is > 1e-4 and < 1000, "the effect must lie between 0.0001 and 1,000 standard deviations");
        Require(request.Alpha is > 0 and < 0.5 && request.Power is > 0 and < 1, $"alpha ({request.Alpha}) must lie between 0 and 0.5, the power ({request.Power}) between 0 and 1");
        Require(request.UnitsPerDay is not { } units || (units > 0 && units < 1e12), $"units a day must be positive, they are {request.UnitsPerDay}");
        return faults;

        void Require(bool holds, string fault)
        {
            if (!holds)
            {
                faults.Add(fault);
            }
        }
    }

    /// <summary>Computes the plan at a known or unknown traffic.</summary>
    internal static ExperimentPlan Of(PlanRequest request, double? unitsPerDay, string traffic)
    {
        var even = Split(50, null);
        var canary = Split(request.Percent, even.Units);
        PlanHorizon[] horizons = unitsPerDay is { } daily
            ? [.. new[] { 7, 14, 28 }.Select(days => new PlanHorizon(days, Smallest(days * daily, 50), Smallest(days * daily, request.Percent)))]
            : [];
        return new(even, canary, unitsPerDay, traffic, horizons);

        PlanSplit Split(double percent, long? evenUnits)
        {
            var ratio = percent / (100 - percent);
            var (stable, candidate) = request.Rate is { } rate
                ? SampleSize.Proportions(rate, request.Effect, request.Alpha, request.Power, ratio)
                : SampleSize.Means(request.Effect / request.Deviation!.Value, request.Alpha, request.Power, ratio);
            var units = stable + candidate;
            return new(percent, stable, candidate, units, evenUnits is { } base50 ? (double)units / base50 : 1, unitsPerDay is { } a ? units / a : null);
        }

        double? Smallest(double units, double percent)
        {
            double first = units * (100 - percent) / 100, second = units * percent / 100;
            return request.Rate is { } rate
                ? first >= 2 && second >= 2 ? SampleSize.SmallestProportionEffect(rate, first, second, request.Alpha, request.Power) : null
                : SampleSize.SmallestMeanEffect((long)first, (long)second, request.Alpha, request.Power) * request.Deviation!.Value;
        }
    }
}
