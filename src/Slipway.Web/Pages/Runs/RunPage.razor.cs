using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Components;
using MudBlazor;
using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Registry;
using Slipway.Web.Charts;
using Slipway.Web.Parts;

namespace Slipway.Web.Pages;

/// <summary>What happened in this run, and can I trust and repeat it?</summary>
public sealed partial class RunPage : Screen
{
    private const int MostCharts = 8;
    private const int LogTail = 64 * 1024;
    private const long LogLimit = 64L << 20;
    private const int ErrorLines = 14;
    private const int LongestTag = 600;
    private const int MostModels = 20;
    private static readonly (string Tag, string Name)[] Environment =
    [
        ("mlflow.source.name", "Source"), ("mlflow.source.type", "Kind"), ("mlflow.source.git.repoURL", "Repository"), ("mlflow.source.git.branch", "Branch"),
        ("mlflow.source.git.commit", "Commit"), ("mlflow.project.entryPoint", "Entry point"), ("mlflow.docker.image.uri", "Image"), ("mlflow.user", "User"),
        ("slipway.pipeline", "Pipeline"), ("python.version", "Python"),
    ];

    private const string ParentTag = "mlflow.parentRunId";

    // Where MLflow's own pages keep the notes of a run.
    private const string NoteTag = "mlflow.note.content";

    private Run? run;
    private RunLine? parent;
    private int children;
    private Experiment? experiment;
    private IReadOnlyList<MetricPoint> metrics = [];
    private IReadOnlyList<Param> parameters = [];
    private IReadOnlyList<Subject> produced = [];
    private IReadOnlyList<(string Name, string Detail)> models = [];
    private IReadOnlyList<(string Name, string Value)> environment = [];
    private IReadOnlyList<Tag> tags = [];
    private IReadOnlyList<string> curved = [];
    private IReadOnlyList<string> chartKeys = [];
    private IReadOnlyList<ChartedRun> charted = [];
    private IReadOnlyList<GridColumn<MetricLine>> metricColumns = [];
    private Dictionary<string, int> versions = [];
    private object version = new();
    private string reproduce = "";
    private string? error;
    private string? errorFrom;
    private string? blocked;
    private string note = "";
    private bool noting;
    private string? readFor;

    /// <summary>A metric with its extremes.</summary>
    private sealed record MetricLine(MetricPoint Last, double? Min, double? Max);

    /// <summary>The run's id.</summary>
    [Parameter]
    public string Id { get; set; } = "";

    /// <summary>The experiment of an address like MLflow's; the run's own is shown.</summary>
    [Parameter]
    public string? InExperiment { get; set; }

    /// <summary><c>charts</c>, <c>files</c>, or nothing for the overview.</summary>
    [SupplyParameterFromQuery(Name = "tab")]
    public string? Tab { get; set; }

    /// <summary>Part of the names of metrics and parameters to show.</summary>
    [SupplyParameterFromQuery(Name = "find")]
    public string? Find { get; set; }

    /// <summary>Metrics of the charts.</summary>
    [SupplyParameterFromQuery(Name = "charts")]
    public string? ChartKeys { get; set; }

    /// <summary>The open folder of files.</summary>
    [SupplyParameterFromQuery(Name = "folder")]
    public string? Folder { get; set; }

    /// <summary>The file that is looked into.</summary>
    [SupplyParameterFromQuery(Name = "file")]
    public string? File { get; set; }

    [Inject]
    internal Runs Runs { get; set; } = null!;

    [Inject]
    internal Experiments Experiments { get; set; } = null!;

    [Inject]
    internal Models Models { get; set; } = null!;

    [Inject]
    internal LoggedModels LoggedModels { get; set; } = null!;

    [Inject]
    internal Lineage Lineage { get; set; } = null!;

    [Inject]
    internal IDialogService Dialogs { get; set; } = null!;

    internal override string Permission => Permissions.RunRead;

    /// <inheritdoc/>
    protected override IReadOnlyList<string> RefreshedBy => ["run.", "artifact.", "version.registered"];

    // Metric points are not journalled, so a running run is read again now and then.
    /// <inheritdoc/>
    protected override TimeSpan? Every => TimeSpan.FromSeconds(5);

