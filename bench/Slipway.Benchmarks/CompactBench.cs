using System.Diagnostics;
using Slipway.Monitoring;

namespace Slipway.Benchmarks;

/// <summary>What it costs to turn a complete segment of the prediction log into Parquet.</summary>
internal static class CompactBench
{
    /// <summary>Writes a segment of rows like those of a small model and compacts it three times; prints CPU microseconds and bytes allocated a row.</summary>
    public static void Run(int rows)
    {
        string folder = Directory.CreateTempSubdirectory("slipway-compact-").FullName;
        try
        {
            PredictionSegment segment = Fill(folder, rows);
            Process self = Process.GetCurrentProcess();
            for (int round = 0; round < 3; round++)
            {
                string file = Path.Combine(folder, $"{round}.parquet");
                self.Refresh();
                TimeSpan cpu = self.TotalProcessorTime;
                long bytes = GC.GetTotalAllocatedBytes(precise: true), start = Stopwatch.GetTimestamp();
                PredictionParquet.Write(segment, file);
                TimeSpan took = Stopwatch.GetElapsedTime(start);
                self.Refresh();
                Console.WriteLine($"{rows:N0} rows to {new FileInfo(file).Length / 1e6:F1} MB of Parquet: {took.TotalMilliseconds:F0} ms, {(self.TotalProcessorTime - cpu).TotalMicroseconds / rows:F2} us of CPU and {(GC.GetTotalAllocatedBytes(precise: true) - bytes) / rows} B allocated a row");
            }

            long read = Stopwatch.GetTimestamp();
            int n = segment.All().Count();
            Console.WriteLine($"reading alone {Stopwatch.GetElapsedTime(read).TotalMicroseconds / n:F2} us; digest {Time(() => segment.Digest()) / n:F2} us");
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static double Time(Action a)
    {
        long t = Stopwatch.GetTimestamp();
        a();
        return Stopwatch.GetElapsedTime(t).TotalMicroseconds;
    }

    private static PredictionSegment Fill(string folder, int rows)
    {
        var segment = PredictionSegment.Create(folder, "01ARZ3NDEKTSV4RRFFQ69G5FAV", DateTimeOffset.UnixEpoch);
        var random = new Random(1);
        byte[] frames = new byte[1 << 20];
        int used = 0;
        for (int i = 0; i < rows; i++)
        {
            float[] features = [random.NextSingle(), random.NextSingle(), random.NextSingle(), random.NextSingle()], outputs = [i % 3, random.NextSingle(), random.NextSingle(), random.NextSingle()];
            var row = new PredictionRecord(Foundation.Ids.New(), "iris", i % 10 == 0 ? "canary" : "stable", i % 10 == 0 ? "iris/2" : "iris/1", null, 1_700_000_000_000_000 + i * 25L + random.Next(100), 40 + random.Next(40), features, outputs, 200) { Revision = 3, Reason = DecisionReason.Slot };
            int size = PredictionFrame.SizeOf(row);
            if (used + size > frames.Length)
            {
                segment.Append(frames.AsSpan(0, used), (ulong)i);
                used = 0;
            }

            PredictionFrame.Write(frames.AsSpan(used, size), row);
            used += size;
        }

        segment.Append(frames.AsSpan(0, used), ulong.MaxValue);
        return segment;
    }
}
