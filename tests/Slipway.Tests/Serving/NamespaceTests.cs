using CsCheck;
using Slipway.Foundation;
using Slipway.Monitoring;
using Slipway.Serving;
using Slipway.Serving.Routing;
using static Slipway.Tests.Serving.ServingWorld;

namespace Slipway.Tests.Serving;

/// <summary>Mutual exclusion: experiments with disjoint parts of a namespace never meet the same entity.</summary>
public sealed class NamespaceTests
{
    private static readonly Gen<NamespaceRule> AnyPart = Gen.Select(Gen.Int[0, 10_000], Gen.Int[0, 10_000]).Where(cuts => cuts.Item1 != cuts.Item2)
        .Select(cuts => new NamespaceRule("checkout", Math.Min(cuts.Item1, cuts.Item2) / 100.0, Math.Max(cuts.Item1, cuts.Item2) / 100.0));

    [Fact]
    public void Parts_that_do_not_overlap_share_no_entity_and_parts_that_do_share_their_common_slots_only() =>
        Gen.Select(AnyPart, AnyPart, Gen.Int[0, 1_000_000]).Sample((a, b, from) =>
        {
            var (one, other, common) = (new NamespacePart(a), new NamespacePart(b), a with { From = Math.Max(a.From, b.From), To = Math.Min(a.To, b.To) });
            Assert.Equal(a.Overlaps(b), b.Overlaps(a));
            Assert.Equal(a.Overlaps(b), common.From < common.To);
            Assert.False(a.Overlaps(b with { Name = "search" }));
            for (var i = from; i < from + 300; i++)
            {
                var both = one.Holds($"user-{i}") && other.Holds($"user-{i}");
                Assert.Equal(a.Overlaps(b) && new NamespacePart(common).Holds($"user-{i}"), both);
            }
        });

    [Fact]
    public void Parts_that_fill_a_namespace_hold_every_entity_once_each_with_its_share() =>
        Gen.Int[1, 9_999].Array[1, 5].Sample(
            cuts =>
            {
                int[] ends = [0, .. cuts.Distinct().Order(), 10_000];
                var parts = ends.Zip(ends.Skip(1)).Select(pair => new NamespaceRule("checkout", pair.First / 100.0, pair.Second / 100.0)).ToList();
                var (held, slots) = (parts.Select(part => new NamespacePart(part)).ToList(), new int[parts.Count]);
                const int N = 20_000;
                for (var i = 0; i < N; i++)
                {
                    slots[Enumerable.Range(0, held.Count).Single(at => held[at].Holds($"customer-{i}"))]++;
                }

                Assert.All(slots.Zip(parts), pair =>
                {
                    var share = (pair.Second.To - pair.Second.From) / 100;
                    Assert.InRange(pair.First, (N * share) - (5 * Math.Sqrt(N * share)) - 1, (N * share) + (5 * Math.Sqrt(N * share)) + 1);
                });
                Assert.Equal("nothing", NamespaceRule.Free(parts));
            },
            iter: 20);

    [Fact]
    public void Slots_of_a_namespace_say_nothing_about_those_of_a_rollout_and_experiments_of_one_endpoint_are_independent()
    {
        Assert.True(Independent(key => new NamespacePart(new("checkout", 0, 50)).Holds(key), key => Picker.Slot(key, Picker.Seed("rollout")) < 5000));
        Assert.True(Independent(key => Picker.Slot(key, Picker.Seed("rollout-1")) < 5000, key => Picker.Slot(key, Picker.Seed("rollout-2")) < 5000));

        // Chi-square of the cross table over 200,000 ids.
        static bool Independent(Func<string, bool> one, Func<string, bool> other)
        {
            const int N = 200_000;
            var table = new double[2, 2];
            for (var i = 0; i < N; i++)
            {
                table[one($"id-{i}") ? 1 : 0, other($"id-{i}") ? 1 : 0]++;
            }

            double Row(int r) => table[r, 0] + table[r, 1];
            double Column(int c) => table[0, c] + table[1, c];
            var chi = Enumerable.Range(0, 4).Sum(cell => (Expected: Row(cell / 2) * Column(cell % 2) / N, Seen: table[cell / 2, cell % 2]) is var (expected, seen) ? (seen - expected) * (seen - expected) / expected : 0);
            return Tails.ChiSquare(chi, 1) > 0.001;
        }
    }