    /// <inheritdoc/>
    protected override async Task LoadAsync(CancellationToken ct)
    {
        // A finished run changes by journalled facts alone; the timer has nothing to look for.
        var again = readFor == Navigation.Uri;
        var before = run;
        if (run?.Id != Id || again)
            run = await Runs.GetAsync(Id, ct);
        readFor = Navigation.Uri;
        if (before?.Id != Id || again)
        {
            if (before is { EndedAt: not null } && before.Id == Id && run.EndedAt == before.EndedAt && run.Deleted == before.Deleted && before.Tags.SequenceEqual(run.Tags))
            {
                ReadAddress();
                return;
            }

            blocked = await Access.AllowsAsync(Actor, Permissions.RunWrite, ct) ? null : $"It needs the right {Permissions.RunWrite}.";
            experiment = await Experiments.GetAsync(run.ExperimentId, ct);
            await ReadAroundAsync(ct);
            metricColumns = MetricColumns();
            version = new object();
        }

        ReadAddress();
    }

    private string ChildFilter => $"tags.`{ParentTag}` = '{Id}'";

    private async Task ReadAroundAsync(CancellationToken ct)
    {
        var registered = await Models.SearchVersionsAsync(new ModelSearch { Filter = $"run_id = '{Id}'", Limit = 100 }, ct);
        versions = registered.Items.Take(1).ToDictionary(_ => Id, v => v.Version, StringComparer.Ordinal);
        var downstream = (await DownstreamAsync(ct)).ToLookup(s => s.Kind == "logged-model");
        produced = [.. registered.Items.Select(v => v.Subject).Concat(downstream[false]).Distinct()];
        var outputs = await OutputsAsync(downstream[true].Select(s => s.Name), ct);
        models = [.. outputs, .. ModelsOfTag([.. outputs.Select(o => o.Name)])];
        parent = Tag(ParentTag) is { } above ? await Runs.LinesAsync([above], [], ct) is [var line] ? line : null : null;
        children = (await Runs.FindAsync(new RunSearch { ExperimentIds = [run!.ExperimentId], Filter = ChildFilter }, null, false, Runs.MostListed, ct)).Ids.Count;
        environment = [.. Environment.Select(e => (e.Name, Tag(e.Tag))).Where(e => e.Item2 is not null)!];
        tags = [.. run!.Tags.Where(t => t.Key is not ("mlflow.log-model.history" or ParentTag or NoteTag) && !Environment.Any(e => e.Tag == t.Key))];
        curved = [.. run.Metrics.Where(m => m.Step != 0).Select(m => m.Key)];
        charted = [new ChartedRun(Id, run.Name, Look.Series(0))];
        reproduce = Reproduce();
        (error, errorFrom) = run.Status is RunStatus.Failed or RunStatus.Killed ? await LastErrorAsync(ct) : (null, null);
    }

    private void ReadAddress()
    {
        bool Found(string key) => string.IsNullOrEmpty(Find) || key.Contains(Find, StringComparison.OrdinalIgnoreCase);
        metrics = [.. run!.Metrics.Where(m => Found(m.Key))];
        parameters = [.. run.Params.Where(p => Found(p.Key))];
        if (parameters.Count == 0)
            parameters = run.Params;
        chartKeys = ChartKeys is { Length: > 0 } ? ChartKeys.Split(',') : [.. curved.OrderBy(k => RunsPage.IsTelling(k) ? 0 : 1).Take(MostCharts)];
    }

    private async Task<IEnumerable<Subject>> DownstreamAsync(CancellationToken ct)
    {
        try
        {
            var graph = await Lineage.OfAsync(run!.Subject, LineageDirection.Downstream, 1, ct);
            return graph.Nodes.Where(n => n.Depth > 0 && n.Subject.Kind is not "experiment").Select(n => n.Subject);
        }
        catch (SlipwayException e) when (e.Code == ErrorCode.NotFound)
        {
            // The journal has not spoken of this run; nothing came of it that is known.
            return [];
        }
    }

