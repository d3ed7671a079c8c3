using System.Data.Common;
using System.Text;

namespace Slipway.Foundation;

/// <summary>
/// A statement for the hot paths, kept prepared on its connection: parameters are <c>$1</c>, <c>$2</c>, … and are bound in
/// that order; rows are read column by column without a mapper. Dispose gives it back to its connection.
/// </summary>
public abstract class Statement : IDisposable
{
    public abstract Statement Bind(long value);

    public abstract Statement Bind(double value);

    /// <summary>Null is the SQL NULL.</summary>
    public abstract Statement Bind(string? value);

    /// <summary>Null is the SQL NULL.</summary>
    public abstract Statement Bind(byte[]? value);

    /// <summary>A whole array as one value, for unnest and ANY. PostgreSQL only.</summary>
    public abstract Statement Bind(Array values);

    /// <summary>A value whose type is known only at run time: long, double, string, bytes or an array of them.</summary>
    public Statement BindAny(object value) => value switch
    {
        string text => Bind(text),
        long integer => Bind(integer),
        int integer => Bind(integer),
        double number => Bind(number),
        byte[] bytes => Bind(bytes),
        Array values => Bind(values),
        _ => throw new ArgumentException($"a {value.GetType().Name} cannot be bound", nameof(value)),
    };

    /// <summary>Runs it to its end; the parameters may then be bound again.</summary>
    /// <returns>How many rows it changed.</returns>
    public abstract ValueTask<int> RunAsync();

    /// <summary>Moves to the first or next row; after the last one the parameters may be bound again.</summary>
    public abstract ValueTask<bool> NextAsync();

    public abstract bool IsNull(int column);

    public abstract long Long(int column);

    public abstract double Double(int column);

    public abstract string Text(int column);

    public string? TextOrNull(int column) => IsNull(column) ? null : Text(column);

    public abstract byte[] Bytes(int column);

    /// <summary>A text as UTF-8 or a blob, valid until the next row.</summary>
    public abstract ReadOnlySpan<byte> Raw(int column);

    public abstract void Dispose();
}

/// <summary>A statement over ADO.NET. The provider prepares it by itself after some uses.</summary>
/// <remarks>Npgsql binds such a statement to the first parameter objects, so they are kept and only their values change.</remarks>
internal sealed class AdoStatement(DbCommand command, CancellationToken ct) : Statement
{
    private DbDataReader? reader;
    private int bound;

    public override Statement Bind(long value) => Set(value);

    public override Statement Bind(double value) => Set(value);

    public override Statement Bind(string? value) => Set(value);

    public override Statement Bind(byte[]? value) => Set(value);

    public override Statement Bind(Array values) => Set(values);

    public override async ValueTask<int> RunAsync()
    {
        bound = 0;
        return await command.ExecuteNonQueryAsync(ct);
    }

    public override async ValueTask<bool> NextAsync()
    {
        bound = 0;
        reader ??= await command.ExecuteReaderAsync(ct);
        if (await reader.ReadAsync(ct))
        {
            return true;
        }

        await reader.DisposeAsync();
        reader = null;
        return false;
    }

    public override bool IsNull(int column) => reader!.IsDBNull(column);

    public override long Long(int column) => reader!.GetInt64(column);

    public override double Double(int column) => reader!.GetDouble(column);

    public override string Text(int column) => reader!.GetString(column);

    public override byte[] Bytes(int column) => reader!.GetFieldValue<byte[]>(column);

    public override ReadOnlySpan<byte> Raw(int column) => reader!.GetFieldType(column) == typeof(string) ? Encoding.UTF8.GetBytes(reader.GetString(column)) : Bytes(column);

    public override void Dispose()
    {
        reader?.Dispose();
        command.Dispose();
    }

    private AdoStatement Set(object? value)
    {
        if (bound < command.Parameters.Count)
        {
            command.Parameters[bound].Value = value ?? DBNull.Value;
        }
        else
        {
            var parameter = command.CreateParameter();
            parameter.Value = value ?? DBNull.Value;
            command.Parameters.Add(parameter);
        }

        bound++;
        return this;
    }
}
