using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using MailKit;
using MailKit.Net.Smtp;
using MailKit.Security;
using MimeKit;
using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>
/// Sends one message in the language of its receiver, once. A webhook's headers: `Idempotency-Key` names the notification on every attempt,
/// `Slipway-Event` its kind, and with a secret `Slipway-Signature: t=&lt;Unix seconds&gt;,v1=&lt;hex HMAC-SHA256 of "t.body"&gt;`.
/// </summary>
internal sealed class Sender(Outbound outbound, Secrets secrets, TimeProvider clock)
{
    public const string Purpose = "receiver";
    private const int LongestSummary = 1_000;
    private static readonly TimeSpan LongestMail = TimeSpan.FromSeconds(15);
    private static readonly int[] MailPorts = [25, 465, 587, 2525];

    /// <summary>Sends once. What goes wrong on the way is an answer, not an exception.</summary>
    public async Task<OutboundAnswer> SendAsync(ReceiverRow to, Message message, CancellationToken ct)
    {
        string? secret;
        try
        {
            secret = to.SealedSecret is { } kept ? secrets.Open(Purpose, kept) : to.Secret;
        }
        catch (SlipwayException e)
        {
            return new OutboundAnswer(null, e.Sentence, TimeSpan.Zero);
        }

        bool loopback = to.AllowLoopback == 1;
        switch (to.Kind)
        {
            case ReceiverKind.Email:
                return await MailAsync(to, secret, message, ct);
            case ReceiverKind.Slack:
                return await outbound.PostAsync(secret ?? to.Url, loopback, Slack(message), Headers(message), ct);
            case ReceiverKind.PagerDuty:
                OutboundAnswer answer = await outbound.PostAsync(to.Url, loopback, PagerDuty(message, secret, message.Status == "resolved"), Headers(message), ct);
                // A test must not leave an incident open.
                return answer.Delivered && message.Event == "receiver.test" ? await outbound.PostAsync(to.Url, loopback, PagerDuty(message, secret, resolved: true), Headers(message), ct) : answer;
            case ReceiverKind.Alertmanager:
                return await outbound.PostAsync($"{to.Url}/api/v2/alerts", loopback, Alertmanager(message), Headers(message), ct);
            default:
                string body = message.Write();
                Dictionary<string, string> headers = Headers(message);
                if (secret is not null)
                {
                    headers["Slipway-Signature"] = OutboundSignature.Of(secret, clock.GetUtcNow(), body);
                }

                return await outbound.PostAsync(to.Url, loopback, body, headers, ct);
        }
    }

    /// <summary>Whether several messages may be told as one: not where each one moves a state at the other end.</summary>
    public static bool KnowsDigest(string kind) => kind is ReceiverKind.Webhook or ReceiverKind.Email or ReceiverKind.Slack;

    /// <summary>Host, port and security of a mail server's address.</summary>
    /// <exception cref="SlipwayException">InvalidArgument with the rule it breaks.</exception>
    public static (string Host, int Port, SecureSocketOptions Security) MailServer(string url, bool allowLoopback)
    {
        string? why = null;
        if (!Uri.TryCreate(url, UriKind.Absolute, out Uri? uri) || uri.Scheme is not ("smtp" or "smtps") || url.Length > 2048 || uri.DnsSafeHost.Length == 0 || uri.AbsolutePath.Length > 1)
        {
            why = $"'{url}' is not like smtp://mail.example.org:587 or smtps://mail.example.org:465";
        }

        int port = uri is null or { Port: -1 } ? uri?.Scheme == "smtps" ? 465 : 587 : uri.Port;
        bool local = uri is not null && (uri.IsLoopback || (IPAddress.TryParse(uri.DnsSafeHost, out IPAddress? address) && IPAddress.IsLoopback(address)));
        why ??= uri!.UserInfo.Length > 0 ? "the address carries a user name or password"
            : local ? allowLoopback ? null : $"{uri.Host} is this machine and the receiver does not allow loopback"
            : !MailPorts.Contains(port) ? $"port {port} is not one of {string.Join(", ", MailPorts)}"
            : IPAddress.TryParse(uri.DnsSafeHost, out IPAddress? literal) && !OutboundAddress.IsAllowed(literal, allowLoopback) ? $"{literal} is not a public address"
            : null;
        return why is null
            ? (uri!.DnsSafeHost, port, uri.Scheme == "smtps" ? SecureSocketOptions.SslOnConnect : local ? SecureSocketOptions.StartTlsWhenAvailable : SecureSocketOptions.StartTls)
            : throw SlipwayException.Invalid("the mail server's address is not allowed", why, "give smtp://HOST:587 or smtps://HOST:465 of a public host, or allow loopback for a server on this machine");
    }

    private static Dictionary<string, string> Headers(Message message) => new(StringComparer.Ordinal) { ["Idempotency-Key"] = message.Id, ["Slipway-Event"] = message.Event };

