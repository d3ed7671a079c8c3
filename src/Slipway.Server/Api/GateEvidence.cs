using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Registry;

namespace Slipway.Server.Api;

/// <summary>
/// The evidence of a gate request that comes in from outside. The server gathers it from its own records: a caller who could
/// bring the numbers could bring better ones.
/// </summary>
internal static class GateEvidence
{
    private const string Champion = "champion";

    /// <summary>What the registry knows of a model version, and who made it.</summary>
    /// <exception cref="SlipwayException">InvalidArgument for anything but a model version; NotFound.</exception>
    public static async Task<(Evidence Evidence, IReadOnlyList<string> Authors)> OfAsync(Call c, Subject subject)
    {
        if (subject.Kind != "model-version")
        {
            throw new SlipwayException(ErrorCode.InvalidArgument, $"no gate can be asked for {subject}", $"a gate is for a model version, not for a {subject.Kind}", "slipway gate request MODEL/VERSION --policy NAME");
        }

        var version = await c.Of<Models>().ResolveAsync(subject.Name, c.Stop);
        var facts = new SortedDictionary<string, string>(StringComparer.Ordinal) { ["model_version"] = $"{version.Name}/{version.Version}" };
        var links = new List<Subject>();
        var authors = new List<string> { version.CreatedBy };
        if (version.RunId is { } id)
        {
            var run = await c.Of<Runs>().GetAsync(id, c.Stop);
            links.Add(run.Subject);
            authors.Add(run.UserId);
            facts["run"] = run.Id;
            foreach (var metric in run.Metrics)
            {
                facts[$"metrics.{metric.Key.Replace(' ', '_')}"] = Evidence.Number(metric.Value);
            }

            links.AddRange(run.Inputs.Where(i => i.SourceType == DatasetInput.SlipwaySource).Select(i => Subject.Parse(i.Source)));
        }

        await AddChampionAsync(c, version, facts, links);
        return (new Evidence(facts, [.. links.Distinct()]), [.. authors.Where(a => a.Length > 0).Distinct(StringComparer.Ordinal)]);
    }

    // The champion is named, but its stored metrics are of other data and another time: a rule that compares finds no fact, and
    // does not pass. The gate step of a pipeline measures both on the same rows.
    private static async Task AddChampionAsync(Call c, ModelVersion version, SortedDictionary<string, string> facts, List<Subject> links)
    {
        var alias = (await c.Of<Models>().GetAsync(version.Name, c.Stop)).Aliases.FirstOrDefault(a => a.Alias == Champion);
        facts[Champion] = alias is null || alias.Version == version.Version ? "none" : $"{version.Name}/{alias.Version}";
        if (facts[Champion] != "none")
        {
            links.Add(new Subject("model-version", facts[Champion]));
        }
    }
}
