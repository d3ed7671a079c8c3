using System.Globalization;
using System.Net.Http.Json;
using System.Text.Json;
using Slipway.Tests;

namespace Slipway.Acceptance;

/// <summary>Monitors of a server that is killed in the middle of a window.</summary>
public sealed class MonitorKillTests : IAsyncLifetime
{
    private const int RowsAnHour = 120;
    private static readonly DateTimeOffset Midnight = new(2026, 1, 5, 0, 0, 0, TimeSpan.Zero);
    private readonly DirectoryInfo folder = Directory.CreateTempSubdirectory("slipway-monitor-");

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    public ValueTask InitializeAsync() => ValueTask.CompletedTask;

    public ValueTask DisposeAsync()
    {
        folder.Delete(recursive: true);
        return ValueTask.CompletedTask;
    }

    [Fact]
    public async Task Windows_of_a_killed_server_say_what_those_of_one_that_lives_say()
    {
        await using var server = new ServeProcess("--data", folder.FullName);
        await server.StartAsync(Stop);
        await server.RegisterIrisAsync(Stop);
        var (calm, _) = await RunAsync("calm", kill: false);
        var (shaken, rows) = await RunAsync("shaken", kill: true);
        Assert.Equal(calm, shaken);
        Assert.Equal([RowsAnHour, RowsAnHour, RowsAnHour], rows);
        Assert.Contains("accuracy", calm, StringComparison.Ordinal);

        async Task<(string Points, long[] Rows)> RunAsync(string endpoint, bool kill)
        {
            await server.PostAsync("endpoints", new { name = endpoint, modelVersion = "iris/1" }, Stop);
            var monitor = (await server.PostAsync("monitors", new { endpoint, modelVersion = "iris/1", window = new { period = "hours", hours = 1, lateness = "00:00:00" } }, Stop)).GetProperty("id").GetString()!;
            for (var row = 0; row < 3 * RowsAnHour; row++)
            {
                await AskAsync(server, endpoint, row);
                // The first window is the reference and judged already; the second one is half full, and its last row was answered a moment ago.
                if (kill && row == RowsAnHour * 3 / 2)
                {
                    await server.PostAsync($"monitors/{monitor}/run", new { }, Stop);
                    await AskAsync(server, endpoint, ++row);
                    await server.KillAsync();
                    await server.StartAsync(Stop);
                }
            }

            using var labels = JsonContent.Create(Enumerable.Range(0, 3 * RowsAnHour).Select(row => new { predictionId = $"{endpoint}-{row}", value = row % 3, at = At(row) }));
            using var joined = await server.Http.PostAsync(new Uri($"/api/v1/endpoints/{endpoint}/labels", UriKind.Relative), labels, Stop);
            Assert.True(joined.IsSuccessStatusCode, await joined.Content.ReadAsStringAsync(Stop));
            await AskAsync(server, endpoint, 3 * RowsAnHour);
            await server.PostAsync($"monitors/{monitor}/run", new { }, Stop);
            var points = (await server.GetAsync($"monitors/{monitor}/points?limit=1000", Stop)).GetProperty("items").EnumerateArray().Where(p => p.GetProperty("phase").GetString() == "final").ToList();
            // How long an answer took is no question of what was kept, and labels make one revision or several, depending on when they are looked at.
            var told = points.Where(p => !Text(p, "metric").StartsWith("latency", StringComparison.Ordinal))
                .Select(p => string.Join(' ', new[] { "windowStart", "metric", "column", "value", "n", "state", "level", "lower", "upper", "coverage", "lateRows" }.Select(name => Text(p, name)))).Order(StringComparer.Ordinal);
            return (string.Join('\n', told), [.. points.Where(p => Text(p, "metric") == "rows").Select(p => p.GetProperty("n").GetInt64())]);
        }
    }

    [Fact]
    public async Task Window_holds_the_rows_of_a_node_that_was_killed()
    {
        await using var postgres = await PostgresServer.OwnAsync();
        var database = await postgres.CreateDatabaseAsync();
        await using ServeProcess a = new("--data", folder.FullName, "--postgres", database, "--node", "a"), b = new("--data", folder.FullName, "--postgres", database, "--node", "b");
        await a.StartAsync(Stop);
        await b.StartAsync(Stop);
        await a.RegisterIrisAsync(Stop);
        await a.PostAsync("endpoints", new { name = "flowers", modelVersion = "iris/1" }, Stop);
        var monitor = (await a.PostAsync("monitors", new { endpoint = "flowers", modelVersion = "iris/1", window = new { period = "hours", hours = 1, lateness = "00:00:00" } }, Stop)).GetProperty("id").GetString()!;
        for (var i = 0; (await b.FindAsync("endpoints/flowers", Stop))?.GetProperty("ready").GetBoolean() != true; i++)
        {
            Assert.True(i < 300, b.Log);
            await Task.Delay(100, Stop);
        }

        for (var row = 0; row < RowsAnHour; row++)
        {
            await AskAsync(row % 2 == 0 ? a : b, "flowers", row);
        }

        // Its last row was answered a moment ago and lies in a buffer.
        await b.KillAsync();
        await AskAsync(a, "flowers", RowsAnHour);
        JsonElement rows = default;
        for (var i = 0; rows.ValueKind == JsonValueKind.Undefined; i++)
        {
            Assert.True(i < 300, a.Log);
            await Task.Delay(200, Stop);
            await a.PostAsync($"monitors/{monitor}/run", new { }, Stop);
            rows = (await a.GetAsync($"monitors/{monitor}/points?metric=rows", Stop)).GetProperty("items").EnumerateArray().FirstOrDefault(p => p.GetProperty("phase").GetString() == "final");
        }

        Assert.Equal((RowsAnHour, 0), (rows.GetProperty("n").GetInt64(), rows.GetProperty("lateRows").GetInt64()));
        Assert.Contains("Took over the prediction log", a.Log, StringComparison.Ordinal);
    }

    private static async Task AskAsync(ServeProcess server, string endpoint, int row)
    {
        string[] data = [.. new[] { 5 + (row * 7 % 20 / 10.0), 2.5 + (row * 3 % 10 / 10.0), 1.4 + (row * 11 % 40 / 10.0), 0.2 + (row * 5 % 20 / 10.0) }.Select(v => v.ToString("R", CultureInfo.InvariantCulture))];
        using var content = new StringContent($$"""{"id":"{{endpoint}}-{{row}}","parameters":{"event_time":{{At(row).ToUnixTimeMilliseconds()}}000},"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":[{{string.Join(',', data)}}]}]}""");
        using var answer = await server.Http.PostAsync(new Uri($"/v2/models/{endpoint}/infer", UriKind.Relative), content, Stop);
        Assert.True(answer.IsSuccessStatusCode, await answer.Content.ReadAsStringAsync(Stop));
    }

    private static DateTimeOffset At(int row) => Midnight.AddHours((double)row / RowsAnHour);

    private static string Text(JsonElement point, string name) => point.TryGetProperty(name, out var value) ? value.ToString() : "-";
}
