using System.Collections.Concurrent;
using System.Data.Common;
using System.Text.Json;
using Slipway.Foundation;

namespace Slipway.Governance;

/// <summary>API keys: made, presented, revoked.</summary>
public sealed partial class Access
{
    private const int MaxKnown = 10_000;
    private const string KeyColumns = "k.id AS Id, k.owner AS Owner, k.name AS Name, k.secret_hash AS SecretHash, k.roles AS Roles, k.created_at AS CreatedAt, k.created_by AS CreatedBy, k.expires_at AS ExpiresAt, k.revoked_at AS RevokedAt, k.last_used_at AS LastUsedAt";
    private const int MaxKeysPerOwner = 100;
    private const long LastUsedGrain = 60_000_000;

    private readonly ConcurrentDictionary<string, KeyState> knownKeys = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, KnownUser> knownUsers = new(StringComparer.Ordinal);
    private readonly DenialSampler denials = new();
    private long generation;

    /// <summary>Makes a key for a user. The answer holds the only copy of its text.</summary>
    /// <param name="actor">The user itself, or somebody with <c>iam.manage</c>.</param>
    /// <param name="owner">The user or service account that the key acts as.</param>
    /// <param name="name">What it is for.</param>
    /// <param name="roles">Its scope; each must be a role of the owner.</param>
    /// <param name="life">How long it works; null = <see cref="GovernanceOptions.KeyLife"/>.</param>
    /// <param name="ct">Stops waiting.</param>
    /// <exception cref="SlipwayException"><see cref="ErrorCode.NotFound"/> (owner), <see cref="ErrorCode.InvalidArgument"/> (life, name, role), <see cref="ErrorCode.PermissionDenied"/> when the key would get more than its maker or its owner has.</exception>
    public async Task<CreatedApiKey> CreateKeyAsync(Actor actor, string owner, string name, IReadOnlyList<string> roles, TimeSpan? life, CancellationToken ct)
    {
        Names.Demand(name, "key");
        var scope = Distinct(roles);
        if (scope.Count == 0) throw new SlipwayException(ErrorCode.InvalidArgument, $"the key {name} cannot be made", "it has no role, so it could do nothing", "name at least one role of its owner");
        var lasting = life ?? options.KeyLife;
        if (lasting <= TimeSpan.Zero || lasting > options.MaxKeyLife)
            throw new SlipwayException(ErrorCode.InvalidArgument, $"the key {name} cannot be made", $"its life is {lasting}; a key lives more than 0 and at most {options.MaxKeyLife.TotalDays:0} days", "ask for a shorter life and make a new key in time");

        return await database.WriteAsync(async tx =>
        {
            var user = await GetUserAsync(tx, owner);
            if (user.DisabledAt is not null) throw new SlipwayException(ErrorCode.PreconditionFailed, $"the key {name} cannot be made", $"{owner} is disabled");
            if (scope.Except(user.Roles, StringComparer.Ordinal).FirstOrDefault() is { } extra)
                throw new SlipwayException(ErrorCode.PermissionDenied, $"the key {name} cannot have the role {extra}", $"{owner} has only {string.Join(", ", user.Roles)}");
            await DemandMayMintAsync(tx, actor, user, scope);
            if (await tx.ScalarAsync<long>("SELECT COUNT(*) FROM governance_keys WHERE owner = @owner AND revoked_at IS NULL AND expires_at > @now", new { owner, now = clock.NowMicros() }) >= MaxKeysPerOwner)
                throw new SlipwayException(ErrorCode.ResourceExhausted, $"the key {name} cannot be made", $"{owner} has {MaxKeysPerOwner} working keys, the most there may be", "revoke one that is not used");
            return await InsertKeyAsync(tx, actor, owner, name, scope, lasting);
        }, ct);
    }

    /// <summary>The actor a presented key speaks for, or null for anything but a working key of a working user. The reason is not told.</summary>
    public async Task<Actor?> AuthenticateAsync(string presentedKey, CancellationToken ct)
    {
        if (KeyText.TryParse(presentedKey) is not { } text) return null;
        var key = await KnownKeyAsync(text.Id, ct);
        // Compared even where there is no such key, so that the time taken does not tell which ids exist.
        var genuine = SameHash(key?.SecretHash ?? new string('0', 64), text.SecretHash());
        var now = clock.GetUtcNow();
        if (key is null || !genuine || !key.Usable(now)) return null;

        var micros = Time.ToMicros(now);
        if (key.TouchedAt is not { } touched || micros - touched >= LastUsedGrain)
        {
            key.TouchedAt = micros;
            await TouchAsync(text.Id, micros, ct);
        }
        return key.ServiceOf is null
            ? new Actor(ActorKind.ApiKey, key.Owner, KeyAuth + text.Id)
            : new Actor(ActorKind.Service, key.Owner, KeyAuth + text.Id, OnBehalfOf: key.ServiceOf);
    }

