using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Microsoft.Extensions.Logging;
using Slipway.Foundation;

namespace Slipway.Governance;

/// <summary>
/// Who may do what: users, service accounts, API keys and the permissions that their roles give.
/// There is no default credential: a shared server starts with a one-time owner link, a loopback server with the operating-system user.
/// </summary>
public sealed partial class Access(Database database, Journal journal, TimeProvider clock, GovernanceOptions options, ILogger<Access> log)
{
    /// <summary><see cref="Actor.Auth"/> of an actor who proved nothing: the operating-system user of a single-user server.</summary>
    public const string Unproven = "none";

    private const string KeyAuth = "apikey:";
    private const string UserColumns = "name AS Name, owner AS Owner, roles AS Roles, created_at AS CreatedAt, created_by AS CreatedBy, disabled_at AS DisabledAt";
    private const int MaxRoles = 20;

    /// <summary>The actor to whom a single-user server attributes everything. It holds the owner role.</summary>
    /// <param name="name">The operating-system user's name.</param>
    public static Actor SingleUser(string name) => new(ActorKind.User, name, Unproven);

    /// <summary>Makes a person. Only an owner can make an owner.</summary>
    /// <exception cref="SlipwayException"><see cref="ErrorCode.AlreadyExists"/>, <see cref="ErrorCode.InvalidArgument"/> (name, role), <see cref="ErrorCode.PreconditionFailed"/> (toxic roles), <see cref="ErrorCode.PermissionDenied"/>.</exception>
    public Task<User> CreateUserAsync(Actor actor, string name, IReadOnlyList<string> roles, CancellationToken ct) =>
        CreateAsync(actor, name, null, roles, ct);

    /// <summary>Makes a service account, which counts as its owner in every separation of duties.</summary>
    /// <exception cref="SlipwayException">As <see cref="CreateUserAsync"/>; <see cref="ErrorCode.NotFound"/> without the owner.</exception>
    public Task<User> CreateServiceAsync(Actor actor, string name, string owner, IReadOnlyList<string> roles, CancellationToken ct) =>
        CreateAsync(actor, name, owner, roles, ct);

    /// <summary>All users and service accounts, by name.</summary>
    public Task<IReadOnlyList<User>> ListUsersAsync(CancellationToken ct) => database.ReadAsync<IReadOnlyList<User>>(async session =>
        [.. (await session.QueryAsync<UserRow>($"SELECT {UserColumns} FROM governance_users ORDER BY name")).Select(r => r.ToUser())], ct);

    /// <summary>Stops a user at once, with all keys.</summary>
    /// <exception cref="SlipwayException"><see cref="ErrorCode.NotFound"/>.</exception>
    public async Task DisableUserAsync(Actor actor, string name, CancellationToken ct)
    {
        await database.WriteAsync(async tx =>
        {
            await DemandOwnerToTouchOwnerAsync(tx, actor, await GetUserAsync(tx, name));
            var changed = await tx.ExecuteAsync("UPDATE governance_users SET disabled_at = @now WHERE name = @name AND disabled_at IS NULL", new { name, now = clock.NowMicros() });
            if (changed > 0) await journal.AppendAsync(tx, actor, "user.disabled", new Subject("actor", name), new UserDisabled(name));
            tx.OnCommitted(Forget);
        }, ct);
    }

    /// <summary>True as soon as one user exists: from then on the server knows whom to ask for credentials.</summary>
    public Task<bool> HasIdentityAsync(CancellationToken ct) => database.ReadAsync(
        async session => await session.ScalarAsync<long>("SELECT COUNT(*) FROM governance_users") > 0, ct);

    /// <summary>Whether the actor's roles give the permission now. Unknown users, expired keys and unknown permissions give nothing.</summary>
    public async ValueTask<bool> AllowsAsync(Actor actor, string permission, CancellationToken ct)
    {
        if (actor.Kind == ActorKind.System) return OwnerPermissions.Contains(permission);
        if (KeyId(actor) is { } id && await KnownKeyAsync(id, ct) is { } key) return key.Usable(clock.GetUtcNow()) && key.Permissions.Contains(permission);
        if (!knownUsers.TryGetValue(actor.Name, out var user))
        {
            var before = Volatile.Read(ref generation);
            user = new KnownUser(await database.ReadAsync(session => FindUserAsync(session, actor.Name), ct));
            Remember(knownUsers, actor.Name, user, before);
        }
        return user.User is null ? RolesOf(actor, null).Contains(Roles.Owner) && OwnerPermissions.Contains(permission) : user.Permissions.Contains(permission);
    }

