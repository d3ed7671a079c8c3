using System.Buffers;
using System.Buffers.Binary;
using System.Text;
using System.Text.Json;

namespace Slipway.Pipelines.Training;

/// <summary>
/// One regression tree. Inner node i sends a row left when <c>row[Feature[i]] &lt;= Threshold[i]</c> or the value is NaN, else right.
/// A child c &gt;= 0 is an inner node, c &lt; 0 is leaf <c>~c</c>. A tree of one leaf has no inner nodes.
/// </summary>
internal sealed record Tree(int[] Feature, float[] Threshold, int[] Left, int[] Right, double[] Leaf);

/// <summary>
/// Writes boosted trees as an ONNX model: <c>probability = sigmoid(Scale * sum(leaves) + Offset)</c>.
/// <para>Input <c>features</c> FP32 [batch, F]; output <c>probability</c> FP32 [batch, 1]. The feature names are a JSON list in the
/// metadata property <see cref="FeaturesKey"/>: one matrix is much faster to serve than one input a feature.</para>
/// <para>Formats: onnx.proto3 (field numbers below) and TreeEnsembleRegressor of ai.onnx.ml version 1. The bytes depend on the arguments only.</para>
/// </summary>
internal static class OnnxWriter
{
    /// <summary>Metadata property that holds the feature names, in input column order.</summary>
    public const string FeaturesKey = "slipway.features";

    private const int FloatTensor = 1; // TensorProto.DataType.FLOAT

    /// <exception cref="ArgumentException">No trees or no features.</exception>
    public static byte[] Write(IReadOnlyList<string> features, IReadOnlyList<Tree> trees, double scale, double offset)
    {
        if (features.Count == 0 || trees.Count == 0)
        {
            throw new ArgumentException("A model needs at least one feature and one tree.");
        }

        var graph = new Message()
            .Add(1, Ensemble(trees, scale, offset))
            .Add(1, new Message().Add(1, "score").Add(2, "probability").Add(3, "sigmoid").Add(4, "Sigmoid"))
            .Add(2, "boosted_trees")
            .Add(11, MatrixValue("features", features.Count))
            .Add(12, MatrixValue("probability", 1));

        return new Message()
            .Add(1, 8) // ir_version 8: the first with opset 15
            .Add(2, "slipway")
            .Add(7, graph)
            .Add(8, new Message().Add(1, "").Add(2, 15))
            .Add(8, new Message().Add(1, "ai.onnx.ml").Add(2, 3))
            .Add(14, new Message().Add(1, FeaturesKey).Add(2, JsonSerializer.Serialize(features)))
            .ToArray();
    }

    private static Message Ensemble(IReadOnlyList<Tree> trees, double scale, double offset)
    {
        List<long> treeIds = [], nodeIds = [], features = [], whenTrue = [], whenFalse = [], missingTrue = [];
        List<long> leafTrees = [], leafNodes = [];
        List<float> thresholds = [], weights = [];
        List<string> modes = [];

        for (var t = 0; t < trees.Count; t++)
        {
            var tree = trees[t];
            var inner = tree.Feature.Length;
            // Inner nodes keep their number, so the root is 0; the leaves follow.
            long Id(int child) => child >= 0 ? child : inner + ~child;

            for (var i = 0; i < inner; i++)
            {
                Node(t, i, "BRANCH_LEQ", tree.Feature[i], tree.Threshold[i], Id(tree.Left[i]), Id(tree.Right[i]), missing: 1);
            }
            for (var leaf = 0; leaf < tree.Leaf.Length; leaf++)
            {
                Node(t, inner + leaf, "LEAF", 0, 0, 0, 0, missing: 0);
                leafTrees.Add(t);
                leafNodes.Add(inner + leaf);
                // Folding the sigmoid's slope into the leaves saves a graph node; LightGBM's is a power of two, so nothing is rounded.
                weights.Add((float)(scale * tree.Leaf[leaf]));
            }
        }

        return new Message()
            .Add(1, "features").Add(2, "score").Add(3, "trees").Add(4, "TreeEnsembleRegressor").Add(7, "ai.onnx.ml")
            .Add(5, new Message().Add(1, "n_targets").Add(3, 1).Add(20, 2))
            .Add(5, new Message().Add(1, "aggregate_function").Add(4, "SUM").Add(20, 3))
            .Add(5, new Message().Add(1, "post_transform").Add(4, "NONE").Add(20, 3))
            .Add(5, Attribute("base_values", [(float)offset]))
            .Add(5, Attribute("nodes_treeids", treeIds))
            .Add(5, Attribute("nodes_nodeids", nodeIds))
            .Add(5, Attribute("nodes_featureids", features))
            .Add(5, Attribute("nodes_modes", modes))
            .Add(5, Attribute("nodes_values", thresholds))
            .Add(5, Attribute("nodes_truenodeids", whenTrue))
            .Add(5, Attribute("nodes_falsenodeids", whenFalse))
            .Add(5, Attribute("nodes_missing_value_tracks_true", missingTrue))
            .Add(5, Attribute("target_treeids", leafTrees))
            .Add(5, Attribute("target_nodeids", leafNodes))
            .Add(5, Attribute("target_ids", leafTrees.ConvertAll(_ => 0L)))
            .Add(5, Attribute("target_weights", weights));

        void Node(int tree, int id, string mode, int feature, float threshold, long yes, long no, long missing)
        {
            treeIds.Add(tree);
            nodeIds.Add(id);
            modes.Add(mode);
            features.Add(feature);
            thresholds.Add(threshold);
            whenTrue.Add(yes);
            whenFalse.Add(no);
            missingTrue.Add(missing);
        }
    }

