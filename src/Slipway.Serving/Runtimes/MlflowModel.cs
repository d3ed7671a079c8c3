using System.Buffers.Binary;
using System.Text.Json;
using Slipway.Foundation;
using Slipway.Registry;
using Slipway.Serving.Tensors;
using YamlDotNet.Core;
using YamlDotNet.RepresentationModel;

namespace Slipway.Serving.Runtimes;

/// <summary>
/// What an MLflow model folder says beside its files: where the ONNX file is, and the columns of its signature. Requests may then name columns
/// instead of tensors: each is checked against its declared type (with MLflow's safe conversions, such as integer to double) and put where the
/// ONNX graph wants it.
/// </summary>
internal sealed class MlflowModel
{
    /// <summary>The file that makes a folder an MLflow model.</summary>
    public const string FileName = "MLmodel";

    private const int LargestFile = 1 << 20;
    private static readonly Dictionary<string, Datatype[]> Accepted = new(StringComparer.Ordinal)
    {
        ["boolean"] = [Datatype.Bool],
        ["integer"] = [Datatype.Int32, Datatype.Int16, Datatype.Int8, Datatype.UInt8, Datatype.UInt16],
        ["long"] = [Datatype.Int64, Datatype.Int32, Datatype.Int16, Datatype.Int8, Datatype.UInt8, Datatype.UInt16, Datatype.UInt32],
        ["float"] = [Datatype.Fp32, Datatype.Fp16],
        ["double"] = [Datatype.Fp64, Datatype.Fp32, Datatype.Fp16, Datatype.Int32, Datatype.Int16, Datatype.Int8, Datatype.UInt8, Datatype.UInt16],
        ["string"] = [Datatype.Bytes],
        ["binary"] = [Datatype.Bytes],
    };

    private readonly IReadOnlyList<Column> _columns;

    private MlflowModel(string onnx, IReadOnlyList<Column> columns) => (OnnxFile, _columns) = (onnx, columns);

    /// <summary>The ONNX file, relative to the folder.</summary>
    public string OnnxFile { get; }

    /// <summary>Reads an MLmodel file of that size. InvalidArgument when it is not one, or has no onnx flavour.</summary>
    public static MlflowModel Read(Stream content, long size)
    {
        if (size > LargestFile)
        {
            throw Wrong($"it has {size} bytes, at most {LargestFile} are read", "check the folder");
        }

        try
        {
            var yaml = new YamlStream();
            using (var text = new StreamReader(content, leaveOpen: true))
            {
                yaml.Load(text);
            }

            if (yaml.Documents is not [{ RootNode: YamlMappingNode root }])
            {
                throw Wrong("it is not a YAML document with names and values", "log the model again");
            }

            var flavours = Child(root, "flavors") as YamlMappingNode ?? throw Wrong("it names no flavors", "log the model again");
            var onnx = Child(flavours, "onnx") as YamlMappingNode ?? throw Wrong(
                $"it has the flavors {string.Join(", ", flavours.Children.Keys)} and not onnx", "log it with mlflow.onnx.log_model, or serve it by its own server as a remote runtime");
            var data = (Child(onnx, "data") as YamlScalarNode)?.Value ?? "model.onnx";
            if (Path.IsPathRooted(data) || data.Contains('\\', StringComparison.Ordinal) || data.Split('/').Any(part => part is "" or "." or ".."))
            {
                throw Wrong($"its onnx file '{data}' lies outside of the folder", "keep the file inside of the model's folder");
            }

            var inputs = Child(root, "signature") is YamlMappingNode signature ? (Child(signature, "inputs") as YamlScalarNode)?.Value : null;
            return new(data, inputs is null ? [] : Columns(inputs));
        }
        catch (YamlException broken)
        {
            throw Wrong($"it is not valid YAML: {broken.Message}", "log the model again", broken);
        }
        catch (JsonException broken)
        {
            throw Wrong($"its signature is not valid JSON: {broken.Message}", "log the model again", broken);
        }
    }

    /// <summary>The signature, with the columns as the names of the features where the graph takes them as one matrix.</summary>
    public ModelSignature Name(ModelSignature signature) =>
        signature.FeatureNames is null && _columns.Count > 0 && signature.Inputs is [{ Shape: [_, var width] }] && (width < 0 || width == _columns.Count)
            ? signature with { FeatureNames = [.. _columns.Select(column => column.Name)] } : signature;

