namespace Slipway.Client;

/// <summary>A part of a list; a token asks for the next part.</summary>
public sealed record Page<T>(IReadOnlyList<T> Items, string? NextToken);

/// <summary>What a commit to a dataset says.</summary>
/// <param name="Message">Why the version exists.</param>
/// <param name="Branch">The branch to move.</param>
/// <param name="ExpectedParent">The version that must be the branch's head; null: whatever is.</param>
public sealed record NewCommit(string Message, string Branch = "main", string? ExpectedParent = null);

/// <summary>The proof of the journal.</summary>
/// <param name="Intact">Whether nothing was changed, removed or inserted.</param>
/// <param name="Entries">How many entries were read.</param>
/// <param name="Root">The root over them, 64 hexadecimal digits.</param>
/// <param name="Erased">How many entries have an erased detail.</param>
/// <param name="CheckpointSize">How many entries the newest signed checkpoint vouches for.</param>
/// <param name="Findings">What is wrong.</param>
/// <param name="Took">The time it took.</param>
public sealed record VerifyReport(bool Intact, long Entries, string Root, long Erased, long? CheckpointSize, IReadOnlyList<string> Findings, TimeSpan Took);

/// <summary>What became of labels.</summary>
public sealed record LabelReport(long Joined, long Parked, long Duplicate, long Conflict, long Stale, long Late)
{
    public static LabelReport operator +(LabelReport a, LabelReport b) =>
        new(a.Joined + b.Joined, a.Parked + b.Parked, a.Duplicate + b.Duplicate, a.Conflict + b.Conflict, a.Stale + b.Stale, a.Late + b.Late);
}
