using System.Collections.Concurrent;
using System.Text.Json;
using System.Text.Json.Nodes;
using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>
/// Evaluates monitors. Each closed window is judged once, in the order of event time; its performance is measured again while labels
/// for it arrive. Points, rules, alerts and the monitor's position move in one transaction, so a step may die anywhere.
/// </summary>
internal sealed class MonitorWork(Database database, IBlobStore blobs, Journal journal, PredictionArchive archive, Labels labels, WindowRules rules, LabelStream labelStream, MonitoringOptions options, TimeProvider clock) : IClockedWork
{
    private const int WindowsAtOnce = 50;
    private static readonly JsonSerializerOptions DetailJson = new(JsonSerializerDefaults.Web);
    /// <summary>Windows without rows behind the last prediction of a version that are written before the monitor waits for the next one.</summary>
    private const int EmptyWindows = 8;
    private const int CachedReferences = 64;
    private static readonly TimeSpan ClockSkew = TimeSpan.FromMinutes(5);
    private static readonly TimeSpan SettledAfter = TimeSpan.FromMinutes(1);
    private readonly ConcurrentDictionary<string, SemaphoreSlim> turns = new(StringComparer.Ordinal);
    /// <summary>How often a monitor looks for rows that came late into windows that are judged.</summary>
    private static readonly TimeSpan LateInterval = TimeSpan.FromMinutes(1);
    private readonly ConcurrentDictionary<string, Barrier> barriers = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, SeenParts> seenParts = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, MonitorReference> references = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<(string Reference, string Rule, int Rows), Limits> drawn = new();

    public string Kind => "monitor";

    public Task<IReadOnlyList<string>> OpenAsync(CancellationToken ct) =>
        database.ReadAsync(s => s.QueryAsync<string>("SELECT id FROM monitoring_monitors WHERE stopped_us IS NULL ORDER BY id"), ct);

    public async Task<DateTimeOffset?> StepAsync(string key, CancellationToken ct)
    {
        MonitorRow? monitor = await FindAsync(key, ct);
        if (monitor is null || monitor.StoppedUs is not null)
        {
            return null;
        }

        await EvaluateAsync(monitor.Id, ct);
        return clock.GetUtcNow() + options.MonitorInterval;
    }

    public Task<MonitorRow?> FindAsync(string id, CancellationToken ct) =>
        database.ReadAsync(s => s.FindAsync<MonitorRow>($"SELECT {MonitorRow.Columns} FROM monitoring_monitors WHERE id = @id", new { id }), ct);

    /// <summary>Judges every window that is closed by now and measures again what new labels have changed.</summary>
    /// <returns>How many points were written.</returns>
    public async Task<int> EvaluateAsync(string id, CancellationToken ct)
    {
        SemaphoreSlim turn = turns.GetOrAdd(id, static _ => new SemaphoreSlim(1, 1));
        await turn.WaitAsync(ct);
        try
        {
            MonitorRow monitor = await FindAsync(id, ct) ?? throw SlipwayException.NotFound("monitor", id, "slipway monitor list");
            if (monitor.StoppedUs is not null)
            {
                return 0;
            }

            try
            {
                return await EvaluateAsync(monitor, ct);
            }
            catch (Exception e) when (e is not OperationCanceledException)
            {
                string why = Reason(e);
                await database.WriteAsync(tx => tx.ExecuteAsync("UPDATE monitoring_monitors SET last_error = @why WHERE id = @id", new { why, id }), CancellationToken.None);
                throw;
            }
        }
        finally
        {
            turn.Release();
        }
    }

