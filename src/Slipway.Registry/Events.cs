namespace Slipway.Registry;

/// <summary>Kinds of the registry's journal entries. Kinds and bodies may only grow.</summary>
public static class Events
{
    /// <summary>Body <see cref="Registry.ExperimentCreated"/>.</summary>
    public const string ExperimentCreated = "experiment.created";

    /// <summary>Name or tags; body <see cref="RecordChanged"/>.</summary>
    public const string ExperimentChanged = "experiment.changed";

    /// <summary>The experiment and its live runs; empty body.</summary>
    public const string ExperimentDeleted = "experiment.deleted";

    /// <summary>The experiment and the runs deleted with it; empty body.</summary>
    public const string ExperimentRestored = "experiment.restored";

    /// <summary>Body <see cref="Registry.RunStarted"/>, links the experiment.</summary>
    public const string RunStarted = "run.started";

    /// <summary>Body <see cref="Registry.RunFinished"/>, links the dataset versions that the run read.</summary>
    public const string RunFinished = "run.finished";

    /// <summary>A finished run was opened again; empty body.</summary>
    public const string RunReopened = "run.reopened";

    /// <summary>Body <see cref="Registry.RunInputsLogged"/>, links the dataset versions.</summary>
    public const string RunInputsLogged = "run.inputs-logged";

    /// <summary>Empty body, links the logged models that the run read.</summary>
    public const string RunModelsLogged = "run.models-logged";

    /// <summary>Empty body, links the logged models that the run made.</summary>
    public const string RunOutputsLogged = "run.outputs-logged";

    /// <summary>Empty body.</summary>
    public const string RunDeleted = "run.deleted";

    /// <summary>Empty body.</summary>
    public const string RunRestored = "run.restored";

    /// <summary>A person kept a view of a page; empty body.</summary>
    public const string ViewSaved = "view.saved";

    /// <summary>A person forgot a view; empty body.</summary>
    public const string ViewDeleted = "view.deleted";

    /// <summary>The experiment and its runs, for good; body <see cref="Registry.ItemPurged"/>.</summary>
    public const string ExperimentPurged = "experiment.purged";

    /// <summary>Body <see cref="Registry.ItemPurged"/>.</summary>
    public const string RunPurged = "run.purged";

    /// <summary>The model and its versions, for good; body <see cref="Registry.ItemPurged"/>.</summary>
    public const string ModelPurged = "model.purged";

    /// <summary>The model and its versions; empty body.</summary>
    public const string ModelRestored = "model.restored";

    /// <summary>Body <see cref="Registry.ArtifactStored"/>; the subject is the run.</summary>
    public const string ArtifactStored = "artifact.stored";

    /// <summary>Body <see cref="Registry.ArtifactDeleted"/>.</summary>
    public const string ArtifactDeleted = "artifact.deleted";

    /// <summary>Body <see cref="Registry.LoggedModelCreated"/>, links the experiment and the run.</summary>
    public const string LoggedModelCreated = "logged-model.created";

    /// <summary>Tags or parameters; body <see cref="RecordChanged"/>.</summary>
    public const string LoggedModelChanged = "logged-model.changed";

    /// <summary>The upload of its files ended; body <see cref="RecordChanged"/> with the status.</summary>
    public const string LoggedModelFinalized = "logged-model.finalized";

    /// <summary>Empty body.</summary>
    public const string LoggedModelDeleted = "logged-model.deleted";

    /// <summary>Empty body.</summary>
    public const string ModelCreated = "model.created";

    /// <summary>Name, description or tags; body <see cref="RecordChanged"/>.</summary>
    public const string ModelChanged = "model.changed";

    /// <summary>The model and all its versions; empty body.</summary>
    public const string ModelDeleted = "model.deleted";

    /// <summary>Body <see cref="Registry.VersionRegistered"/>, links the model, the run and the dataset versions.</summary>
    public const string VersionRegistered = "version.registered";

    /// <summary>Description, stage or tags; body <see cref="RecordChanged"/>.</summary>
    public const string VersionChanged = "version.changed";

    /// <summary>Empty body.</summary>
    public const string VersionDeleted = "version.deleted";

    /// <summary>Body <see cref="Registry.AliasMoved"/>; the subject is the version, links the model.</summary>
    public const string AliasMoved = "alias.moved";

    /// <summary>Body <see cref="Registry.AliasMoved"/> without a new version; the subject is the model.</summary>
    public const string AliasDeleted = "alias.deleted";

