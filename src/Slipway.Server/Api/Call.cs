using System.Globalization;
using System.Text;
using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Slipway.Foundation;

namespace Slipway.Server.Api;

/// <summary>An answer with status 201.</summary>
/// <param name="Value">What was made.</param>
internal sealed record Created(object Value);

/// <summary>One request of /api/v1 as its handler sees it.</summary>
internal readonly struct Call(HttpContext http)
{
    /// <summary>The largest body of a route that says nothing else, in bytes.</summary>
    public const int SmallBody = 1 << 20;

    private const int LargestPage = 1000;

    public HttpContext Http { get; } = http;

    public Actor Actor => Http.GetActor();

    /// <summary>Fires when the client goes away.</summary>
    public CancellationToken Stop => Http.RequestAborted;

    /// <summary>A part of the path.</summary>
    public string this[string name] => Http.GetRouteValue(name) as string ?? throw new InvalidOperationException($"the route has no {name}");

    /// <summary>A facade of a module.</summary>
    public T Of<T>()
        where T : notnull => Http.RequestServices.GetRequiredService<T>();

    /// <summary>A parameter of the query; null when absent or empty.</summary>
    /// <exception cref="SlipwayException">InvalidArgument when it is given twice.</exception>
    public string? Query(string name) => Http.Request.Query.TryGetValue(name, out var values) && values.Count > 0
        ? values.Count == 1 ? values[0] is { Length: > 0 } value ? value : null : throw Bad(name, $"it is given {values.Count} times")
        : null;

    /// <summary>Every value of a query parameter that may be given several times.</summary>
    public IEnumerable<string> Queries(string name) => Http.Request.Query[name].OfType<string>();

    public string Needed(string name) => Query(name) ?? throw Bad(name, "it is missing");

    public bool Flag(string name) => Query(name) switch
    {
        null or "false" => false,
        "true" => true,
        var other => throw Bad(name, $"\"{other}\" is neither true nor false"),
    };

    public int Number(string name, int otherwise, int least, int most) => Query(name) is not { } text
        ? otherwise
        : int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number >= least && number <= most
            ? number
            : throw Bad(name, $"\"{text}\" is not a number from {least} to {most}");

    public long? Count(string name) => Query(name) is not { } text
        ? null
        : long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : throw Bad(name, $"\"{text}\" is not a number");

    public DateTimeOffset? Time(string name) => Query(name) is not { } text
        ? null
        : DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal, out var at)
            ? at
            : throw Bad(name, $"\"{text}\" is not a time like 2026-01-31T12:00:00Z");

    /// <summary>How many items a page has.</summary>
    public int Limit(int most = LargestPage) => Number("limit", Math.Min(100, most), 1, most);

    /// <summary>The asked part of a list that a module gives as a whole.</summary>
    /// <param name="all">The list in its order.</param>
    /// <param name="key">What tells its items apart; the page token carries it.</param>
    public Page<T> Page<T>(IReadOnlyList<T> all, Func<T, string> key)
    {
        var limit = Limit();
        var start = 0;
        if (Query("pageToken") is { } token)
        {
            var last = PageToken.Decode(token, 1)[0];
            while (start < all.Count && key(all[start]) != last)
            {
                start++;
            }

            if (start++ == all.Count)
            {
                throw new SlipwayException(ErrorCode.InvalidArgument, "the next page cannot be given", $"\"{last}\", where the page before ended, is no longer in the list", "start again without a page token");
            }
        }

        var items = all.Skip(start).Take(limit).ToList();
        return new Page<T>(items, start + items.Count < all.Count ? PageToken.Encode(key(items[^1])) : null);
    }

    /// <summary>The JSON body.</summary>
    /// <param name="most">Its largest size in bytes.</param>
    /// <exception cref="SlipwayException">InvalidArgument when it is not declared as JSON, is not of that shape, or has an unknown member.</exception>
    public async Task<T> BodyAsync<T>(long most = SmallBody)
        where T : class
    {
        if (!Http.Request.HasJsonContentType())
        {
            throw new SlipwayException(ErrorCode.InvalidArgument, "the request body is not valid", $"its content type is \"{Http.Request.ContentType}\"", "send application/json");
        }

        LimitBody(most);
        try
        {
            return await JsonSerializer.DeserializeAsync<T>(Http.Request.Body, ApiJson.Read, Stop)
                ?? throw new SlipwayException(ErrorCode.InvalidArgument, "the request body is not valid", "it is null", "send a JSON object");
        }
        catch (JsonException e)
        {
            throw new SlipwayException(ErrorCode.InvalidArgument, "the request body is not valid", ApiJson.Why(e), inner: e);
        }
    }

    /// <summary>The body as text.</summary>
    public async Task<string> TextAsync(long most = SmallBody)
    {
        LimitBody(most);
        using var reader = new StreamReader(Http.Request.Body, new UTF8Encoding(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true));
        try
        {
            return await reader.ReadToEndAsync(Stop);
        }
        catch (DecoderFallbackException e)
        {
            throw new SlipwayException(ErrorCode.InvalidArgument, "the request body is not valid", "it is not UTF-8 text", inner: e);
        }
    }

    public void LimitBody(long most)
    {
        if (Http.Features.Get<IHttpMaxRequestBodySizeFeature>() is { IsReadOnly: false } limit)
        {
            limit.MaxRequestBodySize = most;
        }
    }

    private static SlipwayException Bad(string name, string why) => new(ErrorCode.InvalidArgument, $"the parameter {name} is not valid", why);
}
