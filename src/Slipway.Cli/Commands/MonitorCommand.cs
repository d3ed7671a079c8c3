using System.CommandLine;
using System.Text.Json;
using Slipway.Client;

namespace Slipway.Cli.Commands;

/// <summary>Monitors: what is watched, and what they measured.</summary>
internal static class MonitorCommand
{
    private static readonly Column[] Columns =
    [
        new("MONITOR", "id"), new("ENDPOINT", "endpoint"), new("VERSION", "modelVersion"), new("TYPE", "type"), new("BASELINE", "baseline"), new("SEGMENT", "scope.segment"), new("LIMITS", "thresholds.limits", wide: true), new("WINDOW", "window.period"), new("CREATED", "createdAt"), new("ROWS", "referenceRows", wide: true), new("FEATURES", "featureNames", wide: true), new("REFERENCE", "referenceHash", wide: true),
    ];

    private static readonly string[] Metrics =
    [
        "rows", "psi", "missing_rate", "unseen_rate", "out_of_range_rate", "constant_share", "duplicate_key_rate", "duplicate_row_rate", "freshness", "score_psi", "class_share", "confidence", "entropy", "reconstruction_error", "domain_auc", "mmd", "concept_gap",
        "auc", "average_precision", "log_loss", "brier", "accuracy", "precision", "recall", "f1", "calibration_error", "macro_f1", "macro_precision", "macro_recall", "mae", "rmse", "mean_error", "r2", "mape",
        "ndcg", "map", "mrr", "precision_at_k", "recall_at_k", "hit_rate", "smape", "wape", "mase", "rmsse", "tracking_signal", "skill", "interval_coverage", "interval_width", "winkler", "pinball_lower", "pinball_upper",
        "estimated_auc", "estimated_accuracy", "estimated_macro_f1", "estimated_mae", "estimated_rmse", "auc_gap", "rmse_gap",
        "error_rate", "latency_p50", "latency_p95", "latency_p99", "throughput",
    ];

