using System.Text.Json;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using Slipway.Foundation;
using Slipway.Registry;
using Slipway.Serving.Tensors;

namespace Slipway.Serving.Runtimes;

/// <summary>
/// Reads what an ONNX model takes and gives. Feature names come from the model's metadata property <c>slipway.features</c>, a JSON list of
/// strings; the classes of an expanded class map come from the model itself.
/// </summary>
public static class OnnxSignature
{
    /// <summary>The metadata property that names the columns of the first input.</summary>
    public const string FeaturesProperty = "slipway.features";

    /// <summary>
    /// Loads the file and reads its signature. Throws <see cref="SlipwayException"/> (InvalidArgument) if it is not an ONNX model or has inputs
    /// or outputs without a wire form.
    /// </summary>
    public static ModelSignature Read(string path)
    {
        using var session = OnnxRuntime.Open(path);
        return Of(session);
    }

    internal static ModelSignature Of(InferenceSession session) => new(
        [.. session.InputMetadata.Select(input => Spec("input", input.Key, input.Value))],
        [.. session.OutputMetadata.Select(output => Spec("output", output.Key, output.Value))],
        Features(session));

    /// <summary>Whether an output is a list of class maps (scikit-learn's ZipMap), which is answered as FP32 [rows, classes].</summary>
    internal static bool IsClassMap(NodeMetadata node) =>
        node.OnnxValueType == OnnxValueType.ONNX_TYPE_SEQUENCE
        && node.AsSequenceMetadata().ElementMeta is { OnnxValueType: OnnxValueType.ONNX_TYPE_MAP } element
        && element.AsMapMetadata() is { KeyDataType: TensorElementType.Int64 or TensorElementType.String } map
        && map.ValueMetadata is { OnnxValueType: OnnxValueType.ONNX_TYPE_TENSOR, ElementDataType: TensorElementType.Float };

    internal static Datatype? DatatypeOf(TensorElementType type) => type switch
    {
        TensorElementType.Bool => Datatype.Bool,
        TensorElementType.UInt8 => Datatype.UInt8,
        TensorElementType.UInt16 => Datatype.UInt16,
        TensorElementType.UInt32 => Datatype.UInt32,
        TensorElementType.UInt64 => Datatype.UInt64,
        TensorElementType.Int8 => Datatype.Int8,
        TensorElementType.Int16 => Datatype.Int16,
        TensorElementType.Int32 => Datatype.Int32,
        TensorElementType.Int64 => Datatype.Int64,
        TensorElementType.Float16 => Datatype.Fp16,
        TensorElementType.Float => Datatype.Fp32,
        TensorElementType.Double => Datatype.Fp64,
        TensorElementType.BFloat16 => Datatype.Bf16,
        TensorElementType.String => Datatype.Bytes,
        _ => null,
    };

    internal static TensorElementType ElementTypeOf(Datatype datatype) => datatype switch
    {
        Datatype.Bool => TensorElementType.Bool,
        Datatype.UInt8 => TensorElementType.UInt8,
        Datatype.UInt16 => TensorElementType.UInt16,
        Datatype.UInt32 => TensorElementType.UInt32,
        Datatype.UInt64 => TensorElementType.UInt64,
        Datatype.Int8 => TensorElementType.Int8,
        Datatype.Int16 => TensorElementType.Int16,
        Datatype.Int32 => TensorElementType.Int32,
        Datatype.Int64 => TensorElementType.Int64,
        Datatype.Fp16 => TensorElementType.Float16,
        Datatype.Fp32 => TensorElementType.Float,
        Datatype.Fp64 => TensorElementType.Double,
        Datatype.Bf16 => TensorElementType.BFloat16,
        _ => TensorElementType.String,
    };

    private static TensorSpec Spec(string what, string name, NodeMetadata node)
    {
        if (node.IsTensor && DatatypeOf(node.ElementDataType) is { } datatype)
        {
            return new(name, datatype.Name(), [.. node.Dimensions.Select(dimension => (long)dimension)]);
        }

        if (what == "output" && IsClassMap(node))
        {
            return new(name, Datatype.Fp32.Name(), [-1, -1]);
        }

        throw new SlipwayException(
            ErrorCode.InvalidArgument, "cannot serve the model",
            $"its {what} '{name}' is {(node.IsTensor ? $"a tensor of {node.ElementDataType}" : node.OnnxValueType.ToString())}, which the inference protocol cannot carry",
            "export the model with tensor inputs and outputs only (for scikit-learn: options={'zipmap': False})");
    }

    private static List<string>? Features(InferenceSession session)
    {
        if (!session.ModelMetadata.CustomMetadataMap.TryGetValue(FeaturesProperty, out var json))
        {
            return null;
        }

        try
        {
            return JsonSerializer.Deserialize<List<string>>(json);
        }
        catch (JsonException invalid)
        {
            throw new SlipwayException(
                ErrorCode.InvalidArgument, "cannot read the model's signature", $"its metadata property {FeaturesProperty} is not a JSON list of strings",
                "write the property as a JSON list such as [\"dep_hour\",\"distance\"]", invalid);
        }
    }
}
