using System.Net;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace Slipway.Server;

/// <summary>Which addresses Kestrel listens on, and what each speaks: HTTP/1.1 for pages and REST, HTTP/2 without TLS for gRPC.</summary>
internal static class Listening
{
    public static void On(KestrelServerOptions kestrel, SlipwayOptions options)
    {
        foreach (var url in options.Urls)
        {
            On(kestrel, new Uri(url), HttpProtocols.Http1);
        }

        // Without TLS a connection cannot negotiate its protocol, so gRPC has an address of its own.
        foreach (var url in options.GrpcUrls)
        {
            On(kestrel, new Uri(url), HttpProtocols.Http2);
        }
    }

    private static void On(KestrelServerOptions kestrel, Uri url, HttpProtocols protocols)
    {
        void Speak(ListenOptions listen) => listen.Protocols = protocols;
        if (IPAddress.TryParse(url.Host.Trim('[', ']'), out var address))
        {
            kestrel.Listen(address, url.Port, Speak);
        }
        else if (url.Host == "localhost")
        {
            kestrel.ListenLocalhost(url.Port, Speak);
        }
        else
        {
            // Any other name means every address of this machine, as it does for ASP.NET Core.
            kestrel.ListenAnyIP(url.Port, Speak);
        }
    }
}
