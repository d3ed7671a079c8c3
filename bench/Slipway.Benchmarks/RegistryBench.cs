using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;

namespace Slipway.Benchmarks;

/// <summary>
/// The MLflow protocol under load: eight keep-alive connections, each sending its next request when the last answer is complete.
/// After each scenario it reads back what was acknowledged. The token of a server with users is taken from MLFLOW_TRACKING_TOKEN.
/// </summary>
internal static class RegistryBench
{
    private const int Connections = 8;
    private const int SearchRuns = 10_000;
    private const string Api = "/api/2.0/mlflow";
    // Until the compiler has seen the hot paths twice, half of the time is its own; a server that runs for days is measured behind that.
    private static readonly TimeSpan WarmUp = TimeSpan.FromSeconds(8);
    private static long counter = Stopwatch.GetTimestamp() / 1000 % 100_000_000;

    /// <summary>Requests a second that MLflow 3.11's own server reached on the same kind of machine, from and to, by engine.</summary>
    private static readonly Dictionary<string, ((double, double) Sqlite, (double, double) Postgres)> Mlflow = new(StringComparer.Ordinal)
    {
        ["runs-create"] = ((94, 129), (108, 230)),
        ["log-metric"] = ((136, 152), (185, 299)),
        ["log-batch-100"] = ((34, 67), (35, 42)),
        ["runs-get"] = ((129, 188), (128, 165)),
        ["runs-search"] = ((0.8, 2.1), (10, 13)),
        ["model-version"] = ((123, 154), (173, 254)),
    };

