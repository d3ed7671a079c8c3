using System.Globalization;
using Slipway.Governance;
using Slipway.Monitoring;
using Slipway.Pipelines.Training;
using Slipway.Registry;

namespace Slipway.Pipelines.Steps;

/// <summary>
/// Collects the evidence for a version and asks the gate. Challenger and champion are scored now, on the same validation rows and by the same
/// code: a champion's stored metric is of other data and another time. A champion that cannot be scored leaves its facts out, and a missing
/// fact never passes.
/// </summary>
internal sealed class GateStep(Models models, Registry.Runs runs, Gates gates, RowReader rows, ModelScorer scorer) : IStep
{
    private static readonly string[] Scored = ["auc", "log_loss", "brier", "accuracy"];

    public string Kind => StepSpec.GateKind;

    public bool MakesVersion => false;

    public IEnumerable<string> Faults(StepSpec step, bool complete)
    {
        if (string.IsNullOrWhiteSpace(step.Read<GateParameters>().Policy))
        {
            yield return "it names no policy";
        }
    }

    public Task<StepSpec> PinAsync(StepSpec step, CancellationToken ct) => Task.FromResult(step);

    public async Task<StepResult> RunAsync(StepContext context, CancellationToken ct)
    {
        var p = context.Spec.Read<GateParameters>();
        var version = await models.ResolveAsync(context.VersionOr(p.ModelVersion), ct);
        var name = $"{version.Name}/{version.Version}";
        var facts = new SortedDictionary<string, string>(StringComparer.Ordinal) { ["model_version"] = name };
        var links = new List<Subject> { context.Run.Subject };
        await RunFactsAsync(version, facts, links, ct);
        if (context.Earlier.LastOrDefault(o => o.ModelVersion == name)?.Validation is { } validation)
        {
            await context.Report(null, null, $"Scoring {name} and its champion on the validation rows");
            await ScoreAsync(version, validation, p.Champion, facts, links, ct);
        }

        var request = await gates.RequestAsync(context.Actor, version.Subject, p.Policy, new Evidence(facts, links), context.Run.Authors, ct);
        var output = new StepOutput { ModelVersion = name, GateRequest = request.Id, Policy = p.Policy };
        return request.State == GateRequest.Denied
            ? new StepResult(output, $"{name} does not pass {p.Policy}: {string.Join("; ", request.Rules.Where(r => r.Outcome != RuleResult.Pass).Select(r => $"{r.Id}: {r.Why}"))}")
            : new StepResult(output);
    }

    private async Task RunFactsAsync(ModelVersion version, SortedDictionary<string, string> facts, List<Subject> links, CancellationToken ct)
    {
        if (version.RunId is not { } id)
        {
            return;
        }

        var run = await runs.GetAsync(id, ct);
        links.Add(run.Subject);
        facts["run"] = run.Id;
        foreach (var metric in run.Metrics)
        {
            facts[$"metrics.{metric.Key}"] = Evidence.Number(metric.Value);
        }

        if (run.Params.Where(v => v.Key == "shuffle_labels").Select(v => v.Value).FirstOrDefault() is { } shuffled)
        {
            facts["training.shuffled_labels"] = shuffled;
        }
    }

    private async Task ScoreAsync(ModelVersion version, RowSelection validation, string alias, SortedDictionary<string, string> facts, List<Subject> links, CancellationToken ct)
    {
        links.Add(new Subject("dataset-version", $"{validation.Dataset}/{validation.Version}"));
        facts["validation.dataset"] = $"{validation.Dataset}/{validation.Version}";
        facts["validation.from"] = TrainStep.At(validation.From);
        facts["validation.to"] = TrainStep.At(validation.To);
        var challenger = await MeasureAsync(version, validation, "", facts, ct);

        var champion = (await models.GetAsync(version.Name, ct)).Aliases.FirstOrDefault(a => a.Alias == alias);
        if (champion is null || champion.Version == version.Version)
        {
            facts["champion"] = "none";
            return;
        }

        var other = await models.GetVersionAsync(version.Name, champion.Version, ct);
        facts["champion"] = $"{other.Name}/{other.Version}";
        links.Add(other.Subject);
        try
        {
            facts["champion.saw_validation_rows"] = await SawAsync(other, validation, ct);
            if (await MeasureAsync(other, validation, "champion.", facts, ct) is { } theirs && challenger is not null)
            {
                var (difference, lower, upper) = challenger.Less(theirs);
                facts["champion.metrics.auc.difference"] = Evidence.Number(difference);
                facts["champion.metrics.auc.difference.ci_lower"] = Evidence.Number(lower);
                facts["champion.metrics.auc.difference.ci_upper"] = Evidence.Number(upper);
            }
        }
        catch (SlipwayException e) when (e.Code is ErrorCode.PreconditionFailed or ErrorCode.InvalidArgument)
        {
            facts["champion.unscored"] = e.Sentence;
        }
    }

    private async Task<DeLong?> MeasureAsync(ModelVersion version, RowSelection validation, string prefix, SortedDictionary<string, string> facts, CancellationToken ct)
    {
        var table = (await rows.ReadAsync(validation, ModelScorer.FeaturesOf(version), ct)).Table;
        var scores = await scorer.ScoreAsync(version, table, ct);
        ValidationMetrics m;
        try
        {
            m = ValidationMetrics.Of(scores, table.Labels);
        }
        catch (TrainingException e)
        {
            throw new SlipwayException(ErrorCode.PreconditionFailed, $"{version.Subject} cannot be measured", e.Message, inner: e);
        }

        double?[] values = [m.Auc, m.LogLoss, m.Brier, m.Accuracy];
        foreach (var (metric, value) in Scored.Zip(values))
        {
            // What the run logged is replaced also where nothing can be measured now.
            facts.Remove($"{prefix}metrics.{metric}");
            if (value is { } number)
            {
                facts[$"{prefix}metrics.{metric}"] = Evidence.Number(number);
            }

            facts[$"{prefix}metrics.{metric}.samples"] = m.Rows.ToString(CultureInfo.InvariantCulture);
            facts[$"{prefix}metrics.{metric}.dataset"] = validation.Digest;
        }

        var exact = DeLong.Of(Array.ConvertAll(scores, score => (double)score), table.Labels);
        if (exact is not null)
        {
            var (lower, upper) = exact.Interval();
            facts[$"{prefix}metrics.auc.ci_lower"] = Evidence.Number(lower);
            facts[$"{prefix}metrics.auc.ci_upper"] = Evidence.Number(upper);
        }

        return exact;
    }

    /// <summary>Whether the champion was trained on time that the challenger is validated on; <c>unknown</c> where its run does not say.</summary>
    private async Task<string> SawAsync(ModelVersion champion, RowSelection validation, CancellationToken ct)
    {
        if (champion.RunId is not { } id)
        {
            return "unknown";
        }

        var parameters = (await runs.GetAsync(id, ct)).Params.ToDictionary(p => p.Key, p => p.Value, StringComparer.Ordinal);
        return Bound("from") is { } from && Bound("to") is { } to ? (from < validation.To && validation.From < to ? "true" : "false") : "unknown";

        DateTimeOffset? Bound(string key) => parameters.TryGetValue(key, out var text) && DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, out var at) ? at : null;
    }
}
