using Slipway.Foundation;
using static Slipway.Governance.Permissions;

namespace Slipway.Governance;

/// <summary>
/// The built-in roles: what each may do, and what nobody who holds it may do through any other role.
/// The exclusions are checked on the union of all roles a user holds, so that two harmless roles cannot add up to a toxic one.
/// </summary>
public static class Roles
{
    /// <summary>Everything. Held by the operating-system user of a single-user server and by the first user of a shared one; separation of duties still applies to it.</summary>
    public const string Owner = "owner";
    public const string Viewer = "viewer";
    public const string DataScientist = "data-scientist";
    public const string DataSteward = "data-steward";
    public const string MLEngineer = "ml-engineer";
    public const string Validator = "validator";
    public const string RiskOfficer = "risk-officer";
    public const string PolicyAuthorRole = "policy-author";
    public const string PolicyActivatorRole = "policy-activator";
    public const string Auditor = "auditor";
    public const string PrivacyOfficer = "privacy-officer";
    public const string Admin = "admin";
    public const string Deployer = "deployer";
    public const string Trainer = "trainer";
    public const string Monitor = "monitor";

    private sealed record Role(string[] May, string[] MustNot);

    private static readonly string[] Reads = [ModelRead, VersionRead, DatasetRead, RunRead, EndpointRead, PredictionLogRead, ComplianceRead];
    private static readonly string[] NeverForServices = [ApprovalGrant, GateWaive, IamManage];

    private static readonly Dictionary<string, Role> Table = new(StringComparer.Ordinal)
    {
        [Owner] = new([.. Permissions.All], []),
        [Viewer] = new(Reads, []),
        [DataScientist] = new([.. Reads, RunWrite, PipelineRun, DatasetWrite, ModelCreate, ModelUpdate, ModelDelete, VersionCreate, VersionSubmit, VersionDownload, AliasSet, CardEdit, GateRun, Predict, LabelWrite], []),
        [DataSteward] = new([.. Reads, DatasetTag, DatasetReadPii, SubjectSearch, SubjectExport, SubjectErase], [DeploymentCreate]),
        [MLEngineer] = new([.. Reads, EndpointCreate, DeploymentCreate, DeploymentRollback, DeploymentStop, AliasSetProtected, VersionDownload, VersionSuspend, Predict, PredictionLogReadRaw, LabelWrite, PipelineRun, WebhookManage, EmergencyInvoke], [ApprovalGrant, Permissions.PolicyAuthor, PolicyActivate]),
        [Validator] = new([.. Reads, VersionDownload, GateRun, ApprovalGrant, CardEdit], []),
        [RiskOfficer] = new([.. Reads, ApprovalGrant, ApprovalDelegate, TierSet, GateWaive, EmergencyReview, VersionSuspend], [VersionCreate, DeploymentCreate]),
        [PolicyAuthorRole] = new([.. Reads, Permissions.PolicyAuthor], [PolicyActivate]),
        [PolicyActivatorRole] = new([.. Reads, PolicyActivate], [Permissions.PolicyAuthor]),
        [Auditor] = new([.. Reads, AuditRead, AuditExport], [.. Permissions.All.Where(p => !IsRead(p))]),
        [PrivacyOfficer] = new([.. Reads, DatasetTag, SubjectSearch, SubjectExport, SubjectErase, ComplianceAttest], [DeploymentCreate]),
        [Admin] = new([.. Reads, AuditRead, IamManage, ConfigManage, WebhookManage, KeyManage, SecretManage], [ApprovalGrant, GateWaive]),
        [Deployer] = new([ModelRead, VersionRead, VersionDownload, EndpointRead, EndpointCreate, DeploymentCreate, DeploymentRollback, DeploymentStop], NeverForServices),
        [Trainer] = new([DatasetRead, RunRead, RunWrite, ModelRead, ModelCreate, ModelUpdate, VersionRead, VersionCreate, VersionSubmit, VersionDownload, GateRun], NeverForServices),
        [Monitor] = new([EndpointRead, PredictionLogRead, LabelWrite, DatasetRead, ModelRead, VersionRead], NeverForServices),
    };

    /// <summary>The names of all built-in roles, sorted.</summary>
    public static IReadOnlyList<string> All { get; } = [.. Table.Keys.Order(StringComparer.Ordinal)];

    /// <summary>What a holder of these roles may do: the union.</summary>
    /// <exception cref="SlipwayException"><see cref="ErrorCode.InvalidArgument"/> for a role that does not exist.</exception>
    public static IReadOnlySet<string> PermissionsOf(IEnumerable<string> roles)
    {
        var all = new HashSet<string>(StringComparer.Ordinal);
        foreach (var role in roles) all.UnionWith(Get(role).May);
        return all;
    }

    /// <summary>Refuses unknown roles and combinations in which one role grants what another excludes.</summary>
    /// <exception cref="SlipwayException"><see cref="ErrorCode.InvalidArgument"/> for an unknown role, <see cref="ErrorCode.PreconditionFailed"/> for a toxic combination.</exception>
    public static void DemandSound(IReadOnlyCollection<string> roles)
    {
        var granted = PermissionsOf(roles);
        foreach (var role in roles)
        {
            var toxic = Get(role).MustNot.Where(granted.Contains).ToList();
            if (toxic.Count > 0)
                throw new SlipwayException(ErrorCode.PreconditionFailed, $"the roles {string.Join(", ", roles)} cannot be held together",
                    $"{role} excludes {string.Join(", ", toxic)}, which another of these roles grants", "give the roles to different people");
        }
    }

    /// <summary>Refuses roles that a service account may never hold: it cannot approve, waive or manage identities.</summary>
    /// <exception cref="SlipwayException"><see cref="ErrorCode.PreconditionFailed"/>.</exception>
    internal static void DemandForService(IReadOnlyCollection<string> roles)
    {
        var toxic = PermissionsOf(roles).Intersect(NeverForServices, StringComparer.Ordinal).Order(StringComparer.Ordinal).ToList();
        if (toxic.Count > 0)
            throw new SlipwayException(ErrorCode.PreconditionFailed, $"a service account cannot hold the roles {string.Join(", ", roles)}", $"they grant {string.Join(", ", toxic)}, which only people may have", "use deployer, trainer or monitor");
    }

    private static Role Get(string role) => Table.TryGetValue(role, out var found)
        ? found
        : throw new SlipwayException(ErrorCode.InvalidArgument, $"there is no role '{role}'", Nearest.Hint(role, All), "use one of: " + string.Join(", ", All));
}
