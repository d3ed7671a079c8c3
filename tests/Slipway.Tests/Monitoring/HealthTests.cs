using Microsoft.Extensions.Time.Testing;
using Slipway.Monitoring;

namespace Slipway.Tests.Monitoring;

public sealed class HealthTests
{
    private readonly FakeTimeProvider clock = new(new DateTimeOffset(2026, 3, 2, 9, 0, 0, TimeSpan.Zero));

    [Fact]
    public void Requests_errors_and_latencies_of_a_span_are_counted()
    {
        var health = new Health(clock);
        DateTimeOffset start = clock.GetUtcNow();
        for (int i = 1; i <= 1000; i++)
        {
            health.Record("flights", "canary", i * 10, ok: i % 50 != 0);
        }

        clock.Advance(TimeSpan.FromSeconds(5));
        health.Record("flights", "canary", 1_000_000, ok: true);
        VariantHealth all = health.Of("flights", "canary", start), late = health.Of("flights", "canary", start.AddSeconds(5));
        Assert.Equal((1001, 20), (all.Requests, all.Errors));
        Assert.InRange(all.P50Micros!.Value, 4_550, 5_450);
        Assert.InRange(all.P95Micros!.Value, 8_650, 10_350);
        Assert.InRange(all.P99Micros!.Value, 9_000, 10_800);
        Assert.Equal((1, 0), (late.Requests, late.Errors));
        Assert.Equal(["canary"], health.Variants("flights"));
    }

    [Fact]
    public void Counts_of_spans_and_nodes_add_up_to_what_one_would_have_counted()
    {
        Health one = new(clock), other = new(clock), both = new(clock);
        long start = clock.GetUtcNow().ToUnixTimeSeconds();
        for (int i = 1; i <= 600; i++)
        {
            (i % 3 == 0 ? other : one).Record("flights", "canary", i * 10, ok: i % 50 != 0);
            both.Record("flights", "canary", i * 10, ok: i % 50 != 0);
            if (i % 100 == 0)
            {
                clock.Advance(TimeSpan.FromSeconds(1));
            }
        }

        HealthCounts sum = one.Count("flights", "canary", start, start + 3).Add(one.Count("flights", "canary", start + 3, start + 7)).Add(other.Count("flights", "canary", start, start + 7));
        Assert.Equal(600, sum.Requests);
        Assert.Equal(both.Of("flights", "canary", DateTimeOffset.FromUnixTimeSeconds(start)), sum.Read());
        Assert.Equal(new VariantHealth(0, 0, null, null, null), one.Count("flights", "canary", start + 7, start + 9).Read());
    }

    [Fact]
    public void Nothing_heard_is_no_number()
    {
        var health = new Health(clock);
        Assert.Equal(new VariantHealth(0, 0, null, null, null), health.Of("flights", "stable", clock.GetUtcNow()));
        Assert.Null(health.Of("flights", "stable", clock.GetUtcNow()).ErrorRate);
    }

    [Fact]
    public void Seconds_older_than_the_ring_are_forgotten()
    {
        var health = new Health(clock);
        health.Record("flights", "stable", 10, ok: true);
        clock.Advance(TimeSpan.FromSeconds(Health.Seconds));
        Assert.Equal(0, health.Of("flights", "stable", DateTimeOffset.UnixEpoch).Requests);
        health.Record("flights", "stable", 10, ok: true);
        Assert.Equal(1, health.Of("flights", "stable", DateTimeOffset.UnixEpoch).Requests);
    }

    [Fact]
    public async Task Concurrent_records_are_all_counted()
    {
        var health = new Health(clock);
        await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => Task.Run(() =>
        {
            for (int i = 0; i < 25_000; i++)
            {
                health.Record("flights", "stable", i, ok: i % 2 == 0);
            }
        })));
        VariantHealth h = health.Of("flights", "stable", clock.GetUtcNow());
        Assert.Equal((100_000, 50_000), (h.Requests, h.Errors));
    }

    [Fact]
    public void Variants_beyond_the_bound_are_not_kept_until_others_fall_silent()
    {
        var health = new Health(clock);
        for (int i = 0; i < Health.LargestSet + 10; i++)
        {
            health.Record("e" + i, "stable", 10, ok: true);
        }

        Assert.Equal(0, health.Of("e" + Health.LargestSet, "stable", clock.GetUtcNow()).Requests);
        clock.Advance(TimeSpan.FromSeconds(Health.Seconds + 1));
        health.Record("new", "stable", 10, ok: true);
        Assert.Equal(1, health.Of("new", "stable", clock.GetUtcNow()).Requests);
    }
}
