using System.Text.Json;
using Slipway.Client;

namespace Slipway.Cli.Commands;

/// <summary>From a file on this machine to a registered model version.</summary>
internal static class ModelUpload
{
    /// <summary>Sends a model file, or a folder that holds one, and registers it as the next version of a model, which is made when absent.</summary>
    /// <returns>The version, as <c>NAME/NUMBER</c>.</returns>
    public static async Task<string> RegisterAsync(Session s, string endpoint, string model, string path)
    {
        var files = Files(path);
        if (await ExistsAsync(s, endpoint))
        {
            throw new CliException(ExitCodes.Conflict, $"cannot create endpoint \"{endpoint}\"", "an endpoint of that name exists; nothing was sent", "choose another name, or roll a new version out on it");
        }

        var folder = $"uploads/{model}/{s.Terminal.Clock.GetUtcNow():yyyyMMdd'T'HHmmssfff}";
        foreach (var (file, name) in files)
        {
            await using var content = new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.Read);
            await s.Client.PutArtifactAsync($"{folder}/{name}", content, s.Stop);
        }

        try
        {
            await s.Client.PostAsync<JsonElement>($"models", new { name = model }, s.Stop);
        }
        catch (SlipwayClientException e) when (e.Code == "alreadyExists")
        {
            s.Note($"model {model} is there already; the file becomes its next version");
        }

        var version = await s.Client.PostAsync<JsonElement>($"models/{model}/versions", new { source = $"mlflow-artifacts:/{folder}", description = $"from {Path.GetFileName(path)}" }, s.Stop);
        var registered = $"{model}/{Output.At(version, "version").GetInt32()}";
        s.Note($"registered {registered}");
        return registered;
    }

    private static async Task<bool> ExistsAsync(Session s, string endpoint)
    {
        try
        {
            await s.Client.GetAsync<JsonElement>($"endpoints/{endpoint}", s.Stop);
            return true;
        }
        catch (SlipwayClientException e) when (e.Code == "notFound")
        {
            return false;
        }
    }

    /// <summary>The files to send, with their paths in the model; a single file is called model.onnx there.</summary>
    private static List<(string File, string Name)> Files(string path)
    {
        if (File.Exists(path))
        {
            return [(path, "model.onnx")];
        }

        if (!Directory.Exists(path))
        {
            throw new CliException(ExitCodes.NotFound, $"{path} cannot be read", "there is no such file or folder", "check the path");
        }

        var files = Directory.EnumerateFiles(path, "*", SearchOption.AllDirectories).Order(StringComparer.Ordinal).Select(file => (file, Path.GetRelativePath(path, file).Replace('\\', '/'))).ToList();
        return files.Exists(file => file.file.EndsWith(".onnx", StringComparison.OrdinalIgnoreCase))
            ? files
            : throw new CliException(ExitCodes.Usage, $"{path} holds no model", $"none of its {files.Count} files ends in .onnx", "name the model file itself");
    }
}
