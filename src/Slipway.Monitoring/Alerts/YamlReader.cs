using System.Globalization;
using Slipway.Foundation;
using Slipway.Governance;

namespace Slipway.Monitoring;

/// <summary>Reads a strict YAML document field by field and gathers everything that is wrong with it, each with its place.</summary>
/// <param name="file">Name of the file, or null for text that came without one.</param>
internal sealed class YamlReader(string? file)
{
    private readonly List<string> problems = [];

    /// <summary>The fields of the document.</summary>
    /// <exception cref="SlipwayException">InvalidArgument or TooLarge when it is no YAML of the strict kind.</exception>
    public Fields? Document(string text, string what, string apiVersion, string kind, params string[] known)
    {
        YamlNode root = StrictYaml.Parse(text, what);
        if (Map(root, what, ["apiVersion", "kind", .. known]) is not { } top)
        {
            return null;
        }

        top.Exactly("apiVersion", apiVersion);
        top.Exactly("kind", kind);
        return top;
    }

    public Fields? Map(YamlNode node, string what, params string[] known)
    {
        if (node is not YamlMap map)
        {
            Problem(node.Line, $"the {what} must be a map with the fields {string.Join(", ", known)}");
            return null;
        }

        foreach (YamlField field in map.Fields.Where(f => !known.Contains(f.Name, StringComparer.Ordinal)))
        {
            Problem(field.Line, $"unknown field '{field.Name}', {Nearest.Hint(field.Name, known) ?? "known: " + string.Join(", ", known)}");
        }

        return new Fields(this, map, what);
    }

    public void Problem(long line, string why) => problems.Add(file is null ? $"line {line}: {why}" : $"{file}:{line}: {why}");

    /// <exception cref="SlipwayException">InvalidArgument that lists every problem.</exception>
    public void Demand(string what)
    {
        if (problems.Count > 0)
        {
            throw SlipwayException.Invalid($"{what} cannot be used", string.Join("; ", problems), "correct the lines named and try again");
        }
    }

    /// <summary>The fields of one map.</summary>
    internal sealed class Fields(YamlReader reader, YamlMap map, string what)
    {
        public long Line => map.Line;

        public YamlNode? Node(string name) => map.Fields.FirstOrDefault(f => f.Name == name)?.Value;

        public bool Has(string name) => Node(name) is not null;

        public void Exactly(string name, string wanted)
        {
            if (Text(name) is { } value && value != wanted)
            {
                reader.Problem(Node(name)!.Line, $"'{name}' must be '{wanted}', not '{value}'");
            }
        }

        public string? Text(string name) => Optional(name) ?? Missing<string>(name);

        public string? Optional(string name)
        {
            switch (Node(name))
            {
                case null:
                    return null;
                case YamlScalar { Value: { Length: > 0 and <= 4_000 } value }:
                    return value;
                case { } other:
                    reader.Problem(other.Line, $"'{name}' must be text of 1 to 4,000 characters");
                    return "";
            }
        }

        public T Read<T>(string name, T otherwise, Func<string, T> parse)
        {
            if (Node(name) is not { } node || Optional(name) is not { Length: > 0 } text)
            {
                return otherwise;
            }

            try
            {
                return parse(text);
            }
            catch (Exception e) when (e is FormatException or SlipwayException)
            {
                reader.Problem(node.Line, $"'{name}': {(e as SlipwayException)?.Why ?? e.Message}");
                return otherwise;
            }
        }

        public TimeSpan Span(string name, TimeSpan otherwise) => Read(name, otherwise, Duration.Parse);

        public int Integer(string name, int otherwise, int least, int most) => Read(name, otherwise, text =>
            int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int value) && value >= least && value <= most ? value : throw new FormatException($"'{text}' is not a whole number from {least} to {most}"));

        public bool Flag(string name, bool otherwise) => Read(name, otherwise, text => text switch { "true" => true, "false" => false, _ => throw new FormatException($"'{text}' is not true or false") });

        public string OneOf(string name, string otherwise, params string[] known) => Read(name, otherwise, text =>
            known.Contains(text, StringComparer.Ordinal) ? text : throw new FormatException($"'{text}' is not one of {string.Join(", ", known)}"));

        public IReadOnlyList<YamlNode> Items(string name, int most)
        {
            switch (Node(name))
            {
                case null:
                    return [];
                case YamlList list when list.Items.Count <= most:
                    return list.Items;
                case YamlList list:
                    reader.Problem(list.Line, $"'{name}' has {list.Items.Count} entries, at most {most} are allowed");
                    return [];
                case { } other:
                    reader.Problem(other.Line, $"'{name}' must be a list");
                    return [];
            }
        }

        public IReadOnlyList<T> Each<T>(string name, int most, Func<string, T> parse)
        {
            var found = new List<T>();
            foreach (YamlNode node in Items(name, most))
            {
                try
                {
                    found.Add(parse(node is YamlScalar scalar ? scalar.Value : throw new FormatException("must be text")));
                }
                catch (Exception e) when (e is FormatException or SlipwayException)
                {
                    reader.Problem(node.Line, $"'{name}': {(e as SlipwayException)?.Why ?? e.Message}");
                }
            }

            return found;
        }

        public IReadOnlyDictionary<string, string> Labels(string name)
        {
            if (Node(name) is not { } node)
            {
                return LabelSet.Empty;
            }

            if (node is not YamlMap labels || labels.Fields.Any(f => f.Value is not YamlScalar))
            {
                reader.Problem(node.Line, $"'{name}' must be a map of texts");
                return LabelSet.Empty;
            }

            foreach (YamlField bad in labels.Fields.Where(f => !LabelSet.IsName(f.Name) || ((YamlScalar)f.Value).Value.Length > LabelSet.LongestValue))
            {
                reader.Problem(bad.Line, $"'{bad.Name}' is not a label name with a value of at most {LabelSet.LongestValue} characters");
            }

            return LabelSet.Of(labels.Fields.Select(f => KeyValuePair.Create(f.Name, ((YamlScalar)f.Value).Value)));
        }

        private T? Missing<T>(string name)
            where T : class
        {
            reader.Problem(map.Line, $"the field '{name}' of the {what} is missing");
            return null;
        }
    }
}
