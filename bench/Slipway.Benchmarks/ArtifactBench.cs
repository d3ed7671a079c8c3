using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Json;
using System.Security.Cryptography;
using System.Text.Json;

namespace Slipway.Benchmarks;

/// <summary>
/// Artifacts through a running server: 4 KiB files up on 8 connections, 64 MiB files up and down on 2, each beside a plain
/// copy of the same bytes on the same disk (written and flushed; or written only, for downloads).
/// </summary>
internal static class ArtifactBench
{
    private const int Big = 64 << 20;
    private static readonly TimeSpan Small = TimeSpan.FromSeconds(5);

    public static async Task RunAsync(Uri url, string folder, int? server)
    {
        using var http = new HttpClient(new SocketsHttpHandler { MaxConnectionsPerServer = 8, UseProxy = false }) { BaseAddress = url, Timeout = TimeSpan.FromMinutes(5) };
        using var created = await http.PostAsJsonAsync("api/2.0/mlflow/runs/create", new { experiment_id = "0", start_time = 1 });
        var run = (await created.Content.ReadFromJsonAsync<JsonElement>()).GetProperty("run").GetProperty("info").GetProperty("run_id").GetString();
        var root = $"api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts";

        await SmallAsync(http, root, TimeSpan.FromSeconds(1), null);
        await SmallAsync(http, root, Small, server);
        for (var round = 0; round < 3; round++)
        {
            var blob = RandomNumberGenerator.GetBytes(Big);
            var (copy, plain) = Copy(folder, blob);
            var up = await TimeAsync(() => PutAsync(http, $"{root}/big", blob));
            var down = await TimeAsync(() => GetAsync(http, $"{root}/big"));
            Console.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"64 MiB   copy+flush {Rate(copy)}, up {Rate(up)} = {copy / up:P0}   write {Rate(plain)}, down {Rate(down)} = {plain / down:P0}"));
        }

        // Both connections at once, as much as fits into two files each.
        var blobs = Enumerable.Range(0, 2).Select(_ => RandomNumberGenerator.GetBytes(Big)).ToArray();
        var both = await TimeAsync(() => Task.WhenAll(blobs.Select((b, i) => PutAsync(http, $"{root}/both{i}", b))));
        var back = await TimeAsync(() => Task.WhenAll(blobs.Select((_, i) => GetAsync(http, $"{root}/both{i}"))));
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"64 MiB x 2 at once   up {2 / both.TotalSeconds:F1}/s, down {2 / back.TotalSeconds:F1}/s"));
    }

    private static async Task SmallAsync(HttpClient http, string root, TimeSpan time, int? server)
    {
        var latencies = new List<double>[8];
        var cpu = Cpu(server);
        var watch = Stopwatch.StartNew();
        await Task.WhenAll(Enumerable.Range(0, 8).Select(async c =>
        {
            latencies[c] = [];
            var bytes = RandomNumberGenerator.GetBytes(4096);
            for (var i = 0; watch.Elapsed < time; i++)
            {
                BitConverter.TryWriteBytes(bytes, (c << 24) + i);
                var start = watch.Elapsed;
                await PutAsync(http, $"{root}/s{c}-{i}", bytes);
                latencies[c].Add((watch.Elapsed - start).TotalMilliseconds);
            }
        }));
        var all = latencies.SelectMany(l => l).Order().ToArray();
        var used = Cpu(server) - cpu;
        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"4 KiB    {all.Length / watch.Elapsed.TotalSeconds:F0} puts/s on 8 connections, p50 {all[all.Length / 2]:F1} ms, p99 {all[all.Length * 99 / 100]:F1} ms, server CPU {used * 1e6 / all.Length:F0} us/put"));
    }

    private static (TimeSpan Flushed, TimeSpan Plain) Copy(string folder, byte[] blob)
    {
        var name = Path.Combine(folder, "plain-copy");
        var watch = Stopwatch.StartNew();
        TimeSpan plain;
        using (var file = File.OpenHandle(name, FileMode.Create, FileAccess.Write))
        {
            for (var at = 0; at < blob.Length; at += 1 << 20)
            {
                RandomAccess.Write(file, blob.AsSpan(at, 1 << 20), at);
            }

            plain = watch.Elapsed;
            RandomAccess.FlushToDisk(file);
        }

        var flushed = watch.Elapsed;
        File.Delete(name);
        return (flushed, plain);
    }

    private static async Task PutAsync(HttpClient http, string path, byte[] bytes)
    {
        using var content = new ByteArrayContent(bytes);
        using var response = await http.PutAsync(path, content);
        response.EnsureSuccessStatusCode();
    }

    private static async Task GetAsync(HttpClient http, string path)
    {
        using var response = await http.GetAsync(path, HttpCompletionOption.ResponseHeadersRead);
        response.EnsureSuccessStatusCode();
        await using var content = await response.Content.ReadAsStreamAsync();
        var buffer = new byte[1 << 20];
        while (await content.ReadAsync(buffer) > 0)
        {
        }
    }

    private static async Task<TimeSpan> TimeAsync(Func<Task> act)
    {
        var watch = Stopwatch.StartNew();
        await act();
        return watch.Elapsed;
    }

    /// <summary>Seconds of processor time, in the kernel's ticks of 10 ms.</summary>
    private static double Cpu(int? pid) => pid is null
        ? double.NaN
        : File.ReadAllText($"/proc/{pid}/stat").Split(')')[^1].Split(' ', StringSplitOptions.RemoveEmptyEntries) is var fields
            ? (double.Parse(fields[11], CultureInfo.InvariantCulture) + double.Parse(fields[12], CultureInfo.InvariantCulture)) / 100
            : double.NaN;

    private static string Rate(TimeSpan time) => string.Create(CultureInfo.InvariantCulture, $"{64 / time.TotalSeconds:F0} MiB/s");
}