    [Fact]
    public void Faults_say_what_to_do()
    {
        Assert.Contains("let it end at least 0.01 after it begins", new RolloutSpec { Kind = RolloutKind.AbTest, Namespace = new("n", 5, 5.001) }.Faults().Single(fault => fault.StartsWith("namespace", StringComparison.Ordinal)));
        Assert.Contains("between 0 and 100 percent", new NamespaceRule("n", 0, 101).Fault());
        Assert.Contains("not a name", new NamespaceRule("a b", 0, 10).Fault());
        Assert.Contains("abTest or bandit", Assert.Single((RolloutSpec.Canary(new(), 50, 100) with { Namespace = new("n", 0, 10) }).Faults()));
        Assert.Equal("10 to 20 %, 40 to 100 %", NamespaceRule.Free([new("n", 20, 40), new("n", 0, 10)]));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Two_experiments_of_a_namespace_hold_disjoint_parts_and_everyone_else_gets_stable(Engine engine)
    {
        await using var world = await CreateAsync(engine);
        var endpoints = world.Get<Endpoints>();
        await EndpointAsync(world);
        await EndpointAsync(world, name: "petals");
        var first = await ProposeAsync(world, "flowers", new("checkout", 0, 40));
        var refused = await Assert.ThrowsAsync<SlipwayException>(() => ProposeAsync(world, "petals", new("checkout", 30, 60)));
        Assert.Equal(ErrorCode.Conflict, refused.Code);
        Assert.Contains($"it asks for 30 to 60 % of namespace 'checkout', and rollout {first.Id} on endpoint 'flowers' holds 0 to 40 % of namespace 'checkout'", refused.Sentence);
        Assert.Contains("take a free part (40 to 100 %)", refused.Next);
        var second = await ProposeAsync(world, "petals", new("checkout", 40, 70));
        await StepAsync(world, first.Id);
        await StepAsync(world, second.Id);

        var (inFirst, inSecond) = (new HashSet<string>(), new HashSet<string>());
        for (var i = 0; i < 400; i++)
        {
            foreach (var (endpoint, seen) in new[] { ("flowers", inFirst), ("petals", inSecond) })
            {
                var outcome = await AskAsync(world, $"{endpoint}-{i}", endpoint);
                var assigned = await endpoints.AssignAsync(endpoint, $"user-{i}", null, null, None);
                Assert.True(outcome.Ok && outcome.Reason is DecisionReason.Slot or DecisionReason.Namespace, $"{outcome.Reason}");
                Assert.True(assigned.Reason == DecisionReason.Slot || (assigned.Reason, assigned.Variant.Name) == (DecisionReason.Namespace, "stable"), $"{assigned}");
                if (assigned.Reason == DecisionReason.Slot)
                {
                    seen.Add($"user-{i}");
                }
            }
        }

        Assert.InRange(inFirst.Count, 110, 210);
        Assert.InRange(inSecond.Count, 75, 165);
        Assert.Empty(inFirst.Intersect(inSecond));
        Assert.Contains("outside of the experiment's part (0 to 40 % of namespace 'checkout')", (await endpoints.AssignAsync("flowers", inSecond.First(), null, null, None)).Why);

        // The part is free again when the experiment has ended, and a retry must find it free.
        await world.Get<Rollouts>().AbortAsync(TestWorld.Ada, first.Id, "test", None);
        await StepAsync(world, first.Id);
        await StepAsync(world, (await ProposeAsync(world, "flowers", new("checkout", 10, 20))).Id);
        Assert.Contains("10 to 20 %", (await Assert.ThrowsAsync<SlipwayException>(() => world.Get<Rollouts>().RetryAsync(TestWorld.Ada, first.Id, None))).Sentence);
        Assert.Equal(RolloutState.Aborted, (await world.Get<Rollouts>().GetAsync(first.Id, None)).Status.State);
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Of_two_claims_at_the_same_moment_one_wins(Engine engine)
    {
        await using var world = await CreateAsync(engine);
        await EndpointAsync(world);
        await EndpointAsync(world, name: "petals");
        for (var round = 0; round < 5; round++)
        {
            var name = $"space-{round}";
            var claims = await Task.WhenAll(new[] { "flowers", "petals" }.Select(endpoint => Task.Run(async () =>
            {
                try
                {
                    return await ProposeAsync(world, endpoint, new(name, 0, 60));
                }
                catch (SlipwayException taken) when (taken.Code == ErrorCode.Conflict)
                {
                    return null;
                }
            })));
            var won = Assert.Single(claims.OfType<Rollout>());
            await world.Get<Rollouts>().AbortAsync(TestWorld.Ada, won.Id, "test", None);
            await StepAsync(world, won.Id);
        }
    }

    private static Task<Rollout> ProposeAsync(TestWorld world, string endpoint, NamespaceRule part) => world.Get<Rollouts>().ProposeAsync(
        TestWorld.Ada,
        new()
        {
            Endpoint = endpoint,
            Spec = new()
            {
                Kind = RolloutKind.AbTest,
                Variants = [new("other", Better)],
                Namespace = part,
                Experiment = new() { Primary = new() { Name = "errors", Source = MetricSource.ErrorRate, Kind = MetricKind.Proportion, Direction = MetricDirection.Down }, Design = new() { Effect = 0.02 } },
            },
        },
        None);
}
