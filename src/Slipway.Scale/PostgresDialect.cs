using System.Data.Common;
using DbUp;
using DbUp.Builder;
using Npgsql;
using Slipway.Foundation;

namespace Slipway.Scale;

/// <summary>PostgreSQL 14 or newer: many writers, serializable transactions.</summary>
public sealed class PostgresDialect(string connectionString) : Dialect
{
    // The same number in each process, so that two that start together upgrade one after the other.
    private const long UpgradeLock = 0x51_1B_3A_90;
    private static readonly Dictionary<string, string> Types = new(StringComparer.Ordinal) { ["blob"] = "BYTEA", ["serial"] = "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY" };

    /// <summary>Leaves the planner no choice but the indexes, each table in its place, and no plan that is made anew for each value.</summary>
    private const string AsWritten = """
        SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off; SET enable_material = off; SET enable_memoize = off;
        SET join_collapse_limit = 1; SET from_collapse_limit = 1; SET max_parallel_workers_per_gather = 0; SET jit = off; SET plan_cache_mode = force_generic_plan
        """;

    private readonly NpgsqlDataSource source = Source(connectionString, "SET jit = off");
    private readonly NpgsqlDataSource asWritten = Source(connectionString, AsWritten);

    public override string Name => "postgres";

    public override bool IsPostgres => true;

    public override IReadOnlyDictionary<string, string> Variables => Types;

    public override ValueTask<DbConnection> ConnectAsync(bool write, CancellationToken ct) => OpenAsync(source, ct);

    public override ValueTask<DbConnection> ConnectAsWrittenAsync(CancellationToken ct) => OpenAsync(asWritten, ct);

    public override ValueTask ReturnAsync(DbConnection connection, bool write) => connection.DisposeAsync();

    public override bool IsRace(Exception e) => Find(e) is PostgresErrorCodes.SerializationFailure or PostgresErrorCodes.DeadlockDetected
        || e is SlipwayException { Code: ErrorCode.Conflict, Message: "the journal has another sealer" };

    public override bool IsDuplicate(Exception e) => Find(e) == PostgresErrorCodes.UniqueViolation;

    public override async ValueTask CloseAsync()
    {
        await source.DisposeAsync();
        await asWritten.DisposeAsync();
    }

    private static async ValueTask<DbConnection> OpenAsync(NpgsqlDataSource source, CancellationToken ct)
    {
        try
        {
            return await source.OpenConnectionAsync(ct);
        }
        catch (NpgsqlException e) when (e is not PostgresException)
        {
            throw new SlipwayException(ErrorCode.Unavailable, "PostgreSQL cannot be reached", e.InnerException?.Message ?? e.Message, "check --postgres and that the server runs", e);
        }
    }

    /// <param name="connectionString">As the user gave it.</param>
    /// <param name="settings">Run once on each connection. Nothing here changes a connection's state afterwards, so it goes back to the pool without a reset, which would cost more than most statements.</param>
    private static NpgsqlDataSource Source(string connectionString, string settings)
    {
        var builder = new NpgsqlDataSourceBuilder(new NpgsqlConnectionStringBuilder(connectionString) { MaxAutoPrepare = 100, ApplicationName = "slipway", NoResetOnClose = true }.ConnectionString);
        builder.UsePhysicalConnectionInitializer(
            connection =>
            {
                using var command = new NpgsqlCommand(settings, connection);
                command.ExecuteNonQuery();
            },
            async connection =>
            {
                await using var command = new NpgsqlCommand(settings, connection);
                await command.ExecuteNonQueryAsync();
            });
        return builder.Build();
    }

    protected override UpgradeEngineBuilder Upgrade() => DeployChanges.To.PostgresqlDatabase(connectionString);

    protected override async Task<IAsyncDisposable> LockForUpgradeAsync(CancellationToken ct)
    {
        var connection = await source.OpenConnectionAsync(ct);
        await using var command = connection.CreateCommand();
        command.CommandText = $"SELECT pg_advisory_lock({UpgradeLock})";
        await command.ExecuteNonQueryAsync(ct);
        return new Lock(connection);
    }

    private static string? Find(Exception? e)
    {
        for (; e is not null; e = e.InnerException)
        {
            if (e is PostgresException p)
            {
                return p.SqlState;
            }
        }

        return null;
    }

    private sealed class Lock(NpgsqlConnection connection) : IAsyncDisposable
    {
        public async ValueTask DisposeAsync()
        {
            await using (var command = connection.CreateCommand())
            {
                command.CommandText = $"SELECT pg_advisory_unlock({UpgradeLock})";
                await command.ExecuteNonQueryAsync();
            }

            await connection.DisposeAsync();
        }
    }
}
