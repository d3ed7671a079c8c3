using Slipway.Foundation;

namespace Slipway.Governance;

/// <summary>The policies in force and every text that once was.</summary>
public sealed class Policies(Database database, Journal journal, TimeProvider clock)
{
    private const string Columns = "name AS Name, version AS Version, digest AS Digest, yaml AS Yaml, applied_at AS AppliedAt, applied_by AS AppliedBy";

    /// <summary>Puts a text in force as the next version of its policy. A text of the same meaning changes nothing.</summary>
    /// <exception cref="SlipwayException"><see cref="ErrorCode.InvalidArgument"/> with every error and its line; <see cref="ErrorCode.TooLarge"/>; <see cref="ErrorCode.Conflict"/> when somebody else applied at the same time.</exception>
    public async Task<Policy> ApplyAsync(Actor actor, string yaml, CancellationToken ct)
    {
        var policy = Policy.Parse(yaml);
        return await database.WriteAsync(async tx =>
        {
            var before = await FindAsync(tx, policy.Name);
            if (before is not null && before.Digest == policy.Digest) return before;

            var next = policy with { Version = (before?.Version ?? 0) + 1, AppliedBy = actor.Principal, AppliedAt = clock.GetUtcNow() };
            var inserted = await tx.ExecuteAsync(
                "INSERT INTO governance_policies (name, version, digest, yaml, applied_at, applied_by) VALUES (@Name, @Version, @Digest, @Yaml, @at, @AppliedBy) ON CONFLICT (name, version) DO NOTHING",
                new { next.Name, Version = (long)next.Version, next.Digest, next.Yaml, at = Time.ToMicros(next.AppliedAt), next.AppliedBy });
            if (inserted == 0)
                throw new SlipwayException(ErrorCode.Conflict, $"the policy {next.Name} was not applied", $"somebody else applied version {next.Version} at the same time", $"slipway policy get {next.Name}");
            await journal.AppendAsync(tx, actor, "policy.changed", next.Subject, new PolicyChanged(next.Name, next.Version, next.Digest, before?.Digest));
            return next;
        }, ct);
    }

    /// <summary>The version in force.</summary>
    /// <exception cref="SlipwayException"><see cref="ErrorCode.NotFound"/>.</exception>
    public Task<Policy> GetAsync(string name, CancellationToken ct) => database.ReadAsync(session => GetAsync(session, name), ct);

    /// <summary>The versions in force, by name.</summary>
    public Task<IReadOnlyList<Policy>> ListAsync(CancellationToken ct) => database.ReadAsync<IReadOnlyList<Policy>>(async session =>
        [.. (await session.QueryAsync<Row>($"SELECT {Columns} FROM governance_policies p WHERE version = (SELECT MAX(version) FROM governance_policies q WHERE q.name = p.name) ORDER BY name")).Select(r => r.ToPolicy())], ct);

    /// <summary>Every version of a policy, newest first.</summary>
    public Task<IReadOnlyList<Policy>> HistoryAsync(string name, CancellationToken ct) => database.ReadAsync<IReadOnlyList<Policy>>(async session =>
        [.. (await session.QueryAsync<Row>($"SELECT {Columns} FROM governance_policies WHERE name = @name ORDER BY version DESC", new { name })).Select(r => r.ToPolicy())], ct);

    /// <summary>
    /// Decides: a pure function of policy and evidence, without clock, input or output, the same today and in ten years.
    /// A missing, unreadable, NaN or infinite fact is an error, and an error never allows.
    /// </summary>
    public static PolicyDecision Evaluate(Policy p, Evidence e) => PolicyRules.Evaluate(p, e);

    internal static async Task<Policy> GetAsync(Session session, string name) =>
        await FindAsync(session, name) ?? throw SlipwayException.NotFound("policy", name, "slipway policy list");

    /// <summary>The text with that meaning, whether or not it is still in force.</summary>
    internal static async Task<Policy> GetByDigestAsync(Session session, string name, string digest)
    {
        var row = await session.FindAsync<Row>($"SELECT {Columns} FROM governance_policies WHERE name = @name AND digest = @digest ORDER BY version DESC LIMIT 1", new { name, digest });
        var policy = row?.ToPolicy();
        return policy is not null && policy.Digest == digest
            ? policy
            : throw new SlipwayException(ErrorCode.DataLoss, $"the text of policy {name} cannot be trusted", $"no stored text has the digest {digest}", "slipway audit verify");
    }

    private static async Task<Policy?> FindAsync(Session session, string name)
    {
        var row = await session.FindAsync<Row>($"SELECT {Columns} FROM governance_policies WHERE name = @name ORDER BY version DESC LIMIT 1", new { name });
        return row?.ToPolicy();
    }

    private sealed class Row
    {
        public string Name { get; set; } = "";
        public long Version { get; set; }
        public string Digest { get; set; } = "";
        public string Yaml { get; set; } = "";
        public long AppliedAt { get; set; }
        public string AppliedBy { get; set; } = "";

        // The digest is computed from the text again, so a row changed by hand is another policy.
        public Policy ToPolicy() => Policy.Parse(Yaml) with { Version = (int)Version, AppliedBy = AppliedBy, AppliedAt = Time.FromMicros(AppliedAt) };
    }
}
