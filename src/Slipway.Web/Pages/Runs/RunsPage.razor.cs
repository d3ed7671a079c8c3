using System.Globalization;
using System.Text;
using Microsoft.AspNetCore.Components;
using Microsoft.JSInterop;
using MudBlazor;
using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Registry;
using Slipway.Web.Charts;
using Slipway.Web.Parts;

namespace Slipway.Web.Pages;

/// <summary>Which runs are best, and how do they differ? The list of ids is found once; rows and columns are read as they come into view.</summary>
public sealed partial class RunsPage : Screen
{
    private const string RunKey = "attributes.run_name";
    private const int AutoMetrics = 6;
    private const int AutoParams = 5;
    private const int Charted = 10;
    private const int SavedAtOnce = 2000;
    private static readonly TimeSpan KeysAge = TimeSpan.FromSeconds(20);
    private static readonly string NeedsWrite = $"It needs the right {Permissions.RunWrite}.";
    private static readonly string[] Telling = ["auc", "acc", "f1", "loss", "rmse", "mae", "r2", "error", "score"];

    private IReadOnlyList<Experiment> experiments = [];
    private Experiment? experiment;
    private RunKeys keys = new([], [], []);
    private RunList list = new([], false);
    private IReadOnlyList<RunGroup>? groups;
    private List<(int Group, int Run)> flat = [];
    private IReadOnlyList<RunColumn> shown = [];
    private IReadOnlyList<RunColumn> automatic = [];
    private IReadOnlyList<GridColumn<Line>> columns = [];
    private IReadOnlyList<string> fixedKeys = [];
    private Dictionary<string, int> widths = [];
    private IReadOnlyList<string> picks = [];
    private HashSet<string> picked = [];
    private HashSet<string> hidden = [];
    private HashSet<string> pinnedRuns = [];
    private Dictionary<string, int> paint = [];
    private IReadOnlyList<string> charts = [];
    private IReadOnlyList<ChartedRun> charted = [];
    private SlipwayException? wrong;
    private string? filteredBy;
    private bool saving;
    private object version = new();
    private string? listedFor;
    private string? seenAt;
    private string? open;
    private string? keysFor;
    private long keysAt;
    private bool mayWrite;
    private readonly Dictionary<string, string> names = new(StringComparer.Ordinal);
    private readonly Dictionary<string, IReadOnlyList<GroupCell>> groupCells = new(StringComparer.Ordinal);

    /// <summary>A line of the table: a run, or a group of runs.</summary>
    /// <param name="Key">Tells it from the others.</param>
    /// <param name="Run">The run, or null for a group.</param>
    /// <param name="Group">The group, or null for a run.</param>
    /// <param name="At">Position of each column's cell.</param>
    private sealed record Line(object Key, RunLine? Run, RunGroup? Group, IReadOnlyDictionary<string, int> At);

    /// <summary>The experiment of an address like MLflow's.</summary>
    [Parameter]
    public string? InExperiment { get; set; }

    /// <summary>The experiment to look in; all when missing.</summary>
    [SupplyParameterFromQuery(Name = "experiment")]
    public string? AskedExperiment { get; set; }

    /// <summary>The filter.</summary>
    [SupplyParameterFromQuery(Name = "filter")]
    public string? Filter { get; set; }

    /// <summary>The column to sort by, with a minus for descending.</summary>
    [SupplyParameterFromQuery(Name = "sort")]
    public string? Sort { get; set; }

    /// <summary>The columns to show, separated by commas.</summary>
    [SupplyParameterFromQuery(Name = "cols")]
    public string? Cols { get; set; }

    /// <summary>The columns that stay at the left.</summary>
    [SupplyParameterFromQuery(Name = "fix")]
    public string? Fix { get; set; }

    /// <summary>Widths as KEY~PIXELS.</summary>
    [SupplyParameterFromQuery(Name = "width")]
    public string? Width { get; set; }

    /// <summary>The column to group by.</summary>
    [SupplyParameterFromQuery(Name = "group")]
    public string? GroupBy { get; set; }

    /// <summary>Positions of the groups that are open.</summary>
    [SupplyParameterFromQuery(Name = "open")]
    public string? OpenGroups { get; set; }

    /// <summary>Picked runs.</summary>
    [SupplyParameterFromQuery(Name = "pick")]
    public string? Picked { get; set; }

    /// <summary>Runs that the charts leave out.</summary>
    [SupplyParameterFromQuery(Name = "hide")]
    public string? Hidden { get; set; }

