using System.Globalization;
using System.Net;
using System.Text;

namespace Slipway.Monitoring;

/// <summary>
/// A report as one HTML page that needs nothing else: no script from elsewhere, no font, no picture. It follows the reader's light or dark setting and
/// prints.
/// </summary>
public static class HtmlReport
{
    private const string Style = """
        :root { --paper:#fbfbfd; --card:#fff; --ink:#1b1f2a; --soft:#5d6577; --line:#e4e7ee; --ref:#9aa6bd; --cur:#3563e9; --good:#12805c; --warn:#9a6700; --major:#c2410c; --severe:#b42318; --tint:#eef2fd; }
        @media (prefers-color-scheme: dark) { :root { --paper:#10131a; --card:#181c26; --ink:#e8ebf2; --soft:#9aa3b5; --line:#2a3040; --ref:#6d7891; --cur:#7aa0ff; --good:#4ac79b; --warn:#e3b341; --major:#f58a53; --severe:#ff7b72; --tint:#1e2536; } }
        * { box-sizing:border-box; } html { -webkit-text-size-adjust:100%; }
        body { margin:0; background:var(--paper); color:var(--ink); font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif; font-variant-numeric:tabular-nums; }
        main { max-width:1120px; margin:0 auto; padding:40px 24px 80px; }
        h1 { font-size:26px; line-height:1.25; margin:0 0 4px; letter-spacing:-.01em; } h2 { font-size:18px; margin:40px 0 12px; } p { margin:0; } .soft { color:var(--soft); }
        .verdict { display:inline-flex; align-items:center; gap:8px; padding:3px 12px; border-radius:99px; font-weight:600; font-size:13px; margin-bottom:14px; border:1px solid currentColor; }
        .verdict::before { content:""; width:8px; height:8px; border-radius:50%; background:currentColor; }
        .good { color:var(--good); } .warn { color:var(--warn); } .major { color:var(--major); } .severe { color:var(--severe); }
        .tiles { display:grid; grid-template-columns:repeat(auto-fit,minmax(170px,1fr)); gap:12px; margin-top:24px; }
        .tile { background:var(--card); border:1px solid var(--line); border-radius:12px; padding:14px 16px; } .tile b { display:block; font-size:24px; line-height:1.2; font-weight:600; } .tile span { color:var(--soft); font-size:13px; }
        .card { background:var(--card); border:1px solid var(--line); border-radius:12px; overflow:hidden; }
        table { width:100%; border-collapse:collapse; } th { text-align:left; font-weight:500; font-size:13px; color:var(--soft); padding:10px 12px; border-bottom:1px solid var(--line); white-space:nowrap; } td { padding:9px 12px; border-bottom:1px solid var(--line); vertical-align:middle; } tr:last-child td { border-bottom:0; } td.n, th.n { text-align:right; }
        .list { list-style:none; margin:0; padding:0; } .list li { padding:10px 16px; border-bottom:1px solid var(--line); display:flex; gap:12px; align-items:baseline; } .list li:last-child { border-bottom:0; } .list .tag { flex:none; min-width:104px; }
        .tag { font-size:12px; font-weight:600; } .mono { font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace; font-size:.92em; }
        details { background:var(--card); border:1px solid var(--line); border-top:0; } details:first-of-type { border-top:1px solid var(--line); border-radius:12px 12px 0 0; } details:last-of-type { border-radius:0 0 12px 12px; } details:only-of-type { border-radius:12px; }
        summary { display:grid; grid-template-columns:minmax(150px,1.5fr) 92px minmax(170px,1.3fr) 150px; gap:16px; align-items:center; padding:10px 16px; cursor:pointer; list-style:none; } summary::-webkit-details-marker { display:none; } summary:hover { background:var(--tint); } summary:focus-visible { outline:2px solid var(--cur); outline-offset:-2px; }
        summary .name { font-weight:600; overflow-wrap:anywhere; padding-left:18px; position:relative; } summary .name::before { content:"›"; position:absolute; left:2px; top:-2px; font-size:20px; font-weight:400; color:var(--soft); } details[open] .name::before { transform:rotate(90deg) translate(6px,0); } summary .name small { display:block; font-weight:400; color:var(--soft); }
        .meter { height:6px; border-radius:3px; background:var(--line); position:relative; margin-top:5px; } .meter i { display:block; height:100%; border-radius:3px; background:currentColor; } .meter u { position:absolute; top:-3px; width:2px; height:12px; background:var(--ink); border-radius:1px; }
        .body { padding:4px 16px 20px; display:grid; grid-template-columns:minmax(0,1.6fr) minmax(240px,1fr); gap:28px; } .body table th, .body table td { padding:5px 8px; font-size:13px; } .legend { display:flex; gap:18px; font-size:13px; color:var(--soft); margin:6px 0 2px; } .legend i { display:inline-block; width:12px; height:12px; border-radius:3px; margin-right:6px; vertical-align:-1px; }
        svg { display:block; width:100%; height:auto; } svg text { fill:var(--soft); font:11px system-ui,sans-serif; } .r { fill:var(--ref); } .c { fill:var(--cur); } .ra { fill:var(--ref); fill-opacity:.35; stroke:var(--ref); } .ca { fill:var(--cur); fill-opacity:.22; stroke:var(--cur); } .axis { stroke:var(--line); }
        footer { margin-top:48px; color:var(--soft); font-size:13px; }
        @media (max-width:760px) { summary { grid-template-columns:1fr auto; } summary > :nth-child(3), summary > :nth-child(4) { display:none; } .body { grid-template-columns:1fr; } main { padding:24px 14px 60px; } .wide { overflow-x:auto; } }
        @media print { details { break-inside:avoid; } body { background:#fff; } }
        """;

