using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>Watches model versions on endpoints: freezes a reference, judges each closed window of event time against it, raises alerts.</summary>
public sealed class Monitors
{
    /// <summary>The most features of one monitor.</summary>
    public const int MostFeatures = 2_000;

    /// <summary>The most classes of one monitor.</summary>
    public const int MostClasses = 1_000;

    /// <summary>Name of the actor that watches what nobody asked to watch.</summary>
    public const string ByDefault = "loop";

    /// <summary>The most points that one call gives.</summary>
    public const int MostPoints = 100_000;

    private readonly Database database;
    private readonly IBlobStore blobs;
    private readonly Journal journal;
    private readonly MonitorWork work;
    private readonly LabelStream stream;
    private readonly AlertState alerts;
    private readonly Wakeups wakeups;
    private readonly TimeProvider clock;

    internal Monitors(Database database, IBlobStore blobs, Journal journal, MonitorWork work, LabelStream stream, AlertState alerts, Wakeups wakeups, TimeProvider clock) =>
        (this.database, this.blobs, this.journal, this.work, this.stream, this.alerts, this.wakeups, this.clock) = (database, blobs, journal, work, stream, alerts, wakeups, clock);

    /// <summary>Freezes the reference and watches from now on. The same request again gives the monitor that is there.</summary>
    /// <exception cref="SlipwayException">InvalidArgument with every problem of the request; Conflict when the version is watched on this endpoint with another reference or rule.</exception>
    public async Task<Monitor> WatchAsync(Actor actor, WatchRequest request, CancellationToken ct)
    {
        request = request with { Scope = request.Scope.Normal() };
        Validate(request);
        byte[] config = CanonicalJson.Serialize(MonitorConfig.Of(request));
        MonitorReference reference = MonitorReference.Freeze(request);
        using var content = new MemoryStream(CanonicalJson.Serialize(reference));
        BlobInfo blob = await blobs.PutAsync(content, ct);
        var row = new MonitorRow
        {
            Id = Ids.New(),
            Endpoint = request.Endpoint,
            ModelVersion = request.ModelVersion,
            Config = System.Text.Encoding.UTF8.GetString(config),
            ConfigDigest = Digest.Sha256Hex(config),
            Reference = blob.Hash,
            Baseline = BaselineKind.Reference,
            ReferenceRows = reference.Rows,
            ReferenceAuc = reference.Performance?.Auc,
            ReferenceValue = reference.Judged?.Value,
            Scope = request.Scope.Key,
            CreatedBy = actor.Name,
            CreatedUs = clock.NowMicros(),
        };
        Monitor monitor = await database.WriteAsync(
            async tx =>
            {
                Monitor made = await CreateAsync(tx, actor, row, request.Reference.Sources);
                if (request.StreamFrom is { } from && made.Id == row.Id)
                {
                    await LabelStream.BeginAsync(tx, made.Id, from);
                }

                return made;
            },
            ct);
        await wakeups.WakeAsync(work.Kind, monitor.Id);
        return monitor;
    }

