using System.Buffers.Text;
using System.Text.Json;

namespace Slipway.Foundation;

/// <summary>A part of a list, and the token that asks for the next part (null at the end).</summary>
public sealed record Page<T>(IReadOnlyList<T> Items, string? NextToken);

/// <summary>Opaque page tokens: base64url of a JSON list of the last row's sort keys.</summary>
public static class PageToken
{
    public static string Encode(params string[] parts) => Base64Url.EncodeToString(JsonSerializer.SerializeToUtf8Bytes(parts));

    /// <summary>The parts of a token that this server gave out.</summary>
    /// <exception cref="SlipwayException">InvalidArgument when the token is not one of ours or has another number of parts.</exception>
    public static string[] Decode(string token, int parts)
    {
        try
        {
            if (token.Length <= 4096 && JsonSerializer.Deserialize<string[]>(Base64Url.DecodeFromChars(token)) is { } decoded && decoded.Length == parts)
            {
                return decoded;
            }
        }
        catch (Exception e) when (e is FormatException or JsonException)
        {
            throw Invalid(token, e);
        }

        throw Invalid(token, null);
    }

    private static SlipwayException Invalid(string token, Exception? inner) =>
        new(ErrorCode.InvalidArgument, inner is FormatException ? "Invalid page token, could not base64-decode" : "Invalid page token", $"\"{(token.Length > 40 ? token[..40] + "…" : token)}\" was not given out by this list", "start again without a page token", inner);
}
