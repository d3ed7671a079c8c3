using CsCheck;
using Slipway.Foundation;
using Slipway.Monitoring;
using Slipway.Serving;
using Slipway.Serving.Routing;
using Slipway.Serving.Tensors;
using static Slipway.Tests.Serving.ServingWorld;

namespace Slipway.Tests.Serving;

/// <summary>Who answers a request, and what is known of it afterwards: rules, mirrors, preview, lease, warm versions.</summary>
public sealed class RoutingTests
{
    private static readonly RouteVariant[] Ab = [new("stable", Good, 50), new("candidate", Better, 50)];

    [Fact]
    public void Next_moves_the_least_possible_to_the_slot_with_any_number_of_variants()
    {
        // Variants by name with weights; zero leaves a variant out of the route.
        var weights = Gen.Int[0, 100].Array[5].Where(each => each.Sum() > 0);
        Gen.Select(weights, weights).Sample((before, after) =>
        {
            var route = RouteSpec.First("e", 1, "m/1", logPredictions: true).Next("r", "r", Named(before));
            var next = route.Next("r", "r", Named(after));
            var (have, want) = (Owners(route), Owners(next));
            var moved = have.Zip(want).Count(pair => pair.First != pair.Second);
            var least = want.GroupBy(owner => owner).Sum(group => Math.Max(0, group.Count() - have.Count(owner => owner == group.Key)));
            Assert.Equal(least, moved);
            Assert.Equal(route.Revision + 1, next.Revision);
        });

        static RouteVariant[] Named(int[] weights) => [.. weights.Index().Where(w => w.Index == 0 || w.Item > 0).Select(w => new RouteVariant(w.Index == 0 ? "stable" : $"v{w.Index}", $"m/{w.Index + 1}", w.Item)).DefaultIfEmpty(new("stable", "m/1", 100))];
        static string[] Owners(RouteSpec route) => [.. SlotTable.Decode(route.Slots).Select(slot => route.Variants[slot].Name)];
    }

    [Fact]
    public void Ramp_of_several_variants_never_takes_a_growing_variants_entities()
    {
        var route = RouteSpec.First("e", 1, "m/1", logPredictions: true);
        var before = SlotTable.Whole();
        foreach (var percent in new[] { 1.0, 5, 25, 45 })
        {
            route = route.Next("r", "r", [new("stable", "m/1", 100 - (2 * percent)), new("a", "m/2", percent), new("b", "m/3", percent)]);
            var now = SlotTable.Decode(route.Slots);
            Assert.DoesNotContain(Enumerable.Range(0, SlotTable.Size), slot => before[slot] != 0 && now[slot] != before[slot]);
            before = now;
        }
    }

    [Fact]
    public void Shares_of_a_million_entities_lie_within_three_sigma_of_uneven_weights()
    {
        double[] weights = [62.5, 25, 10, 2.5];
        var slots = SlotTable.Reassign(SlotTable.Whole(), SlotTable.Share(weights));
        var (counts, seed) = (new int[4], Picker.Seed("another rollout"));
        const int N = 1_000_000;
        for (var i = 0; i < N; i++)
        {
            counts[slots[Picker.Slot($"customer-{i}", seed)]]++;
        }

        Assert.All(counts.Zip(weights), pair => Assert.InRange(pair.First, N * (pair.Second / 100) - (3 * Sigma(pair.Second)), N * (pair.Second / 100) + (3 * Sigma(pair.Second))));
        static double Sigma(double weight) => Math.Sqrt(N * (weight / 100) * (1 - (weight / 100)));
    }

