using System.Globalization;
using System.Net;
using System.Text;
using Slipway.Foundation;
using Slipway.Monitoring;

namespace Slipway.Server.Demo;

/// <summary>
/// Replays flights as a client would send them: each departure is a request to the endpoint over HTTP, and its outcome
/// follows as a label once the flight's own clock has reached it.
/// </summary>
internal sealed class FlightTraffic(FlightFeatures flights, string url, string endpoint, Labels labels, Predictions predictions) : IDisposable
{
    private const int Connections = 8;
    private readonly HttpClient client = new(new SocketsHttpHandler { MaxConnectionsPerServer = Connections }) { BaseAddress = new Uri(url) };
    private readonly PriorityQueue<int, DateTime> outcomes = new();
    private static readonly Actor Airline = new(ActorKind.Service, "airline-feed");
    private long sent;
    private long failed;

    /// <summary>Requests sent since the start.</summary>
    public long Sent => Interlocked.Read(ref sent);

    /// <summary>Requests that were not answered with 200.</summary>
    public long Failed => Interlocked.Read(ref failed);

    /// <summary>What the last failed request was answered.</summary>
    public string? LastFailure { get; private set; }

    /// <summary>The prediction id of a row.</summary>
    public static string IdOf(int row) => string.Create(CultureInfo.InvariantCulture, $"flight-{row}");

    /// <summary>Outcomes of flights that departed before a restart and may not have been delivered; a label that was, is a duplicate.</summary>
    public void Recall(DateTime from, DateTime to, int every)
    {
        for (var row = flights.FirstRowFrom(from); row < flights.Count && flights.DepartedUtc[row] < to; row++)
        {
            if (row % every == 3)
            {
                outcomes.Enqueue(row, flights.KnownUtc(row));
            }
        }
    }

    /// <summary>Sends one in <paramref name="every"/> of the flights that depart in [from, to), then the outcomes known by then.</summary>
    public async Task ReplayAsync(DateTime from, DateTime to, int every, CancellationToken ct)
    {
        var rows = new List<int>();
        for (var row = flights.FirstRowFrom(from); row < flights.Count && flights.DepartedUtc[row] < to; row++)
        {
            if (row % every == 3)
            {
                rows.Add(row);
            }
        }

        await Parallel.ForEachAsync(rows, new ParallelOptions { MaxDegreeOfParallelism = Connections, CancellationToken = ct }, async (row, token) => await SendAsync(row, token));
        foreach (var row in rows)
        {
            outcomes.Enqueue(row, flights.KnownUtc(row));
        }

        await predictions.FlushAsync(ct);
        await LabelAsync(to, ct);
    }

    public void Dispose() => client.Dispose();

    private async Task LabelAsync(DateTime until, CancellationToken ct)
    {
        var known = new List<Label>();
        while (outcomes.TryPeek(out var row, out var at) && at <= until)
        {
            outcomes.Dequeue();
            known.Add(new Label(IdOf(row), flights.Late[row] ? 1 : 0, new DateTimeOffset(at, TimeSpan.Zero)));
        }

        foreach (var batch in known.Chunk(Labels.LargestBatch))
        {
            await labels.AppendAsync(Airline, endpoint, batch, ct);
        }
    }

    private async ValueTask SendAsync(int row, CancellationToken ct)
    {
        using var content = new ByteArrayContent(Encoding.UTF8.GetBytes(Body(row)));
        content.Headers.TryAddWithoutValidation("Content-Type", "application/json");
        Interlocked.Increment(ref sent);
        using var response = await client.PostAsync($"/v2/models/{endpoint}/infer", content, ct);
        if (response.StatusCode != HttpStatusCode.OK)
        {
            Interlocked.Increment(ref failed);
            LastFailure = $"{(int)response.StatusCode} {await response.Content.ReadAsStringAsync(ct)}";
        }
    }

    private string Body(int row)
    {
        var text = new StringBuilder(400);
        var micros = Time.ToMicros(new DateTimeOffset(flights.DepartedUtc[row], TimeSpan.Zero));
        text.Append(CultureInfo.InvariantCulture, $$"""{"id":"{{IdOf(row)}}","parameters":{"entity_key":"{{flights.Key(row)}}","event_time":{{micros}}},"inputs":[{"name":"features","shape":[1,{{flights.Columns.Length}}],"datatype":"FP32","data":[""");
        for (var c = 0; c < flights.Columns.Length; c++)
        {
            if (c > 0)
            {
                text.Append(',');
            }

            text.Append(flights.Columns[c][row].ToString("R", CultureInfo.InvariantCulture));
        }

        return text.Append("]}]}").ToString();
    }
}
