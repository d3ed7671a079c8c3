namespace Slipway.Monitoring;

/// <summary>Settings of the monitoring module.</summary>
public sealed class MonitoringOptions
{
    /// <summary>Folder of the prediction log; null is `predictions` in the data folder.</summary>
    public string? Directory { get; set; }

    /// <summary>Bytes of each core's append buffer; a prediction that finds no room is dropped and counted. Default 4 MiB.</summary>
    public int BufferBytes { get; set; } = 4 * 1024 * 1024;

    /// <summary>Largest prediction in bytes; a larger one is dropped and counted. Default 256 KiB.</summary>
    public int LargestRecord { get; set; } = 256 * 1024;

    /// <summary>How often buffers are written to the segment, 1 to 50 ms. Default 20 ms.</summary>
    public TimeSpan FlushInterval { get; set; } = TimeSpan.FromMilliseconds(20);

    /// <summary>How often the segment is forced to the disk. Default 1 s.</summary>
    public TimeSpan SyncInterval { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>A segment rolls at this many bytes. Default 64 MiB.</summary>
    public long SegmentBytes { get; set; } = 64 * 1024 * 1024;

    /// <summary>A segment rolls at this many predictions. Default 500,000.</summary>
    public long SegmentRows { get; set; } = 500_000;

    /// <summary>A segment rolls at this age. Default 10 minutes.</summary>
    public TimeSpan SegmentAge { get; set; } = TimeSpan.FromMinutes(10);

    /// <summary>How long after its prediction a label is applied; later ones are stored and counted only. Default 90 days.</summary>
    public TimeSpan LabelHorizon { get; set; } = TimeSpan.FromDays(90);

    /// <summary>How long a label waits for a prediction that is not known yet. Default 7 days.</summary>
    public TimeSpan OrphanTtl { get; set; } = TimeSpan.FromDays(7);

    /// <summary>How often a monitor looks for closed windows and new labels. Default 5 s.</summary>
    public TimeSpan MonitorInterval { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>How many of its newest windows a monitor measures again when labels arrive. Default 26.</summary>
    public int RevisedWindows { get; set; } = 26;

    /// <summary>First pause after a failed delivery; it doubles up to 15 minutes. Default 2 s.</summary>
    public TimeSpan DeliveryBackoff { get; set; } = TimeSpan.FromSeconds(2);

    /// <summary>After this long an undelivered notification is given up. Default 24 h.</summary>
    public TimeSpan DeliveryDeadline { get; set; } = TimeSpan.FromHours(24);

    /// <summary>How long resolved alerts, their timelines, delivered messages and ended silences are kept. Default 400 days.</summary>
    public TimeSpan AlertRetention { get; set; } = TimeSpan.FromDays(400);

    /// <summary>Where people reach this server, such as `https://slipway.example.org`; links in messages begin with it. Null gives links without a host.</summary>
    public string? PublicUrl { get; set; }

    /// <summary>Every setting that is out of range, as sentences; empty when all are fine.</summary>
    public IReadOnlyList<string> Problems()
    {
        var found = new List<string>();
        Check(BufferBytes is >= 64 * 1024 and <= 1 << 30, nameof(BufferBytes), BufferBytes, "65,536 to 1,073,741,824");
        Check(LargestRecord is >= 1024 and <= 64 * 1024 * 1024, nameof(LargestRecord), LargestRecord, "1,024 to 67,108,864");
        Check(FlushInterval >= TimeSpan.FromMilliseconds(1) && FlushInterval <= TimeSpan.FromMilliseconds(50), nameof(FlushInterval), FlushInterval, "1 to 50 ms");
        Check(SyncInterval >= TimeSpan.Zero && SyncInterval <= TimeSpan.FromMinutes(1), nameof(SyncInterval), SyncInterval, "0 to 60 s");
        Check(SegmentBytes is >= 1 << 20 and <= 1 << 30, nameof(SegmentBytes), SegmentBytes, "1 MiB to 1 GiB");
        Check(SegmentRows is >= 1000 and <= 5_000_000, nameof(SegmentRows), SegmentRows, "1,000 to 5,000,000");
        Check(SegmentAge >= TimeSpan.FromSeconds(1) && SegmentAge <= TimeSpan.FromDays(1), nameof(SegmentAge), SegmentAge, "1 s to 1 day");
        Check(LabelHorizon > TimeSpan.Zero, nameof(LabelHorizon), LabelHorizon, "more than 0");
        Check(OrphanTtl > TimeSpan.Zero, nameof(OrphanTtl), OrphanTtl, "more than 0");
        Check(MonitorInterval >= TimeSpan.FromMilliseconds(100) && MonitorInterval <= TimeSpan.FromHours(1), nameof(MonitorInterval), MonitorInterval, "100 ms to 1 h");
        Check(RevisedWindows is >= 1 and <= 400, nameof(RevisedWindows), RevisedWindows, "1 to 400");
        Check(DeliveryBackoff >= TimeSpan.FromMilliseconds(10) && DeliveryBackoff <= TimeSpan.FromMinutes(15), nameof(DeliveryBackoff), DeliveryBackoff, "10 ms to 15 min");
        Check(DeliveryDeadline > TimeSpan.Zero && DeliveryDeadline <= TimeSpan.FromDays(30), nameof(DeliveryDeadline), DeliveryDeadline, "up to 30 days");
        Check(AlertRetention >= TimeSpan.FromDays(1) && AlertRetention <= TimeSpan.FromDays(36_500), nameof(AlertRetention), AlertRetention, "1 to 36,500 days");
        Check(PublicUrl is null || (Uri.TryCreate(PublicUrl, UriKind.Absolute, out Uri? url) && url.Scheme is "http" or "https" && !PublicUrl.EndsWith('/')), nameof(PublicUrl), PublicUrl, "an http or https address without a slash at its end");
        return found;

        void Check<T>(bool fine, string name, T value, string allowed)
        {
            if (!fine)
            {
                found.Add($"Monitoring.{name} is {value}; {allowed} is allowed.");
            }
        }
    }
}
