using System.Globalization;
using Microsoft.AspNetCore.Components;
using Slipway.Governance;
using Slipway.Registry;
using Slipway.Web.Charts;
using Slipway.Web.Parts;

namespace Slipway.Web.Pages;

/// <summary>What differs, and did it matter? A comparison is an address: run ids, or a filter whose runs are sampled.</summary>
public sealed partial class ComparePage : Screen
{
    private const int MostRuns = 1000;
    private const int MostCurves = 100;
    private const int MostCharts = 6;

    private static readonly (string Key, string Word)[] Views =
        [("table", "Differences"), ("curves", "Curves"), ("parallel", "Parallel axes"), ("scatter", "Scatter"), ("contour", "Contour"), ("importance", "Importance")];

    private IReadOnlyList<string> ids = [];
    private IReadOnlyList<RunLine> lines = [];
    private RunKeys keys = new([], [], []);
    private List<Row> rows = [];
    private IReadOnlyList<GridColumn<Row>> columns = [];
    private Dictionary<string, int> widths = [];
    private IReadOnlyList<ChartedRun> charted = [];
    private IReadOnlyList<string> chartKeys = [];
    private IReadOnlyList<(string Name, IReadOnlyList<string> Runs)>? curveGroups;
    private Dictionary<string, int>? versions;
    private IReadOnlyList<ParallelAxis> axes = [];
    private IReadOnlyList<RunColumn> plotColumns = [];
    private IReadOnlyList<string> plotNames = [];
    private IReadOnlyList<IReadOnlyList<RunCell>> cells = [];
    private IReadOnlyList<PlotPoint> triples = [];
    private IReadOnlyList<Relation> relations = [];
    private object version = new();
    private string? loadedFor;
    private string? seenAt;
    private int? sampledFrom;
    private int differing;
    private int equal;
    private int left;
    private bool viewsOpen;

    /// <summary>A row of the table of differences; one without a column heads a section.</summary>
    private sealed record Row(string Key, RunColumn? Column, IReadOnlyDictionary<string, RunCell> Cells);

    /// <summary>The runs.</summary>
    [SupplyParameterFromQuery(Name = "runs")]
    public string? Picked { get; set; }

    /// <summary>Without picked runs: the experiment of the filter.</summary>
    [SupplyParameterFromQuery(Name = "experiment")]
    public string? Experiment { get; set; }

    /// <summary>Without picked runs: the filter.</summary>
    [SupplyParameterFromQuery(Name = "filter")]
    public string? Filter { get; set; }

    /// <summary>Without picked runs: their order.</summary>
    [SupplyParameterFromQuery(Name = "sort")]
    public string? Sort { get; set; }

    /// <summary><c>1</c> to compare all that match.</summary>
    [SupplyParameterFromQuery(Name = "all")]
    public string? Everything { get; set; }

    /// <summary>The picture.</summary>
    [SupplyParameterFromQuery(Name = "view")]
    public string? View { get; set; }

    /// <summary><c>1</c> to show equal parameters as well.</summary>
    [SupplyParameterFromQuery(Name = "same")]
    public string? All { get; set; }

    /// <summary>Part of the names of rows to show.</summary>
    [SupplyParameterFromQuery(Name = "find")]
    public string? Search { get; set; }

    /// <summary>The baseline.</summary>
    [SupplyParameterFromQuery(Name = "base")]
    public string? Base { get; set; }

    /// <summary>The parameter that groups the curves.</summary>
    [SupplyParameterFromQuery(Name = "group")]
    public string? GroupBy { get; set; }

    /// <summary>Metrics of the curves.</summary>
    [SupplyParameterFromQuery(Name = "charts")]
    public string? ChartKeys { get; set; }

    /// <summary>The parallel axes.</summary>
    [SupplyParameterFromQuery(Name = "axes")]
    public string? AxesText { get; set; }

    /// <summary>Column on x.</summary>
    [SupplyParameterFromQuery(Name = "x")]
    public string? X { get; set; }

    /// <summary>Column on y.</summary>
    [SupplyParameterFromQuery(Name = "y")]
    public string? Y { get; set; }

    /// <summary>Column of the colour or height.</summary>
    [SupplyParameterFromQuery(Name = "z")]
    public string? Z { get; set; }