    /// <summary>
    /// Watches a version of which no reference is stored: from now on how requests are served, and, once a full window holds enough rows, drift against that
    /// window (<see cref="BaselineKind.FirstWindow"/>). What the model predicts is told from the outputs of those rows.
    /// </summary>
    /// <param name="actor">Who.</param>
    /// <param name="endpoint">The endpoint.</param>
    /// <param name="modelVersion">The version in the form `flights/2`.</param>
    /// <param name="featureNames">Names of the features as the signature gives them; empty when it does not.</param>
    /// <param name="window">How event time is cut; null is days.</param>
    /// <param name="thresholds">When points alert; null is the defaults.</param>
    /// <param name="ranking">Says that it ranks, which outputs do not tell.</param>
    /// <param name="forecast">Says that it forecasts, which outputs do not tell.</param>
    /// <param name="scope">Which predictions are looked at; null is all that callers got.</param>
    /// <param name="ct">Cancels.</param>
    /// <exception cref="SlipwayException">Conflict when the version is watched on this endpoint in another way; InvalidArgument when a rule does not fit the features.</exception>
    public async Task<Monitor> WatchFirstWindowAsync(
        Actor actor, string endpoint, string modelVersion, IReadOnlyList<string> featureNames, WindowRule? window, Thresholds? thresholds, RankingRule? ranking, ForecastRule? forecast, MonitorScope? scope, CancellationToken ct)
    {
        scope = scope?.Normal() ?? MonitorScope.All;
        window ??= WindowRule.Day();
        window.Validate();
        string[] problems = [.. (ranking?.Problems(featureNames) ?? []).Concat(forecast?.Problems(featureNames) ?? []), .. ranking is not null && forecast is not null ? new[] { "a model ranks or forecasts, not both" } : [], .. scope.Problems(featureNames, featureNames), .. thresholds is null ? [] : Problems(thresholds),
            .. LimitRule.TakesRows(thresholds?.Limits ?? "") ? new[] { $"limits by {thresholds!.Limits} are drawn from rows of a reference with outcomes, and none is stored" } : []];
        if (problems.Length > 0)
        {
            throw SlipwayException.Invalid("the version cannot be watched", string.Join("; ", problems), "correct the request and send it again");
        }

        byte[] config = CanonicalJson.Serialize(new MonitorConfig(
            featureNames.Distinct(StringComparer.Ordinal).Count() == featureNames.Count && featureNames.Count <= MostFeatures ? featureNames : [], null, [], window, thresholds ?? new Thresholds(), forecast?.LowerOutput is null ? -1 : 0, 0.5,
            ranking is not null ? ModelType.Ranking : forecast is not null ? ModelType.Forecasting : ModelType.Binary, Ranking: ranking, Forecast: forecast, Scope: MonitorConfig.Stored(scope)));
        var row = new MonitorRow
        {
            Id = Ids.New(),
            Endpoint = endpoint,
            ModelVersion = modelVersion,
            Config = System.Text.Encoding.UTF8.GetString(config),
            ConfigDigest = Digest.Sha256Hex(config),
            Baseline = BaselineKind.Awaited,
            Scope = scope.Key,
            CreatedBy = actor.Name,
            CreatedUs = clock.NowMicros(),
        };
        Monitor monitor = await database.WriteAsync(tx => CreateAsync(tx, actor, row, []), ct);
        await wakeups.WakeAsync(work.Kind, monitor.Id);
        return monitor;
    }

    /// <summary>All monitors, the newest first; stopped ones too.</summary>
    public async Task<IReadOnlyList<Monitor>> ListAsync(CancellationToken ct)
    {
        IReadOnlyList<MonitorRow> rows = await database.ReadAsync(s => s.QueryAsync<MonitorRow>($"SELECT {MonitorRow.Columns} FROM monitoring_monitors ORDER BY created_us DESC, id DESC"), ct);
        return rows.Select(r => r.Read()).ToArray();
    }

    /// <summary>One monitor.</summary>
    /// <exception cref="SlipwayException">NotFound.</exception>
    public async Task<Monitor> GetAsync(string monitorId, CancellationToken ct) =>
        (await work.FindAsync(monitorId, ct))?.Read() ?? throw SlipwayException.NotFound("monitor", monitorId, "slipway monitor list");

    /// <summary>The monitor that watches a version on an endpoint: what callers get of it, or else its answers to copies of their requests; null without either.</summary>
    public async Task<Monitor?> FindAsync(string endpoint, string modelVersion, CancellationToken ct) => (await database.ReadAsync(
        s => s.FindAsync<MonitorRow>($"SELECT {MonitorRow.Columns} FROM monitoring_monitors WHERE endpoint = @endpoint AND model_version = @modelVersion AND scope IN ('', @shadow) AND stopped_us IS NULL ORDER BY scope LIMIT 1", new { endpoint, modelVersion, shadow = new MonitorScope { Shadow = true }.Key }), ct))?.Read();

    /// <summary>The latest revision of every point, by window, metric and column. Of more than <see cref="MostPoints"/> the newest windows.</summary>
    public async Task<IReadOnlyList<MonitorPoint>> PointsAsync(string monitorId, CancellationToken ct)
    {
        await GetAsync(monitorId, ct);
        IReadOnlyList<PointRow> rows = await database.ReadAsync(s => PointRow.LatestAsync(s, monitorId, long.MinValue, long.MaxValue), ct);
        return rows.Skip(Math.Max(0, rows.Count - MostPoints)).Select(r => r.Read()).ToArray();
    }

