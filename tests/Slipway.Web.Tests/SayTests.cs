namespace Slipway.Web.Tests;

public sealed class SayTests
{
    [Theory]
    [InlineData(0, "0")]
    [InlineData(0.7412345, "0.74123")]
    [InlineData(12.34567, "12.346")]
    [InlineData(1234567.89, "1,234,567.9")]
    [InlineData(3000000, "3,000,000")]
    [InlineData(0.00001234, "1.234e-5")]
    [InlineData(double.NaN, "NaN")]
    [InlineData(double.NegativeInfinity, "−∞")]
    public void Number_keeps_what_a_reader_needs(double value, string text) => Assert.Equal(text, Say.Number(value));

    [Theory]
    [InlineData(0, "0 B")]
    [InlineData(1536, "1.5 KiB")]
    [InlineData(8_388_608, "8 MiB")]
    public void Size_uses_binary_units(long bytes, string text) => Assert.Equal(text, Say.Size(bytes));

    [Theory]
    [InlineData(840, "840 µs")]
    [InlineData(12_400, "12.4 ms")]
    [InlineData(1_200_000, "1.2 s")]
    public void Latency_chooses_its_unit(double micros, string text) => Assert.Equal(text, Say.Latency(micros));

    [Fact]
    public void Count_bends_its_noun()
    {
        Assert.Equal("1 entry", Say.Count(1, "entry", "entries"));
        Assert.Equal("2,000 runs", Say.Count(2000, "run"));
        Assert.Equal("0.5 %", Say.Percent(0.005));
    }
}