    private async Task<int> EvaluateAsync(MonitorRow monitor, CancellationToken ct)
    {
        await labels.JoinParkedAsync(monitor.Endpoint, ct);
        MonitorConfig config = monitor.ReadConfig();
        MonitorReference reference = await ReferenceAsync(monitor, config, ct);
        IReadOnlyDictionary<string, long> turns = await archive.TurnsAsync(ct);
        (long stream, _, long latest) = await archive.ExtentAsync(monitor.Endpoint, null, ct);
        IReadOnlyList<ArchivePart> parts = await archive.PartsAsync(monitor.Endpoint, monitor.ModelVersion, config.Kind, ct);
        (long own, long first, long last) = parts.Count == 0 ? (0, 0, 0) : (parts.Sum(p => p.Rows), parts.Min(p => p.First), parts.Max(p => p.Last));
        int written = await LateAsync(monitor, config, reference, parts, ct);
        if (stream > 0 && own > 0)
        {
            // One event time from the future must not close the windows between now and it.
            DateTimeOffset seen = Time.FromMicros(Math.Min(latest, Time.ToMicros(clock.GetUtcNow() + ClockSkew)));
            DateTimeOffset watermark = seen - config.Window.Lateness, whole = WholeUntil(monitor.Id, config.Window.StartOf(watermark), turns);
            DateTimeOffset start = monitor.NextUs is { } next ? Time.FromMicros(next) : config.Window.StartOf(Time.FromMicros(first));
            DateTimeOffset idle = config.Window.StartOf(Time.FromMicros(last)) + (EmptyWindows + 1) * config.Window.Length;
            for (int i = 0; i < WindowsAtOnce && config.Window.EndOf(start) <= whole && start < idle; i++)
            {
                try
                {
                    bool full = monitor.NextUs is not null || Time.FromMicros(first) - start <= config.Window.Length / WindowRule.PartOfFull;
                    Adopted? adopted = monitor.Reference.Length == 0 && full ? await AdoptAsync(monitor, config, start, ct) : null;
                    written += await CloseAsync(monitor, adopted?.Told ?? config, adopted is null ? reference : MonitorReference.None(adopted.Told.Type), start, watermark, config.Window.Cuts(start, Time.FromMicros(first), Time.FromMicros(last)), adopted, ct);
                    if (adopted is not null)
                    {
                        monitor = await FindAsync(monitor.Id, ct) ?? throw SlipwayException.NotFound("monitor", monitor.Id, "slipway monitor list");
                        config = monitor.ReadConfig();
                        reference = await ReferenceAsync(monitor, config, ct);
                    }
                }
                catch (Exception e) when (e is not OperationCanceledException)
                {
                    // The window stays open and is judged again; until then its failure is a point that anyone can see.
                    await FailAsync(monitor, config, start, e);
                    throw;
                }

                start = config.Window.EndOf(start);
                monitor.NextUs = Time.ToMicros(start);
            }

            if (config.Window.EndOf(start) > whole)
            {
                await LookAheadAsync(monitor, config, reference, start, seen < idle ? seen : idle, ct);
            }
        }

        written += monitor.Reference.Length > 0 ? await ReviseAsync(monitor, config, reference, ct) : 0;
        written += await labelStream.StepAsync(monitor, config, reference, ct);
        if (monitor.LastError is not null)
        {
            await database.WriteAsync(tx => tx.ExecuteAsync("UPDATE monitoring_monitors SET last_error = NULL WHERE id = @Id", new { monitor.Id }), ct);
        }

        return written;
    }

    /// <summary>
    /// The end of the last window that may be closed: one whose time is over, once every node's rows that were appended when that was found can be read. Later ones wait for their
    /// own turn.
    /// </summary>
    /// <param name="monitor">The monitor.</param>
    /// <param name="due">The end of the last window whose time is over.</param>
    /// <param name="turns">How far the other nodes are.</param>
    private DateTimeOffset WholeUntil(string monitor, DateTimeOffset due, IReadOnlyDictionary<string, long> turns)
    {
        Barrier barrier = barriers.GetOrAdd(monitor, _ => new Barrier(due, turns));
        if (barrier.Nodes.Any(n => turns.TryGetValue(n.Key, out long turn) && turn < n.Value + 2))
        {
            return DateTimeOffset.MinValue;
        }

        if (barrier.Due >= due)
        {
            return due;
        }

        barriers[monitor] = new Barrier(due, turns);
        return turns.Count == 0 ? due : barrier.Due;
    }

