namespace Slipway.Web.Tests;

public sealed class DataGridTests : BunitContext
{
    private readonly List<GridWindow> asked = [];

    public DataGridTests() => JSInterop.Mode = JSRuntimeMode.Loose;

    [Fact]
    public void Only_a_window_of_rows_and_columns_is_read_and_drawn()
    {
        var grid = Grid(10_000, 300);

        Assert.Equal(("10001", "300"), (grid.Find("table").GetAttribute("aria-rowcount"), grid.Find("table").GetAttribute("aria-colcount")));
        Assert.InRange(grid.FindAll("tbody tr[aria-rowindex]").Count, 16, 60);
        Assert.InRange(asked[0].Columns.Count, 5, 30);
        Assert.Equal("c0", asked[0].Columns[0]);
        Assert.Equal("0:c0", grid.Find("tr[aria-rowindex='2'] td[aria-colindex='1']").TextContent);
    }

    [Fact]
    public async Task Scrolling_reads_what_comes_into_view_and_keeps_the_pinned_column()
    {
        var grid = Grid(10_000, 300);

        await grid.InvokeAsync(() => grid.Instance.Scrolled(5000, 20, 20_000, 1000, withMargin: true));

        var row = grid.Find("tr[aria-rowindex='5002']");
        Assert.Equal("5000:c0", row.QuerySelector("td[aria-colindex='1']")!.TextContent);
        Assert.Contains(row.QuerySelectorAll("td[aria-colindex]"), c => c.TextContent == "5000:c200");
        Assert.DoesNotContain(row.QuerySelectorAll("td[aria-colindex]"), c => c.TextContent == "5000:c1");
        Assert.Contains(grid.FindAll("tr.spacer"), s => s.GetAttribute("style")!.Contains("px", StringComparison.Ordinal));
    }

    [Fact]
    public async Task The_last_page_ends_at_the_last_row()
    {
        var grid = Grid(100, 3);

        await grid.InvokeAsync(() => grid.Instance.Scrolled(95, 20, 0, 1000, withMargin: true));

        Assert.Equal("101", grid.FindAll("tbody tr[aria-rowindex]")[^1].GetAttribute("aria-rowindex"));
        Assert.Equal(100, asked[^1].Start + asked[^1].Count);
    }

    [Fact]
    public void A_header_sorts_numbers_largest_first_and_then_the_other_way()
    {
        var sorts = new List<string>();
        var grid = Grid(10, 3, p => p.Add(g => g.OnSort, sorts.Add));
        Assert.Equal("none", grid.Find("th[aria-colindex='2']").GetAttribute("aria-sort"));

        grid.FindAll("th .sort")[1].Click();
        grid.Render(p => p.Add(g => g.Sort, "-c1"));
        Assert.Equal("descending", grid.Find("th[aria-colindex='2']").GetAttribute("aria-sort"));
        grid.FindAll("th .sort")[1].Click();
        grid.Render(p => p.Add(g => g.Sort, "c1"));
        grid.FindAll("th .sort")[1].Click();

        Assert.Equal(["-c1", "c1", ""], sorts);
    }

    [Fact]
    public void The_menu_of_a_column_pins_moves_and_hides_it()
    {
        var changes = new List<(string, GridChange)>();
        var grid = Grid(10, 4, p => p.Add(g => g.OnArrange, changes.Add));

        foreach (var word in new[] { "Pin at the left", "Move left", "Hide" })
        {
            grid.FindAll("th .more")[2].Click();
            grid.FindAll("[role=menuitem]").Single(b => b.TextContent.StartsWith(word, StringComparison.Ordinal)).Click();
        }

        Assert.Equal([("c2", GridChange.Pin), ("c2", GridChange.Left), ("c2", GridChange.Hide)], changes);
        Assert.Empty(grid.FindAll("[role=menu]"));
    }

    [Fact]
    public async Task A_width_is_bounded_however_far_it_is_dragged()
    {
        var widths = new List<(string, int)>();
        var grid = Grid(10, 4, p => p.Add(g => g.OnResize, widths.Add));

        await grid.InvokeAsync(() => grid.Instance.Resized("c2", 100_000));
        await grid.InvokeAsync(() => grid.Instance.Resized("c2", -3));

        Assert.Equal([("c2", 900), ("c2", 56)], widths);
    }

    [Fact]
    public void Picking_says_which_row_and_shows_it_as_selected()
    {
        var picks = new List<(int, bool)>();
        var grid = Grid(10, 3, p => p.Add(g => g.OnSelect, picks.Add).Add(g => g.IsSelected, r => r == 3).Add(g => g.Name, r => $"run {r}"));

        Assert.Equal("true", grid.Find("tr[aria-rowindex='5']").GetAttribute("aria-selected"));
        var box = grid.Find("tr[aria-rowindex='2'] input");
        Assert.Equal("Pick run 0", box.GetAttribute("aria-label"));
        box.Change(true);

        Assert.Equal([(0, true)], picks);
        Assert.Equal("4", grid.Find("table").GetAttribute("aria-colcount"));
    }

    [Fact]
    public void Rows_that_cannot_be_read_say_why_and_can_be_tried_again()
    {
        var broken = true;
        var grid = Render<DataGrid<int>>(p => p.Add(g => g.Label, "Runs").Add(g => g.Count, 5).Add(g => g.Version, 1).Add(g => g.Columns, ColumnsOf(2))
            .Add(g => g.Rows, (w, _) => broken ? throw new SlipwayException(ErrorCode.Unavailable, "the database is away", "it restarts") : Task.FromResult<IReadOnlyList<int>>([0, 1, 2, 3, 4])));

        Assert.Contains("the database is away: it restarts", grid.Find("[role=alert]").TextContent, StringComparison.Ordinal);
        broken = false;
        grid.Find("[role=alert] button").Click();

        Assert.Empty(grid.FindAll("[role=alert]"));
        Assert.Equal(5, grid.FindAll("tbody tr[aria-rowindex]").Count);
    }

    private static GridColumn<int>[] ColumnsOf(int count) =>
        [.. Enumerable.Range(0, count).Select(i => new GridColumn<int>($"c{i}", $"Column {i}", r => b => b.AddContent(0, $"{r}:c{i}"), Number: true, Width: 100, Fixed: i == 0))];

    private IRenderedComponent<DataGrid<int>> Grid(int rows, int columns, Action<ComponentParameterCollectionBuilder<DataGrid<int>>>? more = null) => Render<DataGrid<int>>(p =>
    {
        p.Add(g => g.Label, "Runs").Add(g => g.Count, rows).Add(g => g.Version, 1).Add(g => g.Columns, ColumnsOf(columns))
            .Add(g => g.Rows, (window, _) =>
            {
                asked.Add(window);
                return Task.FromResult<IReadOnlyList<int>>([.. Enumerable.Range(window.Start, window.Count)]);
            });
        more?.Invoke(p);
    });
}
