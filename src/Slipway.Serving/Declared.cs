using System.Collections;
using System.Globalization;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using Slipway.Foundation;
using Slipway.Governance;

namespace Slipway.Serving;

/// <summary>A fault of a declarative file and where it is, both 1-based.</summary>
public sealed record DeclaredFault(long Line, long Column, string Text);

/// <summary>One document of a declarative file: an endpoint or a rollout.</summary>
/// <param name="Endpoint">What the endpoint should be, or null.</param>
/// <param name="Rollout">What the rollout should be, or null.</param>
public sealed record DeclaredItem(CreateEndpoint? Endpoint, ProposeRollout? Rollout);

/// <summary>
/// Endpoints and rollouts as YAML: documents of kind Endpoint and Rollout, separated by <c>---</c>. Reading finds every fault with its place; writing leaves out
/// what is as it would be without being said, so that a file shows decisions only.
/// </summary>
public static class Declared
{
    private const string EndpointVersion = "slipway.dev/endpoint/v1";
    private const string RolloutVersion = "slipway.dev/rollout/v1";

    /// <summary>Reads a file. Items are complete only where there are no faults.</summary>
    public static (IReadOnlyList<DeclaredItem> Items, IReadOnlyList<DeclaredFault> Faults) Read(string text)
    {
        var (items, faults) = (new List<DeclaredItem>(), new List<DeclaredFault>());
        foreach (var document in Documents(text))
        {
            try
            {
                var reader = new Reader(faults);
                if (reader.Read(StrictYaml.Parse(document, "file")) is { } item)
                {
                    items.Add(item);
                }
            }
            catch (SlipwayException e) when (e.Code is ErrorCode.InvalidArgument or ErrorCode.TooLarge)
            {
                var line = e.Why is { } why && why.StartsWith("line ", StringComparison.Ordinal) && long.TryParse(why.AsSpan(5, Math.Max(0, why.IndexOf(':', StringComparison.Ordinal) - 5)), CultureInfo.InvariantCulture, out var at) ? at : 1;
                faults.Add(new(line, 1, e.Why is { } said && said.IndexOf(": ", StringComparison.Ordinal) is var colon and > 0 && said.StartsWith("line ", StringComparison.Ordinal) ? said[(colon + 2)..] : e.Sentence));
            }
        }

        if (items.Count == 0 && faults.Count == 0)
        {
            faults.Add(new(1, 1, "the file has no document"));
        }

        return (items, [.. faults.OrderBy(fault => fault.Line).ThenBy(fault => fault.Column)]);
    }

    /// <summary>An endpoint as a document.</summary>
    public static JsonObject Write(Endpoint endpoint) => Write(new CreateEndpoint
    {
        Name = endpoint.Name,
        ModelVersion = endpoint.ModelVersion,
        Policy = endpoint.Policy,
        LogPredictions = endpoint.Route.LogPredictions,
        Settings = endpoint.Route.Settings,
    });

    /// <summary>What an endpoint should be, as a document.</summary>
    public static JsonObject Write(CreateEndpoint endpoint) => Headed(EndpointVersion, "Endpoint", Tidy(JsonSerializer.SerializeToNode(endpoint, CanonicalJson.Options)!.AsObject(), typeof(CreateEndpoint)));

    /// <summary>A rollout's plan as a document.</summary>
    public static JsonObject Write(Rollout rollout) => Write(new ProposeRollout { Endpoint = rollout.Endpoint, Candidate = rollout.Spec.Variants.Count > 0 ? null : rollout.Candidate, Policy = rollout.Policy, Spec = rollout.Spec });

    /// <summary>What a rollout should be, as a document.</summary>
    public static JsonObject Write(ProposeRollout rollout)
    {
        var json = JsonSerializer.SerializeToNode(rollout with { Spec = rollout.Spec.Planned() }, CanonicalJson.Options)!.AsObject();
        var spec = json["spec"]!.AsObject();
        json.Remove("spec");
        var kind = spec["kind"]?.DeepClone();
        spec.Remove("kind");
        if (!rollout.CreateEndpoint)
        {
            json.Remove("createEndpoint");
        }

        json["strategy"] = kind;
        var tidy = Tidy(spec, typeof(RolloutSpec));
        if (tidy["steps"] is JsonArray steps)
        {
            tidy["steps"] = new JsonArray([.. rollout.Spec.Planned().Steps.Zip(steps.Select(step => step!.AsObject()), Short)]);
        }

        foreach (var (name, value) in tidy.ToList())
        {
            tidy.Remove(name);
            json[name] = value;
        }

        return Headed(RolloutVersion, "Rollout", json);
    }

