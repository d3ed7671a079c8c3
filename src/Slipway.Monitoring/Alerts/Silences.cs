using System.Text.Json;
using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>Keeps alerts quiet for a while. It hides nothing: a silenced alert stays in the inbox.</summary>
/// <param name="Id">32 lower-case hexadecimal digits.</param>
/// <param name="Matchers">All must hold for an alert, or for one of its members (labels `metric` and `column`).</param>
/// <param name="StartsAt">From when.</param>
/// <param name="EndsAt">Until when, not included.</param>
/// <param name="Comment">Why.</param>
/// <param name="CreatedBy">Who.</param>
/// <param name="CreatedAt">When it was made.</param>
/// <param name="ExpiredBy">Who ended it early; null when nobody did.</param>
public sealed record Silence(string Id, IReadOnlyList<Matcher> Matchers, DateTimeOffset StartsAt, DateTimeOffset EndsAt, string Comment, string CreatedBy, DateTimeOffset CreatedAt, string? ExpiredBy)
{
    /// <summary>`silence:{id}`.</summary>
    public Subject Subject => new("silence", Id);

    /// <summary>`pending`, `active` or `expired`.</summary>
    public string StateAt(DateTimeOffset now) => now < StartsAt ? "pending" : now < EndsAt ? "active" : "expired";

    internal bool Matches(IReadOnlyDictionary<string, string> labels) => Matcher.All(Matchers, labels);
}

/// <summary>A silence and what it hides at present.</summary>
/// <param name="Silence">It.</param>
/// <param name="State">`pending`, `active` or `expired`.</param>
/// <param name="Matches">Firing alerts that its matchers take, whether or not it is active.</param>
public sealed record SilenceView(Silence Silence, string State, IReadOnlyList<Alert> Matches)
{
    /// <summary>True when it ends within an hour while alerts that it hides still fire.</summary>
    public bool EndsWhileMatching { get; init; }

    /// <summary>Whether it takes the alert as a whole, and not only some of its members.</summary>
    public bool Hides(Alert alert)
    {
        ArgumentNullException.ThrowIfNull(alert);
        return Silence.Matches(alert.Labels) || (alert.Members.Count > 0 && alert.Members.All(m => Silence.Matches(alert.LabelsOf(m))));
    }
}

/// <summary>What a document does to one of its silences.</summary>
/// <param name="Action">`create`, `change` (its end or its start moves), `none`, or `ended`: its time is over, and nothing is done.</param>
/// <param name="View">The silence as it is afterwards, with the firing alerts that its matchers take; its id is empty where it was not made.</param>
public sealed record SilenceChange(string Action, SilenceView View);

/// <summary>Silences: who keeps which alerts quiet, why, and until when. They end by themselves or are ended; none is deleted.</summary>
public sealed class Silences
{
    /// <summary>The longest silence.</summary>
    public static readonly TimeSpan Longest = TimeSpan.FromDays(366);

    private const int Most = 1_000;
    private static readonly TimeSpan Warning = TimeSpan.FromHours(1);
    private readonly Database database;
    private readonly Journal journal;
    private readonly Groups groups;
    private readonly AlertState state;
    private readonly TimeProvider clock;

    internal Silences(Database database, Journal journal, Groups groups, AlertState state, TimeProvider clock) =>
        (this.database, this.journal, this.groups, this.state, this.clock) = (database, journal, groups, state, clock);

    /// <summary>Silences with what they hide: active ones first, then pending, then the newest expired.</summary>
    /// <param name="expired">Whether expired ones are given as well.</param>
    /// <param name="ct">Cancels.</param>
    public Task<IReadOnlyList<SilenceView>> ListAsync(bool expired, CancellationToken ct) => database.ReadAsync(
        async s =>
        {
            DateTimeOffset now = clock.GetUtcNow();
            IReadOnlyList<SilenceRow> rows = await s.QueryAsync<SilenceRow>(
                $"SELECT {SilenceRow.Columns} FROM monitoring_silences{(expired ? "" : " WHERE end_us > @now")} ORDER BY CASE WHEN end_us > @now THEN 0 ELSE 1 END, start_us DESC, id DESC LIMIT {Most}", new { now = Time.ToMicros(now) });
            IReadOnlyList<Alert> firing = await FiringAsync(s);
            return (IReadOnlyList<SilenceView>)[.. rows.Select(r => View(r.Read(), firing, now)).OrderBy(v => v.State switch { "active" => 0, "pending" => 1, _ => 2 })];
        },
        ct);

