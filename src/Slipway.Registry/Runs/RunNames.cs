using System.Security.Cryptography;

namespace Slipway.Registry;

/// <summary>Names of runs that nobody named: <c>adjective-animal-number</c>.</summary>
internal static class RunNames
{
    private static readonly string[] Adjectives =
    [
        "able", "agile", "amber", "ample", "azure", "balmy", "bold", "brave", "brisk", "calm", "candid", "cheery", "civil", "clear", "clever",
        "cosmic", "crisp", "curious", "daring", "deft", "eager", "early", "earnest", "fabled", "fair", "fleet", "fluent", "frank", "gentle",
        "glad", "golden", "grand", "hardy", "honest", "humble", "jolly", "keen", "kind", "lively", "lucid", "lunar", "mellow", "merry", "mild",
        "modest", "neat", "nimble", "noble", "patient", "placid", "polite", "proud", "quick", "quiet", "rapid", "rustic", "serene", "sharp",
        "silent", "sober", "solar", "spry", "steady", "stoic", "sunny", "swift", "tidy", "tranquil", "upbeat", "vivid", "wise", "witty", "zesty",
    ];

    private static readonly string[] Animals =
    [
        "auk", "badger", "bat", "bear", "beaver", "bison", "bittern", "boar", "bream", "carp", "cat", "chough", "cod", "colt", "cormorant", "crab",
        "crane", "crow", "curlew", "deer", "dolphin", "dove", "duck", "eagle", "eel", "egret", "elk", "falcon", "ferret", "finch", "fox", "frog",
        "gannet", "goat", "goose", "grouse", "gull", "hare", "hawk", "heron", "hound", "ibex", "jackdaw", "jay", "kestrel", "kite", "lark", "linnet",
        "lynx", "marten", "mole", "moose", "moth", "newt", "orca", "otter", "owl", "perch", "petrel", "pike", "plover", "puffin", "quail", "raven",
        "robin", "salmon", "seal", "shrew", "skua", "snipe", "stoat", "stork", "swan", "tern", "thrush", "toad", "trout", "vole", "walrus", "whale",
        "wolf", "wren", "yak",
    ];

    public static string New() =>
        $"{Adjectives[RandomNumberGenerator.GetInt32(Adjectives.Length)]}-{Animals[RandomNumberGenerator.GetInt32(Animals.Length)]}-{RandomNumberGenerator.GetInt32(1, 1000)}";
}
