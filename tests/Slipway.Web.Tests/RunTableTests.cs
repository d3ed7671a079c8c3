using Slipway.Registry;
using Slipway.Web.Pages;

namespace Slipway.Web.Tests;

/// <summary>The words and numbers behind the tables and comparisons of runs.</summary>
public sealed class RunTableTests
{
    private static readonly RunKeys Keys = new(["auc", "val/loss"], ["learner", "lr"], ["team"]);

    [Theory]
    [InlineData("", "metrics.auc", "metrics.auc ")]
    [InlineData("au", "metrics.auc", "metrics.auc ")]
    [InlineData("loss", "metrics.val/loss", "metrics.`val/loss` ")]
    [InlineData("params.lr > 1 AND lea", "params.learner", "params.lr > 1 AND params.learner ")]
    [InlineData("metrics.auc ", ">", "metrics.auc > ")]
    [InlineData("metrics.`val/loss` <", "<", "metrics.`val/loss` < ")]
    [InlineData("params.learner I", "ILIKE", "params.learner ILIKE ")]
    [InlineData("params.learner = ", "gbm", "params.learner = 'gbm'")]
    [InlineData("params.learner = 'g", "gbm", "params.learner = 'gbm'")]
    [InlineData("attributes.status = 'FI", "FINISHED", "attributes.status = 'FINISHED'")]
    [InlineData("params.learner = 'gbm' ", "AND", "params.learner = 'gbm' AND ")]
    [InlineData("metrics.auc > 0.7 ", "AND", "metrics.auc > 0.7 AND ")]
    public void A_filter_is_completed_at_its_end(string typed, string show, string text)
    {
        var found = FilterCompletion.Suggest(typed, Keys, column => column == "params.learner" ? ["gbm", "mlp"] : []);

        Assert.Contains(found, c => c.Show == show && c.Text == text);
    }

