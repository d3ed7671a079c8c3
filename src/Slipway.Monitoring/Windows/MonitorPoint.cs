namespace Slipway.Monitoring;

/// <summary>The model version on an endpoint that a monitor watches.</summary>
internal sealed record Watched(string MonitorId, string Endpoint, string ModelVersion, MonitorScope? Scope = null)
{
    /// <summary>Which predictions, for sentences about them; empty when they are all that callers got.</summary>
    public string Of => $"{(Scope?.Shadow == true ? " (answers to copies)" : "")}{(Scope?.Segment is { } segment ? $" with {segment}" : "")}";
}

/// <summary>One metric of one column in one window.</summary>
/// <param name="WindowStart">First instant of the window.</param>
/// <param name="WindowEnd">First instant behind it.</param>
/// <param name="Metric">`rows`, `psi`, `score_psi`, `missing_rate`, `unseen_rate`; realized `auc`, `log_loss`, `brier`, `accuracy`, `average_precision`, `precision`, `recall`, `f1`, `calibration_error`; `estimated_auc`, `estimated_accuracy`, `estimated_macro_f1`, `estimated_mae` and `estimated_rmse` without labels; `concept_gap`, `auc_gap` and `rmse_gap` between the two.</param>
/// <param name="Column">The feature; null for metrics of the whole window.</param>
/// <param name="Value">Null unless the state is ok or alert.</param>
/// <param name="N">Rows that the value is made of.</param>
/// <param name="State">A value of <see cref="PointState"/>.</param>
/// <param name="Lower">The value alerts below it.</param>
/// <param name="Upper">The value alerts above it (at it, for drift).</param>
/// <param name="Why">The reason of a state that carries no number.</param>
/// <param name="Detail">JSON: the parts of the decision (bins and shares, significance, coverage).</param>
/// <param name="Level">A value of <see cref="DriftLevel"/> for drift; `none` otherwise.</param>
/// <param name="Revision">0 for the first evaluation; later labels make later revisions of performance points.</param>
/// <param name="Error">Standard error of the value; null when it has none.</param>
/// <param name="Coverage">Share of the window's predictions that have a label; null for drift.</param>
public sealed record MonitorPoint(
    DateTimeOffset WindowStart,
    DateTimeOffset WindowEnd,
    string Metric,
    string? Column,
    double? Value,
    long N,
    string State,
    double? Lower,
    double? Upper,
    string? Why,
    string Detail,
    string Level = DriftLevel.None,
    int Revision = 0,
    double? Error = null,
    double? Coverage = null)
{
    /// <summary>Whether the window's numbers may still move: a value of <see cref="WindowPhase"/>.</summary>
    public string Phase { get; init; } = WindowPhase.Final;

    /// <summary>Rows that came behind the window's lateness. With `recomputeLate` the newest revision counts them, otherwise no number does.</summary>
    public long LateRows { get; init; }

    /// <summary>Whether the version's predictions begin or end inside the window (of calendar periods), so that it holds less than a whole one.</summary>
    public bool Partial { get; init; }

    /// <summary>Whether the value is far enough inside its limits to resolve a firing rule. Known when the point is made; it is not stored.</summary>
    internal bool Clear { get; init; } = true;
}
