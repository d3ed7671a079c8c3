using System.Collections.Concurrent;
using System.Data.Common;
using DbUp;
using DbUp.Builder;
using Microsoft.Data.Sqlite;

namespace Slipway.Foundation;

/// <summary>SQLite in WAL mode: one writer inside this process, readers beside it.</summary>
public sealed class SqliteDialect : Dialect
{
    private static readonly Dictionary<string, string> Types = new(StringComparer.Ordinal) { ["blob"] = "BLOB", ["serial"] = "INTEGER PRIMARY KEY AUTOINCREMENT" };
    private readonly string connectionString;
    private readonly ConcurrentBag<KeepingSqliteConnection> readers = [];
    private readonly string synchronous;

    /// <param name="path">The database file.</param>
    /// <param name="full">Whether a commit waits for the disk (survives power loss), or only for the operating system (survives a killed process).</param>
    /// <param name="readOnly">Opens an existing file without changing it.</param>
    public SqliteDialect(string path, bool full = true, bool readOnly = false)
    {
        connectionString = new SqliteConnectionStringBuilder
        {
            DataSource = path,
            Mode = readOnly ? SqliteOpenMode.ReadOnly : SqliteOpenMode.ReadWriteCreate,
            Pooling = false,
            DefaultTimeout = 30,
        }.ToString();
        synchronous = full ? "FULL" : "NORMAL";
        ReadOnly = readOnly;
    }

    public override string Name => "sqlite";

    public override bool IsPostgres => false;

    public override IReadOnlyDictionary<string, string> Variables => Types;

    internal bool ReadOnly { get; }

    public override async ValueTask<DbConnection> ConnectAsync(bool write, CancellationToken ct)
    {
        if (!write && readers.TryTake(out var pooled))
        {
            return pooled;
        }

        var connection = new KeepingSqliteConnection(connectionString);
        await connection.OpenAsync(ct);
        // LIKE is case-sensitive on PostgreSQL; the pragma makes it so here, and LOWER(a) LIKE LOWER(b) is the other form on both.
        using var pragma = connection.CreateCommand();
        pragma.CommandText = ReadOnly
            ? "PRAGMA busy_timeout=30000; PRAGMA case_sensitive_like=ON; PRAGMA query_only=ON;"
            : $"PRAGMA busy_timeout=30000; PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint={(write ? 0 : 1000)}; PRAGMA synchronous={synchronous}; PRAGMA case_sensitive_like=ON; PRAGMA foreign_keys=ON; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-{(write ? 32768 : 8192)}; PRAGMA mmap_size=268435456;";
        await pragma.ExecuteNonQueryAsync(ct);
        return connection;
    }

    public override ValueTask ReturnAsync(DbConnection connection, bool write)
    {
        if (write || readers.Count >= 16)
        {
            return connection.DisposeAsync();
        }

        readers.Add((KeepingSqliteConnection)connection);
        return ValueTask.CompletedTask;
    }

    public override bool IsRace(Exception e) => false;

    public override bool IsDuplicate(Exception e) => e is SqliteException { SqliteErrorCode: 19 } s && s.SqliteExtendedErrorCode is 2067 or 1555;

    public override async ValueTask CloseAsync()
    {
        while (readers.TryTake(out var reader))
        {
            await reader.DisposeAsync();
        }
    }

    protected internal override UpgradeEngineBuilder Upgrade() => DeployChanges.To.SqliteDatabase(connectionString);

    protected internal override Task<IAsyncDisposable> LockForUpgradeAsync(CancellationToken ct) => Task.FromResult<IAsyncDisposable>(new Nothing());

    private sealed class Nothing : IAsyncDisposable
    {
        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }
}
