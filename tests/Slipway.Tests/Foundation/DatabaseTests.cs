using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging.Abstractions;
using Slipway.Foundation;
using Slipway.Scale;

namespace Slipway.Tests.Foundation;

public sealed class DatabaseTests
{
    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Racing_read_then_write_transactions_count_every_one(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        await world.Database.WriteAsync(tx => tx.ExecuteAsync("CREATE TABLE counters (id BIGINT PRIMARY KEY, n BIGINT NOT NULL)"), CancellationToken.None);
        await world.Database.WriteAsync(tx => tx.ExecuteAsync("INSERT INTO counters VALUES (1, 0)"), CancellationToken.None);

        await Task.WhenAll(Enumerable.Range(0, 16).Select(_ => Task.Run(async () =>
        {
            for (var i = 0; i < 5; i++)
            {
                await world.Database.WriteAsync(
                    async tx =>
                    {
                        var n = await tx.ScalarAsync<long>("SELECT n FROM counters WHERE id = 1");
                        await tx.ExecuteAsync("UPDATE counters SET n = @n WHERE id = 1", new { n = n + 1 });
                    },
                    CancellationToken.None);
            }
        })));

        Assert.Equal(80, await world.Database.ReadAsync(s => s.ScalarAsync<long>("SELECT n FROM counters"), CancellationToken.None));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task A_failing_write_leaves_its_neighbours_alone(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        await world.Database.WriteAsync(tx => tx.ExecuteAsync("CREATE TABLE items (id BIGINT PRIMARY KEY)"), CancellationToken.None);

        var results = await Task.WhenAll(Enumerable.Range(0, 40).Select(async i =>
        {
            try
            {
                await world.Database.WriteAsync(
                    async tx =>
                    {
                        await tx.ExecuteAsync("INSERT INTO items VALUES (@i)", new { i = (long)i });
                        if (i % 4 == 0)
                        {
                            throw new InvalidOperationException("fourth");
                        }
                    },
                    CancellationToken.None);
                return true;
            }
            catch (InvalidOperationException)
            {
                return false;
            }
        }));

        Assert.Equal(30, results.Count(ok => ok));
        Assert.Equal(30, await world.Database.ReadAsync(s => s.ScalarAsync<long>("SELECT COUNT(*) FROM items"), CancellationToken.None));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Duplicate_key_is_told_apart_from_other_errors(Engine engine)
    {
        await using var world = await TestWorld.CreateAsync(engine);
        await world.Database.WriteAsync(tx => tx.ExecuteAsync("CREATE TABLE items (id BIGINT PRIMARY KEY)"), CancellationToken.None);
        await world.Database.WriteAsync(tx => tx.ExecuteAsync("INSERT INTO items VALUES (1)"), CancellationToken.None);

        var duplicate = await Assert.ThrowsAnyAsync<Exception>(() => world.Database.WriteAsync(tx => tx.ExecuteAsync("INSERT INTO items VALUES (1)"), CancellationToken.None));
        var other = await Assert.ThrowsAnyAsync<Exception>(() => world.Database.WriteAsync(tx => tx.ExecuteAsync("INSERT INTO nothing VALUES (1)"), CancellationToken.None));

        Assert.True(world.Database.Dialect.IsDuplicate(duplicate));
        Assert.False(world.Database.Dialect.IsDuplicate(other));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Starting_twice_is_harmless_and_a_newer_schema_is_refused(Engine engine)
    {
        var postgres = engine == Engine.Postgres ? await PostgresServer.NewDatabaseAsync() : null;
        using var folder = new TemporaryFolder();
        await using (var first = await TestWorld.CreateAsync(engine, folder: folder.Path, postgres: postgres))
        {
            await first.Get<Migrations>().RunAsync(CancellationToken.None);
        }

        await using (var second = await TestWorld.CreateAsync(engine, folder: folder.Path, postgres: postgres))
        {
            await second.Database.WriteAsync(tx => tx.ExecuteAsync("INSERT INTO schemaversions (scriptname, applied) VALUES ('Slipway.Foundation/9999_future', CURRENT_TIMESTAMP)"), CancellationToken.None);
        }

        var refused = await Assert.ThrowsAsync<SlipwayException>(() => TestWorld.CreateAsync(engine, folder: folder.Path, postgres: postgres));

        Assert.Equal(ErrorCode.PreconditionFailed, refused.Code);
        Assert.Contains("9999_future", refused.Why, StringComparison.Ordinal);
    }
}