    private async Task<IReadOnlyList<MetricLine>> ReadMetricsAsync(GridWindow window, CancellationToken ct)
    {
        var slice = metrics.Skip(window.Start).Take(window.Count).ToList();
        var lines = await Runs.LinesAsync([Id], [.. slice.SelectMany(m => new[] { new RunColumn(RunColumnKind.Metric, m.Key, MetricTake.Min), new RunColumn(RunColumnKind.Metric, m.Key, MetricTake.Max) })], ct);
        return [.. slice.Select((m, i) => new MetricLine(m, lines[0].Cells[2 * i].Number, lines[0].Cells[(2 * i) + 1].Number))];
    }

    /// <summary>What 3.x clients log apart; one that is gone since is left out.</summary>
    private async Task<List<(string Name, string Detail)>> OutputsAsync(IEnumerable<string> others, CancellationToken ct)
    {
        var found = new List<(string, string)>();
        var steps = run!.ModelOutputs.DistinctBy(o => o.ModelId, StringComparer.Ordinal).ToDictionary(o => o.ModelId, o => o.Step, StringComparer.Ordinal);
        foreach (var id in steps.Keys.Union(others, StringComparer.Ordinal).Take(MostModels))
        {
            var made = await LoggedModels.GetAsync(id, allowDeleted: true, ct);
            if (!made.Deleted)
                found.Add((made.Name, $"{made.Status.ToString().ToLowerInvariant()}{(steps.TryGetValue(id, out var step) ? $", at step {Say.Count(step)}" : "")}, {made.Id}"));
        }

        return found;
    }

    /// <summary>What 2.x clients keep in a tag: a list of model descriptions. Some 3.x clients write it too, for what they have logged apart.</summary>
    private List<(string, string)> ModelsOfTag(HashSet<string> apart)
    {
        var found = new List<(string, string)>();
        if (Tag("mlflow.log-model.history") is not { } text)
            return found;
        try
        {
            foreach (var model in (JsonNode.Parse(text) as JsonArray ?? []).OfType<JsonObject>())
            {
                var name = model["artifact_path"]?.ToString() ?? "model";
                if (!apart.Contains(name) && !(model["model_id"] is { } id && run!.ModelOutputs.Any(o => o.ModelId == id.ToString())))
                    found.Add((name, "flavors " + string.Join(", ", (model["flavors"] as JsonObject)?.Select(f => f.Key) ?? [])));
            }
        }
        catch (JsonException)
        {
            // Clients write the tag as they like; what is no list of models is shown as nothing.
            found.Clear();
        }

        return found;
    }

    private string Reproduce()
    {
        var text = new StringBuilder("export MLFLOW_TRACKING_URI=").Append(Navigation.Server()).Append('\n');
        var (source, commit) = (Tag("mlflow.source.name") ?? "train.py", Tag("mlflow.source.git.commit"));
        if (Tag("slipway.pipeline") is { } pipeline)
            return $"slipway pipeline run {Shell(pipeline)}   # its steps, this one among them, with the same settings";
        if (Tag("mlflow.source.type") == "PROJECT")
        {
            text.Append("mlflow run ").Append(Shell(Tag("mlflow.source.git.repoURL") ?? source));
            if (commit is not null)
                text.Append(" -v ").Append(Shell(commit));
            if (Tag("mlflow.project.entryPoint") is { } entry)
                text.Append(" -e ").Append(Shell(entry));
            foreach (var param in run!.Params)
                text.Append(" \\\n  -P ").Append(Shell($"{param.Key}={param.Value}"));
            return text.ToString();
        }

        if (Tag("mlflow.source.git.repoURL") is { } repository)
            text.Append("git clone ").Append(Shell(repository)).Append('\n');
        if (commit is not null)
            text.Append("git checkout ").Append(Shell(commit)).Append('\n');
        text.Append("slipway run show ").Append(Id).Append(" --output json   # the parameters\n");
        return text.Append("python ").Append(Shell(source)).ToString();
    }

    // What a client recorded is pasted into a terminal: everything that is not plain stands in single quotes.
    private static string Shell(string text) => text.Length > 0 && text.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.' or '/' or ':' or '=' or '@')
        ? text
        : "'" + text.Replace("'", "'\\''", StringComparison.Ordinal) + "'";