    /// <summary>The page.</summary>
    public static string Write(DriftReport report)
    {
        ArgumentNullException.ThrowIfNull(report);
        var html = new StringBuilder(64 * 1024);
        int drifted = report.DriftedColumns, failing = report.Findings.Count(f => f.Fails);
        bool jointly = report.Multivariate.Any(m => m.State == PointState.Alert);
        string title = drifted == 0 ? jointly ? "No column drifted by itself, but the features did together" : "No column drifted" : drifted == 1 ? $"{Escape(report.Columns.First(c => c.Drifted).Name)} drifted" : $"{drifted} of {report.Columns.Count} columns drifted";
        html.Append(CultureInfo.InvariantCulture, $"""
            <!doctype html>
            <html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{title} · {Escape(report.Current)}</title><style>{Style}</style></head>
            <body><main>
            <p class="verdict {(report.Passed ? "good" : report.DatasetDrift ? "severe" : "major")}">{(report.Passed ? "Passed" : report.DatasetDrift ? "The data set drifted" : "Failed")}</p>
            <h1>{title}</h1>
            <p class="soft"><span class="mono">{Escape(report.Current)}</span> ({report.CurrentRows:N0} rows) against <span class="mono">{Escape(report.Reference)}</span> ({report.ReferenceRows:N0} rows)</p>
            <div class="tiles">
            <div class="tile"><b>{drifted}<small class="soft"> / {report.Columns.Count}</small></b><span>columns drifted</span></div>
            <div class="tile"><b>{report.Columns.Count(c => c.Level == DriftLevel.Severe)}</b><span>of them severely</span></div>
            <div class="tile"><b>{failing}</b><span>failed data checks</span></div>
            """);
        if (report.Performance.FirstOrDefault(m => m.Reference is not null) is { } first)
        {
            html.Append(CultureInfo.InvariantCulture, $"""<div class="tile"><b>{Number(first.Current)}</b><span>{Escape(first.Metric)}{(first.Estimated ? ", estimated" : "")} · {Number(first.Reference)} in the reference</span></div>""");
        }

        html.Append("</div>");
        Performance(html, report);
        Multivariate(html, report);
        Findings(html, report);
        html.Append("""<h2 id="columns">Columns</h2><div>""");
        double most = Math.Max(0.3, report.Columns.Select(c => Math.Min(c.Value ?? 0, 1)).DefaultIfEmpty(0).Max());
        foreach (ColumnReport column in report.Columns)
        {
            Column(html, column, most);
        }

        string rule = report.Options.Statistic is null or "psi"
            ? "A column drifts when its population stability index is both significant (unlikely without drift at these numbers of rows, corrected for all columns) and material (large enough to matter)."
            : $"A column drifts when its {Escape(report.Options.Statistic)} reaches {Number(report.Options.Threshold ?? 0.1)}.";
        html.Append(CultureInfo.InvariantCulture, $"</div><footer>{rule} Bins are cut from the reference. Missing values are compared as a rate of their own, never inside a distance.</footer></main></body></html>");
        return html.ToString();
    }

