using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Server.Oip;

namespace Slipway.Server;

/// <summary>Whether traffic may come.</summary>
internal sealed class Readiness
{
    public volatile bool Ready;
}

internal static class HealthRoutes
{
    /// <summary>Maps liveness, readiness and the metrics.</summary>
    public static void MapHealth(this IEndpointRouteBuilder routes)
    {
        // MLflow clients ask /health, orchestrators the other two.
        routes.MapGet("/health", () => Results.Text("OK")).OpenToAll();
        routes.MapGet("/healthz", () => Results.Text("OK")).OpenToAll();
        routes.MapGet("/readyz", ReadyAsync).OpenToAll();
        routes.MapMetrics("/metrics").RequirePermission(Permissions.EndpointRead);
    }

    private static async Task<IResult> ReadyAsync(Readiness readiness, Database database, CancellationToken ct)
    {
        if (!readiness.Ready)
        {
            return Results.Text("stopping or not yet started", statusCode: StatusCodes.Status503ServiceUnavailable);
        }

        try
        {
            await database.ReadAsync(s => s.ScalarAsync<long>("SELECT 1"), ct);
            return Results.Text("ready");
        }
        catch (Exception e) when (e is SlipwayException or System.Data.Common.DbException)
        {
            return Results.Text($"the database does not answer: {e.Message}", statusCode: StatusCodes.Status503ServiceUnavailable);
        }
    }
}
