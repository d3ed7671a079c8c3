using Slipway.Foundation;

namespace Slipway.Monitoring;

/// <summary>
/// Compares two tables without a server. Up to 100,000 rows a side every statistic is computed from the values; above, and for a CSV file that is too
/// large for both sides to be held, columns are compared in the reference's bins, with the bound that this costs.
/// </summary>
public static class Comparison
{
    /// <summary>Cells up to which a current CSV file is held in memory.</summary>
    internal const long MostCells = 8_000_000;

    private const int OverlaySteps = 40;
    private const int CategoriesShown = 20;

    /// <summary>Compares two tables.</summary>
    /// <exception cref="SlipwayException">InvalidArgument with every problem of the options.</exception>
    public static DriftReport Of(Table reference, Table current, ReportOptions? options = null)
    {
        ReportOptions asked = Checked(options, reference);
        // A column's two sides follow each other: nobody waits in between until every reference is ready.
        (ColumnProfile Before, ColumnProfile? After)[] both = Each(Watched(reference, asked), column =>
        {
            var before = ColumnProfile.OfReference(column);
            return (before, current.Find(column.Name) is { } other && other.Kind == column.Kind ? ColumnProfile.OfCurrent(other, before) : null);
        });
        ColumnProfile[] before = [.. both.Select(b => b.Before)], after = [.. both.Select(b => b.After).OfType<ColumnProfile>()];
        return Report(asked, reference.Name, reference.Rows, before, current.Name, current.Rows, after, current.Columns.Select(c => (c.Name, c.Kind)).ToArray(), Performance(asked, reference, current)) with
        {
            Multivariate = Multivariate(asked, reference, current),
        };
    }

    /// <summary>Compares two files: Parquet by their ending, everything else as CSV.</summary>
    /// <exception cref="SlipwayException">NotFound or InvalidArgument when a file cannot be read, or the options do not fit.</exception>
    public static DriftReport OfFiles(string reference, string current, ReportOptions? options = null)
    {
        TableFile.Demand(current);
        Table before = TableFile.Read(reference);
        long rows = before.Rows;
        if (TableFile.IsParquet(current) || rows * before.Columns.Count <= MostCells || options?.Target is not null || options?.Prediction is not null || options?.Score is not null || options?.Multivariate.Count > 0)
        {
            return Of(before, TableFile.Read(current, before), options);
        }

        ReportOptions asked = Checked(options, before);
        // The sorted values are dropped: nothing that streams by can be compared with them.
        ColumnProfile[] profiles = Each(Watched(before, asked), c => ColumnProfile.OfReference(c).WithoutValues());
        string name = before.Name;
        Dictionary<string, ColumnKind> kinds = before.Columns.ToDictionary(c => c.Name, c => c.Kind, StringComparer.Ordinal);
        before = null!;
        var stream = new StreamedTable(CsvReader.Open(current, kinds), profiles);
        (long read, ColumnProfile[] after, (string, ColumnKind)[] columns) = stream.Read();
        return Report(asked, name, rows, profiles, Path.GetFileName(current), read, after, columns, (null, []));
    }

    private static ReportOptions Checked(ReportOptions? options, Table reference)
    {
        ReportOptions asked = options ?? new ReportOptions();
        var problems = asked.Problems().ToList();
        foreach (string? column in new[] { asked.Target, asked.Prediction, asked.Score }.Concat(asked.Columns ?? []))
        {
            if (column is not null && reference.Find(column) is null)
            {
                problems.Add($"the reference has no column `{column}`");
            }
        }

        if (reference.Rows == 0)
        {
            problems.Add("the reference has no rows");
        }

        return problems.Count == 0 ? asked : throw SlipwayException.Invalid("the tables cannot be compared", string.Join("; ", problems), "correct the options");
    }

    private static TableColumn[] Watched(Table table, ReportOptions asked) =>
        table.Columns.Where(c => asked.Columns is null || asked.Columns.Contains(c.Name, StringComparer.Ordinal) || Role(c.Name, asked) != "feature").ToArray();

