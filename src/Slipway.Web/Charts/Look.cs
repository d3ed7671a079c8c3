namespace Slipway.Web.Charts;

/// <summary>The parts of a chart option that all charts share, so that they look like one family.</summary>
internal static class Look
{
    /// <summary>How many colours series have before they repeat.</summary>
    public const int Colours = 10;

    /// <summary>The theme colour of the n-th series.</summary>
    public static string Series(int index) => $"--series-{(index % Colours) + 1}";

    /// <summary>A quiet tooltip; <paramref name="digits"/> fraction digits at most.</summary>
    public static object Tooltip(string trigger, int digits) => new
    {
        trigger,
        digits,
        confine = true,
        backgroundColor = "--surface",
        borderColor = "--line",
        textStyle = new { color = "--text", fontSize = 12 },
        axisPointer = new { lineStyle = new { color = "--line-strong", type = "dotted" } },
    };

    /// <summary>An axis of numbers or time.</summary>
    public static object ValueAxis(string type, bool lines, bool scale, string? name = null, int gridIndex = 0) => new
    {
        type,
        scale,
        gridIndex,
        name,
        nameTextStyle = new { color = "--text-3", align = "left" },
        axisLine = new { show = !lines, lineStyle = new { color = "--line-strong" } },
        axisTick = new { show = false },
        axisLabel = new { color = "--text-2", fontSize = 11, hideOverlap = true },
        splitLine = new { show = lines, lineStyle = new { color = "--line" } },
        splitNumber = 4,
    };

    /// <summary>An axis of names.</summary>
    public static object NameAxis(IEnumerable<string> names, bool labels = true, int gridIndex = 0, bool inverse = false, object? labelStyle = null) => new
    {
        type = "category",
        data = names,
        gridIndex,
        inverse,
        axisLine = new { show = false },
        axisTick = new { show = false },
        axisLabel = labels ? labelStyle ?? new { show = true, color = "--text-2", fontSize = 11, hideOverlap = true } : new { show = false },
        splitLine = new { show = false },
    };

    /// <summary>An axis of numbers with its name beside it.</summary>
    public static object NamedAxis(string name, bool vertical = false) => new
    {
        type = "value",
        scale = true,
        name,
        nameLocation = vertical ? "end" : "middle",
        nameGap = vertical ? 10 : 26,
        nameTextStyle = new { color = "--text-3", fontSize = 11, align = vertical ? "left" : "center" },
        axisLine = new { lineStyle = new { color = "--line-strong" } },
        axisTick = new { show = false },
        axisLabel = new { color = "--text-2", fontSize = 11, hideOverlap = true },
        splitLine = new { lineStyle = new { color = "--line" } },
        splitNumber = 5,
    };

    /// <summary>An axis of even cells with its name beside it.</summary>
    public static object CategoryAxis(IEnumerable<string> names, string name, bool vertical = false) => new
    {
        type = "category",
        data = names,
        name,
        nameLocation = vertical ? "end" : "middle",
        nameGap = vertical ? 10 : 26,
        nameTextStyle = new { color = "--text-3", fontSize = 11, align = vertical ? "left" : "center" },
        axisLine = new { lineStyle = new { color = "--line-strong" } },
        axisTick = new { show = false },
        axisLabel = new { color = "--text-2", fontSize = 11, hideOverlap = true, interval = 4 },
        splitLine = new { show = false },
    };

    /// <summary>An axis of numbers that only places points.</summary>
    public static object HiddenAxis(double min, double max) => new { type = "value", show = false, min, max };
}
