using DbUp.Engine;
using DbUp.Engine.Output;
using Microsoft.Extensions.Logging;

namespace Slipway.Foundation;

/// <summary>Brings the database up to this binary's schema: forward only, safe to run again, and never on a newer schema.</summary>
public sealed class Migrations(Database database, IEnumerable<MigrationSource> sources, ILogger<Migrations> log)
{
    /// <exception cref="SlipwayException">PreconditionFailed when the database was written by a newer Slipway.</exception>
    public async Task RunAsync(CancellationToken ct)
    {
        var scripts = sources.SelectMany(Scripts).Distinct().ToList();
        await using var held = await database.Dialect.LockForUpgradeAsync(ct);
        var engine = database.Dialect.Upgrade()
            .WithScripts(scripts)
            .WithVariables(database.Dialect.Variables.ToDictionary(p => p.Key, p => p.Value))
            .WithTransactionPerScript()
            .LogTo(new Quiet(log))
            .Build();
        var known = scripts.ConvertAll(s => s.Name);
        var newer = engine.GetExecutedScripts().Except(known, StringComparer.Ordinal).ToList();
        if (newer.Count > 0)
        {
            throw new SlipwayException(
                ErrorCode.PreconditionFailed,
                "the database is newer than this slipway",
                $"it holds {string.Join(", ", newer)}, which this binary does not know",
                "start the newer slipway, or restore a backup made before the upgrade");
        }

        var result = engine.PerformUpgrade();
        if (!result.Successful)
        {
            throw new SlipwayException(ErrorCode.Internal, $"the schema could not be upgraded at {result.ErrorScript?.Name}", result.Error.Message, inner: result.Error);
        }
    }

    private IEnumerable<SqlScript> Scripts(MigrationSource source)
    {
        var assembly = source.Assembly;
        var prefix = $"{assembly.GetName().Name}.Migrations.";
        foreach (var resource in assembly.GetManifestResourceNames().Where(n => n.StartsWith(prefix, StringComparison.Ordinal)).Order(StringComparer.Ordinal))
        {
            // NNNN_name.postgres.sql runs on that database only.
            var parts = resource[prefix.Length..].Split('.');
            if (parts.Length == 3 && parts[1] != database.Dialect.Name)
            {
                continue;
            }

            using var stream = assembly.GetManifestResourceStream(resource)!;
            using var reader = new StreamReader(stream);
            yield return new SqlScript($"{assembly.GetName().Name}/{parts[0]}", reader.ReadToEnd());
        }
    }

    private sealed class Quiet(ILogger log) : IUpgradeLog
    {
        public void LogTrace(string format, params object[] args) => Write(LogLevel.Trace, format, args);

        public void LogDebug(string format, params object[] args) => Write(LogLevel.Trace, format, args);

        public void LogInformation(string format, params object[] args) => Write(LogLevel.Debug, format, args);

        public void LogWarning(string format, params object[] args) => Write(LogLevel.Warning, format, args);

        public void LogError(string format, params object[] args) => Write(LogLevel.Error, format, args);

        public void LogError(Exception ex, string format, params object[] args) => Write(LogLevel.Error, format, args);

        private void Write(LogLevel level, string format, object[] args)
        {
            if (log.IsEnabled(level))
            {
                log.Log(level, "{Message}", args.Length == 0 ? format : string.Format(format, args));
            }
        }
    }
}
