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
internal sealed class ArtifactsApi(Artifacts artifacts, Uploads uploads, Runs runs, Models models, IBlobStore blobs, SignedUrls urls, TimeProvider clock)
{
    private const string Root = "/mlflow-artifacts";
    private static readonly TimeSpan PresignedLife = TimeSpan.FromMinutes(15);
    private static readonly string[] Read = [HttpMethods.Get, HttpMethods.Head];

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

    public IReadOnlyList<MlflowRoute> Routes =>
    [
        new("GET", Root + "/artifacts", Permissions.RunRead, ListAsync),
        new("POST", "/mlflow/artifacts/presigned-upload-url", Permissions.RunWrite, PresignUploadAsync),
    ];

    public void MapProxy(IEndpointRouteBuilder app, string prefix)
    {
        var file = prefix + Root + "/artifacts/{**path}";
        app.MapMethods(file, Read, http => DownloadAsync(http, PathOf(http))).RequirePermission(Permissions.RunRead);
        app.MapPut(file, UploadAsync).RequirePermission(Permissions.RunWrite);
        app.MapDelete(file, DeleteAsync).RequirePermission(Permissions.RunWrite);
        Map(app, "POST", prefix + Root + "/mpu/create/{**path}", Permissions.RunWrite, StartUploadAsync);
        Map(app, "POST", prefix + Root + "/mpu/complete/{**path}", Permissions.RunWrite, CompleteUploadAsync);
        Map(app, "POST", prefix + Root + "/mpu/abort/{**path}", Permissions.RunWrite, AbortUploadAsync);
        // Released clients ask at either place.
        Map(app, "GET", prefix + Root + "/presigned/{**path}", Permissions.RunRead, PresignDownloadAsync);
        Map(app, "GET", prefix + Root + "/mpd/presigned/{**path}", Permissions.RunRead, PresignDownloadAsync);
        // The address itself is the credential.
        app.MapMethods(prefix + Root + "/signed/{**path}", Read, SignedDownloadAsync).OpenToAll();
        app.MapPut(prefix + Root + "/signed/{**path}", SignedUploadAsync).OpenToAll();
        app.MapPost(prefix + "/mlflow/upload-artifact", UploadOfRunAsync).RequirePermission(Permissions.RunWrite);
    }

    /// <summary>The downloads of MLflow's web client, which have no prefix.</summary>
    public void MapDownloads(IEndpointRouteBuilder app)
    {
        app.MapMethods("/get-artifact", Read, DownloadOfRunAsync).RequirePermission(Permissions.RunRead);
        app.MapMethods("/model-versions/get-artifact", Read, DownloadOfVersionAsync).RequirePermission(Permissions.VersionDownload);
    }

    /// <summary>Sends a file: its type if it is harmless to show, its name, ranges, and the hash as its ETag.</summary>
    internal static Task SendFileAsync(HttpContext http, string path, string hash, Stream content)
    {
        var name = path[(path.LastIndexOf('/') + 1)..];
        // The sandbox holds for what a browser shows in spite of "attachment".
        http.Response.Headers.ContentSecurityPolicy = "sandbox; default-src 'none'";
        return Results.Stream(content, SafeTypes.GetValueOrDefault(Path.GetExtension(name), "application/octet-stream"), name, lastModified: null, new EntityTagHeaderValue($"\"{hash}\""), enableRangeProcessing: true)
            .ExecuteAsync(http);
    }

    internal async Task DownloadAsync(HttpContext http, string path)
    {
        var artifact = await artifacts.OpenAsync(path, http.RequestAborted);
        await using var content = artifact.Content;
        await SendFileAsync(http, path, artifact.Hash, content);
    }

    private static void Map(IEndpointRouteBuilder app, string method, string pattern, string permission, Func<MlflowCall, Task> handle) => app.MapMethods(
        pattern,
        [method],
        async http =>
        {
            var (input, document) = await MlflowInput.ReadAsync(http);
            using (document)
            {
                await handle(new MlflowCall(http, input));
            }
        }).RequirePermission(permission);

    private static string PathOf(HttpContext http) => http.Request.RouteValues["path"] as string ?? "";

    private static Stream BodyOf(HttpContext http, long most)
    {
        if (http.Features.Get<IHttpMaxRequestBodySizeFeature>() is { IsReadOnly: false } limit)
        {
            limit.MaxRequestBodySize = most;
        }

        return http.Request.Body;
    }

    private async Task ListAsync(MlflowCall call)
    {
        var files = await artifacts.ListAsync(call.Input.Text("path") ?? "", call.Ct);
        await call.SendAsync(json => MlflowJson.List(json, "files", files, MlflowJson.File));
    }

    private async Task UploadAsync(HttpContext http)
    {
        await artifacts.PutAsync(http.GetActor(), PathOf(http), BodyOf(http, Artifacts.Largest), http.RequestAborted);
        await MlflowJson.SendAsync(http, StatusCodes.Status200OK, static _ => { });
    }

    private async Task DeleteAsync(HttpContext http)
    {
        await artifacts.DeleteAsync(http.GetActor(), PathOf(http), http.RequestAborted);
        await MlflowJson.SendAsync(http, StatusCodes.Status200OK, static _ => { });
    }

    /// <summary>Clients name the folder in the address, and in the body the file on their own disk, of which only the last name counts.</summary>
    private static string UploadPath(MlflowCall call)
    {
        var segments = call.Input.Required("path").Split('/', '\\');
        if (segments.Contains(".."))
        {
            throw SlipwayException.Invalid("Invalid path", "'.' and '..' are refused", "name the file");
        }

        var folder = PathOf(call.Http);
        return folder.Length == 0 ? segments[^1] : $"{folder}/{segments[^1]}";
    }

