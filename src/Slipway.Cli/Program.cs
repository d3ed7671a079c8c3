using Slipway.Server;

await using var server = SlipwayServer.Create(new SlipwayOptions { Urls = [args.FirstOrDefault() ?? SlipwayOptions.DefaultUrl] });
await server.StartAsync(CancellationToken.None);
Console.WriteLine(string.Join(' ', server.Urls));
await server.WaitForShutdownAsync(CancellationToken.None);
