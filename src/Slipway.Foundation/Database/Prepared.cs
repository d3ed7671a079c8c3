using System.Data.Common;

namespace Slipway.Foundation;

/// <summary>A statement that runs many times in one session with other values: parsed once, its parameters made once.</summary>
/// <remarks>Npgsql binds a statement that it prepared by itself to the first parameter objects, so they are kept and only their values change.</remarks>
public sealed class Prepared : IDisposable
{
    private readonly DbCommand command;
    private readonly DbParameter[] parameters;

    internal Prepared(DbCommand command, string[] names)
    {
        this.command = command;
        parameters = Array.ConvertAll(names, name =>
        {
            var parameter = command.CreateParameter();
            parameter.ParameterName = "@" + name;
            command.Parameters.Add(parameter);
            return parameter;
        });
    }

    /// <summary>Runs the statement with the values in the order of the names. Null is the SQL NULL.</summary>
    /// <returns>The number of rows it changed.</returns>
    public Task<int> RunAsync(params ReadOnlySpan<object?> values)
    {
        if (values.Length != parameters.Length)
        {
            throw new ArgumentException($"{values.Length} values for {parameters.Length} parameters", nameof(values));
        }

        for (var i = 0; i < values.Length; i++)
        {
            parameters[i].Value = values[i] ?? DBNull.Value;
        }

        return command.ExecuteNonQueryAsync();
    }

    public void Dispose() => command.Dispose();
}
