namespace Slipway.Governance;

/// <summary>
/// Who needs something, as a query of a module over its own tables with the columns <c>holder</c> and <c>text</c>: a subject
/// (<c>model-version:fraud/7</c>), its name (<c>fraud/7</c>), or a JSON document that holds the name. What is held is not purged.
/// </summary>
/// <param name="Sql">The query.</param>
/// <param name="Serves">Whether it may not even be deleted while this stands, because requests depend on it.</param>
public sealed record SubjectHold(string Sql, bool Serves = false);