    public static Command Build(Globals globals, Terminal terminal)
    {
        var monitor = Opt.Id("monitor");
        var endpoint = new Option<string?>("--endpoint") { Description = "Only of this endpoint" };
        var metric = new Option<string?>("--metric") { Description = $"Only one of {string.Join(", ", Metrics)}" };
        var column = new Option<string?>("--column") { Description = "Only this feature" };
        var limit = Opt.Limit();
        var (dry, yes) = (Opt.DryRun(), Opt.Yes());
        return new Noun("monitor", "What is watched, and what was measured")
        {
            Create(globals, terminal),
            new Verb("list", "Lists monitors", "slipway monitor list", "slipway monitor list --endpoint late -o wide")
                .With(endpoint, limit)
                .Does(globals, terminal, s => s.ListAsync($"monitors{Query.Of(("endpoint", s.Value(endpoint)))}", s.Value(limit), Columns)),
            new Verb("show", "Shows a monitor", "slipway monitor show 0193a7c2f0d27f3c9a41b6d0a2e5c001", "slipway monitor show 0193a7c2f0d27f3c9a41b6d0a2e5c001 -o json")
                .With(monitor)
                .Does(globals, terminal, s => s.ShowAsync($"monitors/{s.About("monitors", s.Value(monitor), "id")}", [.. Columns.Select(c => c with { Wide = false }), new("FALSE ALERTS A MONTH", e => Output.Rounded(Output.At(e, "falseAlertsAMonth"))), new("THRESHOLDS", "thresholds")])),
            new Verb("moved", "Lists what moved most, each feature and the output", "slipway monitor moved 0193a7c2f0d27f3c9a41b6d0a2e5c001", "slipway monitor moved 0193a7c2f0d27f3c9a41b6d0a2e5c001 -o json")
                .With(monitor, limit)
                .Does(globals, terminal, s => s.ListAsync(
                    $"monitors/{s.About("monitors", s.Value(monitor), "id")}/moved", s.Value(limit),
                    new("RANK", "rank"), new("COLUMN", "column"), new("ALERTS", "alerts"), new("WINDOWS", "windows"), new("STRONGEST", e => Output.Rounded(Output.At(e, "strongest"))), new("IN", "strongestAt"),
                    new("WITH PERFORMANCE", e => Output.Rounded(Output.At(e, "correlation"))), new("IMPORTANCE", e => Output.Rounded(Output.At(e, "importance"))))),
            new Verb("points", "Lists what was measured, newest window first", "slipway monitor points 0193a7c2f0d27f3c9a41b6d0a2e5c001 --metric auc", "slipway monitor points 0193a7c2f0d27f3c9a41b6d0a2e5c001 --metric psi --column distance -o json")
                .With(monitor, metric, column, limit)
                .Does(globals, terminal, s => s.ListAsync(
                    $"monitors/{s.About("monitors", s.Value(monitor), "id")}/points{Query.Of(("metric", s.Value(metric)), ("column", s.Value(column)))}", s.Value(limit),
                    new("WINDOW", "windowStart"), new("METRIC", "metric"), new("COLUMN", "column"), new("VALUE", e => Output.Rounded(Output.At(e, "value"))), new("N", "n"), new("STATE", "state"),
                    new("LEVEL", "level"), new("LIMIT", e => Limits(e)), new("PHASE", "phase"), new("PARTIAL", "partial", wide: true), new("LATE", "lateRows", wide: true), new("REVISION", "revision", wide: true), new("WHY", "why", wide: true))),
            Merged(globals, terminal),
            new Verb("stream", "Shows where the stream detector of errors stands", "slipway monitor stream 0193a7c2f0d27f3c9a41b6d0a2e5c001", "slipway monitor stream 0193a7c2f0d27f3c9a41b6d0a2e5c001 -o json")
                .With(monitor)
                .Does(globals, terminal, s => s.ShowAsync(
                    $"monitors/{s.About("monitors", s.Value(monitor), "id")}/stream",
                    [
                        new("DETECTOR", "detector"), new("INPUT", "input"), new("ORDER", "order"), new("STATE", "state"), new("WARNING", "warning"), new("N", "n"), new("SINCE RESET", "sinceReset"),
                        new("LAST CHANGE", "lastChange"), new("KNOWN AT", "lastChangeAt"), new("MEAN", e => Output.Rounded(Output.At(e, "mean"))), new("BEFORE", e => Output.Rounded(Output.At(e, "before"))),
                        new("LAG-1", e => Output.Rounded(Output.At(e, "correlation"))), new("BLOCK", "blockRows"), new("POSITION", "position"), new("LATE", "late"), new("WHY", "why"),
                    ])),
            new Verb("run", "Looks at the windows that are complete now", "slipway monitor run 0193a7c2f0d27f3c9a41b6d0a2e5c001", "slipway monitor run 0193a7c2f0d27f3c9a41b6d0a2e5c001 -o json")
                .With(monitor)
                .Does(globals, terminal, async s =>
                {
                    s.Out.One(await s.Client.PostAsync<JsonElement>($"monitors/{s.About("monitors", s.Value(monitor), "id")}/run", new { }, s.Stop), new Column("EVALUATED", "evaluated"));
                    return ExitCodes.Done;
                }),
            Accept(globals, terminal),
            Rebase(globals, terminal),
            AlertRuleVerbs.Test(globals, terminal),
            AlertRuleVerbs.List(globals, terminal),
            AlertRuleVerbs.Apply(globals, terminal),
            MonitorTest.Build(globals, terminal),
            new Verb("stop", "Ends a monitor", "slipway monitor stop 0193a7c2f0d27f3c9a41b6d0a2e5c001", "slipway monitor stop 0193a7c2f0d27f3c9a41b6d0a2e5c001 --yes")
                .With(monitor, dry, yes)
                .Does(globals, terminal, async s =>
                {
                    var now = await s.Client.GetAsync<JsonElement>($"monitors/{s.About("monitors", s.Value(monitor), "id")}", s.Stop);
                    if (await s.GoesOnAsync($"stop watching {Output.Text(Output.At(now, "modelVersion"))} on {Output.Text(Output.At(now, "endpoint"))}", dry, yes))
                    {
                        s.Out.One(await s.Client.PostAsync<JsonElement>($"monitors/{s.Value(monitor)}/stop", new { }, s.Stop), Columns);
                    }

                    return ExitCodes.Done;
                }),
        };
    }

