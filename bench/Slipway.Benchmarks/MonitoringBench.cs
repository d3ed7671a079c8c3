using System.Diagnostics;
using System.Globalization;
using System.Text;
using Slipway.Monitoring;

namespace Slipway.Benchmarks;

/// <summary>
/// Speed of the monitoring statistics on generated data: 16 numeric and 4 categorical columns, three numbers and one category of the current side
/// drifted. Every figure stands beside a plain loop over the same memory or beside its bar.
/// </summary>
internal static class MonitoringBench
{
    private const int Numbers = 16;
    private static readonly int[] Cardinalities = [2, 6, 25, 400];

    /// <summary>Histogram, report from memory, streaming and estimation.</summary>
    public static void Memory(int rows)
    {
        Table reference = Generate(rows, 1, drift: false), current = Generate(rows, 2, drift: true);
        Histogram(rows);
        foreach (int run in new[] { 1, 2, 3 })
        {
            var watch = Stopwatch.StartNew();
            TimeSpan before = Cpu();
            DriftReport report = Comparison.Of(reference, current);
            Print($"full report from memory, run {run}", $"{watch.Elapsed.TotalSeconds:0.000} s, {(Cpu() - before).TotalSeconds:0.000} s of processor, {report.DriftedColumns} of {report.Columns.Count} columns drifted");
        }

        Stream(reference);
        Estimate(rows);
    }

    /// <summary>The report of two CSV files, with the peak memory of the process.</summary>
    public static void Csv(string folder)
    {
        var watch = Stopwatch.StartNew();
        DriftReport report = Comparison.OfFiles(Path.Combine(folder, "ref.csv"), Path.Combine(folder, "cur.csv"));
        string peak = File.ReadLines("/proc/self/status").First(l => l.StartsWith("VmHWM", StringComparison.Ordinal)).Split(':')[1].Trim();
        Print("full report from CSV", $"{watch.Elapsed.TotalSeconds:0.00} s, {Cpu().TotalSeconds:0.00} s of processor, peak memory {peak}, {report.DriftedColumns} of {report.Columns.Count} columns drifted");
    }

    /// <summary>Writes both sides as CSV.</summary>
    public static void WriteCsv(string folder, int rows)
    {
        Directory.CreateDirectory(folder);
        foreach ((string name, int seed, bool drift) in new[] { ("ref", 1, false), ("cur", 2, true) })
        {
            Table table = Generate(rows, seed, drift);
            using var to = new StreamWriter(Path.Combine(folder, $"{name}.csv"), false, new UTF8Encoding(false), 1 << 20);
            to.WriteLine(string.Join(',', table.Columns.Select(c => c.Name)));
            var line = new StringBuilder();
            for (int i = 0; i < rows; i++)
            {
                line.Clear();
                foreach (TableColumn column in table.Columns)
                {
                    line.Append(column.Kind == ColumnKind.Category ? column.TextAt(i) : double.IsNaN(column.Numbers[i]) ? "" : column.Numbers[i].ToString("G7", CultureInfo.InvariantCulture)).Append(',');
                }

                line.Length--;
                to.WriteLine(line);
            }
        }
    }

    private static void Histogram(int rows)
    {
        var random = new Random(3);
        double[][] columns = Enumerable.Range(0, 20).Select(_ => Enumerable.Range(0, rows).Select(_ => Normal(random)).ToArray()).ToArray();
        Bins[] bins = columns.Select(c => Bins.OfQuantiles(TwoSample.Sorted(c.Take(10_000)))).ToArray();
        long[] counts = new long[10];
        double plain = Best(() =>
        {
            // The plain loop: every value is read once and counted in one of ten equal bins.
            foreach (double[] column in columns)
            {
                foreach (double v in column)
                {
                    counts[Math.Clamp((int)(v + 5), 0, 9)]++;
                }
            }
        });
        double scan = Best(() =>
        {
            foreach (double[] column in columns)
            {
                long sum = 0;
                foreach (double v in column)
                {
                    sum += v > 0 ? 1 : 0;
                }

                counts[0] += sum;
            }
        });
        double ours = Best(() =>
        {
            for (int c = 0; c < columns.Length; c++)
            {
                bins[c].CountInto(columns[c], counts);
            }
        });
        Print($"plain scan-and-count loop, ten equal bins, {rows:N0} x 20", $"{plain * 1e3:0.0} ms");
        Print("plain scan, one comparison", $"{scan * 1e3:0.0} ms");
        Print("histogram, ten quantile bins, one thread", $"{ours * 1e3:0.0} ms, {ours / plain:0.00} of the loop");
    }

