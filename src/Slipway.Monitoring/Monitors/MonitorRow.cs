using System.Text.Json;
using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>A monitor as the table keeps it.</summary>
internal sealed class MonitorRow
{
    public const string Columns = "id AS Id, endpoint AS Endpoint, model_version AS ModelVersion, config AS Config, config_digest AS ConfigDigest, reference AS Reference, reference_rows AS ReferenceRows, reference_auc AS ReferenceAuc, reference_value AS ReferenceValue, baseline AS Baseline, stopped_by AS StoppedBy, next_us AS NextUs, watermark_us AS WatermarkUs, created_by AS CreatedBy, created_us AS CreatedUs, stopped_us AS StoppedUs, last_error AS LastError, scope AS Scope";

    public string Id { get; set; } = "";

    public string Endpoint { get; set; } = "";

    public string ModelVersion { get; set; } = "";

    public string Config { get; set; } = "";

    public string ConfigDigest { get; set; } = "";

    public string Reference { get; set; } = "";

    public long ReferenceRows { get; set; }

    public double? ReferenceAuc { get; set; }

    public double? ReferenceValue { get; set; }

    public string Baseline { get; set; } = "";

    public string? StoppedBy { get; set; }

    public long? NextUs { get; set; }

    public long? WatermarkUs { get; set; }

    public string CreatedBy { get; set; } = "";

    public long CreatedUs { get; set; }

    public long? StoppedUs { get; set; }

    public string? LastError { get; set; }

    public string Scope { get; set; } = "";

    public Watched Watched => new(Id, Endpoint, ModelVersion, ReadConfig().Scope);

    public MonitorConfig ReadConfig() => JsonSerializer.Deserialize<MonitorConfig>(Config, CanonicalJson.Options)
        ?? throw new SlipwayException(ErrorCode.DataLoss, $"monitor \"{Id}\" cannot be read", "its configuration is null");

    public Monitor Read()
    {
        MonitorConfig config = ReadConfig();
        return new Monitor(
            Id, Endpoint, ModelVersion, config.FeatureNames, config.Window, config.Thresholds, Reference, ReferenceRows, ReferenceAuc,
            At(NextUs), At(WatermarkUs), CreatedBy, Time.FromMicros(CreatedUs), At(StoppedUs), LastError)
        {
            Watched = config.Watched,
            ScoreOutput = config.ScoreOutput,
            PositiveFrom = config.PositiveFrom,
            Type = config.Type,
            Classes = config.Classes ?? [],
            PrimaryMetric = PrimaryMetric.Of(config.Type),
            ReferenceValue = ReferenceValue ?? ReferenceAuc,
            Ranking = config.Ranking,
            Forecast = config.Forecast,
            Baseline = Baseline,
            StoppedBy = StoppedBy,
            Scope = config.Scope ?? MonitorScope.All,
        };
    }

    private static DateTimeOffset? At(long? micros) => micros is { } m ? Time.FromMicros(m) : null;
}

/// <summary>A point as the table keeps it.</summary>
internal sealed class PointRow
{
    public const string Columns = "p.start_us AS StartUs, p.end_us AS EndUs, metric AS Metric, column_name AS ColumnName, p.revision AS Revision, value AS Value, n AS N, state AS State, level AS Level, lower_limit AS LowerLimit, upper_limit AS UpperLimit, standard_error AS StandardError, coverage AS Coverage, p.label_version AS LabelVersion, why AS Why, detail AS Detail, p.made_us AS MadeUs, w.phase AS Phase, w.late_rows AS LateRows, w.partial AS Partial";

    /// <summary>Points with the state of their windows.</summary>
    public const string From = "monitoring_points p LEFT JOIN monitoring_windows w ON w.monitor = p.monitor AND w.start_us = p.start_us";

    public long StartUs { get; set; }

    public long EndUs { get; set; }

    public string Metric { get; set; } = "";

    public string ColumnName { get; set; } = "";

    public long Revision { get; set; }

    public double? Value { get; set; }

    public long N { get; set; }

    public string State { get; set; } = "";

    public string Level { get; set; } = "";

    public double? LowerLimit { get; set; }

    public double? UpperLimit { get; set; }

    public double? StandardError { get; set; }

    public double? Coverage { get; set; }

    public long LabelVersion { get; set; }

    public string? Why { get; set; }

    public string Detail { get; set; } = "";

    public long MadeUs { get; set; }

    public string? Phase { get; set; }

    public long? LateRows { get; set; }

    public long? Partial { get; set; }

    public MonitorPoint Read() => new(
        Time.FromMicros(StartUs), Time.FromMicros(EndUs), Metric, ColumnName.Length == 0 ? null : ColumnName, Value, N, State, LowerLimit, UpperLimit, Why, Detail, Level, (int)Revision, StandardError, Coverage)
    {
        Phase = Phase ?? WindowPhase.Final,
        LateRows = LateRows ?? 0,
        Partial = Partial is > 0,
    };

