using Slipway.Foundation;
using Slipway.Monitoring;

namespace Slipway.Tests.Monitoring;

/// <summary>
/// A model that scores the logistic function of its first feature, and the world it lives in: outcomes follow the score, unless the
/// concept is gone and they follow a coin. Features: `delay` (normal), `hour` (four values), `noise` (uniform).
/// </summary>
internal static class Traffic
{
    public const string Endpoint = "flights";
    public const string Version = "flights/1";
    public static readonly string[] Features = ["delay", "hour", "noise"];
    public static readonly DateTimeOffset Monday = new(2001, 2, 5, 0, 0, 0, TimeSpan.Zero);

    public static WatchRequest Watch(int rows = 3000, Thresholds? thresholds = null, WindowRule? window = null)
    {
        var random = new Random(42);
        (float[] Row, float Score, bool Outcome)[] data = Enumerable.Range(0, rows).Select(_ => Draw(random, 0, concept: true)).ToArray();
        return new WatchRequest
        {
            Endpoint = Endpoint,
            ModelVersion = Version,
            FeatureNames = Features,
            Reference = new ReferenceTable
            {
                Columns = Enumerable.Range(0, Features.Length).Select(i => data.Select(d => d.Row[i]).ToArray()).ToArray(),
                Scores = data.Select(d => d.Score).ToArray(),
                Labels = data.Select(d => d.Outcome).ToArray(),
                Sources = [new Subject("dataset-version", "flights/abc")],
            },
            Window = window ?? WindowRule.Day(TimeSpan.Zero),
            Thresholds = thresholds ?? new Thresholds(),
        };
    }

    /// <summary>Appends one day of predictions and gives their labels.</summary>
    public static Label[] Day(TestWorld world, int day, int rows, double shift = 0, bool concept = true, int missing = 0, string version = Version)
    {
        var predictions = world.Get<Predictions>();
        var random = new Random(day * 7919 + rows);
        var labels = new List<Label>();
        for (int i = 0; i < rows; i++)
        {
            (float[] row, float score, bool outcome) = Draw(random, shift, concept);
            if (i < missing)
            {
                row[2] = float.NaN;
            }

            DateTimeOffset at = Monday.AddDays(day).AddSeconds(86_000.0 * i / rows);
            string id = $"d{day}-{i}";
            Assert.True(predictions.Append(new PredictionRecord(id, Endpoint, "stable", version, null, Time.ToMicros(at), 250, row, new[] { score }, 200)));
            labels.Add(new Label(id, outcome ? 1 : 0, at.AddHours(5)));
        }

        return labels.ToArray();
    }

    /// <summary>One prediction that only moves the stream's event time.</summary>
    public static void Tick(TestWorld world, int day) =>
        Assert.True(world.Get<Predictions>().Append(new PredictionRecord($"tick-{day}", Endpoint, "stable", "flights/0", null, Time.ToMicros(Monday.AddDays(day)), 1, new float[3], new float[1], 200)));

    private static (float[] Row, float Score, bool Outcome) Draw(Random random, double shift, bool concept)
    {
        double normal = shift + Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
        float score = (float)(1 / (1 + Math.Exp(-1.5 * normal)));
        return ([(float)normal, random.Next(4), (float)random.NextDouble()], score, random.NextDouble() < (concept ? score : 0.4));
    }
}
