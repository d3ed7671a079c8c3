using System.Data.Common;
using System.Reflection;
using DbUp.Builder;

namespace Slipway.Foundation;

/// <summary>What differs between the two databases; everything else is SQL in their common subset.</summary>
public abstract class Dialect
{
    /// <summary>The name as users write it: <c>sqlite</c> or <c>postgres</c>.</summary>
    public abstract string Name { get; }

    /// <summary>Whether several processes may write at once. SQLite has one writer, inside this process.</summary>
    public abstract bool IsPostgres { get; }

    /// <summary>Values for the <c>$variables$</c> in migration scripts.</summary>
    public abstract IReadOnlyDictionary<string, string> Variables { get; }

    /// <summary>An open connection. The caller gives it back with <see cref="ReturnAsync"/>.</summary>
    public abstract ValueTask<DbConnection> ConnectAsync(bool write, CancellationToken ct);

    /// <summary>An open connection to read with, on which statements run as they are written: along indexes, their tables in the order in which they stand.</summary>
    public virtual ValueTask<DbConnection> ConnectAsWrittenAsync(CancellationToken ct) => ConnectAsync(write: false, ct);

    public abstract ValueTask ReturnAsync(DbConnection connection, bool write);

    /// <summary>Whether the transaction may be run again: it lost a race, and nothing of it was kept.</summary>
    public abstract bool IsRace(Exception e);

    /// <summary>Whether the error says that a unique key exists already.</summary>
    public abstract bool IsDuplicate(Exception e);

    /// <summary>Ends idle connections, so that the database's files can be copied or removed.</summary>
    public abstract ValueTask CloseAsync();

    /// <summary>The upgrade engine of this database, and a lock that keeps a second process from upgrading at the same time.</summary>
    protected internal abstract UpgradeEngineBuilder Upgrade();

    protected internal abstract Task<IAsyncDisposable> LockForUpgradeAsync(CancellationToken ct);
}

/// <summary>A module's migration scripts: the embedded <c>Migrations/*.sql</c> of its assembly, in the order of their names.</summary>
public sealed record MigrationSource(Assembly Assembly);
