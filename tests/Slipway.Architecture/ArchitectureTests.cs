using System.Reflection;
using Slipway.Foundation;
using Slipway.Server;

namespace Slipway.Architecture;

public sealed class ArchitectureTests
{
    private static readonly string Root = FindRoot();
    private static readonly Assembly[] Assemblies = [.. Line.Modules.Select(m => Assembly.Load($"Slipway.{m}"))];
    private static readonly Type[] Types = [.. Assemblies.SelectMany(a => a.GetTypes())];
    private static readonly Rules.Source[] Sources = [.. Line.Modules.SelectMany(m => Directory.EnumerateFiles(Path.Combine(Root, "src", $"Slipway.{m}"), "*", SearchOption.AllDirectories)
        .Where(f => f.EndsWith(".cs", StringComparison.Ordinal) || f.EndsWith(".sql", StringComparison.Ordinal))
        .Select(f => new Rules.Source(m, Path.GetRelativePath(Path.Combine(Root, "src", $"Slipway.{m}"), f).Replace('\\', '/'), File.ReadAllText(f))))];

    [Fact]
    public void References_point_left() => Holds(
        Line.All.SelectMany(p => Rules.ReferencesPointLeft(p, Project(p))),
        Rules.ReferencesPointLeft("Data", """<Project><ItemGroup><ProjectReference Include="../Slipway.Serving/Slipway.Serving.csproj" /></ItemGroup></Project>"""));

    [Fact]
    public void Facts_flow_right() => Holds(
        Rules.FactsFlowRight(Sources),
        Rules.FactsFlowRight(
        [
            new("Serving", "Rollouts.cs", """await journal.AppendAsync(tx, actor, "rollout.stepped", subject);"""),
            new("Data", "DataModule.cs", """services.AddSubscription<Datasets>("data", Delivery.Once, ["rollout.stepped"], null);"""),
        ]));

    [Fact]
    public void Tables_have_one_owner() => Holds(
        Sources.SelectMany(Rules.TablesHaveOneOwner),
        Rules.TablesHaveOneOwner(new("Monitoring", "Monitors.cs", "SELECT * FROM serving_endpoints")));

    [Fact]
    public void No_protocol_inside() => Holds(
        Line.All.SelectMany(p => Rules.NoProtocolInside(p, Project(p))),
        Rules.NoProtocolInside("Registry", """<Project><ItemGroup><FrameworkReference Include="Microsoft.AspNetCore.App" /></ItemGroup></Project>"""));

    [Fact]
    public void Grains_are_internal() => Holds(Rules.GrainsAreInternal(Types), Rules.GrainsAreInternal([typeof(Fixtures.PublicGrain)]));

    [Fact]
    public void Interfaces_earn_their_place() => Holds(Rules.InterfacesEarnTheirPlace(Types), Rules.InterfacesEarnTheirPlace([typeof(Fixtures.ILonely), typeof(Fixtures.Lonely)]));

    [Fact]
    public void Public_surface_is_reviewed()
    {
        var changed = new List<string>();
        foreach (var assembly in Assemblies)
        {
            var module = assembly.GetName().Name!["Slipway.".Length..];
            changed.AddRange(Snapshot(Path.Combine("PublicApi", $"{module}.txt"), PublicApi.Of(assembly)));
        }

        Assert.Empty(changed);
        Assert.NotEqual(PublicApi.Of(typeof(Fixtures).Assembly), []);
    }

    [Fact]
    public void Journal_kinds_only_grow() => Holds(
        Rules.KindsOnlyGrow(Contract(), Sources.SelectMany(s => Rules.KindsSaid(s))),
        Rules.KindsOnlyGrow(["alert.fired"], ["alert.fired2"]));

    [Fact]
    public void Time_and_identity_are_injected() => Holds(Sources.SelectMany(Rules.BansHold), Rules.BansHold(new("Data", "Datasets.cs", "#pragma warning disable RS0030")));

    [Fact]
    public void Mutations_are_attributed() => Holds(Rules.MutationsAreAttributed(Types), Rules.MutationsAreAttributed([typeof(Fixtures.Things)]));

    [Fact]
    public void Hot_path_is_bare() => Holds(
        Sources.Where(s => s is { Module: "Serving" } && HotFiles.Contains(s.Path)).SelectMany(Rules.HotPathIsBare),
        Rules.HotPathIsBare(new("Serving", "Routing/Picker.cs", "private readonly Database database;")));

    [Fact]
    public void Errors_are_mapped()
    {
        foreach (var code in Enum.GetValues<ErrorCode>())
        {
            var row = Errors.Of(code);
            Assert.InRange(row.Status, 400, 599);
            Assert.InRange(row.Exit, 1, 130);
            Assert.NotEmpty(row.Mlflow);
        }

        Assert.ThrowsAny<Exception>(() => Errors.Of((ErrorCode)999));
    }

    [Fact]
    public void The_hot_path_files_exist() => Assert.Empty(HotFiles.Except(Sources.Where(s => s.Module == "Serving").Select(s => s.Path)));

    private static readonly string[] HotFiles = ["Routing/Picker.cs", "Routing/RouteTable.cs", "Routing/Inference.cs", "Routing/SlotTable.cs", "Runtimes/OnnxRuntime.cs"];

    private static void Holds(IEnumerable<string> onTheProduct, IEnumerable<string> onTheFixture)
    {
        var broken = onTheProduct.ToList();
        Assert.True(broken.Count == 0, string.Join(Environment.NewLine, broken));
        Assert.NotEmpty(onTheFixture);
    }

    private static string Project(string name) => File.ReadAllText(Path.Combine(Root, "src", $"Slipway.{name}", $"Slipway.{name}.csproj"));

    private static string[] Contract()
    {
        var path = Path.Combine(Root, "tests", "Slipway.Architecture", "EventContracts.txt");
        if (Environment.GetEnvironmentVariable("SLIPWAY_UPDATE_SNAPSHOTS") == "1")
        {
            var old = File.Exists(path) ? File.ReadAllLines(path) : [];
            File.WriteAllLines(path, old.Union(Sources.SelectMany(s => Rules.KindsSaid(s))).Where(l => l.Length > 0).Distinct().Order(StringComparer.Ordinal));
        }

        return File.ReadAllLines(path);
    }

    private static IEnumerable<string> Snapshot(string file, IReadOnlyList<string> now)
    {
        var path = Path.Combine(Root, "tests", "Slipway.Architecture", file);
        if (Environment.GetEnvironmentVariable("SLIPWAY_UPDATE_SNAPSHOTS") == "1")
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            File.WriteAllLines(path, now);
        }

        var reviewed = File.Exists(path) ? File.ReadAllLines(path) : [];
        return [.. reviewed.Except(now).Select(l => $"- {file}: {l}"), .. now.Except(reviewed).Select(l => $"+ {file}: {l}")];
    }

    private static string FindRoot()
    {
        var folder = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(folder, "Slipway.slnx")))
        {
            folder = Path.GetDirectoryName(folder) ?? throw new InvalidOperationException("the tests do not run inside the repository");
        }

        return folder;
    }
}