    /// <summary>
    /// Columns over longer periods than the monitor's windows, or compared with earlier periods, put together from the sketches of final windows; no row is
    /// read again. Nothing of it alerts.
    /// </summary>
    /// <param name="monitorId">The monitor.</param>
    /// <param name="period">`window` (each window by itself), `day`, `week`, `month` or `quarter`, in the monitor's time zone.</param>
    /// <param name="against">A value of <see cref="Against"/>.</param>
    /// <param name="column">One feature; null is all of them and the outputs.</param>
    /// <param name="from">First start of a window, or null.</param>
    /// <param name="to">Start from which nothing is read any more, or null.</param>
    /// <param name="ct">Cancels.</param>
    /// <returns>By period and column.</returns>
    /// <exception cref="SlipwayException">NotFound; InvalidArgument for another period or comparison, or when the windows do not fit into the period; TooLarge above 5,000 sketches.</exception>
    public async Task<IReadOnlyList<MergedColumn>> MergedAsync(string monitorId, string period, string against, string? column, DateTimeOffset? from, DateTimeOffset? to, CancellationToken ct)
    {
        MonitorRow row = await work.FindAsync(monitorId, ct) ?? throw SlipwayException.NotFound("monitor", monitorId, "slipway monitor list");
        MonitorConfig config = row.ReadConfig();
        WindowRule rule = period switch
        {
            "window" => config.Window,
            "day" => WindowRule.Day(),
            "week" => WindowRule.Week(),
            "month" => WindowRule.Month(),
            "quarter" => WindowRule.Quarter(),
            _ => throw SlipwayException.Invalid("the windows cannot be put together", $"the period is '{period}'", "name window, day, week, month or quarter"),
        };
        rule = rule with { TimeZone = config.Window.TimeZone };
        if (!Against.All.Contains(against, StringComparer.Ordinal))
        {
            throw SlipwayException.Invalid("the windows cannot be compared", $"they are to be compared with '{against}'", $"name one of {string.Join(", ", Against.All)}");
        }

        IReadOnlyList<SketchRow> rows = await database.ReadAsync(
            s => s.QueryAsync<SketchRow>(
                $"SELECT start_us AS StartUs, end_us AS EndUs, column_name AS Name, body AS Body FROM monitoring_sketches WHERE monitor = @monitorId AND start_us >= @first AND start_us < @last{(column is null ? "" : " AND column_name = @name")} ORDER BY start_us, column_name LIMIT {WindowSketches.MostAtOnce + 1}",
                new { monitorId, first = from is { } f ? Time.ToMicros(f) : long.MinValue, last = to is { } t ? Time.ToMicros(t) : long.MaxValue, name = WindowSketches.NameOf("psi", column) }),
            ct);
        if (rows.Count > WindowSketches.MostAtOnce)
        {
            throw new SlipwayException(ErrorCode.TooLarge, "the windows cannot be put together", $"they have more than {WindowSketches.MostAtOnce} sketches", "name a column, or a shorter time");
        }

        MonitorReference reference = await work.ReferenceAsync(row, config, ct);
        return await Task.Run(() => WindowSketches.Merge(rows, rule, against, reference, config), ct);
    }

    /// <summary>Where the monitor's stream detector stands.</summary>
    /// <exception cref="SlipwayException">NotFound, also when the monitor has none.</exception>
    public async Task<MonitorStream> StreamAsync(string monitorId, CancellationToken ct)
    {
        MonitorRow row = await work.FindAsync(monitorId, ct) ?? throw SlipwayException.NotFound("monitor", monitorId, "slipway monitor list");
        MonitorConfig config = row.ReadConfig();
        return await stream.ReadAsync(row, config, await work.ReferenceAsync(row, config, ct), ct)
            ?? throw new SlipwayException(ErrorCode.NotFound, $"monitor {monitorId} has no stream", "its thresholds name no stream detector", "slipway monitor create --stream adwin");
    }

    /// <summary>What moved most over the windows of a monitor, each feature and the output.</summary>
    /// <exception cref="SlipwayException">NotFound.</exception>
    public async Task<IReadOnlyList<MovedColumn>> MovedAsync(string monitorId, CancellationToken ct)
    {
        MonitorRow row = await work.FindAsync(monitorId, ct) ?? throw SlipwayException.NotFound("monitor", monitorId, "slipway monitor list");
        MonitorConfig config = row.ReadConfig();
        MonitorReference reference = await work.ReferenceAsync(row, config, ct);
        return DriftRank.Of(await PointsAsync(monitorId, ct), PrimaryMetric.Of(config.Type), reference.Judged?.Value, reference.Importance);
    }

