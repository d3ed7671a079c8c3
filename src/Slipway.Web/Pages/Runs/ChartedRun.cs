namespace Slipway.Web.Pages;

/// <summary>A run in charts: its name and its theme colour.</summary>
public sealed record ChartedRun(string Id, string Name, string Color);