    private async Task<int> CloseAsync(MonitorRow monitor, MonitorConfig config, MonitorReference reference, DateTimeOffset start, DateTimeOffset watermark, bool partial, Adopted? adopted, CancellationToken ct)
    {
        (WindowMeasure measure, long version) = await MeasureAsync(monitor, config, reference, start, ct);
        // Until something tells what the model predicts, its performance has no name.
        bool told = adopted is not null || monitor.Reference.Length > 0;
        MonitorPoint[] points = [.. measure.Drift(), .. await LimitedAsync(monitor, config, reference, told ? measure.Performance() : [], ct)];
        long expected = Time.ToMicros(start), now = clock.NowMicros();
        bool written = await database.WriteAsync(
            async tx =>
            {
                // Another evaluation may have closed the window since it was read; then this one has nothing to say.
                long? at = await tx.ScalarAsync<long?>("SELECT next_us FROM monitoring_monitors WHERE id = @Id", new { monitor.Id });
                if (at is not null && at != expected)
                {
                    return false;
                }

                await PointRow.ForgetAsync(tx, monitor.Id, expected);
                await WindowRow.InsertAsync(tx, monitor.Id, Measured(config, start, WindowPhase.Final, measure, version, now, partial));
                await WindowSketches.StoreAsync(tx, monitor.Id, expected, Time.ToMicros(config.Window.EndOf(start)), measure.Sketches());
                foreach (MonitorPoint point in points)
                {
                    await PointRow.InsertAsync(tx, monitor.Id, point, version, now);
                }

                await tx.ExecuteAsync(
                    "UPDATE monitoring_monitors SET next_us = @next, watermark_us = @watermark WHERE id = @Id",
                    new { next = Time.ToMicros(config.Window.EndOf(start)), watermark = Time.ToMicros(watermark), monitor.Id });
                if (adopted is not null)
                {
                    await ReferAsync(tx, monitor, adopted);
                }

                await rules.ApplyAsync(tx, monitor.Watched, reference, config.Thresholds, points, points);
                return true;
            },
            ct);
        return written ? points.Length : 0;
    }

    /// <summary>A reference of the rows of a window, with what they tell about the model; null when they are too few.</summary>
    private async Task<Adopted?> AdoptAsync(MonitorRow monitor, MonitorConfig config, DateTimeOffset start, CancellationToken ct)
    {
        long from = Time.ToMicros(start), to = Time.ToMicros(config.Window.EndOf(start));
        var rows = new List<Prediction>();
        Func<Func<int, float>, bool>? segment = config.Segment();
        int step = 1, at = 0;
        await foreach (Prediction prediction in archive.ScanAsync(monitor.Endpoint, monitor.ModelVersion, config.Kind, from, to, ct))
        {
            if (prediction.Status is < 200 or > 299 || (segment is not null && (prediction.Features.Count != config.FeatureNames.Count || !segment(i => prediction.Features[i]))) || at++ % step != 0)
            {
                continue;
            }

            rows.Add(prediction);
            if (rows.Count == 2 * FirstWindow.MostRows)
            {
                // Twice too many: every second row goes, and every second one of those to come.
                rows = [.. rows.Where((_, i) => i % 2 == 0)];
                step *= 2;
            }
        }

        if (rows.Count < Baselines.LeastRows)
        {
            return null;
        }

        (MonitorConfig told, IReadOnlyList<Prediction> alike) = FirstWindow.Tell(config, rows);
        if (alike.Count < Baselines.LeastRows)
        {
            return null;
        }

        MonitorReference reference = MonitorReference.Freeze(FirstWindow.Request(monitor.Endpoint, monitor.ModelVersion, told, alike, null));
        using var content = new MemoryStream(CanonicalJson.Serialize(reference));
        BlobInfo blob = await blobs.PutAsync(content, ct);
        byte[] text = CanonicalJson.Serialize(told);
        return new Adopted(blob.Hash, reference, told, System.Text.Encoding.UTF8.GetString(text), Digest.Sha256Hex(text), start);
    }

    private async Task ReferAsync(Tx tx, MonitorRow monitor, Adopted adopted)
    {
        await tx.ExecuteAsync(
            "UPDATE monitoring_monitors SET reference = @Hash, reference_rows = @rows, config = @Config, config_digest = @ConfigDigest, baseline = @baseline WHERE id = @Id AND reference = ''",
            new { adopted.Hash, rows = adopted.Reference.Rows, adopted.Config, adopted.ConfigDigest, baseline = BaselineKind.FirstWindow, monitor.Id });
        await LabelStream.BeginAsync(tx, monitor.Id, adopted.Told.Window.EndOf(adopted.WindowStart));
        await journal.AppendAsync(
            tx, AlertState.Self, "monitor.referenced", new Subject("monitor", monitor.Id), new MonitorReferenced(monitor.Id, adopted.Hash, adopted.Reference.Rows, adopted.WindowStart, adopted.Reference.Type, adopted.ConfigDigest),
            [new Subject("endpoint", monitor.Endpoint), new Subject("model-version", monitor.ModelVersion)]);
    }

