using System.Reflection;
using System.Text.RegularExpressions;
using System.Xml.Linq;

namespace Slipway.Architecture;

/// <summary>
/// The rules as functions from what is looked at to what breaks them. A test runs each on the product, where it finds
/// nothing, and on a fixture with a planted violation, where it must find that.
/// </summary>
internal static partial class Rules
{
    /// <summary>A source file: its module, its path below the module, its text.</summary>
    public sealed record Source(string Module, string Path, string Text);

    /// <summary>Rule 1. References point left.</summary>
    public static IEnumerable<string> ReferencesPointLeft(string project, string xml)
    {
        var from = Line.IndexOf(project);
        foreach (var reference in XDocument.Parse(xml).Descendants("ProjectReference").Select(r => (string)r.Attribute("Include")!))
        {
            var to = System.IO.Path.GetFileNameWithoutExtension(reference.Replace('\\', '/'))["Slipway.".Length..];
            if (Line.IndexOf(to) < 0 || Line.IndexOf(to) >= from)
            {
                yield return $"{project} references {to}";
            }
        }
    }

    /// <summary>Rule 2. Facts flow right: who subscribes to a kind stands right of who says it, or is the owner itself.</summary>
    public static IEnumerable<string> FactsFlowRight(IReadOnlyCollection<Source> sources)
    {
        var owners = sources.SelectMany(s => KindsSaid(s).Select(kind => (kind, s.Module))).GroupBy(k => k.kind).ToDictionary(g => g.Key, g => g.Select(k => k.Module).Distinct().ToList());
        foreach (var source in sources)
        {
            foreach (var kind in Subscribed(source.Text))
            {
                foreach (var owner in owners.GetValueOrDefault(kind, []))
                {
                    if (Line.IndexOf(owner) > Line.IndexOf(source.Module))
                    {
                        yield return $"{source.Module} ({source.Path}) subscribes to {kind} of {owner}, which stands to its right";
                    }
                }
            }
        }
    }

    /// <summary>Rule 3. Tables have one owner: SQL names only the tables of its own module.</summary>
    public static IEnumerable<string> TablesHaveOneOwner(Source source)
    {
        var own = Line.TablePrefixes(source.Module);
        foreach (Match match in Table().Matches(source.Text))
        {
            var table = match.Groups["table"].Value;
            if (!own.Any(p => table.StartsWith(p, StringComparison.Ordinal)))
            {
                yield return $"{source.Module} ({source.Path}) names the table {table}";
            }
        }
    }

    /// <summary>Rule 4. No protocol inside a module, and no cluster package outside Scale.</summary>
    public static IEnumerable<string> NoProtocolInside(string project, string xml)
    {
        var names = XDocument.Parse(xml).Descendants().Where(e => e.Name.LocalName is "PackageReference" or "FrameworkReference").Select(e => (string)e.Attribute("Include")!).ToList();
        return names
            .Where(n => (Line.Modules.Contains(project) && Line.Protocols.Any(p => n.StartsWith(p, StringComparison.Ordinal)))
                || (project != "Scale" && Line.ScaleOnly.Any(p => n.StartsWith(p, StringComparison.Ordinal))))
            .Select(n => $"{project} references {n}");
    }

    /// <summary>Rule 5. Grains are internal.</summary>
    public static IEnumerable<string> GrainsAreInternal(IEnumerable<Type> types) => types
        .Where(t => t.IsVisible && (typeof(IGrain).IsAssignableFrom(t) || typeof(Grain).IsAssignableFrom(t)) && t.Assembly != typeof(IGrain).Assembly)
        .Select(t => $"{t.FullName} is public");

    /// <summary>Rule 7. A public interface has two or more implementations, or a written reason.</summary>
    public static IEnumerable<string> InterfacesEarnTheirPlace(IReadOnlyCollection<Type> types) => types
        .Where(t => t.IsInterface && t.IsVisible && !Line.LoneInterfaces.ContainsKey(t.FullName!))
        .Where(t => types.Count(c => c is { IsClass: true, IsAbstract: false } && t.IsAssignableFrom(c)) < 2)
        .Select(t => $"{t.FullName} has fewer than two implementations");

    /// <summary>Rule 8. What is persisted only grows: a kind once written is never dropped or renamed.</summary>
    public static IEnumerable<string> KindsOnlyGrow(IEnumerable<string> contract, IEnumerable<string> said)
    {
        var old = contract.ToHashSet(StringComparer.Ordinal);
        var now = said.ToHashSet(StringComparer.Ordinal);
        return [.. old.Except(now).Select(k => $"{k} is no longer written"), .. now.Except(old).Select(k => $"{k} is new: add it to EventContracts.txt")];
    }