    private static string Role(string column, ReportOptions asked) =>
        column == asked.Target ? "target" : column == asked.Prediction ? "prediction" : column == asked.Score ? "score" : "feature";

    /// <summary>Two columns at a time; each side takes the next one when it is done, so that both end together.</summary>
    private static TTo[] Each<TFrom, TTo>(IReadOnlyList<TFrom> items, Func<TFrom, TTo> of)
    {
        var results = new TTo[items.Count];
        int next = -1;
        Parallel.For(0, Math.Min(2, items.Count), new ParallelOptions { MaxDegreeOfParallelism = 2 }, _ =>
        {
            for (int i; (i = Interlocked.Increment(ref next)) < items.Count;)
            {
                results[i] = of(items[i]);
            }
        });
        return results;
    }

    private static DriftReport Report(
        ReportOptions asked, string referenceName, long referenceRows, ColumnProfile[] before, string currentName, long currentRows, ColumnProfile[] after, IReadOnlyList<(string Name, ColumnKind Kind)> currentColumns,
        (string? Type, IReadOnlyList<MetricReport> Metrics) performance)
    {
        Dictionary<string, ColumnProfile> now = after.ToDictionary(p => p.Name, StringComparer.Ordinal);
        (ColumnProfile Before, ColumnProfile After)[] pairs = before.Where(p => now.ContainsKey(p.Name)).Select(p => (p, now[p.Name])).ToArray();
        (ComparedBins Bins, string[] Labels, string Rule)[] bins = pairs.Select(p => Bin(p.Before, p.After)).ToArray();
        Thresholds thresholds = new() { DiscoveryRate = asked.Rate, SingleAlpha = Math.Min(asked.Rate, new Thresholds().SingleAlpha) };
        if (asked is { Statistic: null or "psi", Threshold: { } material })
        {
            thresholds = thresholds with { Warn = material, Major = Math.Max(material, thresholds.Major), Severe = Math.Max(material, thresholds.Severe) };
        }

        IReadOnlyList<DriftVerdict> verdicts = Drift.Decide(bins.Select(b => b.Bins).ToArray(), thresholds, Correction(asked.Correction));
        ColumnReport[] columns = Each(Enumerable.Range(0, pairs.Length).ToArray(), i => Column(pairs[i].Before, pairs[i].After, bins[i], verdicts[i], asked));
        columns = columns.OrderByDescending(c => DriftLevel.Rank(c.Level)).ThenByDescending(c => c.Drifted).ThenByDescending(c => c.Material ?? c.Value ?? double.NegativeInfinity).ThenBy(c => c.Name, StringComparer.Ordinal).Select((c, i) => c with { Rank = i + 1 }).ToArray();
        return new DriftReport
        {
            Reference = referenceName,
            ReferenceRows = referenceRows,
            Current = currentName,
            CurrentRows = currentRows,
            Options = asked,
            Columns = columns,
            Findings = Findings(before, currentColumns, columns, currentRows, asked),
            ModelType = performance.Type,
            Performance = performance.Metrics,
        };
    }

    private static Func<IReadOnlyList<double>, double[]> Correction(string name) => name switch
    {
        "bh" => MultipleTesting.BenjaminiHochberg,
        "holm" => MultipleTesting.Holm,
        "bonferroni" => MultipleTesting.Bonferroni,
        "none" => p => p.ToArray(),
        _ => MultipleTesting.BenjaminiYekutieli,
    };

    /// <summary>Both sides in the bins that decide: the reference's own, or its most frequent categories and `other`.</summary>
    private static (ComparedBins Bins, string[] Labels, string Rule) Bin(ColumnProfile before, ColumnProfile after)
    {
        ColumnQuality r = before.Quality, c = after.Quality;
        if (before.Categories is not { } known)
        {
            return (new ComparedBins(before.Counts, r.Finite, r.Rows, after.Counts, c.Finite, c.Rows), Enumerable.Range(0, before.Bins.Count).Select(before.Bins.Label).ToArray(), before.Bins.Rule);
        }

        string[] kept = known.OrderByDescending(k => k.Value).ThenBy(k => k.Key, StringComparer.Ordinal).Take(Bins.MostCategories).Select(k => k.Key).ToArray();
        return (new ComparedBins(Of(known), r.Finite, r.Rows, Of(after.Categories!), c.Finite, c.Rows), [.. kept, "other"], Bins.CategoriesRule);

        long[] Of(Dictionary<string, long> counts)
        {
            long[] binned = new long[kept.Length + 1];
            for (int i = 0; i < kept.Length; i++)
            {
                binned[i] = counts.GetValueOrDefault(kept[i]);
            }

            binned[^1] = counts.Values.Sum() - binned.Sum();
            return binned;
        }
    }