    private static Verb Create(Globals globals, Terminal terminal)
    {
        var endpoint = new Argument<string>("endpoint") { Description = "The endpoint whose predictions are watched" };
        var version = new Argument<string>("version") { Description = "The version, as MODEL/VERSION or MODEL@ALIAS" };
        var reference = new Option<string?>("--reference") { Description = "The rows it was validated on: a CSV or Parquet file, or a dataset version as dataset:NAME@VERSION; otherwise those stored with its run, or its first full window", HelpName = "rows" };
        var type = new Option<string?>("--type") { Description = "What the model predicts (of --reference; binary when absent)" };
        type.AcceptOnlyFromAmong("binary", "multiclass", "regression", "ranking", "forecasting");
        var score = new Option<string?>("--score") { Description = "Column of the score, the predicted number or class; of classes also the start of the columns SCORE.CLASS with probabilities", HelpName = "column" };
        var target = new Option<string?>("--target") { Description = "Column of what came true", HelpName = "column" };
        var window = new Option<string?>("--window") { Description = "How event time is cut; a week against a reference, a day without one" };
        window.AcceptOnlyFromAmong("day", "hour", "week", "month", "quarter");
        var zone = new Option<string?>("--time-zone") { Description = "Whose calendar windows follow, such as Europe/Berlin; UTC when absent", HelpName = "zone" };
        var lateness = new Option<int?>("--lateness") { Description = "Minutes that predictions may come late before a window is final; 60 when absent", HelpName = "minutes" };
        var recompute = new Option<bool>("--recompute-late") { Description = "Measure a window again when predictions come later still" };
        var query = new Option<string?>("--query") { Description = "Of rankings: which predictions answer one query: request, entity, or the feature (or column of --reference) that holds its number; request when absent", HelpName = "column" };
        var depth = new Option<int?>("--k") { Description = "Of rankings: how deep people look; 10 when absent" };
        var horizon = new Option<string?>("--horizon") { Description = "Of forecasts: the feature that holds how many steps ahead a prediction is", HelpName = "column" };
        var season = new Option<int?>("--season") { Description = "Of forecasts: steps of one season; 1 when absent" };
        var lower = new Option<string?>("--lower") { Description = "Column of the lower end of a forecast's interval; the model's outputs are then forecast, lower and upper end", HelpName = "column" };
        var upper = new Option<string?>("--upper") { Description = "Column of the upper end", HelpName = "column" };
        var watch = new Option<string[]>("--watch") { Description = "Only these features", AllowMultipleArgumentsPerToken = true, HelpName = "column" };
        var limits = new Option<string?>("--limits") { Description = "What the limits of the metric that performance is judged by are made from; reference when absent" };
        limits.AcceptOnlyFromAmong("reference", "trailing", "quantile", "seasonal", "bootstrap", "leave_one_window_out");
        var together = new Option<string[]>("--multivariate") { Description = "Compare the features of each window together too: pca (reconstruction error), domain_classifier, mmd; or all of them", AllowMultipleArgumentsPerToken = true, HelpName = "method" };
        together.AcceptOnlyFromAmong("pca", "domain_classifier", "mmd", "all");
        var stream = new Option<string?>("--stream") { Description = "Look for concept drift on the errors of labelled predictions, in the order of label time", HelpName = "detector", Arity = ArgumentArity.ZeroOrOne };
        stream.AcceptOnlyFromAmong("adwin", "ddm", "eddm", "hddm_a", "hddm_w", "page_hinkley");
        var input = new Option<string?>("--stream-input") { Description = "What the detector is fed; error of classifiers and loss of numbers when absent" };
        input.AcceptOnlyFromAmong("error", "loss", "residual");
        var segment = new Option<string?>("--segment") { Description = "Only predictions for which this holds, such as \"region = 3 and age >= 65\"", HelpName = "conditions" };
        var by = new Option<string[]>("--by") { Description = "Measure performance, and how far groups are apart, by the groups of these features too; A|B is two together", AllowMultipleArgumentsPerToken = true, HelpName = "column" };
        var shadow = new Option<bool>("--shadow") { Description = "Watch the answers to copies of requests (a mirror's) instead of those that callers got" };
        return new Verb(
            "create", "Watches a version on an endpoint",
            "slipway monitor create late flights/3 --reference dataset:validation@v3 --score p --target late",
            "slipway monitor create prices prices/1 --reference sold.csv --type regression --score predicted --target price --window day --watch area age")
            .With(endpoint, version, reference, type, score, target, query, depth, horizon, season, lower, upper, window, zone, lateness, recompute, watch, segment, by, shadow, limits, together, stream, input)
            .Does(globals, terminal, async s =>
            {
                var monitor = new
                {
                    endpoint = s.About("endpoints", s.Value(endpoint)),
                    modelVersion = s.Value(version),
                    type = s.Value(type),
                    score = s.Value(score),
                    target = s.Value(target),
                    window = Rule(s.Value(window), s.Value(zone), s.Value(lateness), s.Value(recompute), s.Value(reference) is null ? "day" : "week"),
                    query = s.Value(reference) is not null && s.Value(query) is not ("request" or "entity") ? s.Value(query) : null,
                    lower = s.Value(lower),
                    upper = s.Value(upper),
                    ranking = s.Value(query) is null && s.Value(depth) is null ? null : new { query = s.Value(query) ?? "request", k = s.Value(depth) ?? 10 },
                    forecast = s.Value(horizon) is { } steps ? new { horizon = steps, season = s.Value(season) ?? 1, lowerOutput = s.Value(lower) is null ? (int?)null : 1, upperOutput = s.Value(upper) is null ? (int?)null : 2 } : null,
                    thresholds = Rules(s.Value(limits), s.Value(together), s.IsGiven(stream) ? s.Value(stream) ?? "adwin" : s.Value(input) is null ? null : "adwin", s.Value(input)),
                    watch = s.Value(watch) is { Length: > 0 } columns ? columns : null,
                    reference = s.Value(reference) is { } rows && OfDataset(rows) ? rows : null,
                    scope = s.Value(segment) is null && s.Value(by) is not { Length: > 0 } && !s.Value(shadow) ? null : new { segment = s.Value(segment), by = s.Value(by) ?? [], shadow = s.Value(shadow) },
                };
                Column[] shown = [.. Columns.Select(c => c with { Wide = false })];
                if (s.Value(reference) is not { } file || OfDataset(file))
                {
                    s.Out.One(await s.Client.PostAsync<JsonElement>($"monitors", monitor, s.Stop), shown);
                    return ExitCodes.Done;
                }

                if (!File.Exists(file))
                {
                    throw new CliException(ExitCodes.NotFound, $"{file} cannot be read", "there is no such file", "check the path");
                }

                using var form = new MultipartFormDataContent { { JsonContent.Create(monitor), "monitor" } };
                await using var content = File.OpenRead(file);
                form.Add(new StreamContent(content, 1 << 16), "reference", Path.GetFileName(file));
                s.Out.One(await s.Client.PostAsync<JsonElement>($"monitors", form, s.Stop), shown);
                return ExitCodes.Done;
            });
    }

