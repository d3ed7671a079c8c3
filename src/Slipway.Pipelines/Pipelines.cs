using System.Text;
using System.Text.Json;
using Slipway.Pipelines.Steps;

namespace Slipway.Pipelines;

/// <summary>The pipelines in force and every spec that once was.</summary>
#pragma warning disable MA0049 // a facade has the plural of what it keeps, here also the module's name
public sealed class Pipelines
#pragma warning restore MA0049
{
    private const int MostSteps = 20;
    private const string Columns = "name AS Name, version AS Version, digest AS Digest, spec AS Spec, applied_by AS AppliedBy, applied_us AS AppliedUs";

    private readonly Database database;
    private readonly Journal journal;
    private readonly StepKinds kinds;
    private readonly TimeProvider clock;

    internal Pipelines(Database database, Journal journal, StepKinds kinds, TimeProvider clock) =>
        (this.database, this.journal, this.kinds, this.clock) = (database, journal, kinds, clock);

    /// <summary>Puts a spec in force as the next version of its pipeline; the same spec again changes nothing. Runs under way keep theirs.</summary>
    /// <exception cref="SlipwayException">InvalidArgument with everything that is wrong.</exception>
    public async Task<Pipeline> ApplyAsync(Actor actor, PipelineSpec spec, CancellationToken ct)
    {
        Demand("the pipeline cannot be applied", Faults(spec, complete: false));
        var text = CanonicalJson.Serialize(spec);
        var digest = Digest.Sha256Hex(text);
        return await database.WriteAsync(
            async tx =>
            {
                var before = await FindAsync(tx, spec.Name);
                if (before?.Digest == digest)
                {
                    return before;
                }

                var next = new Pipeline(spec, (before?.Version ?? 0) + 1, digest, actor.Principal, clock.GetUtcNow());
                await tx.ExecuteAsync(
                    "INSERT INTO pipelines_specs (name, version, digest, spec, applied_by, applied_us) VALUES (@Name, @Version, @Digest, @text, @AppliedBy, @at)",
                    new { next.Name, next.Version, next.Digest, text = Encoding.UTF8.GetString(text), next.AppliedBy, at = Time.ToMicros(next.AppliedAt) });
                await journal.AppendAsync(tx, actor, Events.PipelineApplied, next.Subject, new PipelineApplied(next.Name, next.Version, digest, before?.Digest));
                return next;
            },
            ct);
    }

    /// <summary>The spec in force.</summary>
    /// <exception cref="SlipwayException">NotFound.</exception>
    public Task<Pipeline> GetAsync(string name, CancellationToken ct) => database.ReadAsync(session => GetAsync(session, name), ct);

    /// <summary>The specs in force, by name.</summary>
    public Task<IReadOnlyList<Pipeline>> ListAsync(CancellationToken ct) => database.ReadAsync<IReadOnlyList<Pipeline>>(
        async session =>
        [
            .. (await session.QueryAsync<Row>(
                $"SELECT {Columns} FROM pipelines_specs p WHERE version = (SELECT MAX(version) FROM pipelines_specs q WHERE q.name = p.name) ORDER BY name")).Select(r => r.Read()),
        ],
        ct);

    internal static async Task<Pipeline> GetAsync(Session session, string name) =>
        await FindAsync(session, name) ?? throw SlipwayException.NotFound("pipeline", name, "slipway pipeline list");

    /// <summary>Everything that is wrong with a spec; <paramref name="complete"/> asks also for what may come with the start.</summary>
    internal List<string> Faults(PipelineSpec spec, bool complete)
    {
        var faults = new List<string>();
        if (!IsName(spec.Name))
        {
            faults.Add($"'{spec.Name}' is no name for a pipeline: 1 to 100 letters, digits, dots, dashes and underscores");
        }

        if (spec.Steps.Count is 0 or > MostSteps)
        {
            faults.Add($"there are {spec.Steps.Count} steps; 1 to {MostSteps} are allowed");
            return faults;
        }

        for (var i = 0; i < spec.Steps.Count; i++)
        {
            var step = spec.Steps[i];
            if (!IsName(step.Name))
            {
                faults.Add($"step {i + 1}: '{step.Name}' is no name for a step");
            }
            else if (spec.Steps.Take(i).Any(s => s.Name == step.Name))
            {
                faults.Add($"step {i + 1}: the name '{step.Name}' is given twice");
            }

            faults.AddRange(kinds.Faults(spec, i, complete).Select(fault => $"step {step.Name}: {fault}"));
        }

        return faults;
    }

    internal static void Demand(string what, List<string> faults)
    {
        if (faults.Count > 0)
        {
            throw new SlipwayException(ErrorCode.InvalidArgument, what, string.Join("; ", faults), "correct what is named and try again");
        }
    }

    internal static bool IsName(string? name) =>
        name is { Length: > 0 and <= 100 } && name[0] != '.' && name.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '-' or '_');

    private static async Task<Pipeline?> FindAsync(Session session, string name) =>
        (await session.FindAsync<Row>($"SELECT {Columns} FROM pipelines_specs WHERE name = @name ORDER BY version DESC LIMIT 1", new { name }))?.Read();

    private sealed class Row
    {
        public string Name { get; set; } = "";

        public long Version { get; set; }

        public string Digest { get; set; } = "";

        public string Spec { get; set; } = "";

        public string AppliedBy { get; set; } = "";

        public long AppliedUs { get; set; }

        public Pipeline Read() => new(
            JsonSerializer.Deserialize<PipelineSpec>(Spec, CanonicalJson.Options) ?? throw new SlipwayException(ErrorCode.DataLoss, $"pipeline \"{Name}\" cannot be read", "its spec is null"),
            (int)Version, Digest, AppliedBy, Time.FromMicros(AppliedUs));
    }
}