    private static ColumnReport Column(ColumnProfile before, ColumnProfile after, (ComparedBins Bins, string[] Labels, string Rule) binned, DriftVerdict verdict, ReportOptions asked)
    {
        (Dictionary<string, double> statistics, double bound) = Statistics(before, after, binned.Bins);
        var report = new ColumnReport
        {
            Name = before.Name,
            Role = Role(before.Name, asked),
            Kind = before.Kind,
            State = verdict.State,
            Level = verdict.Level,
            Statistic = "psi",
            Value = verdict.Psi,
            Limit = verdict.Limit,
            P = verdict.P,
            AdjustedP = verdict.AdjustedP,
            Material = verdict.Material,
            Why = verdict.Why,
            Rule = binned.Rule,
            Statistics = statistics,
            KolmogorovSmirnovBound = bound,
            Reference = before.Quality,
            Current = after.Quality,
            Bins = Shown(binned),
            Overlay = Overlaid(before, after),
        };
        if (asked.Statistic is null or "psi" || verdict.Psi is null)
        {
            return report;
        }

        // One statistic against one limit, as dashboards of other tools do; the index's p-value stays for reading.
        bool has = statistics.TryGetValue(asked.Statistic == "wasserstein" ? "wasserstein_normed" : asked.Statistic, out double value);
        double limit = asked.Threshold ?? 0.1;
        return report with
        {
            Statistic = asked.Statistic,
            Value = has ? value : null,
            Limit = limit,
            State = !has ? PointState.Undefined : value >= limit ? PointState.Alert : PointState.Ok,
            Level = has && value >= limit ? DriftLevel.Major : DriftLevel.None,
            Why = has ? null : $"{asked.Statistic} is not defined for this column",
        };
    }

    private static (Dictionary<string, double> Statistics, double Bound) Statistics(ColumnProfile before, ColumnProfile after, ComparedBins bins)
    {
        var found = new Dictionary<string, double>(StringComparer.Ordinal);
        double bound = 0;
        if (bins.ReferenceFinite == 0 || bins.WindowFinite == 0)
        {
            return (found, 0);
        }

        long[] p = bins.Reference, q = bins.Window;
        found["psi"] = Distances.Psi(p, q);
        found["js"] = Distances.JensenShannon(p, q);
        found["hellinger"] = Distances.Hellinger(p, q);
        found["tvd"] = Distances.TotalVariation(p, q);
        found["l_infinity"] = Distances.LInfinity(p, q);
        found["kl"] = Distances.KullbackLeibler(p, q);
        if (before.Kind == ColumnKind.Category)
        {
            StatisticalTest chi2 = Contingency.ChiSquare(p, q);
            Add("chi2", chi2.Statistic);
            Add("chi2_p", chi2.P);
            Add("cramers_v", Contingency.CramersV(p, q));
        }
        else if (before.Sorted is { Length: > 0 } x && after.Sorted is { Length: > 0 } y)
        {
            StatisticalTest ks = TwoSample.KolmogorovSmirnov(x, y);
            Add("ks", ks.Statistic);
            Add("ks_p", ks.P);
            Add("wasserstein", TwoSample.Wasserstein(x, y));
            Add("wasserstein_normed", found["wasserstein"] / Math.Max(before.Quality.Deviation!.Value, 0.001));
        }
        else if (before.FineCounts is { } fine && after.FineCounts is { } window)
        {
            found["ks"] = Distances.KolmogorovSmirnov(fine, window);
            bound = Distances.KolmogorovSmirnovBound(fine, window);
        }
        else
        {
            found["ks"] = Distances.KolmogorovSmirnov(p, q);
            bound = before.Bins.Rule == Bins.ValuesRule ? (double)q[^1] / bins.WindowFinite : Distances.KolmogorovSmirnovBound(p, q);
        }

        return (found, bound);

        void Add(string name, double? value)
        {
            if (value is { } v && double.IsFinite(v))
            {
                found[name] = v;
            }
        }
    }

