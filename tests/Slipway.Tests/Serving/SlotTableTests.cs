using CsCheck;
using Slipway.Serving.Routing;

namespace Slipway.Tests.Serving;

public sealed class SlotTableTests
{
    private static readonly Gen<double[]> Weights = Gen.Double[0, 100].Array[1, 6].Where(weights => weights.Sum() > 0.1);

    // The four rows of the published comparison: the slot table moves exactly the least possible share.
    [Theory]
    [InlineData(new[] { 90.0, 10, 0 }, new[] { 80.0, 20, 0 }, 0.10)]
    [InlineData(new[] { 50.0, 25, 25 }, new[] { 50.0, 40, 10 }, 0.15)]
    [InlineData(new[] { 34.0, 33, 33 }, new[] { 60.0, 20, 20 }, 0.26)]
    [InlineData(new[] { 80.0, 10, 10 }, new[] { 90.0, 0, 10 }, 0.10)]
    public void Reassign_moves_exactly_the_least_possible(double[] before, double[] after, double least)
    {
        var start = SlotTable.Reassign(SlotTable.Whole(), SlotTable.Share(before));
        var next = SlotTable.Reassign(start, SlotTable.Share(after));
        Assert.Equal(least, SlotTable.Moved(start, next) / (double)SlotTable.Size, 12);
        // And so for entities, which is what people see.
        var moved = Enumerable.Range(0, 200_000).Count(i => Picker.Slot($"user-{i}", 42) is var slot && start[slot] != next[slot]);
        Assert.InRange(moved / 200_000.0, least - 0.005, least + 0.005);
    }

    [Fact]
    public void Reassign_over_random_changes_is_exact_and_minimal() => Gen.Select(Weights, Weights).Sample((before, after) =>
    {
        var width = Math.Max(before.Length, after.Length);
        var (have, want) = (Padded(SlotTable.Share(before), width), Padded(SlotTable.Share(after), width));
        var start = SlotTable.Reassign(SlotTable.Whole(), have);
        var next = SlotTable.Reassign(start, want);
        for (var variant = 0; variant < width; variant++)
        {
            Assert.Equal(want[variant], next.Count(slot => slot == variant));
        }

        Assert.Equal(have.Zip(want, (a, b) => Math.Max(0, b - a)).Sum(), SlotTable.Moved(start, next));
        Assert.Equal(next, SlotTable.Decode(SlotTable.Encode(next)));
    });

    [Fact]
    public void Share_always_sums_to_all_slots_within_one_of_the_exact_share() => Weights.Sample(weights =>
    {
        var counts = SlotTable.Share(weights);
        Assert.Equal(SlotTable.Size, counts.Sum());
        Assert.All(counts.Zip(weights), pair => Assert.True(Math.Abs(pair.First - (pair.Second / weights.Sum() * SlotTable.Size)) < 1 + 1e-6));
    });

    [Fact]
    public void Ramp_moves_nobody_back()
    {
        var route = RouteSpec.First("flights", 1, "flights/1", logPredictions: true);
        byte[] before = SlotTable.Whole();
        foreach (var percent in new[] { 1.0, 5, 25, 50, 100 })
        {
            route = route.WithCandidate("r1", "flights/2", percent);
            var now = SlotTable.Decode(route.Slots);
            Assert.DoesNotContain(Enumerable.Range(0, SlotTable.Size), slot => before[slot] == 1 && now[slot] == 0);
            before = now;
        }

        Assert.All(before, variant => Assert.Equal(1, variant));
    }

    [Theory]
    [InlineData("")]
    [InlineData("0*9999")]
    [InlineData("0*10001")]
    [InlineData("0*5000,1")]
    [InlineData("300*10000")]
    [InlineData("0*-1,0*10001")]
    public void Decode_refuses_other_texts(string text) => Assert.Throws<FormatException>(() => SlotTable.Decode(text));

    [Fact]
    public void Picker_shares_follow_the_weights_within_three_sigma()
    {
        var slots = SlotTable.Reassign(SlotTable.Whole(), SlotTable.Share([90.0, 10]));
        const int N = 1_000_000;
        var seed = Picker.Seed("rollout-1");
        var candidates = Enumerable.Range(0, N).Count(i => slots[Picker.Slot($"user-{i}", seed)] == 1);
        var sigma = Math.Sqrt(N * 0.1 * 0.9);
        Assert.InRange(candidates, (N * 0.1) - (3 * sigma), (N * 0.1) + (3 * sigma));
    }

    [Fact]
    public void Picker_under_two_salts_is_independent()
    {
        var (one, other) = (Picker.Seed("rollout-1"), Picker.Seed("rollout-2"));
        var table = new double[2, 2];
        const int N = 200_000;
        for (var i = 0; i < N; i++)
        {
            table[Picker.Slot($"user-{i}", one) < 1000 ? 1 : 0, Picker.Slot($"user-{i}", other) < 1000 ? 1 : 0]++;
        }

        var chi = 0.0;
        for (var a = 0; a < 2; a++)
        {
            for (var b = 0; b < 2; b++)
            {
                var expected = (table[a, 0] + table[a, 1]) * (table[0, b] + table[1, b]) / N;
                chi += (table[a, b] - expected) * (table[a, b] - expected) / expected;
            }
        }

        // Chi-square with one degree of freedom: 10.83 is p = 0.001.
        Assert.InRange(chi, 0, 10.83);
    }

    [Fact]
    public void Picker_gives_long_and_short_keys_the_same_slot_as_their_bytes() => Gen.String[0, 2000].Sample(key =>
        Assert.Equal(Picker.Slot(System.Text.Encoding.UTF8.GetBytes(key), 7), Picker.Slot(key, 7)));

    private static int[] Padded(int[] counts, int width) => [.. counts, .. new int[width - counts.Length]];
}