    [Theory]
    [InlineData("metrics.auc > 0.7")]
    [InlineData("params.learner = 'a AND b")]
    public void Nothing_is_suggested_inside_a_value_that_is_not_known(string typed) =>
        Assert.Empty(FilterCompletion.Suggest(typed, Keys, _ => []));

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(8)]
    [InlineData(9)]
    [InlineData(300)]
    public void Picked_runs_read_back_from_an_address(int count)
    {
        string[] ids = [.. Enumerable.Range(0, count).Select(_ => Ids.New())];
        var text = RunPicks.Write(ids);

        Assert.Equal(ids, RunPicks.Read(text));
        Assert.True((text?.Length ?? 0) < 6700);
    }

    [Theory]
    [InlineData("nonsense")]
    [InlineData("../../etc/passwd")]
    [InlineData("0195E2F0A1B2C3D4E5F60718293A4B5C")]
    public void What_is_no_run_id_is_left_out(string text) => Assert.Empty(RunPicks.Read(text));

    [Fact]
    public void Chart_settings_stand_in_the_address_and_bad_ones_are_ignored()
    {
        var settings = new ChartSettings("metric", "train/loss", true, Smoothing.Ema, 0.9, true, "minmax", "auc");

        Assert.Equal(settings, ChartSettings.Parse(settings.Write()));
        Assert.Equal("x:metric~train/loss;y:log;s:ema~0.9;o:hide;b:minmax;l:auc", settings.Write());
        Assert.Null(new ChartSettings().Write());
        Assert.Equal(new ChartSettings(), ChartSettings.Parse("x:nowhere;s:ema~7;b:;;:;q"));
    }

    [Fact]
    public void A_band_counts_curves_only_where_they_have_points()
    {
        IReadOnlyList<SeriesPoint>[] curves = [[new(0, 1, 0), new(2, 3, 2)], [new(1, 4, 1), new(2, 5, 2)]];

        var band = Bands.Of("g", "--series-1", curves, "minmax");

        Assert.Equal([(0d, 1d, 1d, 1d, 1), (1d, 3d, 2d, 4d, 2), (2d, 4d, 3d, 5d, 2)], band.Points);
        Assert.Equal(Math.Sqrt(2), Bands.Of("g", "--series-1", curves, "std").Points[1].High - 3, 12);
    }

    [Fact]
    public void Rank_correlation_sees_order_and_not_distance()
    {
        Assert.Equal(1, Relations.Spearman([(1, 1), (2, 10), (3, 100), (4, 1000), (5, 1e9)])!.Value, 12);
        Assert.Equal(-1, Relations.Spearman([(1, 5), (2, 4), (3, 3), (4, 2), (5, 1)])!.Value, 12);
        Assert.Null(Relations.Spearman([(1, 1), (2, 2), (3, 3), (4, 4)]));
        Assert.Null(Relations.Spearman([(1, 1), (1, 2), (1, 3), (1, 4), (1, 5)]));
    }

    [Fact]
    public void Importance_ranks_numbers_and_words_and_skips_what_is_different_in_every_run()
    {
        double?[] auc = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6];
        RelationCell[] Cells(params string[] values) => [.. values.Select(v => new RelationCell(v, double.TryParse(v, System.Globalization.CultureInfo.InvariantCulture, out var n) ? n : null))];

        var found = Relations.Of([("noise", Cells("3", "1", "2", "3", "1", "2")), ("lr", Cells("6", "5", "4", "3", "2", "1")), ("kind", Cells("a", "a", "a", "b", "b", "b")), ("id", Cells("q", "w", "e", "r", "t", "z"))], auc);

        Assert.Equal(["lr", "kind", "noise"], found.Select(r => r.Name));
        Assert.Equal((1d, -1, 6), (Math.Round(found[0].Strength, 12), found[0].Sign, found[0].N));
        Assert.Equal(0, found[1].Sign);
    }

    [Fact]
    public void A_trend_and_a_surface_say_nothing_without_enough_points()
    {
        var line = Relations.Line([(0, 1), (1, 3), (2, 5)])!;
        Assert.Equal((2d, 1d, 1d, 3), (line.Slope, line.Intercept, line.R2, line.N));
        Assert.Null(Relations.Line([(0, 1), (1, 3)]));
        Assert.Null(Relations.Line([(1, 1), (1, 3), (1, 4)]));

        var surface = Relations.Surface([(0, 0, 1), (1, 1, 3), (0, 1, 2)], 10);
        Assert.All(surface, c => Assert.InRange(c.Z, 1, 3));
        Assert.True(surface.Count < 100);
        Assert.Empty(Relations.Surface([(0, 0, 1), (1, 0, 3), (2, 0, 2)], 10));
    }

    [Fact]
    public void Two_versions_differ_in_metrics_params_signature_and_files()
    {
        ModelVersion Version(int number, string hash, TensorSpec input, params string[] features) => new(
            "m", number, null, "runs:/x", "READY", [new ModelFile("model.onnx", hash, 10)], new ModelSignature([input], [], features), new Dictionary<string, string>(), [], "ada", DateTimeOffset.UnixEpoch, null);
        Run Of(double auc, string lr) => new("0195e2f0a1b2c3d4e5f60718293a4b5c", "1", "r", "ada", RunStatus.Finished, DateTimeOffset.UnixEpoch, null, "", false, [new MetricPoint("auc", auc, 1)], [new Param("lr", lr), new Param("seed", "1")], [], []);

        var difference = Difference.Between(Version(1, "aa", new("x", "FP32", [-1, 2]), "a", "b"), Version(2, "bb", new("x", "FP64", [-1, 2]), "a", "c"), Of(0.7, "0.1"), Of(0.8, "0.2"), []);

        Assert.Equal([("auc", 0.7, 0.8)], difference.Metrics);
        Assert.Equal([("lr", "0.1", "0.2")], difference.Params);
        Assert.Equal(1, difference.EqualParams);
        Assert.Equal(["input x: FP32 [any, 2] became FP64 [any, 2]", "feature b is gone", "feature c is new"], difference.Signature);
        Assert.Equal([("model.onnx", "10 B became 10 B")], difference.Files);
    }

    [Theory]
    [InlineData("plots/roc.PNG", "Image")]
    [InlineData("model/MLmodel", "Text")]
    [InlineData("a/config.json", "Json")]
    [InlineData("data/rows.parquet", "Table")]
    [InlineData("drawing.svg", "Text")]
    [InlineData("model.onnx", "None")]
    public void Files_are_looked_at_by_their_ending(string path, string look) => Assert.Equal(look, FileLooks.Of(path).ToString());

    [Fact]
    public void Bytes_that_are_no_text_are_not_shown_as_text()
    {
        Assert.Null(FileLooks.Text([0x7f, 0x45, 0x00, 0x01]));
        Assert.Equal("héllo", FileLooks.Text("héllo"u8.ToArray()));
        Assert.Contains("\n", FileLooks.Indented("{\"a\":[1,2]}"), StringComparison.Ordinal);
        Assert.Equal("{\"a\":", FileLooks.Indented("{\"a\":"));
    }
}
