using Slipway.Foundation;

namespace Slipway.Server;

/// <summary>Keeps a second server off the same data folder. The lock ends with the process, however it ends.</summary>
internal sealed class DataLock : IDisposable
{
    private readonly FileStream file;

    private DataLock(FileStream file) => this.file = file;

    /// <exception cref="SlipwayException">Conflict when another process holds it.</exception>
    public static DataLock Take(DataLayout layout)
    {
        try
        {
            Directory.CreateDirectory(layout.Root);
            return new DataLock(new FileStream(layout.LockFile, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new SlipwayException(ErrorCode.Conflict, $"the data folder {layout.Root} cannot be used", e is UnauthorizedAccessException ? e.Message : "another slipway runs on it", "stop that one, or name another folder with --data DIR", e);
        }
    }

    public void Dispose() => file.Dispose();
}
