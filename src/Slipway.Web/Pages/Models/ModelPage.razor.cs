using System.Globalization;
using Microsoft.AspNetCore.Components;
using Slipway.Data;
using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Registry;
using Slipway.Serving;
using Slipway.Web.Charts;
using Slipway.Web.Parts;

namespace Slipway.Web.Pages;

/// <summary>How did we get here, and what is next?</summary>
public sealed partial class ModelPage : Screen
{
    private const int MostVersionsRead = 500;
    private const int MostTold = 12;

    private Model? model;
    private string? policy;
    private IReadOnlyList<Row> rows = [];
    private IReadOnlyList<GridColumn<Row>> columns = [];
    private IReadOnlyList<Endpoint> served = [];
    private IReadOnlyList<(int? Version, AuditLine Line)> story = [];
    private IReadOnlyList<AuditLine> aliasStory = [];
    private IReadOnlyList<string> metricKeys = [];
    private IReadOnlyList<Curve> curve = [];
    private IReadOnlyList<ChartMark> marks = [];
    private HashSet<int> granted = [];
    private Difference? difference;
    private bool mayAlias;
    private bool mayProtected;
    private bool mayRoll;
    private string? readFor;

    /// <summary>A version with what stands around it.</summary>
    private sealed record Row(ModelVersion Version, GateRequest? Gate, IReadOnlyList<Endpoint> Live, string? RunName, IReadOnlyDictionary<string, double> Metrics);

    /// <summary>The model's name.</summary>
    [Parameter]
    public string Name { get; set; } = "";

    /// <summary>The first version of the comparison.</summary>
    [SupplyParameterFromQuery(Name = "a")]
    public int? AskedA { get; set; }

    /// <summary>The second version of the comparison.</summary>
    [SupplyParameterFromQuery(Name = "b")]
    public int? AskedB { get; set; }

    /// <summary>The metric over versions.</summary>
    [SupplyParameterFromQuery(Name = "metric")]
    public string? Metric { get; set; }

    /// <summary>The version of the timeline.</summary>
    [SupplyParameterFromQuery(Name = "of")]
    public string? Of { get; set; }

    /// <summary>The form that is open: <c>alias</c> or <c>rollout</c>.</summary>
    [SupplyParameterFromQuery(Name = "act")]
    public string? Act { get; set; }

    [Inject]
    internal Models Models { get; set; } = null!;

    [Inject]
    internal Runs Runs { get; set; } = null!;

    [Inject]
    internal Endpoints Endpoints { get; set; } = null!;

    [Inject]
    internal Rollouts Rollouts { get; set; } = null!;

    [Inject]
    internal Gates Gates { get; set; } = null!;

    [Inject]
    internal Audit Audit { get; set; } = null!;

    [Inject]
    internal Datasets Datasets { get; set; } = null!;

    internal override string Permission => Permissions.ModelRead;

    /// <inheritdoc/>
    protected override IReadOnlyList<string> RefreshedBy => ["model.", "version.", "alias.", "endpoint.", "gate.", "approval.", "rollout.", "alert."];

    private string A => (AskedA ?? rows[0].Version.Version).ToString(CultureInfo.InvariantCulture);

    private string B => AskedB?.ToString(CultureInfo.InvariantCulture) ?? "";

    private string? ShownMetric => Metric is { } asked && metricKeys.Contains(asked, StringComparer.Ordinal) ? asked : metricKeys.OrderBy(k => RunsPage.IsTelling(k) ? 0 : 1).FirstOrDefault();

    private string? AliasBlocked => rows.Count == 0 ? "The model has no version to point at." : mayAlias ? null : $"It needs the right {Permissions.AliasSet}.";

    private string? RolloutBlocked => rows.Count == 0 ? "The model has no version to roll out."
        : !mayRoll ? $"It needs the right {Permissions.DeploymentCreate}."
        : served.Count == 0 ? $"No endpoint serves this model yet: slipway endpoint create NAME {Name}/{rows[0].Version.Version}" : null;

    /// <inheritdoc/>
    protected override async Task LoadAsync(CancellationToken ct)
    {
        if (model?.Name != Name || readFor == Navigation.Uri)
            await ReadAsync(ct);
        readFor = Navigation.Uri;
        columns = Columns();
        curve = ShownMetric is not { } key ? [] :
        [
            new Curve("versions", key, Look.Series(0), [.. rows.Where(r => r.Metrics.ContainsKey(key)).Select(r => new SeriesPoint(r.Version.Version, r.Metrics[key], 0)).OrderBy(p => p.X)], []),
        ];
        difference = AskedB is { } b && rows.Count > 0 ? await DifferenceAsync(int.Parse(A, CultureInfo.InvariantCulture), b, ct) : null;
    }