    /// <summary>What differs between two documents: the place, the value before and after, as text; empty where a document has nothing.</summary>
    public static IReadOnlyList<(string Path, string Before, string After)> Diff(JsonNode? before, JsonNode? after)
    {
        var (left, right) = (new SortedDictionary<string, string>(StringComparer.Ordinal), new SortedDictionary<string, string>(StringComparer.Ordinal));
        Flatten(before, "", left);
        Flatten(after, "", right);
        return [.. left.Keys.Union(right.Keys).Order(StringComparer.Ordinal).Where(path => left.GetValueOrDefault(path) != right.GetValueOrDefault(path)).Select(path => (path, left.GetValueOrDefault(path) ?? "", right.GetValueOrDefault(path) ?? ""))];
    }

    private static void Flatten(JsonNode? node, string path, SortedDictionary<string, string> to)
    {
        switch (node)
        {
            case JsonObject { Count: 0 } when path.Length > 0:
                to[path] = "{}";
                break;
            case JsonObject map:
                // The head says which kind of document it is, and both are of one kind.
                foreach (var (name, value) in map.Where(field => path.Length > 0 || field.Key is not ("apiVersion" or "kind")))
                {
                    Flatten(value, path.Length == 0 ? name : $"{path}.{name}", to);
                }

                break;
            case JsonArray list:
                for (var i = 0; i < list.Count; i++)
                {
                    Flatten(list[i], $"{path}[{i}]", to);
                }

                break;
            case not null:
                to[path] = node.ToString();
                break;
        }
    }

    // The documents of a file, each with the lines before it blank, so that places stay true.
    private static IEnumerable<string> Documents(string text)
    {
        var (lines, start) = (text.ReplaceLineEndings("\n").Split('\n'), 0);
        for (var i = 0; i <= lines.Length; i++)
        {
            if (i < lines.Length && lines[i].TrimEnd() != "---")
            {
                continue;
            }

            if (lines.AsSpan(start, i - start).ToArray().Any(line => line.Trim() is { Length: > 0 } said && said[0] != '#'))
            {
                yield return new string('\n', start) + string.Join('\n', lines[start..i]);
            }

            start = i + 1;
        }
    }

    private static JsonObject Headed(string version, string kind, JsonObject body)
    {
        var document = new JsonObject { ["apiVersion"] = version, ["kind"] = kind };
        foreach (var (name, value) in body.ToList())
        {
            body.Remove(name);
            document[name] = value;
        }

        return document;
    }

    // A step as people write it: `- setWeight: 5` instead of its kind and its fields.
    private static JsonNode Short(RolloutStep step, JsonObject fields)
    {
        fields.Remove("kind");
        JsonNode body = (step.Kind, fields.Count) switch
        {
            ("setWeight" or "mirror", 1) => fields["percent"]!.DeepClone(),
            ("pause", 1) => fields["duration"]!.DeepClone(),
            ("webhook", 1) => fields["url"]!.DeepClone(),
            ("analysis", _) => Analysis(fields),
            _ => fields.DeepClone(),
        };
        return new JsonObject { [step.Kind] = body };

        static JsonObject Analysis(JsonObject fields)
        {
            var spec = fields["analysis"]?.DeepClone().AsObject() ?? [];
            if (fields["background"] is { } background)
            {
                spec["background"] = background.DeepClone();
            }

            return spec;
        }
    }

    private static JsonObject Tidy(JsonObject json, Type type)
    {
        var standard = type == typeof(RolloutStep) ? new RolloutStep("") : type.GetConstructor(Type.EmptyTypes) is null ? null : Activator.CreateInstance(type);
        var tidy = new JsonObject();
        foreach (var property in Fields(type))
        {
            var name = Name(property.Name);
            if (json[name] is not { } value)
            {
                continue;
            }

            var usual = standard is null ? null : JsonSerializer.SerializeToNode(property.GetValue(standard), property.PropertyType, CanonicalJson.Options);
            if (!JsonNode.DeepEquals(value, usual))
            {
                tidy[name] = Tidy(value, property.PropertyType);
            }
        }

        return tidy;
    }

