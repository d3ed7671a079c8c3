using System.Buffers;
using System.Globalization;
using System.Text;
using Slipway.Foundation;

namespace Slipway.Server.Oip;

/// <summary>What is wrong with a request body, and where.</summary>
internal sealed class OipFormatException(string message) : Exception(message)
{
    /// <summary>InvalidArgument, or NotImplemented for an extension of the protocol that is not offered.</summary>
    public ErrorCode Code { get; private init; } = ErrorCode.InvalidArgument;

    /// <summary>The refusal of an extension.</summary>
    public static OipFormatException NotSupported(string message) => new(message) { Code = ErrorCode.NotImplemented };
}

/// <summary>
/// A forward scanner over one JSON text in memory. It reads straight into the caller's storage, skips what nobody asked for with its structure
/// checked, and takes the tokens NaN, Infinity and -Infinity as numbers, which clients send although standard JSON has none.
/// </summary>
internal ref struct JsonScanner(ReadOnlySpan<byte> text)
{
    /// <summary>Nesting that is followed; deeper texts are refused, so that no input can exhaust the stack.</summary>
    public const int MaxDepth = 64;

    private readonly ReadOnlySpan<byte> _text = text;
    private int _at;

    /// <summary>The offset of the next byte.</summary>
    public int Position
    {
        readonly get => _at;
        set => _at = value;
    }

    /// <summary>The next byte that is not white space, without taking it; 0 at the end.</summary>
    public byte Peek()
    {
        while (_at < _text.Length)
        {
            var next = _text[_at];
            if (next is not ((byte)' ' or (byte)'\n' or (byte)'\r' or (byte)'\t'))
            {
                return next;
            }

            _at++;
        }

        return 0;
    }

    /// <summary>Takes one structural character or fails.</summary>
    public void Expect(byte token)
    {
        if (Peek() != token)
        {
            throw Unexpected($"'{(char)token}'");
        }

        _at++;
    }

    /// <summary>Takes the character if it comes next.</summary>
    public bool Try(byte token)
    {
        if (Peek() != token)
        {
            return false;
        }

        _at++;
        return true;
    }

    /// <summary>Between members: true if another one follows, false if the closing character was taken.</summary>
    public bool More(byte close)
    {
        if (Try(close))
        {
            return false;
        }

        Expect((byte)',');
        return true;
    }

    /// <summary>Fails if anything but white space follows.</summary>
    public void End()
    {
        if (Peek() != 0 || _at < _text.Length)
        {
            throw Unexpected("the end");
        }
    }

    /// <summary>
    /// Takes a string. Without escapes the result is a slice of the text; with escapes it is decoded into <paramref name="scratch"/>, which grows.
    /// </summary>
    public ReadOnlySpan<byte> String(ref byte[] scratch)
    {
        Expect((byte)'"');
        var rest = _text[_at..];
        var stop = rest.IndexOfAny(Special);
        if (stop >= 0 && rest[stop] == '"')
        {
            _at += stop + 1;
            return Utf8(rest[..stop]);
        }

        return Escaped(ref scratch);
    }

    /// <summary>Takes a string and returns it as text.</summary>
    public string Text(ref byte[] scratch) => Encoding.UTF8.GetString(String(ref scratch));

    /// <summary>Takes a number as a slice of the text; NaN and the infinities included.</summary>
    public ReadOnlySpan<byte> Number()
    {
        Peek();
        var rest = _text[_at..];
        var length = rest.IndexOfAnyExcept(NumberBytes);
        length = length < 0 ? rest.Length : length;
        var number = rest[..length];
        if (!IsNumber(number))
        {
            throw Unexpected("a number");
        }

        _at += length;
        return number;
    }

    /// <summary>Takes a number as a double.</summary>
    public double Double()
    {
        var number = Number();
        return Numbers.TryDouble(number, out var value) ? value : throw Fail($"'{Show(number)}' is not a number");
    }

    /// <summary>Takes an integer.</summary>
    public long Integer()
    {
        var number = Number();
        return long.TryParse(number, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var value)
            ? value : throw Fail($"'{Show(number)}' is not an integer");
    }

    /// <summary>Takes true or false; null if something else comes next.</summary>
    public bool? Boolean()
    {
        Peek();
        if (_text[_at..].StartsWith("true"u8))
        {
            _at += 4;
            return true;
        }

        if (_text[_at..].StartsWith("false"u8))
        {
            _at += 5;
            return false;
        }

        return null;
    }

    /// <summary>Takes null if it comes next.</summary>
    public bool Null()
    {
        Peek();
        if (!_text[_at..].StartsWith("null"u8))
        {
            return false;
        }

        _at += 4;
        return true;
    }

    /// <summary>Takes and forgets one value of any kind.</summary>
    public void Skip(ref byte[] scratch, int depth = 0)
    {
        if (depth > MaxDepth)
        {
            throw Fail($"the JSON is nested deeper than {MaxDepth} levels");
        }

        switch (Peek())
        {
            case (byte)'{':
                _at++;
                if (Try((byte)'}'))
                {
                    return;
                }

                do
                {
                    String(ref scratch);
                    Expect((byte)':');
                    Skip(ref scratch, depth + 1);
                }
                while (More((byte)'}'));
                return;
            case (byte)'[':
                _at++;
                if (Try((byte)']'))
                {
                    return;
                }

                do
                {
                    Skip(ref scratch, depth + 1);
                }
                while (More((byte)']'));
                return;
            case (byte)'"':
                String(ref scratch);
                return;
            case (byte)'t' or (byte)'f' when Boolean() is not null:
            case (byte)'n' when Null():
                return;
            default:
                Number();
                return;
        }
    }

    /// <summary>An error at the present place.</summary>
    public readonly OipFormatException Fail(string what) => new($"{what} (at byte {_at})");

    private readonly OipFormatException Unexpected(string wanted) => new(
        _at >= _text.Length ? $"the JSON ends where {wanted} is expected" : $"{wanted} is expected at byte {_at}, got '{Show(_text.Slice(_at, Math.Min(12, _text.Length - _at)))}'");

    private static string Show(ReadOnlySpan<byte> bytes) => Encoding.UTF8.GetString(bytes[..Math.Min(40, bytes.Length)]);

    private static SearchValues<byte> Special { get; } =
        SearchValues.Create([(byte)'"', (byte)'\\', .. Enumerable.Range(0, 0x20).Select(control => (byte)control)]);

    private static SearchValues<byte> NumberBytes { get; } = SearchValues.Create("+-.0123456789eENaInfity"u8);

    // The grammar of JSON numbers, so that "01", "1." and ".5" are refused as every strict parser refuses them.
    private static bool IsNumber(ReadOnlySpan<byte> number)
    {
        if (number.IsEmpty)
        {
            return false;
        }

        var at = number[0] == '-' ? 1 : 0;
        if (at == number.Length || !char.IsAsciiDigit((char)number[at]))
        {
            return number.SequenceEqual("NaN"u8) || number[at..].SequenceEqual("Infinity"u8);
        }

        if (number[at] == '0')
        {
            at++;
        }
        else
        {
            Digits(number, ref at);
        }

        if (at < number.Length && number[at] == '.')
        {
            at++;
            if (!Digits(number, ref at))
            {
                return false;
            }
        }

        if (at < number.Length && number[at] is (byte)'e' or (byte)'E')
        {
            at++;
            if (at < number.Length && number[at] is (byte)'+' or (byte)'-')
            {
                at++;
            }

            if (!Digits(number, ref at))
            {
                return false;
            }
        }

        return at == number.Length;
    }

    private static bool Digits(ReadOnlySpan<byte> number, ref int at)
    {
        var start = at;
        while (at < number.Length && (uint)(number[at] - '0') <= 9)
        {
            at++;
        }

        return at > start;
    }

    private readonly ReadOnlySpan<byte> Utf8(ReadOnlySpan<byte> content) =>
        System.Text.Unicode.Utf8.IsValid(content) ? content : throw Fail("a string is not UTF-8");

    private ReadOnlySpan<byte> Escaped(ref byte[] scratch)
    {
        var length = 0;
        while (_at < _text.Length)
        {
            var next = _text[_at++];
            if (next == '"')
            {
                return Utf8(scratch.AsSpan(0, length));
            }

            if (next < 0x20)
            {
                throw Fail("a control character must be escaped in a string");
            }

            if (scratch.Length < length + 4)
            {
                Array.Resize(ref scratch, Math.Max(256, scratch.Length * 2));
            }

            if (next != '\\')
            {
                scratch[length++] = next;
                continue;
            }

            length += Escape(scratch.AsSpan(length));
        }

        throw Unexpected("the end of a string");
    }

    private int Escape(Span<byte> target)
    {
        var kind = _at < _text.Length ? _text[_at++] : (byte)0;
        switch (kind)
        {
            case (byte)'"' or (byte)'\\' or (byte)'/':
                target[0] = kind;
                return 1;
            case (byte)'b':
                target[0] = 8;
                return 1;
            case (byte)'f':
                target[0] = 12;
                return 1;
            case (byte)'n':
                target[0] = 10;
                return 1;
            case (byte)'r':
                target[0] = 13;
                return 1;
            case (byte)'t':
                target[0] = 9;
                return 1;
            case (byte)'u':
                var unit = Hex();
                if (char.IsHighSurrogate(unit) && _at + 1 < _text.Length && _text[_at] == '\\' && _text[_at + 1] == 'u')
                {
                    _at += 2;
                    var low = Hex();
                    return char.IsLowSurrogate(low) ? new Rune(unit, low).EncodeToUtf8(target) : throw Fail("a surrogate stands alone in a string");
                }

                return Rune.TryCreate(unit, out var rune) ? rune.EncodeToUtf8(target) : throw Fail("a surrogate stands alone in a string");
            default:
                throw Fail("an escape in a string is unknown");
        }
    }

    private char Hex()
    {
        if (_at + 4 > _text.Length || !ushort.TryParse(_text.Slice(_at, 4), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var unit))
        {
            throw Fail("four hexadecimal digits follow \\u");
        }

        _at += 4;
        return (char)unit;
    }
}