    private async Task ReadAsync(CancellationToken ct)
    {
        model = await Models.GetAsync(Name, ct);
        policy = model.Tags.FirstOrDefault(t => t.Key == Models.PolicyTag)?.Value;
        mayAlias = await Access.AllowsAsync(Actor, Permissions.AliasSet, ct);
        mayProtected = await Access.AllowsAsync(Actor, Permissions.AliasSetProtected, ct);
        mayRoll = await Access.AllowsAsync(Actor, Permissions.DeploymentCreate, ct);
        var endpoints = await Endpoints.ListAsync(ct);
        served = [.. endpoints.Where(e => e.ModelVersion.StartsWith(Name + "/", StringComparison.Ordinal))];
        var versions = (await Models.ListVersionsAsync(Name, ct)).OrderByDescending(v => v.Version).ToList();
        var runIds = versions.Take(MostVersionsRead).Select(v => v.RunId).OfType<string>().Distinct(StringComparer.Ordinal).ToList();
        var (names, values) = await MetricsAsync(runIds, ct);
        var list = new List<Row>();
        foreach (var version in versions)
        {
            var gate = list.Count < MostTold ? (await Gates.ListAsync(version.Subject.ToString(), null, ct)).MaxBy(g => g.RequestedAt) : null;
            list.Add(new Row(
                version, gate, [.. endpoints.Where(e => e.Route.Variants.Any(v => v.ModelVersion == $"{version.Name}/{version.Version}"))],
                version.RunId is { } id ? names.GetValueOrDefault(id) : null, version.RunId is { } of && values.TryGetValue(of, out var own) ? own : new Dictionary<string, double>()));
        }

        rows = list;
        granted = [.. rows.Where(r => r.Gate is { State: GateRequest.Granted } g && (policy is null || g.Policy == policy)).Select(r => r.Version.Version)];
        await TellAsync(ct);
    }

    /// <summary>Names and last metrics of the source runs, in one question.</summary>
    private async Task<(Dictionary<string, string> Names, Dictionary<string, IReadOnlyDictionary<string, double>> Values)> MetricsAsync(IReadOnlyList<string> runIds, CancellationToken ct)
    {
        var heads = await Runs.LinesAsync(runIds, [], ct);
        var keys = heads.Count == 0 ? new RunKeys([], [], []) : await Runs.KeysAsync([.. heads.Select(h => h.ExperimentId).Distinct(StringComparer.Ordinal)], ct);
        RunColumn[] asked = [.. keys.Metrics.Take(300).Select(k => new RunColumn(RunColumnKind.Metric, k))];
        var lines = await Runs.LinesAsync(runIds, asked, ct);
        metricKeys = [.. asked.Where((_, i) => lines.Any(l => l.Cells[i].Number is { } n && double.IsFinite(n))).Select(c => c.Key)];
        var values = new Dictionary<string, IReadOnlyDictionary<string, double>>(StringComparer.Ordinal);
        foreach (var line in lines)
        {
            values[line.Id] = asked.Select((c, i) => (c.Key, line.Cells[i].Number)).Where(c => c.Number is { } n && double.IsFinite(n)).ToDictionary(c => c.Key, c => c.Number!.Value, StringComparer.Ordinal);
        }

        return (heads.ToDictionary(h => h.Id, h => h.Name, StringComparer.Ordinal), values);
    }

