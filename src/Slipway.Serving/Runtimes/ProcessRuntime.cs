using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using System.Text;
using Microsoft.Extensions.Logging;
using Slipway.Foundation;
using Slipway.Registry;
using Slipway.Serving.Tensors;

namespace Slipway.Serving.Runtimes;

/// <summary>
/// A model in a child process that speaks the Open Inference Protocol on a Unix socket: Slipway's own worker, or any configured command. The
/// process has the model's folder, a bound on its memory and on the time of a call, an empty environment and no core dump; what it does wrong
/// ends it and not the server. It is started again with growing pauses, and requests meanwhile are refused as unavailable.
/// </summary>
internal sealed partial class ProcessRuntime : IModelRuntime
{
    private static readonly TimeSpan StartsWithin = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan LongestPause = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan WatchInterval = TimeSpan.FromMilliseconds(200);
    private readonly IReadOnlyList<string> _command;
    private readonly RuntimeSettings _settings;
    private readonly string _model;
    private readonly string _folder;
    private readonly TimeProvider _clock;
    private readonly ILogger _log;
    private readonly CancellationTokenSource _stop = new();
    private readonly TaskCompletionSource<ModelSignature> _first = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Task _keeper;
    private Worker? _worker;
    private string _why = "its process is being started";

    private ProcessRuntime(IReadOnlyList<string> command, RuntimeSettings settings, string model, string folder, TimeProvider clock, ILogger log)
    {
        (_command, _settings, _model, _folder, _clock, _log) = (command, settings, model, folder, clock, log);
        Traits = new(double.PositiveInfinity, settings.Concurrency, "it runs in a process of its own", 1, (long)settings.MemoryMiB << 20);
        _keeper = Task.Run(KeepAsync);
    }

    public ModelSignature Signature { get; private set; } = new([], [], null);

    public RuntimeTraits Traits { get; }

    /// <summary>The child's process id while it serves.</summary>
    internal int? ProcessId => Volatile.Read(ref _worker)?.Process.Id;

    /// <summary>
    /// Starts the process and waits until it serves. Throws <see cref="SlipwayException"/> with its last words if it does not.
    /// </summary>
    /// <param name="command">Program and arguments; <c>{model}</c>, <c>{folder}</c> and <c>{socket}</c> are replaced.</param>
    /// <param name="settings">Its bounds.</param>
    /// <param name="model">The model file.</param>
    /// <param name="folder">A folder that is the runtime's from now on; it is deleted with it.</param>
    /// <param name="clock">Times pauses.</param>
    /// <param name="log">Told of every end of the process.</param>
    /// <param name="ct">Gives up.</param>
    public static async Task<ProcessRuntime> StartAsync(
        IReadOnlyList<string> command, RuntimeSettings settings, string model, string folder, TimeProvider clock, ILogger log, CancellationToken ct)
    {
        var runtime = new ProcessRuntime(command, settings, model, folder, clock, log);
        try
        {
            runtime.Signature = await runtime._first.Task.WaitAsync(ct);
            return runtime;
        }
        catch
        {
            runtime.Dispose();
            throw;
        }
    }

    public async ValueTask<RunResult> RunAsync(InferRequest request, CancellationToken ct)
    {
        var worker = Volatile.Read(ref _worker);
        if (worker is null)
        {
            return new(ErrorCode.Unavailable, $"the model cannot answer: {_why}");
        }

        var start = Stopwatch.GetTimestamp();
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(ct);
        limit.CancelAfter(_settings.TimeoutMillis);
        try
        {
            var result = await worker.Client.InferAsync(request, Signature.Outputs, limit.Token);
            return result with { Times = new(0, (long)Stopwatch.GetElapsedTime(start).TotalNanoseconds, 0) };
        }
        catch (OperationCanceledException) when (ct.IsCancellationRequested)
        {
            return new(ErrorCode.Cancelled, "the caller went away") { Refused = true };
        }
        catch (OperationCanceledException) when (limit.IsCancellationRequested)
        {
            worker.End($"a call took longer than {_settings.TimeoutMillis} ms");
            return new(ErrorCode.DeadlineExceeded, $"the model did not answer within {_settings.TimeoutMillis} ms; its process is started again");
        }
        catch (Exception e) when (e is HttpRequestException or IOException or SocketException or OperationCanceledException or ObjectDisposedException)
        {
            await Task.WhenAny(worker.Ended, Task.Delay(WatchInterval, _clock, CancellationToken.None));
            return new(ErrorCode.Unavailable, $"the model's process broke off: {worker.Why ?? e.Message}");
        }
    }

