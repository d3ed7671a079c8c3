using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;

namespace Slipway.Pipelines.Jobs;

/// <summary>A program to run.</summary>
/// <param name="Name">Made by the caller, the same for every attempt: a second start of one name joins the first.</param>
/// <param name="Command">The program and its arguments.</param>
/// <param name="Environment">All of its environment.</param>
/// <param name="Deadline">How long it may run.</param>
/// <param name="MaxLogBytes">Most bytes of output.</param>
/// <param name="Grace">Time between SIGTERM and SIGKILL.</param>
internal sealed record Job(string Name, IReadOnlyList<string> Command, IReadOnlyDictionary<string, string> Environment, TimeSpan Deadline, long MaxLogBytes, TimeSpan Grace);

/// <summary>Why a job is over.</summary>
internal enum JobEnd
{
    Exited,
    Cancelled,
    Deadline,
    TooMuchOutput,
}

/// <summary>How a job ended.</summary>
/// <param name="End">Why it is over.</param>
/// <param name="ExitCode">As a shell gives it: 128 + N after signal N.</param>
/// <param name="LogFile">Its output, standard error included; gone after <see cref="LocalJobRunner.Forget"/>.</param>
internal sealed record JobResult(JobEnd End, int ExitCode, string LogFile)
{
    public string Why(TimeSpan deadline, long maxLogBytes) => End switch
    {
        JobEnd.Deadline => $"it ran longer than {deadline}",
        JobEnd.TooMuchOutput => $"it wrote more than {maxLogBytes} bytes",
        _ => $"it ended with exit code {ExitCode}",
    };
}

/// <summary>
/// Child processes of this machine, each in a session (and process group) of its own, so that it outlives the server and is signalled as a
/// whole. A few lines of shell around the program write its pid, output and exit code into the job's folder; after a restart the server
/// finds the job again there. The folder is claimed by making a directory in it, so two starts of one name never run two programs.
/// </summary>
internal sealed partial class LocalJobRunner(DataLayout layout, TimeProvider clock)
{
    private const int Terminate = 15;
    private const int Kill = 9;
    private static readonly TimeSpan Poll = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan StartsWithin = TimeSpan.FromSeconds(30);

    // The trap keeps the wrapper alive through a SIGTERM to the group, so that it can still write the exit code; the program starts with default handlers.
    // It holds none of the server's own pipes: whoever reads the server's output would wait for the job's end.
    private const string Wrapper = """
        exec </dev/null >/dev/null 2>&1
        mkdir "$0/claim" 2>/dev/null || exit 125
        trap : TERM
        echo $$ >"$0/pid.new" && mv "$0/pid.new" "$0/pid"
        "$@" >"$0/log" 2>&1 </dev/null &
        child=$!
        wait $child; code=$?
        while kill -0 $child 2>/dev/null; do wait $child; code=$?; done
        echo $code >"$0/exit.new" && mv "$0/exit.new" "$0/exit"
        """;

