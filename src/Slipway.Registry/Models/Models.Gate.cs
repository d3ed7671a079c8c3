using Slipway.Governance;

namespace Slipway.Registry;

/// <summary>Names that mean "in production": they move only where the model's policy allows it.</summary>
public sealed partial class Models
{
    /// <summary>Tag of a model that names the policy of its protected aliases and stages.</summary>
    public const string PolicyTag = "slipway.policy";

    private static readonly HashSet<string> Protected = new(["champion", "production"], StringComparer.OrdinalIgnoreCase);

    /// <summary>Whether setting this alias, or moving to this stage, is a deployment-class action.</summary>
    public static bool IsProtected(string aliasOrStage) => Protected.Contains(aliasOrStage);

    private async Task GateAsync(Actor actor, string aliasOrStage, string name, int version, CancellationToken ct)
    {
        if (!IsProtected(aliasOrStage))
        {
            return;
        }

        await access.DemandAsync(actor, Permissions.AliasSetProtected, VersionSubject(name, version), ct);
        var policy = await database.ReadAsync(
            s => s.FindAsync<string>(
                "SELECT t.value FROM registry_model_tags t JOIN registry_models m ON m.id = t.model_id WHERE m.name = @name AND t.key = @PolicyTag",
                new { name, PolicyTag }),
            ct);
        if (!string.IsNullOrEmpty(policy))
        {
            await gates.DemandGrantedAsync(VersionSubject(name, version), policy, ct);
        }
    }
}