    private Task FailAsync(MonitorRow monitor, MonitorConfig config, DateTimeOffset start, Exception e)
    {
        var point = new MonitorPoint(start, config.Window.EndOf(start), "rows", null, null, 0, PointState.Error, null, null, Reason(e), "{}");
        return database.WriteAsync(
            async tx =>
            {
                await PointRow.ForgetAsync(tx, monitor.Id, Time.ToMicros(start));
                await PointRow.InsertAsync(tx, monitor.Id, point, 0, clock.NowMicros());
            },
            CancellationToken.None);
    }

    /// <summary>Outcomes of copies are those of the requests that callers sent, whichever version answered them.</summary>
    internal static string? LabelsOf(MonitorRow monitor, MonitorConfig config) => config.Kind == PredictionKind.Shadow ? null : monitor.ModelVersion;

    private static string Reason(Exception e) => e is SlipwayException s ? s.Sentence : $"{e.GetType().Name}: {e.Message}";

    private static WindowRow Measured(MonitorConfig config, DateTimeOffset start, string phase, WindowMeasure measure, long labelVersion, long now, bool partial = false) => new()
    {
        Partial = partial ? 1 : 0,
        StartUs = Time.ToMicros(start),
        EndUs = Time.ToMicros(config.Window.EndOf(start)),
        Phase = phase,
        FinalRows = measure.Scanned,
        MeasuredRows = measure.Scanned,
        LabelVersion = labelVersion,
        MadeUs = now,
    };

    /// <summary>
    /// Writes provisional points of the windows whose time is over and whose lateness is not: once when their time is over, and again when rows have come and
    /// an eighth of the lateness has passed. They take each other's place, and no rule looks at them.
    /// </summary>
    private async Task LookAheadAsync(MonitorRow monitor, MonitorConfig config, MonitorReference reference, DateTimeOffset start, DateTimeOffset seen, CancellationToken ct)
    {
        TimeSpan pause = config.Window.Lateness / 8 > TimeSpan.FromMinutes(1) ? config.Window.Lateness / 8 : TimeSpan.FromMinutes(1);
        for (int i = 0; i < WindowsAtOnce && config.Window.EndOf(start) <= seen; i++, start = config.Window.EndOf(start))
        {
            long from = Time.ToMicros(start), to = Time.ToMicros(config.Window.EndOf(start)), now = clock.NowMicros();
            WindowRow? before = await database.ReadAsync(s => s.FindAsync<WindowRow>($"SELECT {WindowRow.Columns} FROM monitoring_windows WHERE monitor = @Id AND start_us = @from", new { monitor.Id, from }), ct);
            if (before is not null
                && (now - before.MadeUs < pause.Ticks / TimeSpan.TicksPerMicrosecond || await archive.CountAsync(monitor.Endpoint, monitor.ModelVersion, config.Kind, from, to, ct) == before.MeasuredRows))
            {
                continue;
            }

            (WindowMeasure measure, long version) = await MeasureAsync(monitor, config, reference, start, ct);
            MonitorPoint[] points = [.. measure.Drift(), .. await LimitedAsync(monitor, config, reference, monitor.Reference.Length > 0 ? measure.Performance() : [], ct)];
            await database.WriteAsync(
                async tx =>
                {
                    long? next = await tx.ScalarAsync<long?>("SELECT next_us FROM monitoring_monitors WHERE id = @Id", new { monitor.Id });
                    if (next is not null && next > from)
                    {
                        return;
                    }

                    await PointRow.ForgetAsync(tx, monitor.Id, from);
                    await WindowRow.InsertAsync(tx, monitor.Id, Measured(config, start, WindowPhase.Provisional, measure, version, now));
                    foreach (MonitorPoint point in points)
                    {
                        await PointRow.InsertAsync(tx, monitor.Id, point, version, now);
                    }
                },
                ct);
        }
    }

