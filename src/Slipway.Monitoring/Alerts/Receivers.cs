using System.Net.Mail;
using System.Text.Json;
using Slipway.Foundation;
using Slipway.Governance;

namespace Slipway.Monitoring;

/// <summary>The kinds of receivers.</summary>
public static class ReceiverKind
{
    /// <summary>JSON by POST, signed when it has a secret.</summary>
    public const string Webhook = "webhook";

    /// <summary>Mail by SMTP.</summary>
    public const string Email = "email";

    /// <summary>A Slack-compatible incoming webhook; its address is its secret.</summary>
    public const string Slack = "slack";

    /// <summary>A PagerDuty-compatible Events API v2; its secret is the routing key.</summary>
    public const string PagerDuty = "pagerduty";

    /// <summary>An Alertmanager, which groups and routes on its own.</summary>
    public const string Alertmanager = "alertmanager";

    /// <summary>All of them.</summary>
    public static IReadOnlyList<string> All { get; } = [Webhook, Email, Slack, PagerDuty, Alertmanager];
}

/// <summary>Where alerts are sent.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Kind">A value of <see cref="ReceiverKind"/>.</param>
/// <param name="Url">Its address, without what is secret of it.</param>
/// <param name="Signed">Whether it has a secret: the key of the signature, the mail password, the routing key.</param>
/// <param name="AllowLoopback">Whether the address may be this machine.</param>
/// <param name="CreatedBy">Who set it.</param>
/// <param name="CreatedAt">When it was set.</param>
/// <param name="Settings">The rest.</param>
public sealed record Receiver(string Name, string Kind, string Url, bool Signed, bool AllowLoopback, string CreatedBy, DateTimeOffset CreatedAt, ReceiverSettings Settings);

/// <summary>What a receiver has besides its address and its secret.</summary>
public sealed record ReceiverSettings
{
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);

    /// <summary>The most messages in a minute; what is beyond waits, and is told as one digest where the kind knows one. Default 30.</summary>
    public int PerMinute { get; init; } = 30;

    /// <summary>Whether resolved alerts are told.</summary>
    public bool SendResolved { get; init; } = true;

    /// <summary>Mail: the sender.</summary>
    public string? From { get; init; }

    /// <summary>Mail: who gets it.</summary>
    public IReadOnlyList<string> To { get; init; } = [];

    /// <summary>Mail: the name to sign in with; null sends without signing in.</summary>
    public string? User { get; init; }

    internal static ReceiverSettings Read(string json) => JsonSerializer.Deserialize<ReceiverSettings>(json, Json) ?? new ReceiverSettings();

    internal string Write() => JsonSerializer.Serialize(this, Json);
}

/// <summary>A receiver to make or to change.</summary>
/// <param name="Kind">A value of <see cref="ReceiverKind"/>.</param>
/// <param name="Url">https for all but mail, which is smtp://HOST:PORT (STARTTLS) or smtps://HOST:PORT; null is PagerDuty's own.</param>
/// <param name="Secret">Webhook: the key of the signature, at least 16 characters. Mail: the password. PagerDuty: the routing key. Null: none.</param>
/// <param name="AllowLoopback">Whether the address may be this machine; other private addresses are always refused.</param>
/// <param name="Settings">The rest.</param>
public sealed record ReceiverRequest(string Kind, string? Url, string? Secret = null, bool AllowLoopback = false, ReceiverSettings? Settings = null);

/// <summary>What came of a test message.</summary>
/// <param name="Delivered">Whether the receiver took it.</param>
/// <param name="Status">HTTP or SMTP status; null when nothing answered.</param>
/// <param name="Error">Why it was not taken.</param>
/// <param name="Millis">How long it took.</param>
public sealed record ReceiverTest(bool Delivered, int? Status, string? Error, long Millis);

/// <summary>Receivers: webhook, mail, Slack, PagerDuty and Alertmanager. Secrets are kept encrypted and never given out.</summary>
public sealed class Receivers
{
    private const string PagerDutyUrl = "https://events.pagerduty.com/v2/enqueue";
    private readonly Database database;
    private readonly Journal journal;
    private readonly Groups groups;
    private readonly Sender sender;
    private readonly Secrets secrets;
    private readonly TimeProvider clock;

    internal Receivers(Database database, Journal journal, Groups groups, Sender sender, Secrets secrets, TimeProvider clock) =>
        (this.database, this.journal, this.groups, this.sender, this.secrets, this.clock) = (database, journal, groups, sender, secrets, clock);

