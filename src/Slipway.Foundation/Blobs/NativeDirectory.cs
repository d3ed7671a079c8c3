using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Slipway.Foundation;

/// <summary>Opens a directory so that it can be flushed; .NET opens files only.</summary>
internal static partial class NativeDirectory
{
    private const int ReadOnly = 0;

    public static SafeFileHandle Open(string path)
    {
        var descriptor = OpenNative(path, ReadOnly);
        return descriptor < 0
            ? throw new IOException($"cannot open the directory {path}: error {Marshal.GetLastPInvokeError()}")
            : new SafeFileHandle(descriptor, ownsHandle: true);
    }

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int OpenNative(string path, int flags);
}
