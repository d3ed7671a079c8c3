using Dapper;

namespace Slipway.Registry;

/// <summary>A list for IN, one parameter an item: the form that both databases take.</summary>
internal static class SqlList
{
    public static (string Sql, DynamicParameters Args) Of<T>(IReadOnlyList<T> items)
    {
        var args = new DynamicParameters();
        for (var i = 0; i < items.Count; i++)
        {
            args.Add($"i{i}", items[i]);
        }

        return (string.Join(", ", Enumerable.Range(0, items.Count).Select(i => $"@i{i}")), args);
    }
}
