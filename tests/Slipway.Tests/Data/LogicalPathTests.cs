using CsCheck;
using Slipway.Data;
using Slipway.Foundation;

namespace Slipway.Tests.Data;

public class LogicalPathTests
{
    [Theory]
    [InlineData("a")]
    [InlineData("data/2001-01.csv")]
    [InlineData("Zürich/größe (1).csv")]
    [InlineData("日本/データ.parquet")]
    [InlineData("a..b/c...d")]
    [InlineData("console/nulls.txt")]
    [InlineData("👍.txt")]
    public void Plain_names_are_paths(string path) => LogicalPath.Demand(path);

    [Theory]
    [InlineData("")]
    [InlineData("/a")]
    [InlineData("a/")]
    [InlineData("a//b")]
    [InlineData(".")]
    [InlineData("..")]
    [InlineData("a/../b")]
    [InlineData("../a")]
    [InlineData("..\\a")]
    [InlineData("C:\\x")]
    [InlineData("C:x")]
    [InlineData("\\\\host\\share")]
    [InlineData("a%2e%2e/b")]
    [InlineData("a%00")]
    [InlineData("a\0b")]
    [InlineData("a\r\nb")]
    [InlineData("a\u007f")]
    [InlineData("a\u0085")]
    [InlineData("a ")]
    [InlineData(" a")]
    [InlineData("a.")]
    [InlineData(".a")]
    [InlineData("a:stream")]
    [InlineData("a?b")]
    [InlineData("a*b")]
    [InlineData("a\"b")]
    [InlineData("a<b")]
    [InlineData("a|b")]
    [InlineData("con")]
    [InlineData("x/NUL.txt")]
    [InlineData("aux .csv")]
    [InlineData("Com1.csv")]
    [InlineData("lpt³")]
    [InlineData("．．／x")]
    [InlineData("a\u202Egpj.exe")]
    [InlineData("a\u200Bb")]
    [InlineData("e\u0301.csv")]
    [InlineData("\u212B.csv")]
    public void Names_that_are_dangerous_or_ambiguous_anywhere_are_refused(string path) =>
        Assert.Equal(ErrorCode.InvalidArgument, Assert.Throws<SlipwayException>(() => LogicalPath.Demand(path)).Code);

    [Fact]
    public void Half_a_character_is_refused()
    {
        Assert.Throws<SlipwayException>(() => LogicalPath.Demand("a\uD800b"));
        Assert.Throws<SlipwayException>(() => LogicalPath.Demand("a\uDC00"));
        Assert.Throws<SlipwayException>(() => LogicalPath.Demand("\uD800"));
    }

    [Fact]
    public void Long_names_are_refused()
    {
        LogicalPath.Demand(new string('a', 255));
        Assert.Throws<SlipwayException>(() => LogicalPath.Demand(new string('a', 256)));
        Assert.Throws<SlipwayException>(() => LogicalPath.Demand(new string('ä', 128)));
        Assert.Throws<SlipwayException>(() => LogicalPath.Demand(string.Join('/', Enumerable.Repeat("abcdefgh", 114))));
    }

    [Theory]
    [InlineData("a", "A")]
    [InlineData("Ä", "ä")]
    [InlineData("a", "a")]
    [InlineData("a", "a/b")]
    [InlineData("A/b/c", "a/B")]
    public void Paths_that_collide_on_some_disk_are_refused(string one, string other)
    {
        Assert.Throws<SlipwayException>(() => LogicalPath.DemandDistinct([one, other]));
        Assert.Throws<SlipwayException>(() => LogicalPath.DemandDistinct([other, one]));
    }

    [Fact]
    public void An_accepted_path_never_leaves_its_root() => Gen.Char["ab./\\ %:\0~．"].Array[1, 12].Select(c => new string(c)).Sample(path =>
    {
        if (LogicalPath.Problem(path) is not null) return true;
        var full = Path.GetFullPath(Path.Combine("/base/x", Uri.UnescapeDataString(path)));
        return full.StartsWith("/base/x/", StringComparison.Ordinal) && full.Length == "/base/x/".Length + path.Length;
    });
}
