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
        var allowed = postgres ? await InsertArraysAsync(tx, runs, refusals) : await InsertRowsAsync(tx, runs, refusals);
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

    private static async Task<List<RunStart>> InsertRowsAsync(Tx tx, IReadOnlyList<RunStart> runs, SlipwayException?[] refusals)
    {
        var allowed = new List<RunStart>(runs.Count);
        using var insert = tx.Statement("INSERT INTO registry_runs (id, experiment_id, name, user_id, status, started_at, ended_at, artifact_uri, state) VALUES ($1, $2, $3, $4, 'RUNNING', $5, NULL, $6, 0)");
        using var insertTag = tx.Statement("INSERT INTO registry_tags (run_id, key, value) VALUES ($1, $2, $3)");
        for (var i = 0; i < runs.Count; i++)
        {
            var run = runs[i];
            try
            {
                // Runs of one batch mostly belong to one experiment.
                run.Location = allowed.Find(r => r.ExperimentId == run.ExperimentId)?.Location ?? (await Experiments.ActiveAsync(tx, run.ExperimentId)).ArtifactLocation.TrimEnd('/');
            }
            catch (SlipwayException e)
            {
                refusals[i] = e;
                continue;
            }

            run.ArtifactUri = $"{run.Location}/{run.Id}/artifacts";
            await insert.Bind(run.Id).Bind(run.ExperimentId).Bind(run.Name).Bind(run.UserId).Bind(run.StartedAt).Bind(run.ArtifactUri).RunAsync();
            foreach (var (key, value) in run.Tags)
            {
                await insertTag.Bind(run.Id).Bind(key).Bind(value).RunAsync();
            }

            allowed.Add(run);
        }

        return allowed;
    }

    // One round trip: the statement itself looks whether the experiments are there, and the tags go with the commit.
    private static async Task<List<RunStart>> InsertArraysAsync(Tx tx, IReadOnlyList<RunStart> runs, SlipwayException?[] refusals)
    {
        using var insert = tx.Statement(
            """
            INSERT INTO registry_runs (id, experiment_id, name, user_id, status, started_at, ended_at, artifact_uri, state)
            SELECT u.id, u.experiment, u.name, u.person, 'RUNNING', u.started, NULL, rtrim(e.artifact_location, '/') || '/' || u.id || '/artifacts', 0
            FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::bigint[]) AS u(id, experiment, name, person, started) JOIN registry_experiments e ON e.id = u.experiment
            WHERE e.state = 0 RETURNING id, artifact_uri
            """);
        insert.Bind(Each(runs, r => r.Id)).Bind(Each(runs, r => r.ExperimentId)).Bind(Each(runs, r => r.Name)).Bind(Each(runs, r => r.UserId)).Bind(Each(runs, r => r.StartedAt));
        var written = new Dictionary<string, string>(runs.Count, StringComparer.Ordinal);
        while (await insert.NextAsync())
        {
            written.Add(insert.Text(0), insert.Text(1));
        }

        var allowed = new List<RunStart>(runs.Count);
        for (var i = 0; i < runs.Count; i++)
        {
            if (written.TryGetValue(runs[i].Id, out var uri))
            {
                runs[i].ArtifactUri = uri;
                allowed.Add(runs[i]);
                continue;
            }

            try
            {
                var experiment = await Experiments.ActiveAsync(tx, runs[i].ExperimentId);
                throw new System.Diagnostics.UnreachableException($"experiment {experiment.Id} is active and the run was not written");
            }
            catch (SlipwayException e)
            {
                refusals[i] = e;
            }
        }

        var tags = allowed.SelectMany(r => r.Tags.Select(t => (r.Id, t.Key, t.Value))).ToList();
        if (tags.Count > 0)
        {
            await tx.AtCommitAsync("INSERT INTO registry_tags (run_id, key, value) SELECT * FROM unnest($1::text[], $2::text[], $3::text[])", Each(tags, t => t.Id), Each(tags, t => t.Key), Each(tags, t => t.Value));
        }

        return allowed;
    }

    private static TValue[] Each<T, TValue>(IReadOnlyList<T> all, Func<T, TValue> value) => [.. all.Select(value)];
}