    [Fact]
    public void Next_refuses_names_that_do_not_fit()
    {
        var route = RouteSpec.First("e", 1, "m/1", logPredictions: true);
        Assert.Contains("no variant 'beta'", Assert.Throws<ArgumentException>(() => route.Next("r", "r", Ab, [new MatchRule("beta", Header: "x")])).Message, StringComparison.Ordinal);
        Assert.Contains("share a name", Assert.Throws<ArgumentException>(() => route.Next("r", "r", [new("stable", "m/1", 50), new("stable", "m/2", 50)])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Settled_keeps_the_versions_that_leave_warm_and_only_the_last_few()
    {
        var route = RouteSpec.First("e", 1, "m/1", logPredictions: true);
        for (var version = 2; version <= 6; version++)
        {
            route = route.Next($"r{version}", $"r{version}", [route.Stable with { Percent = 0 }, new("candidate", $"m/{version}", 100)]).Settled($"m/{version}", version);
        }

        Assert.Equal([new("m/5", 6), new("m/4", 5), new WarmVersion("m/3", 4)], route.Warm);
        Assert.Equal(["m/6", "m/5", "m/4"], route.Settled("m/3", 9).Warm!.Select(warm => warm.ModelVersion).Order(StringComparer.Ordinal).Reverse());
        Assert.Null(RouteSpec.First("e", 1, "m/1", logPredictions: true).WithCandidate("r", "m/2", 5).Settled("m/2").Warm);
    }

    [Fact]
    public async Task Overrides_come_before_rules_and_rules_before_slots()
    {
        await using var world = await CreateAsync(Engine.Sqlite);
        await EndpointAsync(world);
        await PublishAsync(world, [new("stable", Good, 100), new("candidate", Better, 0)], rules:
        [
            new("candidate", Header: "x-group", Values: ["beta", "staff"]),
            new("candidate", Cookie: "group", Values: ["beta"]),
            new("stable", Entities: ["ada", "bob"]),
            new("candidate", Entities: ["ada"], Override: true),
        ]);

        Assert.Equal(("candidate", DecisionReason.Override), await AskAsync(world, "ada"));
        Assert.Equal(("stable", DecisionReason.Match), await AskAsync(world, "bob"));
        Assert.Equal(("stable", DecisionReason.Slot), await AskAsync(world, "eve"));
        Assert.Equal(("candidate", DecisionReason.Match), await AskAsync(world, "eve", ("x-group", "staff")));
        Assert.Equal(("stable", DecisionReason.Slot), await AskAsync(world, "eve", ("x-group", "Staff")));
        Assert.Equal(("candidate", DecisionReason.Match), await AskAsync(world, "eve", ("cookie", "a=1; group=beta; b=2")));
        Assert.Equal(("stable", DecisionReason.Slot), await AskAsync(world, "eve", ("cookie", "subgroup=beta")));
        Assert.Equal(("candidate", DecisionReason.Version), await AskAsync(world, "eve", version: "2"));

        var endpoints = world.Get<Endpoints>();
        var seen = await endpoints.AssignAsync("flowers", "eve", new Dictionary<string, string> { ["X-Group"] = "beta" }, null, None);
        Assert.Equal(("candidate", DecisionReason.Match, "r"), (seen.Variant.Name, seen.Reason, seen.Rollout));

        // Who was sent where, and why, is in the log beside the predictions.
        var exposures = await endpoints.ExposuresAsync("flowers", "ada", null, 10, None);
        Assert.Equal(("candidate", DecisionReason.Override, 2L), Assert.Single(exposures) is var exposure ? (exposure.Variant, exposure.Reason, exposure.Revision) : default);
        Assert.Equal(8, (await endpoints.ExposuresAsync("flowers", null, "r", 100, None)).Count);
        Assert.Empty(await endpoints.ExposuresAsync("flowers", null, "another", 100, None));

        // Taken back on this node, the rules send nobody to the candidate any more.
        world.Get<Routes>().Find("flowers")!.Revert("r");
        Assert.Equal(("stable", DecisionReason.Reverted), await AskAsync(world, "ada"));
        Assert.Equal(DecisionReason.Reverted, (await endpoints.AssignAsync("flowers", "ada", null, null, None)).Reason);
    }

    public static TheoryData<AttributeRule, string> Holding { get; } = new()
    {
        { new("a"), "\"x\"" }, { new("a"), "false" }, { new("a"), "0" },
        { new("a") { Values = ["de", "fr"] }, "\"fr\"" }, { new("a") { Values = ["\u00e5\u2603"] }, "\"\\u00e5\\u2603\"" },
        { new("a") { Values = ["42"] }, "42" }, { new("a") { Values = ["42"] }, "42.0" }, { new("a") { Values = ["42"] }, "\"42\"" }, { new("a") { Values = ["4.2e1"] }, "42" },
        { new("a") { Values = ["9007199254740993"] }, "9007199254740993" }, { new("a") { Values = ["0.1"] }, "1e-1" }, { new("a") { Values = ["true"] }, "true" }, { new("a") { Values = ["false"] }, "false" },
        { new("a") { Above = 10 }, "10.5" }, { new("a") { AtLeast = 10 }, "10" }, { new("a") { Below = 0 }, "-3" }, { new("a") { AtMost = 5 }, "5" }, { new("a") { AtLeast = 1, Below = 2 }, "1.99" },
        { new("a") { AtLeast = 0 }, "1e400" },
    };

    public static TheoryData<AttributeRule, string> Failing { get; } = new()
    {
        { new("a"), "null" }, { new("a"), "[1]" }, { new("a"), "{\"b\":1}" }, { new("a"), "NaN" },
        { new("a") { Values = ["de"] }, "\"DE\"" }, { new("a") { Values = ["de"] }, "\"de \"" }, { new("a") { Values = ["42"] }, "42.5" }, { new("a") { Values = ["9007199254740993"] }, "9007199254740992" },
        { new("a") { Values = ["true"] }, "false" }, { new("a") { Values = ["1"] }, "true" },
        { new("a") { Above = 10 }, "10" }, { new("a") { AtLeast = 10 }, "9.999" }, { new("a") { Below = 0 }, "0" }, { new("a") { AtMost = 5 }, "\"4\"" }, { new("a") { AtLeast = 1 }, "true" }, { new("a") { AtLeast = 1 }, "NaN" },
    };

    [Theory, MemberData(nameof(Holding))]
    public void Attribute_of_a_request_fulfils_a_condition(AttributeRule rule, string json) => Assert.True(Holds(rule, $"\"a\":{json}"));

    [Theory, MemberData(nameof(Failing))]
    public void Attribute_of_a_request_does_not_fulfil_a_condition(AttributeRule rule, string json) => Assert.False(Holds(rule, $"\"a\":{json}"));

    [Fact]
    public void Attribute_that_is_missing_too_long_or_taken_back_fulfils_nothing_but_presence()
    {
        var wide = new string('x', AttributeRule.MaxText + 1);
        Assert.False(Holds(new("a"), "\"b\":1"));
        Assert.False(Holds(new("a") { Values = [wide[1..]] }, $"\"a\":\"{wide}\""));
        Assert.True(Holds(new("a") { Values = [wide[1..]] }, $"\"a\":\"{wide[1..]}\""));
        Assert.True(Holds(new("a"), $"\"a\":\"{wide}\""));
        Assert.False(Holds(new("a"), "\"a\":1,\"a\":null"));
        Assert.True(Holds(new("a") { Values = ["2"] }, "\"a\":1,\"a\":2"));
    }

    // The names of a table that came after the request was read are looked for by name.
    private static bool Holds(AttributeRule rule, string parameters)
    {
        var (before, after) = (new AttributeNames(["b", rule.Name]), new AttributeNames([rule.Name]));
        using var request = InferRequest.Rent();
        request.Attributes.Want(before);
        var body = System.Text.Encoding.UTF8.GetBytes($$"""{"parameters":{"c":{"a":7},{{parameters}},"z":[1,2]},"inputs":[]}""");
        Slipway.Server.Oip.OipReader.Read(body, body.Length, request);
        var (own, late) = (new AttributeCondition(rule, before).Holds(request.Attributes), new AttributeCondition(rule, after).Holds(request.Attributes));
        Assert.Equal(own, late);
        request.Reset();
        Assert.False(new AttributeCondition(rule, before).Holds(request.Attributes));
        return own;
    }

    [Fact]
    public void Attribute_conditions_allocate_nothing()
    {
        var rule = new AttributeRule("country") { Values = ["de", "fr"] };
        var names = new AttributeNames(["country", "amount"]);
        AttributeCondition[] conditions = [new(rule, names), new(new("amount") { AtLeast = 10, Below = 1e6 }, names)];
        var body = """{"parameters":{"country":"fr","amount":1500.5},"inputs":[]}"""u8.ToArray();
        using var request = InferRequest.Rent();
        var held = 0;
        void Once()
        {
            request.Reset();
            request.Attributes.Want(names);
            Slipway.Server.Oip.OipReader.Read(body, body.Length, request);
            held += conditions[0].Holds(request.Attributes) && conditions[1].Holds(request.Attributes) ? 1 : 0;
        }

        for (var i = 0; i < 100; i++)
        {
            Once();
        }

        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var i = 0; i < 1000; i++)
        {
            Once();
        }

        Assert.Equal((1100, 0L), (held, GC.GetAllocatedBytesForCurrentThread() - before));
    }

    [Fact]
    public async Task Attributes_send_a_request_beside_its_other_conditions()
    {
        await using var world = await CreateAsync(Engine.Sqlite);
        await EndpointAsync(world);
        await PublishAsync(world, [new("stable", Good, 100), new("candidate", Better, 0)], rules:
        [
            new("candidate", Header: "x-group", Values: ["beta"]) { Attributes = [new("amount") { Above = 100 }, new("country") { Values = ["se"] }] },
        ]);
        var endpoints = world.Get<Endpoints>();
        Assert.Equal("candidate", await SeenAsync("beta", ("amount", "150"), ("country", "se")));
        Assert.Equal("stable", await SeenAsync("alpha", ("amount", "150"), ("country", "se")));
        Assert.Equal("stable", await SeenAsync("beta", ("amount", "100"), ("country", "se")));
        Assert.Equal("stable", await SeenAsync("beta", ("amount", "150")));

        async Task<string> SeenAsync(string group, params (string Name, string Value)[] attributes) =>
            (await endpoints.AssignAsync("flowers", "eve", new Dictionary<string, string> { ["x-group"] = group }, attributes.ToDictionary(pair => pair.Name, pair => pair.Value), None)).Variant.Name;
    }

    [Fact]
    public async Task Headers_are_not_read_unless_a_rule_asks()
    {
        await using var world = await CreateAsync(Engine.Sqlite);
        await EndpointAsync(world);
        await PublishAsync(world, Ab, rules: [new("candidate", Entities: ["ada"])]);
        var reads = 0;
        using (var request = OnnxRuntimeTests.Flowers(1))
        {
            (request.Endpoint, request.EntityKey) = ("flowers", "eve");
            request.SetHeaders(world, (_, _) => $"{++reads}");
            Assert.True((await world.Get<Endpoints>().InferAsync(request, None)).Ok);
        }

        Assert.Equal(0, reads);
    }

    [Fact]
    public async Task Preview_reaches_its_variant_only_and_only_while_there_is_one()
    {
        await using var world = await CreateAsync(Engine.Sqlite);
        await EndpointAsync(world);
        var none = await PreviewAsync();
        Assert.Equal((ErrorCode.NotFound, true), (none.Code, none.Message!.Contains("no preview", StringComparison.Ordinal)));
        await PublishAsync(world, [new("stable", Good, 100), new("candidate", Better, 0)], preview: "candidate");
        var seen = await PreviewAsync();
        Assert.Equal(("candidate", "2", DecisionReason.Preview), (seen.Variant, seen.ModelVersion, seen.Reason));
        Assert.Equal(("stable", DecisionReason.Slot), await AskAsync(world, "eve"));
        world.Get<Routes>().Find("flowers")!.Revert("r");
        Assert.Equal(ErrorCode.NotFound, (await PreviewAsync()).Code);

        async Task<InferOutcome> PreviewAsync()
        {
            using var request = OnnxRuntimeTests.Flowers(1);
            Assert.False(world.Get<Endpoints>().Address(request, "nobody@preview"));
            Assert.True(world.Get<Endpoints>().Address(request, "flowers@preview"));
            return await world.Get<Endpoints>().InferAsync(request, None);
        }
    }

    [Fact]
    public async Task Mirror_is_compared_pair_by_pair_and_touches_neither_health_nor_log_of_the_answers()
    {
        await using var world = await CreateAsync(Engine.Sqlite);
        await EndpointAsync(world);
        await PublishAsync(world, [new("stable", Good, 100), new("blind", Blind, 0), new("broken", Broken, 0)], mirrors: [new("blind"), new("broken", 50)]);
        for (var i = 0; i < 200; i++)
        {
            Assert.Equal(("stable", DecisionReason.Slot), await AskAsync(world, $"user-{i}"));
        }

        var mirrors = await SettledAsync(world);
        var (blind, broken) = (mirrors[0], mirrors[1]);
        Assert.Equal((200, 0, 0), (blind.Answered, blind.Failed, blind.Dropped));
        Assert.Equal((0, 0), (broken.Answered, broken.Dropped));
        Assert.InRange(broken.Failed, 60, 140);

        var predictions = world.Get<Predictions>();
        var pairs = new List<ShadowPair>();
        await foreach (var pair in predictions.ShadowPairsAsync("flowers", null, null, None))
        {
            pairs.Add(pair);
        }

        Assert.Equal(200 + broken.Failed, pairs.Count);
        foreach (var pair in pairs.Take(20))
        {
            var primary = (await predictions.FindAsync(pair.PredictionId, None))!;
            Assert.Equal(("stable", primary.LatencyMicros, primary.At), (pair.PrimaryVariant, pair.PrimaryLatencyMicros, pair.At));
            Assert.Equal(primary.Outputs, pair.PrimaryOutputs);
        }

        Assert.All(pairs.Where(pair => pair.Variant == "blind"), pair => Assert.Equal((200, Blind), (pair.Status, pair.ModelVersion)));
        Assert.All(pairs.Where(pair => pair.Variant == "broken"), pair => Assert.Equal((500, 0), (pair.Status, pair.Outputs.Count)));
        var health = Health(world);
        Assert.Equal((200, 0), (health.Of("flowers", "stable", default).Requests, health.Of("flowers", "blind", default).Requests));
        Assert.Equal((200, 0), (health.Of("flowers", "blind@shadow", default).Requests, health.Of("flowers", "blind@shadow", default).Errors));
        Assert.Equal(broken.Failed, health.Of("flowers", "broken@shadow", default).Errors);
        Assert.Equal(200, (await predictions.ListAsync("flowers", null, null, 1000, None)).Count);
        Assert.Equal(0, world.Get<Endpoints>().Statistics("flowers", "4").Sum(version => version.Rows));

        // An abort takes the mirrors out with everything else.
        world.Get<Routes>().Find("flowers")!.Revert("r");
        await AskAsync(world, "late");
        Assert.Equal(200, (await SettledAsync(world))[0].Answered);
    }

    [Fact]
    public async Task Full_mirror_drops_and_counts_and_never_makes_the_caller_wait()
    {
        await using var world = await CreateAsync(Engine.Sqlite);
        await EndpointAsync(world);
        await PublishAsync(world, [new("stable", Good, 100), new("candidate", Better, 0)], mirrors: [new("candidate")]);
        var table = world.Get<Routes>().Find("flowers")!.Table!;
        // A queue without room, in the place of the one that drains at once.
        var narrow = new Shadow("flowers", "candidate", Better, new ServingOptions { ShadowBytes = 1 }, Health(world), world.Clock, Microsoft.Extensions.Logging.Abstractions.NullLogger.Instance);
        table.Shadows[0] = table.Shadows[0] with { Queue = narrow };
        for (var i = 0; i < 20; i++)
        {
            Assert.Equal("stable", (await AskAsync(world, $"user-{i}")).Variant);
        }

        Assert.Equal((0, 20, 0), (narrow.Read().Answered, narrow.Read().Dropped, narrow.Read().Queued));
    }

    [Fact]
    public async Task Experiment_records_who_met_what_although_predictions_are_not_sampled()
    {
        await using var world = await CreateAsync(Engine.Sqlite);
        await EndpointAsync(world);
        await world.Get<Endpoints>().ConfigureAsync(TestWorld.Ada, "flowers", new EndpointSettings { Log = new PredictionLogSettings { Sample = 0 } }, "less", None);
        await PublishAsync(world, Ab, exposures: true);
        for (var i = 0; i < 50; i++)
        {
            await AskAsync(world, $"user-{i}");
        }

        Assert.Empty(await world.Get<Predictions>().ListAsync("flowers", null, null, 100, None));
        var exposures = await world.Get<Endpoints>().ExposuresAsync("flowers", null, "r", 100, None);
        Assert.Equal(50, exposures.Select(exposure => exposure.Entity).Distinct().Count());
        Assert.All(exposures, exposure => Assert.Equal((PredictionKind.Exposure, DecisionReason.Slot, 200), (exposure.Kind, exposure.Reason, exposure.Status)));
        Assert.Equal(["candidate", "stable"], exposures.Select(exposure => exposure.Variant).Distinct().Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task Failure_of_a_variant_is_recorded_as_its_own_although_stable_answers()
    {
        await using var world = await CreateAsync(Engine.Sqlite);
        await EndpointAsync(world);
        await PublishAsync(world, [new("stable", Good, 0), new("candidate", Broken, 100)]);
        Assert.Equal(("stable", DecisionReason.Reverted), await AskAsync(world, "ada"));
        var exposures = await world.Get<Endpoints>().ExposuresAsync("flowers", "ada", null, 10, None);
        Assert.Equal([("candidate", DecisionReason.Slot, 500), ("stable", DecisionReason.Reverted, 200)], exposures.OrderBy(e => e.Variant, StringComparer.Ordinal).Select(e => (e.Variant, e.Reason, e.Status)));
    }

    [Theory, InlineData(LeaseExpiry.Revert), InlineData(LeaseExpiry.Freeze)]
    public async Task Lease_that_nobody_renews_ends_on_the_node_alone_and_a_renewal_gives_it_back(LeaseExpiry expiry)
    {
        await using var world = await CreateAsync(Engine.Sqlite);
        await EndpointAsync(world);
        await PublishAsync(world, [new("stable", Good, 0), new("candidate", Better, 100)], lease: new(TimeSpan.FromMinutes(5), expiry));
        var (routes, follower, deployments) = (world.Get<Routes>(), world.Get<RouteFollower>(), world.Get<Deployments>());
        world.Clock.Advance(TimeSpan.FromMinutes(4));
        Assert.True(await deployments.RenewLeaseAsync("flowers", "r", Time.ToMicros(world.Clock.GetUtcNow()) + 300_000_000, None));
        Assert.False(await deployments.RenewLeaseAsync("flowers", "another", long.MaxValue, None));
        await follower.CatchUpAsync(None);
        world.Clock.Advance(TimeSpan.FromMinutes(4));
        routes.Expire(leasesOnly: true);
        Assert.Equal("candidate", (await AskAsync(world, "ada")).Variant);

        // The database is not asked for the end, so a node that cannot reach it reverts as well.
        world.Clock.Advance(TimeSpan.FromMinutes(2));
        routes.Expire(leasesOnly: true);
        var reverts = expiry == LeaseExpiry.Revert;
        Assert.Equal(reverts ? ("stable", DecisionReason.Reverted) : ("candidate", DecisionReason.Slot), await AskAsync(world, "ada"));
        Assert.Equal(reverts, world.Get<Endpoints>().Reverted("flowers")?.Contains("lease", StringComparison.Ordinal) ?? false);

        await deployments.RenewLeaseAsync("flowers", "r", Time.ToMicros(world.Clock.GetUtcNow()) + 300_000_000, None);
        await follower.CatchUpAsync(None);
        Assert.Equal(("candidate", DecisionReason.Slot), await AskAsync(world, "ada"));
        Assert.Null(world.Get<Endpoints>().Reverted("flowers"));
    }

    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task Promoted_route_keeps_the_previous_stable_in_memory_until_its_time(Engine engine)
    {
        await using var world = await CreateAsync(engine);
        await EndpointAsync(world);
        await PublishAsync(world, [new("stable", Good, 0), new("candidate", Better, 100)]);
        var deployments = world.Get<Deployments>();
        var route = (await deployments.FindAsync("flowers", None))!.Settled(Better, Time.ToMicros(world.Clock.GetUtcNow().AddHours(24)));
        await SaveAsync(world, route);

        // No idle model is left to chance: only the pin of the warm version holds it, also after another version came.
        var loaded = world.Get<Slipway.Serving.Runtimes.LoadedModels>();
        for (var i = 0; i < 6; i++)
        {
            await RegisterAsync(world, "iris", ReferenceModels.Bytes("iris_logreg"));
            loaded.Unpin(await loaded.PinAsync($"iris/{5 + i}", null, None));
        }

        Assert.True(loaded.IsLoaded(Good, null));
        var back = (await deployments.FindAsync("flowers", None))!.Settled(Good);
        await SaveAsync(world, back);
        Assert.Equal("1", (await ServingWorld.AskAsync(world, "ada")).ModelVersion);

        await SaveAsync(world, back.Settled(Better, Time.ToMicros(world.Clock.GetUtcNow().AddHours(24))));
        world.Clock.Advance(TimeSpan.FromHours(25));
        await world.Get<RouteFollower>().CatchUpAsync(None);
        for (var i = 0; i < 6; i++)
        {
            loaded.Unpin(await loaded.PinAsync($"iris/{5 + i}", null, None));
        }

        Assert.False(loaded.IsLoaded(Good, null));
    }

    private static async Task PublishAsync(
        TestWorld world, IReadOnlyList<RouteVariant> variants, IReadOnlyList<MatchRule>? rules = null, IReadOnlyList<MirrorRule>? mirrors = null, LeaseRule? lease = null, string? preview = null, bool exposures = false)
    {
        var route = (await world.Get<Deployments>().FindAsync("flowers", None))!;
        await SaveAsync(world, route.Next("r", "r", variants, rules, mirrors, lease, preview, exposures));
    }

    private static async Task SaveAsync(TestWorld world, RouteSpec route)
    {
        await world.Database.WriteAsync(tx => world.Get<Deployments>().SaveAsync(tx, TestWorld.Ada, route, "test"), None);
        await world.Get<RouteFollower>().CatchUpAsync(None);
    }

    private static async Task<(string Variant, DecisionReason Reason)> AskAsync(TestWorld world, string key, (string Name, string Value)? header = null, string? version = null)
    {
        using var request = OnnxRuntimeTests.Flowers(1);
        (request.Endpoint, request.EntityKey, request.Version) = ("flowers", key, version);
        if (header is { } given)
        {
            request.SetHeaders(given, static (headers, name) => ((string Name, string Value))headers is var (known, value) && known == name ? value : null);
        }

        var outcome = await world.Get<Endpoints>().InferAsync(request, None);
        Assert.True(outcome.Ok, outcome.Message);
        return (outcome.Variant, outcome.Reason);
    }

    // Mirrors answer after the callers; what they counted is final once their queues are empty and their numbers stand still.
    private static async Task<IReadOnlyList<MirrorStatistics>> SettledAsync(TestWorld world)
    {
        var before = world.Get<Endpoints>().Mirrors("flowers");
        for (var still = 0; still < 5;)
        {
            await Task.Delay(20);
            var now = world.Get<Endpoints>().Mirrors("flowers");
            still = now.SequenceEqual(before) && now.All(mirror => mirror.Queued == 0) ? still + 1 : 0;
            before = now;
        }

        return before;
    }
}
