using System.Globalization;
using System.Text.RegularExpressions;

namespace Slipway.Web.Tests;

public sealed partial class ThemeTests
{
    private static readonly string[] Texts = ["text", "text-2", "text-3", "accent", "ok", "warn", "bad", "idle"];
    private static readonly string[] Surfaces = ["bg", "surface", "raised", "hover"];

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Theme_reaches_contrast_AA_for_every_text_on_every_surface(bool dark)
    {
        var colours = Colours(dark);

        var weak = Texts.SelectMany(t => Surfaces.Append(t is "accent" or "ok" or "warn" or "bad" or "idle" ? t + "-soft" : "accent-soft").Select(s => (t, s, Ratio: Contrast(colours[t], colours[s]))))
            .Append((t: "surface", s: "accent", Ratio: Contrast(colours["surface"], colours["accent"])))
            .Where(x => x.Ratio < 4.5).Select(x => $"{x.t} on {x.s}: {x.Ratio:0.00}");

        Assert.Empty(weak);
    }

    [Fact]
    public void Theme_gives_mud_and_css_the_same_colours()
    {
        Assert.Equal(Colours(false)["accent"], Theme.Mud.PaletteLight.Primary.ToString(MudBlazor.Utilities.MudColorOutputFormats.Hex)[..7]);
        Assert.Equal(Colours(true)["surface"], Theme.Mud.PaletteDark.Surface.ToString(MudBlazor.Utilities.MudColorOutputFormats.Hex)[..7]);
    }

    private static Dictionary<string, string> Colours(bool dark)
    {
        var halves = Theme.Css.Split("[data-theme=dark]");
        return Token().Matches(halves[dark ? 1 : 0]).ToDictionary(m => m.Groups["token"].Value, m => m.Groups["colour"].Value, StringComparer.Ordinal);
    }

    // Relative luminance and contrast as WCAG 2.2 defines them.
    private static double Contrast(string a, string b)
    {
        var (high, low) = (Math.Max(Luminance(a), Luminance(b)), Math.Min(Luminance(a), Luminance(b)));
        return (high + 0.05) / (low + 0.05);
    }

    private static double Luminance(string hex)
    {
        double Channel(int at)
        {
            var c = int.Parse(hex.AsSpan(at, 2), NumberStyles.HexNumber, CultureInfo.InvariantCulture) / 255.0;
            return c <= 0.04045 ? c / 12.92 : Math.Pow((c + 0.055) / 1.055, 2.4);
        }

        return (0.2126 * Channel(1)) + (0.7152 * Channel(3)) + (0.0722 * Channel(5));
    }

    [GeneratedRegex("--(?<token>[a-z0-9-]{1,40}):(?<colour>#[0-9a-f]{6});", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Token();
}