    /// <summary>Makes or changes a receiver. Which alerts it hears of is said by the routing; without one it hears of all.</summary>
    /// <exception cref="SlipwayException">InvalidArgument when a part of the request is not allowed.</exception>
    public async Task<Receiver> SetAsync(Actor actor, string name, ReceiverRequest request, CancellationToken ct)
    {
        Names.Demand(name, "receiver");
        ReceiverSettings settings = request.Settings ?? new ReceiverSettings();
        string url = Check(request, settings);
        string? secret = request.Kind == ReceiverKind.Slack ? url : request.Secret;
        var row = new ReceiverRow
        {
            Name = name,
            Kind = request.Kind,
            Url = request.Kind == ReceiverKind.Slack ? Shown(url) : url,
            SealedSecret = secret is null ? null : secrets.Seal(Sender.Purpose, secret),
            AllowLoopback = request.AllowLoopback ? 1 : 0,
            Settings = settings.Write(),
            CreatedBy = actor.Name,
            CreatedUs = clock.NowMicros(),
        };
        await database.WriteAsync(
            async tx =>
            {
                await tx.ExecuteAsync(
                    "INSERT INTO monitoring_receivers (name, kind, url, sealed_secret, allow_loopback, settings, created_by, created_us) VALUES (@Name, @Kind, @Url, @SealedSecret, @AllowLoopback, @Settings, @CreatedBy, @CreatedUs) ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, url = excluded.url, secret = NULL, sealed_secret = excluded.sealed_secret, allow_loopback = excluded.allow_loopback, settings = excluded.settings, created_by = excluded.created_by, created_us = excluded.created_us, removed_us = NULL",
                    row);
                await journal.AppendAsync(tx, actor, "receiver.changed", new Subject("receiver", name), new ReceiverChanged(name, row.Url, request.AllowLoopback, secret is not null, Removed: false, row.Kind));
            },
            ct);
        return row.Read();
    }

    /// <summary>The receivers, by name.</summary>
    public async Task<IReadOnlyList<Receiver>> ListAsync(CancellationToken ct)
    {
        IReadOnlyList<ReceiverRow> rows = await database.ReadAsync(s => s.QueryAsync<ReceiverRow>($"SELECT {ReceiverRow.Columns} FROM monitoring_receivers WHERE removed_us IS NULL ORDER BY name"), ct);
        return rows.Select(r => r.Read()).ToArray();
    }

    /// <summary>Sends nothing to the receiver from now on; what still waits for it fails.</summary>
    /// <exception cref="SlipwayException">NotFound; PreconditionFailed while the routing names it.</exception>
    public Task RemoveAsync(Actor actor, string name, CancellationToken ct) => database.WriteAsync(
        async tx =>
        {
            ReceiverRow row = await FindAsync(tx, name);
            if (await tx.ScalarAsync<long>("SELECT COUNT(*) FROM monitoring_routing") > 0 && (await groups.RoutingAsync(tx)).Routes.FirstOrDefault(r => r.Receiver == name) is { } route)
            {
                throw new SlipwayException(ErrorCode.PreconditionFailed, $"receiver {name} cannot be removed", $"route {route.Path} of the routing sends to it", "take it out of the routing and apply that first");
            }

            await tx.ExecuteAsync("UPDATE monitoring_receivers SET removed_us = @now, secret = NULL, sealed_secret = NULL WHERE name = @name", new { now = clock.NowMicros(), name });
            await journal.AppendAsync(tx, actor, "receiver.changed", new Subject("receiver", name), new ReceiverChanged(name, row.Url, row.AllowLoopback == 1, row.Secret is not null || row.SealedSecret is not null, Removed: true, row.Kind));
        },
        ct);

    /// <summary>Sends a test message now, outside of the routing, and says what came of it.</summary>
    /// <exception cref="SlipwayException">NotFound.</exception>
    public async Task<ReceiverTest> TestAsync(Actor actor, string name, CancellationToken ct)
    {
        ReceiverRow row = await database.ReadAsync(s => FindAsync(s, name), ct);
        DateTimeOffset now = clock.GetUtcNow();
        IReadOnlyDictionary<string, string> labels = LabelSet.Of([KeyValuePair.Create("alertname", "slipway-test"), KeyValuePair.Create("severity", DriftLevel.Warn)]);
        var alert = new MessageAlert(
            Ids.New(), LabelSet.Fingerprint(labels), "firing", labels, LabelSet.Empty, $"{actor.Name} tests the receiver {name}; nothing is wrong", DriftLevel.Warn, "", now, now, [], 0, now, null, null, "/alerts", null);
        var message = new Message(Ids.New(), "receiver.test", now, name, "", "slipway-test", labels, "firing", [alert], 1, now.AddMinutes(1), null);
        OutboundAnswer answer = await sender.SendAsync(row, message, ct);
        return new ReceiverTest(answer.Delivered, answer.Status, answer.Error, (long)answer.Took.TotalMilliseconds);
    }

