namespace Slipway.Web.Parts;

/// <summary>What an action will change, shown before it does.</summary>
/// <param name="Title">The action as a question.</param>
/// <param name="Confirm">The button that does it, as a verb.</param>
/// <param name="Text">What happens, in a sentence.</param>
/// <param name="Changes">What is different afterwards, line by line.</param>
/// <param name="Danger">True when it takes something away.</param>
/// <param name="Reason">Whether the reader is asked why.</param>
/// <param name="Choices">What the reader chooses among; none: there is one way only.</param>
public sealed record Preview(
    string Title, string Confirm, string? Text, IReadOnlyList<PreviewChange> Changes, bool Danger = false, PreviewReason Reason = PreviewReason.NotAsked, IReadOnlyList<PreviewChoice>? Choices = null);

/// <summary>One of several ways: its name, what speaks for or against it, and what is different afterwards.</summary>
public sealed record PreviewChoice(string Name, string Detail, string Text, IReadOnlyList<PreviewChange> Changes);

/// <summary>What the reader confirmed: the reason typed, and the name of the choice, null where there was none.</summary>
public sealed record PreviewAnswer(string Reason, string? Choice);

/// <summary>One difference: what, its value now and its value afterwards.</summary>
public sealed record PreviewChange(string What, string Before, string After);

/// <summary>Whether an action keeps a reason.</summary>
public enum PreviewReason
{
    /// <summary>The action keeps none.</summary>
    NotAsked,

    /// <summary>The action is not done without one.</summary>
    Required,
}
