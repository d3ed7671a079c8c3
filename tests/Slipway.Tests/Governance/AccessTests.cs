using Slipway.Foundation;
using Slipway.Governance;

namespace Slipway.Tests.Governance;

public class AccessTests
{
    private static readonly CancellationToken None = CancellationToken.None;

    [Fact]
    public void There_are_52_permissions_and_the_owner_has_them_all()
    {
        Assert.Equal(52, Permissions.All.Distinct(StringComparer.Ordinal).Count());
        Assert.Equal(Permissions.All.ToHashSet(StringComparer.Ordinal), Roles.PermissionsOf([Roles.Owner]));
    }

    [Theory]
    [InlineData(Roles.MLEngineer, Roles.Validator)]
    [InlineData(Roles.RiskOfficer, Roles.DataScientist)]
    [InlineData(Roles.RiskOfficer, Roles.MLEngineer)]
    [InlineData(Roles.Admin, Roles.Validator)]
    [InlineData(Roles.PolicyAuthorRole, Roles.PolicyActivatorRole)]
    [InlineData(Roles.Auditor, Roles.DataScientist)]
    [InlineData(Roles.DataSteward, Roles.Deployer)]
    [InlineData(Roles.PrivacyOfficer, Roles.Deployer)]
    [InlineData(Roles.Trainer, Roles.Admin)]
    public void Roles_that_add_up_to_a_toxic_set_cannot_be_held_together(string one, string other) =>
        Assert.Equal(ErrorCode.PreconditionFailed, Assert.Throws<SlipwayException>(() => Roles.DemandSound([one, other])).Code);

    [Theory]
    [InlineData(Roles.Viewer)]
    [InlineData(Roles.Auditor)]
    public void A_reading_role_writes_nothing(string role) => Assert.All(Roles.PermissionsOf([role]), p => Assert.True(Permissions.IsRead(p)));

    [Fact]
    public void A_viewer_sees_no_personal_data_no_raw_log_and_no_audit()
    {
        var viewer = Roles.PermissionsOf([Roles.Viewer]);
        Assert.DoesNotContain(Permissions.DatasetReadPii, viewer);
        Assert.DoesNotContain(Permissions.PredictionLogReadRaw, viewer);
        Assert.DoesNotContain(Permissions.AuditRead, viewer);
    }