    /// <summary>Refuses an actor without the permission and writes the refusal into the journal.</summary>
    /// <exception cref="SlipwayException"><see cref="ErrorCode.PermissionDenied"/> naming the permission.</exception>
    public async Task DemandAsync(Actor actor, string permission, Subject? subject, CancellationToken ct)
    {
        if (await AllowsAsync(actor, permission, ct)) return;
        var about = subject ?? new Subject("actor", actor.Name);
        if (denials.Take(actor.Name, clock.GetUtcNow(), out var unwritten))
        {
            await database.WriteAsync(tx => journal.AppendAsync(tx, actor, "access.denied", about, new AccessDenied(permission, unwritten), outcome: "denied", reason: permission), ct);
        }
        throw new SlipwayException(ErrorCode.PermissionDenied, $"{actor.Name} may not do this to {about}", $"it needs the permission {permission}",
            "ask an owner or admin for a role that has it: " + string.Join(", ", Roles.All.Where(r => r != Roles.Owner && Roles.PermissionsOf([r]).Contains(permission))));
    }

    /// <summary>The roles in force for an actor, read now.</summary>
    public Task<IReadOnlyList<string>> RolesOfAsync(Actor actor, CancellationToken ct) => database.ReadAsync(session => RolesAsync(session, actor), ct);

    /// <summary>The roles in force for an actor: its user's, narrowed to the key's where a key speaks.</summary>
    internal async Task<IReadOnlyList<string>> RolesAsync(Session session, Actor actor)
    {
        if (actor.Kind == ActorKind.System) return OwnerOnly;
        if (KeyId(actor) is { } id)
        {
            var key = await FindKeyAsync(session, id);
            return key is not null && key.Usable(clock.GetUtcNow()) ? [.. key.Roles.Where(key.OwnerRoles.Contains)] : [];
        }
        return RolesOf(actor, await FindUserAsync(session, actor.Name));
    }

    /// <summary>Everybody an identity may be: the name itself, and the owner where it is a service account.</summary>
    internal static async Task<HashSet<string>> PeopleAsync(Session session, IEnumerable<string> names)
    {
        var people = new HashSet<string>(names, StringComparer.OrdinalIgnoreCase);
        foreach (var name in people.ToList())
        {
            if (await FindUserAsync(session, name) is { Owner: { } owner }) people.Add(owner);
        }
        return people;
    }

    private async Task<User> CreateAsync(Actor actor, string name, string? owner, IReadOnlyList<string> roles, CancellationToken ct)
    {
        Names.Demand(name, owner is null ? "user" : "service account");
        var held = Distinct(roles);
        return await database.WriteAsync(async tx =>
        {
            if (owner is not null && (await GetUserAsync(tx, owner)).IsService)
                throw new SlipwayException(ErrorCode.InvalidArgument, $"the service account {name} cannot be made", $"its owner {owner} is a service account too", "name a person as the owner");
            if (held.Contains(Roles.Owner) && !await IsOwnerAsync(tx, actor))
                throw new SlipwayException(ErrorCode.PermissionDenied, $"{actor.Name} may not make an owner", "only an owner can");
            if (owner is not null) Roles.DemandForService(held);
            return await InsertUserAsync(tx, actor, name, owner, held);
        }, ct);
    }