    /// <param name="url">A running server.</param>
    /// <param name="engine">sqlite or postgres, for the ratios.</param>
    /// <param name="seconds">Length of each measurement.</param>
    /// <param name="server">The server's process, for its processor time; null leaves that out.</param>
    /// <param name="only">Scenarios; empty means all.</param>
    public static void Run(Uri url, string engine, double seconds, int? server, IReadOnlyList<string> only)
    {
        using var client = new Connection(url);
        var experiment = client.Call("POST", $"{Api}/experiments/create", $$"""{"name":"bench-{{Next()}}"}""").GetProperty("experiment_id").GetString()!;
        var runs = Enumerable.Range(0, 40).Select(i => Start(client, experiment, i)).ToArray();
        Scenario[] scenarios =
        [
            new("runs-create", (_, _) => ("POST", $"{Api}/runs/create", $$"""{"experiment_id":"{{experiment}}","start_time":{{Now()}},"run_name":"r{{Next()}}","tags":[{"key":"mlflow.user","value":"bench"},{"key":"mlflow.source.name","value":"bench.py"}]}"""),
                ok => Demand(CountRuns(client, experiment), ok + runs.Length, "runs")),
            new("log-metric", (n, _) => ("POST", $"{Api}/runs/log-metric", string.Create(CultureInfo.InvariantCulture, $$"""{"run_id":"{{runs[n % runs.Length]}}","key":"loss","value":{{1.0 / (n + 1)}},"timestamp":{{Now()}},"step":{{Next()}}}""")),
                ok => Demand(runs.Sum(r => CountPoints(client, r, "loss")), ok, "points")),
            new("log-batch-100", (n, _) => ("POST", $"{Api}/runs/log-batch", Batch(runs[n % runs.Length])),
                ok => Demand(runs.Sum(r => CountPoints(client, r, "m0")), (ok * 5) + runs.Length, "points of m0")),
            new("runs-get", (n, _) => ("GET", $"{Api}/runs/get?run_id={runs[n % runs.Length]}", null), null),
            new("runs-search", (n, searched) => ("POST", $"{Api}/runs/search", $$"""{"experiment_ids":["{{searched}}"],"filter":"metrics.acc > 0.{{5 + (n % 4)}} and params.model = 'm{{n % 5}}'","order_by":["metrics.acc DESC"],"max_results":100}"""), null, Searches: true),
            new("model-version", (n, _) => n % 2 == 0
                ? ("POST", $"{Api}/registered-models/create", $$"""{"name":"bm-{{Slot(n)}}","tags":[{"key":"team","value":"a"}],"description":"d"}""")
                : ("POST", $"{Api}/model-versions/create", $$"""{"name":"bm-{{Slot(n)}}","source":"s3://bench/models/{{n}}","tags":[{"key":"k","value":"v"}]}"""), null),
        ];
        foreach (var scenario in scenarios.Where(s => only.Count == 0 || only.Contains(s.Name)))
        {
            var searched = scenario.Searches ? Seed(url) : experiment;
            var result = Measure(url, scenario, searched, TimeSpan.FromSeconds(seconds), server);
            scenario.Verify?.Invoke(result.Acknowledged);
            var (low, high) = engine == "postgres" ? Mlflow[scenario.Name].Postgres : Mlflow[scenario.Name].Sqlite;
            var cpu = result.CpuMs is { } ms ? string.Create(CultureInfo.InvariantCulture, $"{ms:0.000}") : "-";
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"| {engine} | {scenario.Name} | {result.Rate:N0} | {result.P50:0.00} | {result.P99:0.00} | {cpu} | {result.Rate / high:0}-{result.Rate / low:0}x |"));
        }
    }

    private static string Slot(int n) => string.Create(CultureInfo.InvariantCulture, $"{Environment.ProcessId}-{n / 2}");

    private static string Batch(string run)
    {
        var text = new StringBuilder(9000).Append(CultureInfo.InvariantCulture, $$"""{"run_id":"{{run}}","metrics":[""");
        var step = Interlocked.Add(ref counter, 5);
        var now = Now();
        for (var i = 0; i < 100; i++)
        {
            text.Append(i == 0 ? "" : ",").Append(CultureInfo.InvariantCulture, $$"""{"key":"m{{i / 5}}","value":{{(0.001 * ((step + i) % 1000)) + (i / 5)}},"timestamp":{{now}},"step":{{step + (i % 5)}}}""");
        }

        return text.Append("]}").ToString();
    }

    private static string Start(Connection client, string experiment, int i)
    {
        var run = client.Call("POST", $"{Api}/runs/create", $$"""{"experiment_id":"{{experiment}}","start_time":{{Now()}},"run_name":"fx{{i}}","tags":[{"key":"team","value":"a"}]}""").GetProperty("run").GetProperty("info").GetProperty("run_id").GetString()!;
        var metrics = string.Join(',', Enumerable.Range(0, 20).Select(k => $$"""{"key":"m{{k}}","value":{{k}}.5,"timestamp":{{Now()}},"step":0}"""));
        var pairs = (string letter) => string.Join(',', Enumerable.Range(0, 5).Select(k => $$"""{"key":"{{letter}}{{k}}","value":"v{{k}}"}"""));
        client.Call("POST", $"{Api}/runs/log-batch", $$"""{"run_id":"{{run}}","metrics":[{{metrics}}],"params":[{{pairs("p")}}],"tags":[{{pairs("t")}}]}""");
        return run;
    }

    /// <summary>The experiment with 10,000 runs, made when it is not there.</summary>
    private static string Seed(Uri url)
    {
        const string name = "bench-search";
        using var client = new Connection(url);
        if (client.Send("GET", $"{Api}/experiments/get-by-name?experiment_name={name}", null) == 200)
        {
            return client.Json().GetProperty("experiment").GetProperty("experiment_id").GetString()!;
        }

        var experiment = client.Call("POST", $"{Api}/experiments/create", $$"""{"name":"{{name}}"}""").GetProperty("experiment_id").GetString()!;
        var next = -1;
        InParallel(() =>
        {
            using var own = new Connection(url);
            for (var k = Interlocked.Increment(ref next); k < SearchRuns; k = Interlocked.Increment(ref next))
            {
                var run = own.Call("POST", $"{Api}/runs/create", $$"""{"experiment_id":"{{experiment}}","start_time":{{1_700_000_000_000 + (k * 1000L)}},"run_name":"run-{{k}}","tags":[{"key":"team","value":"t{{k % 7}}"}]}""").GetProperty("run").GetProperty("info").GetProperty("run_id").GetString();
                var x = k * 7919L % 10_000 / 10_000.0;
                own.Call("POST", $"{Api}/runs/log-batch", string.Create(CultureInfo.InvariantCulture, $$"""{"run_id":"{{run}}","metrics":[{"key":"acc","value":{{x}},"timestamp":1,"step":1},{"key":"loss","value":{{1 - x}},"timestamp":1,"step":1},{"key":"f1","value":{{x * x}},"timestamp":1,"step":1}],"params":[{"key":"model","value":"m{{k % 5}}"},{"key":"lr","value":"0.00{{k % 9}}"},{"key":"idx","value":"{{k}}"}],"tags":[{"key":"seeded","value":"1"}]}"""));
            }
        });
        return experiment;
    }

    private static Result Measure(Uri url, Scenario scenario, string searched, TimeSpan time, int? server)
    {
        var (n, acknowledged) = (-2, 0L);
        var started = Stopwatch.GetTimestamp();
        var cpuAtStart = 0.0;
        var all = new List<double>();
        InParallel(() =>
        {
            using var connection = new Connection(url);
            var mine = new List<double>();
            var i = 1;
            while (Stopwatch.GetElapsedTime(started) is var at && at < WarmUp + time)
            {
                // Numbers come in pairs, and a connection sends both of a pair: a model and then its version.
                i = (i & 1) == 0 ? i + 1 : Interlocked.Add(ref n, 2);
                var (method, path, body) = scenario.Make(i, searched);
                var sent = Stopwatch.GetTimestamp();
                if (connection.Send(method, path, body) is not 200 and var status)
                {
                    throw new InvalidOperationException($"{path} answered {status}: {connection.Body()}");
                }

                Interlocked.Increment(ref acknowledged);
                if (at >= WarmUp)
                {
                    mine.Add(Stopwatch.GetElapsedTime(sent).TotalMilliseconds);
                }
            }

            lock (all)
            {
                all.AddRange(mine);
            }
        }, () =>
        {
            Task.Delay(WarmUp).GetAwaiter().GetResult();
            cpuAtStart = server is { } pid ? Cpu(pid) : 0;
        });
        if (all.Count == 0)
        {
            throw new InvalidOperationException($"{scenario.Name}: no request was both sent and answered after the warm-up");
        }

        var cpu = server is { } id ? (Cpu(id) - cpuAtStart) / all.Count : (double?)null;
        all.Sort();
        return new Result(all.Count / time.TotalSeconds, all[all.Count / 2], all[(int)(all.Count * 0.99)], cpu, acknowledged);
    }

    private static void InParallel(Action work, Action? beside = null)
    {
        var failures = new List<Exception>();
        var threads = Enumerable.Range(0, Connections).Select(_ => new Thread(() =>
        {
            try
            {
                work();
            }
            catch (Exception e)
            {
                lock (failures)
                {
                    failures.Add(e);
                }
            }
        })).ToList();
        threads.ForEach(t => t.Start());
        beside?.Invoke();
        threads.ForEach(t => t.Join());
        if (failures.Count > 0)
        {
            throw failures[0];
        }
    }

    /// <summary>Processor time of a process in milliseconds.</summary>
    private static double Cpu(int pid)
    {
        var fields = File.ReadAllText($"/proc/{pid}/stat");
        var parts = fields[(fields.LastIndexOf(')') + 2)..].Split(' ');
        return (double.Parse(parts[11], CultureInfo.InvariantCulture) + double.Parse(parts[12], CultureInfo.InvariantCulture)) * 10;
    }

    private static long CountRuns(Connection client, string experiment)
    {
        var count = 0L;
        for (var token = ""; ;)
        {
            var page = client.Call("POST", $"{Api}/runs/search", $$"""{"experiment_ids":["{{experiment}}"],"max_results":5000,"page_token":"{{token}}"}""");
            count += page.TryGetProperty("runs", out var runs) ? runs.GetArrayLength() : 0;
            if (!page.TryGetProperty("next_page_token", out var next))
            {
                return count;
            }

            token = next.GetString()!;
        }
    }

    private static long CountPoints(Connection client, string run, string key)
    {
        var count = 0L;
        for (var token = ""; ;)
        {
            var page = client.Call("GET", $"{Api}/metrics/get-history?run_id={run}&metric_key={key}&max_results=20000&page_token={Uri.EscapeDataString(token)}", null);
            count += page.TryGetProperty("metrics", out var points) ? points.GetArrayLength() : 0;
            if (!page.TryGetProperty("next_page_token", out var next))
            {
                return count;
            }

            token = next.GetString()!;
        }
    }

    private static void Demand(long stored, long acknowledged, string what)
    {
        if (stored < acknowledged)
        {
            throw new InvalidOperationException($"lost: {stored} {what} are stored, {acknowledged} were acknowledged");
        }
    }

    private static long Now() => TimeProvider.System.GetUtcNow().ToUnixTimeMilliseconds();

    private static long Next() => Interlocked.Increment(ref counter);

    private sealed record Scenario(string Name, Func<int, string, (string Method, string Path, string? Body)> Make, Action<long>? Verify, bool Searches = false);

    private sealed record Result(double Rate, double P50, double P99, double? CpuMs, long Acknowledged);

    /// <summary>One keep-alive connection.</summary>
    private sealed class Connection : IDisposable
    {
        private static readonly string? Token = Environment.GetEnvironmentVariable("MLFLOW_TRACKING_TOKEN");
        private readonly Socket socket = new(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        private readonly string host;
        private byte[] buffer = new byte[256 * 1024];
        private int bodyAt;
        private int end;

        public Connection(Uri url)
        {
            host = url.Authority;
            socket.Connect(url.Host, url.Port);
        }

        public int Send(string method, string path, string? body)
        {
            var authorization = Token is null ? "" : $"Authorization: Bearer {Token}\r\n";
            var content = body is null ? "" : $"Content-Type: application/json\r\nContent-Length: {Encoding.UTF8.GetByteCount(body)}\r\n";
            socket.Send(Encoding.UTF8.GetBytes($"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{authorization}{content}\r\n{body}"));
            end = 0;
            int head;
            do
            {
                Receive();
                head = buffer.AsSpan(0, end).IndexOf("\r\n\r\n"u8);
            }
            while (head < 0);
            var text = Encoding.ASCII.GetString(buffer, 0, head);
            var at = text.IndexOf("Content-Length: ", StringComparison.OrdinalIgnoreCase);
            if (at < 0)
            {
                throw new InvalidOperationException($"the answer to {path} has no length");
            }

            var length = int.Parse(text.AsSpan(at + 16, Math.Max(0, (text.IndexOf('\r', at) is var line && line < 0 ? text.Length : line) - at - 16)), CultureInfo.InvariantCulture);
            bodyAt = head + 4;
            while (end < bodyAt + length)
            {
                Receive();
            }

            return int.Parse(text.AsSpan(9, 3), CultureInfo.InvariantCulture);
        }

        public JsonElement Call(string method, string path, string? body) =>
            Send(method, path, body) == 200 ? Json() : throw new InvalidOperationException($"{method} {path}: {Body()}");

        public JsonElement Json() => JsonSerializer.Deserialize<JsonElement>(buffer.AsSpan(bodyAt, end - bodyAt));

        public string Body() => Encoding.UTF8.GetString(buffer, bodyAt, end - bodyAt);

        public void Dispose() => socket.Dispose();

        private void Receive()
        {
            if (end == buffer.Length)
            {
                Array.Resize(ref buffer, buffer.Length * 2);
            }

            var read = socket.Receive(buffer.AsSpan(end));
            end += read > 0 ? read : throw new InvalidOperationException("the server closed the connection");
        }
    }
}
