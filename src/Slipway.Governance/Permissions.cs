namespace Slipway.Governance;

/// <summary>
/// Every permission of the product, verb by noun. A route names one of these; a role is a set of them.
/// The names are stored in journal bodies and role bindings, so the list may only grow.
/// </summary>
public static class Permissions
{
    public const string ModelRead = "model.read";
    public const string ModelCreate = "model.create";
    public const string ModelUpdate = "model.update";
    public const string ModelDelete = "model.delete";
    public const string VersionCreate = "version.create";
    public const string VersionRead = "version.read";
    public const string VersionDownload = "version.download";
    public const string VersionSubmit = "version.submit";
    public const string VersionDeprecate = "version.deprecate";
    public const string VersionRetire = "version.retire";
    public const string VersionSuspend = "version.suspend";
    public const string AliasSet = "alias.set";
    public const string AliasSetProtected = "alias.set.protected";

    public const string DatasetRead = "dataset.read";
    public const string DatasetWrite = "dataset.write";
    public const string DatasetTag = "dataset.tag";
    public const string DatasetReadPii = "dataset.read.pii";
    public const string SubjectSearch = "subject.search";
    public const string SubjectExport = "subject.export";
    public const string SubjectErase = "subject.erase";

    public const string RunRead = "run.read";
    public const string RunWrite = "run.write";
    public const string PipelineRun = "pipeline.run";

    public const string EndpointRead = "endpoint.read";
    public const string EndpointCreate = "endpoint.create";
    public const string DeploymentCreate = "deployment.create";
    public const string DeploymentRollback = "deployment.rollback";
    public const string DeploymentStop = "deployment.stop";
    public const string Predict = "predict";
    public const string PredictionLogRead = "predictionlog.read";
    public const string PredictionLogReadRaw = "predictionlog.read.raw";
    public const string LabelWrite = "label.write";

    public const string CardEdit = "card.edit";
    public const string GateRun = "gate.run";
    public const string GateWaive = "gate.waive";
    public const string ApprovalGrant = "approval.grant";
    public const string ApprovalDelegate = "approval.delegate";
    public const string EmergencyInvoke = "emergency.invoke";
    public const string EmergencyReview = "emergency.review";
    public const string PolicyAuthor = "policy.author";
    public const string PolicyActivate = "policy.activate";
    public const string TierSet = "tier.set";

    public const string AuditRead = "audit.read";
    public const string AuditExport = "audit.export";
    public const string ComplianceRead = "compliance.read";
    public const string ComplianceAttest = "compliance.attest";
    public const string IamManage = "iam.manage";
    public const string SecretUse = "secret.use";
    public const string SecretManage = "secret.manage";
    public const string KeyManage = "key.manage";
    public const string WebhookManage = "webhook.manage";
    public const string ConfigManage = "config.manage";

    /// <summary>All permissions, in the order of this file.</summary>
    public static IReadOnlyList<string> All { get; } =
    [
        ModelRead, ModelCreate, ModelUpdate, ModelDelete, VersionCreate, VersionRead, VersionDownload, VersionSubmit,
        VersionDeprecate, VersionRetire, VersionSuspend, AliasSet, AliasSetProtected,
        DatasetRead, DatasetWrite, DatasetTag, DatasetReadPii, SubjectSearch, SubjectExport, SubjectErase,
        RunRead, RunWrite, PipelineRun,
        EndpointRead, EndpointCreate, DeploymentCreate, DeploymentRollback, DeploymentStop, Predict,
        PredictionLogRead, PredictionLogReadRaw, LabelWrite,
        CardEdit, GateRun, GateWaive, ApprovalGrant, ApprovalDelegate, EmergencyInvoke, EmergencyReview,
        PolicyAuthor, PolicyActivate, TierSet,
        AuditRead, AuditExport, ComplianceRead, ComplianceAttest, IamManage, SecretUse, SecretManage, KeyManage,
        WebhookManage, ConfigManage,
    ];

    /// <summary>True for a permission that cannot change anything.</summary>
    public static bool IsRead(string permission) =>
        permission.EndsWith(".read", StringComparison.Ordinal) || permission is DatasetReadPii or PredictionLogReadRaw or AuditExport;
}