    private async Task<User> InsertUserAsync(Tx tx, Actor actor, string name, string? owner, IReadOnlyList<string> roles)
    {
        var now = clock.NowMicros();
        var made = await tx.ExecuteAsync(
            "INSERT INTO governance_users (name, kind, owner, roles, created_at, created_by) VALUES (@name, @kind, @owner, @roles, @now, @by) ON CONFLICT (name) DO NOTHING",
            new { name, kind = owner is null ? "person" : "service", owner, roles = JsonSerializer.Serialize(roles), now, by = actor.Name });
        if (made == 0) throw new SlipwayException(ErrorCode.AlreadyExists, $"the user {name} exists", "names are unique over people and service accounts", "choose another name");
        await journal.AppendAsync(tx, actor, "user.created", new Subject("actor", name), new UserCreated(name, owner, roles));
        tx.OnCommitted(Forget);
        return new User(name, owner, roles, Time.FromMicros(now), actor.Name, null);
    }

    private async Task<IReadOnlySet<string>> PermissionsAsync(Session session, Actor actor) => Roles.PermissionsOf(await RolesAsync(session, actor));

    private async Task<bool> IsOwnerAsync(Session session, Actor actor) => actor.Kind == ActorKind.System || (await RolesAsync(session, actor)).Contains(Roles.Owner);

    private async Task DemandOwnerToTouchOwnerAsync(Session session, Actor actor, User user)
    {
        if (user.Roles.Contains(Roles.Owner) && !await IsOwnerAsync(session, actor))
            throw new SlipwayException(ErrorCode.PermissionDenied, $"{actor.Name} may not change {user.Name}", "it is an owner, and only an owner can");
    }

    private static async Task<User> GetUserAsync(Session session, string name)
    {
        return await FindUserAsync(session, name) ?? throw SlipwayException.NotFound("user", name, "slipway user list");
    }

    private static async Task<User?> FindUserAsync(Session session, string name) =>
        (await session.FindAsync<UserRow>($"SELECT {UserColumns} FROM governance_users WHERE name = @name", new { name }))?.ToUser();

    /// <summary>A listed user has its roles. An unlisted one has none, unless this is a single-user server and it is the one who runs it.</summary>
    private IReadOnlyList<string> RolesOf(Actor actor, User? user) => user switch
    {
        { DisabledAt: null } => user.Roles,
        { } => [],
        null => options.SingleUser && actor is { Kind: ActorKind.User, Auth: Unproven } ? OwnerOnly : [],
    };

    private static readonly IReadOnlyList<string> OwnerOnly = [Roles.Owner];
    private static readonly IReadOnlySet<string> OwnerPermissions = Roles.PermissionsOf(OwnerOnly);

    private static string? KeyId(Actor actor) => actor.Auth.StartsWith(KeyAuth, StringComparison.Ordinal) ? actor.Auth[KeyAuth.Length..] : null;

    private static List<string> Distinct(IReadOnlyList<string> roles)
    {
        if (roles.Count > MaxRoles) throw new SlipwayException(ErrorCode.InvalidArgument, "too many roles", $"{roles.Count} were given, at most {MaxRoles} are kept");
        var held = roles.Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal).ToList();
        Roles.DemandSound(held);
        return held;
    }

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Warning, "The last use of key {Key} could not be written; the key works nevertheless")]
        public static partial void LastUseUnwritten(ILogger logger, Exception e, string key);
    }

    private static bool SameHash(string a, string b) =>
        CryptographicOperations.FixedTimeEquals(Encoding.ASCII.GetBytes(a), Encoding.ASCII.GetBytes(b));

    /// <summary>A look-up that was made, also when it found nobody.</summary>
    private sealed record KnownUser(User? User)
    {
        /// <summary>What the user may do; nothing when it is disabled.</summary>
        public IReadOnlySet<string> Permissions { get; } = Roles.PermissionsOf(User is { DisabledAt: null } ? User.Roles : []);
    }

    private sealed class UserRow
    {
        public string Name { get; set; } = "";
        public string? Owner { get; set; }
        public string Roles { get; set; } = "[]";
        public long CreatedAt { get; set; }
        public string CreatedBy { get; set; } = "";
        public long? DisabledAt { get; set; }

        public User ToUser() => new(Name, Owner, JsonSerializer.Deserialize<string[]>(Roles)!, Time.FromMicros(CreatedAt), CreatedBy, DisabledAt is { } at ? Time.FromMicros(at) : null);
    }
}