    /// <summary>Ends a key at once. Ending it again is harmless.</summary>
    /// <exception cref="SlipwayException"><see cref="ErrorCode.NotFound"/>; <see cref="ErrorCode.PermissionDenied"/> for another's key without <c>iam.manage</c>.</exception>
    public async Task RevokeKeyAsync(Actor actor, string keyId, CancellationToken ct)
    {
        await database.WriteAsync(async tx =>
        {
            var key = await FindKeyAsync(tx, keyId) ?? throw new SlipwayException(ErrorCode.NotFound, $"there is no key {keyId}", null, "slipway key list");
            if (actor.Principal != key.Owner && actor.Name != key.Owner && !(await PermissionsAsync(tx, actor)).Contains(Permissions.IamManage))
                throw new SlipwayException(ErrorCode.PermissionDenied, $"{actor.Name} may not revoke the key {keyId}", $"it belongs to {key.Owner}, and that needs {Permissions.IamManage}");
            var changed = await tx.ExecuteAsync("UPDATE governance_keys SET revoked_at = @now WHERE id = @keyId AND revoked_at IS NULL", new { keyId, now = clock.NowMicros() });
            if (changed > 0) await journal.AppendAsync(tx, actor, "apikey.revoked", new Subject("api-key", keyId), new ApiKeyRevoked(keyId, key.Owner), [new Subject("actor", key.Owner)]);
            tx.OnCommitted(Forget);
        }, ct);
    }

    /// <summary>Keys of one owner, or of all with null, newest first; revoked and expired ones too.</summary>
    public Task<IReadOnlyList<ApiKey>> ListKeysAsync(string? owner, CancellationToken ct) => database.ReadAsync<IReadOnlyList<ApiKey>>(async session =>
        [.. (await session.QueryAsync<KeyRow>($"SELECT {KeyColumns} FROM governance_keys k {(owner is null ? "" : "WHERE k.owner = @owner")} ORDER BY k.created_at DESC, k.id", new { owner })).Select(r => r.ToKey())], ct);

    /// <summary>Grows with every change of a user or a key, here or on another node: what was decided before may not hold any more.</summary>
    public long Generation => Volatile.Read(ref generation);

    /// <summary>Forgets what is remembered about users and keys, on the news that one changed, here or on another node.</summary>
    internal void Forget()
    {
        Interlocked.Increment(ref generation);
        knownKeys.Clear();
        knownUsers.Clear();
    }

    /// <summary>Keeps what was read, unless something changed since the reading began: a revoked key must not come back as a memory.</summary>
    private void Remember<T>(ConcurrentDictionary<string, T> known, string name, T value, long before)
    {
        if (known.Count >= MaxKnown) known.Clear();
        known[name] = value;
        if (Volatile.Read(ref generation) != before) known.TryRemove(name, out _);
    }

    // A full disk stops writes; it must not also lock out everybody who only reads or predicts.
    private async Task TouchAsync(string id, long micros, CancellationToken ct)
    {
        try
        {
            await database.WriteAsync(tx => tx.ExecuteAsync("UPDATE governance_keys SET last_used_at = @micros WHERE id = @id", new { micros, id }), ct);
        }
        catch (Exception e) when (e is DbException or SlipwayException)
        {
            Log.LastUseUnwritten(log, e, id);
        }
    }

    private async Task DemandMayMintAsync(Session session, Actor actor, User owner, IReadOnlyList<string> scope)
    {
        if (await IsOwnerAsync(session, actor)) return;
        var own = await PermissionsAsync(session, actor);
        if (owner.Name != actor.Principal && owner.Owner != actor.Principal && !own.Contains(Permissions.IamManage))
            throw new SlipwayException(ErrorCode.PermissionDenied, $"{actor.Name} may not make a key for {owner.Name}", $"making keys for others needs {Permissions.IamManage}");
        var more = Roles.PermissionsOf(scope).Except(own, StringComparer.Ordinal).Order(StringComparer.Ordinal).ToList();
        if (more.Count > 0)
            throw new SlipwayException(ErrorCode.PermissionDenied, $"{actor.Name} may not make this key", $"it could do more than its maker: {string.Join(", ", more)}", "choose a smaller scope");
    }

