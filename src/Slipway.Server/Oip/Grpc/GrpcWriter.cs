using System.Buffers;
using System.Numerics;
using System.Text;
using Slipway.Serving.Tensors;

namespace Slipway.Server.Oip;

/// <summary>
/// Writes a ModelInferResponse (or its streamed wrapping) into the response's own buffer: sizes first, then the bytes, so that tensors are copied
/// once, from the model's output to the socket's memory. Outputs always travel as raw_output_contents, which every client reads.
/// </summary>
internal ref struct GrpcWriter
{
    private Span<byte> _room;
    private int _at;

    private GrpcWriter(Span<byte> room) => _room = room;

    /// <summary>Bytes of a ModelInferResponse.</summary>
    public static int Size(InferRequest request, in InferOutcome outcome, bool final)
    {
        var size = Head(request, outcome, final);
        for (var i = 0; i < request.Outputs.Count; i++)
        {
            size += Field(request.Outputs[i].Length);
        }

        return size;
    }

    /// <summary>Bytes of a ModelStreamInferResponse around a ModelInferResponse of that size.</summary>
    public static int StreamedSize(int response) => Field(response);

    /// <summary>Begins a ModelStreamInferResponse that holds a response of that size.</summary>
    public static void WriteStreamed(int response, IBufferWriter<byte> target)
    {
        var writer = new GrpcWriter(target.GetSpan(11));
        writer.Tag(2);
        writer.Varint((uint)response);
        target.Advance(writer._at);
    }

    /// <summary>Writes a ModelInferResponse.</summary>
    public static void Write(InferRequest request, in InferOutcome outcome, bool final, IBufferWriter<byte> target)
    {
        var head = Head(request, outcome, final);
        var writer = new GrpcWriter(target.GetSpan(head)[..head]);
        writer.Text(1, request.Endpoint);
        writer.Text(2, outcome.ModelVersion);
        writer.Text(3, request.Id ?? "");
        writer.TextParameter("variant", outcome.Variant);
        writer.TextParameter("prediction_id", outcome.PredictionId);
        writer.TextParameter("table_rev", RevisionText.Of(outcome.Revision));
        if (final)
        {
            writer.BoolParameter("triton_final_response");
        }

        for (var i = 0; i < request.Outputs.Count; i++)
        {
            writer.Output(request.Outputs[i]);
        }

        target.Advance(head);
        Span<byte> prefix = stackalloc byte[6];
        for (var i = 0; i < request.Outputs.Count; i++)
        {
            var data = request.Outputs[i].Data;
            var lead = new GrpcWriter(prefix);
            lead.Tag(6);
            lead.Varint((uint)data.Length);
            target.Write(prefix[..lead._at]);
            target.Write(data);
        }
    }

    // Everything but the tensors' contents.
    private static int Head(InferRequest request, in InferOutcome outcome, bool final)
    {
        var size = TextField(request.Endpoint) + TextField(outcome.ModelVersion) + TextField(request.Id ?? "")
            + Field(TextParameterSize("variant", outcome.Variant)) + Field(TextParameterSize("prediction_id", outcome.PredictionId))
            + Field(TextParameterSize("table_rev", RevisionText.Of(outcome.Revision)))
            + (final ? Field(BoolParameterSize("triton_final_response")) : 0);
        for (var i = 0; i < request.Outputs.Count; i++)
        {
            size += Field(OutputSize(request.Outputs[i]));
        }

        return size;
    }

    private void Output(Tensor tensor)
    {
        Tag(5);
        Varint((uint)OutputSize(tensor));
        Text(1, tensor.Name);
        Text(2, tensor.Datatype.Name());
        if (tensor.Shape.Length > 0)
        {
            Tag(3);
            Varint((uint)ShapeSize(tensor));
            foreach (var dimension in tensor.Shape)
            {
                Varint((ulong)dimension);
            }
        }
    }

    private static int OutputSize(Tensor tensor) =>
        TextField(tensor.Name) + TextField(tensor.Datatype.Name()) + (tensor.Shape.Length > 0 ? Field(ShapeSize(tensor)) : 0);

    private static int ShapeSize(Tensor tensor)
    {
        var size = 0;
        foreach (var dimension in tensor.Shape)
        {
            size += VarintSize((ulong)dimension);
        }

        return size;
    }

    // A map entry: the key is field 1, the value (an InferParameter) field 2, whose text is field 3 and whose truth is field 1.
    private static int TextParameterSize(string key, string value) => TextField(key) + Field(Field(Encoding.UTF8.GetByteCount(value)));

    private static int BoolParameterSize(string key) => TextField(key) + Field(2);

    private void TextParameter(string key, string value)
    {
        var length = Encoding.UTF8.GetByteCount(value);
        Tag(4);
        Varint((uint)TextParameterSize(key, value));
        Text(1, key);
        Tag(2);
        Varint((uint)Field(length));
        Tag(3);
        Varint((uint)length);
        _at += Encoding.UTF8.GetBytes(value, _room[_at..]);
    }

    private void BoolParameter(string key)
    {
        Tag(4);
        Varint((uint)BoolParameterSize(key));
        Text(1, key);
        Tag(2);
        Varint(2);
        _room[_at++] = 1 << 3;
        _room[_at++] = 1;
    }

    private void Text(int field, string value)
    {
        if (value.Length > 0)
        {
            Tag(field);
            Varint((uint)Encoding.UTF8.GetByteCount(value));
            _at += Encoding.UTF8.GetBytes(value, _room[_at..]);
        }
    }

    private void Tag(int field) => _room[_at++] = (byte)((field << 3) | ProtoReader.Delimited);

    private void Varint(ulong value)
    {
        for (; value >= 0x80; value >>= 7)
        {
            _room[_at++] = (byte)(value | 0x80);
        }

        _room[_at++] = (byte)value;
    }

    private static int TextField(string value) => value.Length == 0 ? 0 : Field(Encoding.UTF8.GetByteCount(value));

    // Every field number here is below 16, so a tag is one byte.
    private static int Field(int length) => checked(1 + VarintSize((uint)length) + length);

    private static int VarintSize(ulong value) => ((63 - BitOperations.LeadingZeroCount(value | 1)) / 7) + 1;
}
