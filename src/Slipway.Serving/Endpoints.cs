using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Registry;
using Slipway.Serving.Repository;
using Slipway.Serving.Routing;
using Slipway.Serving.Runtimes;
using Slipway.Serving.Tensors;

namespace Slipway.Serving;

/// <summary>
/// Endpoints: creating and changing them (tables and journal), and answering inferences (memory only). Changes are served by this node when
/// the call returns, by other nodes as soon as the journal tells them.
/// </summary>
public sealed class Endpoints
{
    private readonly Deployments _deployments;
    private readonly LoadedModels _loaded;
    private readonly Routes _routes;
    private readonly Inference _inference;
    private readonly Models _models;
    private readonly Gates _gates;
    private readonly ModelRepository _repository;

    internal Endpoints(Deployments deployments, LoadedModels loaded, Routes routes, Inference inference, Models models, Gates gates, ModelRepository repository) =>
        (_deployments, _loaded, _routes, _inference, _models, _gates, _repository) = (deployments, loaded, routes, inference, models, gates, repository);

    /// <summary>
    /// Creates an endpoint that serves one version. Refused if the version's gate is not granted (PreconditionFailed), the model cannot be
    /// loaded (InvalidArgument), or the name is taken (AlreadyExists).
    /// </summary>
    public async Task<Endpoint> CreateAsync(Actor actor, CreateEndpoint request, CancellationToken ct)
    {
        if (!IsName(request.Name))
        {
            throw new SlipwayException(
                ErrorCode.InvalidArgument, "cannot create the endpoint", $"'{request.Name}' is not a name for one",
                "use 1 to 100 letters, digits, dots, dashes and underscores that do not begin with a dot, and not the word stats");
        }

        if (_repository.Holds(request.Name))
        {
            throw new SlipwayException(
                ErrorCode.AlreadyExists, $"cannot create endpoint '{request.Name}'", "a model of the repository's folder has that name", "choose another name");
        }

        request.Settings?.Demand("cannot create the endpoint");
        var version = await DeployableAsync(request.ModelVersion, request.Policy, request.Settings?.Runtime, ct);
        await _routes.PublishAsync(await _deployments.CreateAsync(actor, request, version, ct), ct);
        return await GetAsync(request.Name, ct);
    }

    /// <summary>
    /// Makes a version stable at once, without steps: the way back to an earlier version. The policy's gate is demanded as for any deployment.
    /// Conflict while a rollout is in progress.
    /// </summary>
    public async Task<Endpoint> DeployAsync(Actor actor, string endpoint, string modelVersion, string cause, CancellationToken ct)
    {
        DemandStored(endpoint, "deploy to");
        var present = await GetAsync(endpoint, ct);
        var version = await DeployableAsync(modelVersion, present.Policy, present.Route.Settings?.Runtime, ct);
        await _routes.PublishAsync(await _deployments.DeployAsync(actor, endpoint, version, cause, ct), ct);
        return await GetAsync(endpoint, ct);
    }

    /// <summary>
    /// Changes how an endpoint serves, as a revision of its route. Its models are loaded under the new settings first; InvalidArgument if one
    /// cannot be, or if batching is demanded of a model whose rows cannot share a run.
    /// </summary>
    public async Task<Endpoint> ConfigureAsync(Actor actor, string endpoint, EndpointSettings settings, string cause, CancellationToken ct)
    {
        settings.Demand($"cannot configure endpoint '{endpoint}'");
        foreach (var variant in (await GetAsync(endpoint, ct)).Route.Variants)
        {
            var model = await _loaded.PinAsync(variant.ModelVersion, settings.Runtime, ct);
            var cannot = model.Traits.CannotBatch;
            _loaded.Unpin(model);
            if (settings.Batching is { MaxRows: > 1 } && cannot is not null)
            {
                throw new SlipwayException(
                    ErrorCode.InvalidArgument, $"cannot batch on endpoint '{endpoint}'", $"requests to {variant.ModelVersion} cannot share a run: {cannot}", "leave batching out, or set its maxRows to 1");
            }
        }

        await _routes.PublishAsync(await _deployments.ConfigureAsync(actor, endpoint, settings, cause, ct), ct);
        return await GetAsync(endpoint, ct);
    }

