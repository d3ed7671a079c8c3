namespace Slipway.Serving.Tensors;

/// <summary>The element types of the Open Inference Protocol. The numbers are persisted in prediction payloads and may only grow.</summary>
public enum Datatype : byte
{
    Bool = 0,
    UInt8 = 1,
    UInt16 = 2,
    UInt32 = 3,
    UInt64 = 4,
    Int8 = 5,
    Int16 = 6,
    Int32 = 7,
    Int64 = 8,
    Fp16 = 9,
    Fp32 = 10,
    Fp64 = 11,
    Bf16 = 12,

    /// <summary>Variable size: every element is a little-endian uint32 length followed by that many bytes.</summary>
    Bytes = 13,
}

/// <summary>Wire names and sizes of <see cref="Datatype"/>.</summary>
public static class Datatypes
{
    private static readonly string[] Names =
        ["BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BF16", "BYTES"];

    private static readonly byte[] Sizes = [1, 1, 2, 4, 8, 1, 2, 4, 8, 2, 4, 8, 2, 0];

    /// <summary>Bytes of one element; 0 for <see cref="Datatype.Bytes"/>, whose elements differ in size.</summary>
    public static int Size(this Datatype datatype) => Sizes[(int)datatype];

    /// <summary>The exact upper-case name on the wire.</summary>
    public static string Name(this Datatype datatype) => Names[(int)datatype];

    /// <summary>Finds the type of a wire name; names are case-sensitive in the protocol.</summary>
    public static bool TryParse(string name, out Datatype datatype)
    {
        var at = Array.IndexOf(Names, name);
        datatype = at < 0 ? default : (Datatype)at;
        return at >= 0;
    }

    /// <summary>Finds the type of a wire name given as UTF-8, without allocating.</summary>
    public static bool TryParse(ReadOnlySpan<byte> name, out Datatype datatype)
    {
        for (var i = 0; i < Names.Length; i++)
        {
            if (System.Text.Ascii.Equals(name, Names[i]))
            {
                datatype = (Datatype)i;
                return true;
            }
        }

        datatype = default;
        return false;
    }
}