    /// <summary>Runs that stay at the top.</summary>
    [SupplyParameterFromQuery(Name = "top")]
    public string? Top { get; set; }

    /// <summary>Colours that were chosen, as ID~NUMBER.</summary>
    [SupplyParameterFromQuery(Name = "paint")]
    public string? Paint { get; set; }

    /// <summary>Metrics of the charts beside the table.</summary>
    [SupplyParameterFromQuery(Name = "charts")]
    public string? ChartKeys { get; set; }

    /// <summary><c>deleted</c> for the deleted runs.</summary>
    [SupplyParameterFromQuery(Name = "view")]
    public string? View { get; set; }

    [Inject]
    internal Runs Runs { get; set; } = null!;

    [Inject]
    internal Experiments Experiments { get; set; } = null!;

    [Inject]
    internal IDialogService Dialogs { get; set; } = null!;

    [Inject]
    internal IJSRuntime Js { get; set; } = null!;

    internal override string Permission => Permissions.RunRead;

    /// <inheritdoc/>
    protected override IReadOnlyList<string> RefreshedBy => ["run.", "experiment."];

    private string? Experiment => InExperiment ?? (string.IsNullOrEmpty(AskedExperiment) ? null : AskedExperiment);

    private IEnumerable<string> Groupable => keys.Params.Select(k => "params." + k).Concat(["attributes.status", "attributes.user_id", "attributes.experiment_id"]).Concat(keys.Tags.Where(k => k != "mlflow.runName").Select(k => "tags." + k));

    private string CompareAll => "compare?" + string.Join('&', new[]
    {
        Experiment is null ? null : "experiment=" + UrlState.Segment(Experiment),
        string.IsNullOrEmpty(Filter) ? null : "filter=" + UrlState.Segment(Filter),
        string.IsNullOrEmpty(Sort) ? null : "sort=" + UrlState.Segment(Sort),
        "all=1",
    }.Where(p => p is not null));

    private IReadOnlyList<(string Name, IReadOnlyList<string> Runs)>? ChartGroups => groups is null ? null
        : [.. groups.Take(Charted).Select(g => (g.Value ?? "without a value", (IReadOnlyList<string>)[.. g.Rows.Select(r => list.Ids[r]).Where(id => !hidden.Contains(id)).Take(100)]))];

    /// <inheritdoc/>
    protected override async Task LoadAsync(CancellationToken ct)
    {
        // A change of columns or picks alone finds nothing new; the same address again means that the journal moved.
        var wanted = string.Join('\n', Experiment, Filter, Sort, View, GroupBy);
        if (listedFor != wanted || seenAt == Navigation.Uri)
        {
            mayWrite = await Access.AllowsAsync(Actor, Permissions.RunWrite, ct);
            await FindAsync(ct);
            listedFor = wanted;
        }

        seenAt = Navigation.Uri;
        ReadAddress();
        Flatten();
        await NameAsync(ct);
    }

    private async Task FindAsync(CancellationToken ct)
    {
        // What can be chosen from changes rarely; another order or filter of the same runs does not ask for it again.
        var fresh = keysFor != (Experiment ?? "") || Clock.GetElapsedTime(keysAt) > KeysAge;
        if (fresh)
            experiments = (await Experiments.SearchAsync(new ExperimentSearch { OrderBy = ["name ASC"] }, ct)).Items;
        experiment = Experiment is null ? null : experiments.FirstOrDefault(e => e.Id == Experiment) ?? await Experiments.GetAsync(Experiment, ct);
        IReadOnlyList<string> within = Experiment is null ? [.. experiments.Select(e => e.Id)] : [Experiment];
        var order = string.IsNullOrEmpty(Sort) ? null : RunColumn.TryParse(Sort.TrimStart('-'));
        var filter = string.IsNullOrWhiteSpace(Filter) ? null : Filter;
        wrong = null;
        try
        {
            list = await ListAsync(filter);
            filteredBy = filter;
        }
        catch (SlipwayException e) when (e.Code == ErrorCode.InvalidArgument && filter is not null)
        {
            // A filter is typed by hand: its fault is shown beside it, and the table keeps what it had.
            wrong = e;
            list = await ListAsync(filteredBy);
        }

        Task<RunList> ListAsync(string? by) => Runs.FindAsync(
            new RunSearch { ExperimentIds = within, Filter = by, View = View == "deleted" ? Registry.View.DeletedOnly : Registry.View.ActiveOnly }, order, Sort?.StartsWith('-') == true, Runs.MostListed, ct);

        if (fresh)
        {
            keys = await Runs.KeysAsync(within, ct);
            (keysFor, keysAt) = (Experiment ?? "", Clock.GetTimestamp());
            automatic = await AutomaticAsync(ct);
        }

        groupCells.Clear();
        groups = GroupBy is { Length: > 0 } by && RunColumn.TryParse(by) is { } column ? await GroupsAsync(column, order, ct) : null;
        version = new object();
    }

