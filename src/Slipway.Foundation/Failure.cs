namespace Slipway.Foundation;

/// <summary>Why something was refused. Each host maps a code to its protocol in one table; persisted nowhere.</summary>
public enum ErrorCode
{
    InvalidArgument,
    NotFound,
    AlreadyExists,
    Conflict,
    PreconditionFailed,
    Unauthenticated,
    PermissionDenied,
    TooLarge,
    ResourceExhausted,
    Unavailable,
    DeadlineExceeded,
    NotImplemented,
    DataLoss,
    Cancelled,
    Internal,
}

/// <summary>A refusal that a user can act on.</summary>
/// <param name="code">The class of refusal.</param>
/// <param name="message">What failed.</param>
/// <param name="why">The reason, with the value that caused it.</param>
/// <param name="next">What to do, where possible as a command.</param>
/// <param name="inner">The exception that caused it.</param>
public sealed class SlipwayException(ErrorCode code, string message, string? why = null, string? next = null, Exception? inner = null)
    : Exception(message, inner)
{
    public ErrorCode Code { get; } = code;

    public string? Why { get; } = why;

    public string? Next { get; } = next;

    /// <summary>What failed and why, in one line.</summary>
    public string Sentence => Why is null ? Message : $"{Message}: {Why}";

    public static SlipwayException NotFound(string kind, string name, string? next = null) =>
        new(ErrorCode.NotFound, $"{kind} \"{name}\" does not exist", next: next);

    public static SlipwayException Invalid(string message, string? why = null, string? next = null) =>
        new(ErrorCode.InvalidArgument, message, why, next);
}
