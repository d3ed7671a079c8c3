using Slipway.Foundation;
using Slipway.Server;

try
{
    await using var server = SlipwayServer.Create(new SlipwayOptions { Urls = [args.FirstOrDefault() ?? SlipwayOptions.DefaultUrl] });
    await server.StartAsync(CancellationToken.None);
    Console.WriteLine(string.Join(' ', server.Urls));
    await server.WaitForShutdownAsync(CancellationToken.None);
}
catch (SlipwayException e)
{
    Console.Error.WriteLine($"{e.Sentence} {e.Next}");
}
