namespace Slipway.Client;

/// <summary>What the server refused, or why it was not reached.</summary>
/// <param name="code">The class of refusal as the server names it, for example <c>notFound</c>; <c>unavailable</c> when no server answered.</param>
/// <param name="message">What failed.</param>
/// <param name="why">The reason, with the value.</param>
/// <param name="next">What to do.</param>
/// <param name="request">The request's id in the server's log.</param>
/// <param name="status">The HTTP status; 0 when no server answered.</param>
/// <param name="inner">The exception that caused it.</param>
public sealed class SlipwayClientException(string code, string message, string? why = null, string? next = null, string? request = null, int status = 0, Exception? inner = null)
    : Exception(message, inner)
{
    public string Code { get; } = code;

    public string? Why { get; } = why;

    public string? Next { get; } = next;

    public string? Request { get; } = request;

    public int Status { get; } = status;
}
