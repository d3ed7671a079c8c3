using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text;
using Slipway.Foundation;

namespace Slipway.Governance;

/// <summary>The one-time owner link, with which a server that has no user yet gets its first owner.</summary>
public sealed partial class Access
{
    private const string DefaultOwnerName = "owner";

    /// <summary>
    /// Makes the token for the owner link. It works once and for <see cref="GovernanceOptions.OwnerLinkLife"/>; only its SHA-256 is stored.
    /// A new token ends the one before.
    /// </summary>
    /// <exception cref="SlipwayException"><see cref="ErrorCode.PreconditionFailed"/> once a user exists.</exception>
    public async Task<string> MintOwnerLinkAsync(CancellationToken ct)
    {
        var token = Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(32));
        await database.WriteAsync(async tx =>
        {
            if (await tx.ScalarAsync<long>("SELECT COUNT(*) FROM governance_users") > 0)
                throw new SlipwayException(ErrorCode.PreconditionFailed, "no owner link can be made", "this server has users already", "ask an owner for an account");
            var now = clock.GetUtcNow();
            await tx.ExecuteAsync("DELETE FROM governance_owner_links WHERE redeemed_at IS NULL");
            await tx.ExecuteAsync("INSERT INTO governance_owner_links (token_hash, created_at, expires_at) VALUES (@hash, @created, @expires)",
                new { hash = TokenHash(token), created = Time.ToMicros(now), expires = Time.ToMicros(now + options.OwnerLinkLife) });
            await journal.AppendAsync(tx, Actor.System("bootstrap"), "ownerlink.created", new Subject("actor", DefaultOwnerName), new OwnerLinkCreated(now + options.OwnerLinkLife));
        }, ct);
        return token;
    }

    /// <summary>Redeems the token for a user named <c>owner</c>; null when it is wrong, used or too old. The host opens a session for the actor.</summary>
    public async Task<Actor?> RedeemOwnerLinkAsync(string token, CancellationToken ct) => (await RedeemOwnerLinkAsync(token, DefaultOwnerName, ct))?.Actor;

    /// <summary>Redeems the token: makes the first owner under the name and a first key, in one transaction. Null when the token is wrong, used or too old.</summary>
    /// <exception cref="SlipwayException"><see cref="ErrorCode.InvalidArgument"/> for a bad name; the token stays good.</exception>
    public async Task<FirstOwner?> RedeemOwnerLinkAsync(string token, string name, CancellationToken ct)
    {
        Names.Demand(name, "user");
        return await database.WriteAsync<FirstOwner?>(async tx =>
        {
            var now = clock.NowMicros();
            var redeemed = await tx.ExecuteAsync("UPDATE governance_owner_links SET redeemed_at = @now WHERE token_hash = @hash AND redeemed_at IS NULL AND expires_at > @now",
                new { now, hash = TokenHash(token) });
            if (redeemed == 0 || await tx.ScalarAsync<long>("SELECT COUNT(*) FROM governance_users") > 0) return null;

            var actor = new Actor(ActorKind.User, name, "owner-link");
            await InsertUserAsync(tx, actor, name, null, [Roles.Owner]);
            var key = await InsertKeyAsync(tx, actor, name, "first-key", [Roles.Owner], options.KeyLife);
            return new FirstOwner(actor, key);
        }, ct);
    }

    private static string TokenHash(string token) => Digest.Sha256Hex(Encoding.UTF8.GetBytes(token));
}
