using System.Globalization;
using System.Text;
using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Monitoring;
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
    /// <summary>What follows a variant's name where <see cref="Health"/> tells of it as a mirror.</summary>
    public const string ShadowSuffix = "@shadow";

    /// <summary>What follows an endpoint's name in the address of its preview.</summary>
    public const string PreviewSuffix = "@preview";

    private readonly Deployments _deployments;
    private readonly LoadedModels _loaded;
    private readonly Routes _routes;
    private readonly Inference _inference;
    private readonly Models _models;
    private readonly Gates _gates;
    private readonly ModelRepository _repository;
    private readonly Predictions _predictions;

    internal Endpoints(
        Deployments deployments, LoadedModels loaded, Routes routes, Inference inference, Models models, Gates gates, ModelRepository repository, Predictions predictions) =>
        (_deployments, _loaded, _routes, _inference, _models, _gates, _repository, _predictions) = (deployments, loaded, routes, inference, models, gates, repository, predictions);

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
            ? table.Variants.Select(variant => new IndexedVersion(route.Endpoint, variant.Version, true, null)).Distinct()
            : [new IndexedVersion(route.Endpoint, "", false, route.NotReady)])];

    /// <summary>The endpoint's route revisions, newest first.</summary>
    public Task<IReadOnlyList<RouteRevision>> HistoryAsync(string name, int limit, CancellationToken ct) => _deployments.HistoryAsync(name, limit, ct);

    /// <summary>
    /// Which variant an entity sees on this node and why: an override or a rule (of which headers, cookies and attributes count as <paramref name="headers"/>
    /// and <paramref name="attributes"/> have them; a number, <c>true</c> and <c>false</c> are read as such), or the owner of its slot. Decided by the same code as requests are. Unavailable while the endpoint is not served here.
    /// </summary>
    public async Task<Assignment> AssignAsync(
        string name, string entityKey, IReadOnlyDictionary<string, string>? headers, IReadOnlyDictionary<string, string>? attributes, CancellationToken ct)
    {
        var endpoint = await GetAsync(name, ct);
        var (route, table) = (_routes.Find(name), _routes.Find(name)?.Table);
        if (table is null)
        {
            throw new SlipwayException(ErrorCode.Unavailable, $"endpoint '{name}' sends nobody anywhere on this node", endpoint.Why, "ask again when it is ready");
        }

        using var request = InferRequest.Rent();
        (request.Endpoint, request.EntityKey) = (name, entityKey);
        request.SetHeaders(headers ?? new Dictionary<string, string>(), static (given, header) => ((IReadOnlyDictionary<string, string>)given).FirstOrDefault(pair => string.Equals(pair.Key, header, StringComparison.OrdinalIgnoreCase)).Value);
        request.Attributes.Want(table.Attributes);
        foreach (var (attribute, text) in attributes ?? new Dictionary<string, string>())
        {
            if (request.AttributeOf(Encoding.UTF8.GetBytes(attribute)) is var place and >= 0)
            {
                SetAttribute(request, place, text);
            }
        }

        var decision = table.Decide(request, entityKey);
        var slot = table.SlotOf(entityKey);
        var variant = table.Spec.Variants.First(each => each.Name == table.Variants[decision.Index].Name);
        return new(entityKey, slot, variant, decision.Reason, table.Spec.Revision, table.Spec.Rollout, decision.Reason switch
        {
            DecisionReason.Override => $"an override sends it to {variant.Name}",
            DecisionReason.Namespace => $"it is outside of the experiment's part ({table.Spec.Namespace?.Words}), where everyone gets {variant.Name}",
            DecisionReason.Match => $"a match rule sends it to {variant.Name}",
            DecisionReason.Reverted => $"stable answers for a variant that is not served here: {route?.Reverted ?? "it could not be loaded"}",
            _ => $"slot {slot} belongs to {variant.Name}",
        });
    }

    /// <summary>
    /// Which variants entities met, newest first: of one entity, of one rollout, or of both. Reads the prediction log; at most <paramref name="limit"/> (1 to 10,000).
    /// </summary>
    public async Task<IReadOnlyList<Exposure>> ExposuresAsync(string name, string? entityKey, string? rollout, int limit, CancellationToken ct)
    {
        if (limit is < 1 or > Predictions.LargestPage)
        {
            throw SlipwayException.Invalid("the exposures cannot be listed", $"limit is {limit}, 1 to {Predictions.LargestPage} is allowed", "ask for fewer");
        }

        await GetAsync(name, ct);
        var revisions = rollout is null ? null : await _deployments.RevisionsOfAsync(name, rollout, ct);
        var entity = entityKey is null ? 0 : Exposure.EntityOf(entityKey);
        // The newest so far, so that memory does not grow with the log.
        var newest = new PriorityQueue<Exposure, DateTimeOffset>();
        await foreach (var exposure in _predictions.ExposuresAsync(name, null, null, ct))
        {
            if ((revisions is null || revisions.Contains(exposure.Revision)) && (entityKey is null || exposure.Entity == entity))
            {
                if (newest.Count < limit)
                {
                    newest.Enqueue(exposure, exposure.At);
                }
                else
                {
                    newest.EnqueueDequeue(exposure, exposure.At);
                }
            }
        }

        return [.. newest.UnorderedItems.Select(item => item.Element).OrderByDescending(exposure => exposure.At).ThenBy(exposure => exposure.PredictionId, StringComparer.Ordinal)];
    }

    /// <summary>What became of the copies for the endpoint's mirrors, past ones included; of all endpoints without a name.</summary>
    public IReadOnlyList<MirrorStatistics> Mirrors(string? name) =>
        [.. _routes.All.Where(route => name is null || route.Endpoint == name).SelectMany(route => route.Shadows).Select(shadow => shadow.Read())
            .OrderBy(mirror => mirror.Endpoint, StringComparer.Ordinal).ThenBy(mirror => mirror.Variant, StringComparer.Ordinal).ThenBy(mirror => mirror.ModelVersion, StringComparer.Ordinal)];

    /// <summary>Why this node serves only stable although the endpoint's route says otherwise, or null.</summary>
    public string? Reverted(string name) => _routes.Find(name)?.Reverted;

    /// <summary>
    /// Answers an inference. Refusals are values in the outcome. The request is the caller's again when the task is complete; its outputs are valid
    /// until it is disposed or reset.
    /// </summary>
    public ValueTask<InferOutcome> InferAsync(InferRequest request, CancellationToken ct) =>
        Traces.Wanted ? Traces.InferAsync(_inference, _routes, request, ct) : _inference.InferAsync(request, ct);

    /// <summary>Addresses a request: <c>ENDPOINT</c>, or <c>ENDPOINT@preview</c>. False if this node serves none of that name; does not allocate.</summary>
    public bool Address(InferRequest request, ReadOnlySpan<char> model)
    {
        request.Preview = model.EndsWith(PreviewSuffix, StringComparison.Ordinal);
        if (_routes.Find(request.Preview ? model[..^PreviewSuffix.Length] : model) is not { } route)
        {
            return false;
        }

        request.Endpoint = route.Endpoint;
        request.Attributes.Want(route.Table?.Attributes);
        return true;
    }

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
        return index < 0 ? null : new(name, true, null, [.. table.Variants.Select(variant => variant.Version).Distinct(StringComparer.Ordinal)], table.Variants[index].Model.Signature) { MaxRequestRows = table.Spec.Settings?.MaxRequestRows };
    }

    /// <summary>What the versions of this node did, by endpoint and with stable first; of one endpoint or version only where those are given.</summary>
    public IReadOnlyList<VersionStatistics> Statistics(string? endpoint, string? version) =>
        [.. _routes.All
            .Where(route => endpoint is null || route.Endpoint == endpoint)
            .OrderBy(route => route.Endpoint, StringComparer.Ordinal)
            .SelectMany(route => route.Table?.Variants ?? [])
            .Where(variant => version is null || variant.Version == version)
            // Variants of one version, as stable and its baseline are, share their counters.
            .Select(variant => variant.Counters).Distinct().Select(counters => counters.Read())];

    /// <summary>Whether every endpoint of this node can answer, those aside that were unloaded on purpose.</summary>
    public bool Ready => _routes.All.All(route => route.Table is not null || route.Unloaded);

    /// <summary>Names of the endpoints on this node.</summary>
    public IReadOnlyList<string> Names => [.. _routes.All.Select(route => route.Endpoint).Order(StringComparer.Ordinal)];

    private static void SetAttribute(InferRequest request, int place, string text)
    {
        if (long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var whole))
        {
            request.SetAttribute(place, whole);
        }
        else if (double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var number))
        {
            request.SetAttribute(place, number);
        }
        else if (text is "true" or "false")
        {
            request.SetAttribute(place, text == "true");
        }
        else
        {
            request.SetAttribute(place, Encoding.UTF8.GetBytes(text));
        }
    }

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