    private async Task StartUploadAsync(MlflowCall call)
    {
        var upload = await uploads.StartAsync(call.Actor, UploadPath(call), call.Input.Int32("num_parts") ?? 1, call.Ct);
        await call.SendAsync(json =>
        {
            json.WriteString("upload_id", upload.Id);
            MlflowJson.List(json, "credentials", Enumerable.Range(1, upload.Parts).ToList(), (j, part) =>
            {
                j.WriteString("url", urls.Make(call.Http, HttpMethods.Put, upload.Path, upload.ExpiresAt, (upload.Id, part)));
                j.WriteNumber("part_number", part);
                j.WriteStartObject("headers");
                j.WriteEndObject();
            });
        });
    }

    private async Task CompleteUploadAsync(MlflowCall call)
    {
        var parts = call.Input.Items("parts").Select(p => new UploadPart(p.Int32("part_number") ?? throw p.Missing("part_number"), p.Required("etag"))).ToList();
        await uploads.CompleteAsync(call.Actor, call.Input.Required("upload_id"), UploadPath(call), parts, call.Ct);
        await call.SendEmptyAsync();
    }

    private async Task AbortUploadAsync(MlflowCall call)
    {
        await uploads.AbortAsync(call.Actor, call.Input.Required("upload_id"), UploadPath(call), call.Ct);
        await call.SendEmptyAsync();
    }

    private async Task PresignDownloadAsync(MlflowCall call)
    {
        var file = await artifacts.FindAsync(PathOf(call.Http), call.Ct) ?? throw SlipwayException.NotFound("artifact", PathOf(call.Http));
        await call.SendAsync(json =>
        {
            json.WriteString("url", urls.Make(call.Http, HttpMethods.Get, file.Path, clock.GetUtcNow() + PresignedLife));
            json.WriteStartObject("headers");
            json.WriteEndObject();
            json.WriteNumber("file_size", file.Size!.Value);
        });
    }

    private async Task PresignUploadAsync(MlflowCall call)
    {
        var seconds = call.Input.Int32("expiration") ?? (int)PresignedLife.TotalSeconds;
        if (seconds < 1 || seconds > Uploads.Life.TotalSeconds)
        {
            throw call.Input.Bad("expiration", $"{seconds}", $"it must be 1 to {Uploads.Life.TotalSeconds} seconds");
        }

        var path = await runs.ArtifactPathAsync(call.Input.Required("run_id"), call.Input.Required("path"), call.Ct);
        await call.SendAsync(json =>
        {
            json.WriteString("presigned_url", urls.Make(call.Http, HttpMethods.Put, path, clock.GetUtcNow().AddSeconds(seconds)));
            json.WriteStartArray("headers");
            json.WriteEndArray();
        });
    }

    private async Task SignedDownloadAsync(HttpContext http)
    {
        await urls.DemandAsync(http, PathOf(http), Permissions.RunRead);
        await DownloadAsync(http, PathOf(http));
    }

    private async Task SignedUploadAsync(HttpContext http)
    {
        await urls.DemandAsync(http, PathOf(http), Permissions.RunWrite);
        if (http.Request.Query["upload"] is [{ } upload])
        {
            var input = new MlflowInput(http.Request.Query);
            var etag = await uploads.PutPartAsync(http.GetActor(), upload, PathOf(http), input.Int32("part")!.Value, BodyOf(http, Uploads.LargestPart), http.RequestAborted);
            http.Response.Headers.ETag = $"\"{etag}\"";
        }
        else
        {
            var blob = await artifacts.PutAsync(http.GetActor(), PathOf(http), BodyOf(http, Artifacts.Largest), http.RequestAborted);
            http.Response.Headers.ETag = $"\"{blob.Hash}\"";
        }

        await MlflowJson.SendAsync(http, StatusCodes.Status200OK, static _ => { });
    }

    /// <summary>The upload of MLflow's web client: the run and the path in the query, the file as the body.</summary>
    private async Task UploadOfRunAsync(HttpContext http)
    {
        var input = new MlflowInput(http.Request.Query);
        var runId = input.Text("run_uuid") is { Length: > 0 } id ? id : input.Text("run_id") ?? throw input.Missing("run_uuid");
        await runs.PutArtifactAsync(http.GetActor(), runId, input.Required("path"), BodyOf(http, Artifacts.Largest), http.RequestAborted);
        await MlflowJson.SendAsync(http, StatusCodes.Status200OK, static _ => { });
    }

    private async Task DownloadOfRunAsync(HttpContext http)
    {
        var input = new MlflowInput(http.Request.Query);
        var runId = input.Text("run_id") ?? input.Text("run_uuid") ?? throw input.Missing("run_id");
        await DownloadAsync(http, await runs.ArtifactPathAsync(runId, input.Required("path"), http.RequestAborted));
    }

    private async Task DownloadOfVersionAsync(HttpContext http)
    {
        var input = new MlflowInput(http.Request.Query);
        var version = await models.ResolveAsync($"{input.Required("name")}/{input.Required("version")}", http.RequestAborted);
        var path = input.Required("path");
        var file = version.Files.FirstOrDefault(f => f.Path == path) ?? throw SlipwayException.NotFound("artifact", path);
        await using var content = await blobs.OpenAsync(file.Hash, http.RequestAborted);
        await SendFileAsync(http, path, file.Hash, content);
    }
}
