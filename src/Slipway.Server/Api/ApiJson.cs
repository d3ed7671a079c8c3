using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.RegularExpressions;
using Slipway.Foundation;

namespace Slipway.Server.Api;

/// <summary>The JSON of /api/v1: camelCase, enums as words, subjects as <c>kind:name</c>, times in ISO 8601, durations as <c>hh:mm:ss</c>.</summary>
internal static partial class ApiJson
{
    /// <summary>For answers.</summary>
    public static JsonSerializerOptions Write { get; } = new(CanonicalJson.Options) { Converters = { new SubjectText() } };

    /// <summary>For bodies: a member that nobody knows is refused, so that a misspelt one is not silently ignored.</summary>
    public static JsonSerializerOptions Read { get; } = new(Write)
    {
        UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
        RespectNullableAnnotations = true,
        RespectRequiredConstructorParameters = true,
    };

    /// <summary>What is wrong with a body, in the words of its writer: members are named, the server's own types are not.</summary>
    public static string Why(JsonException e) => UnknownMember().Match(e.Message) is { Success: true } unknown
        ? $"the member \"{unknown.Groups["name"].Value}\" is not known here"
        : TypeName().Replace(e.Message, "this document");

    [GeneratedRegex(@"\AThe JSON property '(?<name>[^']*)' could not be mapped", RegexOptions.CultureInvariant, matchTimeoutMilliseconds: 1000)]
    private static partial Regex UnknownMember();

    [GeneratedRegex(@"(?:type )?'?(?:Slipway|System)\.[A-Za-z0-9_.+`\[\], ]+'?", RegexOptions.CultureInvariant, matchTimeoutMilliseconds: 1000)]
    private static partial Regex TypeName();

    private sealed class SubjectText : JsonConverter<Subject>
    {
        public override Subject Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
            Subject.Parse(reader.GetString() ?? throw new JsonException("a subject is text like model-version:flights/7"));

        public override void Write(Utf8JsonWriter writer, Subject value, JsonSerializerOptions options) => writer.WriteStringValue(value.ToString());
    }
}
