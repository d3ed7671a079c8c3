using System.Globalization;
using System.Text.Json;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Slipway.Foundation;

/// <summary>
/// Who belongs to the cluster, in the database that the nodes share: one row with all members. A change states the version that it was made from, and
/// is refused when another one was faster.
/// </summary>
internal sealed class ClusterTable(Database database, string node) : IMembershipTable
{
    /// <summary>Nobody answers under the addresses of earlier processes of this node: its name is locked. So no other node has to find that out.</summary>
    public Task InitializeMembershipTable(bool tryInitTableVersion) => ChangeAsync(
        null,
        members => members.Exists(member => member.Node == node && member.Status != nameof(SiloStatus.Dead))
            ? [.. members.Select(member => member.Node == node ? member with { Status = nameof(SiloStatus.Dead) } : member)]
            : null);

    public async Task<MembershipTableData> ReadAll() => Shown(await ReadAsync(), _ => true);

    public async Task<MembershipTableData> ReadRow(SiloAddress key) => Shown(await ReadAsync(), member => member.Address == key.ToParsableString());

    public Task<bool> InsertRow(MembershipEntry entry, TableVersion tableVersion) => ChangeAsync(
        tableVersion, members => members.Exists(member => member.Address == entry.SiloAddress.ToParsableString()) ? null : [.. members, Member.Of(entry, tableVersion.Version)]);

    public Task<bool> UpdateRow(MembershipEntry entry, string etag, TableVersion tableVersion) => ChangeAsync(
        tableVersion,
        members => members.FindIndex(member => member.Address == entry.SiloAddress.ToParsableString()) is var at and >= 0 && Text(members[at].Changed) == etag
            ? [.. members[..at], Member.Of(entry, tableVersion.Version), .. members[(at + 1)..]]
            : null);

    public Task UpdateIAmAlive(MembershipEntry entry) => database.WriteAsync(
        async tx =>
        {
            var members = (await ReadAsync(tx)).Members;
            if (members.FindIndex(member => member.Address == entry.SiloAddress.ToParsableString()) is var at and >= 0)
            {
                members[at] = members[at] with { Alive = entry.IAmAliveTime };
                await tx.ExecuteAsync("UPDATE foundation_cluster SET members = @members WHERE id = 1", new { members = Json(members) });
            }
        },
        CancellationToken.None);

    public Task CleanupDefunctSiloEntries(DateTimeOffset beforeDate) => ChangeAsync(
        null,
        members => members.RemoveAll(member => member.Status == nameof(SiloStatus.Dead) && member.Alive < beforeDate.UtcDateTime && member.Started < beforeDate.UtcDateTime) > 0 ? members : null);

    public Task DeleteMembershipTableEntries(string clusterId) => ChangeAsync(null, members => members.Count > 0 ? [] : null);

    /// <param name="next">The version that the change makes; null: the one after the present.</param>
    /// <param name="change">The members afterwards; null refuses.</param>
    private Task<bool> ChangeAsync(TableVersion? next, Func<List<Member>, List<Member>?> change) => database.WriteAsync(
        async tx =>
        {
            var (version, members) = await ReadAsync(tx);
            if ((next is not null && next.VersionEtag != Text(version)) || change(members) is not { } changed)
            {
                return false;
            }

            await tx.ExecuteAsync("UPDATE foundation_cluster SET version = @version, members = @members WHERE id = 1", new { version = next?.Version ?? version + 1, members = Json(changed) });
            return true;
        },
        CancellationToken.None);

    private Task<(long Version, List<Member> Members)> ReadAsync() => database.ReadAsync(ReadAsync, CancellationToken.None);

    private static async Task<(long Version, List<Member> Members)> ReadAsync(Session session)
    {
        var row = await session.FindAsync<Row>("SELECT version AS Version, members AS Members FROM foundation_cluster WHERE id = 1")
            ?? throw new SlipwayException(ErrorCode.DataLoss, "the members of the cluster cannot be read", "the row of foundation_cluster is gone", "restore the database from a backup");
        return (row.Version, JsonSerializer.Deserialize<List<Member>>(row.Members, CanonicalJson.Options)!);
    }

    private static MembershipTableData Shown((long Version, List<Member> Members) table, Func<Member, bool> which) => new(
        [.. table.Members.Where(which).Select(member => Tuple.Create(member.Entry(), Text(member.Changed)))], new TableVersion((int)table.Version, Text(table.Version)));

    private static string Json(List<Member> members) => JsonSerializer.Serialize(members, CanonicalJson.Options);

    private static string Text(long number) => number.ToString(CultureInfo.InvariantCulture);

    private sealed record Suspicion(string By, DateTime At);

    /// <param name="Address">Where the node's silo listens.</param>
    /// <param name="Node">The node's name.</param>
    /// <param name="Status">A <see cref="SiloStatus"/>.</param>
    /// <param name="Started">UTC.</param>
    /// <param name="Alive">UTC, of its last sign of life.</param>
    /// <param name="Suspicions">Who doubts that it lives.</param>
    /// <param name="Changed">The version of the last change, signs of life aside.</param>
    private sealed record Member(string Address, string Node, string Status, DateTime Started, DateTime Alive, IReadOnlyList<Suspicion> Suspicions, long Changed)
    {
        public static Member Of(MembershipEntry entry, long version) => new(
            entry.SiloAddress.ToParsableString(), entry.SiloName ?? "", entry.Status.ToString(), entry.StartTime, entry.IAmAliveTime,
            [.. (entry.SuspectTimes ?? []).Select(suspect => new Suspicion(suspect.Item1.ToParsableString(), suspect.Item2))], version);

        public MembershipEntry Entry() => new()
        {
            SiloAddress = SiloAddress.FromParsableString(Address),
            SiloName = Node,
            HostName = Node,
            RoleName = "slipway",
            Status = Enum.Parse<SiloStatus>(Status),
            StartTime = Started,
            IAmAliveTime = Alive,
            SuspectTimes = [.. Suspicions.Select(suspicion => Tuple.Create(SiloAddress.FromParsableString(suspicion.By), suspicion.At))],
        };
    }

    private sealed class Row
    {
        public long Version { get; set; }

        public string Members { get; set; } = "";
    }
}

/// <summary>
/// A node that the others have declared dead stops, lets its requests in flight end first, and is to be started again by whoever watches the process.
/// Orleans would end the process at once, and with it requests that have nothing to do with the cluster.
/// </summary>
internal sealed partial class ClusterLoss(IHostApplicationLifetime lifetime, ILogger<ClusterLoss> log) : IFatalErrorHandler
{
    public bool IsUnexpected(Exception exception) => exception is not OperationCanceledException || !lifetime.ApplicationStopping.IsCancellationRequested;

    public void OnFatalException(object? sender = null, string? context = null, Exception? exception = null)
    {
        Log.Lost(log, exception, context ?? "");
        lifetime.StopApplication();
    }

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Critical, "This node is no longer part of the cluster ({Context}); it finishes its requests and stops")]
        public static partial void Lost(ILogger logger, Exception? e, string context);
    }
}