    private static async Task<ReceiverRow> FindAsync(Session s, string name) =>
        await s.FindAsync<ReceiverRow>($"SELECT {ReceiverRow.Columns} FROM monitoring_receivers WHERE name = @name AND removed_us IS NULL", new { name }) ?? throw SlipwayException.NotFound("receiver", name, "slipway receiver list");

    private static string Check(ReceiverRequest request, ReceiverSettings settings)
    {
        if (!ReceiverKind.All.Contains(request.Kind, StringComparer.Ordinal))
        {
            throw SlipwayException.Invalid("the receiver cannot be set", $"there is no kind '{request.Kind}', {Nearest.Hint(request.Kind, ReceiverKind.All) ?? "known: " + string.Join(", ", ReceiverKind.All)}", "slipway receiver set NAME ADDRESS --kind webhook");
        }

        string url = request.Url ?? (request.Kind == ReceiverKind.PagerDuty ? PagerDutyUrl : throw SlipwayException.Invalid("the receiver cannot be set", "it has no address", "slipway receiver set NAME ADDRESS"));
        string? why = request.Secret is { Length: 0 or > 1024 } ? $"the secret has {request.Secret.Length} characters (1 to 1,024, or none)"
            : request.Kind == ReceiverKind.Webhook && request.Secret is { Length: < 16 } ? $"the secret has {request.Secret.Length} characters, at least 16 are needed to sign"
            : request.Kind == ReceiverKind.PagerDuty && request.Secret is null ? "a PagerDuty receiver needs its routing key as secret"
            : settings.PerMinute is < 1 or > 600 ? $"{settings.PerMinute} messages a minute; 1 to 600 are allowed"
            : request.Kind == ReceiverKind.Email ? Mail(request, settings)
            : null;
        if (why is not null)
        {
            throw SlipwayException.Invalid("the receiver cannot be set", why, "slipway receiver set --help");
        }

        if (request.Kind == ReceiverKind.Email)
        {
            Sender.MailServer(url, request.AllowLoopback);
            return url;
        }

        Uri uri = OutboundAddress.Check(url, request.AllowLoopback);
        return request.Kind == ReceiverKind.Alertmanager ? uri.AbsoluteUri.TrimEnd('/') : url;
    }

    private static string? Mail(ReceiverRequest request, ReceiverSettings settings) =>
        settings.From is null || !MailAddress.TryCreate(settings.From, out _) ? $"the sender '{settings.From}' is not a mail address"
        : settings.To.Count is 0 or > 50 ? $"{settings.To.Count} addresses to send to; 1 to 50 are allowed"
        : settings.To.FirstOrDefault(t => !MailAddress.TryCreate(t, out _)) is { } bad ? $"'{bad}' is not a mail address"
        : settings.User is null != request.Secret is null ? "a mail user and a password belong together"
        : null;

    private static string Shown(string url) => new Uri(url).GetLeftPart(UriPartial.Authority) + "/…";
}

/// <summary>A receiver as the table keeps it.</summary>
internal sealed class ReceiverRow
{
    public const string Columns = "name AS Name, kind AS Kind, url AS Url, secret AS Secret, sealed_secret AS SealedSecret, allow_loopback AS AllowLoopback, settings AS Settings, created_by AS CreatedBy, created_us AS CreatedUs";

    public string Name { get; set; } = "";

    public string Kind { get; set; } = "";

    public string Url { get; set; } = "";

    /// <summary>From before secrets were encrypted.</summary>
    public string? Secret { get; set; }

    public string? SealedSecret { get; set; }

    public long AllowLoopback { get; set; }

    public string Settings { get; set; } = "{}";

    public string CreatedBy { get; set; } = "";

    public long CreatedUs { get; set; }

    public Receiver Read() => new(Name, Kind, Url, Secret is not null || SealedSecret is not null, AllowLoopback == 1, CreatedBy, Time.FromMicros(CreatedUs), ReceiverSettings.Read(Settings));
}
