using Slipway.Server.Demo;
using Xunit;

namespace Slipway.Tests.Pipelines;

public sealed class FlightFeaturesTests
{
    [Fact]
    public void Features_DoNotChange_WhenTheFutureDoes()
    {
        var flights = Flights(days: 12);
        var before = FlightFeatures.Compute(flights);
        var cut = before.DepartedUtc[before.Count / 2];

        // Every outcome that is not known at the cut is turned round, and every later departure goes elsewhere.
        var changed = FlightFeatures.Compute([.. Enumerable.Range(0, before.Count).Select(i => (
            before.KnownUtc(i) <= cut ? before[i]
            : before.DepartedUtc[i] <= cut ? before[i] with { DelayMinutes = before.Late[i] ? 0 : 60 }
            : before[i] with { Destination = "SEA", DelayMinutes = 500 }))]);

        // Rows of the minute of the cut may trade places: their order is decided by all columns, the changed delay too.
        var last = before.FirstRowFrom(cut);
        for (var f = 0; f < FlightFeatures.Names.Count; f++)
        {
            Assert.Equal(before.Columns[f][..last], changed.Columns[f][..last]);
        }
        Assert.NotEqual(before.Columns[4], changed.Columns[4]);
    }

    [Fact]
    public void Features_OfTheLastFlight_AreWhatAHandCountGives()
    {
        var start = new DateTime(2001, 1, 1, 6, 0, 0, DateTimeKind.Unspecified);
        // Nine days: ORD-LGA at 06:00 and 06:30, the first on time, the second late. Then one at 06:32.
        List<Flight> flights = [];
        for (var day = 0; day < 9; day++)
        {
            flights.Add(new(start.AddDays(day), -5, 650, "ORD", "LGA"));
            flights.Add(new(start.AddDays(day).AddMinutes(30), 20, 650, "ORD", "LGA"));
        }
        flights.Add(new(start.AddDays(9).AddMinutes(32), 90, 650, "ORD", "LGA"));

        var table = FlightFeatures.Compute(flights);
        var last = table.Count - 1;
        float Value(string name) => table.Columns[FlightFeatures.Names.ToList().IndexOf(name)][last];

        Assert.Equal(new DateTime(2001, 1, 10, 12, 32, 0, DateTimeKind.Utc), table.DepartedUtc[last]);
        Assert.Equal(table.DepartedUtc[last].AddMinutes(75 + 100), table.KnownUtc(last));
        Assert.Equal("ORD-LGA-200101100632-0", table.Key(last));
        Assert.True(table.Late[last]);
        Assert.Equal(392, Value("departure_minute"));
        Assert.Equal(3, Value("day_of_week"));
        Assert.Equal(11, Value("origin_index"));
        Assert.Equal(0, Value("origin_departures_1h"));
        Assert.True(float.IsNaN(Value("origin_late_3h")));
        Assert.Equal(0.5f, Value("route_late_28d"));
        // 7 days back reach to 06:32 of day 2: its 06:30 flight is just outside.
        Assert.Equal(6 / 7f, Value("usual_now_7d"));
        Assert.Equal(6 / 7f, Value("usual_earlier_7d"));
        Assert.Equal(9 / (9 + (32 / 1440f)), Value("usual_now_ever"), tolerance: 1e-5f);
    }

    [Fact]
    public void DaylightSavingTime_MovesAllOriginsButPhoenix()
    {
        var noon = new DateTime(2001, 4, 2, 12, 0, 0, DateTimeKind.Unspecified);
        var table = FlightFeatures.Compute([new(noon, 0, 370, "PHX", "LAX"), new(noon, 0, 370, "LAX", "PHX"), new(noon, 0, 862, "DEN", "LAX")]);

        Assert.Equal([18, 19, 19], table.DepartedUtc.Select(d => d.Hour));
        Assert.Equal("DEN", table[0].Origin);
    }

    [Fact]
    public void AnUnknownOrigin_IsRefused()
    {
        var flight = new Flight(new(2001, 1, 1, 12, 0, 0, DateTimeKind.Unspecified), 0, 100, "XXX", "LAX");

        Assert.Contains("'XXX'", Assert.Throws<InvalidDataException>(() => FlightFeatures.Compute([flight])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Sample_ReadsInOrder_WithUniqueKeys()
    {
        var table = FlightFeatures.Read(Path.Combine(Repository(), "samples", "flights", "flights.parquet"));

        Assert.Equal(1_390_140, table.Count);
        Assert.Equal(0.2302, table.Late.Average(l => l ? 1.0 : 0), tolerance: 1e-4);
        Assert.All(table.Columns, c => Assert.Equal(table.Count, c.Length));
        Assert.True(table.DepartedUtc.SequenceEqual(table.DepartedUtc.Order()));
        var from = table.FirstRowFrom(FlightFeatures.WeekStartUtc(10));
        Assert.Equal(100_000, Enumerable.Range(from, 100_000).Select(table.Key).ToHashSet(StringComparer.Ordinal).Count);
    }

    private static List<Flight> Flights(int days)
    {
        var random = new Random(5);
        string[] destinations = ["LGA", "MCO", "DEN", "LAX"];
        return [.. Enumerable.Range(0, days * 300).Select(_ => new Flight(
            new DateTime(2001, 3, 25, 0, 0, 0, DateTimeKind.Unspecified).AddMinutes(random.Next(days * 1440)),
            random.Next(-20, 60), random.Next(100, 2500), FlightFeatures.Origins[random.Next(4)], destinations[random.Next(4)]))];
    }

    private static string Repository()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(folder!.FullName, "Slipway.slnx")))
        {
            folder = folder.Parent;
        }
        return folder.FullName;
    }
}
