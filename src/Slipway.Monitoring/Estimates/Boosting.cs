namespace Slipway.Monitoring;

/// <summary>
/// Gradient boosting of small regression trees over binned features (Friedman 2001; histogram splits as in LightGBM): squared loss, or the logistic
/// loss for 0/1 targets. Leaves grow best first. It uses no random numbers, so the same rows give the same model. A missing value goes to the side
/// where it lowers the loss more.
/// </summary>
public sealed class Boosting
{
    private const int MostBins = 255;
    private const int Leaves = 31;
    private const int LeastRows = 20;
    private const double Rate = 0.1;
    private readonly double[][] edges;
    private readonly List<Node[]> trees = [];
    private readonly double start;

    private Boosting(double[][] edges, double start) => (this.edges, this.start) = (edges, start);

    /// <summary>A model of a number.</summary>
    /// <param name="features">One array a feature; NaN is missing.</param>
    /// <param name="targets">Finite numbers.</param>
    /// <param name="rounds">Trees.</param>
    public static Boosting Regression(IReadOnlyList<double[]> features, double[] targets, int rounds = 100) => Fit(features, targets, rounds, logistic: false);

    /// <summary>A model of the log-odds of a 0/1 target.</summary>
    /// <param name="features">One array a feature; NaN is missing.</param>
    /// <param name="targets">0 or 1 each.</param>
    /// <param name="rounds">Trees.</param>
    public static Boosting Classification(IReadOnlyList<double[]> features, double[] targets, int rounds = 100) => Fit(features, targets, rounds, logistic: true);

    /// <summary>The model in the form that is stored.</summary>
    internal BoostedTrees Trees => new(start, trees.Select(t => new BoostedTree(
        t.Select(n => n.Feature).ToArray(), t.Select(n => n.Feature < 0 ? n.Value : n.Cut).ToArray(), t.Select(n => n.Left).ToArray(), t.Select(n => n.MissingLeft ? 1 : 0).ToArray())).ToArray());

    /// <summary>The number, or the log-odds, of one row.</summary>
    public double Predict(ReadOnlySpan<double> row)
    {
        double sum = start;
        foreach (Node[] tree in trees)
        {
            int at = 0;
            while (tree[at].Feature >= 0)
            {
                double v = row[tree[at].Feature];
                bool left = double.IsNaN(v) ? tree[at].MissingLeft : v <= tree[at].Cut;
                at = left ? tree[at].Left : tree[at].Right;
            }

            sum += tree[at].Value;
        }

        return sum;
    }

    private static Boosting Fit(IReadOnlyList<double[]> features, double[] targets, int rounds, bool logistic)
    {
        int n = targets.Length;
        double[][] edges = features.Select(Edges).ToArray();
        byte[][] bins = features.Select((f, j) => f.Select(v => BinOf(edges[j], v)).ToArray()).ToArray();
        double mean = targets.Average();
        var model = new Boosting(edges, logistic ? Math.Log(Math.Max(mean, 1e-6) / Math.Max(1 - mean, 1e-6)) : mean);
        double[] score = Enumerable.Repeat(model.start, n).ToArray(), gradient = new double[n], weight = new double[n];
        int[] rows = Enumerable.Range(0, n).ToArray();
        for (int round = 0; round < rounds; round++)
        {
            for (int i = 0; i < n; i++)
            {
                if (logistic)
                {
                    double p = 1 / (1 + Math.Exp(-score[i]));
                    gradient[i] = targets[i] - p;
                    weight[i] = Math.Max(p * (1 - p), 1e-12);
                }
                else
                {
                    gradient[i] = targets[i] - score[i];
                    weight[i] = 1;
                }
            }

            if (!model.Grow(bins, gradient, weight, rows, score))
            {
                break;
            }
        }

        return model;
    }

    private static double[] Edges(double[] feature)
    {
        double[] sorted = TwoSample.Sorted(feature);
        if (sorted.Length == 0)
        {
            return [];
        }

        // A bin a value while they are few, otherwise quantiles; cuts lie half-way between neighbours.
        double[] distinct = sorted.Distinct().ToArray();
        var cuts = new List<double>();
        int parts = Math.Min(distinct.Length, MostBins - 1);
        for (int k = 1; k < parts; k++)
        {
            int at = distinct.Length <= MostBins - 1 ? k : Math.Max(1, Array.BinarySearch(distinct, sorted[(int)((long)k * sorted.Length / parts)]));
            double cut = distinct[at - 1] + (distinct[at] - distinct[at - 1]) / 2;
            if (cuts.Count == 0 || cut > cuts[^1])
            {
                cuts.Add(cut);
            }
        }

        return [.. cuts];
    }

    /// <summary>0 for missing, then 1 + the number of cuts below the value.</summary>
    private static byte BinOf(double[] cuts, double v)
    {
        if (double.IsNaN(v))
        {
            return 0;
        }

        int at = Array.BinarySearch(cuts, v);
        return (byte)(1 + (at < 0 ? ~at : at));
    }

