using DuckDB.NET.Data;

namespace Slipway.Server.Demo;

/// <summary>One flown flight as the sample file has it.</summary>
/// <param name="DepartedLocal">Actual departure from the gate, minute precision, on the origin airport's clock.</param>
/// <param name="DelayMinutes">Arrival against the timetable, minutes; negative is early.</param>
/// <param name="DistanceMiles">Distance of the two airports, statute miles.</param>
/// <param name="Origin">IATA code of the origin airport; one of <see cref="FlightFeatures.Origins"/>.</param>
/// <param name="Destination">IATA code of the destination airport.</param>
public readonly record struct Flight(DateTime DepartedLocal, int DelayMinutes, int DistanceMiles, string Origin, string Destination);

/// <summary>
/// The demo's feature table: one row a flight, in order of departure (UTC). It answers, the moment a flight leaves the gate:
/// will it arrive 15 minutes late or later?
/// <para>The file has the actual departure but not the timetable, so the usual departures of a route stand in for it
/// (<c>usual_*</c>): a flight that leaves half an hour after the time others of its route leave is probably late.</para>
/// <para>Nothing of the future leaks in. Departures are seen when they happen; an outcome is seen from <see cref="KnownUtc"/> on.
/// The file has no arrival time either, so that moment is a careful estimate: departure + 75 minutes + distance / 6.5 miles a minute
/// (gate to gate is about 40 minutes + distance / 7.5). All comparisons are in UTC.</para>
/// </summary>
public sealed class FlightFeatures
{
    /// <summary>A flight is late from this arrival delay on (minutes), the definition of the US Bureau of Transportation Statistics.</summary>
    public const int LateMinutes = 15;

    // Standard time's offset to UTC in hours, and whether the airport keeps daylight saving time.
    private static readonly SortedDictionary<string, (int Hours, bool Daylight)> s_clocks = new(StringComparer.Ordinal)
    {
        ["ATL"] = (-5, true),
        ["BOS"] = (-5, true),
        ["CLT"] = (-5, true),
        ["DEN"] = (-7, true),
        ["DFW"] = (-6, true),
        ["DTW"] = (-5, true),
        ["EWR"] = (-5, true),
        ["IAH"] = (-6, true),
        ["LAS"] = (-8, true),
        ["LAX"] = (-8, true),
        ["MSP"] = (-6, true),
        ["ORD"] = (-6, true),
        ["PHL"] = (-5, true),
        ["PHX"] = (-7, false),
        ["SFO"] = (-8, true),
        ["STL"] = (-6, true),
    };

    // Daylight saving time began on 2001-04-01 at 02:00 local; the sample ends before its end in October.
    private static readonly DateTime s_daylightFrom = new(2001, 4, 1, 2, 0, 0, DateTimeKind.Unspecified);
    private static readonly DateTime s_firstMonday = new(2001, 1, 1, 0, 0, 0, DateTimeKind.Unspecified);

    private readonly Flight[] _flights;
    private readonly byte[] _ordinals;

    private FlightFeatures(Flight[] flights)
    {
        _flights = flights;
        _ordinals = new byte[flights.Length];
        DepartedUtc = new DateTime[flights.Length];
        Columns = [.. Names.Select(_ => new float[flights.Length])];
        Late = Array.ConvertAll(flights, f => f.DelayMinutes >= LateMinutes);
    }

    /// <summary>
    /// The features, in column order. Shares are 0 to 1; a share of too few flights is missing (NaN).
    /// <list type="table">
    /// <item><term>departure_minute</term><description>local minute of the day, 0 to 1439</description></item>
    /// <item><term>day_of_week</term><description>1 Monday to 7 Sunday, local</description></item>
    /// <item><term>distance</term><description>miles</description></item>
    /// <item><term>origin_index</term><description>place of the origin in <see cref="Origins"/>, 0 to 15</description></item>
    /// <item><term>origin_late_3h</term><description>late share of the origin's flights whose outcome came in the last 3 hours (at least 10)</description></item>
    /// <item><term>origin_departures_1h</term><description>departures from the origin in the last 60 minutes, without this one</description></item>
    /// <item><term>destination_late_6h</term><description>late share of the flights to the destination whose outcome came in the last 6 hours (at least 5)</description></item>
    /// <item><term>route_late_28d</term><description>late share of the route's outcomes of the last 28 days (at least 10)</description></item>
    /// <item><term>usual_now_7d</term><description>departures a day of the route within 5 minutes of this time of the day, last 7 days</description></item>
    /// <item><term>usual_earlier_7d</term><description>departures a day of the route 6 to 45 minutes earlier in the day, last 7 days</description></item>
    /// <item><term>usual_now_ever, usual_earlier_ever</term><description>the same since the data begin</description></item>
    /// </list>
    /// Departures of the last 12 hours do not count as usual.
    /// </summary>
    public static IReadOnlyList<string> Names { get; } =
    [
        "departure_minute", "day_of_week", "distance", "origin_index", "origin_late_3h", "origin_departures_1h", "destination_late_6h",
        "route_late_28d", "usual_now_7d", "usual_earlier_7d", "usual_now_ever", "usual_earlier_ever",
    ];

