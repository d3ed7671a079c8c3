using Slipway.Registry;
using Slipway.Serving;

namespace Slipway.Pipelines.Steps;

/// <summary>Proposes the rollout; it waits for the gate and goes on by itself, after the pipeline run has ended.</summary>
internal sealed class ProposeRolloutStep(Models models, Rollouts rollouts) : IStep
{
    public string Kind => StepSpec.RolloutKind;

    public bool MakesVersion => false;

    public IEnumerable<string> Faults(StepSpec step, bool complete)
    {
        var p = step.Read<RolloutParameters>();
        return string.IsNullOrWhiteSpace(p.Endpoint) ? p.Plan().Faults().Prepend("it names no endpoint") : p.Plan().Faults();
    }

    public Task<StepSpec> PinAsync(StepSpec step, CancellationToken ct) => Task.FromResult(step);

    public async Task<StepResult> RunAsync(StepContext context, CancellationToken ct)
    {
        var p = context.Spec.Read<RolloutParameters>();
        var version = await models.ResolveAsync(context.VersionOr(p.ModelVersion), ct);
        var name = $"{version.Name}/{version.Version}";
        // An attempt that was interrupted may have proposed it already; a retried rollout of the same version is the same one.
        var rollout = (await rollouts.ListAsync(p.Endpoint, ct)).FirstOrDefault(r => r.Candidate == name && r.ProposedAt >= context.Run.CreatedAt)
            ?? await rollouts.ProposeAsync(context.Actor, new ProposeRollout { Endpoint = p.Endpoint, Candidate = name, Spec = p.Plan(), Policy = p.Policy }, ct);
        return new StepResult(new StepOutput { ModelVersion = name, Rollout = rollout.Id, Policy = rollout.Policy });
    }
}
