using System.Buffers;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace Slipway.Foundation;

/// <summary>The two texts of an entry, each in the one byte form of <see cref="CanonicalJson"/>: members stand in the order of their names.</summary>
internal static class EntryText
{
    public const int SaltSize = 32;
    private static readonly JsonWriterOptions Options = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, SkipValidation = true };

    [ThreadStatic]
    private static ArrayBufferWriter<byte>? recordBuffer;

    [ThreadStatic]
    private static ArrayBufferWriter<byte>? leafBuffer;

    /// <summary>The record that is encrypted: a random salt, then what the leaf must not say.</summary>
    public static EntryRecord Record(Actor actor, Subject subject, IReadOnlyList<string> links, object? body)
    {
        var buffer = recordBuffer ?? new ArrayBufferWriter<byte>(2048);
        recordBuffer = null;
        buffer.ResetWrittenCount();
        RandomNumberGenerator.Fill(buffer.GetSpan(SaltSize)[..SaltSize]);
        buffer.Advance(SaltSize);
        using (var json = new Utf8JsonWriter(buffer, Options))
        {
            json.WriteStartObject();
            json.WriteStartObject("actor"u8);
            json.WriteString("auth"u8, actor.Auth);
            json.WriteString("kind"u8, Kind(actor));
            json.WriteString("name"u8, actor.Name);
            WriteOptional(json, "onBehalfOf"u8, actor.OnBehalfOf);
            json.WriteString("principal"u8, actor.Principal);
            WriteOptional(json, "requestId"u8, actor.RequestId);
            json.WriteEndObject();
            json.WritePropertyName("body"u8);
            CanonicalJson.Write(json, body ?? new object());
            json.WriteStartArray("links"u8);
            foreach (var link in links)
            {
                json.WriteStringValue(link);
            }

            json.WriteEndArray();
            json.WriteString("subject"u8, subject.ToString());
            json.WriteEndObject();
        }

        return new EntryRecord(buffer);
    }

    /// <summary>The text that becomes a leaf, before and behind its number.</summary>
    public static (string Head, string Tail) Leaf(
        JournalKeys keys, string id, DateTimeOffset at, Actor actor, string kind, Subject subject, IReadOnlyList<string> links, string outcome, string? reason, byte[] commit, int size, string keyId)
    {
        var buffer = leafBuffer ??= new ArrayBufferWriter<byte>(2048);
        buffer.ResetWrittenCount();
        using var json = new Utf8JsonWriter(buffer, Options);
        json.WriteStartObject();
        json.WriteStartObject("actor"u8);
        json.WriteString("auth"u8, actor.Auth);
        json.WriteString("kind"u8, Kind(actor));
        WriteOptional(json, "obo"u8, actor.OnBehalfOf is null ? null : keys.Pseudonym('p', actor.OnBehalfOf));
        json.WriteString("pid"u8, keys.Pseudonym('p', actor.Name));
        json.WriteEndObject();
        json.WriteStartObject("det"u8);
        json.WriteString("commit"u8, $"sha256:{Convert.ToHexStringLower(commit)}");
        json.WriteString("key"u8, keyId);
        json.WriteNumber("size"u8, size);
        json.WriteEndObject();
        json.WriteString("id"u8, id);
        json.WriteString("log"u8, keys.Origin);
        json.WriteStartObject("obj"u8);
        json.WriteString("id"u8, keys.Pseudonym('s', subject.ToString()));
        json.WriteString("kind"u8, subject.Kind);
        json.WriteEndObject();
        json.WriteString("outcome"u8, outcome);
        json.WriteString("reason"u8, reason);
        json.WriteStartArray("ref"u8);
        foreach (var link in links)
        {
            json.WriteStringValue($"{link.AsSpan(0, link.IndexOf(':', StringComparison.Ordinal))}:{keys.Pseudonym('s', link)}");
        }

        json.WriteEndArray();
        if (actor.RequestId is null)
        {
            json.WriteNull("req"u8);
        }
        else
        {
            json.WriteStartObject("req"u8);
            json.WriteString("id"u8, actor.RequestId);
            json.WriteEndObject();
        }

        json.WriteString("ts"u8, at.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.ffffff'Z'", CultureInfo.InvariantCulture));
        json.WritePropertyName("tseq"u8);
        json.Flush();
        var cut = buffer.WrittenCount;
        json.WriteNumberValue(0);
        json.WriteString("type"u8, kind);
        json.WriteNumber("v"u8, 1);
        json.WriteEndObject();
        json.Flush();
        return (Encoding.UTF8.GetString(buffer.WrittenSpan[..cut]), Encoding.UTF8.GetString(buffer.WrittenSpan[(cut + 1)..]));
    }

    public static byte[] Whole(string head, long seq, string tail) => Encoding.UTF8.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{head}{seq}{tail}"));

    internal static void GiveBack(ArrayBufferWriter<byte> buffer) => recordBuffer = buffer;

    private static string Kind(Actor actor) => actor.Kind switch
    {
        ActorKind.User => "user",
        ActorKind.Service => "service",
        ActorKind.ApiKey => "apiKey",
        _ => "system",
    };

    private static void WriteOptional(Utf8JsonWriter json, ReadOnlySpan<byte> name, string? value)
    {
        if (value is not null)
        {
            json.WriteString(name, value);
        }
    }
}

/// <summary>Salt and detail of one entry, in memory that is used again.</summary>
internal readonly struct EntryRecord(ArrayBufferWriter<byte> buffer) : IDisposable
{
    public int Length => buffer.WrittenCount;

    public ReadOnlySpan<byte> Bytes => buffer.WrittenSpan;

    public void Dispose()
    {
        if (buffer.Capacity <= 64 * 1024)
        {
            EntryText.GiveBack(buffer);
        }
    }
}