    private static JsonNode Tidy(JsonNode value, Type type)
    {
        type = Nullable.GetUnderlyingType(type) ?? type;
        return type == typeof(TimeSpan) ? Spoken(TimeSpan.Parse(value.GetValue<string>(), CultureInfo.InvariantCulture))
            : ItemOf(type) is { } item && value is JsonArray list ? new JsonArray([.. list.Select(entry => entry is null ? null : Tidy(entry, item))])
            : value is JsonObject json && IsRecord(type) ? Tidy(json, type)
            : value.DeepClone();
    }

    private static string Spoken(TimeSpan span)
    {
        foreach (var (unit, letter) in new[] { (TimeSpan.FromDays(1), "d"), (TimeSpan.FromHours(1), "h"), (TimeSpan.FromMinutes(1), "m"), (TimeSpan.FromSeconds(1), "s"), (TimeSpan.FromMilliseconds(1), "ms") })
        {
            if (span.Ticks % unit.Ticks == 0 && (span != TimeSpan.Zero || letter == "s"))
            {
                return $"{span.Ticks / unit.Ticks}{letter}";
            }
        }

        return span.ToString("c", CultureInfo.InvariantCulture);
    }

    private static IEnumerable<PropertyInfo> Fields(Type type) => type.GetProperties(BindingFlags.Public | BindingFlags.Instance).Where(property => property.SetMethod is not null && property.GetIndexParameters().Length == 0);

    private static string Name(string name) => JsonNamingPolicy.CamelCase.ConvertName(name);

    private static bool IsRecord(Type type) => type.IsClass && type != typeof(string) && !typeof(IEnumerable).IsAssignableFrom(type);

    private static Type? ItemOf(Type type) => type.IsGenericType && type.GetGenericTypeDefinition() == typeof(IReadOnlyList<>) ? type.GetGenericArguments()[0] : null;

    /// <summary>Reads one document against the records that the product itself uses, so that no field exists twice.</summary>
    private sealed class Reader(List<DeclaredFault> faults)
    {
        private readonly Dictionary<string, (long Line, long Column)> places = new(StringComparer.Ordinal);
        private readonly List<string> broken = [];

        public DeclaredItem? Read(YamlNode root)
        {
            if (root is not YamlMap map || map.Fields.FirstOrDefault(field => field.Name == "kind")?.Value is not YamlScalar { Value: "Endpoint" or "Rollout" } kind)
            {
                Fault("", root, "a document is a map with apiVersion, and the kind Endpoint or Rollout");
                return null;
            }

            var version = kind.Value == "Endpoint" ? EndpointVersion : RolloutVersion;
            if (map.Fields.FirstOrDefault(field => field.Name == "apiVersion")?.Value is not YamlScalar { Value: var said } || said != version)
            {
                Fault("", root, $"apiVersion must be {version}");
            }

            var body = map with { Fields = [.. map.Fields.Where(field => field.Name is not ("apiVersion" or "kind"))] };
            return kind.Value == "Endpoint" ? Endpoint(body) : Rollout(body);
        }

        private DeclaredItem? Endpoint(YamlMap map)
        {
            var json = Record(map, typeof(CreateEndpoint), "", []);
            if (broken.Count > 0)
            {
                return null;
            }

            var endpoint = json.Deserialize<CreateEndpoint>(CanonicalJson.Options)!;
            foreach (var problem in endpoint.Settings?.Problems() ?? [])
            {
                Fault("settings", map, problem);
            }

            if (!Endpoints.IsName(endpoint.Name))
            {
                Fault("name", map, $"'{endpoint.Name}' is not a name for an endpoint");
            }

            return new(endpoint, null);
        }

        private DeclaredItem? Rollout(YamlMap map)
        {
            string[] own = ["endpoint", "candidate", "policy", "createEndpoint"];
            var spec = Record(map with { Fields = [.. map.Fields.Where(field => !own.Contains(field.Name)).Select(field => field.Name == "strategy" ? field with { Name = "kind" } : field)] }, typeof(RolloutSpec), "", own);
            var json = Record(map with { Fields = [.. map.Fields.Where(field => own.Contains(field.Name))] }, typeof(ProposeRollout), "", ["spec"]);
            if (!json.ContainsKey("candidate") && spec["variants"] is not JsonArray { Count: > 0 })
            {
                Fault("", map, "the rollout names no candidate");
            }

            try
            {
                var plan = spec.Deserialize<RolloutSpec>(CanonicalJson.Options)!;
                foreach (var (path, text) in RolloutFaults.Of(plan).Where(fault => !broken.Any(path => fault.Path.StartsWith(Step(path), StringComparison.Ordinal))))
                {
                    Fault(path, map, text);
                }

                json["spec"] = spec.DeepClone();
                return broken.Count > 0 ? null : new(null, json.Deserialize<ProposeRollout>(CanonicalJson.Options));
            }
            catch (JsonException) when (broken.Count > 0)
            {
                // Fields are missing, which has been said; what depends on them cannot be judged.
                return null;
            }

            // One fault of a step is enough to doubt what else is said about it.
            static string Step(string path) => path.StartsWith("steps[", StringComparison.Ordinal) ? path[..(path.IndexOf(']', StringComparison.Ordinal) + 1)] : path.Length == 0 ? "-" : path;
        }