    /// <summary>Groups by size; by their mean when the runs are sorted by a number.</summary>
    private async Task<IReadOnlyList<RunGroup>> GroupsAsync(RunColumn by, RunColumn? order, CancellationToken ct)
    {
        if (order is not { IsNumber: true })
            return await Runs.GroupAsync(list.Ids, by, [], ct);
        var found = await Runs.GroupAsync(list.Ids, by, [order], ct);
        return [.. (Sort![0] == '-' ? found.OrderBy(g => g.Cells[0].Mean is null).ThenByDescending(g => g.Cells[0].Mean) : found.OrderBy(g => g.Cells[0].Mean is null).ThenBy(g => g.Cells[0].Mean))];
    }

    /// <summary>Metrics that are usually looked at first, and parameters that differ between the runs at the top.</summary>
    private async Task<IReadOnlyList<RunColumn>> AutomaticAsync(CancellationToken ct)
    {
        var metrics = keys.Metrics.OrderBy(k => IsTelling(k) ? 0 : 1).Take(AutoMetrics);
        RunColumn[] parameters = [.. keys.Params.Take(60).Select(k => new RunColumn(RunColumnKind.Param, k))];
        var lines = await Runs.LinesAsync([.. list.Ids.Take(40)], parameters, ct);
        var telling = parameters.Select((p, i) => (Param: p, Values: lines.Select(l => l.Cells[i].Text).Distinct(StringComparer.Ordinal).Count()))
            .Where(p => p.Values > 1 || lines.Count < 2).Take(AutoParams).Select(p => p.Param);
        return
        [
            new(RunColumnKind.Attribute, "status"), new(RunColumnKind.Attribute, "start_time"), new(RunColumnKind.Attribute, "duration"),
            .. Experiment is null && experiments.Count > 1 ? new RunColumn[] { new(RunColumnKind.Attribute, "experiment_id") } : [],
            .. metrics.Select(k => new RunColumn(RunColumnKind.Metric, k)),
            .. telling,
        ];
    }

    /// <summary>Whether a metric is one that people usually look at first.</summary>
    internal static bool IsTelling(string metric) => Telling.Any(t => metric.Contains(t, StringComparison.OrdinalIgnoreCase));

    private void ReadAddress()
    {
        shown = Cols is { Length: > 0 } ? [.. Cols.Split(',', StringSplitOptions.RemoveEmptyEntries).Select(RunColumn.TryParse).OfType<RunColumn>().DistinctBy(c => c.ToString())] : automatic;
        columns = [RunColumnOf(), .. shown.Where(c => c.ToString() != RunKey).Select(ColumnOf)];
        fixedKeys = Fix?.Split(',', StringSplitOptions.RemoveEmptyEntries) ?? [];
        widths = Pairs(Width);
        picks = RunPicks.Read(Picked);
        picked = [.. picks];
        hidden = [.. RunPicks.Read(Hidden)];
        pinnedRuns = [.. RunPicks.Read(Top)];
        paint = Pairs(Paint);
        charts = ChartKeys?.Split(',', StringSplitOptions.RemoveEmptyEntries) ?? [];
    }

    private static Dictionary<string, int> Pairs(string? text)
    {
        var pairs = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (var pair in text?.Split(',', StringSplitOptions.RemoveEmptyEntries) ?? [])
        {
            var at = pair.LastIndexOf('~');
            if (at > 0 && int.TryParse(pair[(at + 1)..], CultureInfo.InvariantCulture, out var number) && number is >= 0 and <= 2000)
                pairs[pair[..at]] = number;
        }

        return pairs;
    }

    private static string? Text(Dictionary<string, int> pairs) => pairs.Count == 0 ? null : string.Join(',', pairs.Select(p => FormattableString.Invariant($"{p.Key}~{p.Value}")));