    /// <summary>Every revision of one window's points, in the order they were made.</summary>
    public async Task<IReadOnlyList<MonitorPoint>> RevisionsAsync(string monitorId, DateTimeOffset windowStart, CancellationToken ct)
    {
        IReadOnlyList<PointRow> rows = await database.ReadAsync(
            s => s.QueryAsync<PointRow>($"SELECT {PointRow.Columns} FROM {PointRow.From} WHERE p.monitor = @monitorId AND p.start_us = @start ORDER BY p.revision, metric, column_name", new { monitorId, start = Time.ToMicros(windowStart) }), ct);
        return rows.Select(r => r.Read()).ToArray();
    }

    /// <summary>Judges at once every window that is closed by now, and measures again what new labels have changed; the clock does the same by itself.</summary>
    /// <returns>How many points were written.</returns>
    public Task<int> EvaluateAsync(string monitorId, CancellationToken ct) => work.EvaluateAsync(monitorId, ct);

    /// <summary>Stops watching, for example when the version is retired. Its firing alerts resolve; points and alerts are kept.</summary>
    /// <exception cref="SlipwayException">NotFound.</exception>
    public async Task<Monitor> StopAsync(Actor actor, string monitorId, CancellationToken ct)
    {
        Monitor before = await GetAsync(monitorId, ct);
        await database.WriteAsync(tx => StopAsync(tx, actor, before), ct);
        return await GetAsync(monitorId, ct);
    }

    private async Task StopAsync(Tx tx, Actor actor, Monitor monitor)
    {
        if (await tx.ExecuteAsync("UPDATE monitoring_monitors SET stopped_us = @now, stopped_by = @by WHERE id = @Id AND stopped_us IS NULL", new { now = clock.NowMicros(), by = actor.Name, monitor.Id }) > 0)
        {
            await journal.AppendAsync(tx, actor, "monitor.stopped", monitor.Subject, new MonitorStopped(monitor.Id, monitor.Endpoint, monitor.ModelVersion), Links(monitor.Endpoint, monitor.ModelVersion));
            await alerts.StopAsync(tx, actor, monitor.Id);
        }
    }

    private static Subject[] Links(string endpoint, string modelVersion) => [new("endpoint", endpoint), new("model-version", modelVersion)];

    private async Task<Monitor> CreateAsync(Tx tx, Actor actor, MonitorRow row, IReadOnlyList<Subject> sources)
    {
        MonitorRow? there = await tx.FindAsync<MonitorRow>(
            $"SELECT {MonitorRow.Columns} FROM monitoring_monitors WHERE endpoint = @Endpoint AND model_version = @ModelVersion AND scope = @Scope AND stopped_us IS NULL", new { row.Endpoint, row.ModelVersion, row.Scope });
        // Thresholds that are newer than a stored configuration stand at their defaults in it.
        if (there is not null && there.Reference == row.Reference && Digest.Sha256Hex(CanonicalJson.Serialize(there.ReadConfig())) == row.ConfigDigest)
        {
            return there.Read();
        }

        // What the system began to watch by itself gives way to what somebody asks for: without a trace as long as it has judged nothing.
        if (there is { NextUs: null, CreatedBy: ByDefault } && actor.Kind != ActorKind.System)
        {
            await tx.ExecuteAsync("DELETE FROM monitoring_monitors WHERE id = @Id", new { there.Id });
            await journal.AppendAsync(tx, actor, "monitor.stopped", there.Read().Subject, new MonitorStopped(there.Id, there.Endpoint, there.ModelVersion), Links(there.Endpoint, there.ModelVersion));
        }
        else if (there is { CreatedBy: ByDefault, Baseline: not BaselineKind.Reference } && actor.Kind != ActorKind.System)
        {
            await StopAsync(tx, actor, there.Read());
        }
        else if (there is not null)
        {
            throw new SlipwayException(
                ErrorCode.Conflict, $"{row.ModelVersion} on endpoint \"{row.Endpoint}\" {(row.Scope.Length == 0 ? "" : $" ({row.Scope})")} is watched already", $"monitor {there.Id} has another {(there.Reference == row.Reference ? "rule" : "reference")}", $"slipway monitor stop {there.Id}, then watch again");
        }

        await tx.ExecuteAsync(
            "INSERT INTO monitoring_monitors (id, endpoint, model_version, config, config_digest, reference, reference_rows, reference_auc, reference_value, baseline, scope, created_by, created_us) VALUES (@Id, @Endpoint, @ModelVersion, @Config, @ConfigDigest, @Reference, @ReferenceRows, @ReferenceAuc, @ReferenceValue, @Baseline, @Scope, @CreatedBy, @CreatedUs)",
            row);
        Monitor monitor = row.Read();
        var body = new MonitorCreated(row.Id, row.Endpoint, row.ModelVersion, row.Reference, row.ReferenceRows, row.ReferenceAuc, row.ConfigDigest);
        await journal.AppendAsync(tx, actor, "monitor.created", monitor.Subject, body, Links(row.Endpoint, row.ModelVersion).Concat(sources));
        return monitor;
    }

