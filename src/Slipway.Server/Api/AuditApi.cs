using System.Globalization;
using System.Text.Json;
using System.Threading.Channels;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Hosting;
using Slipway.Foundation;
using Slipway.Governance;

namespace Slipway.Server.Api;

/// <summary>The journal: listed, shown, verified, and followed as server-sent events.</summary>
internal static class AuditApi
{
    private const int FeedBatch = 200;
    private static readonly TimeSpan Heartbeat = TimeSpan.FromSeconds(15);

    /// <summary>An entry as the API gives it: the journal's own fields, and what it says in words.</summary>
    private sealed record AuditEntry(
        long Seq, string Id, DateTimeOffset At, Actor Actor, string Kind, Subject Subject, IReadOnlyList<Subject> Links,
        string Outcome, string? Reason, string Sentence, JsonElement? Body, string Leaf)
    {
        public static AuditEntry Of(JournalEntry e, bool body) =>
            new(e.Seq, e.Id, e.At, e.Actor, e.Kind, e.Subject, e.Links, e.Outcome, e.Reason, Audit.Sentence(e), body ? e.Body : null, e.Leaf);
    }

    public static void Map(ApiRoutes api)
    {
        api.Get("/audit", Permissions.AuditRead, async c => await ListAsync(c));
        api.Get("/audit/{entry}", Permissions.AuditRead, async c => AuditEntry.Of(await GetAsync(c), body: true));
        api.Post("/audit/verify", Permissions.AuditRead, async c => await c.Of<Audit>().VerifyAsync(c.Stop));
        api.Get("/feed", Permissions.AuditRead, async c =>
        {
            await FeedAsync(c);
            return Results.Empty;
        });
    }

    private static async Task<object> ListAsync(Call c)
    {
        var descending = !c.Flag("ascending");
        var token = c.Query("pageToken") is { } text ? Position(text) : (long?)null;
        var page = await c.Of<Journal>().ListAsync(
            new JournalFilter
            {
                AfterSeq = descending ? c.Count("after") : token ?? c.Count("after"),
                BeforeSeq = descending ? token ?? c.Count("before") : c.Count("before"),
                Kind = c.Query("kind"),
                Actor = c.Query("actor"),
                Subject = c.Query("subject"),
                From = c.Time("from"),
                To = c.Time("to"),
                Limit = c.Limit(),
                Descending = descending,
            },
            c.Stop);
        return new Page<AuditEntry>([.. page.Items.Select(e => AuditEntry.Of(e, body: false))], page.NextToken);
    }

    private static long Position(string token) => long.TryParse(PageToken.Decode(token, 1)[0], NumberStyles.None, CultureInfo.InvariantCulture, out var seq)
        ? seq
        : throw SlipwayException.Invalid("the page token is not valid", $"\"{token}\" was not given out by this list", "start again without a page token");

    /// <summary>By id or by number.</summary>
    private static async Task<JournalEntry> GetAsync(Call c)
    {
        var name = c["entry"];
        var entry = long.TryParse(name, NumberStyles.None, CultureInfo.InvariantCulture, out var seq) && seq < long.MaxValue
            ? (await c.Of<Journal>().ListAsync(new JournalFilter { AfterSeq = seq - 1, BeforeSeq = seq + 1, Limit = 1 }, c.Stop)).Items is [var found] ? found : null
            : await c.Of<Journal>().FindAsync(name, c.Stop);
        return entry ?? throw SlipwayException.NotFound("journal entry", name, "slipway audit list");
    }

    /// <summary>
    /// Sends sealed entries as they come. A client that names the last number it saw (Last-Event-ID, or the parameter after)
    /// gets everything since; the news only wakes the reading of the journal, so nothing is lost between the two.
    /// </summary>
    private static async Task FeedAsync(Call c)
    {
        var journal = c.Of<Journal>();
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(c.Stop, c.Of<IHostApplicationLifetime>().ApplicationStopping);
        var news = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });
        using var subscription = c.Of<JournalFeed>().Subscribe(_ => news.Writer.TryWrite(true));
        var header = c.Http.Request.Headers["Last-Event-ID"].ToString();
        var last = long.TryParse(header, NumberStyles.None, CultureInfo.InvariantCulture, out var seen) ? seen : c.Count("after") ?? await journal.HeadAsync(stop.Token);
        var kind = c.Query("kind");

        c.Http.Response.ContentType = "text/event-stream";
        c.Http.Response.Headers.CacheControl = "no-store";
        c.Http.Response.Headers["X-Accel-Buffering"] = "no";
        try
        {
            await c.Http.Response.WriteAsync(": the journal, one event an entry\n\n", stop.Token);
            while (true)
            {
                var page = await journal.ListAsync(new JournalFilter { AfterSeq = last, Kind = kind, Limit = FeedBatch, Descending = false }, stop.Token);
                foreach (var entry in page.Items)
                {
                    var data = JsonSerializer.Serialize(AuditEntry.Of(entry, body: true), ApiJson.Write);
                    await c.Http.Response.WriteAsync($"id: {entry.Seq}\nevent: {entry.Kind}\ndata: {data}\n\n", stop.Token);
                    last = entry.Seq;
                }

                await c.Http.Response.Body.FlushAsync(stop.Token);
                if (page.NextToken is null && !await WaitAsync(news.Reader, stop.Token))
                {
                    await c.Http.Response.WriteAsync(": still here\n\n", stop.Token);
                }
            }
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            // The client left or the server stops; the stream ends between two events.
        }
    }

    /// <summary>Whether there is news; false when it is only time for a sign of life.</summary>
    private static async Task<bool> WaitAsync(ChannelReader<bool> news, CancellationToken stop)
    {
        using var timer = CancellationTokenSource.CreateLinkedTokenSource(stop);
        timer.CancelAfter(Heartbeat);
        try
        {
            return await news.ReadAsync(timer.Token);
        }
        catch (OperationCanceledException) when (!stop.IsCancellationRequested)
        {
            return false;
        }
    }
}
