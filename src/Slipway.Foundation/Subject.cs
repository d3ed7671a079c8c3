namespace Slipway.Foundation;

/// <summary>Anything one can point at: <c>kind:name</c>, for example <c>model-version:flights/7</c>.</summary>
public readonly record struct Subject(string Kind, string Name)
{
    /// <summary>Reads <c>kind:name</c>.</summary>
    /// <exception cref="SlipwayException">InvalidArgument when there is no kind or no name.</exception>
    public static Subject Parse(string urn)
    {
        var colon = urn.IndexOf(':', StringComparison.Ordinal);
        if (colon <= 0 || colon == urn.Length - 1)
        {
            throw new SlipwayException(ErrorCode.InvalidArgument, $"\"{urn}\" is not a subject", "a subject is kind:name", "write for example model-version:flights/7");
        }

        return new Subject(urn[..colon], urn[(colon + 1)..]);
    }

    public override string ToString() => $"{Kind}:{Name}";
}