    private static void Validate(WatchRequest r)
    {
        r.Window.Validate();
        var problems = new List<string>();
        Check(!string.IsNullOrEmpty(r.Endpoint), "the endpoint has no name");
        Check(!string.IsNullOrEmpty(r.ModelVersion), "the model version has no name");
        Check(r.FeatureNames.Count is > 0 and <= MostFeatures, $"{r.FeatureNames.Count} features, 1 to {MostFeatures} are allowed");
        Check(r.FeatureNames.Distinct(StringComparer.Ordinal).Count() == r.FeatureNames.Count, "two features have one name");
        Check(r.Reference.Columns.Count == r.FeatureNames.Count, $"{r.Reference.Columns.Count} reference columns for {r.FeatureNames.Count} features");
        int rows = r.Reference.Columns.Count == 0 ? 0 : r.Reference.Columns[0].Length;
        Check(rows > 0, "the reference has no rows");
        Check(r.Reference.Columns.All(c => c.Length == rows), "the reference columns differ in length");
        Check(r.Reference.Scores is null || r.Reference.Scores.Length == rows, $"{r.Reference.Scores?.Length} reference scores for {rows} rows");
        Check(r.Reference.Labels is null || r.Reference.Labels.Length == rows, $"{r.Reference.Labels?.Length} reference labels for {rows} rows");
        Check(r.Reference.Targets is null || r.Reference.Targets.Length == rows, $"{r.Reference.Targets?.Length} reference targets for {rows} rows");
        Check(r.Type == ModelType.Binary || r.Reference.Labels is null, $"outcomes of yes or no are given for a {r.Type.ToString().ToLowerInvariant()} model, which has targets");
        Check(r.Type != ModelType.Binary || r.Reference.Targets is null, "targets are given for a binary model, which has outcomes of yes or no");
        Check(r.Type == ModelType.Multiclass || r.Reference.Probabilities is null, "probabilities of classes are given for a model that has none");
        Check(r.Type != ModelType.Multiclass || r.Classes.Count is >= 2 and <= MostClasses, $"{r.Classes.Count} classes, 2 to {MostClasses} are allowed");
        Check(r.Classes.Distinct(StringComparer.Ordinal).Count() == r.Classes.Count, "two classes have one name");
        Check(r.Reference.Probabilities is null || (r.Reference.Probabilities.Count == r.Classes.Count && r.Reference.Probabilities.All(p => p.Length == rows)), $"probabilities are needed for {r.Classes.Count} classes and {rows} rows");
        Check(r.Type != ModelType.Forecasting || r.Forecast is not null, "of forecasts the feature that holds the horizon is needed");
        problems.AddRange(r.Type == ModelType.Ranking ? (r.Ranking ?? new RankingRule()).Problems(r.FeatureNames) : r.Type == ModelType.Forecasting ? r.Forecast?.Problems(r.FeatureNames) ?? [] : []);
        Check(r.Reference.Queries is null || r.Reference.Queries.Length == rows, $"{r.Reference.Queries?.Length} reference queries for {rows} rows");
        Check((r.Reference.Lower?.Length ?? rows) == rows && (r.Reference.Upper?.Length ?? rows) == rows && r.Reference.Lower is null == r.Reference.Upper is null, $"intervals need both ends for {rows} rows");
        Check(r.Reference.Importance?.Values.All(v => double.IsFinite(v) && v >= 0) != false, "an importance is a number of at least 0");
        foreach (string name in (r.Watched ?? []).Concat(r.Categorical).Where(n => !r.FeatureNames.Contains(n, StringComparer.Ordinal)).Distinct(StringComparer.Ordinal))
        {
            problems.Add($"`{name}` is not a feature");
        }

        problems.AddRange(r.Scope.Problems(r.FeatureNames, r.Watched ?? r.FeatureNames));
        Check(r.Scope.By.Count == 0 || r.Type != ModelType.Ranking, "the queries of a ranking would be torn apart by groups of candidates: watch a segment instead");
        Thresholds t = r.Thresholds;
        problems.AddRange(Problems(t));
        int together = (r.Watched ?? r.FeatureNames).Distinct(StringComparer.Ordinal).Count();
        Check(t.Multivariate is not { Count: > 0 } || together is >= 2 and <= MultivariateDrift.MostFeatures, $"{together} features are watched, 2 to {MultivariateDrift.MostFeatures} can be compared together");
        Check(t.Stream is null || t.Stream.Misfit(r.Type, r.Reference.Probabilities is not null, r.Scope.Shadow) is null, t.Stream?.Misfit(r.Type, r.Reference.Probabilities is not null, r.Scope.Shadow) ?? "");
        Check(!LimitRule.TakesRows(t.Limits) || JudgedRows.Of(r) is not null, $"limits by {t.Limits} are drawn from rows of the reference with predictions and outcomes, of a binary, multiclass or regression model");
        if (problems.Count > 0)
        {
            throw SlipwayException.Invalid("the version cannot be watched", string.Join("; ", problems), "correct the request and send it again");
        }

        void Check(bool fine, string problem)
        {
            if (!fine)
            {
                problems.Add(problem);
            }
        }
    }

