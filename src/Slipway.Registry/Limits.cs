using System.Buffers;
using System.Globalization;
using System.Text.RegularExpressions;

namespace Slipway.Registry;

/// <summary>The limits and name rules of the MLflow protocol. Every text that enters the registry passes here.</summary>
internal static partial class Limits
{
    public const int MetricsInBatch = 1000;
    public const int ParamsInBatch = 100;
    public const int TagsInBatch = 100;
    public const int AllInBatch = 1000;
    public const int ParamValue = 6000;
    public const int RunTagValue = 8000;
    public const int LoggedModelTagValue = 100_000;
    private const int Key = 250;
    private const int ExperimentName = 500;
    private const int ExperimentTagValue = 5000;
    private const int RegistryTagValue = 100_000;
    private const int Description = 100_000;
    private const int Uri = 2048;
    private static readonly SearchValues<char> LoggedModelNameStops = SearchValues.Create("/:.%\"'");
    private static readonly SearchValues<char> PlainKey = SearchValues.Create("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-. :");

    /// <summary>Key of a metric, parameter or run tag: word characters, slash, dot, dash, space, colon; in normal path form.</summary>
    public static void CheckKey(string? key, string parameter)
    {
        if (IsPlainKey(key))
        {
            return;
        }

        Require(key, parameter);
        CheckLength(key, Key, parameter);
        if (!KeyPattern().IsMatch(key!))
        {
            throw SlipwayException.Invalid(
                $"Invalid value {Quote(key)} for parameter '{parameter}' supplied: Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colon(:) and slashes (/).");
        }

        CheckNormalPath(key!, parameter);
    }

    /// <summary>Whether a key is good at first sight: no letter, digit, dash, dot, space or colon of it could make it another path.</summary>
    public static bool IsPlainKey(string? key) => key is { Length: > 0 and <= Key } && !key.AsSpan().ContainsAnyExcept(PlainKey) && !(key[0] == '.' && key is "." or "..");

    public static void CheckExperimentName(string? name, string parameter = "name")
    {
        Require(name, parameter);
        CheckLength(name, ExperimentName, parameter);
        CheckText(name, parameter);
    }

    public static void CheckModelName(string? name, string parameter = "name")
    {
        if (string.IsNullOrWhiteSpace(name))
        {
            throw SlipwayException.Invalid("Registered model name cannot be empty.");
        }

        CheckLength(name, 256, parameter);
        CheckText(name, parameter);
        if (name.AsSpan().ContainsAny('/', ':'))
        {
            throw SlipwayException.Invalid($"Invalid model name: {Quote(name)}. Model names cannot contain '/' or ':'.");
        }

        CheckNormalPath(name, parameter);
    }

    public static void CheckLoggedModelName(string name)
    {
        CheckLength(name, ExperimentName, "name");
        CheckText(name, "name");
        if (string.IsNullOrWhiteSpace(name) || name.AsSpan().ContainsAny(LoggedModelNameStops))
        {
            throw SlipwayException.Invalid($"Invalid model name ({Quote(name)}) provided. Model name must be a non-empty string and cannot contain the following characters: ['/', ':', '.', '%', '\"', \"'\"]");
        }
    }

    public static void CheckAlias(string? alias)
    {
        CheckAliasForm(alias);
        if (alias!.Equals("latest", StringComparison.OrdinalIgnoreCase) || VersionAlias().IsMatch(alias))
        {
            throw SlipwayException.Invalid($"'{alias}' alias name is reserved.", "latest and v<number> name versions by themselves", "choose another alias");
        }
    }

    public static void CheckAliasForm(string? alias)
    {
        if (string.IsNullOrEmpty(alias))
        {
            throw SlipwayException.Invalid("Registered model alias name cannot be empty.");
        }

        CheckLength(alias, 255, "alias");
        if (!AliasPattern().IsMatch(alias))
        {
            throw SlipwayException.Invalid($"Invalid alias name: {Quote(alias)}. Names may only contain alphanumerics, underscores (_) and dashes (-).");
        }
    }

    /// <summary>A parameter value; longer text is cut, as MLflow does.</summary>
    public static string Param(string? value, string parameter) => Cut(value ?? "", ParamValue, parameter);

    /// <summary>A run tag's value; longer text is cut, as MLflow does.</summary>
    public static string RunTag(string? value, string parameter) => Cut(value ?? "", RunTagValue, parameter);

    public static void CheckExperimentTag(Tag tag)
    {
        CheckKey(tag.Key, "key");
        CheckLength(tag.Value, ExperimentTagValue, "value");
        CheckText(tag.Value, "value");
    }

    public static void CheckRegistryTag(Tag tag)
    {
        Require(tag.Key, "key");
        CheckLength(tag.Key, Key, "key");
        CheckText(tag.Key, "key");
        CheckLength(tag.Value, RegistryTagValue, "value");
        CheckText(tag.Value, "value");
    }

    public static void CheckDescription(string? description)
    {
        CheckLength(description, Description, "description");
        CheckText(description, "description");
    }