    /// <summary>One silence.</summary>
    /// <exception cref="SlipwayException">NotFound.</exception>
    public Task<SilenceView> GetAsync(string id, CancellationToken ct) => database.ReadAsync(async s => View(await GetAsync(s, id), await FiringAsync(s), clock.GetUtcNow()), ct);

    /// <summary>The firing alerts that these matchers take now; nothing is kept.</summary>
    /// <exception cref="SlipwayException">InvalidArgument.</exception>
    public Task<IReadOnlyList<Alert>> PreviewAsync(IReadOnlyList<string> matchers, CancellationToken ct)
    {
        Matcher[] parsed = Check(matchers);
        return database.ReadAsync(async s => Matching(parsed, await FiringAsync(s)), ct);
    }

    /// <summary>Keeps alerts quiet.</summary>
    /// <param name="actor">Who.</param>
    /// <param name="matchers">At least one, such as `model="flights"`; together they must not take every possible alert.</param>
    /// <param name="startsAt">From when; null is now.</param>
    /// <param name="duration">For how long, up to <see cref="Longest"/>.</param>
    /// <param name="comment">Why, 1 to 2,000 characters.</param>
    /// <param name="ct">Cancels.</param>
    /// <exception cref="SlipwayException">InvalidArgument.</exception>
    public async Task<SilenceView> CreateAsync(Actor actor, IReadOnlyList<string> matchers, DateTimeOffset? startsAt, TimeSpan duration, string comment, CancellationToken ct)
    {
        Matcher[] parsed = Check(matchers);
        DateTimeOffset now = clock.GetUtcNow(), start = startsAt is { } s && s > now ? s : now;
        Check(duration, comment);
        var silence = new Silence(Ids.New(), parsed, start, start + duration, comment.Trim(), actor.Name, now, null);
        await database.WriteAsync(tx => InsertAsync(tx, actor, silence), ct);
        return await GetAsync(silence.Id, ct);
    }

    /// <summary>
    /// Makes the silences of a document. One with the same matchers and comment that has not ended is the same silence: where its times differ they are moved.
    /// Silences that the document does not name are left alone.
    /// </summary>
    /// <param name="actor">Who.</param>
    /// <param name="document">YAML of kind `Silences`.</param>
    /// <param name="preview">Only tells what would be done, and which firing alerts each silence takes.</param>
    /// <param name="ct">Cancels.</param>
    /// <exception cref="SlipwayException">InvalidArgument with every problem and its line.</exception>
    public async Task<IReadOnlyList<SilenceChange>> ApplyAsync(Actor actor, string document, bool preview, CancellationToken ct)
    {
        IReadOnlyList<DeclaredSilence> declared = DeclaredSilence.Parse(document);
        return preview ? await database.ReadAsync(s => ChangesAsync(s, null, actor, declared), ct) : await database.WriteAsync(tx => ChangesAsync(tx, tx, actor, declared), ct);
    }

    private async Task<IReadOnlyList<SilenceChange>> ChangesAsync(Session s, Tx? tx, Actor actor, IReadOnlyList<DeclaredSilence> declared)
    {
        DateTimeOffset now = clock.GetUtcNow();
        IReadOnlyList<Alert> firing = await FiringAsync(s);
        Silence[] open = [.. (await s.QueryAsync<SilenceRow>($"SELECT {SilenceRow.Columns} FROM monitoring_silences WHERE end_us > @now ORDER BY created_us, id", new { now = Time.ToMicros(now) })).Select(r => r.Read())];
        var changes = new List<SilenceChange>();
        foreach (DeclaredSilence d in declared)
        {
            DateTimeOffset start = d.StartsAt is { } at && at > now ? at : now;
            Silence? before = open.FirstOrDefault(o => DeclaredSilence.IdentityOf(o.Matchers, o.Comment) == d.Identity);
            // What began in the past cannot begin at another time.
            Silence after = before is null
                ? new Silence("", d.Matchers, start, d.EndsAt, d.Comment, actor.Name, now, null)
                : before with { EndsAt = d.EndsAt, StartsAt = d.StartsAt is null || before.StartsAt <= now ? before.StartsAt : start };
            string action = d.EndsAt <= now ? "ended" : before is null ? "create" : after == before ? "none" : "change";
            if (action == "create" && tx is not null)
            {
                after = after with { Id = Ids.New() };
                await InsertAsync(tx, actor, after);
            }
            else if (action == "change" && tx is not null)
            {
                await MoveAsync(tx, actor, after, now);
            }

            if (action is "create" or "change" && after.EndsAt - after.StartsAt > Longest)
            {
                throw SlipwayException.Invalid("the silence document cannot be used", $"the silence '{after.Comment}' would last until {AlertText.Moment(after.EndsAt)}, longer than {Longest.TotalDays} days", "let it end earlier");
            }

            changes.Add(new SilenceChange(action, View(action == "ended" ? after with { StartsAt = d.StartsAt ?? d.EndsAt } : after, firing, now)));
        }

        return changes;
    }