    /// <summary>The lines of the table: pinned runs first, then the runs, or the groups with the runs of those that are open.</summary>
    private void Flatten()
    {
        var before = flat;
        var opened = OpenGroups?.Split(',', StringSplitOptions.RemoveEmptyEntries).Select(t => int.TryParse(t, CultureInfo.InvariantCulture, out var n) ? n : -1).ToHashSet() ?? [];
        flat = [];
        if (groups is null)
        {
            if (pinnedRuns.Count > 0)
                flat.AddRange(Enumerable.Range(0, list.Ids.Count).Where(i => pinnedRuns.Contains(list.Ids[i])).Select(i => (-1, i)));
            flat.AddRange(Enumerable.Range(0, list.Ids.Count).Where(i => pinnedRuns.Count == 0 || !pinnedRuns.Contains(list.Ids[i])).Select(i => (-1, i)));
        }
        else
        {
            for (var g = 0; g < groups.Count; g++)
            {
                flat.Add((g, -1));
                if (opened.Contains(g))
                    flat.AddRange(groups[g].Rows.Select(r => (g, r)));
            }
        }

        // Other lines in the same list are read again; picks and colours alone only draw again.
        if (!before.SequenceEqual(flat))
            version = new object();
    }

    private async Task NameAsync(CancellationToken ct)
    {
        IReadOnlyList<string> ids = picks.Count > 0 ? [.. picks.Where(id => !hidden.Contains(id)).Take(Charted * 5)] : [.. flat.Where(f => f.Run >= 0).Select(f => list.Ids[f.Run]).Where(id => !hidden.Contains(id)).Take(Charted)];
        var missing = picks.Take(4).Concat(ids).Where(id => !names.ContainsKey(id)).Distinct(StringComparer.Ordinal).ToList();
        foreach (var line in await Runs.LinesAsync(missing, [], ct))
            names[line.Id] = line.Name;
        var next = ids.Select((id, i) => new ChartedRun(id, names.GetValueOrDefault(id) ?? SubjectLink.Short(id), ColourOf(id, i))).ToList();
        if (!next.SequenceEqual(charted))
            charted = next;
    }

    private string ColourOf(string id, int at) => Look.Series(paint.TryGetValue(id, out var chosen) ? chosen : at);

    private async Task<IReadOnlyList<Line>> ReadAsync(GridWindow window, CancellationToken ct)
    {
        RunColumn[] asked = [.. window.Columns.Where(c => c != RunKey).Select(RunColumn.Parse)];
        var at = asked.Select((c, i) => (Key: c.ToString(), i)).ToDictionary(c => c.Key, c => c.i, StringComparer.Ordinal);
        var slice = flat.Skip(window.Start).Take(window.Count).ToList();
        var lines = (await Runs.LinesAsync([.. slice.Where(s => s.Run >= 0).Select(s => list.Ids[s.Run])], asked, ct)).ToDictionary(l => l.Id, StringComparer.Ordinal);
        if (groups is not null)
            await SumUpAsync(asked, ct);
        var result = new List<Line>(slice.Count);
        foreach (var (group, run) in slice)
        {
            if (run < 0)
                result.Add(new Line((group, -1), null, groups![group], at));
            else if (lines.TryGetValue(list.Ids[run], out var line))
                result.Add(new Line(line.Id, line, null, at));
        }

        foreach (var line in lines.Values)
            names[line.Id] = line.Name;
        return result;
    }

    private async Task SumUpAsync(RunColumn[] asked, CancellationToken ct)
    {
        var missing = asked.Where(c => !groupCells.ContainsKey(c.ToString())).ToList();
        if (missing.Count == 0 || RunColumn.TryParse(GroupBy ?? "") is not { } by)
            return;
        var summed = (await Runs.GroupAsync(list.Ids, by, missing, ct)).ToDictionary(g => g.Value ?? "\0", StringComparer.Ordinal);
        for (var c = 0; c < missing.Count; c++)
        {
            var index = c;
            groupCells[missing[c].ToString()] = [.. groups!.Select(g => summed.TryGetValue(g.Value ?? "\0", out var found) ? found.Cells[index] : default)];
        }
    }

    private async Task<IReadOnlyList<string>> ValuesOfAsync(string column)
    {
        if (RunColumn.TryParse(column) is not { } parsed)
            return [];
        var found = await Runs.GroupAsync([.. list.Ids.Take(2000)], parsed, [], Closed);
        return [.. found.Where(g => g.Value is { Length: < 200 }).Take(50).Select(g => g.Value!)];
    }