    /// <summary>The endpoint; NotFound if there is none, Unavailable for a model of the repository's folder that cannot be served.</summary>
    public async Task<Endpoint> GetAsync(string name, CancellationToken ct) =>
        (await _deployments.ListAsync(name, ct)).Select(Of).FirstOrDefault() ?? OfRepository().FirstOrDefault(endpoint => endpoint.Name == name)
            ?? throw (_routes.Find(name) is { FromRepository: true } route
                ? new SlipwayException(ErrorCode.Unavailable, $"model '{name}' of the repository is not served", route.NotReady, $"correct its folder, then POST /v2/repository/models/{name}/load")
                : Deployments.Missing(name));

    /// <summary>All endpoints by name.</summary>
    public async Task<IReadOnlyList<Endpoint>> ListAsync(CancellationToken ct) =>
        [.. (await _deployments.ListAsync(null, ct)).Select(Of).Concat(OfRepository()).OrderBy(endpoint => endpoint.Name, StringComparer.Ordinal)];

    /// <summary>Removes an endpoint; requests in flight finish. Conflict while a rollout is in progress.</summary>
    public async Task DeleteAsync(Actor actor, string name, CancellationToken ct)
    {
        DemandStored(name, "delete");
        await _deployments.DeleteAsync(actor, name, ct);
        await _routes.RemoveAsync(name, ct);
    }

    /// <summary>Takes an endpoint out of memory on every node until it is loaded again; requests in flight finish. Harmless when it is out already.</summary>
    public async Task UnloadAsync(Actor actor, string name, CancellationToken ct)
    {
        if (_repository.Holds(name))
        {
            await _deployments.RecordAsync(actor, name, loaded: false, ct);
            await _routes.UnloadAsync(name, ct);
            return;
        }

        await _deployments.SetLoadedAsync(actor, name, loaded: false, ct);
        await _routes.UnloadAsync(name, ct);
    }

    /// <summary>Serves an endpoint again. One that is served already goes on without a gap: its versions never change.</summary>
    public async Task LoadAsync(Actor actor, string name, CancellationToken ct)
    {
        if (_repository.Holds(name))
        {
            await _repository.LoadAsync(name, ct);
            await _deployments.RecordAsync(actor, name, loaded: true, ct);
            return;
        }

        await _deployments.SetLoadedAsync(actor, name, loaded: true, ct);
        await _routes.LoadAsync(await _deployments.FindAsync(name, ct) ?? throw Deployments.Missing(name), ct);
    }

    /// <summary>Every version that this node serves, and the endpoints that it knows but cannot serve.</summary>
    public IReadOnlyList<IndexedVersion> Index() =>
        [.. _routes.All.OrderBy(route => route.Endpoint, StringComparer.Ordinal).SelectMany(route => route.Table is { } table
            ? table.Variants.Select(variant => new IndexedVersion(route.Endpoint, variant.Version, true, null))
            : [new IndexedVersion(route.Endpoint, "", false, route.NotReady)])];

    /// <summary>The endpoint's route revisions, newest first.</summary>
    public Task<IReadOnlyList<RouteRevision>> HistoryAsync(string name, int limit, CancellationToken ct) => _deployments.HistoryAsync(name, limit, ct);

    /// <summary>
    /// Which variant an entity sees and why: its slot under the present salt, and the variant that owns the slot.
    /// </summary>
    public async Task<(int Slot, RouteVariant Variant)> ExplainAsync(string name, string entityKey, CancellationToken ct)
    {
        var route = (await GetAsync(name, ct)).Route;
        var slot = Picker.Slot(entityKey, Picker.Seed(route.Salt));
        return (slot, route.Variants[SlotTable.Decode(route.Slots)[slot]]);
    }

