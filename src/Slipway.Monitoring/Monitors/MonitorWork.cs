using System.Collections.Concurrent;
using System.Text.Json;
using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>
/// Evaluates monitors. Each closed window is judged once, in the order of event time; its performance is measured again while labels
/// for it arrive. Points, rules, alerts and the monitor's position move in one transaction, so a step may die anywhere.
/// </summary>
internal sealed class MonitorWork(Database database, IBlobStore blobs, Journal journal, PredictionArchive archive, Labels labels, WindowRules rules, MonitoringOptions options, TimeProvider clock) : IClockedWork
{
    private const int WindowsAtOnce = 50;
    /// <summary>Windows without rows behind the last prediction of a version that are written before the monitor waits for the next one.</summary>
    private const int EmptyWindows = 8;
    private const int CachedReferences = 64;
    /// <summary>A window counts as full when its first prediction comes in this part of it.</summary>
    private const int PartOfFull = 20;
    private static readonly TimeSpan ClockSkew = TimeSpan.FromMinutes(5);
    private static readonly TimeSpan SettledAfter = TimeSpan.FromMinutes(1);
    private readonly ConcurrentDictionary<string, SemaphoreSlim> turns = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, MonitorReference> references = new(StringComparer.Ordinal);

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
        (long stream, _, long latest) = await archive.ExtentAsync(monitor.Endpoint, null, ct);
        (long own, long first, long last) = await archive.ExtentAsync(monitor.Endpoint, monitor.ModelVersion, ct);
        int written = 0;
        if (stream > 0 && own > 0)
        {
            // One event time from the future must not close the windows between now and it.
            DateTimeOffset seen = Time.FromMicros(Math.Min(latest, Time.ToMicros(clock.GetUtcNow() + ClockSkew)));
            DateTimeOffset watermark = seen - config.Window.Lateness;
            DateTimeOffset start = monitor.NextUs is { } next ? Time.FromMicros(next) : config.Window.StartOf(Time.FromMicros(first));
            DateTimeOffset idle = config.Window.StartOf(Time.FromMicros(last)) + (EmptyWindows + 1) * config.Window.Length;
            for (int i = 0; i < WindowsAtOnce && config.Window.EndOf(start) <= watermark && start < idle; i++)
            {
                try
                {
                    bool full = monitor.NextUs is not null || Time.FromMicros(first) - start <= config.Window.Length / PartOfFull;
                    Adopted? adopted = monitor.Reference.Length == 0 && full ? await AdoptAsync(monitor, config, start, ct) : null;
                    written += await CloseAsync(monitor, adopted?.Told ?? config, adopted is null ? reference : MonitorReference.None(adopted.Told.Type), start, watermark, adopted, ct);
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
        }

        written += monitor.Reference.Length > 0 ? await ReviseAsync(monitor, config, reference, ct) : 0;
        if (monitor.LastError is not null)
        {
            await database.WriteAsync(tx => tx.ExecuteAsync("UPDATE monitoring_monitors SET last_error = NULL WHERE id = @Id", new { monitor.Id }), ct);
        }

        return written;
    }

    private async Task<int> CloseAsync(MonitorRow monitor, MonitorConfig config, MonitorReference reference, DateTimeOffset start, DateTimeOffset watermark, Adopted? adopted, CancellationToken ct)
    {
        (WindowMeasure measure, long version) = await MeasureAsync(monitor, config, reference, start, ct);
        // Until something tells what the model predicts, its performance has no name.
        bool told = adopted is not null || monitor.Reference.Length > 0;
        MonitorPoint[] points = [.. measure.Drift(), .. told ? measure.Performance() : []];
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

                await PointRow.ForgetErrorAsync(tx, monitor.Id, expected);
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
        int step = 1, at = 0;
        await foreach (Prediction prediction in archive.ScanAsync(monitor.Endpoint, monitor.ModelVersion, from, to, ct))
        {
            if (prediction.Status is < 200 or > 299 || at++ % step != 0)
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
                await PointRow.ForgetErrorAsync(tx, monitor.Id, Time.ToMicros(start));
                await PointRow.InsertAsync(tx, monitor.Id, point, 0, clock.NowMicros());
            },
            CancellationToken.None);
    }

    private static string Reason(Exception e) => e is SlipwayException s ? s.Sentence : $"{e.GetType().Name}: {e.Message}";