    public static void CheckDataset(DatasetInput input, int index)
    {
        CheckDatasetText(input.Name, 500, $"datasets[{index}].dataset.name", required: true);
        CheckDatasetText(input.Digest, 36, $"datasets[{index}].dataset.digest", required: true);
        CheckDatasetText(input.SourceType, 36, $"datasets[{index}].dataset.source_type", required: true);
        CheckDatasetText(input.Source, 65_535, $"datasets[{index}].dataset.source", required: true);
        CheckDatasetText(input.Schema, 1_048_575, $"datasets[{index}].dataset.schema", required: false);
        CheckDatasetText(input.Profile, 16_777_215, $"datasets[{index}].dataset.profile", required: false);
        CheckDatasetText(input.Context, 500, $"datasets[{index}].tags", required: false);
        foreach (var tag in input.Tags ?? [])
        {
            CheckDatasetText(tag.Key, 255, $"datasets[{index}].tags.key", required: true);
            CheckDatasetText(tag.Value, 500, $"datasets[{index}].tags.value", required: false);
        }
    }

    /// <summary>Root of an experiment's artifacts: a URI of a remote store or of this server, never a path of this machine.</summary>
    public static void CheckArtifactLocation(string location)
    {
        CheckLength(location, Uri, "artifact_location");
        CheckText(location, "artifact_location");
        CheckStoreUri(location, "artifact_location", $"Invalid artifact location: {Quote(location)}");
    }

    /// <summary>A URI that clients resolve: has a scheme, names no local file, hides no traversal in any spelling.</summary>
    public static void CheckStoreUri(string uri, string parameter, string what)
    {
        CheckLength(uri, Uri, parameter);
        CheckText(uri, parameter);
        var colon = uri.IndexOf(':', StringComparison.Ordinal);
        var scheme = colon > 1 ? uri[..colon].ToLowerInvariant() : "";
        if (!SchemePattern().IsMatch(scheme) || scheme is "file" || (scheme is "runs" && parameter == "artifact_location"))
        {
            throw SlipwayException.Invalid(what, "paths and file: URIs of the server's machine are refused", "use mlflow-artifacts:/, runs:/, models:/ or the URI of an object store");
        }

        var decoded = uri;
        for (var round = 0; ; round++)
        {
            var next = System.Uri.UnescapeDataString(decoded);
            if (next == decoded)
            {
                break;
            }

            decoded = next;
            if (round == 8)
            {
                throw SlipwayException.Invalid(what, "it is percent-encoded too many times");
            }
        }

        var segments = decoded[(colon + 1)..].Split('/', '\\', '?', '&', '=', ';');
        if (segments.Contains("..", StringComparer.Ordinal) || decoded.Contains('#', StringComparison.Ordinal) || decoded.Any(char.IsControl))
        {
            throw SlipwayException.Invalid(what, "'..', '#' and control characters are refused");
        }
    }

    public static void Require(string? value, string parameter)
    {
        if (string.IsNullOrEmpty(value))
        {
            throw SlipwayException.Invalid($"Missing value for required parameter '{parameter}'.");
        }
    }

    public static void CheckLength(string? value, int limit, string parameter)
    {
        if (value is not null && value.Length > limit)
        {
            throw SlipwayException.Invalid($"'{parameter}' exceeds the maximum length of {limit} characters", $"it has {value.Length}");
        }
    }

    /// <summary>NUL cannot be stored by PostgreSQL.</summary>
    public static void CheckText(string? value, string parameter)
    {
        if (value is not null && value.Contains('\0', StringComparison.Ordinal))
        {
            throw SlipwayException.Invalid($"Invalid value for parameter '{parameter}' supplied: it contains a NUL character");
        }
    }

    public static int PageSize(int limit, int max) => limit >= 1 && limit <= max
        ? limit
        : throw SlipwayException.Invalid($"Invalid value {limit} for parameter 'max_results' supplied: It must be between 1 and {max.ToString(CultureInfo.InvariantCulture)}");

    /// <summary>A text in quotes, short enough for a message.</summary>
    public static string Quote(string? text) => $"'{FilterTokens.Cut(text ?? "")}'";

    private static string Cut(string value, int limit, string parameter)
    {
        CheckText(value, parameter);
        if (value.Length <= limit)
        {
            return value;
        }

        // Never in the middle of a surrogate pair.
        return value[..(char.IsHighSurrogate(value[limit - 1]) ? limit - 1 : limit)];
    }

    private static void CheckDatasetText(string? value, int limit, string parameter, bool required)
    {
        if (required)
        {
            Require(value, parameter);
        }

        CheckLength(value, limit, parameter);
        CheckText(value, parameter);
    }

    private static void CheckNormalPath(string name, string parameter)
    {
        var segments = name.Split('/');
        if (segments.Any(s => s is "" or "." or ".."))
        {
            throw SlipwayException.Invalid($"Invalid value {Quote(name)} for parameter '{parameter}' supplied: Names may be treated as files in certain cases, and must not resolve to other names when treated as such.");
        }
    }

    [GeneratedRegex(@"^[/\w.\- :]*\z", RegexOptions.NonBacktracking)]
    private static partial Regex KeyPattern();

    [GeneratedRegex(@"^[\w\-]*\z", RegexOptions.NonBacktracking)]
    private static partial Regex AliasPattern();

    [GeneratedRegex(@"^[vV]\d+\z", RegexOptions.NonBacktracking)]
    private static partial Regex VersionAlias();

    [GeneratedRegex(@"^[a-z][a-z0-9+.\-]+\z", RegexOptions.NonBacktracking)]
    private static partial Regex SchemePattern();
}