    [Fact]
    public void Every_role_is_sound_by_itself() => Assert.All(Roles.All.Where(r => r != Roles.Owner), r => Roles.DemandSound([r]));

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task A_key_speaks_for_its_owner_until_it_is_revoked(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var access = world.Get<Access>();
        await access.CreateUserAsync(Samples.Root, "ada", [Roles.DataScientist], None);
        var made = await access.CreateKeyAsync(Samples.Root, "ada", "laptop", [Roles.DataScientist], null, None);

        Assert.Matches("^slp_[a-z2-7]{8}_[A-Za-z0-9_-]{43}_[0-9a-f]{8}$", made.Secret);
        Assert.Equal(world.Clock.GetUtcNow().AddDays(90), made.Key.ExpiresAt);
        var actor = await access.AuthenticateAsync(made.Secret, None);
        Assert.Equal((ActorKind.ApiKey, "ada", "ada"), (actor!.Kind, actor.Name, actor.Principal));
        Assert.True(await access.AllowsAsync(actor, Permissions.RunWrite, None));
        Assert.False(await access.AllowsAsync(actor, Permissions.IamManage, None));
        Assert.Equal(world.Clock.GetUtcNow(), Assert.Single(await access.ListKeysAsync("ada", None)).LastUsedAt);

        await access.RevokeKeyAsync(Samples.Root, made.Key.Id, None);
        Assert.Null(await access.AuthenticateAsync(made.Secret, None));
        Assert.False(await access.AllowsAsync(actor, Permissions.RunWrite, None));
        await access.RevokeKeyAsync(Samples.Root, made.Key.Id, None);
        Assert.Equal(["apikey.revoked", "apikey.created", "user.created"], await KindsAsync(world));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task The_secret_is_stored_nowhere(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var access = world.Get<Access>();
        await access.CreateUserAsync(Samples.Root, "ada", [Roles.Viewer], None);
        var made = await access.CreateKeyAsync(Samples.Root, "ada", "laptop", [Roles.Viewer], null, None);
        var secret = made.Secret.Substring(13, 43);

        var stored = await world.Database.ReadAsync(s => s.ScalarAsync<string>("SELECT secret_hash FROM governance_keys"), None);
        Assert.Equal(Digest.Sha256Hex(System.Text.Encoding.UTF8.GetBytes(secret)), stored);
        await world.SealAsync();
        var entries = await world.Journal.ListAsync(new JournalFilter(), None);
        Assert.All(entries.Items, e => Assert.DoesNotContain(secret, e.Body.GetRawText(), StringComparison.Ordinal));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task A_changed_expired_or_foreign_key_is_nobody(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var access = world.Get<Access>();
        await access.CreateUserAsync(Samples.Root, "ada", [Roles.Viewer], None);
        var key = (await access.CreateKeyAsync(Samples.Root, "ada", "laptop", [Roles.Viewer], TimeSpan.FromDays(1), None)).Secret;
        var other = (await access.CreateKeyAsync(Samples.Root, "ada", "other", [Roles.Viewer], TimeSpan.FromDays(1), None)).Secret;

        for (var i = 0; i < key.Length; i++)
        {
            var changed = key[..i] + (key[i] == 'a' ? 'b' : 'a') + key[(i + 1)..];
            Assert.Null(await access.AuthenticateAsync(changed, None));
        }
        Assert.Null(await access.AuthenticateAsync("", None));
        Assert.Null(await access.AuthenticateAsync("slp_" + new string('a', 61), None));
        // The id of one key with the secret of another, and a checksum that fits.
        var mixed = new KeyText(key.Substring(4, 8), other.Substring(13, 43)).ToString();
        Assert.NotEqual(key, mixed);
        Assert.Null(await access.AuthenticateAsync(mixed, None));

        Assert.NotNull(await access.AuthenticateAsync(key, None));
        world.Clock.Advance(TimeSpan.FromDays(1));
        Assert.Null(await access.AuthenticateAsync(key, None));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Disabling_a_user_stops_their_keys_at_once(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var access = world.Get<Access>();
        await access.CreateUserAsync(Samples.Root, "ada", [Roles.Viewer], None);
        var key = (await access.CreateKeyAsync(Samples.Root, "ada", "laptop", [Roles.Viewer], null, None)).Secret;
        Assert.NotNull(await access.AuthenticateAsync(key, None));
        Assert.True(await access.AllowsAsync(Samples.Person("ada"), Permissions.RunRead, None));

        await access.DisableUserAsync(Samples.Root, "ada", None);

        Assert.Null(await access.AuthenticateAsync(key, None));
        Assert.False(await access.AllowsAsync(Samples.Person("ada"), Permissions.RunRead, None));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task A_key_never_does_more_than_its_maker_or_its_owner(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var access = world.Get<Access>();
        await access.CreateUserAsync(Samples.Root, "ada", [Roles.DataScientist, Roles.Validator], None);
        await access.CreateUserAsync(Samples.Root, "boss", [Roles.Owner], None);
        await access.CreateUserAsync(Samples.Root, "adm", [Roles.Admin], None);
        var small = await access.AuthenticateAsync((await access.CreateKeyAsync(Samples.Root, "ada", "small", [Roles.Validator], null, None)).Secret, None);

        await Refused(ErrorCode.PermissionDenied, () => access.CreateKeyAsync(Samples.Person("ada"), "ada", "k", [Roles.Admin], null, None));
        await Refused(ErrorCode.PermissionDenied, () => access.CreateKeyAsync(small!, "ada", "k", [Roles.DataScientist], null, None));
        await Refused(ErrorCode.PermissionDenied, () => access.CreateKeyAsync(Samples.Person("ada"), "boss", "k", [Roles.Owner], null, None));
        await Refused(ErrorCode.PermissionDenied, () => access.CreateKeyAsync(Samples.Person("adm"), "boss", "k", [Roles.Owner], null, None));
        await Refused(ErrorCode.PermissionDenied, () => access.CreateUserAsync(Samples.Person("adm"), "eve", [Roles.Owner], None));
        await Refused(ErrorCode.PermissionDenied, () => access.DisableUserAsync(Samples.Person("adm"), "boss", None));
        await Refused(ErrorCode.InvalidArgument, () => access.CreateKeyAsync(Samples.Root, "ada", "k", [], null, None));
        await Refused(ErrorCode.InvalidArgument, () => access.CreateKeyAsync(Samples.Root, "ada", "k", [Roles.Validator], TimeSpan.FromDays(366), None));
        await Refused(ErrorCode.InvalidArgument, () => access.CreateKeyAsync(Samples.Root, "ada", "k", [Roles.Validator], TimeSpan.Zero, None));
        await Refused(ErrorCode.NotFound, () => access.CreateKeyAsync(Samples.Root, "nobody", "k", [Roles.Validator], null, None));
        Assert.False(await access.AllowsAsync(small!, Permissions.RunWrite, None));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Bad_users_are_refused(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var access = world.Get<Access>();
        await access.CreateUserAsync(Samples.Root, "ada", [Roles.Viewer], None);

        await Refused(ErrorCode.AlreadyExists, () => access.CreateUserAsync(Samples.Root, "ada", [Roles.Viewer], None));
        await Refused(ErrorCode.InvalidArgument, () => access.CreateUserAsync(Samples.Root, "Ada", [Roles.Viewer], None));
        await Refused(ErrorCode.InvalidArgument, () => access.CreateUserAsync(Samples.Root, "a b", [Roles.Viewer], None));
        await Refused(ErrorCode.InvalidArgument, () => access.CreateUserAsync(Samples.Root, "", [Roles.Viewer], None));
        var misspelt = await Refused(ErrorCode.InvalidArgument, () => access.CreateUserAsync(Samples.Root, "bob", ["viewr"], None));
        Assert.Equal("did you mean 'viewer'?", misspelt.Why);
        await Refused(ErrorCode.PreconditionFailed, () => access.CreateUserAsync(Samples.Root, "bob", [Roles.Admin, Roles.Validator], None));
        await Refused(ErrorCode.PreconditionFailed, () => access.CreateServiceAsync(Samples.Root, "bot", "ada", [Roles.Validator], None));
        await Refused(ErrorCode.NotFound, () => access.CreateServiceAsync(Samples.Root, "bot", "nobody", [Roles.Trainer], None));
        Assert.Equal(["ada"], (await access.ListUsersAsync(None)).Select(u => u.Name));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task The_unproven_user_is_the_owner_only_of_a_single_user_server(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var (access, options) = (world.Get<Access>(), world.Get<GovernanceOptions>());
        var local = Access.SingleUser("root");

        Assert.True(await access.AllowsAsync(local, Permissions.IamManage, None));
        await access.CreateUserAsync(local, "ada", [Roles.Viewer], None);
        Assert.True(await access.AllowsAsync(local, Permissions.IamManage, None));
        Assert.False(await access.AllowsAsync(Access.SingleUser("ada"), Permissions.IamManage, None));
        Assert.False(await access.AllowsAsync(Samples.Person("stranger"), Permissions.ModelRead, None));
        options.SingleUser = false;
        Assert.False(await access.AllowsAsync(local, Permissions.ModelRead, None));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task The_owner_link_works_once_and_for_fifteen_minutes(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var access = world.Get<Access>();
        Assert.False(await access.HasIdentityAsync(None));
        var late = await access.MintOwnerLinkAsync(None);
        world.Clock.Advance(TimeSpan.FromMinutes(15));
        Assert.Null(await access.RedeemOwnerLinkAsync(late, None));
        var replaced = await access.MintOwnerLinkAsync(None);
        var token = await access.MintOwnerLinkAsync(None);

        Assert.Null(await access.RedeemOwnerLinkAsync(replaced, None));
        Assert.Null(await access.RedeemOwnerLinkAsync(token + "x", None));
        await Refused(ErrorCode.InvalidArgument, () => access.RedeemOwnerLinkAsync(token, "No Name", None));
        var tries = await Task.WhenAll(Enumerable.Range(0, 10).Select(i => access.RedeemOwnerLinkAsync(token, $"owner{i}", None)));

        var first = Assert.Single(tries, t => t is not null)!;
        Assert.True(await access.HasIdentityAsync(None));
        Assert.Equal([first.Actor.Name], (await access.ListUsersAsync(None)).Select(u => u.Name));
        var actor = await access.AuthenticateAsync(first.Key.Secret, None);
        Assert.True(await access.AllowsAsync(actor!, Permissions.IamManage, None));
        await Refused(ErrorCode.PreconditionFailed, () => access.MintOwnerLinkAsync(None));
        Assert.Equal(0, await world.Database.ReadAsync(s => s.ScalarAsync<long>("SELECT COUNT(*) FROM governance_owner_links WHERE token_hash = @token", new { token }), None));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task A_refusal_is_journalled_and_a_flood_of_them_is_counted(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        var access = world.Get<Access>();
        await access.CreateUserAsync(Samples.Root, "vic", [Roles.Viewer], None);

        for (var i = 0; i < 50; i++) await Refused(ErrorCode.PermissionDenied, () => access.DemandAsync(Samples.Person("vic"), Permissions.ModelDelete, new Subject("model", "flights"), None));
        world.Clock.Advance(TimeSpan.FromMinutes(1));
        var last = await Refused(ErrorCode.PermissionDenied, () => access.DemandAsync(Samples.Person("vic"), Permissions.ModelDelete, new Subject("model", "flights"), None));

        Assert.Contains("model.delete", last.Why, StringComparison.Ordinal);
        await world.SealAsync();
        var denied = (await world.Journal.ListAsync(new JournalFilter { Kind = "access.denied" }, None)).Items;
        Assert.Equal(21, denied.Count);
        Assert.All(denied, e => Assert.Equal(("denied", "model.delete", "model:flights"), (e.Outcome, e.Reason, e.Subject.ToString())));
        Assert.Equal(30, denied[0].Read<AccessDenied>().Unwritten);
        await access.DemandAsync(Samples.Person("vic"), Permissions.ModelRead, null, None);
    }

    private static async Task<List<string>> KindsAsync(TestWorld world)
    {
        await world.SealAsync();
        return [.. (await world.Journal.ListAsync(new JournalFilter(), None)).Items.Select(e => e.Kind)];
    }

    private static async Task<SlipwayException> Refused(ErrorCode code, Func<Task> act)
    {
        var refused = await Assert.ThrowsAsync<SlipwayException>(act);
        Assert.Equal(code, refused.Code);
        return refused;
    }
}
