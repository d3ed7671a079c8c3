namespace Slipway.Cli;

/// <summary>What a script may rely on. The table of refusals is the server's, told by the name of the error.</summary>
internal static class ExitCodes
{
    public const int Done = 0;
    public const int Failed = 1;
    public const int Usage = 2;
    public const int NotFound = 3;
    public const int Denied = 4;
    public const int Conflict = 5;
    public const int Unreachable = 6;
    public const int Pending = 8;
    public const int Interrupted = 130;

    /// <summary>The exit code of a refusal.</summary>
    /// <param name="code">The error's name in problem documents, for example <c>notFound</c>.</param>
    public static int Of(string code) => code switch
    {
        "invalidArgument" => Usage,
        "notFound" => NotFound,
        "alreadyExists" or "conflict" or "preconditionFailed" => Conflict,
        "unauthenticated" or "permissionDenied" => Denied,
        "unavailable" => Unreachable,
        "deadlineExceeded" => Pending,
        "cancelled" => Interrupted,
        _ => Failed,
    };
}

/// <summary>A refusal of the command line itself.</summary>
internal sealed class CliException(int exit, string message, string why, string next) : Exception(message)
{
    public int Exit { get; } = exit;

    public string Why { get; } = why;

    public string Next { get; } = next;
}