    private static void Stream(Table reference)
    {
        double[] values = reference.Find("n00")!.Numbers;
        Bins fine = Bins.OfQuantiles(TwoSample.Sorted(values), 200);
        double seconds = Best(() =>
        {
            var sketch = new ColumnSketch(fine, quantiles: true, distinct: 512);
            foreach (double v in values)
            {
                sketch.Add(v);
            }
        });
        Print("streaming a number: 200 bins, moments, quantiles (k 400), distinct", $"{values.Length / seconds / 1e6:0.0} million values/s a core");
        double[] codes = reference.Find("c3")!.Codes.Select(c => (double)c).ToArray();
        Bins categories = Bins.OfCategories(codes.Order().ToArray());
        seconds = Best(() =>
        {
            var sketch = new ColumnSketch(categories, distinct: 512, items: true);
            foreach (double v in codes)
            {
                sketch.Add(v);
            }
        });
        Print("streaming a category: bins, distinct, frequent items", $"{codes.Length / seconds / 1e6:0.0} million values/s a core");
    }

    private static void Estimate(int rows)
    {
        var random = new Random(4);
        double[] scores = Enumerable.Range(0, rows).Select(_ => 1 / (1 + Math.Exp(-Normal(random)))).ToArray();
        bool[] predicted = scores.Select(s => s >= 0.5).ToArray(), outcomes = scores.Select(s => random.NextDouble() < Math.Pow(s, 1.3)).ToArray();
        int few = Math.Min(rows, 100_000);
        var cbpe = Cbpe.Fit(scores.AsSpan(0, few), outcomes.AsSpan(0, few));
        double seconds = Best(() => cbpe.Estimate(scores, predicted));
        Print($"CBPE over {rows:N0} rows, exact", $"{seconds:0.000} s");
        seconds = Best(() =>
        {
            var histogram = new CbpeHistogram();
            for (int i = 0; i < scores.Length; i++)
            {
                histogram.Add(scores[i], predicted[i]);
            }

            histogram.Estimate(cbpe, out _);
        });
        Print("the same in bounded memory", $"{seconds:0.000} s");
    }

    private static Table Generate(int rows, int seed, bool drift)
    {
        var random = new Random(seed);
        var columns = new List<TableColumn>();
        for (int c = 0; c < Numbers; c++)
        {
            double[] values = new double[rows];
            for (int i = 0; i < rows; i++)
            {
                double z = Normal(random);
                values[i] = c switch
                {
                    < 6 => c + (1 + c * 0.2) * z + (drift && c == 0 ? 0.25 : 0),
                    < 10 => Math.Exp((0.5 + 0.1 * c) * z) * (drift && c == 6 ? 1.3 : 1),
                    < 12 => Math.Pow(random.NextDouble() * 10, drift && c == 10 ? 1.05 : 1),
                    12 => random.Next(12),
                    13 => Math.Floor(Math.Abs(4 + 2 * z)),
                    14 => z / Math.Sqrt(random.NextDouble() + 0.1),
                    _ => random.NextDouble() < 0.03 ? double.NaN : z * z + random.NextDouble(),
                };
            }

            columns.Add(TableColumn.OfNumbers($"n{c:00}", values));
        }

        for (int j = 0; j < Cardinalities.Length; j++)
        {
            int k = Cardinalities[j];
            double[] weights = Enumerable.Range(1, k).Select(r => Math.Pow(r, -0.8)).ToArray(), cumulated = new double[k];
            double sum = 0;
            for (int r = 0; r < k; r++)
            {
                cumulated[r] = sum += weights[drift && j == 1 ? k - 1 - r : r];
            }

            int[] codes = new int[rows];
            for (int i = 0; i < rows; i++)
            {
                int at = Array.BinarySearch(cumulated, random.NextDouble() * sum);
                codes[i] = at < 0 ? ~at : at;
            }

            columns.Add(TableColumn.OfCodes($"c{j}", codes, Enumerable.Range(0, k).Select(r => $"v{j}_{r}").ToArray()));
        }

        return new Table(drift ? "current" : "reference", columns);
    }

    private static double Normal(Random random) => Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());

    private static double Best(Action action)
    {
        double best = double.PositiveInfinity;
        for (int run = 0; run < 7; run++)
        {
            var watch = Stopwatch.StartNew();
            action();
            best = Math.Min(best, watch.Elapsed.TotalSeconds);
        }

        return best;
    }

    private static TimeSpan Cpu() => Process.GetCurrentProcess().TotalProcessorTime;

    private static void Print(string what, string figure) => Console.WriteLine($"{what}: {figure}");
}
