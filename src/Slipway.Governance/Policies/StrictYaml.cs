using Slipway.Foundation;
using YamlDotNet.Core;
using YamlDotNet.Core.Events;

namespace Slipway.Governance;

/// <summary>One value of a strict YAML document and where it stands (1-based).</summary>
public abstract record YamlNode(long Line)
{
    /// <summary>Where in its line it begins.</summary>
    public long Column { get; init; }
}

public sealed record YamlScalar(string Value, long Line) : YamlNode(Line);

public sealed record YamlList(IReadOnlyList<YamlNode> Items, long Line) : YamlNode(Line);

public sealed record YamlMap(IReadOnlyList<YamlField> Fields, long Line) : YamlNode(Line);

public sealed record YamlField(string Name, YamlNode Value, long Line)
{
    /// <summary>Where in its line the name begins.</summary>
    public long Column { get; init; }
}

/// <summary>
/// Reads the part of YAML that means one thing only: maps, lists and scalars. Anchors, aliases, tags, merge keys, duplicate keys,
/// directives and further documents are refused at the token, before anything is built from them: a few hundred bytes of aliases can stand for gigabytes.
/// </summary>
public static class StrictYaml
{
    /// <summary>Largest document, in UTF-16 characters.</summary>
    public const int MaxLength = 256 * 1024;

    private const int MaxDepth = 32;
    private const int MaxNodes = 20_000;

    /// <exception cref="SlipwayException"><see cref="ErrorCode.InvalidArgument"/> with the line, or <see cref="ErrorCode.TooLarge"/>.</exception>
    public static YamlNode Parse(string text, string what)
    {
        if (text.Length > MaxLength)
            throw new SlipwayException(ErrorCode.TooLarge, $"the {what} is too large", $"it has {text.Length} characters; at most {MaxLength} are read");
        try
        {
            return new Reader(new Parser(new Scanner(new StringReader(text), skipComments: true)), what).Document();
        }
        catch (YamlException e)
        {
            throw Refuse(what, e.Start.Line, e.Message, e);
        }
    }

    private static SlipwayException Refuse(string what, long line, string why, Exception? inner = null) =>
        new(ErrorCode.InvalidArgument, $"the {what} is not readable", $"line {line}: {why}", "write plain maps, lists and values", inner);

    private sealed class Reader(Parser parser, string what)
    {
        private int nodes;

        public YamlNode Document()
        {
            Next<StreamStart>();
            if (parser.Current is StreamEnd) throw Refuse(what, 1, "it is empty");
            var start = Next<DocumentStart>();
            if (start.Version is not null || start.Tags is { Count: > 0 } && !start.IsImplicit && start.Tags.Any(t => t.Prefix != "!" && t.Prefix != "tag:yaml.org,2002:"))
                throw Refuse(what, start.Start.Line, "directives are not allowed");
            var node = Node(0);
            Next<DocumentEnd>();
            if (parser.Current is not StreamEnd) throw Refuse(what, parser.Current!.Start.Line, "a second document is not allowed");
            return node;
        }

        private YamlNode Node(int depth)
        {
            var current = parser.Current ?? throw Refuse(what, 1, "it ends too early");
            var (line, column) = (current.Start.Line, current.Start.Column);
            if (depth > MaxDepth) throw Refuse(what, line, $"it is nested deeper than {MaxDepth} levels");
            if (++nodes > MaxNodes) throw Refuse(what, line, $"it has more than {MaxNodes} values");
            if (current is AnchorAlias alias) throw Refuse(what, line, $"the alias *{alias.Value} is not allowed");
            if (current is NodeEvent { Anchor.IsEmpty: false } anchored) throw Refuse(what, line, $"the anchor &{anchored.Anchor} is not allowed");
            if (current is NodeEvent { Tag.IsEmpty: false } tagged) throw Refuse(what, line, $"the tag {tagged.Tag} is not allowed");
            switch (current)
            {
                case Scalar scalar:
                    parser.MoveNext();
                    return new YamlScalar(scalar.Value, line) { Column = column };
                case SequenceStart:
                    parser.MoveNext();
                    var items = new List<YamlNode>();
                    while (parser.Current is not SequenceEnd) items.Add(Node(depth + 1));
                    parser.MoveNext();
                    return new YamlList(items, line) { Column = column };
                case MappingStart:
                    parser.MoveNext();
                    return Map(depth, line) with { Column = column };
                default:
                    throw Refuse(what, line, $"unexpected {current.GetType().Name}");
            }
        }

        private YamlMap Map(int depth, long line)
        {
            var fields = new List<YamlField>();
            var names = new HashSet<string>(StringComparer.Ordinal);
            while (parser.Current is not MappingEnd)
            {
                if (Node(depth + 1) is not YamlScalar key) throw Refuse(what, line, "a field name must be plain text");
                if (string.Equals(key.Value, "<<", StringComparison.Ordinal)) throw Refuse(what, key.Line, "the merge key << is not allowed");
                if (!names.Add(key.Value)) throw Refuse(what, key.Line, $"the field '{key.Value}' is given twice");
                fields.Add(new YamlField(key.Value, Node(depth + 1), key.Line) { Column = key.Column });
            }
            parser.MoveNext();
            return new YamlMap(fields, line);
        }

        private T Next<T>() where T : ParsingEvent
        {
            if (parser.Current is null) parser.MoveNext();
            if (parser.Current is not T found) throw Refuse(what, parser.Current?.Start.Line ?? 1, $"expected {typeof(T).Name}");
            parser.MoveNext();
            return found;
        }
    }
}
