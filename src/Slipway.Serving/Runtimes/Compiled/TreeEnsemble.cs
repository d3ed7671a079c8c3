using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Slipway.Serving.Runtimes.Compiled;

/// <summary>
/// Sums the leaves that a row reaches in each tree. Siblings lie side by side and a leaf leads to itself, so that a level is one comparison without
/// a branch, and four trees go down together: their memory is waited for at the same time.
/// </summary>
/// <remarks>Sums are kept in single precision and in the order of the trees, as ONNX Runtime does on one thread. Numbers must be finite.</remarks>
internal sealed class TreeEnsemble : RowStep
{
    private readonly Node[] nodes;
    private readonly Tree[] trees;
    private readonly int[] leafOf;
    private readonly Leaf[] leaves;
    private readonly float[] start;

    private TreeEnsemble(Value x, Value y, Node[] nodes, Tree[] trees, int[] leafOf, Leaf[] leaves, float[] start)
        : base(x, y) => (this.nodes, this.trees, this.leafOf, this.leaves, this.start) = (nodes, trees, leafOf, leaves, start);

    /// <summary>Where rows part: values at and beside these of a feature tell whether the trees are read rightly.</summary>
    public IEnumerable<(int Feature, float Threshold)> Splits => nodes.Where((node, i) => node.Left != i).Select(node => (node.Feature, node.Threshold));

    /// <summary>
    /// Reads a TreeEnsembleClassifier or TreeEnsembleRegressor of ai.onnx.ml 1 to 3, whose leaf weights have the prefix <c>class</c> or <c>target</c>;
    /// <paramref name="start"/> is added to the sums.
    /// </summary>
    /// <exception cref="NotSupportedException">It has other comparisons, double thresholds, or its lists do not fit together.</exception>
    public static TreeEnsemble Read(OnnxNode node, string prefix, Value x, Value y, float[] start)
    {
        var (treeIds, nodeIds) = (node.Integers("nodes_treeids"), node.Integers("nodes_nodeids"));
        var (features, modes, values) = (node.Integers("nodes_featureids"), node.Texts("nodes_modes"), node.Floats("nodes_values"));
        var (yes, no) = (node.Integers("nodes_truenodeids"), node.Integers("nodes_falsenodeids"));
        var count = treeIds.Length;
        if (count == 0 || new[] { nodeIds.Length, features.Length, modes.Length, values.Length, yes.Length, no.Length }.Any(length => length != count))
        {
            throw new NotSupportedException("its trees are not written as single-precision lists of one length");
        }

        var at = new Dictionary<(long Tree, long Node), int>(count);
        for (var i = 0; i < count; i++)
        {
            at[(treeIds[i], nodeIds[i])] = i;
        }

        var (leafTrees, leafNodes, ids, weights) =
            (node.Integers($"{prefix}_treeids"), node.Integers($"{prefix}_nodeids"), node.Integers($"{prefix}_ids"), node.Floats($"{prefix}_weights"));
        if (leafNodes.Length != leafTrees.Length || ids.Length != leafTrees.Length || weights.Length != leafTrees.Length || ids.Any(id => id < 0 || id >= y.Width))
        {
            throw new NotSupportedException("its leaf weights are not written as single-precision lists of one length");
        }

        var ofLeaf = Enumerable.Range(0, ids.Length).ToLookup(i => (leafTrees[i], leafNodes[i]), i => ((int)ids[i], weights[i]));
        var builder = new Builder();
        for (var i = 0; i < count; i++)
        {
            // A tree's first node is its root.
            if (i == 0 || treeIds[i] != treeIds[i - 1])
            {
                Place(i, builder.Begin(), 0);
            }
        }

        return builder.Build(x, y, start);

        void Place(int i, int to, int depth)
        {
            if (depth > 1000 || builder.Nodes.Count > 2 * count)
            {
                throw new NotSupportedException("its trees do not end");
            }

            if (modes[i] == "LEAF")
            {
                builder.SetLeaf(to, depth, ofLeaf[(treeIds[i], nodeIds[i])]);
                return;
            }

            if (modes[i] is not ("BRANCH_LEQ" or "BRANCH_LT") || features[i] < 0 || features[i] >= x.Width || !float.IsFinite(values[i])
                || !at.TryGetValue((treeIds[i], yes[i]), out var whenTrue) || !at.TryGetValue((treeIds[i], no[i]), out var whenFalse))
            {
                throw new NotSupportedException($"its trees have a node of kind {modes[i]} that is not read");
            }

            var left = builder.Add(2);
            // x < t is x <= the float before t.
            builder.Nodes[to] = new(modes[i] == "BRANCH_LT" ? float.BitDecrement(values[i]) : values[i], (int)features[i], left);
            Place(whenTrue, left, depth + 1);
            Place(whenFalse, left + 1, depth + 1);
        }
    }