    /// <summary>Widths of columns.</summary>
    [SupplyParameterFromQuery(Name = "width")]
    public string? Width { get; set; }

    [Inject]
    internal Runs Runs { get; set; } = null!;

    [Inject]
    internal Experiments Experiments { get; set; } = null!;

    [Inject]
    internal Models Models { get; set; } = null!;

    internal override string Permission => Permissions.RunRead;

    private string Shown => Views.Any(v => v.Key == View) ? View! : "table";

    private RunColumn? XColumn => Column(X) ?? Number(0) ?? Metric(1);

    private RunColumn? YColumn => Column(Y) is { } y && (Shown != "importance" || y.Kind == RunColumnKind.Metric) ? y
        : Shown == "contour" ? Number(1) ?? Metric(1) : Metric(0);

    private RunColumn? ZColumn => Column(Z) ?? (Shown == "contour" ? Metric(0) : null);

    private IReadOnlyList<RunColumn> Offered => [.. keys.Params.Select(k => new RunColumn(RunColumnKind.Param, k)), .. keys.Metrics.Select(k => new RunColumn(RunColumnKind.Metric, k))];

    private string Back => Picked is { Length: > 0 }
        ? $"runs?{(lines.Select(l => l.ExperimentId).Distinct(StringComparer.Ordinal).Take(2).ToList() is [var only] ? $"experiment={only}&" : "")}pick={Picked}"
        : "runs" + (Experiment is null ? "" : $"?experiment={UrlState.Segment(Experiment)}" + (string.IsNullOrEmpty(Filter) ? "" : $"&filter={UrlState.Segment(Filter)}"));

    private object TableVersion => (version, Search, All, Base);

    private readonly Dictionary<string, bool> varies = new(StringComparer.Ordinal);
    private readonly HashSet<string> numbers = new(StringComparer.Ordinal);

    /// <inheritdoc/>
    protected override async Task LoadAsync(CancellationToken ct)
    {
        var wanted = string.Join('\n', Picked, Experiment, Filter, Sort, Everything);
        if (loadedFor != wanted || seenAt == Navigation.Uri)
        {
            await FindAsync(ct);
            loadedFor = wanted;
        }

        seenAt = Navigation.Uri;
        widths = [];
        foreach (var pair in Width?.Split(',', StringSplitOptions.RemoveEmptyEntries) ?? [])
        {
            if (pair.Split('~') is [var key, var text] && int.TryParse(text, CultureInfo.InvariantCulture, out var pixels))
                widths[key] = pixels;
        }

        switch (Shown)
        {
            case "curves":
                await LoadCurvesAsync(ct);
                break;
            case "parallel":
                await LoadParallelAsync(ct);
                break;
            case "scatter" or "contour":
                await LoadPointsAsync(ct);
                break;
            case "importance":
                await LoadRelationsAsync(ct);
                break;
            default:
                LoadTable();
                break;
        }
    }

    private async Task FindAsync(CancellationToken ct)
    {
        sampledFrom = null;
        if (Picked is { Length: > 0 } || Everything != "1")
        {
            ids = RunPicks.Read(Picked);
        }
        else
        {
            IReadOnlyList<string> within = string.IsNullOrEmpty(Experiment) ? [.. (await Experiments.SearchAsync(new ExperimentSearch(), ct)).Items.Select(e => e.Id)] : [Experiment];
            var order = string.IsNullOrEmpty(Sort) ? null : RunColumn.TryParse(Sort.TrimStart('-'));
            var all = (await Runs.FindAsync(new RunSearch { ExperimentIds = within, Filter = string.IsNullOrWhiteSpace(Filter) ? null : Filter }, order, Sort?.StartsWith('-') == true, Runs.MostListed, ct)).Ids;
            ids = Evenly(all, MostRuns);
            sampledFrom = all.Count > ids.Count ? all.Count : null;
        }

        lines = await Runs.LinesAsync(ids, [], ct);
        ids = [.. lines.Select(l => l.Id)];
        keys = ids.Count == 0 ? new([], [], []) : await Runs.KeysAsync([.. lines.Select(l => l.ExperimentId).Distinct(StringComparer.Ordinal)], ct);
        await FindDifferencesAsync(ct);
        version = new object();
    }

