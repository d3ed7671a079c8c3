using CsCheck;
using Slipway.Serving.Routing;

namespace Slipway.Tests.Serving;

public sealed class FuseTests
{
    [Fact]
    public void Blows_once_at_the_fifth_failure_in_a_row()
    {
        var fuse = new Fuse(new FuseRule());
        Assert.All(Enumerable.Range(0, 4), _ => Assert.Null(fuse.Failed(1)));
        fuse.Succeeded(1);
        Assert.All(Enumerable.Range(0, 4), _ => Assert.Null(fuse.Failed(1)));
        Assert.Contains("5 failures", fuse.Failed(1));
        Assert.True(fuse.Blown);
        Assert.Null(fuse.Failed(1));
    }

    [Fact]
    public void Blows_at_the_error_share_of_one_busy_second_but_not_over_several()
    {
        var slow = new Fuse(new FuseRule());
        for (var second = 0; second < 50; second++)
        {
            slow.Succeeded(second);
            Assert.Null(slow.Failed(second));
        }

        var busy = new Fuse(new FuseRule());
        string? cause = null;
        for (var i = 0; i < 60 && cause is null; i++)
        {
            if (i % 4 == 0)
            {
                cause = busy.Failed(1);
            }
            else
            {
                busy.Succeeded(1);
            }
        }

        Assert.Contains("within a second", cause);
    }

    [Fact]
    public void Random_results_blow_at_most_once() => Gen.Bool.Array[1, 300].Sample(results =>
    {
        var fuse = new Fuse(new FuseRule());
        var blown = 0;
        for (var i = 0; i < results.Length; i++)
        {
            if (results[i])
            {
                fuse.Succeeded(i / 100);
            }
            else
            {
                blown += fuse.Failed(i / 100) is null ? 0 : 1;
            }
        }

        Assert.InRange(blown, 0, 1);
        Assert.Equal(blown == 1, fuse.Blown);
    });
}