    /// <summary>Rule 11. Time and identity are injected: the ban is lifted only where ids are minted.</summary>
    public static IEnumerable<string> BansHold(Source source) =>
        source.Text.Contains("disable RS0030", StringComparison.Ordinal) && source is not { Module: "Foundation", Path: "Ids.cs" } ? [$"{source.Module}/{source.Path} lifts a ban"] : [];

    /// <summary>Rule 12. Mutations are attributed, and what is asynchronous can be cancelled.</summary>
    public static IEnumerable<string> MutationsAreAttributed(IEnumerable<Type> types)
    {
        foreach (var method in types.Where(t => t is { IsVisible: true, IsInterface: false } && !typeof(Delegate).IsAssignableFrom(t)).SelectMany(t => t.GetMethods(BindingFlags.Public | BindingFlags.Instance | BindingFlags.DeclaredOnly)))
        {
            if (!typeof(Task).IsAssignableFrom(method.ReturnType) || !method.Name.EndsWith("Async", StringComparison.Ordinal))
            {
                continue;
            }

            var parameters = method.GetParameters();
            var name = $"{method.DeclaringType!.FullName}.{method.Name}";
            if (Mutation().IsMatch(method.Name) && !Line.Unattributed.ContainsKey(name) && parameters.All(p => p.ParameterType != typeof(Foundation.Actor) && p.ParameterType != typeof(Foundation.Tx)))
            {
                yield return $"{name} writes without an actor";
            }

            if (parameters.Length > 0 && parameters.All(p => p.ParameterType != typeof(CancellationToken)) && method.DeclaringType.Assembly != typeof(Foundation.Actor).Assembly && method.DeclaringType.GetInterfaces().All(i => i.Namespace?.StartsWith("System", StringComparison.Ordinal) != true || i == typeof(IDisposable) || i == typeof(IAsyncDisposable)))
            {
                yield return $"{name} cannot be cancelled";
            }
        }
    }

    /// <summary>Rule 14. The hot path knows no grain, no database and no lock.</summary>
    public static IEnumerable<string> HotPathIsBare(Source source) =>
        HotPath().Matches(Comment().Replace(source.Text, "")).Select(m => $"{source.Module}/{source.Path} uses {m.Value}");

    /// <summary>The kinds that a source writes: given literally to the journal, or named in its module's Events.cs.</summary>
    public static IEnumerable<string> KindsSaid(Source source) => Append().Matches(source.Text).Select(m => m.Groups["kind"].Value)
        .Concat(source.Path == "Events.cs" ? ConstantKind().Matches(source.Text).Select(m => m.Groups["kind"].Value) : []);

    private static IEnumerable<string> Subscribed(string text) => Subscription().Matches(text).SelectMany(m => Quoted().Matches(m.Groups["kinds"].Value)).Select(m => m.Groups["kind"].Value);

    [GeneratedRegex(@"(?:FROM|JOIN|INTO|UPDATE|TABLE|ON)\s+(?:IF NOT EXISTS\s+)?(?<table>(?:journal|foundation|governance|data|registry|monitoring|serving|pipelines)_[a-z_]+)")]
    private static partial Regex Table();

    [GeneratedRegex(@"AppendAsync\(\s*tx,[^;""]*?""(?<kind>[a-z][a-z-]*\.[a-z_-]+)""", RegexOptions.Singleline)]
    private static partial Regex Append();

    [GeneratedRegex(@"const string \w+ = ""(?<kind>[a-z][a-z-]*\.[a-z][a-z_-]*ed|prediction\.batch)""")]
    private static partial Regex ConstantKind();

    [GeneratedRegex(@"AddSubscription<\w+>\(\s*""[^""]+"",\s*Delivery\.\w+,\s*\[(?<kinds>[^\]]*)\]", RegexOptions.Singleline)]
    private static partial Regex Subscription();

    [GeneratedRegex(@"""(?<kind>[^""]+)""")]
    private static partial Regex Quoted();

    [GeneratedRegex(@"//[^\n]*|""(?:\\.|[^""\\\n])*""")]
    private static partial Regex Comment();

    [GeneratedRegex("^(Create|Update|Delete|Purge|Set|Apply|Register|Commit|Tag|Pin|LogBatch|LogMetric|LogParam|LogInput|LogModel|Finish|Put|Decide|Request|Propose|Start|Pause|Resume|Promote|Abort|Watch|Acknowledge|Revoke|Restore)[A-Z]?")]
    private static partial Regex Mutation();

    [GeneratedRegex(@"\b(?:Database|IGrainFactory|Orleans)\b|\block\s*\(")]
    private static partial Regex HotPath();
}
