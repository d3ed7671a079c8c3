using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Slipway.Foundation;

/// <summary>What .NET does not offer for files.</summary>
internal static partial class Native
{
    private const int ReadOnly = 0;
    private const uint StartWriting = 2;

    /// <summary>Opens a directory so that it can be flushed; .NET opens files only.</summary>
    public static SafeFileHandle OpenDirectory(string path)
    {
        var descriptor = OpenNative(path, ReadOnly);
        return descriptor < 0
            ? throw new IOException($"cannot open the directory {path}: error {Marshal.GetLastPInvokeError()}")
            : new SafeFileHandle(descriptor, ownsHandle: true);
    }

    /// <summary>Asks the disk to begin with a written range. A hint: where it is not known, the flush does all the work.</summary>
    public static void StartWriteBack(SafeFileHandle file, long offset, long length)
    {
        if (OperatingSystem.IsLinux())
        {
            _ = SyncFileRange(file, offset, length, StartWriting);
        }
    }

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int OpenNative(string path, int flags);

    [LibraryImport("libc", EntryPoint = "sync_file_range")]
    private static partial int SyncFileRange(SafeFileHandle file, long offset, long length, uint flags);
}
