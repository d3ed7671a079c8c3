namespace Slipway.Serving.Routing;

/// <summary>
/// Counts the hard failures of one candidate on this node: failures that stable did not share. Blows once, at the consecutive limit or at the
/// error share of a busy second. Counters are approximate under concurrency by a few requests; none waits for another.
/// </summary>
internal sealed class Fuse(FuseRule rule)
{
    private int _consecutive;
    private long _second;
    private int _requests;
    private int _errors;
    private int _blown;

    public bool Blown => Volatile.Read(ref _blown) != 0;

    /// <summary>Counts a success of the candidate in the given second of any clock that only grows.</summary>
    public void Succeeded(long second)
    {
        if (Volatile.Read(ref _consecutive) != 0)
        {
            Volatile.Write(ref _consecutive, 0);
        }

        Turn(second);
        Interlocked.Increment(ref _requests);
    }

    /// <summary>Counts a failure; returns why the fuse blows, once, else null.</summary>
    public string? Failed(long second)
    {
        Turn(second);
        var row = Interlocked.Increment(ref _consecutive);
        var requests = Interlocked.Increment(ref _requests);
        var errors = Interlocked.Increment(ref _errors);
        var cause = row >= rule.ConsecutiveErrors ? $"{row} failures of the candidate in a row"
            : requests >= rule.BurstRequests && errors >= rule.BurstErrorShare * requests ? $"{errors} of {requests} requests to the candidate failed within a second"
            : null;
        return cause is not null && Interlocked.Exchange(ref _blown, 1) == 0 ? cause : null;
    }

    private void Turn(long second)
    {
        if (Volatile.Read(ref _second) != second)
        {
            Volatile.Write(ref _second, second);
            Volatile.Write(ref _requests, 0);
            Volatile.Write(ref _errors, 0);
        }
    }
}