    private static IReadOnlyList<T> Evenly<T>(IReadOnlyList<T> all, int most) =>
        all.Count <= most ? all : [.. Enumerable.Range(0, most).Select(i => all[(int)((long)i * all.Count / most)])];

    /// <summary>Which parameters differ between the runs: one query for all of them.</summary>
    private async Task FindDifferencesAsync(CancellationToken ct)
    {
        varies.Clear();
        numbers.Clear();
        RunColumn[] parameters = [.. keys.Params.Select(k => new RunColumn(RunColumnKind.Param, k))];
        var read = await Runs.LinesAsync(ids, parameters, ct);
        for (var i = 0; i < parameters.Length; i++)
        {
            varies[parameters[i].Key] = read.Select(l => l.Cells[i].Text).Distinct(StringComparer.Ordinal).Take(2).Count() > 1;
            if (varies[parameters[i].Key] && read.All(l => l.Cells[i].IsEmpty || l.Cells[i].Number is not null))
                numbers.Add(parameters[i].Key);
        }

        // Keys of the experiment that none of these runs has are no rows.
        var present = parameters.Where((_, i) => read.Any(l => !l.Cells[i].IsEmpty)).Select(p => p.Key).ToList();
        keys = keys with { Params = present };
        differing = present.Count(k => varies[k]);
        equal = present.Count - differing;
    }

    /// <summary>The n-th parameter that is a number and differs.</summary>
    private RunColumn? Number(int at) => keys.Params.Where(numbers.Contains).Skip(at).Select(k => new RunColumn(RunColumnKind.Param, k)).FirstOrDefault();

    private void LoadTable()
    {
        bool Found(string key) => string.IsNullOrEmpty(Search) || key.Contains(Search, StringComparison.OrdinalIgnoreCase);
        var parameters = keys.Params.Where(k => (All == "1" || varies[k]) && Found(k)).Select(k => new RunColumn(RunColumnKind.Param, k)).ToList();
        var metrics = keys.Metrics.Where(Found).Select(k => new RunColumn(RunColumnKind.Metric, k)).ToList();
        RunColumn[] facts = [.. new[] { "start_time", "duration", "user_id" }.Where(Found).Select(k => new RunColumn(RunColumnKind.Attribute, k))];
        var empty = new Dictionary<string, RunCell>();
        rows = [];
        foreach (var (head, part) in new[] { ("Parameters", parameters), ("Metrics", metrics), ("Facts", [.. facts]) })
        {
            if (part.Count > 0)
                rows.AddRange([new Row(head, null, empty), .. part.Select(c => new Row(c.ToString(), c, empty))]);
        }

        columns = [NameColumn(), .. lines.Select(ColumnOf)];
    }

    private async Task<IReadOnlyList<Row>> ReadAsync(GridWindow window, CancellationToken ct)
    {
        var slice = rows.GetRange(window.Start, Math.Min(window.Count, rows.Count - window.Start));
        RunColumn[] asked = [.. slice.Select(r => r.Column).OfType<RunColumn>()];
        var read = await Runs.LinesAsync([.. window.Columns.Where(c => c != "name").Append(Base).OfType<string>().Distinct(StringComparer.Ordinal)], asked, ct);
        var at = asked.Select((c, i) => (Key: c.ToString(), i)).ToDictionary(c => c.Key, c => c.i, StringComparer.Ordinal);
        return [.. slice.Select(row => row.Column is null ? row : row with { Cells = read.ToDictionary(l => l.Id, l => l.Cells[at[row.Key]], StringComparer.Ordinal) })];
    }

