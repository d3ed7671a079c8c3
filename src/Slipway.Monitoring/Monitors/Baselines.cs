using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>A window whose drift somebody accepted.</summary>
/// <param name="WindowStart">Its first instant.</param>
/// <param name="Column">The feature; null is all of them and the score.</param>
/// <param name="Comment">Why.</param>
/// <param name="By">Who.</param>
/// <param name="At">When.</param>
public sealed record AcceptedWindow(DateTimeOffset WindowStart, string? Column, string Comment, string By, DateTimeOffset At);

/// <summary>What a person decides about drift: that a window is fine as it is, or that it is what later ones are compared with.</summary>
public sealed class Baselines
{
    /// <summary>The least rows of a window that becomes a reference.</summary>
    public const int LeastRows = 100;

    private const int MostRows = 1_000_000;
    private const double LabelledEnough = 0.95;
    private readonly Database database;
    private readonly Journal journal;
    private readonly Monitors monitors;
    private readonly PredictionArchive archive;
    private readonly Labels labels;
    private readonly WindowRules rules;
    private readonly TimeProvider clock;

    internal Baselines(Database database, Journal journal, Monitors monitors, PredictionArchive archive, Labels labels, WindowRules rules, TimeProvider clock) =>
        (this.database, this.journal, this.monitors, this.archive, this.labels, this.rules, this.clock) = (database, journal, monitors, archive, labels, rules, clock);

    /// <summary>The accepted windows of a monitor, the newest first.</summary>
    public async Task<IReadOnlyList<AcceptedWindow>> ListAsync(string monitorId, CancellationToken ct)
    {
        IReadOnlyList<Row> rows = await database.ReadAsync(
            s => s.QueryAsync<Row>("SELECT start_us AS StartUs, column_name AS ColumnName, comment AS Comment, accepted_by AS AcceptedBy, accepted_us AS AcceptedUs FROM monitoring_accepted WHERE monitor = @monitorId ORDER BY start_us DESC, column_name LIMIT 1000", new { monitorId }), ct);
        return [.. rows.Select(r => new AcceptedWindow(Time.FromMicros(r.StartUs), r.ColumnName.Length == 0 ? null : r.ColumnName, r.Comment, r.AcceptedBy, Time.FromMicros(r.AcceptedUs)))];
    }

    /// <summary>Counts the drift of a window as clear, though its numbers stay. A drift alert that rests on it ends.</summary>
    /// <param name="actor">Who.</param>
    /// <param name="monitorId">The monitor.</param>
    /// <param name="windowStart">First instant of a window that was judged.</param>
    /// <param name="column">The feature; null is all of them and the score.</param>
    /// <param name="comment">Why, 1 to 2,000 characters.</param>
    /// <param name="ct">Cancels.</param>
    /// <exception cref="SlipwayException">NotFound for a window or feature that was not judged; InvalidArgument without a comment.</exception>
    public async Task<AcceptedWindow> AcceptAsync(Actor actor, string monitorId, DateTimeOffset windowStart, string? column, string comment, CancellationToken ct)
    {
        if (string.IsNullOrWhiteSpace(comment) || comment.Length > 2_000)
        {
            throw SlipwayException.Invalid("the window is not accepted", $"the comment has {comment.Length} characters (1 to 2,000)", "say why: --comment \"holiday traffic\"");
        }

        Monitor monitor = await monitors.GetAsync(monitorId, ct);
        var accepted = new AcceptedWindow(windowStart, column, comment.Trim(), actor.Name, clock.GetUtcNow());
        await database.WriteAsync(
            async tx =>
            {
                long start = Time.ToMicros(windowStart);
                long judged = await tx.ScalarAsync<long>(
                    "SELECT COUNT(*) FROM monitoring_points WHERE monitor = @monitorId AND start_us = @start AND metric IN ('psi', 'score_psi') AND (@column = '' OR column_name = @column) AND NOT EXISTS (SELECT 1 FROM monitoring_windows w WHERE w.monitor = @monitorId AND w.start_us = @start AND w.phase = 'provisional')", new { monitorId, start, column = column ?? "" });
                if (judged == 0)
                {
                    throw new SlipwayException(ErrorCode.NotFound, "the window is not accepted", $"monitor {monitorId} has judged {(column is null ? "nothing" : $"no `{column}`")} in a window that starts at {AlertText.Moment(windowStart)}", $"slipway monitor points {monitorId} --metric psi");
                }

                await tx.ExecuteAsync(
                    "INSERT INTO monitoring_accepted (monitor, start_us, column_name, comment, accepted_by, accepted_us) VALUES (@monitorId, @start, @column, @Comment, @By, @at) ON CONFLICT (monitor, start_us, column_name) DO UPDATE SET comment = excluded.comment, accepted_by = excluded.accepted_by, accepted_us = excluded.accepted_us",
                    new { monitorId, start, column = column ?? "", accepted.Comment, accepted.By, at = Time.ToMicros(accepted.At) });
                await journal.AppendAsync(tx, actor, "monitor.accepted", monitor.Subject, new MonitorAccepted(monitorId, windowStart, column, accepted.Comment), [new Subject("endpoint", monitor.Endpoint), new Subject("model-version", monitor.ModelVersion)]);
                await rules.AcceptAsync(tx, actor, monitor, windowStart, column, accepted.Comment);
            },
            ct);
        return accepted;
    }

