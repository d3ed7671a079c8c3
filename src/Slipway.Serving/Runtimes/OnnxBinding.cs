using System.Runtime.InteropServices;
using Microsoft.ML.OnnxRuntime;
using Slipway.Foundation;
using Slipway.Serving.Tensors;

namespace Slipway.Serving.Runtimes;

/// <summary>Pinned input and output buffers bound once for one batch size, so that a call passes no names, shapes or allocations.</summary>
internal sealed class OnnxBinding : IDisposable
{
    private readonly List<OrtValue> _values = [];

    public OnnxBinding(InferenceSession session, Port[] inputs, Port[] outputs, long[][] outputShapes, long batch)
    {
        Io = session.CreateIoBinding();
        Inputs = [.. inputs.Select(port => Bind(port, port.ShapeFor(batch), input: true))];
        OutputShapes = [.. outputShapes.Select(shape => shape.Select(dimension => dimension < 0 ? batch : dimension).ToArray())];
        Outputs = [.. outputs.Zip(OutputShapes, (port, shape) => Bind(port, shape, input: false))];
        Bytes = Inputs.Sum(buffer => (long)buffer.Length) + Outputs.Sum(buffer => (long)buffer.Length);
    }

    public OrtIoBinding Io { get; }

    public byte[][] Inputs { get; }

    public byte[][] Outputs { get; }

    public long[][] OutputShapes { get; }

    /// <summary>Bytes of all its buffers.</summary>
    public long Bytes { get; }

    public void Dispose()
    {
        Io.Dispose();
        foreach (var value in _values)
        {
            value.Dispose();
        }
    }

    private byte[] Bind(Port port, long[] shape, bool input)
    {
        var bytes = checked((int)(Tensor.Product(shape) * port.Datatype.Size()));
        var buffer = GC.AllocateArray<byte>(bytes, pinned: true);
        var value = OrtValue.CreateTensorValueWithData(
            OrtMemoryInfo.DefaultInstance, OnnxSignature.ElementTypeOf(port.Datatype), shape, OnnxValues.Address(buffer), bytes);
        _values.Add(value);
        if (input)
        {
            Io.BindInput(port.Name, value);
        }
        else
        {
            Io.BindOutput(port.Name, value);
        }

        return buffer;
    }
}

/// <summary>Between <see cref="Tensor"/> and ONNX Runtime's values.</summary>
internal static class OnnxValues
{
    private static readonly byte[] Nowhere = GC.AllocateArray<byte>(8, pinned: true);

    /// <summary>The address of a pinned buffer; never null, because ONNX Runtime refuses a null address even for an empty tensor.</summary>
    public static unsafe nint Address(byte[] pinned)
    {
        var buffer = pinned.Length == 0 ? Nowhere : pinned;
        return (nint)System.Runtime.CompilerServices.Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(buffer));
    }

    /// <summary>A value over the tensor's pinned memory (strings are copied); the tensor must stay unchanged while it is used.</summary>
    public static OrtValue Input(Tensor tensor)
    {
        var shape = tensor.Shape.ToArray();
        if (tensor.Datatype != Datatype.Bytes)
        {
            return OrtValue.CreateTensorValueWithData(
                OrtMemoryInfo.DefaultInstance, OnnxSignature.ElementTypeOf(tensor.Datatype), shape, Address(tensor.Buffer), tensor.Length);
        }

        var value = OrtValue.CreateTensorWithEmptyStrings(OrtAllocator.DefaultInstance, shape);
        var data = tensor.Data;
        for (var i = 0; data.Length > 0; i++)
        {
            value.StringTensorSetElementAt(Tensor.TakeBytes(ref data), i);
        }

        return value;
    }

    /// <summary>Copies a result into an output tensor; class maps become FP32 [rows, classes] in ascending order of the keys.</summary>
    public static void Read(OrtValue value, Port port, Tensor output)
    {
        output.Name = port.Name;
        output.Datatype = port.Datatype;
        if (port.ClassMap)
        {
            ReadClassMaps(value, output);
            return;
        }

        var info = value.GetTensorTypeAndShape();
        if (!output.TrySetShape(info.Shape))
        {
            throw new SlipwayException(
                ErrorCode.Internal, $"cannot answer output '{port.Name}'", $"it has {info.Shape.Length} dimensions, {Tensor.MaxRank} can be carried",
                "reshape the output in the model");
        }

        if (port.Datatype != Datatype.Bytes)
        {
            output.Set(info.ElementCount == 0 ? [] : value.GetTensorMutableRawData());
            return;
        }

        output.Allocate(0);
        for (var i = 0; i < info.ElementCount; i++)
        {
            output.AppendElement(value.GetStringElementAsSpan(i));
        }
    }

    private static void ReadClassMaps(OrtValue value, Tensor output)
    {
        var rows = value.GetValueCount();
        var classes = 0;
        output.Allocate(0);
        for (var row = 0; row < rows; row++)
        {
            using var map = value.GetValue(row, OrtAllocator.DefaultInstance);
            using var weights = map.GetValue(1, OrtAllocator.DefaultInstance);
            var data = weights.GetTensorDataAsSpan<float>();
            classes = data.Length;
            MemoryMarshal.AsBytes(data).CopyTo(output.Extend(data.Length * sizeof(float)));
        }

        output.TrySetShape([rows, classes]);
    }
}