    /// <summary>
    /// Counts the rows that have come into judged windows since they became final, from this node or another one; where the window rule says so they
    /// make a new revision. Only windows that a changed part of the log reaches into are looked at, the newest of them.
    /// </summary>
    private async Task<int> LateAsync(MonitorRow monitor, MonitorConfig config, MonitorReference reference, IReadOnlyList<ArchivePart> parts, CancellationToken ct)
    {
        long now = clock.NowMicros();
        SeenParts before = seenParts.GetValueOrDefault(monitor.Id, SeenParts.None);
        ArchivePart[] changed = [.. parts.Where(p => before.Rows.GetValueOrDefault(p.Segment) != p.Rows)];
        if (changed.Length == 0 || now - before.At < LateInterval.Ticks / TimeSpan.TicksPerMicrosecond)
        {
            return 0;
        }

        long from = changed.Min(p => p.First);
        IReadOnlyList<WindowRow> windows = await database.ReadAsync(
            s => s.QueryAsync<WindowRow>($"SELECT {WindowRow.Columns} FROM monitoring_windows WHERE monitor = @Id AND phase = 'final' AND end_us > @from ORDER BY start_us DESC LIMIT @RevisedWindows", new { monitor.Id, from, options.RevisedWindows }), ct);
        int written = 0;
        foreach (WindowRow window in windows.Reverse())
        {
            long rows = await archive.CountAsync(monitor.Endpoint, monitor.ModelVersion, config.Kind, window.StartUs, window.EndUs, ct);
            long counted = window.FinalRows < 0 ? rows : window.FinalRows, late = Math.Max(0, rows - counted);
            if (late == window.LateRows && counted == window.FinalRows)
            {
                continue;
            }

            await database.WriteAsync(
                tx => tx.ExecuteAsync(
                    "UPDATE monitoring_windows SET late_rows = @late, final_rows = @counted, measured_rows = CASE WHEN measured_rows < 0 THEN @counted ELSE measured_rows END WHERE monitor = @Id AND start_us = @StartUs",
                    new { late, counted, monitor.Id, window.StartUs }),
                ct);
            (window.LateRows, window.FinalRows) = (late, counted);
            if (config.Window.RecomputeLate && rows > window.MeasuredRows && monitor.Reference.Length > 0)
            {
                written += await ReviseAsync(monitor, config, reference, window, whole: true, ct);
            }
        }

        seenParts[monitor.Id] = new SeenParts(parts.ToDictionary(p => p.Segment, p => p.Rows, StringComparer.Ordinal), now);
        return written;
    }

    /// <summary>Measures performance again in the newest windows whose labels have changed since their latest revision, and everything in windows that lost rows.</summary>
    private async Task<int> ReviseAsync(MonitorRow monitor, MonitorConfig config, MonitorReference reference, CancellationToken ct)
    {
        IReadOnlyList<WindowRow> newest = await database.ReadAsync(
            s => s.QueryAsync<WindowRow>($"SELECT {WindowRow.Columns} FROM monitoring_windows WHERE monitor = @Id AND phase <> 'provisional' ORDER BY start_us DESC LIMIT @RevisedWindows", new { monitor.Id, options.RevisedWindows }), ct);
        IReadOnlyList<WindowRow> stale = await database.ReadAsync(
            s => s.QueryAsync<WindowRow>($"SELECT {WindowRow.Columns} FROM monitoring_windows WHERE monitor = @Id AND phase = 'stale' ORDER BY start_us LIMIT {WindowsAtOnce}", new { monitor.Id }), ct);
        int written = 0;
        foreach (WindowRow window in stale)
        {
            written += await ReviseAsync(monitor, config, reference, window, whole: true, ct);
        }

        foreach (WindowRow window in newest.Reverse().Where(w => w.Phase != WindowPhase.Stale))
        {
            if (await labels.VersionAsync(monitor.Endpoint, LabelsOf(monitor, config), window.StartUs, window.EndUs, ct) != window.LabelVersion)
            {
                written += await ReviseAsync(monitor, config, reference, window, whole: false, ct);
            }
        }

        return written;
    }

