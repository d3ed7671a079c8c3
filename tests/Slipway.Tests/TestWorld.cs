using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Time.Testing;
using Slipway.Foundation;
using Slipway.Scale;

namespace Slipway.Tests;

/// <summary>All modules over a temporary folder and a database of their own, on a clock that only tests move.</summary>
public sealed class TestWorld : IAsyncDisposable
{
    public static readonly Actor Ada = new(ActorKind.User, "ada");
    public static readonly Actor Grace = new(ActorKind.User, "grace");

    private readonly ServiceProvider services;
    private readonly bool keep;

    private TestWorld(string folder, ServiceProvider services, FakeTimeProvider clock, bool keep)
    {
        Folder = folder;
        this.services = services;
        Clock = clock;
        this.keep = keep;
    }

    public string Folder { get; }

    public FakeTimeProvider Clock { get; }

    public IServiceProvider Services => services;

    public Database Database => Get<Database>();

    public Journal Journal => Get<Journal>();

    public static async Task<TestWorld> CreateAsync(Engine engine, Action<IServiceCollection>? also = null, string? folder = null, string? postgres = null)
    {
        postgres ??= engine == Engine.Postgres ? await PostgresServer.NewDatabaseAsync() : null;
        var keep = folder is not null;
        folder ??= Directory.CreateTempSubdirectory("slipway-test-").FullName;
        var clock = new FakeTimeProvider(new DateTimeOffset(2026, 3, 2, 9, 0, 0, TimeSpan.Zero));
        var collection = new ServiceCollection();
        collection.AddLogging(b => b.SetMinimumLevel(LogLevel.Warning));
        collection.AddSingleton<TimeProvider>(clock);
        if (postgres is not null)
        {
            collection.AddSingleton<Dialect>(new PostgresDialect(postgres));
        }

        Modules.AddAll(collection, folder);
        also?.Invoke(collection);
        var world = new TestWorld(folder, collection.BuildServiceProvider(), clock, keep);
        await world.services.PrepareFoundationAsync(CancellationToken.None);
        return world;
    }

    public T Get<T>()
        where T : notnull => services.GetRequiredService<T>();

    /// <summary>Seals what PostgreSQL left in the outbox, as the running server does by itself.</summary>
    public async Task SealAsync()
    {
        while (Database.Dialect.IsPostgres && await Journal.SealOutboxAsync(1000, CancellationToken.None) > 0)
        {
        }
    }

    /// <summary>
    /// What the running server's clock does: seals, delivers the journal and lets open work take steps, until nothing is
    /// due at the present (fake) time. Work that asks for a later time waits until a test advances the clock.
    /// </summary>
    public async Task PumpAsync(int rounds = 20)
    {
        var due = new Dictionary<(string, string), DateTimeOffset?>();
        for (var round = 0; round < rounds; round++)
        {
            await SealAsync();
            var head = await Journal.HeadAsync(CancellationToken.None);
            foreach (var work in services.GetServices<IClockedWork>())
            {
                foreach (var key in await work.OpenAsync(CancellationToken.None))
                {
                    if (!due.TryGetValue((work.Kind, key), out var at) || at <= Clock.GetUtcNow() || at is null)
                    {
                        due[(work.Kind, key)] = await work.StepAsync(key, CancellationToken.None);
                    }
                }
            }

            await SealAsync();
            if (round > 0 && await Journal.HeadAsync(CancellationToken.None) == head && due.Values.All(d => d is null || d > Clock.GetUtcNow()))
            {
                return;
            }
        }
    }

    public async ValueTask DisposeAsync()
    {
        await services.DisposeAsync();
        if (!keep)
        {
            Directory.Delete(Folder, recursive: true);
        }
    }
}