    private async Task<CreatedApiKey> InsertKeyAsync(Tx tx, Actor actor, string owner, string name, IReadOnlyList<string> scope, TimeSpan life)
    {
        var text = KeyText.Mint();
        var now = clock.GetUtcNow();
        var key = new ApiKey(text.Id, owner, name, scope, now, actor.Name, now + life, null, null);
        await tx.ExecuteAsync(
            "INSERT INTO governance_keys (id, owner, name, secret_hash, roles, created_at, created_by, expires_at) VALUES (@id, @owner, @name, @hash, @roles, @created, @by, @expires)",
            new { id = key.Id, owner, name, hash = text.SecretHash(), roles = JsonSerializer.Serialize(scope), created = Time.ToMicros(now), by = actor.Name, expires = Time.ToMicros(key.ExpiresAt) });
        await journal.AppendAsync(tx, actor, "apikey.created", key.Subject, new ApiKeyCreated(key.Id, owner, name, scope, key.ExpiresAt), [new Subject("actor", owner)]);
        return new CreatedApiKey(key, text.ToString());
    }

    private async Task<KeyState?> KnownKeyAsync(string id, CancellationToken ct)
    {
        if (knownKeys.TryGetValue(id, out var known)) return known;
        var before = Volatile.Read(ref generation);
        var key = await database.ReadAsync(session => FindKeyAsync(session, id), ct);
        if (key is not null) Remember(knownKeys, id, key, before);
        return key;
    }

    private static async Task<KeyState?> FindKeyAsync(Session session, string id)
    {
        var row = await session.FindAsync<KeyRow>(
            $"""
            SELECT {KeyColumns}, u.roles AS OwnerRoles, u.owner AS ServiceOf, u.disabled_at AS DisabledAt
            FROM governance_keys k JOIN governance_users u ON u.name = k.owner WHERE k.id = @id
            """, new { id });
        return row is null ? null : new KeyState(row);
    }

    /// <summary>A key with what its owner may do, as last read. Its end is checked on every use.</summary>
    private sealed class KeyState(KeyRow row)
    {
        public string Owner { get; } = row.Owner;
        public string? ServiceOf { get; } = row.ServiceOf;
        public string SecretHash { get; } = row.SecretHash;
        public IReadOnlyList<string> Roles { get; } = JsonSerializer.Deserialize<string[]>(row.Roles)!;
        public IReadOnlyList<string> OwnerRoles { get; } = JsonSerializer.Deserialize<string[]>(row.OwnerRoles ?? "[]")!;
        public IReadOnlySet<string> Permissions { get; } = Governance.Roles.PermissionsOf(
            JsonSerializer.Deserialize<string[]>(row.Roles)!.Intersect(JsonSerializer.Deserialize<string[]>(row.OwnerRoles ?? "[]")!, StringComparer.Ordinal));
        public long? TouchedAt { get; set; } = row.LastUsedAt;

        public bool Usable(DateTimeOffset now) => row.RevokedAt is null && row.DisabledAt is null && Time.ToMicros(now) < row.ExpiresAt;
    }

    private sealed class KeyRow
    {
        public string Id { get; set; } = "";
        public string Owner { get; set; } = "";
        public string Name { get; set; } = "";
        public string SecretHash { get; set; } = "";
        public string Roles { get; set; } = "[]";
        public long CreatedAt { get; set; }
        public string CreatedBy { get; set; } = "";
        public long ExpiresAt { get; set; }
        public long? RevokedAt { get; set; }
        public long? LastUsedAt { get; set; }
        public string? OwnerRoles { get; set; }
        public string? ServiceOf { get; set; }
        public long? DisabledAt { get; set; }

        public ApiKey ToKey() => new(Id, Owner, Name, JsonSerializer.Deserialize<string[]>(Roles)!, Time.FromMicros(CreatedAt), CreatedBy, Time.FromMicros(ExpiresAt),
            RevokedAt is { } revoked ? Time.FromMicros(revoked) : null, LastUsedAt is { } used ? Time.FromMicros(used) : null);
    }
}
