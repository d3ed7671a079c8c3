namespace Slipway.Data;

/// <summary>Limits of datasets.</summary>
public sealed class DataOptions
{
    /// <summary>Most files in one version.</summary>
    public int MaxFiles { get; set; } = 20_000;

    /// <summary>Most bytes in one version.</summary>
    public long MaxBytes { get; set; } = 64L * 1024 * 1024 * 1024;

    /// <summary>Memory that profiling may take before it spills to disk, in MB.</summary>
    public int ProfileMemoryMegabytes { get; set; } = 256;

    /// <summary>Every error of these options, empty when they are sound.</summary>
    public IReadOnlyList<string> Validate()
    {
        var errors = new List<string>();
        if (MaxFiles is < 1 or > 1_000_000) errors.Add($"MaxFiles must be 1 to 1000000, not {MaxFiles}");
        if (MaxBytes < 1) errors.Add($"MaxBytes must be at least 1, not {MaxBytes}");
        if (ProfileMemoryMegabytes is < 64 or > 65_536) errors.Add($"ProfileMemoryMegabytes must be 64 to 65536, not {ProfileMemoryMegabytes}");
        return errors;
    }
}
