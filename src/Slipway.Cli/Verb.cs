using System.CommandLine;

namespace Slipway.Cli;

/// <summary>A noun: it holds verbs. The plural of one that can be counted is accepted as well; help does not list it.</summary>
internal sealed class Noun : Command
{
    public Noun(string name, string description, bool counted = true)
        : base(name, description)
    {
        Plural = !counted ? null : name.EndsWith('y') ? name[..^1] + "ies" : name.EndsWith('s') ? name + "es" : name + "s";
        if (Plural is not null)
        {
            Aliases.Add(Plural);
        }
    }

    public string? Plural { get; }
}

/// <summary>What is done to a noun.</summary>
internal sealed class Verb : Command
{
    public Verb(string name, string description, params string[] examples)
        : base(name, description) => Examples = examples;

    public IReadOnlyList<string> Examples { get; }

    /// <summary>Takes these arguments and options.</summary>
    public Verb With(params Symbol[] symbols)
    {
        foreach (var symbol in symbols)
        {
            if (symbol is Argument argument)
            {
                Add(argument);
            }
            else
            {
                Add((Option)symbol);
            }
        }

        return this;
    }

    /// <summary>Does this, and ends with its exit code.</summary>
    public Verb Does(Globals globals, Terminal terminal, Func<Session, Task<int>> act)
    {
        SetAction((parse, ct) => Session.RunAsync(parse, globals, terminal, act, ct));
        return this;
    }
}