    private static void Performance(StringBuilder html, DriftReport report)
    {
        if (report.Performance.Count == 0)
        {
            return;
        }

        bool estimated = report.Performance.Any(m => m.Estimated);
        html.Append(CultureInfo.InvariantCulture, $"""<h2>Performance{(estimated ? ", estimated without labels" : "")}</h2>""");
        if (estimated)
        {
            html.Append("""<p class="soft" style="margin:-6px 0 12px">From calibrated scores. It holds while the relation of inputs and outcomes has not changed since the reference, and scores stay in its range.</p>""");
        }

        html.Append("""<div class="card wide"><table><tr><th>Metric</th><th class="n">Reference</th><th class="n">Current</th><th class="n">Difference</th><th></th></tr>""");
        foreach (MetricReport m in report.Performance)
        {
            double? difference = m.Current - m.Reference;
            bool clear = m.Error is { } e && Math.Abs(difference ?? 0) > 3 * e;
            string said = difference is null ? Escape(m.Why ?? "") : m.Error is null ? "" : clear ? "more than three standard errors" : "within sampling error";
            html.Append(CultureInfo.InvariantCulture, $"""<tr><td>{Escape(m.Metric)}</td><td class="n">{Number(m.Reference)}</td><td class="n">{Number(m.Current)}</td><td class="n{(clear ? " major" : "")}">{(difference is null ? "" : difference.Value.ToString("+0.####;−0.####;0", CultureInfo.InvariantCulture))}</td><td class="soft">{said}</td></tr>""");
        }

        html.Append("</table></div>");
    }

    private static void Multivariate(StringBuilder html, DriftReport report)
    {
        if (report.Multivariate.Count == 0)
        {
            return;
        }

        html.Append("""<h2>All features together</h2><div class="card wide"><table><tr><th>Method</th><th>State</th><th class="n">Value</th><th class="n">Limits</th><th class="n">p</th><th class="n">Rows compared</th><th></th></tr>""");
        foreach (MultivariateReport m in report.Multivariate)
        {
            string name = m.Method switch { "pca" => "PCA reconstruction error", "domain_classifier" => "Domain classifier AUC", _ => "Maximum mean discrepancy (MMD²)" };
            string tone = m.State switch { PointState.Ok => "good", PointState.Alert => "major", _ => "soft" }, word = m.State switch { PointState.Ok => "ok", PointState.Alert => "drift", PointState.Insufficient => "too few rows", PointState.NoData => "no data", _ => "undefined" };
            string limits = m.Alpha is { } alpha ? $"p ≤ {Number(alpha)}" : m.Lower is null ? "" : $"{Number(m.Lower)} to {Number(m.Upper)}";
            html.Append(CultureInfo.InvariantCulture, $"""<tr><td>{name}</td><td class="tag {tone}">{word}</td><td class="n">{Number(m.Value)}</td><td class="n">{limits}</td><td class="n">{(m.P is null ? "" : Number(m.P))}</td><td class="n">{m.CurrentRows:N0} / {m.ReferenceRows:N0}</td><td class="soft">{Escape(m.Why ?? "")}</td></tr>""");
        }

        html.Append("</table></div>");
    }

