using Slipway.Data;

namespace Slipway.Tests.Data;

public class FlightsTests
{
    [Theory, MemberData(nameof(Engines.All), MemberType = typeof(Engines))]
    public async Task The_sample_of_real_flights_is_committed_and_profiled(Engine engine)
    {
        var sample = Sample();
        Assert.SkipWhen(sample is null, "the sample of flights is not beside the repository's sources");
        await using var world = await TestWorld.CreateAsync(engine);
        var datasets = world.Get<Datasets>();
        await datasets.CreateAsync(TestWorld.Ada, "flights", null, CancellationToken.None);

        var version = await datasets.CommitAsync(TestWorld.Ada, "flights", new CommitRequest { Message = "all weeks", Files = [CommitFile.FromDisk("flights.parquet", sample!)] }, CancellationToken.None);

        Assert.Equal(new FileInfo(sample!).Length, version.Files[0].Size);
        Assert.True(version.Files[0].Rows > 100_000);
        Assert.Equal(version.Files[0].Rows, version.Profile!.Rows);
        Assert.All(version.Profile.Columns, c =>
        {
            Assert.Equal(version.Profile.Rows, c.Count + c.Missing);
            Assert.InRange(c.Distinct, 1, c.Count);
            Assert.NotEmpty(c.Top);
            Assert.Equal(c.Quantiles.Select(q => q.Value).Order(), c.Quantiles.Select(q => q.Value));
        });
    }

    private static string? Sample()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "Slipway.slnx")))
                return Directory.EnumerateFiles(Path.Combine(folder.FullName, "samples"), "*.parquet", SearchOption.AllDirectories).Order(StringComparer.Ordinal).FirstOrDefault();
        }
        return null;
    }
}