    private bool Grow(byte[][] bins, double[] gradient, double[] weight, int[] rows, double[] score)
    {
        var nodes = new List<Node> { default };
        var open = new List<Leaf> { Measure(bins, gradient, weight, rows, 0) };
        for (int leaves = 1; leaves < Leaves; leaves++)
        {
            Leaf? best = open.Where(l => l.Gain > 1e-9).MaxBy(l => l.Gain);
            if (best is null)
            {
                break;
            }

            open.Remove(best);
            byte[] column = bins[best.Feature];
            int[] left = best.Rows.Where(Goes).ToArray(), right = best.Rows.Where(i => !Goes(i)).ToArray();
            int at = nodes.Count;
            nodes.Add(default);
            nodes.Add(default);
            nodes[best.Node] = new Node(best.Feature, edges[best.Feature].Length == 0 ? double.PositiveInfinity : edges[best.Feature][Math.Min(best.Bin - 1, edges[best.Feature].Length - 1)], best.MissingLeft, at, at + 1, 0);
            open.Add(Measure(bins, gradient, weight, left, at));
            open.Add(Measure(bins, gradient, weight, right, at + 1));

            bool Goes(int i) => column[i] == 0 ? best.MissingLeft : column[i] <= best.Bin;
        }

        if (nodes.Count == 1)
        {
            return false;
        }

        foreach (Leaf leaf in open)
        {
            double value = Rate * leaf.Gradient / leaf.Weight;
            nodes[leaf.Node] = new Node(-1, 0, MissingLeft: false, 0, 0, value);
            foreach (int i in leaf.Rows)
            {
                score[i] += value;
            }
        }

        trees.Add([.. nodes]);
        return true;
    }

    /// <summary>The best split of a node's rows: the largest gain g_l^2 / h_l + g_r^2 / h_r - g^2 / h.</summary>
    private Leaf Measure(byte[][] bins, double[] gradient, double[] weight, int[] rows, int node)
    {
        double g = 0, h = 0;
        foreach (int i in rows)
        {
            g += gradient[i];
            h += weight[i];
        }

        var leaf = new Leaf(node, rows, g, h);
        if (rows.Length < 2 * LeastRows)
        {
            return leaf;
        }

        Span<double> sums = stackalloc double[MostBins + 1], weights = stackalloc double[MostBins + 1];
        Span<int> counts = stackalloc int[MostBins + 1];
        for (int f = 0; f < bins.Length; f++)
        {
            sums.Clear();
            weights.Clear();
            counts.Clear();
            byte[] column = bins[f];
            foreach (int i in rows)
            {
                int bin = column[i];
                sums[bin] += gradient[i];
                weights[bin] += weight[i];
                counts[bin]++;
            }

            for (int side = 0; side < (counts[0] > 0 ? 2 : 1); side++)
            {
                bool missingLeft = side == 1;
                double gl = missingLeft ? sums[0] : 0, hl = missingLeft ? weights[0] : 0;
                int nl = missingLeft ? counts[0] : 0;
                for (int bin = 1; bin <= edges[f].Length; bin++)
                {
                    gl += sums[bin];
                    hl += weights[bin];
                    nl += counts[bin];
                    if (nl >= LeastRows && rows.Length - nl >= LeastRows && hl > 1e-3 && h - hl > 1e-3)
                    {
                        double gain = gl * gl / hl + (g - gl) * (g - gl) / (h - hl) - g * g / h;
                        if (gain > leaf.Gain)
                        {
                            (leaf.Gain, leaf.Feature, leaf.Bin, leaf.MissingLeft) = (gain, f, bin, missingLeft);
                        }
                    }
                }
            }
        }

        return leaf;
    }

    [System.Runtime.InteropServices.StructLayout(System.Runtime.InteropServices.LayoutKind.Auto)]
    private readonly record struct Node(int Feature, double Cut, bool MissingLeft, int Left, int Right, double Value);

    private sealed class Leaf(int node, int[] rows, double gradient, double weight)
    {
        public int Node { get; } = node;

        public int[] Rows { get; } = rows;

        public double Gradient { get; } = gradient;

        public double Weight { get; } = weight;

        public double Gain { get; set; }

        public int Feature { get; set; } = -1;

        public int Bin { get; set; }

        public bool MissingLeft { get; set; }
    }
}

/// <summary>A fitted <see cref="Boosting"/> as it is stored and applied.</summary>
/// <param name="Start">The number before any tree.</param>
/// <param name="Trees">What each tree adds.</param>
internal sealed record BoostedTrees(double Start, IReadOnlyList<BoostedTree> Trees)
{
    /// <summary>The number of one row.</summary>
    public double Predict(ReadOnlySpan<double> row)
    {
        double sum = Start;
        foreach (BoostedTree tree in Trees)
        {
            int at = 0;
            while (tree.Feature[at] is >= 0 and var feature)
            {
                double v = row[feature];
                at = tree.Left[at] + ((double.IsNaN(v) ? tree.MissingLeft[at] == 1 : v <= tree.Value[at]) ? 0 : 1);
            }

            sum += tree.Value[at];
        }

        return sum;
    }
}

/// <summary>One tree: node 0 is its root.</summary>
/// <param name="Feature">The feature that a node asks for; -1 is a leaf.</param>
/// <param name="Value">Rows up to this value go left; at a leaf what it adds.</param>
/// <param name="Left">The node to the left; the one to the right follows it.</param>
/// <param name="MissingLeft">1 where a missing value goes left.</param>
internal sealed record BoostedTree(int[] Feature, double[] Value, int[] Left, int[] MissingLeft);
