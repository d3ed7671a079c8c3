namespace Slipway.Registry;

/// <summary>Something that was deleted and can be restored.</summary>
/// <param name="Kind"><c>experiment</c>, <c>run</c> or <c>model</c>.</param>
/// <param name="Id">Its id; several deleted models may have had one name.</param>
/// <param name="Name">Its name.</param>
/// <param name="DeletedAt">When it was deleted.</param>
/// <param name="DeletedBy">Who deleted it; empty when that was before the trash remembered it.</param>
/// <param name="Runs">The runs inside of it; 1 for a run.</param>
/// <param name="Versions">The versions of a model.</param>
/// <param name="Files">Its files.</param>
/// <param name="Bytes">Their size. Content that something else has too is freed only with the last.</param>
public sealed record TrashItem(string Kind, string Id, string Name, DateTimeOffset DeletedAt, string DeletedBy, long Runs, long Versions, long Files, long Bytes);

/// <summary>What purging did, or would do, to one item.</summary>
/// <param name="Item">The item.</param>
/// <param name="Purged">Whether it is gone; in a preview, whether it would go.</param>
/// <param name="Refused">What needs it; empty when nothing does.</param>
public sealed record PurgeResult(TrashItem Item, bool Purged, IReadOnlyList<string> Refused);