    private async Task LoadCurvesAsync(CancellationToken ct)
    {
        charted = [.. Evenly(lines, MostCurves).Select((l, i) => new ChartedRun(l.Id, l.Name, Look.Series(i)))];
        chartKeys = ChartKeys?.Split(',', StringSplitOptions.RemoveEmptyEntries) ?? [.. keys.Metrics.Where(RunsPage.IsTelling).DefaultIfEmpty(keys.Metrics.Count > 0 ? keys.Metrics[0] : "").Where(k => k.Length > 0).Take(MostCharts)];
        curveGroups = GroupBy is { Length: > 0 } && RunColumn.TryParse(GroupBy) is { } by
            ? [.. (await Runs.GroupAsync(ids, by, [], ct)).Take(10).Select(g => ($"{g.Value ?? "without"} ({g.Rows.Count})", (IReadOnlyList<string>)[.. Evenly(g.Rows, MostCurves).Select(r => ids[r])]))]
            : null;
        if (versions is null)
        {
            versions = new(StringComparer.Ordinal);
            var found = await Models.SearchVersionsAsync(new ModelSearch { Limit = 2000 }, ct);
            foreach (var registered in found.Items)
            {
                if (registered.RunId is { } run)
                    versions.TryAdd(run, registered.Version);
            }
        }
    }

    private async Task LoadParallelAsync(CancellationToken ct)
    {
        axes = AxesText is { Length: > 0 }
            ? [.. AxesText.Split(',', StringSplitOptions.RemoveEmptyEntries).Select(ParallelAxis.TryParse).OfType<ParallelAxis>().DistinctBy(a => a.Column)]
            : [.. keys.Params.Where(k => varies[k]).Take(5).Select(k => new ParallelAxis(new RunColumn(RunColumnKind.Param, k))), .. TellingMetrics().Take(2).Select(k => new ParallelAxis(new RunColumn(RunColumnKind.Metric, k)))];
        plotColumns = [.. axes.Select(a => a.Column)];
        var read = await Runs.LinesAsync(ids, plotColumns, ct);
        (cells, plotNames) = ([.. read.Select(l => l.Cells)], [.. read.Select(l => l.Name)]);
    }

    private async Task LoadPointsAsync(CancellationToken ct)
    {
        if (XColumn is not { } x || YColumn is not { } y)
        {
            (triples, left) = ([], ids.Count);
            return;
        }

        RunColumn[] asked = ZColumn is { } z ? [x, y, z] : [x, y];
        var read = await Runs.LinesAsync(ids, asked, ct);
        triples =
        [
            .. read.Where(l => l.Cells.All(c => c.Number is { } n && double.IsFinite(n)))
                .Select(l => new PlotPoint(l.Id, l.Name, l.Cells[0].Number!.Value, l.Cells[1].Number!.Value, l.Cells.Count > 2 ? l.Cells[2].Number : null)),
        ];
        left = ids.Count - triples.Count;
    }

    private async Task LoadRelationsAsync(CancellationToken ct)
    {
        relations = [];
        if (YColumn is not { } target)
            return;
        RunColumn[] parameters = [.. keys.Params.Where(k => varies[k]).Select(k => new RunColumn(RunColumnKind.Param, k))];
        var read = await Runs.LinesAsync(ids, [target, .. parameters], ct);
        relations = Relations.Of(
            [.. parameters.Select((p, i) => (p.Key, (IReadOnlyList<RelationCell>)[.. read.Select(l => new RelationCell(l.Cells[i + 1].Text, l.Cells[i + 1].Number))]))],
            [.. read.Select(l => l.Cells[0].Number)]);
    }

    private IEnumerable<string> TellingMetrics() => keys.Metrics.OrderBy(k => RunsPage.IsTelling(k) ? 0 : 1);

    private RunColumn? Metric(int at) => TellingMetrics().Skip(at).Select(k => new RunColumn(RunColumnKind.Metric, k)).FirstOrDefault();

    private static RunColumn? Column(string? text) => string.IsNullOrEmpty(text) ? null : RunColumn.TryParse(text);

    private static string Label(RunColumn? column) => column?.Label ?? "nothing";

    private void Keep(IReadOnlyList<int> kept) => Navigation.Remember(step: true, values:
    [
        ("runs", RunPicks.Write([.. kept.Where(i => i >= 0 && i < ids.Count).Select(i => ids[i])])),
        ("all", null), ("filter", null), ("experiment", null), ("sort", null),
    ]);

    private void Resize((string Key, int Width) what)
    {
        widths[what.Key] = what.Width;
        Navigation.Remember(values: ("width", string.Join(',', widths.Select(w => FormattableString.Invariant($"{w.Key}~{w.Value}")))));
    }
}