    /// <summary>Measures a judged window again; everything, or its performance only.</summary>
    private async Task<int> ReviseAsync(MonitorRow monitor, MonitorConfig config, MonitorReference reference, WindowRow before, bool whole, CancellationToken ct)
    {
        // Windows from before the version had a reference have no performance.
        IReadOnlyList<MonitorPoint> earlier = [.. (await database.ReadAsync(s => PointRow.LatestAsync(s, monitor.Id, before.StartUs, before.EndUs), ct)).Select(p => p.Read())];
        bool judged = monitor.Baseline == BaselineKind.Reference || earlier.Any(p => p.Metric is "psi" or "score_psi" || Families.Of(p.Metric) == Families.Performance);
        if (!judged && !whole)
        {
            return 0;
        }

        (WindowMeasure measure, long version) = await MeasureAsync(monitor, config, judged ? reference : MonitorReference.None(config.Type), Time.FromMicros(before.StartUs), ct);
        int revision = (int)before.Revision + 1;
        List<MonitorPoint> points = [.. whole ? measure.Drift() : [], .. await LimitedAsync(monitor, config, reference, judged ? measure.Performance() : [], ct)];
        // What no row stands behind any more is said to be gone, or its old number would stay the newest one.
        points.AddRange(earlier.Where(p => (whole || Families.Of(p.Metric) is Families.Performance or Families.Concept) && !p.Metric.StartsWith("estimated_", StringComparison.Ordinal) && points.All(q => (q.Metric, q.Column) != (p.Metric, p.Column)))
            .Select(p => p with { Value = null, N = 0, State = PointState.NoData, Level = DriftLevel.None, Error = null, Why = "what it was made of was deleted", Detail = "{}" }));
        points = [.. points.Select(p => p with { Revision = revision })];
        if (!whole && !Worth(PrimaryMetric.Of(config.Type), earlier, points, measure, before))
        {
            return 0;
        }

        long now = clock.NowMicros();
        bool written = await database.WriteAsync(
            async tx =>
            {
                var after = new WindowRow
                {
                    StartUs = before.StartUs,
                    EndUs = before.EndUs,
                    Phase = WindowPhase.Final,
                    Revision = revision,
                    // Deleted rows are no longer among those that the window had when it became final.
                    FinalRows = before.Phase == WindowPhase.Stale ? Math.Max(0, measure.Scanned - before.LateRows) : before.FinalRows,
                    MeasuredRows = measure.Scanned,
                    LateRows = before.LateRows,
                    LabelVersion = version,
                    MadeUs = now,
                };
                if (!await WindowRow.MoveAsync(tx, monitor.Id, before, after))
                {
                    return false;
                }

                foreach (MonitorPoint point in points)
                {
                    await PointRow.InsertAsync(tx, monitor.Id, point, version, now);
                }

                if (whole)
                {
                    await WindowSketches.StoreAsync(tx, monitor.Id, before.StartUs, before.EndUs, measure.Sketches());
                }

                MonitorPoint[] window = [.. earlier.Where(p => points.All(q => (q.Metric, q.Column) != (p.Metric, p.Column))), .. points];
                await rules.ApplyAsync(tx, monitor.Watched, reference, config.Thresholds, points, window);
                return true;
            },
            ct);
        return written ? points.Count : 0;
    }

    /// <summary>
    /// Labels arrive one by one: a revision is worth a row when it says something else, adds a fiftieth of the window, completes it, corrects a value, or
    /// when the labels have come to rest.
    /// </summary>
    private bool Worth(string primary, IReadOnlyList<MonitorPoint> earlier, IReadOnlyList<MonitorPoint> points, WindowMeasure measure, WindowRow before)
    {
        MonitorPoint[] was = [.. earlier.Where(p => p.Metric == primary)], now = [.. points.Where(p => p.Metric == primary)];
        long labelledBefore = was.Sum(p => p.N), labelled = now.Sum(p => p.N);
        return now.Length != was.Length
            || now.Any(p => was.FirstOrDefault(q => q.Column == p.Column)?.State != p.State)
            || (now.Length > 0 && (labelled <= labelledBefore || now[0].Coverage >= 1 || (labelled - labelledBefore) * 50 >= measure.Rows || clock.NowMicros() - before.MadeUs >= SettledAfter.Ticks / TimeSpan.TicksPerMicrosecond));
    }

