namespace Slipway.Web.Tests;

public sealed class UrlStateTests : BunitContext
{
    [Fact]
    public void Remember_changes_only_what_it_is_told_and_drops_empty_values()
    {
        var navigation = Services.GetRequiredService<NavigationManager>();
        navigation.NavigateTo("runs?experiment=3&sort=-metrics.auc");

        navigation.Remember(values: [("filter", "params.seed = '1'"), ("sort", "")]);

        Assert.Equal("http://localhost/runs?experiment=3&filter=params.seed%20%3D%20%271%27", navigation.Uri);
    }

    [Fact]
    public void Remember_of_the_same_state_does_not_navigate()
    {
        var navigation = Services.GetRequiredService<NavigationManager>();
        navigation.NavigateTo("runs?sort=a");
        var moves = 0;
        navigation.LocationChanged += (_, _) => moves++;

        navigation.Remember(values: ("sort", "a"));

        Assert.Equal(0, moves);
    }
}
