using Microsoft.Extensions.DependencyInjection;
using Slipway.Foundation;

namespace Slipway.Governance;

/// <summary>Puts governance together.</summary>
public static class GovernanceModule
{
    /// <summary>Registers access, policies, gates, approvals, audit and lineage.</summary>
    /// <exception cref="SlipwayException"><see cref="ErrorCode.InvalidArgument"/> with every error of the options.</exception>
    public static IServiceCollection AddGovernance(this IServiceCollection services, GovernanceOptions? options = null)
    {
        options ??= new GovernanceOptions();
        if (options.Validate() is { Count: > 0 } errors) throw SlipwayException.Invalid("the governance options are wrong", string.Join("; ", errors));
        services.AddSingleton(options);
        services.AddSingleton(new MigrationSource(typeof(GovernanceModule).Assembly));
        // A denied or replaced request needs nothing; what was granted is evidence.
        services.AddSingleton(new SubjectHold("SELECT 'the ' || state || ' gate request ' || id AS holder, subject AS text FROM governance_requests WHERE state IN ('pending', 'granted')"));
        services.AddSingleton<Access>();
        services.AddSingleton<Policies>();
        services.AddSingleton<Gates>();
        services.AddSingleton<Approvals>();
        services.AddSingleton<Audit>();
        services.AddSingleton<Lineage>();
        // Another node's change to a user or key is forgotten here within one delivery.
        services.AddSubscription<Access>("governance-access", Delivery.EveryNode, ["user.created", "user.disabled", "apikey.revoked"], (access, _, _) =>
        {
            access.Forget();
            return Task.CompletedTask;
        });
        return services;
    }
}