    private async Task<(WindowMeasure Measure, long LabelVersion)> MeasureAsync(MonitorRow monitor, MonitorConfig config, MonitorReference reference, DateTimeOffset start, CancellationToken ct)
    {
        DateTimeOffset end = config.Window.EndOf(start);
        long from = Time.ToMicros(start), to = Time.ToMicros(end);
        // The version is read first: a label that comes in between makes one more revision, never a lost one.
        long version = await labels.VersionAsync(monitor.Endpoint, LabelsOf(monitor, config), from, to, ct);
        Dictionary<string, KnownLabel> known = await labels.InForceAsync(monitor.Endpoint, LabelsOf(monitor, config), from, to, ct);
        IReadOnlyList<double> latencies = await database.ReadAsync(
            s => s.QueryAsync<double>("SELECT value FROM monitoring_points WHERE monitor = @Id AND metric = 'latency_p95' AND state = 'ok' AND start_us < @from ORDER BY start_us DESC LIMIT @most", new { monitor.Id, from, most = OperationWindow.MostEarlier }), ct);
        var measure = new WindowMeasure(config, reference, start, end, latencies);
        await foreach (Prediction prediction in archive.ScanAsync(monitor.Endpoint, monitor.ModelVersion, config.Kind, from, to, ct))
        {
            measure.Add(prediction, known.TryGetValue(prediction.Id, out KnownLabel value) ? value : null);
        }

        return (measure, version);
    }

    /// <summary>
    /// Sets the limits of the metric that performance is judged by where they come from earlier windows, and keeps with each such point what its limits are
    /// made from.
    /// </summary>
    private async Task<IReadOnlyList<MonitorPoint>> LimitedAsync(MonitorRow monitor, MonitorConfig config, MonitorReference reference, IReadOnlyList<MonitorPoint> points, CancellationToken ct)
    {
        string primary = PrimaryMetric.Of(config.Type);
        Thresholds t = config.Thresholds;
        var limited = new List<MonitorPoint>();
        foreach (MonitorPoint point in points)
        {
            if (point.Metric != primary)
            {
                limited.Add(point);
                continue;
            }

            if (t.Limits == LimitRule.Reference)
            {
                limited.Add(point with { Detail = With(point.Detail, new { rule = t.Limits, reference = reference.Before(primary, point.Column) }) });
                continue;
            }

            if (LimitRule.TakesRows(t.Limits))
            {
                limited.Add(reference.Judgements is null || point.Value is null ? point : Limited(point, t.Limits, LimitsOf(monitor.Reference, reference, t.Limits, point.N)));
                continue;
            }

            // Of each earlier window its newest revision; a season takes those of the same hour of the week, so more are looked at.
            long start = Time.ToMicros(point.WindowStart);
            IReadOnlyList<EarlierRow> rows = await database.ReadAsync(
                s => s.QueryAsync<EarlierRow>(
                    "SELECT p.start_us AS StartUs, p.value AS Value FROM monitoring_points p JOIN monitoring_windows w ON w.monitor = p.monitor AND w.start_us = p.start_us WHERE p.monitor = @Id AND p.metric = @primary AND p.column_name = @column AND p.start_us < @start AND w.phase = 'final' AND p.value IS NOT NULL AND p.revision = (SELECT MAX(q.revision) FROM monitoring_points q WHERE q.monitor = p.monitor AND q.start_us = p.start_us AND q.metric = p.metric AND q.column_name = p.column_name) ORDER BY p.start_us DESC LIMIT @most",
                    new { monitor.Id, primary, column = point.Column ?? "", start, most = t.Limits == LimitRule.Seasonal ? t.LimitWindows * 168 : t.LimitWindows }),
                ct);
            (DateTimeOffset Start, double Value)[] earlier = [.. rows.Select(e => (Time.FromMicros(e.StartUs), e.Value)).Where(e => t.Limits != LimitRule.Seasonal || Limits.HourOfWeek(e.Item1) == Limits.HourOfWeek(point.WindowStart)).Take(t.LimitWindows).Reverse()];
            limited.Add(Limited(point, t, earlier));
        }

        return limited;
    }

    /// <summary>Limits from the reference's rows. Windows of nearly one size share them: the number of rows counts in two digits, rounded down, which makes limits a little wider.</summary>
    private Limits LimitsOf(string hash, MonitorReference reference, string rule, long n)
    {
        int step = (int)Math.Pow(10, Math.Max(0, Math.Floor(Math.Log10(Math.Max(1, n))) - 1)), rows = (int)Math.Min(n / step * step, JudgedRows.MostOfAWindow);
        if (drawn.Count >= CachedReferences * 16)
        {
            drawn.Clear();
        }

        return drawn.GetOrAdd((hash, rule, rows), key => reference.Judgements!.LimitsOf(key.Rule, reference.Type, key.Rows));
    }