        private JsonObject Record(YamlMap map, Type type, string path, IReadOnlyList<string> elsewhere)
        {
            places.TryAdd(path, (map.Line, map.Column));
            var fields = Fields(type).ToDictionary(property => Name(property.Name), StringComparer.Ordinal);
            var json = new JsonObject();
            foreach (var field in map.Fields)
            {
                var at = path.Length == 0 ? field.Name : $"{path}.{field.Name}";
                places[at] = (field.Line, field.Column);
                if (!fields.TryGetValue(field.Name, out var property) || (type == typeof(ProposeRollout) && field.Name == "spec"))
                {
                    var known = fields.Keys.Concat(elsewhere).Select(name => type == typeof(RolloutSpec) && name == "kind" ? "strategy" : name).ToArray();
                    faults.Add(new(field.Line, field.Column, $"unknown field '{field.Name}', {Nearest.Hint(field.Name, known) ?? "known: " + string.Join(", ", known)}"));
                    broken.Add(at);
                }
                else if (Value(field.Value, property.PropertyType, at) is { } value)
                {
                    json[field.Name] = value;
                }
            }

            var constructor = type.GetConstructors().MinBy(candidate => candidate.GetParameters().Length);
            foreach (var (name, property) in fields)
            {
                var needed = property.IsDefined(typeof(RequiredMemberAttribute)) || constructor?.GetParameters().Any(parameter => parameter.Name == property.Name && !parameter.HasDefaultValue) == true;
                if (needed && !json.ContainsKey(name) && !elsewhere.Contains(name) && !(type == typeof(RolloutVariant) && name == "modelVersion"))
                {
                    if (!broken.Contains(path.Length == 0 ? name : $"{path}.{name}"))
                    {
                        Fault(path, map, $"the field '{name}' is missing");
                    }
                }
                else if (needed && !json.ContainsKey(name) && type == typeof(RolloutVariant))
                {
                    json[name] = "";
                }
            }

            return json;
        }

        private JsonNode? Value(YamlNode node, Type declared, string path)
        {
            var type = Nullable.GetUnderlyingType(declared) ?? declared;
            places.TryAdd(path, (node.Line, node.Column));
            if (ItemOf(type) is { } item)
            {
                if (node is not YamlList list)
                {
                    return Fault(path, node, "must be a list");
                }

                var array = new JsonArray();
                for (var i = 0; i < list.Items.Count; i++)
                {
                    var at = $"{path}[{i}]";
                    places[at] = (list.Items[i].Line, list.Items[i].Column);
                    if ((item == typeof(RolloutStep) ? Step(list.Items[i], at) : Value(list.Items[i], item, at)) is { } value)
                    {
                        array.Add(value);
                    }
                }

                return array;
            }

            if (IsRecord(type))
            {
                return node is YamlMap map ? Record(map, type, path, []) : Fault(path, node, "must be a map");
            }

            if (node is not YamlScalar { Value: var text })
            {
                return Fault(path, node, "must be one value");
            }

            if (type == typeof(string))
            {
                return text;
            }

            if (type == typeof(bool))
            {
                return text is "true" or "false" ? text == "true" : Fault(path, node, $"'{text}' is not true or false");
            }

            if (type == typeof(TimeSpan))
            {
                return Span(text) is { } span ? span.ToString("c", CultureInfo.InvariantCulture) : Fault(path, node, $"'{text}' is not a duration such as 90s, 10m, 2h or 7d");
            }

            if (type.IsEnum)
            {
                return Enum.GetNames(type).Select(Name).Contains(text, StringComparer.Ordinal) ? text : Fault(path, node, $"'{text}' is not one of {string.Join(", ", Enum.GetNames(type).Select(Name))}");
            }

            if (type == typeof(int) || type == typeof(long))
            {
                return long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var whole) && (type == typeof(long) || whole is >= int.MinValue and <= int.MaxValue) ? whole : Fault(path, node, $"'{text}' is not a whole number");
            }

