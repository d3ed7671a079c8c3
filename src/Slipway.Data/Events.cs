namespace Slipway.Data;

// The bodies of the journal entries this module writes. Fields may be added, never renamed or removed: old entries are read for years.

/// <summary>Body of <c>dataset.created</c>.</summary>
public sealed record DatasetCreated(string Name, string? Description);

/// <summary>Body of <c>dataset.committed</c>; the entry links the parent version and the dataset.</summary>
public sealed record DatasetCommitted(string Dataset, string Version, string? Parent, string Branch, string Message, int Files, long Bytes, long? Rows);

/// <summary>Body of <c>dataset.tagged</c>.</summary>
public sealed record DatasetTagged(string Dataset, string Tag, string Version);

/// <summary>Body of <c>dataset.pinned</c>. The entry's subject is who uses the version, so that lineage runs from user to data; it links the version.</summary>
public sealed record DatasetPinned(string Dataset, string Version, string By);