    /// <summary>Thresholds that are said; what is not stands at its default.</summary>
    private static Dictionary<string, object>? Rules(string? limits, string[]? together, string? stream, string? input)
    {
        var said = new Dictionary<string, object>();
        if (limits is not null)
        {
            said["limits"] = limits;
        }

        if (together is { Length: > 0 })
        {
            said["multivariate"] = together.Contains("all") ? ["pca", "domain_classifier", "mmd"] : together;
        }

        if (stream is not null)
        {
            said["stream"] = new { detector = stream, input };
        }

        return said.Count == 0 ? null : said;
    }

    private static object? Rule(string? period, string? zone, int? minutes, bool recompute, string otherwise)
    {
        if (period is null && zone is null && minutes is null && !recompute)
        {
            return null;
        }

        period ??= otherwise;
        return new { period = period == "hour" ? "hours" : period, hours = period == "hour" ? 1 : 0, lateness = TimeSpan.FromMinutes(minutes ?? 60).ToString("c"), recomputeLate = recompute, timeZone = zone };
    }

    private static Verb Merged(Globals globals, Terminal terminal)
    {
        var (monitor, limit) = (Opt.Id("monitor"), Opt.Limit());
        var period = new Option<string>("--period") { Description = "What windows are put together to", DefaultValueFactory = _ => "day" };
        period.AcceptOnlyFromAmong("window", "day", "week", "month", "quarter");
        var against = new Option<string>("--against") { Description = "What each period is compared with; trailing is the seven before", DefaultValueFactory = _ => "reference" };
        against.AcceptOnlyFromAmong("reference", "previous", "trailing", "last-week");
        var column = new Option<string?>("--column") { Description = "Only this feature" };
        return new Verb("merged", "Columns over longer periods, from the sketches of the windows", "slipway monitor merged 0193a7c2f0d27f3c9a41b6d0a2e5c001 --period week", "slipway monitor merged 0193a7c2f0d27f3c9a41b6d0a2e5c001 --period window --against last-week --column distance -o json")
            .With(monitor, period, against, column, limit)
            .Does(globals, terminal, s => s.ListAsync(
                $"monitors/{s.About("monitors", s.Value(monitor), "id")}/merged{Query.Of(("period", s.Value(period)), ("against", s.Value(against)), ("column", s.Value(column)))}", s.Value(limit),
                new("FROM", "windowStart"), new("WINDOWS", "windows"), new("METRIC", "metric"), new("COLUMN", "column"), new("ROWS", "rows"), new("PSI", e => Output.Rounded(Output.At(e, "psi"))), new("STATE", "state"), new("LEVEL", "level"),
                new("MEAN", e => Output.Rounded(Output.At(e, "mean"))) { Wide = true }, new("MEDIAN", e => Output.Rounded(Median(e))) { Wide = true }, new("DISTINCT", "distinct", wide: true), new("WHY", "why", wide: true)));
    }

