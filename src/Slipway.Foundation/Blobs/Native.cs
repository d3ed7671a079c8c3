using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Slipway.Foundation;

/// <summary>What .NET does not offer for files and threads.</summary>
internal static partial class Native
{
    private const int ReadOnly = 0;
    private const uint StartWriting = 2;
    private const int ThisProcess = 0;

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

    /// <summary>Lets the calling thread behind others. A hint: where it cannot be given, the thread runs as the others do. It cannot be taken back.</summary>
    /// <param name="niceness">1 to 19; a thread that is nicer by 1 gets a fifth less.</param>
    public static void LowerPriority(int niceness)
    {
        if (OperatingSystem.IsLinux())
        {
            // On Linux this is the calling thread and not its process.
            _ = SetPriority(ThisProcess, 0, niceness);
        }
    }

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int OpenNative(string path, int flags);

    [LibraryImport("libc", EntryPoint = "sync_file_range")]
    private static partial int SyncFileRange(SafeFileHandle file, long offset, long length, uint flags);

    [LibraryImport("libc", EntryPoint = "setpriority")]
    private static partial int SetPriority(int which, int who, int niceness);
}