    /// <summary>Starts the job, or joins it when it runs or has ended already, and waits for its end.</summary>
    /// <param name="job">What to run.</param>
    /// <param name="cancel">Ends the job: SIGTERM, and after the grace time SIGKILL.</param>
    /// <param name="detach">Stops waiting and leaves the job running; wins over <paramref name="cancel"/>.</param>
    /// <exception cref="SlipwayException">Unavailable when the job was lost (the machine restarted); the next call starts it anew.</exception>
    public async Task<JobResult> RunAsync(Job job, CancellationToken cancel, CancellationToken detach)
    {
        var folder = FolderOf(job.Name);
        Directory.CreateDirectory(folder);
        using var process = Directory.Exists(Path.Combine(folder, "claim")) ? null : Start(folder, job);
        var started = StartedAt(folder);
        var waited = Stopwatch.StartNew();
        JobEnd? ending = null;
        TimeSpan? since = null;
        while (true)
        {
            detach.ThrowIfCancellationRequested();
            var pid = Read(folder, "pid");
            if (Read(folder, "exit") is { } code)
            {
                return new(ending ?? JobEnd.Exited, code, LogOf(folder));
            }

            if (pid is null ? waited.Elapsed > StartsWithin : !IsAlive(pid.Value, folder) && Read(folder, "exit") is null)
            {
                if (ending is { } end)
                {
                    return new(end, 128 + Kill, LogOf(folder));
                }

                Forget(job.Name);
                throw new SlipwayException(ErrorCode.Unavailable, $"{job.Command[0]} was lost", pid is null ? "it did not start" : $"process {pid} is gone without an exit code", "it is started again");
            }

            // The caller's token is also cancelled by a detach, always after it.
            ending ??= cancel.IsCancellationRequested && !detach.IsCancellationRequested ? JobEnd.Cancelled
                : clock.GetUtcNow() - started > job.Deadline ? JobEnd.Deadline
                : new FileInfo(LogOf(folder)) is { Exists: true } log && log.Length > job.MaxLogBytes ? JobEnd.TooMuchOutput
                : null;
            if (ending is not null && pid is { } group)
            {
                if (since is null)
                {
                    since = waited.Elapsed;
                    Signal(group, Terminate);
                }
                else if (waited.Elapsed - since > job.Grace)
                {
                    Signal(group, Kill);
                }
            }

            // Waits in real time: the process does not live by the injected clock.
            await Task.Delay(Poll, CancellationToken.None);
        }
    }

    /// <summary>Removes what is left of an ended job.</summary>
    public void Forget(string name)
    {
        if (Directory.Exists(FolderOf(name)))
        {
            Directory.Delete(FolderOf(name), recursive: true);
        }
    }

    private Process Start(string folder, Job job)
    {
        File.WriteAllText(Path.Combine(folder, "started"), clock.NowMicros().ToString(CultureInfo.InvariantCulture));
        var start = new ProcessStartInfo("setsid", ["sh", "-c", Wrapper, folder, .. job.Command])
        {
            WorkingDirectory = Directory.CreateDirectory(Path.Combine(folder, "work")).FullName,
            UseShellExecute = false,
        };
        start.Environment.Clear();
        foreach (var (name, value) in job.Environment)
        {
            start.Environment[name] = value;
        }

        try
        {
            return Process.Start(start) ?? throw new InvalidOperationException("no process was made");
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            throw new SlipwayException(ErrorCode.PreconditionFailed, "commands cannot be run here", e.Message, "install util-linux, which has setsid", e);
        }
    }

    private DateTimeOffset StartedAt(string folder) =>
        long.TryParse(File.ReadAllText(Path.Combine(folder, "started")), CultureInfo.InvariantCulture, out var micros) ? Time.FromMicros(micros) : clock.GetUtcNow();

    // A pid is used again after a while; the job's folder stands in the wrapper's command line and in no other's. A zombie has none.
    private static bool IsAlive(int pid, string folder)
    {
        try
        {
            return Encoding.UTF8.GetString(File.ReadAllBytes($"/proc/{pid.ToString(CultureInfo.InvariantCulture)}/cmdline")).Split('\0').Contains(folder, StringComparer.Ordinal);
        }
        catch (IOException)
        {
            return false;
        }
    }

    private static int? Read(string folder, string file)
    {
        try
        {
            return int.Parse(File.ReadAllText(Path.Combine(folder, file)), NumberStyles.Integer, CultureInfo.InvariantCulture);
        }
        catch (FileNotFoundException)
        {
            return null;
        }
    }

    private static string LogOf(string folder) => Path.Combine(folder, "log");

    // A group that is gone already is no error.
    private static void Signal(int group, int signal) => _ = KillNative(-group, signal);

    private string FolderOf(string name) => Path.Combine(layout.Root, "jobs", name);

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int KillNative(int pid, int signal);
}
