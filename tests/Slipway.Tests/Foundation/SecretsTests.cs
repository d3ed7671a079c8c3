using Slipway.Foundation;

namespace Slipway.Tests.Foundation;

public sealed class SecretsTests
{
    [Fact]
    public void Secret_comes_back_only_for_its_purpose_and_key()
    {
        using var folder = new TemporaryFolder();
        using var other = new TemporaryFolder();
        var sealedText = new Secrets(new DataLayout(folder.Path)).Seal("webhook", "a secret");
        Assert.DoesNotContain("a secret", sealedText, StringComparison.Ordinal);
        Assert.NotEqual(sealedText, new Secrets(new DataLayout(folder.Path)).Seal("webhook", "a secret"));
        Assert.Equal("a secret", new Secrets(new DataLayout(folder.Path)).Open("webhook", sealedText));
        Assert.Equal(ErrorCode.DataLoss, Assert.Throws<SlipwayException>(() => new Secrets(new DataLayout(folder.Path)).Open("receiver", sealedText)).Code);
        Assert.Equal(ErrorCode.DataLoss, Assert.Throws<SlipwayException>(() => new Secrets(new DataLayout(other.Path)).Open("webhook", sealedText)).Code);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Path.Combine(folder.Path, "keys", "secrets.key")));
    }
}