    // AttributeProto: name 1, i 3, s 4, floats 7, ints 8, strings 9, type 20 (INT 2, STRING 3, FLOATS 6, INTS 7, STRINGS 8).
    private static Message Attribute(string name, List<float> values) => new Message().Add(1, name).Add(7, values).Add(20, 6);

    private static Message Attribute(string name, List<long> values) => new Message().Add(1, name).Add(8, values).Add(20, 7);

    private static Message Attribute(string name, List<string> values)
    {
        var message = new Message().Add(1, name);
        values.ForEach(v => message.Add(9, v));
        return message.Add(20, 8);
    }

    // ValueInfoProto { name 1, type 2 { tensor_type 1 { elem_type 1, shape 2 { dim 1 { dim_value 1 | dim_param 2 } } } } }
    private static Message MatrixValue(string name, int width) =>
        new Message().Add(1, name).Add(2, new Message().Add(1, new Message()
            .Add(1, FloatTensor)
            .Add(2, new Message().Add(1, new Message().Add(2, "batch")).Add(1, new Message().Add(1, width)))));

    /// <summary>A protobuf message under construction (wire types: 0 varint, 2 length-delimited; lists are packed).</summary>
    private sealed class Message
    {
        private readonly ArrayBufferWriter<byte> _bytes = new();

        public Message Add(int field, long value)
        {
            Varint((ulong)field << 3);
            Varint((ulong)value);
            return this;
        }

        public Message Add(int field, string value) => Block(field, Encoding.UTF8.GetBytes(value));

        public Message Add(int field, Message value) => Block(field, value._bytes.WrittenSpan);

        public Message Add(int field, List<float> values)
        {
            var packed = new byte[values.Count * sizeof(float)];
            for (var i = 0; i < values.Count; i++)
            {
                BinaryPrimitives.WriteSingleLittleEndian(packed.AsSpan(i * sizeof(float)), values[i]);
            }
            return Block(field, packed);
        }

        public Message Add(int field, List<long> values)
        {
            var packed = new Message();
            values.ForEach(v => packed.Varint((ulong)v));
            return Add(field, packed);
        }

        public byte[] ToArray() => _bytes.WrittenSpan.ToArray();

        private Message Block(int field, ReadOnlySpan<byte> content)
        {
            Varint(((ulong)field << 3) | 2);
            Varint((ulong)content.Length);
            _bytes.Write(content);
            return this;
        }

        private void Varint(ulong value)
        {
            for (; value >= 0x80; value >>= 7)
            {
                _bytes.Write([(byte)(value | 0x80)]);
            }
            _bytes.Write([(byte)value]);
        }
    }
}
