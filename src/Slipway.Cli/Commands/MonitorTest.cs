using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Slipway.Foundation;
using Slipway.Monitoring;

namespace Slipway.Cli.Commands;

/// <summary>Compares two files without a server.</summary>
internal static class MonitorTest
{
    public static Verb Build(Globals globals, Terminal terminal)
    {
        var reference = new Option<string>("--reference") { Description = "The table to compare with, Parquet or CSV", Required = true };
        var current = new Option<string>("--current") { Description = "The table to test, Parquet or CSV", Required = true };
        var target = new Option<string?>("--target") { Description = "Column of true outcomes" };
        var prediction = new Option<string?>("--prediction") { Description = "Column of predicted classes or numbers" };
        var score = new Option<string?>("--score") { Description = "Column of scores of the positive class" };
        var positive = new Option<string?>("--positive") { Description = "The outcome that counts as positive" };
        var only = new Option<string[]>("--column") { Description = "Only this column; may be repeated", AllowMultipleArgumentsPerToken = true };
        var statistic = new Option<string?>("--statistic") { Description = $"Decide by one statistic instead of the default rule: {string.Join(", ", ReportOptions.Statistics)}" };
        var threshold = new Option<double?>("--threshold") { Description = "From which value a column drifts: 0.02 above what sampling explains, or 0.1 of --statistic" };
        var correction = new Option<string>("--correction") { Description = $"Correction for many columns: {string.Join(", ", ReportOptions.Corrections)}", DefaultValueFactory = _ => "by" };
        var multivariate = new Option<string?>("--multivariate") { Description = $"Compare all features together as well, by one or more of {string.Join(",", MultivariateDrift.Methods)}" };
        var html = new Option<string?>("--html") { Description = "Write the report as one HTML page to this file" };
        return new Verb(
            "test", "Tests a table for drift against a reference, without a server; exit code 1 on drift",
            "slipway monitor test --reference train.parquet --current today.parquet",
            "slipway monitor test --reference a.csv --current b.csv --target late --score p --html report.html")
            .With(reference, current, target, prediction, score, positive, only, statistic, threshold, correction, multivariate, html)
            .Does(globals, terminal, async s =>
            {
                DriftReport report;
                try
                {
                    report = Comparison.OfFiles(s.Value(reference)!, s.Value(current)!, new ReportOptions
                    {
                        Target = s.Value(target),
                        Prediction = s.Value(prediction),
                        Score = s.Value(score),
                        Positive = s.Value(positive),
                        Columns = s.Value(only) is { Length: > 0 } columns ? columns : null,
                        Statistic = s.Value(statistic),
                        Threshold = s.Value(threshold),
                        Correction = s.Value(correction)!,
                        Multivariate = s.Value(multivariate)?.Split(',', StringSplitOptions.TrimEntries) ?? [],
                    });
                }
                catch (SlipwayException e)
                {
                    throw new CliException(e.Code == ErrorCode.NotFound ? ExitCodes.NotFound : ExitCodes.Usage, e.Message, e.Why ?? "", e.Next ?? "slipway monitor test --help");
                }

                if (s.Value(html) is { } file)
                {
                    await File.WriteAllTextAsync(file, HtmlReport.Write(report), s.Stop);
                    s.Note($"wrote {file}");
                }

                Print(s, report);
                return report.Passed ? ExitCodes.Done : ExitCodes.Failed;
            });
    }

    private static void Print(Session s, DriftReport report)
    {
        if (!s.Out.IsTable)
        {
            s.Out.One(JsonSerializer.SerializeToElement(report, ReportJson.Options), new Column("PASSED", "passed"));
            return;
        }

        var rows = report.Columns.Select(c => JsonSerializer.SerializeToElement(c, ReportJson.Options)).ToList();
        s.Out.List(
            rows, more: false, new Column("COLUMN", "name"), new Column("STATE", "state"), new Column("LEVEL", "level"), new Column("STATISTIC", "statistic"), new Column("VALUE", e => Output.Rounded(Output.At(e, "value"))),
            new Column("LIMIT", e => Output.Rounded(Output.At(e, "limit"))), new Column("P", e => Small(Output.At(e, "adjustedP"))), new Column("MISSING", e => Share(e)), new Column("RULE", "rule", wide: true), new Column("WHY", "why", wide: true));
        foreach (var finding in report.Findings)
        {
            s.Terminal.Out.WriteLine($"{(finding.Fails ? "failed" : "note")}: {finding.Text}");
        }

        foreach (var m in report.Multivariate)
        {
            string limits = m.Alpha is { } alpha ? $", p {Figure(m.P)} (limit {Figure(alpha)})" : m.Lower is null ? "" : $", limits {Figure(m.Lower)} to {Figure(m.Upper)}";
            s.Terminal.Out.WriteLine($"{m.Method}: {m.State}, {Figure(m.Value)}{limits}; {m.Features} features of {m.CurrentRows} rows against {m.ReferenceRows}{(m.Why is null ? "" : $"; {m.Why}")}");
        }

        foreach (var metric in report.Performance)
        {
            s.Terminal.Out.WriteLine($"{metric.Metric}: {Figure(metric.Current)}{(metric.Estimated ? " estimated" : "")}, {Figure(metric.Reference)} in the reference");
        }

        s.Terminal.Out.WriteLine($"{report.DriftedColumns} of {report.Columns.Count} columns drifted{(report.DatasetDrift ? ": the data set drifted" : "")}");
    }

    private static string Figure(double? value) => value is { } v ? v.ToString("0.####", CultureInfo.InvariantCulture) : "undefined";

    private static string Small(JsonElement value) => Output.Number(value) is { } p ? p == 0 ? "<1e-300" : p < 1e-4 ? p.ToString("0.#e0", CultureInfo.InvariantCulture) : p.ToString("0.####", CultureInfo.InvariantCulture) : "-";

    private static string Share(JsonElement column) => Output.Number(Output.At(column, "current.missingRate")) is { } rate ? rate.ToString("P1", CultureInfo.InvariantCulture) : "-";
}
