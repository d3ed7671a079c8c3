using System.Text;
using MudBlazor;
using MudBlazor.Utilities;

namespace Slipway.Web;

/// <summary>
/// The one source of colour and type. <see cref="Mud"/> themes the MudBlazor components; <see cref="Css"/> gives the same
/// values as CSS variables, so that markup, charts and components never disagree, and the first paint already has them.
/// Every text colour reaches 4.5:1 on the surfaces it is used on, in both themes.
/// </summary>
internal static class Theme
{
    private const string Sans = "Inter, ui-sans-serif, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif";

    private static readonly (string Token, string Light, string Dark)[] Tokens =
    [
        ("bg", "#f6f7f9", "#0d1117"),
        ("surface", "#ffffff", "#141a22"),
        ("raised", "#f0f2f5", "#1b222c"),
        ("hover", "#eef1f5", "#1d2530"),
        ("line", "#e1e5ea", "#252e3a"),
        ("line-strong", "#8490a0", "#66748a"),
        ("text", "#18202a", "#e5eaf1"),
        ("text-2", "#4e5a69", "#a3afbf"),
        ("text-3", "#5c6777", "#8693a5"),
        ("accent", "#1d5fae", "#6fb3f7"),
        ("accent-soft", "#e6effa", "#162a42"),
        ("ok", "#176c40", "#4fc28b"),
        ("ok-soft", "#e2f4ea", "#10291f"),
        ("warn", "#8a5200", "#e9b04c"),
        ("warn-soft", "#fdf1dc", "#2e2412"),
        ("bad", "#b3261e", "#ff857b"),
        ("bad-soft", "#fdeae8", "#361a1b"),
        ("idle", "#5b6675", "#93a0b1"),
        ("idle-soft", "#eceff3", "#1f2732"),
        ("series-1", "#1d5fae", "#6fb3f7"),
        ("series-2", "#b4560a", "#f2a35e"),
        ("series-3", "#0f766e", "#4cc9b9"),
        ("series-4", "#7c3aa8", "#c59bf0"),
        ("series-5", "#a3224f", "#f38db0"),
        ("series-6", "#86690a", "#d8bf4e"),
        ("series-7", "#4d7c0f", "#a6d45f"),
        ("series-8", "#0e7490", "#67d0ea"),
        ("series-9", "#7a4f2a", "#d6a67f"),
        ("series-10", "#5b6675", "#b4becb"),
        ("heat-0", "#dfe9f2", "#1c2b3b"),
        ("heat-1", "#f3d08f", "#6b5018"),
        ("heat-2", "#e8904a", "#a8571c"),
        ("heat-3", "#c4342b", "#e2574c"),
        ("heat-none", "#eceef1", "#1a2029"),
        ("shadow", "0 1px 2px rgb(16 24 40 / .05)", "0 1px 2px rgb(0 0 0 / .35)"),
        ("shadow-pop", "0 12px 32px rgb(16 24 40 / .16)", "0 16px 40px rgb(0 0 0 / .55)"),
    ];

    /// <summary>The MudBlazor theme, dark and light.</summary>
    public static MudTheme Mud { get; } = new()
    {
        PaletteLight = Fill(new PaletteLight(), Light, "#ffffff"),
        PaletteDark = Fill(new PaletteDark(), Dark, "#07111d"),
        LayoutProperties = new LayoutProperties { DefaultBorderRadius = "6px" },
        Typography = new Typography
        {
            Default = new DefaultTypography { FontFamily = Sans.Split(", "), FontSize = ".875rem", LineHeight = "1.5", LetterSpacing = "normal" },
            Button = new ButtonTypography { FontSize = ".8125rem", FontWeight = "550", TextTransform = "none", LetterSpacing = "normal" },
            H6 = new H6Typography { FontSize = "1rem", FontWeight = "600", LetterSpacing = "normal" },
            Body1 = new Body1Typography { FontSize = ".875rem", LetterSpacing = "normal" },
            Body2 = new Body2Typography { FontSize = ".8125rem", LetterSpacing = "normal" },
        },
    };

    /// <summary>The tokens as CSS variables: light on the root, dark under <c>data-theme="dark"</c>.</summary>
    public static string Css { get; } = Write();

    private static string Light(string token) => Tokens.First(t => t.Token == token).Light;

    private static string Dark(string token) => Tokens.First(t => t.Token == token).Dark;

    private static TPalette Fill<TPalette>(TPalette palette, Func<string, string> of, string onAccent)
        where TPalette : Palette
    {
        palette.Primary = new MudColor(of("accent"));
        palette.PrimaryContrastText = new MudColor(onAccent);
        palette.Secondary = new MudColor(of("text-2"));
        palette.Tertiary = new MudColor(of("series-3"));
        palette.Info = new MudColor(of("accent"));
        palette.InfoContrastText = new MudColor(onAccent);
        palette.Success = new MudColor(of("ok"));
        palette.SuccessContrastText = new MudColor(onAccent);
        palette.Warning = new MudColor(of("warn"));
        palette.WarningContrastText = new MudColor(onAccent);
        palette.Error = new MudColor(of("bad"));
        palette.ErrorContrastText = new MudColor(onAccent);
        palette.Background = new MudColor(of("bg"));
        palette.Surface = new MudColor(of("surface"));
        palette.TextPrimary = new MudColor(of("text"));
        palette.TextSecondary = new MudColor(of("text-2"));
        palette.TextDisabled = new MudColor(of("text-3"));
        palette.ActionDefault = new MudColor(of("text-2"));
        palette.ActionDisabled = new MudColor(of("text-3"));
        palette.ActionDisabledBackground = new MudColor(of("idle-soft"));
        palette.LinesDefault = new MudColor(of("line"));
        palette.LinesInputs = new MudColor(of("line-strong"));
        palette.TableLines = new MudColor(of("line"));
        palette.Divider = new MudColor(of("line"));
        palette.BackgroundGray = new MudColor(of("raised"));
        return palette;
    }

    private static string Write()
    {
        var css = new StringBuilder(":root{color-scheme:light;--sans:").Append(Sans)
            .Append(";--mono:ui-monospace,'JetBrains Mono','SF Mono',Menlo,Consolas,'DejaVu Sans Mono',monospace;");
        foreach (var (token, light, _) in Tokens)
            css.Append("--").Append(token).Append(':').Append(light).Append(';');
        css.Append("}:root[data-theme=dark]{color-scheme:dark;");
        foreach (var (token, _, dark) in Tokens)
            css.Append("--").Append(token).Append(':').Append(dark).Append(';');
        return css.Append('}').ToString();
    }
}