    private static List<string> Problems(Thresholds t)
    {
        var problems = new List<string>();
        Check(0 <= t.Warn && t.Warn <= t.Major && t.Major <= t.Severe, $"drift levels {t.Warn}, {t.Major}, {t.Severe} do not rise");
        Check(DriftLevel.Rank(t.AlertFrom) > 0, $"alerts cannot begin at level '{t.AlertFrom}'");
        Check(t.DiscoveryRate is > 0 and < 1 && t.SingleAlpha is > 0 and < 1, "significance levels lie between 0 and 1");
        Check(t.AccuracyDrop is >= 0 and < 1 && t.NdcgDrop is >= 0 and < 1 && t.FailureRate is >= 0 and < 1 && t.ErrorRise >= 0 && t.LatencyRise >= 0 && t.LatencyP95 is null or > 0, "what matters of accuracy and failures lies between 0 and 1, of errors and latency above 0");
        Check(t.AucDrop is >= 0 and < 1 && t.MissingChange is >= 0 and < 1 && t.LeastCoverage is >= 0 and <= 1 && t.ClearBelow is >= 0 and <= 1, "shares lie between 0 and 1");
        Check(LimitRule.All.Contains(t.Limits, StringComparer.Ordinal) && t.LimitWindows is >= Limits.LeastWindows and <= 400, $"limits come from {string.Join(", ", LimitRule.All)} over {Limits.LeastWindows} to 400 windows");
        Check(t.LeastLabelled >= 2 && t.LeastPerClass >= 1, "at least 2 labelled rows and 1 of each class are needed to judge");
        problems.AddRange(t.Stream?.Problems() ?? []);
        Check(t.Multivariate?.All(m => MultivariateDrift.Methods.Contains(m, StringComparer.Ordinal)) != false, $"features are compared together by {string.Join(", ", MultivariateDrift.Methods)}, not by {string.Join(", ", t.Multivariate?.Except(MultivariateDrift.Methods, StringComparer.Ordinal) ?? [])}");
        Check(Fits(t.ForWarn) && Fits(t.ForMajor) && t.ResolveAfter is >= 1 and <= AlertRule.LongestHistory, $"k of n needs 1 <= k <= n <= {AlertRule.LongestHistory}");
        return problems;

        static bool Fits(AlertFor rule) => rule.K >= 1 && rule.K <= rule.N && rule.N <= AlertRule.LongestHistory;

        void Check(bool fine, string problem)
        {
            if (!fine)
            {
                problems.Add(problem);
            }
        }
    }
}
