using System.CommandLine;

namespace Slipway.Cli;


/// <summary>A noun: it holds verbs. Its plural is accepted as well.</summary>
internal sealed class Noun : Command
{
    public Noun(string name, string description)
        : base(name, description) => Aliases.Add(name.EndsWith('y') ? name[..^1] + "ies" : name + "s");
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
