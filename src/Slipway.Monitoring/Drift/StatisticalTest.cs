namespace Slipway.Monitoring;

/// <summary>A test statistic with its probability when nothing drifted.</summary>
/// <param name="Statistic">In the unit of the test.</param>
/// <param name="P">At least as extreme under no drift; null when the test gives none on this data, see <paramref name="Why"/>.</param>
/// <param name="Why">Why there is no probability.</param>
public readonly record struct StatisticalTest(double Statistic, double? P, string? Why = null);
