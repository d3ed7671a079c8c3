using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Slipway.Foundation;
using Slipway.Serving.Routing;
using Slipway.Serving.Runtimes;

namespace Slipway.Serving.Repository;

/// <summary>
/// Serves a folder of models as it is: each model is an endpoint of this node, each of its versions can be asked for, and the highest answers
/// when none is named. The folder is read at the start and when a model is loaded again.
/// </summary>
internal sealed partial class ModelRepository(
    ServingOptions options, RepositoryFolder folder, Routes routes, LoadedModels loaded, Deployments deployments, TimeProvider clock, ILogger<ModelRepository> log) : IHostedService
{
    public async Task StartAsync(CancellationToken cancellationToken)
    {
        if (options.ModelRepository is not { } root)
        {
            return;
        }

        if (!Directory.Exists(root))
        {
            throw new SlipwayException(ErrorCode.InvalidArgument, "the server does not start", $"the model repository {root} is not a folder", "name a folder of MODEL/VERSION/model.onnx");
        }

        var stored = (await deployments.CurrentAsync(cancellationToken)).Select(row => row.Name).ToHashSet(StringComparer.Ordinal);
        foreach (var model in folder.Models())
        {
            if (stored.Contains(model))
            {
                throw new SlipwayException(
                    ErrorCode.Conflict, "the server does not start", $"model '{model}' of the repository has the name of an endpoint", "rename its folder, or delete the endpoint first");
            }

            try
            {
                await LoadAsync(model, cancellationToken);
            }
            catch (SlipwayException refused)
            {
                // One model that cannot be served must not keep the others from serving; it is known, and says why.
                await routes.ClaimAsync(model, refused.Sentence, cancellationToken);
                Log.NotServed(log, refused, model);
            }
        }
    }

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <summary>Whether an endpoint's name belongs to the folder.</summary>
    public bool Holds(string name) => options.ModelRepository is not null && (routes.Find(name) is { FromRepository: true } || (routes.Find(name) is null && folder.Models().Contains(name)));

    /// <summary>Reads a model's folder again and serves what is there now; what was served answers until then.</summary>
    public async Task LoadAsync(string model, CancellationToken ct)
    {
        if (!Endpoints.IsName(model))
        {
            throw new SlipwayException(ErrorCode.InvalidArgument, $"model '{model}' of the repository cannot be served", "its name is not one for an endpoint", "use letters, digits, dots, dashes and underscores");
        }

        var config = RepositoryConfig.Parse(model, folder.Config(model));
        folder.Name(model, config.FileName);
        var versions = config.Versions(folder.Versions(model));
        if (versions.Count == 0)
        {
            throw new SlipwayException(ErrorCode.InvalidArgument, $"model '{model}' of the repository cannot be served", "it has no folder whose name is a version's number", "lay it out as MODEL/VERSION/model.onnx");
        }

        var variants = versions.Select((version, at) => new RouteVariant(at == 0 ? "stable" : $"version-{version}", folder.NameOf(model, version), at == 0 ? 100 : 0)).ToList();
        var pinned = new List<LoadedModel>();
        try
        {
            foreach (var variant in variants)
            {
                pinned.Add(await loaded.PinAsync(variant.ModelVersion, null, ct));
                config.Demand(model, pinned[^1].Signature);
            }

            await routes.ClaimAsync(model, "its model is being loaded", ct);
            await routes.LoadAsync(
                new RouteSpec(model, clock.NowMicros(), model, SlotTable.Encode(SlotTable.Whole()), variants, LogPredictions: true, null, new FuseRule(), new EndpointSettings { Batching = config.Batching, MaxRequestRows = config.MaxBatch > 0 ? config.MaxBatch : null }), ct);
        }
        finally
        {
            pinned.ForEach(loaded.Unpin);
        }

        if (config.Ignored.Count > 0)
        {
            Log.Ignored(log, model, string.Join(", ", config.Ignored));
        }
    }

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Error, "Model {Model} of the repository is not served")]
        public static partial void NotServed(ILogger logger, Exception refused, string model);

        [LoggerMessage(LogLevel.Information, "config.pbtxt of model {Model}: {Fields} tune another server and are not read")]
        public static partial void Ignored(ILogger logger, string model, string fields);
    }
}
