using Slipway.Registry;
using Slipway.Server.Oip.Wire;
using Slipway.Serving;

namespace Slipway.Server.Oip;

/// <summary>What both transports say of the server and its models.</summary>
internal static class ModelDescription
{
    public const string ServerName = "slipway";
    public const string Platform = "onnxruntime_onnx";
    public const string Backend = "onnxruntime";

    // Batches are bounded by the size of a message; clients want a number, and 0 would tell them that there is no batch dimension.
    private const int LargestBatch = 65_536;

    public static string ServerVersion { get; } = SlipwayServer.Version.Split('+')[0];

    /// <summary>The extensions of the protocol that are there.</summary>
    public static IReadOnlyList<string> Extensions { get; } = ["binary_tensor_data", "model_repository", "model_repository(unload_dependents)", "model_configuration", "statistics", "parameters"];

    /// <summary>
    /// A model's configuration. Where every input and output has an open first dimension, that is the batch and is left out of the dimensions.
    /// </summary>
    public static ModelConfig Config(ServedModel model)
    {
        var (inputs, outputs) = (model.Signature!.Inputs, model.Signature.Outputs);
        var batched = inputs.Concat(outputs).All(tensor => tensor.Shape is [< 0, ..]);
        return new ModelConfig
        {
            Name = model.Name,
            Platform = Platform,
            Backend = Backend,
            VersionPolicy = new() { Specific = new() { Versions = { model.Versions.Select(version => long.Parse(version, null)) } } },
            MaxBatchSize = batched ? model.MaxRequestRows ?? LargestBatch : 0,
            Input = { inputs.Select(tensor => new ModelInput { Name = tensor.Name, DataType = TypeOf(tensor), Dims = { Dims(tensor) } }) },
            Output = { outputs.Select(tensor => new ModelOutput { Name = tensor.Name, DataType = TypeOf(tensor), Dims = { Dims(tensor) } }) },
        };

        IEnumerable<long> Dims(TensorSpec tensor) => tensor.Shape.Skip(batched ? 1 : 0);
    }

    /// <summary>The configuration's name of a type, such as TYPE_FP32.</summary>
    public static string NameOf(DataType type) => type switch
    {
        DataType.TypeString => "TYPE_STRING",
        _ => $"TYPE_{type.ToString()[4..].ToUpperInvariant()}",
    };

    private static DataType TypeOf(TensorSpec tensor) => tensor.Datatype switch
    {
        "BOOL" => DataType.TypeBool,
        "UINT8" => DataType.TypeUint8,
        "UINT16" => DataType.TypeUint16,
        "UINT32" => DataType.TypeUint32,
        "UINT64" => DataType.TypeUint64,
        "INT8" => DataType.TypeInt8,
        "INT16" => DataType.TypeInt16,
        "INT32" => DataType.TypeInt32,
        "INT64" => DataType.TypeInt64,
        "FP16" => DataType.TypeFp16,
        "FP32" => DataType.TypeFp32,
        "FP64" => DataType.TypeFp64,
        "BF16" => DataType.TypeBf16,
        _ => DataType.TypeString,
    };
}