    /// <summary>
    /// Turns a request by columns into one by the graph's inputs. Returns what is wrong, naming the column, what came and what was expected; null
    /// also when the request does not name columns.
    /// </summary>
    public string? Adapt(InferRequest request, ModelSignature signature)
    {
        var matrix = signature.Inputs is [{ Shape: [_, var width] } only] && (width < 0 || width == _columns.Count) && !Has(only.Name) ? only : null;
        var perColumn = matrix is null && _columns.All(column => signature.Inputs.Any(input => input.Name == column.Name));
        if (_columns.Count == 0 || (matrix is null && !perColumn) || (matrix is not null && !Names(request)))
        {
            return null;
        }

        for (var i = 0; i < request.Inputs.Count; i++)
        {
            if (!Has(request.Inputs[i].Name))
            {
                return $"there is no column '{request.Inputs[i].Name}'; the columns are {string.Join(", ", _columns.Select(column => $"'{column.Name}'"))}";
            }
        }

        var rows = -1L;
        foreach (var column in _columns)
        {
            if (request.Inputs.Find(column.Name) is not { } tensor)
            {
                return $"column '{column.Name}' ({column.Type}) is missing";
            }

            if (!Accepted.TryGetValue(column.Type, out var types))
            {
                return $"column '{column.Name}' is {column.Type}, which cannot be sent; the types are {string.Join(", ", Accepted.Keys)}";
            }

            if (!types.Contains(tensor.Datatype))
            {
                return $"column '{column.Name}' must be {column.Type} ({types[0].Name()}), got {tensor.Datatype.Name()}";
            }

            if (!(tensor.Shape is [_] or [_, 1]))
            {
                return $"column '{column.Name}' must have the shape [rows] or [rows,1], got [{string.Join(",", tensor.Shape.ToArray())}]";
            }

            rows = rows < 0 ? tensor.Rows : rows;
            if (tensor.Rows != rows)
            {
                return $"column '{column.Name}' has {tensor.Rows} rows, the columns before it have {rows}";
            }
        }

        return matrix is not null ? Assemble(request, matrix, rows) : Cast(request, signature);
    }

    /// <summary>All columns into one matrix, row by row.</summary>
    private string? Assemble(InferRequest request, TensorSpec matrix, long rows)
    {
        if (!Datatypes.TryParse(matrix.Datatype, out var datatype) || datatype.Size() == 0)
        {
            return $"columns cannot become the {matrix.Datatype} matrix '{matrix.Name}'; send that tensor";
        }

        if (_columns.FirstOrDefault(column => !CanBecome(request.Inputs.Find(column.Name)!.Datatype, datatype)) is { } other)
        {
            return $"column '{other.Name}' cannot become {matrix.Datatype}";
        }

        var size = datatype.Size();
        var bytes = rows * _columns.Count * size;
        if (bytes > int.MaxValue)
        {
            return $"{rows} rows are too many for one request";
        }

        var whole = request.Inputs.Add();
        var target = whole.Allocate((int)bytes);
        for (var column = 0; column < _columns.Count; column++)
        {
            var tensor = request.Inputs.Find(_columns[column].Name)!;
            for (var row = 0; row < rows; row++)
            {
                Convert(tensor, row, datatype, target.Slice((int)(((row * _columns.Count) + column) * size), size));
            }
        }

        (whole.Name, whole.Datatype) = (matrix.Name, datatype);
        whole.TrySetShape([rows, _columns.Count]);
        request.Inputs.Arrange([request.Inputs.Count - 1]);
        return null;
    }

    /// <summary>Each column into the type and rank of the graph's input of its name.</summary>
    private static string? Cast(InferRequest request, ModelSignature signature)
    {
        foreach (var spec in signature.Inputs)
        {
            if (request.Inputs.Find(spec.Name) is not { } tensor || !Datatypes.TryParse(spec.Datatype, out var datatype))
            {
                continue;
            }

            if (tensor.Datatype != datatype)
            {
                if (!CanBecome(tensor.Datatype, datatype))
                {
                    return $"column '{spec.Name}' cannot become {spec.Datatype}";
                }

                var rows = (int)tensor.Count;
                var converted = new byte[rows * datatype.Size()];
                for (var row = 0; row < rows; row++)
                {
                    Convert(tensor, row, datatype, converted.AsSpan(row * datatype.Size(), datatype.Size()));
                }

                tensor.Datatype = datatype;
                tensor.Set(converted);
            }

            if (tensor.Shape.Length != spec.Shape.Count)
            {
                tensor.TrySetShape(spec.Shape.Count == 2 ? [tensor.Rows, 1] : [tensor.Rows]);
            }
        }

        return null;
    }