    /// <summary>Body <see cref="Registry.WebhookChanged"/>.</summary>
    public const string WebhookCreated = "webhook.created";

    /// <summary>Body <see cref="Registry.WebhookChanged"/>.</summary>
    public const string WebhookChanged = "webhook.changed";

    /// <summary>Body <see cref="Registry.WebhookChanged"/>, as it was.</summary>
    public const string WebhookDeleted = "webhook.deleted";

    /// <summary>An event was given up; body <see cref="Registry.WebhookFailed"/>.</summary>
    public const string WebhookFailed = "webhook.failed";

    /// <summary>An event that ended is posted again; body <see cref="Registry.WebhookReplayed"/>.</summary>
    public const string WebhookReplayed = "webhook.replayed";
}

/// <summary>Body of <see cref="Events.ExperimentCreated"/>.</summary>
internal sealed record ExperimentCreated(string Name, string ArtifactLocation);

/// <summary>Body of the changed kinds. Long values are cut to 500 characters.</summary>
/// <param name="Field"><c>name</c>, <c>description</c>, <c>stage</c>, <c>status</c>, <c>params</c>, <c>tag</c> or <c>tag-deleted</c>.</param>
/// <param name="Key">The tag's key.</param>
/// <param name="Value">The new value.</param>
internal sealed record RecordChanged(string Field, string? Key = null, string? Value = null)
{
    internal static RecordChanged Of(string field, string? key, string? value) =>
        new(field, key, value is { Length: > 500 } ? value[..500] + "…" : value);
}

/// <summary>Body of <see cref="Events.RunStarted"/>.</summary>
public sealed record RunStarted(string ExperimentId, string Name, DateTimeOffset StartedAt);

/// <summary>Body of <see cref="Events.RunFinished"/>.</summary>
public sealed record RunFinished(string ExperimentId, string Name, string Status, DateTimeOffset? EndedAt);

/// <summary>Body of <see cref="Events.RunInputsLogged"/>.</summary>
internal sealed record RunInputsLogged(IReadOnlyList<RunInputLogged> Datasets);

/// <summary>A dataset in <see cref="RunInputsLogged"/>.</summary>
internal sealed record RunInputLogged(string Name, string Digest, string? Context);

/// <summary>Body of <see cref="Events.ArtifactStored"/>.</summary>
internal sealed record ArtifactStored(string Path, string Hash, long Size);

/// <summary>Body of <see cref="Events.ArtifactDeleted"/>.</summary>
/// <param name="Path">The file or folder.</param>
/// <param name="Entries">Files and folders removed.</param>
internal sealed record ArtifactDeleted(string Path, int Entries);

/// <summary>Body of <see cref="Events.LoggedModelCreated"/>.</summary>
internal sealed record LoggedModelCreated(string Name, string? RunId);

/// <summary>Body of the purged kinds.</summary>
/// <param name="Id">The item's id.</param>
/// <param name="Name">Its name.</param>
/// <param name="Runs">The runs inside of it.</param>
/// <param name="Versions">The versions inside of it.</param>
/// <param name="Files">Its files.</param>
/// <param name="Bytes">Their size.</param>
internal sealed record ItemPurged(string Id, string Name, long Runs, long Versions, long Files, long Bytes);

/// <summary>Body of <see cref="Events.VersionRegistered"/>.</summary>
/// <param name="Name">The model.</param>
/// <param name="Version">Its new version.</param>
/// <param name="RunId">The run that made it, or null.</param>
/// <param name="Source">URI as given.</param>
/// <param name="FileCount">Number of frozen files.</param>
/// <param name="FilesDigest">SHA-256 over the canonical JSON of the version's file list; the content cannot change without it.</param>
public sealed record VersionRegistered(string Name, int Version, string? RunId, string Source, int FileCount, string FilesDigest);

/// <summary>Body of <see cref="Events.AliasMoved"/>; null means that the alias did not exist before, or no longer exists.</summary>
public sealed record AliasMoved(string Name, string Alias, int? From, int? To);

/// <summary>Body of the kinds that tell how a webhook is; its secret is never among them.</summary>
internal sealed record WebhookChanged(string Name, string Url, IReadOnlyList<string> Events, bool Active, bool Signed);

/// <summary>Body of <see cref="Events.WebhookFailed"/>.</summary>
internal sealed record WebhookFailed(string Delivery, string Event, int Attempts, int? Status, string? Error);

/// <summary>Body of <see cref="Events.WebhookReplayed"/>.</summary>
internal sealed record WebhookReplayed(string Delivery, string Event, string Name);