    public static Task InsertAsync(Tx tx, string monitor, MonitorPoint p, long labelVersion, long madeUs) => tx.ExecuteAsync(
        "INSERT INTO monitoring_points (monitor, start_us, end_us, metric, column_name, revision, value, n, state, level, lower_limit, upper_limit, standard_error, coverage, label_version, why, detail, made_us) VALUES (@monitor, @start, @end, @Metric, @column, @Revision, @Value, @N, @State, @Level, @Lower, @Upper, @Error, @Coverage, @labelVersion, @Why, @Detail, @madeUs)",
        new
        {
            monitor,
            start = Time.ToMicros(p.WindowStart),
            end = Time.ToMicros(p.WindowEnd),
            p.Metric,
            column = p.Column ?? "",
            p.Revision,
            p.Value,
            p.N,
            p.State,
            p.Level,
            p.Lower,
            p.Upper,
            p.Error,
            p.Coverage,
            labelVersion,
            p.Why,
            p.Detail,
            madeUs,
        });

    /// <summary>Removes what stands for a window that is not judged: its provisional points, or the one that says that it could not be judged.</summary>
    public static async Task ForgetAsync(Tx tx, string monitor, long start)
    {
        await tx.ExecuteAsync("DELETE FROM monitoring_points WHERE monitor = @monitor AND start_us = @start", new { monitor, start });
        await tx.ExecuteAsync("DELETE FROM monitoring_windows WHERE monitor = @monitor AND start_us = @start", new { monitor, start });
    }

    /// <summary>The latest revision of each point of each window of a monitor from a start on.</summary>
    public static Task<IReadOnlyList<PointRow>> LatestAsync(Session s, string monitor, long from, long to) => s.QueryAsync<PointRow>(
        $"SELECT {Columns} FROM {From} WHERE p.monitor = @monitor AND p.start_us >= @from AND p.start_us < @to AND p.revision = (SELECT MAX(q.revision) FROM monitoring_points q WHERE q.monitor = p.monitor AND q.start_us = p.start_us AND q.metric = p.metric AND q.column_name = p.column_name) ORDER BY p.start_us, metric, column_name",
        new { monitor, from, to });
}

/// <summary>A window as the table keeps it.</summary>
internal sealed class WindowRow
{
    public const string Columns = "start_us AS StartUs, end_us AS EndUs, phase AS Phase, revision AS Revision, final_rows AS FinalRows, measured_rows AS MeasuredRows, late_rows AS LateRows, label_version AS LabelVersion, made_us AS MadeUs";

    public long StartUs { get; set; }

    public long EndUs { get; set; }

    public string Phase { get; set; } = "";

    public long Revision { get; set; }

    /// <summary>Rows of the log when it became final; -1 when that is not known.</summary>
    public long FinalRows { get; set; }

    /// <summary>Rows of the log that its newest numbers are made of.</summary>
    public long MeasuredRows { get; set; }

    public long LateRows { get; set; }

    public long LabelVersion { get; set; }

    public long MadeUs { get; set; }

    /// <summary>1 when the data begin or end in it; written once, when it is judged.</summary>
    public long Partial { get; set; }

    public static Task InsertAsync(Tx tx, string monitor, WindowRow row) => tx.ExecuteAsync(
        "INSERT INTO monitoring_windows (monitor, start_us, end_us, phase, revision, final_rows, measured_rows, late_rows, label_version, made_us, partial) VALUES (@monitor, @StartUs, @EndUs, @Phase, @Revision, @FinalRows, @MeasuredRows, @LateRows, @LabelVersion, @MadeUs, @Partial)",
        new { row.Partial, monitor, row.StartUs, row.EndUs, row.Phase, row.Revision, row.FinalRows, row.MeasuredRows, row.LateRows, row.LabelVersion, row.MadeUs });

    /// <summary>Moves a window to its next revision, unless somebody else has in the meantime.</summary>
    public static async Task<bool> MoveAsync(Tx tx, string monitor, WindowRow before, WindowRow after) => await tx.ExecuteAsync(
        "UPDATE monitoring_windows SET phase = @Phase, revision = @Revision, final_rows = @FinalRows, measured_rows = @MeasuredRows, late_rows = @LateRows, label_version = @LabelVersion, made_us = @MadeUs WHERE monitor = @monitor AND start_us = @StartUs AND revision = @expected AND phase = @was",
        new { monitor, after.StartUs, after.Phase, after.Revision, after.FinalRows, after.MeasuredRows, after.LateRows, after.LabelVersion, after.MadeUs, expected = before.Revision, was = before.Phase }) > 0;

    /// <summary>Marks the judged windows in which a prediction took part, or a copy of its request; those of monitors that have ended stay marked.</summary>
    public static Task StaleAsync(Tx tx, string endpoint, string model, long at) => tx.ExecuteAsync(
        "UPDATE monitoring_windows SET phase = 'stale' WHERE phase = 'final' AND start_us <= @at AND end_us > @at AND monitor IN (SELECT id FROM monitoring_monitors WHERE endpoint = @endpoint AND (model_version = @model OR scope LIKE 'shadow:%'))",
        new { endpoint, model, at });
}