    public void Dispose()
    {
        _stop.Cancel();
        // The keeper ends the process, which is quick; nobody else uses the runtime any more.
        _keeper.GetAwaiter().GetResult();
        _stop.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    private async Task KeepAsync()
    {
        var pause = TimeSpan.FromSeconds(1);
        while (!_stop.IsCancellationRequested)
        {
            var started = _clock.GetTimestamp();
            using (var worker = Start())
            {
                try
                {
                    using var limit = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token);
                    limit.CancelAfter(StartsWithin);
                    var signature = await worker.ServesAsync(limit.Token);
                    Volatile.Write(ref _worker, worker);
                    _first.TrySetResult(signature);
                    await worker.WatchAsync(_settings.MemoryMiB, WatchInterval, _clock, _stop.Token);
                }
                catch (OperationCanceledException)
                {
                    worker.End(_stop.IsCancellationRequested ? "the model is unloaded" : $"it did not serve within {StartsWithin.TotalSeconds:0} s");
                }
                catch (SlipwayException refused)
                {
                    worker.End(refused.Sentence);
                }

                Volatile.Write(ref _worker, null);
                await worker.Ended;
                if (_stop.IsCancellationRequested)
                {
                    break;
                }

                _why = $"its process ended: {worker.Why}";
                Log.Ended(_log, _model, worker.Why ?? "unknown");
                if (_first.TrySetException(new SlipwayException(
                    ErrorCode.InvalidArgument, "the model's process does not serve", worker.Why, "run the command by hand with the model's folder, or raise runtime.memoryMiB")))
                {
                    return;
                }
            }

            // One that lived for a while starts again at once the next time.
            pause = _clock.GetElapsedTime(started) > LongestPause ? TimeSpan.FromSeconds(1) : pause;
            try
            {
                await Task.Delay(pause, _clock, _stop.Token);
            }
            catch (OperationCanceledException)
            {
                break;
            }

            pause = pause * 2 < LongestPause ? pause * 2 : LongestPause;
        }
    }