    /// <summary>Moves the end of a silence that has not ended.</summary>
    /// <exception cref="SlipwayException">NotFound; PreconditionFailed when it has ended; InvalidArgument when it would last too long.</exception>
    public Task<SilenceView> ExtendAsync(Actor actor, string id, TimeSpan by, CancellationToken ct) => ChangeAsync(
        actor, id, "silence.extended", s => s with { EndsAt = s.EndsAt + (by > TimeSpan.Zero && s.EndsAt - s.StartsAt + by <= Longest ? by : throw SlipwayException.Invalid("the silence cannot be extended", $"{Duration.Text(by)} is not above zero, or it would last longer than {Longest.TotalDays} days", "slipway silence extend ID --by 2h")) }, ct);

    /// <summary>Ends a silence now. What it hid is told at once, if it still fires.</summary>
    /// <exception cref="SlipwayException">NotFound; PreconditionFailed when it has ended already.</exception>
    public Task<SilenceView> ExpireAsync(Actor actor, string id, CancellationToken ct) => ChangeAsync(
        actor, id, "silence.expired", s => s with { EndsAt = clock.GetUtcNow(), StartsAt = s.StartsAt > clock.GetUtcNow() ? clock.GetUtcNow() : s.StartsAt, ExpiredBy = actor.Name }, ct);

    private async Task<SilenceView> ChangeAsync(Actor actor, string id, string kind, Func<Silence, Silence> change, CancellationToken ct)
    {
        await database.WriteAsync(
            async tx =>
            {
                Silence before = await GetAsync(tx, id);
                DateTimeOffset now = clock.GetUtcNow();
                if (before.EndsAt <= now)
                {
                    throw new SlipwayException(ErrorCode.PreconditionFailed, $"silence {id} has ended", $"it ended at {AlertText.Moment(before.EndsAt)}", "make a new one with slipway silence create");
                }

                Silence after = change(before);
                if (kind != "silence.expired")
                {
                    await MoveAsync(tx, actor, after, now);
                    return;
                }

                await UpdateAsync(tx, after, now);
                await journal.AppendAsync(tx, actor, "silence.expired", after.Subject, Body(after));
                if (!(await groups.RoutingAsync(tx)).Plain)
                {
                    await groups.HurryMutedAsync(tx, Time.ToMicros(now));
                }

                await TellAsync(tx, after, $"silence {id} was ended by {actor.Name}");
            },
            ct);
        return await GetAsync(id, ct);
    }

    private async Task InsertAsync(Tx tx, Actor actor, Silence silence)
    {
        await SilenceRow.InsertAsync(tx, silence);
        await journal.AppendAsync(tx, actor, "silence.created", silence.Subject, Body(silence));
        await TellAsync(tx, silence, $"by {actor.Name} until {AlertText.Moment(silence.EndsAt)}: {silence.Comment}");
    }

    private async Task MoveAsync(Tx tx, Actor actor, Silence after, DateTimeOffset now)
    {
        await UpdateAsync(tx, after, now);
        await journal.AppendAsync(tx, actor, "silence.extended", after.Subject, Body(after));
        await TellAsync(tx, after, $"silence {after.Id} was extended by {actor.Name} until {AlertText.Moment(after.EndsAt)}");
    }

    private static Task UpdateAsync(Tx tx, Silence after, DateTimeOffset now) => tx.ExecuteAsync(
        "UPDATE monitoring_silences SET start_us = @start, end_us = @end, expired_by = @ExpiredBy, expired_us = @expired WHERE id = @Id",
        new { start = Time.ToMicros(after.StartsAt), end = Time.ToMicros(after.EndsAt), after.ExpiredBy, expired = after.ExpiredBy is null ? (long?)null : Time.ToMicros(now), after.Id });

    private static SilenceChanged Body(Silence s) => new(s.Id, [.. s.Matchers.Select(m => m.ToString())], s.StartsAt, s.EndsAt, s.Comment);

