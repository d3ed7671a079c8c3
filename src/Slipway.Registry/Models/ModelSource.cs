using System.Globalization;

namespace Slipway.Registry;

/// <summary>Where a version's files come from. A source is never a path of this machine.</summary>
internal static class ModelSource
{
    public const string PromptTag = "mlflow.prompt.is_prompt";

    /// <summary>Checks the form of a source; only prompts may have one without a scheme, and only a plain word.</summary>
    public static void Check(string source, IReadOnlyList<Tag> tags)
    {
        Limits.Require(source, "source");
        var prompt = tags.Any(t => t.Key == PromptTag && t.Value == "true");
        if (prompt && source.Length <= 100 && source.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_'))
        {
            return;
        }

        Limits.CheckStoreUri(source, "source", $"Invalid model version source: {Limits.Quote(source)}");
        if (ArtifactPath.OfUri(source) == "")
        {
            throw SlipwayException.Invalid($"Invalid model version source: {Limits.Quote(source)}", "it names no folder of the artifact store");
        }
    }

    /// <summary>The download location behind a source, and the content that lies there now.</summary>
    public static async Task<Resolved> ResolveAsync(Session session, string source)
    {
        if (LoggedModelId(source) is { } id)
        {
            var model = await LoggedModelRows.LiveAsync(session, id);
            return new(model.ArtifactUri, ArtifactPath.OfUri(model.ArtifactUri) is { } root ? await Artifacts.FilesAsync(session, root) : [], model);
        }

        if (source.StartsWith("models:/", StringComparison.OrdinalIgnoreCase))
        {
            var version = await VersionOfAsync(session, source["models:/".Length..].TrimStart('/'));
            return new(version.StorageUri, ModelRows.ReadFiles(version.Files), null);
        }

        var uri = source;
        if (source.StartsWith("runs:/", StringComparison.OrdinalIgnoreCase))
        {
            var parts = source["runs:/".Length..].TrimStart('/').Split('/', 2);
            var root = await session.FindAsync<string>("SELECT artifact_uri FROM registry_runs WHERE id = @id", new { id = parts[0] }) ?? throw RunLog.NotFound(parts[0]);
            uri = parts.Length == 1 || parts[1].Length == 0 ? root : $"{root}/{parts[1]}";
        }

        return new(uri, ArtifactPath.OfUri(uri) is { Length: > 0 } path ? await Artifacts.FilesAsync(session, path) : [], null);
    }

    /// <summary>The logged model that <c>models:/m-…</c> names, or null for another source.</summary>
    public static string? LoggedModelId(string source) =>
        source.StartsWith("models:/m-", StringComparison.Ordinal) && source.AsSpan("models:/".Length).IndexOfAny('/', '@') < 0 ? source["models:/".Length..] : null;

    /// <summary>The version that <c>NAME/VERSION</c> or <c>NAME@ALIAS</c> names; the alias <c>latest</c> is the newest version.</summary>
    public static async Task<ModelRows.VersionRow> VersionOfAsync(Session session, string reference)
    {
        var at = reference.LastIndexOf('@');
        if (at > 0)
        {
            return await ByAliasAsync(session, reference[..at], reference[(at + 1)..]);
        }

        var slash = reference.LastIndexOf('/');
        if (slash > 0)
        {
            var (name, last) = (reference[..slash], reference[(slash + 1)..]);
            return int.TryParse(last, NumberStyles.None, CultureInfo.InvariantCulture, out var version)
                ? await ModelRows.VersionAsync(session, name, version)
                : last == "latest"
                    ? await ByAliasAsync(session, name, last)
                    : throw Unknown(reference);
        }

        throw Unknown(reference);
    }

    public static async Task<ModelRows.VersionRow> ByAliasAsync(Session session, string name, string alias)
    {
        var model = await ModelRows.ModelAsync(session, name);
        var version = alias.Equals("latest", StringComparison.OrdinalIgnoreCase)
            ? await session.FindAsync<long?>("SELECT MAX(version) FROM registry_versions WHERE model_id = @Id AND deleted = 0", new { model.Id })
            : await session.FindAsync<long?>("SELECT version FROM registry_aliases WHERE model_id = @Id AND alias = @alias", new { model.Id, alias });
        return version is { } found
            ? await ModelRows.VersionAsync(session, name, (int)found)
            : throw new SlipwayException(ErrorCode.InvalidArgument, $"Registered model alias {FilterTokens.Cut(alias)} not found.");
    }

    /// <summary>What a source names.</summary>
    /// <param name="StorageUri">Where the files can be downloaded.</param>
    /// <param name="Files">The content that lies there now.</param>
    /// <param name="Model">The logged model, if it names one.</param>
    internal sealed record Resolved(string StorageUri, IReadOnlyList<ModelFile> Files, LoggedModelRows.Head? Model);

    private static SlipwayException Unknown(string reference) =>
        SlipwayException.Invalid($"{Limits.Quote(reference)} names no model version", next: "write NAME/VERSION or NAME@ALIAS, for example flights/2 or flights@champion");
}