    private static void Findings(StringBuilder html, DriftReport report)
    {
        if (report.Findings.Count == 0)
        {
            return;
        }

        html.Append("""<h2>Data quality</h2><ul class="card list">""");
        foreach (QualityFinding f in report.Findings)
        {
            html.Append(CultureInfo.InvariantCulture, $"""<li><span class="tag {(f.Fails ? "severe" : "soft")}">{Escape(f.Check.Replace('_', ' '))}</span><span>{Code(f.Text)}</span></li>""");
        }

        html.Append("</ul>");
    }

    private static void Column(StringBuilder html, ColumnReport c, double most)
    {
        string tone = c.State switch { PointState.Ok => "good", PointState.Alert => c.Level == DriftLevel.Severe ? "severe" : c.Level == DriftLevel.Warn ? "warn" : "major", _ => "soft" };
        string word = c.State switch { PointState.Ok => "ok", PointState.Alert => c.Level == DriftLevel.None ? "drift" : c.Level, PointState.Insufficient => "too few rows", PointState.NoData => "no data", _ => "undefined" };
        string role = c.Role == "feature" ? c.Kind == ColumnKind.Number ? "number" : "category" : c.Role;
        html.Append(CultureInfo.InvariantCulture, $"""<details{(c.Rank == 1 && c.Drifted ? " open" : "")}><summary><span class="name">{Escape(c.Name)}<small>{role}</small></span><span class="tag {tone}">{word}</span><span>""");
        if (c.Value is { } value)
        {
            double at = Math.Min(100, 100 * value / most), limit = Math.Min(100, 100 * (c.Limit ?? 0) / most);
            html.Append(CultureInfo.InvariantCulture, $"""<span>{Word(c.Statistic)} <b>{Number(value)}</b> <span class="soft">limit {Number(c.Limit)}</span></span><div class="meter {tone}"><i style="width:{at:0.#}%"></i><u style="left:{limit:0.#}%"></u></div>""");
        }
        else
        {
            html.Append(CultureInfo.InvariantCulture, $"""<span class="soft">{Escape(c.Why ?? "")}</span>""");
        }

        html.Append("</span><span>");
        Spark(html, c);
        html.Append("""</span></summary><div class="body"><div><div class="legend"><span><i style="background:var(--ref)"></i>reference</span><span><i style="background:var(--cur)"></i>current</span></div>""");
        if (c.Overlay is { } overlay)
        {
            Curve(html, c.Name, overlay);
        }
        else
        {
            Bars(html, c);
        }

        html.Append("</div><div>");
        Numbers(html, c);
        html.Append("</div></div></details>");
    }

