using System.Security.Cryptography;

namespace Slipway.Cli.Commands;

/// <summary>Saves what the server sends: aside first, under its name when it is whole and has the hash that the server names.</summary>
internal static class Download
{
    /// <param name="s">The command.</param>
    /// <param name="content">What comes.</param>
    /// <param name="folder">Where to.</param>
    /// <param name="path">Its path below the folder, as the server names it.</param>
    /// <param name="hash">Its SHA-256; null when it is not known.</param>
    public static async Task<string> SaveAsync(Session s, Stream content, string folder, string path, string? hash)
    {
        var root = Path.GetFullPath(folder);
        var target = Path.GetFullPath(Path.Combine(root, path));
        if (Path.IsPathRooted(path) || path.Contains('\\', StringComparison.Ordinal) || !target.StartsWith(root.TrimEnd('/') + "/", StringComparison.Ordinal))
        {
            throw new CliException(ExitCodes.Failed, "the download was stopped", $"the server names \"{path}\", which leads out of {root}", "report this to whoever runs the server");
        }

        Directory.CreateDirectory(Path.GetDirectoryName(target)!);
        var part = target + ".part";
        try
        {
            using var sha = SHA256.Create();
            await using (var file = new FileStream(part, FileMode.Create, FileAccess.Write))
            await using (var hashing = new CryptoStream(file, sha, CryptoStreamMode.Write))
            {
                await content.CopyToAsync(hashing, s.Stop);
            }

            if (hash is not null && Convert.ToHexStringLower(sha.Hash!) != hash)
            {
                throw new CliException(ExitCodes.Failed, $"{path} was not saved", $"its bytes have not the SHA-256 {hash}", "download it again; if it stays so, the store is damaged");
            }

            File.Move(part, target, overwrite: true);
            return target;
        }
        finally
        {
            File.Delete(part);
        }
    }
}