    /// <summary>What is filtered and shown as a file: a line for each run in the order of the table, a field for each column. Groups become a first field.</summary>
    private async Task SaveAsync()
    {
        saving = true;
        try
        {
            RunColumn[] asked = [.. shown.Where(c => c.ToString() != RunKey)];
            IReadOnlyList<(int Group, int Run)> rows = groups is null ? flat : [.. groups.SelectMany((g, at) => g.Rows.Select(r => (at, r)))];
            var text = new StringBuilder();
            text.Line([.. groups is null ? [] : new[] { Csv.Quoted(GroupBy!) }, "run_id", "run_name", .. asked.Select(c => Csv.Quoted(c.ToString()))]);
            foreach (var part in rows.Chunk(SavedAtOnce))
            {
                var lines = (await Runs.LinesAsync([.. part.Select(p => list.Ids[p.Run])], asked, Closed)).ToDictionary(l => l.Id, StringComparer.Ordinal);
                foreach (var (group, run) in part)
                {
                    if (lines.TryGetValue(list.Ids[run], out var line))
                        text.Line([.. groups is null ? [] : new[] { Csv.Quoted(groups[group].Value ?? "") }, line.Id, Csv.Quoted(line.Name), .. asked.Select((c, i) => Field(line, c, line.Cells[i]))]);
                }
            }

            using var content = new DotNetStreamReference(new MemoryStream(Encoding.UTF8.GetBytes(text.ToString())));
            await Js.InvokeVoidAsync("slipway.save", Closed, $"{experiment?.Name ?? "runs"}.csv", "text/csv", content);
        }
        finally
        {
            saving = false;
        }
    }

    private string Field(RunLine line, RunColumn column, RunCell cell) => (column.Kind, column.Key) switch
    {
        (RunColumnKind.Attribute, "start_time") => Csv.Moment(line.StartedAt),
        (RunColumnKind.Attribute, "end_time") => Csv.Moment(line.EndedAt),
        (RunColumnKind.Attribute, "experiment_id") => Csv.Quoted(experiments.FirstOrDefault(e => e.Id == line.ExperimentId)?.Name ?? line.ExperimentId),
        (RunColumnKind.Metric, _) or (RunColumnKind.Attribute, "duration") => Csv.Number(cell.Number),
        _ => cell.IsEmpty ? "" : Csv.Quoted(cell.Text ?? Csv.Number(cell.Number)),
    };

    private void GoTo(string? id)
    {
        var path = string.IsNullOrEmpty(id) ? "runs" : "runs?experiment=" + UrlState.Segment(id);
        Navigation.NavigateTo(path);
    }

    private void Toggle(string which) => open = open == which ? null : which;

    private void ToggleCharts() => Navigation.Remember(values: ("charts", charts.Count > 0 ? null : string.Join(',', automatic.Concat(shown).Where(c => c.Kind == RunColumnKind.Metric).Select(c => c.Key).Distinct(StringComparer.Ordinal).Take(4))));

    private void Choose(IReadOnlyList<string> chosen) => Navigation.Remember(values: ("cols", chosen.Count == 0 ? null : string.Join(',', chosen)));

    private void Arrange((string Key, GridChange Change) what)
    {
        List<string> order = [.. shown.Select(c => c.ToString())];
        var at = order.IndexOf(what.Key);
        switch (what.Change)
        {
            case GridChange.Pin:
                Navigation.Remember(values: ("fix", string.Join(',', fixedKeys.Append(what.Key).Distinct(StringComparer.Ordinal))));
                return;
            case GridChange.Unpin:
                Navigation.Remember(values: ("fix", string.Join(',', fixedKeys.Where(k => k != what.Key))));
                return;
            case GridChange.Hide when at >= 0:
                order.RemoveAt(at);
                break;
            case GridChange.Left when at > 0:
                (order[at - 1], order[at]) = (order[at], order[at - 1]);
                break;
            case GridChange.Right when at >= 0 && at < order.Count - 1:
                (order[at + 1], order[at]) = (order[at], order[at + 1]);
                break;
        }

        Choose(order);
    }

    private void Resize((string Key, int Width) what)
    {
        var next = new Dictionary<string, int>(widths, StringComparer.Ordinal) { [what.Key] = what.Width };
        Navigation.Remember(values: ("width", Text(next)));
    }

    private void Express(RunColumn before, RunColumn after)
    {
        var (old, changed) = (before.ToString(), after.ToString());
        Navigation.Remember(step: true, values:
        [
            ("cols", string.Join(',', shown.Select(c => c.ToString() == old ? changed : c.ToString()))),
            ("fix", string.Join(',', fixedKeys.Select(k => k == old ? changed : k))),
            ("sort", Sort == old ? changed : Sort == "-" + old ? "-" + changed : Sort),
        ]);
    }

