using Slipway.Foundation;
using Slipway.Governance;

namespace Slipway.Server.Api;

/// <summary>Users, service accounts and API keys.</summary>
internal static class AccessApi
{
    /// <param name="Name">Unique.</param>
    /// <param name="Roles">At least one.</param>
    /// <param name="Owner">The person that a service account counts as; absent for a person.</param>
    private sealed record NewUser(string Name, IReadOnlyList<string> Roles, string? Owner = null);

    /// <param name="Name">What it is for.</param>
    /// <param name="Owner">Whom it acts as; absent: whoever asks.</param>
    /// <param name="Roles">Its scope; absent: all roles of the owner.</param>
    /// <param name="Days">How long it works; absent: the server's default.</param>
    private sealed record NewToken(string Name, string? Owner = null, IReadOnlyList<string>? Roles = null, double? Days = null);

    /// <param name="Token">The token of the owner link.</param>
    /// <param name="Name">The owner's name.</param>
    private sealed record Redeem(string Token, string Name);

    public static void Map(ApiRoutes api)
    {
        // The one-time token is the credential.
        api.PostOpen("/owner", async c =>
        {
            var body = await c.BodyAsync<Redeem>();
            var owner = await c.Of<Access>().RedeemOwnerLinkAsync(body.Token, body.Name, c.Stop)
                ?? throw new SlipwayException(ErrorCode.Unauthenticated, "the owner link does not work", "it was used already, is too old, or is not of this server", "restart the server for a new one");
            return new Created(owner.Key);
        });
        api.Get("/roles", Permissions.ModelRead, c => Task.FromResult<object?>(new
        {
            items = Roles.All.Select(r => new { name = r, permissions = Roles.PermissionsOf([r]).Order(StringComparer.Ordinal) }),
        }));
        api.Get("/users", Permissions.IamManage, async c => c.Page(await c.Of<Access>().ListUsersAsync(c.Stop), u => u.Name));
        api.Post("/users", Permissions.IamManage, async c =>
        {
            var body = await c.BodyAsync<NewUser>();
            return new Created(body.Owner is null
                ? await c.Of<Access>().CreateUserAsync(c.Actor, body.Name, body.Roles, c.Stop)
                : await c.Of<Access>().CreateServiceAsync(c.Actor, body.Name, body.Owner, body.Roles, c.Stop));
        });
        api.Delete("/users/{user}", Permissions.IamManage, async c =>
        {
            await c.Of<Access>().DisableUserAsync(c.Actor, c["user"], c.Stop);
            return null;
        });

        // People manage their own keys; the module refuses those of others without iam.manage.
        api.Get("/tokens", Permissions.ModelRead, async c => c.Page(await c.Of<Access>().ListKeysAsync(await OwnerAsync(c), c.Stop), k => k.Id));
        api.Post("/tokens", Permissions.ModelRead, async c =>
        {
            var body = await c.BodyAsync<NewToken>();
            var owner = body.Owner ?? c.Actor.Name;
            if (body.Days is { } days && !(days is > 0 and <= 3650))
            {
                throw new SlipwayException(ErrorCode.InvalidArgument, "the token cannot be made", $"it would live {days} days", "ask for 1 to 365 days");
            }

            var roles = body.Roles ?? (await c.Of<Access>().ListUsersAsync(c.Stop)).FirstOrDefault(u => u.Name == owner)?.Roles
                ?? throw SlipwayException.NotFound("user", owner, "slipway user create " + owner + " --role viewer");
            return new Created(await c.Of<Access>().CreateKeyAsync(c.Actor, owner, body.Name, roles, body.Days is { } d ? TimeSpan.FromDays(d) : null, c.Stop));
        });
        api.Delete("/tokens/{token}", Permissions.ModelRead, async c =>
        {
            await c.Of<Access>().RevokeKeyAsync(c.Actor, c["token"], c.Stop);
            return null;
        });
    }

    private static async Task<string?> OwnerAsync(Call c) => await c.Of<Access>().AllowsAsync(c.Actor, Permissions.IamManage, c.Stop)
        ? c.Query("owner")
        : c.Query("owner") is not { } owner || owner == c.Actor.Name
            ? c.Actor.Name
            : throw new SlipwayException(ErrorCode.PermissionDenied, $"the tokens of {owner} cannot be listed", $"that needs the permission {Permissions.IamManage}", "slipway token list");
}