    /// <summary>Watches on with the rows of a window as the reference: the monitor ends, and a new one with the same rules begins. The old reference and its points are kept.</summary>
    /// <returns>The new monitor.</returns>
    /// <exception cref="SlipwayException">NotFound; PreconditionFailed when the window holds too few or too many rows, or the monitor has ended.</exception>
    public async Task<Monitor> RebaseAsync(Actor actor, string monitorId, DateTimeOffset windowStart, CancellationToken ct)
    {
        Monitor monitor = await monitors.GetAsync(monitorId, ct);
        MonitorRow row = (await database.ReadAsync(s => s.FindAsync<MonitorRow>($"SELECT {MonitorRow.Columns} FROM monitoring_monitors WHERE id = @monitorId", new { monitorId }), ct))!;
        MonitorConfig config = row.ReadConfig();
        Func<Func<int, float>, bool>? segment = config.Segment();
        long from = Time.ToMicros(windowStart), to = Time.ToMicros(config.Window.EndOf(windowStart));
        Dictionary<string, KnownLabel> known = await labels.InForceAsync(monitor.Endpoint, MonitorWork.LabelsOf(row, config), from, to, ct);
        var rows = new Dictionary<string, Prediction>(StringComparer.Ordinal);
        await foreach (Prediction prediction in archive.ScanAsync(monitor.Endpoint, monitor.ModelVersion, config.Kind, from, to, ct))
        {
            if (prediction.Status < 400 && (prediction.Features.Count == config.FeatureNames.Count || monitor.Baseline == BaselineKind.Awaited)
                && (segment is null || (prediction.Features.Count == config.FeatureNames.Count && segment(i => prediction.Features[i]))) && rows.Count < MostRows)
            {
                rows[prediction.Id] = prediction;
            }
        }

        string? why = monitor.StoppedAt is not null ? "it has ended"
            : rows.Count < LeastRows ? $"the window that starts at {AlertText.Moment(windowStart)} holds {rows.Count} usable predictions, {LeastRows} are needed"
            : rows.Count == MostRows ? $"the window holds more than {MostRows:N0} predictions"
            : null;
        if (why is not null)
        {
            throw new SlipwayException(ErrorCode.PreconditionFailed, $"monitor {monitorId} cannot be rebased", why, $"slipway monitor points {monitorId} --metric rows");
        }

        // Performance of a reference needs the outcome of each row: where nearly all are labelled, the few others are left out.
        bool labelled = rows.Keys.Count(known.ContainsKey) >= LabelledEnough * rows.Count;
        Prediction[] used = [.. rows.Values.Where(p => !labelled || known.ContainsKey(p.Id)).OrderBy(p => p.At).ThenBy(p => p.Id, StringComparer.Ordinal)];
        if (monitor.Baseline == BaselineKind.Awaited)
        {
            (config, IReadOnlyList<Prediction> told) = FirstWindow.Tell(config, used);
            used = [.. told];
        }

        WatchRequest request = FirstWindow.Request(monitor.Endpoint, monitor.ModelVersion, config, used, labelled ? known : null);
        request = request with { Reference = request.Reference with { Sources = [monitor.Subject] }, StreamFrom = config.Window.EndOf(windowStart) };
        // What cannot become a reference is found before anything ends.
        MonitorReference.Freeze(request);
        await monitors.StopAsync(actor, monitorId, ct);
        Monitor next = await monitors.WatchAsync(actor, request, ct);
        await database.WriteAsync(
            tx => journal.AppendAsync(tx, actor, "monitor.rebased", next.Subject, new MonitorRebased(next.Id, monitorId, windowStart, used.Length), [monitor.Subject, new Subject("endpoint", monitor.Endpoint), new Subject("model-version", monitor.ModelVersion)]), ct);
        return next;
    }

    private sealed class Row
    {
        public long StartUs { get; set; }

        public string ColumnName { get; set; } = "";

        public string Comment { get; set; } = "";

        public string AcceptedBy { get; set; } = "";

        public long AcceptedUs { get; set; }
    }
}
