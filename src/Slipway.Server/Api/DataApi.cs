using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.WebUtilities;
using Microsoft.Net.Http.Headers;
using Slipway.Data;
using Slipway.Foundation;
using Slipway.Governance;

namespace Slipway.Server.Api;

/// <summary>Datasets: made, committed to, read, compared and tagged.</summary>
internal static class DataApi
{
    private const long LargestUpload = 16L << 30;
    private const int MostFiles = 10_000;

    private sealed record NewDataset(string Name, string? Description = null);

    /// <param name="Message">Why the version exists.</param>
    /// <param name="Branch">The branch to move.</param>
    /// <param name="ExpectedParent">The version that must be its head; absent: whatever is.</param>
    private sealed record NewCommit(string Message, string Branch = "main", string? ExpectedParent = null);

    private sealed record NewTag(string Tag, string Version);

    public static void Map(ApiRoutes api)
    {
        api.Get("/datasets", Permissions.DatasetRead, async c => c.Page(await c.Of<Datasets>().ListAsync(c.Stop), d => d.Name));
        api.Post("/datasets", Permissions.DatasetWrite, async c =>
        {
            var body = await c.BodyAsync<NewDataset>();
            return new Created(await c.Of<Datasets>().CreateAsync(c.Actor, body.Name, body.Description, c.Stop));
        });
        api.Get("/datasets/{dataset}", Permissions.DatasetRead, async c => await c.Of<Datasets>().GetAsync(c["dataset"], c.Stop));
        api.Get("/datasets/{dataset}/log", Permissions.DatasetRead, async c =>
            new { items = (await c.Of<Datasets>().LogAsync(c["dataset"], c.Query("branch") ?? "main", c.Limit(), c.Stop)).Select(v => v with { Profile = null }) });
        api.Post("/datasets/{dataset}/commits", Permissions.DatasetWrite, async c => new Created(await CommitAsync(c)));
        api.Post("/datasets/{dataset}/tags", Permissions.DatasetTag, async c =>
        {
            var body = await c.BodyAsync<NewTag>();
            await c.Of<Datasets>().TagAsync(c.Actor, c["dataset"], body.Tag, body.Version, c.Stop);
            return await c.Of<Datasets>().GetAsync(c["dataset"], c.Stop);
        });
        api.Get("/datasets/{dataset}/diff", Permissions.DatasetRead, async c =>
            await c.Of<Datasets>().DiffAsync(c["dataset"], c.Needed("from"), c.Query("to") ?? "main", c.Stop));
        api.Get("/datasets/{dataset}/versions/{version}", Permissions.DatasetRead, async c => await VersionAsync(c) with { Profile = null });
        api.Get("/datasets/{dataset}/versions/{version}/profile", Permissions.DatasetRead, async c =>
        {
            var version = await VersionAsync(c);
            return version.Profile ?? throw SlipwayException.NotFound("profile", $"{version.Dataset}/{version.Id}", "commit a .parquet or .csv file to get one");
        });
        api.Get("/datasets/{dataset}/versions/{version}/used-by", Permissions.DatasetRead, async c =>
            new { items = await c.Of<Datasets>().UsedByAsync(await VersionAsync(c), c.Stop) });
        api.Get("/datasets/{dataset}/versions/{version}/files/{**path}", Permissions.DatasetRead, async c =>
            Results.Stream(await c.Of<Datasets>().OpenAsync(await VersionAsync(c), c["path"], c.Stop), "application/octet-stream", Path.GetFileName(c["path"])));
    }

    private static Task<DatasetVersion> VersionAsync(Call c) => c.Of<Datasets>().GetVersionAsync(c["dataset"], c["version"], c.Stop);

    /// <summary>
    /// A multipart form: a part named commit with the JSON of <see cref="NewCommit"/>, then a part named file for each file, its file name the path
    /// in the dataset. Parts go to temporary files as they arrive, so that a large upload costs no memory.
    /// </summary>
    private static async Task<DatasetVersion> CommitAsync(Call c)
    {
        c.LimitBody(LargestUpload);
        if (!MediaTypeHeaderValue.TryParse(c.Http.Request.ContentType, out var type) || !type.MediaType.Equals("multipart/form-data", StringComparison.OrdinalIgnoreCase) || type.Boundary.Length == 0)
        {
            throw Refuse($"its content type is \"{c.Http.Request.ContentType}\"", "send multipart/form-data: a part named commit, then the parts named file");
        }

        var folder = Path.Combine(c.Of<DataLayout>().Temporary, "upload-" + Ids.New());
        Directory.CreateDirectory(folder);
        try
        {
            NewCommit? commit = null;
            var files = new List<CommitFile>();
            var reader = new MultipartReader(HeaderUtilities.RemoveQuotes(type.Boundary).Value!, c.Http.Request.Body);
            while (await reader.ReadNextSectionAsync(c.Stop) is { } section)
            {
                if (section.GetContentDispositionHeader() is not { } disposition)
                {
                    throw Refuse("a part has no content disposition", "name the parts commit and file");
                }

                var name = HeaderUtilities.RemoveQuotes(disposition.Name).Value;
                if (name == "commit" && commit is null)
                {
                    commit = await ReadAsync(section.Body, c.Stop);
                }
                else if (name == "file" && files.Count < MostFiles)
                {
                    files.Add(await KeepAsync(folder, files.Count, section, disposition, c.Stop));
                }
                else
                {
                    throw Refuse(name == "file" ? $"it has more than {MostFiles} files" : $"the part \"{name}\" is not expected", "send one part named commit and the parts named file");
                }
            }

            return commit is null
                ? throw Refuse("the part commit is missing", "send it first, with a message")
                : await c.Of<Datasets>().CommitAsync(c.Actor, c["dataset"], new CommitRequest { Branch = commit.Branch, Message = commit.Message, ExpectedParent = commit.ExpectedParent, Files = files }, c.Stop);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static async Task<NewCommit?> ReadAsync(Stream part, CancellationToken ct)
    {
        try
        {
            return await JsonSerializer.DeserializeAsync<NewCommit>(part, ApiJson.Read, ct);
        }
        catch (JsonException e)
        {
            throw Refuse(ApiJson.Why(e), "the part commit is JSON with a message, and may have a branch and an expectedParent");
        }
    }

    // The name on disk is a number: what the client calls the file never becomes a path here.
    private static async Task<CommitFile> KeepAsync(string folder, int number, MultipartSection section, ContentDispositionHeaderValue disposition, CancellationToken ct)
    {
        var path = HeaderUtilities.RemoveQuotes(disposition.FileNameStar.HasValue ? disposition.FileNameStar : disposition.FileName).Value;
        if (string.IsNullOrEmpty(path))
        {
            throw Refuse("a part named file has no file name", "give it the path in the dataset as its file name");
        }

        var kept = Path.Combine(folder, number.ToString(System.Globalization.CultureInfo.InvariantCulture));
        await using var file = new FileStream(kept, FileMode.CreateNew, FileAccess.Write, FileShare.None, 1 << 16, FileOptions.Asynchronous);
        await section.Body.CopyToAsync(file, ct);
        return CommitFile.FromDisk(path, kept);
    }

    private static SlipwayException Refuse(string why, string next) => new(ErrorCode.InvalidArgument, "the commit cannot be read", why, next);
}