    private static ReportBin[] Shown((ComparedBins Bins, string[] Labels, string Rule) binned)
    {
        double nr = Math.Max(1, binned.Bins.ReferenceFinite), nc = Math.Max(1, binned.Bins.WindowFinite);
        ReportBin[] all = binned.Labels.Select((label, i) => new ReportBin(label, binned.Bins.Reference[i] / nr, binned.Bins.Window[i] / nc)).ToArray();
        if (binned.Rule != Bins.CategoriesRule || all.Length <= CategoriesShown)
        {
            return all.Where((b, i) => i < all.Length - 1 || b.Reference > 0 || b.Current > 0 || binned.Rule == Bins.QuantileRule).ToArray();
        }

        return [.. all[..CategoriesShown], new ReportBin("other", all[CategoriesShown..].Sum(b => b.Reference), all[CategoriesShown..].Sum(b => b.Current))];
    }

    private static Overlay? Overlaid(ColumnProfile before, ColumnProfile after)
    {
        if (before.Fine is not { } fine || after.Quality.Min is null)
        {
            return null;
        }

        // The bulk of the reference, widened to where the current table's bulk lies; far tails would flatten everything.
        double low = fine.Edges[0], high = fine.Edges[^1], width = high - low;
        low = Math.Max(Math.Min(before.Quality.Min!.Value, after.Quality.Min.Value), low - width / 4);
        high = Math.Min(Math.Max(before.Quality.Max!.Value, after.Quality.Max!.Value), high + width / 4);
        if (!(high > low))
        {
            return null;
        }

        return new Overlay(low, high, Of(before), Of(after));

        double[] Of(ColumnProfile profile)
        {
            double[] shares = new double[OverlaySteps];
            double below = profile.Cdf(Math.BitDecrement(low));
            for (int i = 0; i < OverlaySteps; i++)
            {
                double at = profile.Cdf(i == OverlaySteps - 1 ? high : low + (high - low) * (i + 1) / OverlaySteps);
                shares[i] = Math.Max(0, at - below);
                below = at;
            }

            return shares;
        }
    }

    private static QualityFinding[] Findings(ColumnProfile[] before, IReadOnlyList<(string Name, ColumnKind Kind)> current, ColumnReport[] columns, long rows, ReportOptions asked)
    {
        var found = new List<QualityFinding>();
        if (rows == 0)
        {
            found.Add(new QualityFinding(null, "rows", "The current table has no rows.", Fails: true));
        }

        Dictionary<string, ColumnKind> now = current.ToDictionary(c => c.Name, c => c.Kind, StringComparer.Ordinal);
        foreach (ColumnProfile lost in before.Where(b => !now.ContainsKey(b.Name)))
        {
            // Labels come later: a target that is not there yet is no fault.
            found.Add(new QualityFinding(lost.Name, "lost_column", $"`{lost.Name}` is not in the current table.", Fails: lost.Name != asked.Target));
        }

        foreach (ColumnProfile changed in before.Where(b => now.TryGetValue(b.Name, out ColumnKind kind) && kind != b.Kind))
        {
            found.Add(new QualityFinding(changed.Name, "type_change", $"`{changed.Name}` was a {Word(changed.Kind)} and is a {Word(now[changed.Name])}.", Fails: true));
        }

        HashSet<string> known = before.Select(b => b.Name).ToHashSet(StringComparer.Ordinal);
        if (asked.Columns is null)
        {
            found.AddRange(current.Where(c => !known.Contains(c.Name)).Select(c => new QualityFinding(c.Name, "new_column", $"`{c.Name}` is new.", Fails: false)));
        }

        string[] order = before.Select(b => b.Name).Where(now.ContainsKey).ToArray(), nowOrder = current.Select(c => c.Name).Where(known.Contains).ToArray();
        if (!order.SequenceEqual(nowOrder, StringComparer.Ordinal))
        {
            found.Add(new QualityFinding(null, "order", "The columns stand in another order.", Fails: false));
        }

        foreach (ColumnReport c in columns)
        {
            found.AddRange(Of(c));
        }

        return found.OrderByDescending(f => f.Fails).ToArray();

        static string Word(ColumnKind kind) => kind == ColumnKind.Number ? "number" : "text";
    }