    protected override void Run(ReadOnlySpan<float> from, Span<float> to)
    {
        to.Clear();
        Sum(ref MemoryMarshal.GetReference(from), to);
        for (var i = 0; i < to.Length; i++)
        {
            to[i] += start[i];
        }
    }

    // Optimized at once: which way is faster is measured when the model is loaded, before the compiler of this process would come to it.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Sum(ref float features, Span<float> sums)
    {
        ref var all = ref MemoryMarshal.GetArrayDataReference(nodes);
        var t = 0;
        for (; t + 4 <= trees.Length; t += 4)
        {
            ref var four = ref trees[t];
            var (a, b, c, d) = (four.Root, Unsafe.Add(ref four, 1).Root, Unsafe.Add(ref four, 2).Root, Unsafe.Add(ref four, 3).Root);
            for (var level = four.DepthOfFour; level > 0; level--)
            {
                a = Down(ref all, a, ref features);
                b = Down(ref all, b, ref features);
                c = Down(ref all, c, ref features);
                d = Down(ref all, d, ref features);
            }

            Add(a, sums);
            Add(b, sums);
            Add(c, sums);
            Add(d, sums);
        }

        for (; t < trees.Length; t++)
        {
            var at = trees[t].Root;
            for (var level = trees[t].Depth; level > 0; level--)
            {
                at = Down(ref all, at, ref features);
            }

            Add(at, sums);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Down(ref Node all, int at, ref float features)
    {
        ref var node = ref Unsafe.Add(ref all, at);
        return node.Left + (Unsafe.Add(ref features, node.Feature) > node.Threshold ? 1 : 0);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Add(int node, Span<float> sums)
    {
        for (var at = leafOf[node]; at >= 0; at = leaves[at].Next)
        {
            sums[leaves[at].Score] += leaves[at].Weight;
        }
    }

    /// <summary>A split, where larger values than the threshold go right of <paramref name="Left"/>; or a leaf, which <paramref name="Left"/> is itself.</summary>
    [StructLayout(LayoutKind.Auto)]
    private readonly record struct Node(float Threshold, int Feature, int Left);

    /// <summary>A tree, and the most levels of it and the three behind it.</summary>
    [StructLayout(LayoutKind.Auto)]
    private readonly record struct Tree(int Root, int Depth, int DepthOfFour);

    /// <summary>What a leaf adds to a score, and where its next weight stands, or -1.</summary>
    [StructLayout(LayoutKind.Auto)]
    private readonly record struct Leaf(int Score, float Weight, int Next);

    /// <summary>Trees under construction.</summary>
    private sealed class Builder
    {
        private readonly List<(int Root, int Depth)> trees = [];
        private readonly List<Leaf> leaves = [];
        private readonly List<int> leafOf = [];

        public List<Node> Nodes { get; } = [];

        /// <summary>Adds nodes side by side and gives the first one's place.</summary>
        public int Add(int count)
        {
            var first = Nodes.Count;
            for (var i = 0; i < count; i++)
            {
                Nodes.Add(default);
                leafOf.Add(-1);
            }

            return first;
        }

        public int Begin()
        {
            trees.Add((Nodes.Count, 0));
            return Add(1);
        }

        public void SetLeaf(int at, int level, IEnumerable<(int Score, float Weight)> weights)
        {
            // Nothing finite is larger, so that whoever is here stays.
            Nodes[at] = new(float.PositiveInfinity, 0, at);
            var last = -1;
            foreach (var (score, weight) in weights)
            {
                leaves.Add(new(score, weight, -1));
                if (last < 0)
                {
                    leafOf[at] = leaves.Count - 1;
                }
                else
                {
                    leaves[last] = leaves[last] with { Next = leaves.Count - 1 };
                }

                last = leaves.Count - 1;
            }

            var (root, depth) = trees[^1];
            trees[^1] = (root, Math.Max(depth, level));
        }

        public TreeEnsemble Build(Value x, Value y, float[] start) =>
            new(x, y, [.. Nodes], [.. trees.Select((tree, i) => new Tree(tree.Root, tree.Depth, trees.Skip(i).Take(4).Max(t => t.Depth)))], [.. leafOf], [.. leaves], start);
    }
}
