namespace Slipway.Monitoring;

/// <summary>Body of `prediction.batch`: a segment of the prediction log became immutable.</summary>
/// <param name="Segment">The segment's id (ULID).</param>
/// <param name="Rows">Predictions in it.</param>
/// <param name="Blob">SHA-256 of its Parquet form in the blob store.</param>
/// <param name="Digest">SHA-256 of the log file as it was written.</param>
/// <param name="First">First event time.</param>
/// <param name="Last">Last event time.</param>
/// <param name="Parts">Predictions by endpoint and model version.</param>
public sealed record PredictionBatch(string Segment, long Rows, string Blob, string Digest, DateTimeOffset First, DateTimeOffset Last, IReadOnlyList<PredictionBatchPart> Parts);

/// <summary>Predictions of one model version on one endpoint.</summary>
public sealed record PredictionBatchPart(string Endpoint, string ModelVersion, long Rows);

/// <summary>Body of `monitor.created`.</summary>
public sealed record MonitorCreated(string MonitorId, string Endpoint, string ModelVersion, string Reference, long ReferenceRows, double? ReferenceAuc, string ConfigDigest);

/// <summary>Body of `monitor.referenced`: the first window with enough rows became what later ones are compared with.</summary>
/// <param name="MonitorId">The monitor.</param>
/// <param name="Reference">SHA-256 of the frozen reference in the blob store.</param>
/// <param name="ReferenceRows">Rows of the reference.</param>
/// <param name="WindowStart">First instant of the window.</param>
/// <param name="Type">What the model predicts, as its outputs tell.</param>
/// <param name="ConfigDigest">SHA-256 of the monitor's configuration from now on.</param>
public sealed record MonitorReferenced(string MonitorId, string Reference, long ReferenceRows, DateTimeOffset WindowStart, ModelType Type, string ConfigDigest);

/// <summary>Body of `prediction.deleted`: how many predictions were deleted, not which.</summary>
public sealed record PredictionsDeleted(string Endpoint, int Predictions);

/// <summary>Body of `label.deleted`: how many labels were forgotten, not which.</summary>
public sealed record LabelsDeleted(string Endpoint, int Predictions, long Revisions);

/// <summary>Body of `alert.fired`: the numbers of the strongest member of the alert's group.</summary>
public sealed record AlertFired(string AlertId, string Monitor, string Endpoint, string ModelVersion, string Metric, string? Column, double Value, double Threshold, long N, DateTimeOffset WindowStart, DateTimeOffset WindowEnd, string Sentence, string? Family = null);

/// <summary>Body of `alert.updated`: a firing alert grew more severe or gained members.</summary>
public sealed record AlertUpdated(string AlertId, string Monitor, string Endpoint, string ModelVersion, string Severity, IReadOnlyList<string> Members, DateTimeOffset WindowStart, DateTimeOffset WindowEnd, string Sentence);

/// <summary>Body of `alert.resolved`.</summary>
public sealed record AlertResolved(string AlertId, string Monitor, string Endpoint, string ModelVersion, DateTimeOffset WindowStart, DateTimeOffset WindowEnd, string Sentence);

/// <summary>Body of `alert.acknowledged`.</summary>
public sealed record AlertAcknowledged(string AlertId, string Monitor, string Endpoint);

/// <summary>Body of `alert.assigned`; nobody when the name is null.</summary>
public sealed record AlertAssigned(string AlertId, string? To);

/// <summary>Body of `alert.snoozed`; ended when the time is null.</summary>
public sealed record AlertSnoozed(string AlertId, DateTimeOffset? Until);

/// <summary>Body of `silence.created`, `silence.extended` and `silence.expired`.</summary>
public sealed record SilenceChanged(string SilenceId, IReadOnlyList<string> Matchers, DateTimeOffset StartsAt, DateTimeOffset EndsAt, string Comment);

/// <summary>Body of `routing.changed`: the whole document.</summary>
public sealed record RoutingChanged(long Version, string Digest, string Document);

/// <summary>Body of `alert-rules.changed`: the rules that are in force from now on.</summary>
public sealed record AlertRulesChanged(IReadOnlyList<string> Rules, string Document);

/// <summary>Body of `receiver.changed`; the secret is not part of it.</summary>
public sealed record ReceiverChanged(string Name, string Url, bool AllowLoopback, bool Signed, bool Removed, string Kind = "webhook");

/// <summary>Body of `notification.delivered` and `notification.failed`.</summary>
public sealed record NotificationDone(string NotificationId, string AlertId, string Receiver, string Event, int Attempts, int? Status, string? Error);

/// <summary>Body of `monitor.stopped`.</summary>
public sealed record MonitorStopped(string MonitorId, string Endpoint, string ModelVersion);

/// <summary>Body of `monitor.accepted`: the drift of a window counts as clear; of all features when the column is null.</summary>
public sealed record MonitorAccepted(string MonitorId, DateTimeOffset WindowStart, string? Column, string Comment);

/// <summary>Body of `monitor.rebased`: a window of the monitor before is the reference from now on.</summary>
public sealed record MonitorRebased(string MonitorId, string Before, DateTimeOffset WindowStart, long Rows);
