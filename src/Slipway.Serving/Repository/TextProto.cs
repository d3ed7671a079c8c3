using System.Text;
using Slipway.Foundation;

namespace Slipway.Serving.Repository;

/// <summary>One message of protobuf's text format: the values of each field, in their order. Bounded in size and nesting.</summary>
internal sealed class TextProto
{
    private const int MaxText = 1 << 20;
    private const int MaxDepth = 32;
    private readonly Dictionary<string, List<object>> _fields = new(StringComparer.Ordinal);

    /// <summary>The names of its fields.</summary>
    public IEnumerable<string> Names => _fields.Keys;

    /// <summary>Reads a text. InvalidArgument names <paramref name="what"/>, the line and the reason.</summary>
    public static TextProto Parse(string text, string what)
    {
        if (text.Length > MaxText)
        {
            throw new SlipwayException(ErrorCode.InvalidArgument, $"{what} cannot be read", $"it has {text.Length} characters, at most {MaxText} are read");
        }

        var parser = new Parser(text, what);
        return parser.Message(end: '\0', depth: 0);
    }

    public bool Has(string field) => _fields.ContainsKey(field);

    /// <summary>The messages of a field.</summary>
    public IEnumerable<TextProto> Messages(string field) => Values(field).OfType<TextProto>();

    /// <summary>The last text, number or word of a field, or null.</summary>
    public string? Text(string field) => Values(field).OfType<string>().LastOrDefault();

    /// <summary>The texts, numbers and words of a field.</summary>
    public IEnumerable<string> Texts(string field) => Values(field).OfType<string>();

    private List<object> Values(string field) => _fields.GetValueOrDefault(field) ?? [];

    private void Add(string field, object value)
    {
        if (!_fields.TryGetValue(field, out var values))
        {
            _fields.Add(field, values = []);
        }

        values.Add(value);
    }

    private sealed class Parser(string text, string what)
    {
        private int _at;

        public TextProto Message(char end, int depth)
        {
            if (depth > MaxDepth)
            {
                throw Wrong($"it is nested deeper than {MaxDepth} levels");
            }

            var message = new TextProto();
            while (Peek() is var next && next != end)
            {
                if (next == '\0')
                {
                    throw Wrong($"'{end}' is missing at the end");
                }

                if (next is ',' or ';')
                {
                    _at++;
                    continue;
                }

                Field(message, Word(), depth);
            }

            _at++;
            return message;
        }

        private void Field(TextProto message, string name, int depth)
        {
            var colon = Peek() == ':';
            _at += colon ? 1 : 0;
            if (Peek() != '[')
            {
                message.Add(name, Value(name, colon, depth));
                return;
            }

            _at++;
            while (Peek() != ']')
            {
                message.Add(name, Value(name, colon: true, depth));
                if (Peek() == ',')
                {
                    _at++;
                }
            }

            _at++;
        }

        private object Value(string field, bool colon, int depth)
        {
            switch (Peek())
            {
                case '{':
                    _at++;
                    return Message('}', depth + 1);
                case '<':
                    _at++;
                    return Message('>', depth + 1);
                case '"' or '\'':
                    var whole = new StringBuilder();
                    while (Peek() is '"' or '\'')
                    {
                        Quoted(whole);
                    }

                    return whole.ToString();
                default:
                    return colon ? Word() : throw Wrong($"field '{field}' has no value");
            }
        }

        private void Quoted(StringBuilder whole)
        {
            var quote = text[_at++];
            while (_at < text.Length && text[_at] != quote && text[_at] != '\n')
            {
                if (text[_at] == '\\' && _at + 1 < text.Length)
                {
                    _at++;
                    whole.Append(text[_at] switch { 'n' => '\n', 't' => '\t', 'r' => '\r', var other => other });
                }
                else
                {
                    whole.Append(text[_at]);
                }

                _at++;
            }

            if (_at >= text.Length || text[_at] != quote)
            {
                throw Wrong("a text is not closed");
            }

            _at++;
        }

        private string Word()
        {
            Peek();
            var start = _at;
            while (_at < text.Length && (char.IsAsciiLetterOrDigit(text[_at]) || text[_at] is '_' or '-' or '+' or '.'))
            {
                _at++;
            }

            return _at > start ? text[start.._at] : throw Wrong(_at < text.Length ? $"'{text[_at]}' is not expected" : "it ends too early");
        }

        /// <summary>The next character that is neither white space nor comment, without taking it; zero at the end.</summary>
        private char Peek()
        {
            while (_at < text.Length)
            {
                if (text[_at] == '#')
                {
                    while (_at < text.Length && text[_at] != '\n')
                    {
                        _at++;
                    }
                }
                else if (char.IsWhiteSpace(text[_at]))
                {
                    _at++;
                }
                else
                {
                    return text[_at];
                }
            }

            return '\0';
        }

        private SlipwayException Wrong(string why) => new(
            ErrorCode.InvalidArgument, $"{what} cannot be read", $"line {text.AsSpan(0, Math.Min(_at, text.Length)).Count('\n') + 1}: {why}", "write it in protobuf's text format");
    }
}