    private static void Numbers(StringBuilder html, ColumnReport c)
    {
        html.Append("""<table><tr><th></th><th class="n">Reference</th><th class="n">Current</th></tr>""");
        Row("missing", Share(c.Reference.MissingRate), Share(c.Current.MissingRate));
        if (c.Kind == ColumnKind.Number)
        {
            Row("mean", Number(c.Reference.Mean), Number(c.Current.Mean));
            Row("standard deviation", Number(c.Reference.SampleDeviation), Number(c.Current.SampleDeviation));
            Row("least", Number(c.Reference.Min), Number(c.Current.Min));
            Row("largest", Number(c.Reference.Max), Number(c.Current.Max));
        }
        else
        {
            Row("unseen rows", "", $"{c.Current.UnseenRows ?? 0:N0}");
        }

        Row("distinct", Distinct(c.Reference), Distinct(c.Current));
        html.Append("""</table><table style="margin-top:14px"><tr><th>Statistic</th><th class="n">Value</th></tr>""");
        foreach ((string name, double value) in c.Statistics)
        {
            string bound = name == "ks" && c.KolmogorovSmirnovBound > 0 ? $" <span class=\"soft\">+{Number(c.KolmogorovSmirnovBound)} at most</span>" : "";
            html.Append(CultureInfo.InvariantCulture, $"""<tr><td>{Word(name)}</td><td class="n">{Number(value)}{bound}</td></tr>""");
        }

        if (c.AdjustedP is { } p && double.IsFinite(p))
        {
            html.Append(CultureInfo.InvariantCulture, $"""<tr><td>p of the index, corrected</td><td class="n">{Number(p)}</td></tr>""");
        }

        html.Append(CultureInfo.InvariantCulture, $"""<tr><td>binning</td><td class="n mono">{Escape(c.Rule)}</td></tr></table>""");

        void Row(string name, string reference, string current) => html.Append(CultureInfo.InvariantCulture, $"""<tr><td>{name}</td><td class="n">{reference}</td><td class="n">{current}</td></tr>""");

        static string Distinct(ColumnQuality q) => q.Distinct is { } d ? (q.DistinctError > 0 ? "≈ " : "") + d.ToString("N0", CultureInfo.InvariantCulture) : "";
    }

    private static void Curve(StringBuilder html, string name, Overlay overlay)
    {
        const double width = 640, height = 220, left = 8, bottom = 24, top = 8;
        double most = overlay.Reference.Concat(overlay.Current).Max(), step = (width - 2 * left) / overlay.Reference.Count;
        html.Append(CultureInfo.InvariantCulture, $"""<svg viewBox="0 0 {width} {height}" role="img" aria-label="Distributions of {Escape(name)}: reference and current"><line class="axis" x1="{left}" x2="{width - left}" y1="{height - bottom}" y2="{height - bottom}"/>""");
        Area("ra", overlay.Reference);
        Area("ca", overlay.Current);
        for (int tick = 0; tick <= 4; tick++)
        {
            double x = left + (width - 2 * left) * tick / 4, value = overlay.From + (overlay.To - overlay.From) * tick / 4;
            string anchor = tick == 0 ? "start" : tick == 4 ? "end" : "middle";
            html.Append(CultureInfo.InvariantCulture, $"""<text x="{x:0.#}" y="{height - 6}" text-anchor="{anchor}">{Number(value)}</text>""");
        }

        html.Append("</svg>");

        void Area(string css, IReadOnlyList<double> shares)
        {
            var path = new StringBuilder();
            path.Append(CultureInfo.InvariantCulture, $"M{left:0.#} {height - bottom:0.#}");
            for (int i = 0; i < shares.Count; i++)
            {
                double y = height - bottom - (most > 0 ? shares[i] / most * (height - bottom - top) : 0);
                path.Append(CultureInfo.InvariantCulture, $"L{left + i * step:0.#} {y:0.#}H{left + (i + 1) * step:0.#}");
            }

            path.Append(CultureInfo.InvariantCulture, $"V{height - bottom:0.#}Z");
            html.Append(CultureInfo.InvariantCulture, $"""<path class="{css}" stroke-width="1.5" stroke-linejoin="round" d="{path}"/>""");
        }
    }

