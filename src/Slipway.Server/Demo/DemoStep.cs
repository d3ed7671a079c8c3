namespace Slipway.Server.Demo;

/// <summary>Where a step of the demo stands.</summary>
public enum DemoState
{
    Waiting,
    Running,
    Verified,
    Failed,
}

/// <summary>One step of the demo, as a terminal or a test shows it.</summary>
/// <param name="number">1 to 7.</param>
/// <param name="title">What happens.</param>
public sealed class DemoStep(int number, string title)
{
    public int Number { get; } = number;

    public string Title { get; } = title;

    public DemoState State { get; internal set; }

    /// <summary>What it does now.</summary>
    public string Doing { get; internal set; } = "";

    /// <summary>How much of it is done, 0 to 1; null when that is not known.</summary>
    public double? Share { get; internal set; }

    /// <summary>What was verified, each a sentence with its numbers.</summary>
    public List<string> Facts { get; } = [];

    public TimeSpan Took { get; internal set; }
}

/// <summary>A step did not show what it must.</summary>
public sealed class DemoFailedException(string message) : Exception(message);
