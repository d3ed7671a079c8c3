using System.Globalization;

namespace Slipway.Registry;

/// <summary>A run about to be started.</summary>
internal sealed class RunStart(string id, long experimentId, string name, string userId, long startedAt, IReadOnlyList<Tag> tags, Actor actor)
{
    public long StartedAt { get; } = startedAt;

    /// <summary>Known when it is written.</summary>
    public string ArtifactUri { get; private set; } = "";

    /// <summary>Writes runs with their tags and journal entries.</summary>
    /// <returns>For each run null, or why it was refused.</returns>
    public static async Task<IReadOnlyList<SlipwayException?>> WriteAsync(Tx tx, bool postgres, Journal journal, IReadOnlyList<RunStart> runs)
    {
        var refusals = new SlipwayException?[runs.Count];
        var allowed = new List<RunStart>(runs.Count);
        for (var i = 0; i < runs.Count; i++)
        {
            // Runs of one batch mostly belong to one experiment.
            var known = allowed.Find(r => r.ExperimentId == runs[i].ExperimentId);
            try
            {
                runs[i].Location = known?.Location ?? (await Experiments.ActiveAsync(tx, runs[i].ExperimentId)).ArtifactLocation.TrimEnd('/');
                runs[i].ArtifactUri = $"{runs[i].Location}/{runs[i].Id}/artifacts";
                allowed.Add(runs[i]);
            }
            catch (SlipwayException e)
            {
                refusals[i] = e;
            }
        }

        if (allowed.Count == 0)
        {
            return refusals;
        }

        await (postgres ? InsertArraysAsync(tx, allowed) : InsertRowsAsync(tx, allowed));
        foreach (var run in allowed)
        {
            var experiment = run.ExperimentId.ToString(CultureInfo.InvariantCulture);
            await journal.AppendAsync(tx, run.Actor, Events.RunStarted, new Subject("run", run.Id), new RunStarted(experiment, run.Name, Time.FromMicros(run.StartedAt)), [new Subject("experiment", experiment)]);
        }

        return refusals;
    }

    private string Id { get; } = id;

    private long ExperimentId { get; } = experimentId;

    private string Name { get; } = name;

    private string UserId { get; } = userId;

    private IReadOnlyList<Tag> Tags { get; } = tags;

    private Actor Actor { get; } = actor;

    private string Location { get; set; } = "";

    private static async Task InsertRowsAsync(Tx tx, List<RunStart> runs)
    {
        using var insert = tx.Statement("INSERT INTO registry_runs (id, experiment_id, name, user_id, status, started_at, ended_at, artifact_uri, state) VALUES ($1, $2, $3, $4, 'RUNNING', $5, NULL, $6, 0)");
        using var insertTag = tx.Statement("INSERT INTO registry_tags (run_id, key, value) VALUES ($1, $2, $3)");
        foreach (var run in runs)
        {
            await insert.Bind(run.Id).Bind(run.ExperimentId).Bind(run.Name).Bind(run.UserId).Bind(run.StartedAt).Bind(run.ArtifactUri).RunAsync();
            foreach (var (key, value) in run.Tags)
            {
                await insertTag.Bind(run.Id).Bind(key).Bind(value).RunAsync();
            }
        }
    }

    private static async Task InsertArraysAsync(Tx tx, List<RunStart> runs)
    {
        using var insert = tx.Statement(
            """
            WITH r AS (
                INSERT INTO registry_runs (id, experiment_id, name, user_id, status, started_at, ended_at, artifact_uri, state)
                SELECT id, experiment, name, person, 'RUNNING', started, NULL, uri, 0
                FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::text[]) AS u(id, experiment, name, person, started, uri))
            INSERT INTO registry_tags (run_id, key, value) SELECT * FROM unnest($7::text[], $8::text[], $9::text[])
            """);
        var tags = runs.SelectMany(r => r.Tags.Select(t => (r.Id, t.Key, t.Value))).ToList();
        insert.Bind(runs.Select(r => r.Id).ToArray()).Bind(runs.Select(r => r.ExperimentId).ToArray()).Bind(runs.Select(r => r.Name).ToArray())
            .Bind(runs.Select(r => r.UserId).ToArray()).Bind(runs.Select(r => r.StartedAt).ToArray()).Bind(runs.Select(r => r.ArtifactUri).ToArray());
        await insert.Bind(tags.Select(t => t.Id).ToArray()).Bind(tags.Select(t => t.Key).ToArray()).Bind(tags.Select(t => t.Value).ToArray()).RunAsync();
    }
}
