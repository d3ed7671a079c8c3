using Microsoft.Data.Sqlite;

namespace Slipway.Acceptance;

/// <summary>The proof of a stopped server's folder.</summary>
public sealed class OfflineVerifyTests
{
    [Fact]
    public async Task A_changed_byte_is_found_in_a_stopped_folder()
    {
        await using var server = new RunningServer();
        await server.InitializeAsync();
        Assert.Equal(0, (await server.CliAsync("dataset create first")).Exit);
        Assert.Equal(0, (await server.CliAsync("dataset create second")).Exit);
        var online = await server.CliAsync("audit verify");
        Assert.Equal(0, online.Exit);
        Assert.Contains("JOURNAL:  intact", online.Out, StringComparison.Ordinal);
        await server.StopAsync();

        var intact = await server.CliAsync($"audit verify --data {server.Data}");
        Assert.True(intact.Exit == 0, intact.Out + intact.Error);

        using (var connection = new SqliteConnection($"Data Source={Path.Combine(server.Data, "slipway.db")};Pooling=False"))
        {
            await connection.OpenAsync(TestContext.Current.CancellationToken);
            using var read = connection.CreateCommand();
            read.CommandText = "SELECT entry FROM journal_entries WHERE seq = 2";
            var entry = (byte[])(await read.ExecuteScalarAsync(TestContext.Current.CancellationToken))!;
            entry[entry.Length / 2] ^= 1;
            using var write = connection.CreateCommand();
            write.CommandText = "UPDATE journal_entries SET entry = $entry WHERE seq = 2";
            write.Parameters.AddWithValue("$entry", entry);
            Assert.Equal(1, await write.ExecuteNonQueryAsync(TestContext.Current.CancellationToken));
        }

        var broken = await server.CliAsync($"audit verify --data {server.Data}");
        Assert.Equal(1, broken.Exit);
        Assert.Contains("JOURNAL:  BROKEN", broken.Out, StringComparison.Ordinal);
        Assert.Contains("entry 2:", broken.Out, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_folder_without_a_journal_is_not_found()
    {
        await using var server = new RunningServer();
        var result = await server.CliAsync("audit verify --data FOLDER/nothing");
        Assert.Equal(3, result.Exit);
        Assert.StartsWith("error: ", result.Error, StringComparison.Ordinal);
    }
}