    /// <summary>Every firing alert that the silence takes keeps what became of it.</summary>
    private async Task TellAsync(Tx tx, Silence silence, string text)
    {
        foreach (Alert alert in Matching(silence.Matchers, await FiringAsync(tx)))
        {
            await state.TimelineAsync(tx, alert.Id, "silenced", text);
        }
    }

    private static Matcher[] Check(IReadOnlyList<string> matchers)
    {
        if (matchers.Count is 0 or > 20)
        {
            throw SlipwayException.Invalid("the silence is not valid", $"it has {matchers.Count} matchers, 1 to 20 are allowed", "slipway silence create model=flights --for 2h --comment \"why\"");
        }

        Matcher[] parsed = [.. matchers.Select(Matcher.Parse)];
        return TakeAll(parsed) is { } why ? throw SlipwayException.Invalid("the silence is not valid", why, "name a label and a value, such as model=flights") : parsed;
    }

    /// <summary>Why no silence may have these matchers; null when it may.</summary>
    internal static string? TakeAll(IReadOnlyList<Matcher> matchers) =>
        matchers.All(m => m.Matches(LabelSet.Empty)) ? "its matchers take an alert without any label, so they would silence everything" : null;

    private static void Check(TimeSpan duration, string comment)
    {
        if (duration <= TimeSpan.Zero || duration > Longest || string.IsNullOrWhiteSpace(comment) || comment.Length > 2_000)
        {
            throw SlipwayException.Invalid("the silence is not valid", $"it lasts {Duration.Text(duration)} (more than 0, at most {Longest.TotalDays} days) and its comment has {comment.Length} characters (1 to 2,000)", "say for how long and why: --for 2h --comment \"why\"");
        }
    }

    private static SilenceView View(Silence silence, IReadOnlyList<Alert> firing, DateTimeOffset now)
    {
        string state = silence.StateAt(now);
        IReadOnlyList<Alert> matches = state == "expired" ? [] : Matching(silence.Matchers, firing);
        return new SilenceView(silence, state, matches) { EndsWhileMatching = state == "active" && matches.Count > 0 && silence.EndsAt - now <= Warning };
    }

    private static IReadOnlyList<Alert> Matching(IReadOnlyList<Matcher> matchers, IReadOnlyList<Alert> firing) =>
        [.. firing.Where(a => Matcher.All(matchers, a.Labels) || a.Members.Any(m => Matcher.All(matchers, a.LabelsOf(m))))];

    private static async Task<IReadOnlyList<Alert>> FiringAsync(Session s) =>
        [.. (await s.QueryAsync<AlertRow>($"SELECT {AlertRow.Columns} FROM monitoring_alerts WHERE state = 'firing' ORDER BY fired_us DESC, id DESC LIMIT {Alerts.LargestPage}")).Select(r => r.Read())];

    private static async Task<Silence> GetAsync(Session s, string id) =>
        (await s.FindAsync<SilenceRow>($"SELECT {SilenceRow.Columns} FROM monitoring_silences WHERE id = @id", new { id }))?.Read() ?? throw SlipwayException.NotFound("silence", id, "slipway silence list");
}

/// <summary>A silence as the table keeps it.</summary>
internal sealed class SilenceRow
{
    public const string Columns = "id AS Id, matchers AS Matchers, start_us AS StartUs, end_us AS EndUs, comment AS Comment, created_by AS CreatedBy, created_us AS CreatedUs, expired_by AS ExpiredBy";

    public string Id { get; set; } = "";

    public string Matchers { get; set; } = "";

    public long StartUs { get; set; }

    public long EndUs { get; set; }

    public string Comment { get; set; } = "";

    public string CreatedBy { get; set; } = "";

    public long CreatedUs { get; set; }

    public string? ExpiredBy { get; set; }

    public static Task InsertAsync(Tx tx, Silence s) => tx.ExecuteAsync(
        "INSERT INTO monitoring_silences (id, matchers, start_us, end_us, comment, created_by, created_us) VALUES (@Id, @matchers, @start, @end, @Comment, @CreatedBy, @created)",
        new { s.Id, matchers = JsonSerializer.Serialize(s.Matchers.Select(m => m.ToString())), start = Time.ToMicros(s.StartsAt), end = Time.ToMicros(s.EndsAt), s.Comment, s.CreatedBy, created = Time.ToMicros(s.CreatedAt) });

    public Silence Read() => new(
        Id, [.. JsonSerializer.Deserialize<string[]>(Matchers)!.Select(Matcher.Parse)], Time.FromMicros(StartUs), Time.FromMicros(EndUs), Comment, CreatedBy, Time.FromMicros(CreatedUs), ExpiredBy);
}
