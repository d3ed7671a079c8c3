using System.Reflection;

namespace Slipway.Architecture;

/// <summary>The public surface of an assembly as sorted lines, so that a change of it is a line in a review.</summary>
internal static class PublicApi
{
    public static IReadOnlyList<string> Of(Assembly assembly) =>
    [
        .. assembly.GetExportedTypes()
            .Where(t => t.Namespace?.StartsWith("Slipway", StringComparison.Ordinal) == true)
            .SelectMany(t => t.GetMembers(BindingFlags.Public | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly)
                .Where(m => m is not MethodBase { IsSpecialName: true } && !Generated(t, m))
                .Select(m => $"{t.FullName}: {Describe(m)}")
                .Prepend(t.FullName!))
            .Distinct()
            .Order(StringComparer.Ordinal),
    ];

    private static string Describe(MemberInfo member) => member switch
    {
        MethodInfo m => $"{m.Name}({string.Join(", ", m.GetParameters().Select(p => Name(p.ParameterType)))}) -> {Name(m.ReturnType)}",
        ConstructorInfo c => $"new({string.Join(", ", c.GetParameters().Select(p => Name(p.ParameterType)))})",
        PropertyInfo p => $"{p.Name} {{{(p.CanRead ? " get" : "")}{(p.SetMethod?.IsPublic == true ? " set" : "")} }} -> {Name(p.PropertyType)}",
        FieldInfo f => $"{f.Name} -> {Name(f.FieldType)}",
        _ => $"{member.MemberType} {member.Name}",
    };

    private static string Name(Type type)
    {
        if (!type.IsGenericType)
        {
            return type.Name;
        }

        var tick = type.Name.IndexOf('`', StringComparison.Ordinal);
        return $"{(tick < 0 ? type.Name : type.Name[..tick])}<{string.Join(", ", type.GetGenericArguments().Select(Name))}>";
    }

    // What the compiler adds to a record says nothing to a reviewer.
    private static bool Generated(Type type, MemberInfo member) =>
        member.Name is "Equals" or "GetHashCode" or "ToString" or "Deconstruct" or "<Clone>$" or "PrintMembers" or "value__"
        || (member is ConstructorInfo c && c.GetParameters() is [var only] && only.ParameterType == type)
        || member.Name.StartsWith('<');
}
