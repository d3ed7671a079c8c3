using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>
/// Every answered inference, kept append-only. Appending copies the record into a per-core buffer and returns; a writer commits the
/// buffers in groups. What was appended survives the death of the process; what was flushed (at most a second later, or
/// <see cref="FlushAsync"/>) survives the death of the machine.
/// </summary>
public sealed class Predictions
{
    /// <summary>The most predictions that one listing gives.</summary>
    public const int LargestPage = 10_000;

    private readonly PredictionLog log;
    private readonly PredictionArchive archive;

    internal Predictions(PredictionArchive archive)
    {
        this.archive = archive;
        log = archive.Log;
    }

    /// <summary>Predictions that were refused because a buffer had no room, or that were too large, since the start.</summary>
    public long Dropped => log.Dropped;

    /// <summary>Predictions that were committed to a segment since the start.</summary>
    public long Written => log.Written;

    /// <summary>Copies a prediction into the log's buffer without waiting for a disk, a database or the writer.</summary>
    /// <returns>False when it was dropped, which <see cref="Dropped"/> counts.</returns>
    public bool Append(in PredictionRecord record) => log.Append(record);

    /// <summary>Commits what was appended before the call and forces it to the disk.</summary>
    public Task FlushAsync(CancellationToken ct) => log.FlushAsync(ct);

    /// <summary>Closes the open segment and compacts every complete one to Parquet, with its journal entry `prediction.batch`.</summary>
    /// <returns>How many segments were compacted.</returns>
    public async Task<int> CompactAsync(CancellationToken ct)
    {
        await log.RollAsync(ct);
        return await archive.CompactAsync(ct);
    }

    /// <summary>The prediction of that id, or null. Of several with one id the latest counts.</summary>
    public async Task<Prediction?> FindAsync(string id, CancellationToken ct)
    {
        await log.CommitAsync(ct);
        return await archive.FindAsync(id, ct);
    }

    /// <summary>Predictions of an endpoint with event time in [from, to), newest first.</summary>
    /// <exception cref="SlipwayException">InvalidArgument when the limit is not 1 to <see cref="LargestPage"/>.</exception>
    public async Task<IReadOnlyList<Prediction>> ListAsync(string endpoint, DateTimeOffset? from, DateTimeOffset? to, int limit, CancellationToken ct)
    {
        if (limit is < 1 or > LargestPage)
        {
            throw SlipwayException.Invalid("the predictions cannot be listed", $"limit is {limit}, 1 to {LargestPage} is allowed", "ask for fewer and narrow the time");
        }

        await log.CommitAsync(ct);
        return await archive.ListAsync(endpoint, First(from), Last(to), limit, ct);
    }

    /// <summary>
    /// Which entities met which variants of an endpoint, with event time in [from, to), one by one, in no promised order; predictions of before route
    /// revisions were recorded are left out. A route revision belongs to at most one rollout, so the caller picks a rollout's by its revisions.
    /// </summary>
    public async IAsyncEnumerable<Exposure> ExposuresAsync(
        string endpoint, DateTimeOffset? from, DateTimeOffset? to, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken ct)
    {
        await log.CommitAsync(ct);
        foreach (PredictionKind kind in new[] { PredictionKind.Exposure, PredictionKind.Live })
        {
            await foreach (Prediction p in archive.ScanAsync(endpoint, kind, First(from), Last(to), ct))
            {
                if (p.Revision > 0)
                {
                    yield return new Exposure(
                        p.Id, Exposure.EntityOf(p.EntityKey ?? p.Id), p.EntityKey is null, p.Variant, p.ModelVersion, p.Revision, p.Reason, p.At, p.LatencyMicros, p.Status, p.Outputs, kind);
                }
            }
        }
    }

    /// <summary>What the callers of an endpoint and its mirrors were answered, request by request, with event time in [from, to), in no promised order.</summary>
    public async IAsyncEnumerable<ShadowPair> ShadowPairsAsync(
        string endpoint, DateTimeOffset? from, DateTimeOffset? to, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken ct)
    {
        await log.CommitAsync(ct);
        await foreach (Prediction p in archive.ScanAsync(endpoint, PredictionKind.Shadow, First(from), Last(to), ct))
        {
            yield return new ShadowPair(p.Id, p.At, p.Revision, p.PrimaryVariant ?? "", p.PrimaryStatus, p.PrimaryLatencyMicros, p.Features, p.Variant, p.ModelVersion, p.Status, p.LatencyMicros, p.Outputs);
        }
    }

    /// <summary>How many predictions an endpoint has and their first and last event time; null without any.</summary>
    /// <param name="endpoint">The endpoint.</param>
    /// <param name="modelVersion">One version such as `flights/2`, or null for all.</param>
    /// <param name="ct">Cancels.</param>
    public async Task<PredictionExtent?> ExtentAsync(string endpoint, string? modelVersion, CancellationToken ct)
    {
        await log.CommitAsync(ct);
        (long rows, long first, long last) = await archive.ExtentAsync(endpoint, modelVersion, ct);
        return rows == 0 ? null : new PredictionExtent(rows, Time.FromMicros(first), Time.FromMicros(last));
    }

    /// <summary>
    /// Deletes predictions, for example at a person's request: no read gives them any more, labels of theirs are forgotten, and windows that they took part in
    /// count as stale until they are measured again without them. The rows stay in the log's closed files, whose digests the journal proves.
    /// </summary>
    /// <param name="actor">Who.</param>
    /// <param name="endpoint">The endpoint that made them.</param>
    /// <param name="ids">At most <see cref="LargestPage"/>.</param>
    /// <param name="ct">Cancels.</param>
    /// <returns>How many were deleted; those that are not there or were deleted before do not count.</returns>
    /// <exception cref="SlipwayException">InvalidArgument without ids; TooLarge above <see cref="LargestPage"/>.</exception>
    public async Task<int> DeleteAsync(Actor actor, string endpoint, IReadOnlyList<string> ids, CancellationToken ct)
    {
        ArgumentNullException.ThrowIfNull(actor);
        if (string.IsNullOrEmpty(endpoint) || ids.Count == 0 || ids.Any(string.IsNullOrEmpty))
        {
            throw SlipwayException.Invalid("the predictions cannot be deleted", "an endpoint and at least one prediction id are needed", "name them");
        }

        if (ids.Count > LargestPage)
        {
            throw new SlipwayException(ErrorCode.TooLarge, "the predictions cannot be deleted", $"{ids.Count} predictions in one call, {LargestPage} are allowed", "send them in several calls");
        }

        await log.CommitAsync(ct);
        Prediction[] found = [.. (await archive.FindManyAsync([.. ids], ct)).Values.Where(p => p.Endpoint == endpoint)];
        return found.Length == 0 ? 0 : await archive.DeleteAsync(actor, endpoint, found, ct);
    }

    private static long First(DateTimeOffset? from) => from is { } f ? Time.ToMicros(f) : long.MinValue;

    private static long Last(DateTimeOffset? to) => to is { } t ? Time.ToMicros(t) : long.MaxValue;
}

/// <summary>How many predictions there are, and their first and last event time.</summary>
public sealed record PredictionExtent(long Rows, DateTimeOffset First, DateTimeOffset Last);