    private static IEnumerable<QualityFinding> Of(ColumnReport c)
    {
        ColumnQuality r = c.Reference, n = c.Current;
        if (r.MissingRate is { } before && n.MissingRate is { } now && n.Rows >= Drift.LeastRows)
        {
            double pooled = (double)(r.Missing + n.Missing) / (r.Rows + n.Rows), band = Math.Max(3 * Math.Sqrt(pooled * (1 - pooled) * (1.0 / r.Rows + 1.0 / n.Rows)), new Thresholds().MissingChange);
            if (Math.Abs(now - before) > band)
            {
                yield return new QualityFinding(c.Name, "missing_rate", $"`{c.Name}` is missing in {now:P2} of the rows, {before:P2} in the reference.", Fails: true);
            }
        }

        if (n.UnseenRows is > 0 and { } unseen)
        {
            double share = (double)unseen / Math.Max(1, n.Finite);
            yield return new QualityFinding(c.Name, "unseen", $"{Rows(unseen)} of `{c.Name}` ({share:P2}) {(n.UnseenValues is { } values ? $"with {values} {(values == 1 ? "value" : "values")}" : "with values")} that the reference does not have.", Fails: share > 0.01);
        }

        if (n.OutOfRange is > 0 and { } outside)
        {
            yield return new QualityFinding(c.Name, "out_of_range", $"{Rows(outside)} of `{c.Name}` outside [{r.Min:G6}, {r.Max:G6}].", Fails: false);
        }

        if (n.Violations > 0)
        {
            yield return new QualityFinding(c.Name, "violations", $"{Rows(n.Violations)} of `{c.Name}` without a number in them.", Fails: true);
        }

        if (n.Infinite > 0)
        {
            yield return new QualityFinding(c.Name, "infinite", $"{Rows(n.Infinite)} of `{c.Name}` with an infinite value, {r.Infinite} in the reference.", Fails: r.Infinite == 0);
        }

        if (n.MostFrequentShare >= ColumnQuality.AlmostConstantFrom && !(r.MostFrequentShare >= ColumnQuality.AlmostConstantFrom))
        {
            yield return new QualityFinding(c.Name, "constant", $"`{c.Name}` has one value in {n.MostFrequentShare:P1} of the rows, {(r.MostFrequentShare is { } usual ? usual.ToString("P1", System.Globalization.CultureInfo.InvariantCulture) : "under half")} in the reference.", Fails: n.Distinct == 1);
        }

        static string Rows(long rows) => rows == 1 ? "1 row" : $"{rows:N0} rows";
    }

    private static IReadOnlyList<MultivariateReport> Multivariate(ReportOptions asked, Table reference, Table current)
    {
        if (asked.Multivariate.Count == 0)
        {
            return [];
        }

        (TableColumn Before, TableColumn After)[] features = [.. Watched(reference, asked).Where(c => Role(c.Name, asked) == "feature").Select(c => (c, After: current.Find(c.Name))).Where(p => p.After?.Kind == p.c.Kind).Select(p => (p.c, p.After!))];
        return MultivariateDrift.Of([.. features.Select(f => f.Before)], [.. features.Select(f => f.After)], asked.Multivariate, Math.Min(asked.Rate, new Thresholds().SingleAlpha));
    }

    private static (string? Type, IReadOnlyList<MetricReport> Metrics) Performance(ReportOptions asked, Table reference, Table current) =>
        asked.Target is null || (asked.Prediction is null && asked.Score is null) ? (null, []) : PerformanceReport.Of(asked, reference, current);
}