    private async Task<OutboundAnswer> MailAsync(ReceiverRow to, string? password, Message message, CancellationToken ct)
    {
        long begun = clock.GetTimestamp();
        using var timeout = CancellationTokenSource.CreateLinkedTokenSource(ct);
        timeout.CancelAfter(LongestMail);
        try
        {
            var settings = ReceiverSettings.Read(to.Settings);
            (string host, int port, SecureSocketOptions security) = MailServer(to.Url, to.AllowLoopback == 1);
            using MimeMessage mail = Mail(message, settings);
            Stream stream = await OutboundAddress.ConnectAsync(new DnsEndPoint(host, port), to.AllowLoopback == 1, timeout.Token);
            using var smtp = new SmtpClient { CheckCertificateRevocation = false };
            await smtp.ConnectAsync(stream, host, port, security, timeout.Token);
            if (settings.User is { } user)
            {
                await smtp.AuthenticateAsync(user, password ?? "", timeout.Token);
            }

            await smtp.SendAsync(mail, timeout.Token);
            await smtp.DisconnectAsync(quit: true, timeout.Token);
            return new OutboundAnswer(250, null, clock.GetElapsedTime(begun));
        }
        catch (OperationCanceledException) when (!ct.IsCancellationRequested)
        {
            return Answer(null, $"no answer within {LongestMail.TotalSeconds} s");
        }
        catch (SmtpCommandException e)
        {
            return Answer((int)e.StatusCode, $"the mail server answered {(int)e.StatusCode}");
        }
        catch (Exception e) when (e is SlipwayException or HttpRequestException or SocketException or IOException or ProtocolException or ServiceNotAuthenticatedException or MailKit.Security.AuthenticationException or System.Security.Authentication.AuthenticationException or SslHandshakeException or NotSupportedException)
        {
            return Answer(null, e is SlipwayException s ? s.Sentence : e.Message.ReplaceLineEndings(" "));
        }

        OutboundAnswer Answer(int? status, string error) => new(status, error, clock.GetElapsedTime(begun));
    }

    private static MimeMessage Mail(Message message, ReceiverSettings settings)
    {
        var mail = new MimeMessage { Subject = Cut(message.Title), Date = message.At };
        mail.From.Add(MailboxAddress.Parse(settings.From!));
        mail.To.AddRange(settings.To.Select(MailboxAddress.Parse));
        // The same id on every attempt lets a mail store drop the second copy; the group's id makes one thread of it.
        mail.MessageId = $"{message.Id}@slipway";
        mail.References.Add($"{message.GroupKey}@slipway");
        mail.Headers.Add("Idempotency-Key", message.Id);
        mail.Headers.Add("Auto-Submitted", "auto-generated");
        string text = message.Text();
        mail.Body = new BodyBuilder { TextBody = text, HtmlBody = $"<!doctype html><meta charset=\"utf-8\"><h2>{WebUtility.HtmlEncode(message.Title)}</h2><pre style=\"font:14px/1.5 system-ui,sans-serif;white-space:pre-wrap\">{WebUtility.HtmlEncode(text)}</pre>" }.ToMessageBody();
        return mail;
    }

    private static string Slack(Message message)
    {
        string color = message.Status == "resolved" ? "#2e7d32" : message.Alerts.Any(a => a is { State: "firing", Severity: DriftLevel.Severe or DriftLevel.Major }) ? "#c62828" : "#ed6c02";
        return JsonSerializer.Serialize(new
        {
            text = Escape(message.Title),
            attachments = new[] { new { color, fallback = Escape(message.Title), text = Escape(message.Text()), ts = message.At.ToUnixTimeSeconds() } },
        });

        static string Escape(string text) => text.Replace("&", "&amp;", StringComparison.Ordinal).Replace("<", "&lt;", StringComparison.Ordinal).Replace(">", "&gt;", StringComparison.Ordinal);
    }

    private static string PagerDuty(Message message, string? key, bool resolved)
    {
        MessageAlert top = message.Alerts[0];
        return JsonSerializer.Serialize(new
        {
            routing_key = key,
            event_action = resolved ? "resolve" : "trigger",
            dedup_key = message.GroupKey,
            client = "Slipway",
            client_url = message.Server,
            links = message.Server is null ? [] : message.Alerts.Take(10).Select(a => new { href = a.Link, text = Cut(a.Sentence) }).ToArray(),
            payload = new
            {
                summary = Cut($"{message.Title}: {top.Sentence}"),
                source = top.Labels.GetValueOrDefault("endpoint", "slipway"),
                severity = message.Alerts.Where(a => a.State == "firing").Select(a => a.Severity).MaxBy(DriftLevel.Rank) switch { DriftLevel.Severe => "critical", DriftLevel.Major => "error", DriftLevel.Warn => "warning", _ => "info" },
                timestamp = message.At.ToString("O", CultureInfo.InvariantCulture),
                component = top.Labels.GetValueOrDefault("model"),
                @class = top.Labels.GetValueOrDefault("alertname"),
                custom_details = new { alerts = message.Alerts.Select(a => a.Text()).ToArray(), count = message.AlertCount },
            },
        });
    }

    private static string Alertmanager(Message message) => JsonSerializer.Serialize(message.Alerts.Select(a => new Dictionary<string, object?>(StringComparer.Ordinal)
    {
        ["labels"] = a.Labels,
        ["annotations"] = LabelSet.Of(a.Annotations.Append(KeyValuePair.Create("summary", a.Annotations.GetValueOrDefault("summary", a.Sentence)))),
        ["startsAt"] = a.FiredAt,
        // Without an end Alertmanager resolves after five minutes; Slipway tells it again before this one.
        ["endsAt"] = a.ResolvedAt ?? message.ValidUntil,
        ["generatorURL"] = message.Server is null ? "" : a.Link,
    }));

    private static string Cut(string text) => text.Length <= LongestSummary ? text : string.Concat(text.AsSpan(0, LongestSummary - 1), "…");
}
