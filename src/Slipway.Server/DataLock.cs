using Slipway.Foundation;

namespace Slipway.Server;

/// <summary>
/// Keeps a second server off the same data folder, or, where nodes share it, off the same node's part of it. The locks end with the process, however it ends.
/// </summary>
internal sealed class DataLock : IDisposable
{
    private readonly FileStream[] files;

    private DataLock(params FileStream[] files) => this.files = files;

    /// <exception cref="SlipwayException">Conflict when another process holds it.</exception>
    public static DataLock Take(DataLayout layout)
    {
        Directory.CreateDirectory(layout.Own);
        if (!layout.Shared)
        {
            return new DataLock(Open(layout.Root, layout.LockFile, alone: true));
        }

        var own = Open(layout.Own, Path.Combine(layout.Own, "slipway.lock"), alone: true);
        try
        {
            return new DataLock(own, Open(layout.Root, layout.LockFile, alone: false));
        }
        catch
        {
            own.Dispose();
            throw;
        }
    }

    public void Dispose() => Array.ForEach(files, file => file.Dispose());

    private static FileStream Open(string folder, string file, bool alone)
    {
        try
        {
            if (!alone && !File.Exists(file))
            {
                new FileStream(file, FileMode.OpenOrCreate, FileAccess.Write, FileShare.ReadWrite).Dispose();
            }

            return alone ? new FileStream(file, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None) : new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.Read);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            var why = e is UnauthorizedAccessException ? e.Message : "another slipway runs on it";
            throw new SlipwayException(ErrorCode.Conflict, $"the data folder {folder} cannot be used", why, alone ? "stop that one, or name another folder with --data DIR" : "stop that one, or start it as a node too with --node NAME", e);
        }
    }
}