    /// <summary>A point under limits of the reference's rows.</summary>
    private static MonitorPoint Limited(MonitorPoint point, string rule, Limits limits)
    {
        bool highIsBad = point.Metric == "mae";
        (double? lower, double? upper) = (highIsBad ? null : limits.Lower, highIsBad ? limits.Upper : null);
        string state = point.Value < lower || point.Value > upper ? PointState.Alert : PointState.Ok;
        // Drawn windows follow from the reference and the seed; the others are few.
        string detail = With(point.Detail, new { rule, method = limits.Rule, windows = limits.Inputs, windowRows = limits.WindowRows, seed = limits.Seed, values = limits.Seed is null ? limits.Values : null });
        return point with { Lower = lower, Upper = upper, State = state, Detail = detail, Clear = state != PointState.Alert };
    }

    /// <summary>A point under limits of earlier windows; without limits while these are too few.</summary>
    internal static MonitorPoint Limited(MonitorPoint point, Thresholds t, IReadOnlyList<(DateTimeOffset Start, double Value)> earlier)
    {
        Limits limits = t.Limits switch
        {
            LimitRule.Quantile => Limits.OfQuantiles(earlier.Select(e => e.Value), 0.01, 0.99),
            LimitRule.Seasonal => Limits.OfSeason(earlier, point.WindowStart),
            _ => Limits.OfMedianDeviation(earlier.Select(e => e.Value)),
        };
        bool enough = limits.Inputs >= Limits.LeastWindows, highIsBad = point.Metric == "mae";
        double? lower = enough && !highIsBad ? limits.Lower : null, upper = enough && highIsBad ? limits.Upper : null;
        string detail = With(point.Detail, new { rule = t.Limits, method = limits.Rule, windows = earlier.Select(e => e.Start), values = earlier.Select(e => e.Value), needed = Limits.LeastWindows });
        string state = point.Value is not { } v ? point.State : v < lower || v > upper ? PointState.Alert : PointState.Ok;
        return point with { Lower = lower, Upper = upper, State = state, Detail = detail, Clear = state != PointState.Alert };
    }

    private static string With(string detail, object limits)
    {
        JsonObject all = JsonNode.Parse(detail)!.AsObject();
        all["limits"] = JsonSerializer.SerializeToNode(limits, DetailJson);
        return all.ToJsonString();
    }

    private sealed class EarlierRow
    {
        public long StartUs { get; set; }

        public double Value { get; set; }
    }

    internal async Task<MonitorReference> ReferenceAsync(MonitorRow monitor, MonitorConfig config, CancellationToken ct)
    {
        string hash = monitor.Reference;
        if (hash.Length == 0)
        {
            return MonitorReference.None(config.Type);
        }

        if (references.TryGetValue(hash, out MonitorReference? cached))
        {
            return cached;
        }

        await using Stream content = await blobs.OpenAsync(hash, ct);
        MonitorReference reference = await JsonSerializer.DeserializeAsync<MonitorReference>(content, CanonicalJson.Options, ct)
            ?? throw new SlipwayException(ErrorCode.DataLoss, $"the reference {hash} cannot be read", "it is null");
        if (references.Count >= CachedReferences)
        {
            references.Clear();
        }

        references[hash] = reference;
        return reference;
    }

    /// <summary>What the parts of the log held when rows that came late were looked for the last time.</summary>
    private sealed record SeenParts(IReadOnlyDictionary<string, long> Rows, long At)
    {
        public static readonly SeenParts None = new(new Dictionary<string, long>(), long.MinValue / 2);
    }

    /// <summary>How far the other nodes were when the windows up to <paramref name="Due"/> were found to be over.</summary>
    private sealed record Barrier(DateTimeOffset Due, IReadOnlyDictionary<string, long> Nodes);

    /// <summary>A reference that a window made.</summary>
    private sealed record Adopted(string Hash, MonitorReference Reference, MonitorConfig Told, string Config, string ConfigDigest, DateTimeOffset WindowStart);
}
