using System.Text.Json;
using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Pipelines;

namespace Slipway.Server.Api;

/// <summary>Pipelines, their runs, and the triggers that start them.</summary>
internal static class PipelinesApi
{
    private const int MostRuns = 1000;

    /// <param name="Parameters">Values in place of the spec's: <c>STEP.FIELD</c> to JSON.</param>
    /// <param name="Causes">What it is started for.</param>
    /// <param name="Key">A second start with the same key gives the first run.</param>
    private sealed record Start(IReadOnlyDictionary<string, JsonElement>? Parameters = null, IReadOnlyList<Subject>? Causes = null, string? Key = null);

    public static void Map(ApiRoutes api)
    {
        api.Get("/pipelines", Permissions.RunRead, async c => c.Page(await c.Of<Pipelines.Pipelines>().ListAsync(c.Stop), p => p.Name));
        api.Post("/pipelines", Permissions.PipelineRun, async c => await c.Of<Pipelines.Pipelines>().ApplyAsync(c.Actor, await c.BodyAsync<PipelineSpec>(), c.Stop));
        api.Get("/pipelines/{pipeline}", Permissions.RunRead, async c => await c.Of<Pipelines.Pipelines>().GetAsync(c["pipeline"], c.Stop));
        api.Post("/pipelines/{pipeline}/runs", Permissions.PipelineRun, async c =>
        {
            var body = await c.BodyAsync<Start>();
            var start = new StartRun { Causes = body.Causes ?? [], Key = body.Key };
            return new Created(await c.Of<PipelineRuns>().StartAsync(c.Actor, c["pipeline"], body.Parameters is { } values ? start with { Parameters = values } : start, c.Stop));
        });
        api.Get("/pipeline-runs", Permissions.RunRead, async c => c.Page(await c.Of<PipelineRuns>().ListAsync(c.Query("pipeline"), MostRuns, c.Stop), r => r.Id));
        api.Get("/pipeline-runs/{run}", Permissions.RunRead, async c => await c.Of<PipelineRuns>().GetAsync(c["run"], c.Stop));
        api.Get("/pipeline-runs/{run}/steps", Permissions.RunRead, async c =>
        {
            await c.Of<PipelineRuns>().GetAsync(c["run"], c.Stop);
            return new { items = await c.Of<PipelineRuns>().StepsAsync(c["run"], c.Stop) };
        });
        api.Post("/pipeline-runs/{run}/cancel", Permissions.PipelineRun, async c => await c.Of<PipelineRuns>().CancelAsync(c.Actor, c["run"], c.Stop));

        api.Get("/triggers", Permissions.RunRead, async c => c.Page(await c.Of<Triggers>().ListAsync(c.Stop), t => t.Spec.Name));
        api.Post("/triggers", Permissions.PipelineRun, async c => await c.Of<Triggers>().ApplyAsync(c.Actor, await c.BodyAsync<TriggerSpec>(), c.Stop));
        api.Get("/triggers/{trigger}", Permissions.RunRead, async c => await FindAsync(c));
        api.Get("/triggers/{trigger}/decisions", Permissions.RunRead, async c =>
        {
            var trigger = await FindAsync(c);
            return c.Page(await c.Of<Triggers>().DecisionsAsync(trigger.Spec.Name, c.Stop), d => d.Id);
        });
    }

    private static async Task<Trigger> FindAsync(Call c) =>
        (await c.Of<Triggers>().ListAsync(c.Stop)).FirstOrDefault(t => t.Spec.Name == c["trigger"]) ?? throw SlipwayException.NotFound("trigger", c["trigger"], "slipway trigger list");
}