    private async Task TellAsync(CancellationToken ct)
    {
        var told = new List<(int?, AuditLine)>();
        var marked = new List<ChartMark>();
        foreach (var row in rows.Take(MostTold))
        {
            foreach (var line in (await Audit.ListAsync(new JournalFilter { Subject = row.Version.Subject.ToString(), Limit = 20 }, ct)).Items)
            {
                told.Add((row.Version.Version, line));
                if (line.Entry.Kind is "rollout.started")
                    marked.Add(new ChartMark(row.Version.Version, "rollout", "--accent"));
                else if (line.Entry.Kind is "alert.fired")
                    marked.Add(new ChartMark(row.Version.Version, "alert", "--bad"));
            }
        }

        var own = (await Audit.ListAsync(new JournalFilter { Subject = model!.Subject.ToString(), Limit = 60 }, ct)).Items;
        aliasStory = [.. own.Where(l => l.Entry.Kind.StartsWith("alias.", StringComparison.Ordinal)).Take(12)];
        told.AddRange(own.Where(l => l.Entry.Kind.StartsWith("model.", StringComparison.Ordinal)).Select(l => ((int?)null, l)));
        story = [.. told.Where(t => t.Item2.Entry.Kind is not ("endpoint.changed" or "prediction.batch")).DistinctBy(t => (t.Item1, t.Item2.Entry.Seq))];
        marks = [.. marked.DistinctBy(m => (m.X, m.Name)).GroupBy(m => m.X).Select(g => new ChartMark(g.Key, string.Join(", ", g.Select(m => m.Name)), g.Any(m => m.Tone == "--bad") ? "--bad" : g.First().Tone))];
    }

    private IEnumerable<(int? Version, IReadOnlyList<AuditLine> Lines)> Told()
    {
        var only = int.TryParse(Of, CultureInfo.InvariantCulture, out var n) ? n : (int?)null;
        foreach (var group in story.Where(s => only is null || s.Version == only).GroupBy(s => s.Version).OrderByDescending(g => g.Key ?? -1))
            yield return (group.Key, [.. group.Select(g => g.Line).OrderByDescending(l => l.Entry.Seq).Take(only is null ? 6 : 20)]);
    }

    private async Task<Difference?> DifferenceAsync(int a, int b, CancellationToken ct)
    {
        var (one, two) = (rows.FirstOrDefault(r => r.Version.Version == a), rows.FirstOrDefault(r => r.Version.Version == b));
        if (one is null || two is null || a == b)
            return null;
        var (first, second) = (await FindRunAsync(one.Version.RunId, ct), await FindRunAsync(two.Version.RunId, ct));
        return Difference.Between(one.Version, two.Version, first, second, await DataAsync(first, second, ct));
    }

    private async Task<Run?> FindRunAsync(string? id, CancellationToken ct)
    {
        if (id is null)
            return null;
        try
        {
            return await Runs.GetAsync(id, ct);
        }
        catch (SlipwayException e) when (e.Code == ErrorCode.NotFound)
        {
            // The run may have been purged since; the version stays.
            return null;
        }
    }

    /// <summary>Datasets that both runs read, by name: how the versions that they read differ.</summary>
    private async Task<IReadOnlyList<(string Dataset, DatasetDiff Diff)>> DataAsync(Run? first, Run? second, CancellationToken ct)
    {
        var found = new List<(string, DatasetDiff)>();
        var (one, two) = (VersionsOf(first), VersionsOf(second));
        foreach (var (dataset, from) in one)
        {
            if (two.TryGetValue(dataset, out var to) && from != to)
                found.Add((dataset, await Datasets.DiffAsync(dataset, from, to, ct)));
        }

        return found;
    }

    private static Dictionary<string, string> VersionsOf(Run? run)
    {
        var versions = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var input in run?.Inputs.Where(i => i.SourceType == DatasetInput.SlipwaySource) ?? [])
        {
            var name = Subject.Parse(input.Source).Name;
            var slash = name.LastIndexOf('/');
            versions.TryAdd(name[..slash], name[(slash + 1)..]);
        }

        return versions;
    }

    private Task MoveAsync((string Alias, int Version) to) => ActAsync(
        async () =>
        {
            await Access.DemandAsync(Actor, Permissions.AliasSet, model!.Subject, Closed);
            await Models.SetAliasAsync(Actor, Name, to.Alias, to.Version, Closed);
            Navigation.Remember(values: ("act", null));
        },
        $"{to.Alias} points at version {to.Version}");

    private Task ProposeAsync(ProposeRollout request) => ActAsync(
        async () =>
        {
            await Access.DemandAsync(Actor, Permissions.DeploymentCreate, new Subject("endpoint", request.Endpoint), Closed);
            var rollout = await Rollouts.ProposeAsync(Actor, request, Closed);
            Navigation.NavigateTo($"endpoints/{UrlState.Segment(rollout.Endpoint)}");
        },
        $"The rollout of {request.Candidate} is proposed");

    private string Link(int version) => FormattableString.Invariant($"models/{UrlState.Segment(Name)}/{version}");
}