    /// <summary>Measures performance again in the newest windows whose labels have changed since their latest revision.</summary>
    private async Task<int> ReviseAsync(MonitorRow monitor, MonitorConfig config, MonitorReference reference, CancellationToken ct)
    {
        IReadOnlyList<PointRow> newest = await database.ReadAsync(
            s => s.QueryAsync<PointRow>(
                $"SELECT {PointRow.Columns} FROM monitoring_points p WHERE monitor = @Id AND metric = @primary AND revision = (SELECT MAX(q.revision) FROM monitoring_points q WHERE q.monitor = p.monitor AND q.start_us = p.start_us AND q.metric = p.metric AND q.column_name = p.column_name) ORDER BY start_us DESC LIMIT @RevisedWindows",
                new { monitor.Id, primary = PrimaryMetric.Of(config.Type), options.RevisedWindows }),
            ct);
        int written = 0;
        foreach (PointRow point in newest.Reverse())
        {
            if (await labels.VersionAsync(monitor.Endpoint, monitor.ModelVersion, point.StartUs, point.EndUs, ct) != point.LabelVersion)
            {
                written += await ReviseAsync(monitor, config, reference, point, ct);
            }
        }

        return written;
    }

    private async Task<int> ReviseAsync(MonitorRow monitor, MonitorConfig config, MonitorReference reference, PointRow before, CancellationToken ct)
    {
        (WindowMeasure measure, long version) = await MeasureAsync(monitor, config, reference, Time.FromMicros(before.StartUs), ct);
        MonitorPoint[] points = measure.Performance().Select(p => p with { Revision = (int)before.Revision + 1 }).ToArray();
        // Labels arrive one by one: a revision is worth a row when it says something else, adds a fiftieth of the window, completes
        // it, corrects a value, or when the labels have come to rest.
        MonitorPoint? primary = points.FirstOrDefault(p => p.Metric == before.Metric);
        bool worth = primary is not null
            && (primary.State != before.State
                || primary.N <= before.N
                || primary.Coverage >= 1
                || (primary.N - before.N) * 50 >= measure.Rows
                || clock.NowMicros() - before.MadeUs >= SettledAfter.Ticks / TimeSpan.TicksPerMicrosecond);
        if (!worth)
        {
            return 0;
        }

        long now = clock.NowMicros();
        bool written = await database.WriteAsync(
            async tx =>
            {
                IReadOnlyList<PointRow> latest = await PointRow.LatestAsync(tx, monitor.Id, before.StartUs, before.EndUs);
                if (latest.Any(p => p.Metric == before.Metric && p.Revision != before.Revision))
                {
                    return false;
                }

                foreach (MonitorPoint point in points)
                {
                    await PointRow.InsertAsync(tx, monitor.Id, point, version, now);
                }

                MonitorPoint[] window = [.. latest.Select(p => p.Read()).Where(p => points.All(q => q.Metric != p.Metric)), .. points];
                await rules.ApplyAsync(tx, monitor.Watched, reference, config.Thresholds, points, window);
                return true;
            },
            ct);
        return written ? points.Length : 0;
    }

    private async Task<(WindowMeasure Measure, long LabelVersion)> MeasureAsync(MonitorRow monitor, MonitorConfig config, MonitorReference reference, DateTimeOffset start, CancellationToken ct)
    {
        DateTimeOffset end = config.Window.EndOf(start);
        long from = Time.ToMicros(start), to = Time.ToMicros(end);
        // The version is read first: a label that comes in between makes one more revision, never a lost one.
        long version = await labels.VersionAsync(monitor.Endpoint, monitor.ModelVersion, from, to, ct);
        Dictionary<string, KnownLabel> known = await labels.InForceAsync(monitor.Endpoint, monitor.ModelVersion, from, to, ct);
        IReadOnlyList<double> latencies = await database.ReadAsync(
            s => s.QueryAsync<double>("SELECT value FROM monitoring_points WHERE monitor = @Id AND metric = 'latency_p95' AND state = 'ok' AND start_us < @from ORDER BY start_us DESC LIMIT @most", new { monitor.Id, from, most = OperationWindow.MostEarlier }), ct);
        var measure = new WindowMeasure(config, reference, start, end, latencies);
        await foreach (Prediction prediction in archive.ScanAsync(monitor.Endpoint, monitor.ModelVersion, from, to, ct))
        {
            measure.Add(prediction, known.TryGetValue(prediction.Id, out KnownLabel value) ? value : null);
        }

        return (measure, version);
    }

    private async Task<MonitorReference> ReferenceAsync(MonitorRow monitor, MonitorConfig config, CancellationToken ct)
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

    /// <summary>A reference that a window made.</summary>
    private sealed record Adopted(string Hash, MonitorReference Reference, MonitorConfig Told, string Config, string ConfigDigest, DateTimeOffset WindowStart);
}
