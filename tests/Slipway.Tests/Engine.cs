namespace Slipway.Tests;

/// <summary>The databases that every test of a module with rows runs on.</summary>
public enum Engine
{
    Sqlite,
    Postgres,
}

public static class Engines
{
    public static TheoryData<Engine> All => [Engine.Sqlite, Engine.Postgres];
}
