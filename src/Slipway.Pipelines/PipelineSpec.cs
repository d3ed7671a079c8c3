using System.Text.Json;
using System.Text.Json.Serialization;

namespace Slipway.Pipelines;

/// <summary>What a pipeline does: its steps, one after the other. A run pins the spec that was in force when it started.</summary>
/// <param name="Name">1 to 100 letters, digits, dots, dashes and underscores.</param>
/// <param name="Steps">1 to 20 steps with different names.</param>
public sealed record PipelineSpec(string Name, IReadOnlyList<StepSpec> Steps);

/// <summary>One step: what kind of work, and with which parameters.</summary>
/// <param name="Name">Unique in the pipeline; as a pipeline's name.</param>
/// <param name="Kind"><c>train</c>, <c>gate</c>, <c>propose-rollout</c> or <c>command</c>.</param>
/// <param name="With">The parameters of that kind as a JSON object; an unknown field is refused.</param>
public sealed record StepSpec(string Name, string Kind, JsonElement With)
{
    internal const string TrainKind = "train";
    internal const string GateKind = "gate";
    internal const string RolloutKind = "propose-rollout";
    internal const string CommandKind = "command";

    // A misspelt parameter must not become a default.
    private static readonly JsonSerializerOptions Strict = new(CanonicalJson.Options) { UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow };

    /// <summary>Trains a classifier with the built-in trainer and registers it.</summary>
    public static StepSpec Train(TrainParameters with, string name = TrainKind) => new(name, TrainKind, JsonOf(with));

    /// <summary>Asks a policy's gate to let the version of an earlier step pass.</summary>
    public static StepSpec Gate(GateParameters with, string name = GateKind) => new(name, GateKind, JsonOf(with));

    /// <summary>Proposes to roll the version of an earlier step out.</summary>
    public static StepSpec ProposeRollout(RolloutParameters with, string name = RolloutKind) => new(name, RolloutKind, JsonOf(with));

    /// <summary>Runs a command on the server's machine.</summary>
    public static StepSpec Command(CommandParameters with, string name = CommandKind) => new(name, CommandKind, JsonOf(with));

    internal static JsonElement JsonOf<T>(T value) => JsonSerializer.SerializeToElement(value, CanonicalJson.Options);

    /// <summary>The parameters as the kind's record.</summary>
    internal T Read<T>()
    {
        try
        {
            return With.Deserialize<T>(Strict) ?? throw new JsonException("the parameters are null");
        }
        catch (JsonException e)
        {
            throw new SlipwayException(ErrorCode.InvalidArgument, $"the parameters of step '{Name}' cannot be read", e.Message, "correct the step and apply the pipeline again", e);
        }
    }

    /// <summary>The step with some parameters replaced.</summary>
    internal StepSpec Override(IEnumerable<KeyValuePair<string, JsonElement>> values)
    {
        var merged = With.ValueKind == JsonValueKind.Object ? With.EnumerateObject().ToDictionary(p => p.Name, p => p.Value, StringComparer.Ordinal) : [];
        foreach (var (field, value) in values)
        {
            merged[field] = value;
        }

        return this with { With = JsonOf(merged) };
    }
}

/// <summary>A pipeline as it was applied; a changed spec makes the next version.</summary>
/// <param name="Spec">What it does.</param>
/// <param name="Version">1 for the first spec of that name, counting up.</param>
/// <param name="Digest">SHA-256 over the canonical spec.</param>
/// <param name="AppliedBy">The person who applied it.</param>
/// <param name="AppliedAt">UTC.</param>
public sealed record Pipeline(PipelineSpec Spec, int Version, string Digest, string AppliedBy, DateTimeOffset AppliedAt)
{
    /// <summary>Its name.</summary>
    public string Name => Spec.Name;

    /// <summary><c>pipeline:NAME</c>.</summary>
    public Subject Subject => new("pipeline", Name);
}