    /// <summary>The origin airports of the sample, in alphabetical order.</summary>
    public static IReadOnlyList<string> Origins { get; } = [.. s_clocks.Keys];

    /// <summary>The number of flights.</summary>
    public int Count => _flights.Length;

    /// <summary>The values, <c>[feature][row]</c>, in the order of <see cref="Names"/>.</summary>
    public float[][] Columns { get; }

    /// <summary>The label: arrived <see cref="LateMinutes"/> minutes late or later.</summary>
    public bool[] Late { get; }

    /// <summary>The event time: actual departure, UTC, ascending.</summary>
    public DateTime[] DepartedUtc { get; }

    /// <summary>The flight of a row.</summary>
    public Flight this[int row] => _flights[row];

    /// <summary>When the outcome of a row is known (UTC), by the estimate in the class comment; a label never counts earlier.</summary>
    public DateTime KnownUtc(int row) => DepartedUtc[row].AddMinutes(MinutesToOutcome(_flights[row]));

    /// <summary>The row's entity key: <c>ORD-LGA-200101021835-0</c>, route, local departure, and a count among flights of the same route and minute.</summary>
    public string Key(int row) => $"{_flights[row].Origin}-{_flights[row].Destination}-{_flights[row].DepartedLocal:yyyyMMddHHmm}-{_ordinals[row]}";

    /// <summary>The first row that departs at or after a moment (UTC); <see cref="Count"/> when none does.</summary>
    public int FirstRowFrom(DateTime utc)
    {
        var found = Array.BinarySearch(DepartedUtc, utc);
        var row = found >= 0 ? found : ~found;
        while (row > 0 && DepartedUtc[row - 1] == utc)
        {
            row--;
        }
        return row;
    }

    /// <summary>Start of a week of the sample, counted from 0 at Monday 2001-01-01, as 08:00 UTC: midnight of the westernmost origins in winter.</summary>
    public static DateTime WeekStartUtc(int week) => DateTime.SpecifyKind(s_firstMonday.AddDays(7 * week).AddHours(8), DateTimeKind.Utc);

    /// <summary>Reads the sample's Parquet file (see samples/flights/README.md) and computes the features: 1.4 million rows in some seconds.</summary>
    /// <exception cref="DuckDBException">The file is missing or has other columns.</exception>
    /// <exception cref="InvalidDataException">A flight leaves from an airport that is not in <see cref="Origins"/>.</exception>
    public static FlightFeatures Read(string parquetPath)
    {
        using var connection = new DuckDBConnection("Data Source=:memory:");
        connection.Open();
        using var command = connection.CreateCommand();
        command.CommandText = "SELECT date, delay::INTEGER, distance::INTEGER, origin, destination FROM read_parquet($path)";
        command.Parameters.Add(new DuckDBParameter("path", parquetPath));
        using var reader = command.ExecuteReader();

        var names = new Dictionary<string, string>(StringComparer.Ordinal); // one string an airport, not one a row
        string Shared(string s) => names.TryGetValue(s, out var known) ? known : names[s] = s;
        var flights = new List<Flight>(1_400_000);
        while (reader.Read())
        {
            flights.Add(new(reader.GetDateTime(0), reader.GetInt32(1), reader.GetInt32(2), Shared(reader.GetString(3)), Shared(reader.GetString(4))));
        }
        return Compute(flights);
    }

    /// <summary>Computes the features of flights in any order.</summary>
    /// <exception cref="InvalidDataException">A flight leaves from an airport that is not in <see cref="Origins"/>.</exception>
    public static FlightFeatures Compute(IReadOnlyList<Flight> flights)
    {
        var ordered = flights.ToArray();
        var departed = Array.ConvertAll(ordered, Utc);
        // The whole tuple decides the order, so that it does not depend on the order of the input.
        Array.Sort(ordered, (a, b) => Order(a).CompareTo(Order(b)));
        Array.Sort(departed);

        var table = new FlightFeatures(ordered);
        departed.CopyTo(table.DepartedUtc, 0);
        table.Fill();
        return table;

        static (DateTime, string, string, int, int) Order(Flight f) => (Utc(f), f.Origin, f.Destination, f.DistanceMiles, f.DelayMinutes);
    }

    private static DateTime Utc(Flight flight)
    {
        if (!s_clocks.TryGetValue(flight.Origin, out var clock))
        {
            throw new InvalidDataException($"The time zone of origin airport '{flight.Origin}' is not known.");
        }
        var daylight = clock.Daylight && flight.DepartedLocal >= s_daylightFrom ? 1 : 0;
        return DateTime.SpecifyKind(flight.DepartedLocal.AddHours(-(clock.Hours + daylight)), DateTimeKind.Utc);
    }

    private static int MinutesToOutcome(Flight flight) => 75 + (int)(flight.DistanceMiles / 6.5);

