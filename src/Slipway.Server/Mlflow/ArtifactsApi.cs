using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Routing;
using Microsoft.Net.Http.Headers;
using Slipway.Foundation;
using Slipway.Governance;
using Slipway.Registry;

namespace Slipway.Server.Mlflow;

/// <summary>The artifact proxy: files stream through in bounded memory; paths are keys of the registry, never of a file system.</summary>
internal sealed class ArtifactsApi(Artifacts artifacts, Runs runs, Models models, IBlobStore blobs)
{
    /// <summary>Bytes of one upload.</summary>
    private const long MaxUpload = 1L << 40;

    private const string FilePath = "/mlflow-artifacts/artifacts/{**path}";

    /// <summary>Shown by browsers as they are; everything else is a download of unknown type.</summary>
    private static readonly Dictionary<string, string> SafeTypes = new(StringComparer.OrdinalIgnoreCase)
    {
        [".txt"] = "text/plain; charset=utf-8",
        [".log"] = "text/plain; charset=utf-8",
        [".json"] = "application/json",
        [".csv"] = "text/csv; charset=utf-8",
        [".png"] = "image/png",
        [".jpg"] = "image/jpeg",
        [".jpeg"] = "image/jpeg",
    };

    public IReadOnlyList<MlflowRoute> Routes => [new("GET", "/mlflow-artifacts/artifacts", Permissions.RunRead, ListAsync)];

    public void MapProxy(IEndpointRouteBuilder app, string prefix)
    {
        app.MapGet(prefix + FilePath, http => DownloadAsync(http, PathOf(http))).RequirePermission(Permissions.RunRead);
        app.MapPut(prefix + FilePath, UploadAsync).RequirePermission(Permissions.RunWrite);
        app.MapDelete(prefix + FilePath, DeleteAsync).RequirePermission(Permissions.RunWrite);
    }

    /// <summary>The downloads of MLflow's web client, which have no prefix.</summary>
    public void MapDownloads(IEndpointRouteBuilder app)
    {
        app.MapGet("/get-artifact", DownloadOfRunAsync).RequirePermission(Permissions.RunRead);
        app.MapGet("/model-versions/get-artifact", DownloadOfVersionAsync).RequirePermission(Permissions.VersionDownload);
    }

    private static string PathOf(HttpContext http) => http.Request.RouteValues["path"] as string ?? "";

    private async Task ListAsync(MlflowCall call)
    {
        var files = await artifacts.ListAsync(call.Input.Text("path") ?? "", call.Ct);
        await call.SendAsync(json => MlflowJson.List(json, "files", files, MlflowJson.File));
    }

    private async Task UploadAsync(HttpContext http)
    {
        if (http.Features.Get<IHttpMaxRequestBodySizeFeature>() is { IsReadOnly: false } limit)
        {
            limit.MaxRequestBodySize = MaxUpload;
        }

        await artifacts.PutAsync(http.GetActor(), PathOf(http), http.Request.Body, http.RequestAborted);
        await MlflowJson.SendAsync(http, StatusCodes.Status200OK, static _ => { });
    }

    private async Task DeleteAsync(HttpContext http)
    {
        await artifacts.DeleteAsync(http.GetActor(), PathOf(http), http.RequestAborted);
        await MlflowJson.SendAsync(http, StatusCodes.Status200OK, static _ => { });
    }

    private async Task DownloadAsync(HttpContext http, string path)
    {
        var artifact = await artifacts.OpenAsync(path, http.RequestAborted);
        await using var content = artifact.Content;
        await SendFileAsync(http, path, artifact.Size, content);
    }

    private async Task DownloadOfRunAsync(HttpContext http)
    {
        var input = new MlflowInput(http.Request.Query);
        var runId = input.Text("run_id") ?? input.Text("run_uuid") ?? throw input.Missing("run_id");
        var path = input.Required("path");
        await using var content = await runs.OpenArtifactAsync(runId, path, http.RequestAborted);
        await SendFileAsync(http, path, null, content);
    }

    private async Task DownloadOfVersionAsync(HttpContext http)
    {
        var input = new MlflowInput(http.Request.Query);
        var version = await models.ResolveAsync($"{input.Required("name")}/{input.Required("version")}", http.RequestAborted);
        var path = input.Required("path");
        var file = version.Files.FirstOrDefault(f => f.Path == path) ?? throw SlipwayException.NotFound("artifact", path);
        await using var content = await blobs.OpenAsync(file.Hash, http.RequestAborted);
        await SendFileAsync(http, path, file.Size, content);
    }

    private static async Task SendFileAsync(HttpContext http, string path, long? size, Stream content)
    {
        var name = path[(path.LastIndexOf('/') + 1)..];
        var disposition = new ContentDispositionHeaderValue("attachment");
        disposition.SetHttpFileName(name);
        http.Response.ContentType = SafeTypes.GetValueOrDefault(Path.GetExtension(name), "application/octet-stream");
        http.Response.Headers.ContentDisposition = disposition.ToString();
        http.Response.Headers.XContentTypeOptions = "nosniff";
        http.Response.ContentLength = size;
        await content.CopyToAsync(http.Response.Body, 128 * 1024, http.RequestAborted);
    }
}