            return double.TryParse(text.TrimEnd('%'), NumberStyles.Float, CultureInfo.InvariantCulture, out var number) && double.IsFinite(number) ? number : Fault(path, node, $"'{text}' is not a number");
        }

        /// <summary>A step: its kind alone, or a map from its kind to what it needs.</summary>
        private JsonObject? Step(YamlNode node, string path)
        {
            if (node is YamlScalar { Value: var alone })
            {
                return Known(alone, node, path) ? new JsonObject { ["kind"] = alone } : null;
            }

            if (node is not YamlMap { Fields: [var field] })
            {
                Fault(path, node, $"a step is one of {string.Join(", ", RolloutStep.Kinds)} with what it needs, such as '- setWeight: 10'");
                return null;
            }

            if (!Known(field.Name, node, path))
            {
                return null;
            }

            var json = new JsonObject();
            if (field.Value is YamlMap { Fields: var fields } map)
            {
                if (field.Name == "analysis")
                {
                    if (fields.FirstOrDefault(inner => inner.Name == "background") is { } background)
                    {
                        json["background"] = Value(background.Value, typeof(bool), $"{path}.background");
                    }

                    var rest = map with { Fields = [.. fields.Where(inner => inner.Name != "background")] };
                    if (rest.Fields.Count > 0)
                    {
                        json["analysis"] = Record(rest, typeof(AnalysisSpec), $"{path}.analysis", []);
                    }
                }
                else
                {
                    json = Record(map, typeof(RolloutStep), path, ["kind"]);
                }
            }
            else if (field.Value is YamlScalar { Value.Length: > 0 })
            {
                var (name, type) = field.Name switch { "setWeight" or "mirror" => ("percent", typeof(double)), "pause" => ("duration", typeof(TimeSpan)), "webhook" => ("url", typeof(string)), "job" => ("pipeline", typeof(string)), "approve" => ("role", typeof(string)), _ => ("", typeof(string)) };
                if (name.Length == 0)
                {
                    Fault(path, field.Value, $"{field.Name} takes a map");
                    return null;
                }

                json[name] = Value(field.Value, type, $"{path}.{name}");
            }
            else if (field.Value is YamlList)
            {
                Fault(path, field.Value, $"{field.Name} takes a value or a map, not a list");
                return null;
            }

            json["kind"] = field.Name;
            return json;
        }

        private bool Known(string kind, YamlNode node, string path)
        {
            if (RolloutStep.Kinds.Contains(kind, StringComparer.Ordinal))
            {
                return true;
            }

            Fault(path, node, $"'{kind}' is not a kind of step, {Nearest.Hint(kind, [.. RolloutStep.Kinds]) ?? "known: " + string.Join(", ", RolloutStep.Kinds)}");
            return false;
        }

        // The nearest place that the file has: a plan may be at fault for what it does not say.
        private JsonNode? Fault(string path, YamlNode fallback, string text)
        {
            broken.Add(path);
            for (var at = path; ; at = at.LastIndexOfAny(['.', '[']) is var cut and > 0 ? at[..cut] : "")
            {
                if (places.TryGetValue(at, out var place) && at.Length > 0)
                {
                    faults.Add(new(place.Line, place.Column, text));
                    return null;
                }

                if (at.Length == 0)
                {
                    faults.Add(new(fallback.Line, fallback.Column, text));
                    return null;
                }
            }
        }

        private static TimeSpan? Span(string text)
        {
            foreach (var (suffix, unit) in new[] { ("ms", TimeSpan.TicksPerMillisecond), ("s", TimeSpan.TicksPerSecond), ("m", TimeSpan.TicksPerMinute), ("h", TimeSpan.TicksPerHour), ("d", TimeSpan.TicksPerDay) })
            {
                if (text.EndsWith(suffix, StringComparison.Ordinal) && double.TryParse(text.AsSpan(0, text.Length - suffix.Length), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var number) && number < 1e6)
                {
                    return TimeSpan.FromTicks((long)(number * unit));
                }
            }

            return TimeSpan.TryParseExact(text, "c", CultureInfo.InvariantCulture, out var span) ? span : null;
        }
    }
}