    private static void Bars(StringBuilder html, ColumnReport c)
    {
        if (c.Bins.Count == 0)
        {
            return;
        }

        const double width = 640, label = 190, row = 26;
        double most = Math.Max(1e-9, c.Bins.Max(b => Math.Max(b.Reference, b.Current))), height = row * c.Bins.Count + 6;
        html.Append(CultureInfo.InvariantCulture, $"""<svg viewBox="0 0 {width} {height}" role="img" aria-label="Shares of {Escape(c.Name)}: reference and current">""");
        for (int i = 0; i < c.Bins.Count; i++)
        {
            ReportBin b = c.Bins[i];
            double y = i * row + 4, scale = (width - label - 120) / most;
            string text = b.Label.StartsWith("= ", StringComparison.Ordinal) ? b.Label[2..] : b.Label;
            html.Append(CultureInfo.InvariantCulture, $"""
                <text x="{label - 8}" y="{y + 14}" text-anchor="end">{Escape(text.Length > 30 ? text[..29] + "…" : text)}</text><rect class="r" x="{label}" y="{y}" width="{Math.Max(1, b.Reference * scale):0.#}" height="9" rx="2"/><rect class="c" x="{label}" y="{y + 10}" width="{Math.Max(1, b.Current * scale):0.#}" height="9" rx="2"/><text x="{label + Math.Max(b.Reference, b.Current) * scale + 6:0.#}" y="{y + 14}">{b.Reference:P1} → {b.Current:P1}</text>
                """);
        }

        html.Append("</svg>");
    }

    private static void Spark(StringBuilder html, ColumnReport c)
    {
        IReadOnlyList<double> before = c.Overlay?.Reference ?? c.Bins.Take(14).Select(b => b.Reference).ToArray(), after = c.Overlay?.Current ?? c.Bins.Take(14).Select(b => b.Current).ToArray();
        if (before.Count == 0)
        {
            return;
        }

        const double width = 150, height = 34;
        double most = Math.Max(1e-9, before.Concat(after).Max()), step = width / before.Count;
        html.Append(CultureInfo.InvariantCulture, $"""<svg viewBox="0 0 {width} {height}" aria-hidden="true">""");
        for (int i = 0; i < before.Count; i++)
        {
            double r = before[i] / most * height, a = after[i] / most * height;
            html.Append(CultureInfo.InvariantCulture, $"""<rect class="r" fill-opacity=".55" x="{i * step:0.##}" y="{height - r:0.##}" width="{step * (c.Overlay is null ? .42 : 1):0.##}" height="{r:0.##}"/><rect class="c" fill-opacity="{(c.Overlay is null ? "1" : ".55")}" x="{i * step + (c.Overlay is null ? step * .46 : 0):0.##}" y="{height - a:0.##}" width="{step * (c.Overlay is null ? .42 : 1):0.##}" height="{a:0.##}"/>""");
        }

        html.Append("</svg>");
    }

    private static string Word(string statistic) => statistic switch
    {
        "psi" => "PSI",
        "js" => "Jensen-Shannon",
        "hellinger" => "Hellinger",
        "tvd" => "total variation",
        "l_infinity" => "L-infinity",
        "kl" => "Kullback-Leibler",
        "ks" => "Kolmogorov-Smirnov D",
        "ks_p" => "its p",
        "wasserstein" => "Wasserstein",
        "wasserstein_normed" => "Wasserstein / deviation",
        "chi2" => "chi-square",
        "chi2_p" => "its p",
        "cramers_v" => "Cramér's V",
        _ => Escape(statistic),
    };

    private static string Number(double? value) => value is not { } v || double.IsNaN(v) ? "–"
        : v == 0 ? "0"
        : Math.Abs(v) is >= 1e6 or < 1e-3 ? v.ToString("0.##e0", CultureInfo.InvariantCulture)
        : Math.Abs(v) >= 1000 ? v.ToString("N0", CultureInfo.InvariantCulture)
        : v.ToString("G4", CultureInfo.InvariantCulture);

    private static string Share(double? value) => value is { } v ? v.ToString("P1", CultureInfo.InvariantCulture) : "–";

    private static string Escape(string text) => WebUtility.HtmlEncode(text);

    /// <summary>Text in which `words` in backquotes become code.</summary>
    private static string Code(string text)
    {
        string[] parts = Escape(text).Split('`');
        return string.Concat(parts.Select((p, i) => i % 2 == 1 ? $"<span class=\"mono\">{p}</span>" : p));
    }
}