    /// <summary>Levels of quantiles have a point in their name.</summary>
    private static JsonElement Median(JsonElement merged) => Output.At(merged, "quantiles") is { ValueKind: JsonValueKind.Object } quantiles && quantiles.TryGetProperty("0.5", out var median) ? median : default;

    private static bool OfDataset(string reference) => reference.StartsWith(Slipway.Pipelines.DatasetReference.Prefix, StringComparison.Ordinal);

    private static Verb Accept(Globals globals, Terminal terminal)
    {
        var (monitor, window) = (Opt.Id("monitor"), Window());
        var column = new Option<string?>("--column") { Description = "Only this feature" };
        var comment = new Option<string>("--comment") { Description = "Why", Required = true };
        return new Verb("accept", "Counts the drift of a window as clear; its numbers stay", "slipway monitor accept 0193a7c2f0d27f3c9a41b6d0a2e5c001 --window 2026-03-02T00:00:00Z --comment \"holiday\"", "slipway monitor accept 0193a7c2f0d27f3c9a41b6d0a2e5c001 --window 2026-03-02T00:00:00Z --column distance --comment \"new airports\"")
            .With(monitor, window, column, comment)
            .Does(globals, terminal, async s =>
            {
                var made = await s.Client.PostAsync<JsonElement>($"monitors/{s.About("monitors", s.Value(monitor), "id")}/accept", new { windowStart = s.Value(window), column = s.Value(column), comment = s.Value(comment) }, s.Stop);
                s.Out.One(made, new("WINDOW", "windowStart"), new("COLUMN", "column"), new("BY", "by"), new("COMMENT", "comment"));
                return ExitCodes.Done;
            });
    }

    private static Verb Rebase(Globals globals, Terminal terminal)
    {
        var (monitor, window, dry, yes) = (Opt.Id("monitor"), Window(), Opt.DryRun(), Opt.Yes());
        return new Verb("rebase", "Compares with a window from now on; the old reference is kept", "slipway monitor rebase 0193a7c2f0d27f3c9a41b6d0a2e5c001 --window 2026-03-02T00:00:00Z", "slipway monitor rebase 0193a7c2f0d27f3c9a41b6d0a2e5c001 --window 2026-03-02T00:00:00Z --yes")
            .With(monitor, window, dry, yes)
            .Does(globals, terminal, async s =>
            {
                if (await s.GoesOnAsync($"make the window {s.Value(window)} the reference of monitor {s.About("monitors", s.Value(monitor), "id")}", dry, yes))
                {
                    s.Out.One(await s.Client.PostAsync<JsonElement>($"monitors/{s.Value(monitor)}/rebase", new { windowStart = s.Value(window) }, s.Stop), Columns);
                }

                return ExitCodes.Done;
            });
    }

    private static Option<string> Window() => new("--window") { Description = "Start of the window, for example 2026-03-02T00:00:00Z", Required = true };

    private static string Limits(JsonElement point)
    {
        var (lower, upper) = (Output.Rounded(Output.At(point, "lower")), Output.Rounded(Output.At(point, "upper")));
        return (lower, upper) switch { ("-", "-") => "-", ("-", _) => $"< {upper}", (_, "-") => $">= {lower}", _ => $"{lower} to {upper}" };
    }
}