    private Worker Start()
    {
        // Paths of sockets are short by law, so it does not lie in the data folder.
        var socket = Path.Combine(Path.GetTempPath(), $"slipway-{Ids.New()}.sock");
        string Filled(string part) => part.Replace("{model}", _model, StringComparison.Ordinal).Replace("{folder}", _folder, StringComparison.Ordinal).Replace("{socket}", socket, StringComparison.Ordinal);

        // RLIMIT_DATA counts what the process may write to; address space would also count what it only reserves.
        var kib = ((long)_settings.MemoryMiB * 1024).ToString(CultureInfo.InvariantCulture);
        var start = new ProcessStartInfo("/bin/sh", ["-c", "ulimit -c 0; ulimit -d \"$0\"; exec \"$@\"", kib, .. _command.Select(Filled)])
        {
            WorkingDirectory = _folder,
            RedirectStandardError = true,
            RedirectStandardOutput = true,
            RedirectStandardInput = true,
            UseShellExecute = false,
        };
        start.Environment.Clear();
        start.Environment["PATH"] = "/usr/local/bin:/usr/bin:/bin";
        start.Environment["HOME"] = _folder;
        start.Environment["SLIPWAY_SOCKET"] = socket;
        start.Environment["SLIPWAY_MODEL"] = _model;
        if (Environment.GetEnvironmentVariable("DOTNET_ROOT") is { } root)
        {
            start.Environment["DOTNET_ROOT"] = root;
        }

        start.Environment["DOTNET_gcServer"] = "0";
        start.Environment["DOTNET_EnableDiagnostics"] = "0";
        start.Environment["DOTNET_GCHeapHardLimitPercent"] = "0";
        return new Worker(Process.Start(start)!, socket, _settings.Model ?? "model");
    }

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Warning, "The process of model {Model} ended: {Why}; it is started again after a pause")]
        public static partial void Ended(ILogger logger, string model, string why);
    }

    /// <summary>One life of the process.</summary>
    private sealed class Worker : IDisposable
    {
        private readonly string _socket;
        private readonly HttpClient _http;
        private readonly StringBuilder _lastWords = new();
        private string? _why;

        public Worker(Process process, string socket, string model)
        {
            (Process, _socket) = (process, socket);
            process.ErrorDataReceived += (_, line) => Hear(line.Data);
            process.OutputDataReceived += (_, line) => Hear(line.Data);
            process.BeginErrorReadLine();
            process.BeginOutputReadLine();
            _http = new HttpClient(new SocketsHttpHandler { ConnectCallback = ConnectAsync }) { BaseAddress = new Uri("http://model"), Timeout = Timeout.InfiniteTimeSpan };
            Client = new OipClient(_http, model, null);
            Ended = EndedAsync();
        }

        public Process Process { get; }

        public OipClient Client { get; }

        /// <summary>Complete when the process is gone.</summary>
        public Task Ended { get; }

        /// <summary>Why it ended.</summary>
        public string? Why => Volatile.Read(ref _why);

        /// <summary>Ends the process for a reason.</summary>
        public void End(string why)
        {
            Interlocked.CompareExchange(ref _why, why, null);
            if (!Ended.IsCompleted && !Process.HasExited)
            {
                Process.Kill(entireProcessTree: true);
            }
        }

        /// <summary>Waits until the process serves and describes its model. Throws <see cref="SlipwayException"/> if it ends first.</summary>
        public async Task<ModelSignature> ServesAsync(CancellationToken ct)
        {
            while (true)
            {
                if (Ended.IsCompleted)
                {
                    throw new SlipwayException(ErrorCode.InvalidArgument, Why ?? "it ended");
                }

                if (await IsReadyAsync(ct))
                {
                    return await Client.SignatureAsync(ct);
                }

                await Task.WhenAny(Ended, Task.Delay(20, ct));
                ct.ThrowIfCancellationRequested();
            }
        }

        /// <summary>Watches the memory until the process ends.</summary>
        public async Task WatchAsync(int memoryMiB, TimeSpan interval, TimeProvider clock, CancellationToken ct)
        {
            while (!Ended.IsCompleted)
            {
                ct.ThrowIfCancellationRequested();
                if (Resident() is var mebibytes && mebibytes > memoryMiB)
                {
                    End($"it used {mebibytes} MiB of memory, {memoryMiB} are allowed");
                }

                await Task.WhenAny(Ended, Task.Delay(interval, clock, ct));
            }
        }

        public void Dispose()
        {
            End("it is not needed any more");
            _http.Dispose();
            Process.Dispose();
            File.Delete(_socket);
        }

        // A socket that does not listen yet is not ready; a process that has ended is seen as ended.
        private async Task<bool> IsReadyAsync(CancellationToken ct)
        {
            try
            {
                return File.Exists(_socket) && await Client.ReadyAsync(ct);
            }
            catch (Exception e) when (e is HttpRequestException or IOException)
            {
                return false;
            }
        }

        private async Task EndedAsync()
        {
            await Process.WaitForExitAsync();
            string words;
            lock (_lastWords)
            {
                words = _lastWords.ToString().Trim();
            }

            Interlocked.CompareExchange(ref _why, $"exit code {Process.ExitCode}{(words.Length > 0 ? $": {words}" : "")}", null);
        }

        private void Hear(string? line)
        {
            lock (_lastWords)
            {
                _lastWords.Append(line.AsSpan(0, Math.Min(line?.Length ?? 0, 300))).Append(' ');
                if (_lastWords.Length > 600)
                {
                    _lastWords.Remove(0, _lastWords.Length - 600);
                }
            }
        }

        private async ValueTask<Stream> ConnectAsync(SocketsHttpConnectionContext context, CancellationToken ct)
        {
            var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            try
            {
                await socket.ConnectAsync(new UnixDomainSocketEndPoint(_socket), ct);
                return new NetworkStream(socket, ownsSocket: true);
            }
            catch
            {
                socket.Dispose();
                throw;
            }
        }

        // Resident and swapped memory in MiB; 0 when the process is gone.
        private long Resident()
        {
            try
            {
                return File.ReadLines($"/proc/{Process.Id}/status")
                    .Where(line => line.StartsWith("VmRSS:", StringComparison.Ordinal) || line.StartsWith("VmSwap:", StringComparison.Ordinal))
                    .Sum(line => long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[^2], CultureInfo.InvariantCulture)) / 1024;
            }
            catch (Exception e) when (e is IOException or InvalidOperationException)
            {
                return 0;
            }
        }
    }
}