    /// <summary>The reason that the run gave, or else the end of its log.</summary>
    private async Task<(string? Text, string? From)> LastErrorAsync(CancellationToken ct)
    {
        foreach (var key in new[] { "slipway.error", "mlflow.error", "error" })
        {
            if (Tag(key) is { Length: > 0 } said)
                return (Cut(said), $"from the tag {key}");
        }

        var files = new List<ArtifactInfo>();
        foreach (var folder in new[] { "", "logs" })
        {
            files.AddRange((await Runs.ListArtifactsAsync(Id, folder, ct)).Where(f => !f.IsDir && f.Size is > 0 and <= LogLimit && IsLog(f.Path)));
        }

        if (files.OrderBy(f => f.Path.Contains("err", StringComparison.OrdinalIgnoreCase) ? 0 : 1).FirstOrDefault() is not { } log)
            return (null, null);
        await using var content = await Runs.OpenArtifactAsync(Id, log.Path, ct);
        var tail = await TailAsync(content, ct);
        var lines = tail.Split('\n').Select(l => l.TrimEnd()).Where(l => l.Length > 0).ToList();
        return lines.Count == 0 ? (null, null) : (string.Join('\n', lines.TakeLast(ErrorLines)), $"the end of {log.Path}");
    }

    private static bool IsLog(string path) => path.EndsWith(".log", StringComparison.OrdinalIgnoreCase)
        || (path.EndsWith(".txt", StringComparison.OrdinalIgnoreCase) && (path.Contains("err", StringComparison.OrdinalIgnoreCase) || path.Contains("log", StringComparison.OrdinalIgnoreCase)));

    private static async Task<string> TailAsync(Stream content, CancellationToken ct)
    {
        var ring = new byte[LogTail];
        var buffer = new byte[16_384];
        long total = 0;
        for (int read; (read = await content.ReadAsync(buffer, ct)) > 0; total += read)
        {
            for (var i = 0; i < read; i++)
                ring[(total + i) % LogTail] = buffer[i];
        }

        var kept = (int)Math.Min(total, LogTail);
        var bytes = new byte[kept];
        for (var i = 0; i < kept; i++)
            bytes[i] = ring[(total - kept + i) % LogTail];
        return Encoding.UTF8.GetString(bytes);
    }

    private async Task SaveNoteAsync()
    {
        noting = !await ActAsync(
            async () =>
            {
                await Access.DemandAsync(Actor, Permissions.RunWrite, run!.Subject, Closed);
                if (note.Trim().Length > 0)
                    await Runs.SetTagAsync(Actor, Id, new Tag(NoteTag, note.Trim()), Closed);
                else if (Tag(NoteTag) is not null)
                    await Runs.DeleteTagAsync(Actor, Id, NoteTag, Closed);
            },
            "The notes are saved");
    }

    private async Task SetDeletedAsync(bool deleted)
    {
        var preview = deleted
            ? new Preview($"Delete {run!.Name}?", "Delete", "It leaves tables and searches, and can be restored until it is purged. Versions that were registered from it stay.",
                [new("Run", "live", "deleted"), .. produced.Where(p => p.Kind == "model-version").Select(p => new PreviewChange(SubjectLink.Label(p), "registered", "registered"))], Danger: true)
            : new Preview($"Restore {run!.Name}?", "Restore", "It comes back with everything it logged.", [new("Run", "deleted", "live")]);
        var dialog = await Dialogs.ShowAsync<PreviewDialog>(
            preview.Title,
            new DialogParameters<PreviewDialog> { { d => d.Of, preview } },
            new DialogOptions { CloseOnEscapeKey = true, MaxWidth = MaxWidth.Small, FullWidth = true });
        if (await dialog.Result is not { Canceled: false })
            return;
        await ActAsync(
            async () =>
            {
                await Access.DemandAsync(Actor, Permissions.RunWrite, run.Subject, Closed);
                await (deleted ? Runs.DeleteAsync(Actor, Id, Closed) : Runs.RestoreAsync(Actor, Id, Closed));
            },
            deleted ? "The run is deleted" : "The run is back");
    }

    private string? Tag(string key) => run?.Tags.FirstOrDefault(t => t.Key == key)?.Value;

    private static string Cut(string text) => text.Length <= LongestTag ? text : string.Create(CultureInfo.InvariantCulture, $"{text.AsSpan(0, LongestTag)}… ({text.Length} characters)");
}