    private void ExpressAt(RunColumn before, string? chosen)
    {
        if (string.IsNullOrEmpty(chosen))
            Express(before, before with { Take = MetricTake.Last, AtKey = null, AtMax = false });
        else
            Express(before, before with { Take = MetricTake.At, AtKey = chosen[4..], AtMax = chosen.StartsWith("max", StringComparison.Ordinal) });
    }

    private void Pick((Line Row, bool Picked) what)
    {
        if (what.Row.Run is not { } run)
            return;
        List<string> next = [.. picks.Where(id => id != run.Id)];
        if (what.Picked && next.Count < RunPicks.Most)
            next.Add(run.Id);
        else if (what.Picked)
            Snackbar.Add($"An address holds {RunPicks.Most} runs. Compare all that match the filter instead.", Severity.Info);
        Navigation.Remember(values: ("pick", RunPicks.Write(next)));
    }

    private void Turn(string name, HashSet<string> set, string id)
    {
        List<string> next = [.. set.Where(s => s != id)];
        if (next.Count == set.Count && next.Count < RunPicks.Most)
            next.Add(id);
        Navigation.Remember(values: (name, RunPicks.Write(next)));
    }

    private void Recolour(string id)
    {
        var at = charted.ToList().FindIndex(c => c.Id == id);
        var now = paint.TryGetValue(id, out var chosen) ? chosen : Math.Max(0, at);
        var next = new Dictionary<string, int>(paint, StringComparer.Ordinal) { [id] = (now + 1) % Look.Colours };
        Navigation.Remember(values: ("paint", Text(next)));
    }

    private void OpenGroup(int group)
    {
        var opened = OpenGroups?.Split(',', StringSplitOptions.RemoveEmptyEntries).ToList() ?? [];
        var text = group.ToString(CultureInfo.InvariantCulture);
        if (!opened.Remove(text))
            opened.Add(text);
        Navigation.Remember(values: ("open", string.Join(',', opened)));
    }

    private async Task DeleteAsync()
    {
        var preview = new Preview(
            $"Delete {Say.Count(picks.Count, "run")}?", "Delete",
            "Deleted runs leave tables and searches. They can be restored under “deleted” until they are purged; versions that were registered from them stay.",
            [.. await ChangesAsync("live", "deleted")], Danger: true);
        if (await AskAsync(preview))
            await ForEachAsync("deleted", id => Runs.DeleteAsync(Actor, id, Closed));
    }

    private async Task RestoreAsync()
    {
        var preview = new Preview($"Restore {Say.Count(picks.Count, "run")}?", "Restore", "They come back with everything they logged.", [.. await ChangesAsync("deleted", "live")]);
        if (await AskAsync(preview))
            await ForEachAsync("restored", id => Runs.RestoreAsync(Actor, id, Closed));
    }

    private async Task<IEnumerable<PreviewChange>> ChangesAsync(string before, string after)
    {
        const int Listed = 8;
        var lines = await Runs.LinesAsync([.. picks.Take(Listed)], [], Closed);
        var changes = lines.Select(l => new PreviewChange(l.Name, before, after));
        return picks.Count > Listed ? changes.Append(new PreviewChange($"and {Say.Count(picks.Count - Listed)} more", before, after)) : changes;
    }

    private async Task<bool> AskAsync(Preview preview)
    {
        var dialog = await Dialogs.ShowAsync<PreviewDialog>(
            preview.Title,
            new DialogParameters<PreviewDialog> { { d => d.Of, preview } },
            new DialogOptions { CloseOnEscapeKey = true, MaxWidth = MaxWidth.Small, FullWidth = true });
        return await dialog.Result is { Canceled: false };
    }

    private async Task ForEachAsync(string done, Func<string, Task> act)
    {
        var all = picks;
        await ActAsync(
            async () =>
            {
                foreach (var id in all)
                {
                    await Access.DemandAsync(Actor, Permissions.RunWrite, new Subject("run", id), Closed);
                    await act(id);
                }
            },
            $"{Say.Count(all.Count, "run")} {done}");
        Navigation.Remember(values: ("pick", null));
    }

    private string? ClassOf(Line line) => line.Group is not null ? "group-row" : hidden.Contains(line.Run!.Id) ? "hidden-run" : pinnedRuns.Contains(line.Run.Id) ? "pinned-run" : null;
}