    /// <summary>
    /// Answers an inference. Refusals are values in the outcome. The request is the caller's again when the task is complete; its outputs are valid
    /// until it is disposed or reset.
    /// </summary>
    public ValueTask<InferOutcome> InferAsync(InferRequest request, CancellationToken ct) =>
        Traces.Wanted ? Traces.InferAsync(_inference, _routes, request, ct) : _inference.InferAsync(request, ct);

    /// <summary>The stored instance of an endpoint's name, or null if this node serves none of that name; does not allocate.</summary>
    public string? NameOf(ReadOnlySpan<char> name) => _routes.NameOf(name);

    /// <summary>What an endpoint of this node takes and gives; null if there is none, or none of that version.</summary>
    public ServedModel? Describe(string name, string? version)
    {
        if (_routes.Find(name) is not { } route)
        {
            return null;
        }

        if (route.Table is not { } table)
        {
            return version is null ? new(name, false, route.NotReady, [], null) : null;
        }

        var index = version is null ? 0 : table.IndexOf(version);
        return index < 0 ? null : new(name, true, null, [.. table.Variants.Select(variant => variant.Version)], table.Variants[index].Model.Signature) { MaxRequestRows = table.Spec.Settings?.MaxRequestRows };
    }

    /// <summary>What the versions of this node did, by endpoint and with stable first; of one endpoint or version only where those are given.</summary>
    public IReadOnlyList<VersionStatistics> Statistics(string? endpoint, string? version) =>
        [.. _routes.All
            .Where(route => endpoint is null || route.Endpoint == endpoint)
            .OrderBy(route => route.Endpoint, StringComparer.Ordinal)
            .SelectMany(route => route.Table?.Variants ?? [])
            .Where(variant => version is null || variant.Version == version)
            .Select(variant => variant.Counters.Read())];

    /// <summary>Whether every endpoint of this node can answer, those aside that were unloaded on purpose.</summary>
    public bool Ready => _routes.All.All(route => route.Table is not null || route.Unloaded);

    /// <summary>Names of the endpoints on this node.</summary>
    public IReadOnlyList<string> Names => [.. _routes.All.Select(route => route.Endpoint).Order(StringComparer.Ordinal)];

    // A version is loaded once before it is deployed, so that a file that is no model is refused and not published.
    private async Task<string> DeployableAsync(string reference, string? policy, RuntimeSettings? runtime, CancellationToken ct)
    {
        var version = await _models.ResolveAsync(reference, ct);
        if (policy is not null)
        {
            await _gates.DemandGrantedAsync(version.Subject, policy, ct);
        }

        var name = $"{version.Name}/{version.Version}";
        _loaded.Unpin(await _loaded.PinAsync(name, runtime, ct));
        return name;
    }

    // What the folder holds is changed there.
    private void DemandStored(string name, string act)
    {
        if (_repository.Holds(name))
        {
            throw new SlipwayException(
                ErrorCode.Conflict, $"cannot {act} endpoint '{name}'", "it is a model of the repository's folder", $"change the folder and load the model again: POST /v2/repository/models/{name}/load");
        }
    }

    /// <summary>The models of the repository's folder that this node serves.</summary>
    private IEnumerable<Endpoint> OfRepository() => _routes.All.Where(route => route is { FromRepository: true, Table: not null }).Select(route => (route.Endpoint, route.Table!.Spec)).Select(served => new Endpoint(
        served.Endpoint, null, served.Spec, true, null, "model repository", Time.FromMicros(served.Spec.Revision), Time.FromMicros(served.Spec.Revision)));

    private Endpoint Of((Deployments.EndpointRow Row, RouteSpec Route) stored)
    {
        var route = _routes.Find(stored.Row.Name);
        var ready = route?.Table is not null;
        return new(
            stored.Row.Name, stored.Row.Policy, stored.Route, ready, ready ? null : route?.NotReady ?? "this node does not know it yet",
            stored.Row.CreatedBy, Time.FromMicros(stored.Row.CreatedAt), Time.FromMicros(stored.Row.UpdatedAt));
    }

    // 'stats' is a path of the protocol beside the model names.
    internal static bool IsName(string name) =>
        name.Length is > 0 and <= 100 && name[0] != '.' && name != "stats" && name.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '-' or '_');
}
