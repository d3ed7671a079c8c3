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
    private readonly NpgsqlDataSource source = NpgsqlDataSource.Create(new NpgsqlConnectionStringBuilder(connectionString) { MaxAutoPrepare = 100, ApplicationName = "slipway" });

    public override string Name => "postgres";

    public override bool IsPostgres => true;

    public override IReadOnlyDictionary<string, string> Variables => Types;

    public override async ValueTask<DbConnection> ConnectAsync(bool write, CancellationToken ct)
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

    public override ValueTask ReturnAsync(DbConnection connection, bool write) => connection.DisposeAsync();

    public override bool IsRace(Exception e) => Find(e) is PostgresErrorCodes.SerializationFailure or PostgresErrorCodes.DeadlockDetected
        || e is SlipwayException { Code: ErrorCode.Conflict, Message: "the journal has another sealer" };

    public override bool IsDuplicate(Exception e) => Find(e) == PostgresErrorCodes.UniqueViolation;

    public override ValueTask CloseAsync() => source.DisposeAsync();

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
