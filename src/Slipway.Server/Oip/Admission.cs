using System.Collections.Concurrent;
using Microsoft.AspNetCore.Http;
using Slipway.Foundation;
using Slipway.Governance;

namespace Slipway.Server.Oip;

/// <summary>
/// Who may predict, decided once for a credential and remembered for a second: a request that shows it again costs one look-up and no memory.
/// Any change of users or keys, here or on another node, ends every memory at once, as it does in <see cref="Access"/>; the second bounds how
/// late the end of a key's life is seen. Refusals are never remembered.
/// </summary>
internal sealed class Admission(Auth auth, Access access, TimeProvider clock)
{
    private const int MaxKnown = 4096;
    private static readonly TimeSpan Memory = TimeSpan.FromSeconds(1);
    private readonly ConcurrentDictionary<string, Known> _byCredential = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, Known> _byHost = new(StringComparer.Ordinal);

    /// <summary>Null lets the request pass; otherwise why not.</summary>
    public ValueTask<SlipwayException?> RefuseAsync(HttpContext context)
    {
        var headers = context.Request.Headers;
        var (known, by) = headers.Authorization is [{ } credential] && IsKey(credential) ? (_byCredential, credential)
            // Without credentials the decision hangs on the headers by which browsers tell a foreign page, and on the host.
            : headers.Authorization.Count == 0 && headers.Cookie.Count == 0 && headers.Origin.Count == 0 && !headers.ContainsKey("Sec-Fetch-Site") && headers.Host is [{ } host] ? (_byHost, host)
            : (null, "");
        return known is not null && known.TryGetValue(by, out var found) && found.Generation == access.Generation && clock.GetTimestamp() < found.Until
            ? default : DecideAsync(context, known, by);
    }

    private async ValueTask<SlipwayException?> DecideAsync(HttpContext context, ConcurrentDictionary<string, Known>? known, string by)
    {
        // Read before the decision: a change during it makes the memory worthless.
        var generation = access.Generation;
        var refused = await auth.RefuseAsync(context, Permissions.Predict);
        if (refused is null && known is not null)
        {
            if (known.Count >= MaxKnown)
            {
                known.Clear();
            }

            known[by] = new(generation, clock.GetTimestamp() + (long)(Memory.TotalSeconds * clock.TimestampFrequency));
        }

        return refused;
    }

    private static bool IsKey(string credential) =>
        credential.StartsWith("Bearer ", StringComparison.OrdinalIgnoreCase) || credential.StartsWith("Basic ", StringComparison.OrdinalIgnoreCase);

    private sealed record Known(long Generation, long Until);
}