    private void Fill()
    {
        if (Count == 0)
        {
            return;
        }

        var origins = new Dictionary<string, (int Index, LateShare Outcomes, Queue<int> Departures)>(StringComparer.Ordinal);
        var destinations = new Dictionary<string, LateShare>(StringComparer.Ordinal);
        var routes = new Dictionary<(string, string), (LateShare Outcomes, Usual Week, Usual Ever)>();
        var pending = new PriorityQueue<int, int>(); // rows whose outcome is not known yet, by the minute it will be
        var start = DepartedUtc[0];

        for (var i = 0; i < Count; i++)
        {
            var flight = _flights[i];
            var now = (int)(DepartedUtc[i] - start).TotalMinutes;
            while (pending.TryPeek(out var row, out var known) && known <= now)
            {
                pending.Dequeue();
                origins[_flights[row].Origin].Outcomes.Add(known, Late[row]);
                destinations[_flights[row].Destination].Add(known, Late[row]);
                routes[(_flights[row].Origin, _flights[row].Destination)].Outcomes.Add(known, Late[row]);
            }

            var origin = Of(origins, flight.Origin, () => (Origins.TakeWhile(o => o != flight.Origin).Count(), new(3 * 60), new()));
            var destination = Of(destinations, flight.Destination, () => new(6 * 60));
            var route = Of(routes, (flight.Origin, flight.Destination), () => (new(28 * 1440), new(7), new(int.MaxValue)));
            while (origin.Departures.TryPeek(out var departure) && departure < now - 60)
            {
                origin.Departures.Dequeue();
            }

            var minute = (int)flight.DepartedLocal.TimeOfDay.TotalMinutes;
            var week = route.Week.At(now, minute);
            var ever = route.Ever.At(now, minute);
            ReadOnlySpan<float> values =
            [
                minute,
                (((int)flight.DepartedLocal.DayOfWeek + 6) % 7) + 1,
                flight.DistanceMiles,
                origin.Index,
                origin.Outcomes.At(now, atLeast: 10),
                origin.Departures.Count,
                destination.At(now, atLeast: 5),
                route.Outcomes.At(now, atLeast: 10),
                week.Now, week.Earlier, ever.Now, ever.Earlier,
            ];
            for (var f = 0; f < values.Length; f++)
            {
                Columns[f][i] = values[f];
            }

            origin.Departures.Enqueue(now);
            route.Week.Add(now, minute);
            route.Ever.Add(now, minute);
            pending.Enqueue(i, now + MinutesToOutcome(flight));
            var same = i > 0 && DepartedUtc[i - 1] == DepartedUtc[i] && _flights[i - 1].Origin == flight.Origin && _flights[i - 1].Destination == flight.Destination;
            _ordinals[i] = (byte)(same ? _ordinals[i - 1] + 1 : 0);
        }
    }

    private static TValue Of<TKey, TValue>(Dictionary<TKey, TValue> map, TKey key, Func<TValue> make)
        where TKey : notnull =>
        map.TryGetValue(key, out var value) ? value : map[key] = make();

    /// <summary>The late share of the outcomes that became known in the last <paramref name="minutes"/>.</summary>
    private sealed class LateShare(int minutes)
    {
        private readonly Queue<(int Known, bool Late)> _outcomes = new();
        private int _late;

        public void Add(int known, bool late)
        {
            _outcomes.Enqueue((known, late));
            _late += late ? 1 : 0;
        }

        public float At(int now, int atLeast)
        {
            while (_outcomes.TryPeek(out var oldest) && oldest.Known <= now - minutes)
            {
                _late -= _outcomes.Dequeue().Late ? 1 : 0;
            }
            return _outcomes.Count < atLeast ? float.NaN : (float)_late / _outcomes.Count;
        }
    }

    /// <summary>How often a route left at each minute of the day: in the last <paramref name="days"/>, but not in the last 12 hours.</summary>
    private sealed class Usual(int days)
    {
        private readonly Queue<(int At, int Minute)> _recent = new(), _counted = new();
        private readonly int[] _departures = new int[1440];

        public void Add(int now, int minute) => _recent.Enqueue((now, minute));

        /// <summary>Departures a day around a minute and shortly before it. Midnight is not crossed: hardly a flight leaves then.</summary>
        public (float Now, float Earlier) At(int now, int minute)
        {
            while (_recent.TryPeek(out var seen) && seen.At <= now - 720)
            {
                _departures[_recent.Dequeue().Minute]++;
                if (days < int.MaxValue)
                {
                    _counted.Enqueue(seen);
                }
            }
            while (_counted.TryPeek(out var old) && old.At <= now - (days * 1440L))
            {
                _departures[_counted.Dequeue().Minute]--;
            }

            int around = 0, before = 0;
            for (var m = Math.Max(0, minute - 45); m <= Math.Min(1439, minute + 5); m++)
            {
                if (m >= minute - 5)
                {
                    around += _departures[m];
                }
                else
                {
                    before += _departures[m];
                }
            }
            var span = Math.Max(1, Math.Min(days, now / 1440.0));
            return ((float)(around / span), (float)(before / span));
        }
    }
}