    // MLflow casts between the floating-point types, as it does before it asks ONNX Runtime; whole numbers must fit.
    private static bool CanBecome(Datatype from, Datatype to) =>
        from == to || (from != Datatype.Bytes && to != Datatype.Bytes && (IsFloat(to) || (!IsFloat(from) && from != Datatype.Bool && to != Datatype.Bool && to.Size() >= from.Size())));

    private static bool IsFloat(Datatype datatype) => datatype is Datatype.Fp16 or Datatype.Fp32 or Datatype.Fp64 or Datatype.Bf16;

    private bool Has(string name) => _columns.Any(column => column.Name == name);

    private bool Names(InferRequest request)
    {
        for (var i = 0; i < request.Inputs.Count; i++)
        {
            if (Has(request.Inputs[i].Name))
            {
                return true;
            }
        }

        return false;
    }

    private static void Convert(Tensor tensor, int row, Datatype to, Span<byte> target)
    {
        var data = tensor.Data.Slice(row * tensor.Datatype.Size());
        var (number, whole) = tensor.Datatype switch
        {
            Datatype.Fp64 => (BinaryPrimitives.ReadDoubleLittleEndian(data), 0L),
            Datatype.Fp32 => (BinaryPrimitives.ReadSingleLittleEndian(data), 0L),
            Datatype.Fp16 => ((double)BinaryPrimitives.ReadHalfLittleEndian(data), 0L),
            Datatype.Int64 => Both(BinaryPrimitives.ReadInt64LittleEndian(data)),
            Datatype.Int32 => Both(BinaryPrimitives.ReadInt32LittleEndian(data)),
            Datatype.Int16 => Both(BinaryPrimitives.ReadInt16LittleEndian(data)),
            Datatype.UInt32 => Both(BinaryPrimitives.ReadUInt32LittleEndian(data)),
            Datatype.UInt16 => Both(BinaryPrimitives.ReadUInt16LittleEndian(data)),
            Datatype.Int8 => Both((sbyte)data[0]),
            _ => Both(data[0]),
        };
        switch (to)
        {
            case Datatype.Fp32:
                BinaryPrimitives.WriteSingleLittleEndian(target, (float)number);
                break;
            case Datatype.Fp64:
                BinaryPrimitives.WriteDoubleLittleEndian(target, number);
                break;
            case Datatype.Fp16:
                BinaryPrimitives.WriteHalfLittleEndian(target, (Half)number);
                break;
            case Datatype.Bf16:
                BinaryPrimitives.WriteUInt16LittleEndian(target, (ushort)(BitConverter.SingleToUInt32Bits((float)number) >> 16));
                break;
            default:
                Span<byte> wide = stackalloc byte[8];
                BinaryPrimitives.WriteInt64LittleEndian(wide, whole);
                wide[..target.Length].CopyTo(target);
                break;
        }

        static (double, long) Both(long value) => (value, value);
    }

    // Columns have a type; tensor signatures are the graph's own and are checked there.
    private static List<Column> Columns(string json)
    {
        using var document = JsonDocument.Parse(json);
        var columns = new List<Column>();
        foreach (var (at, input) in document.RootElement.EnumerateArray().Index())
        {
            var type = input.GetProperty("type").GetString() ?? "";
            if (type == "tensor")
            {
                return [];
            }

            columns.Add(new(input.TryGetProperty("name", out var name) && name.ValueKind == JsonValueKind.String ? name.GetString()! : $"{at}", type));
        }

        return columns;
    }

    private static YamlNode? Child(YamlMappingNode node, string name) => node.Children.TryGetValue(new YamlScalarNode(name), out var child) ? child : null;

    private static SlipwayException Wrong(string why, string next, Exception? inner = null) => new(ErrorCode.InvalidArgument, "cannot serve the MLflow model", $"its {FileName} file: {why}", next, inner);

    private sealed record Column(string Name, string Type);
}
