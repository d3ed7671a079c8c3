using System.Net;
using System.Net.NetworkInformation;
using System.Net.Sockets;

namespace Slipway.Foundation;

/// <summary>
/// Which addresses this server calls when a user names one, as for a webhook. The address that was checked is the address that is connected to: a name is resolved once,
/// every answer must be public, and nothing follows redirects or a proxy.
/// </summary>
public static class OutboundAddress
{
    private static readonly IPNetwork[] NotPublic = new[]
    {
        // IPv4: this network, private, shared (carrier NAT), loopback, link-local, protocol, documentation, 6to4 relay, benchmark, multicast, reserved.
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24",
        "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        // IPv6: unspecified, loopback and IPv4-compatible, NAT64, discard, Teredo and other protocol uses, documentation, 6to4, unique local, link-local, site-local, multicast.
        "::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
    }.Select(IPNetwork.Parse).ToArray();

    /// <summary>The address of a receiver, or an error with the rule it breaks.</summary>
    /// <exception cref="SlipwayException">InvalidArgument.</exception>
    public static Uri Check(string url, bool allowLoopback)
    {
        string? why = Problem(url, allowLoopback, out Uri? uri);
        return why is null ? uri! : throw SlipwayException.Invalid("the receiver's address is not allowed", why, "give an https address of a public host, or allow loopback for a receiver on this machine");
    }

    /// <summary>Connects to a checked address of the host.</summary>
    /// <exception cref="HttpRequestException">One of its addresses is not allowed.</exception>
    public static async ValueTask<Stream> ConnectAsync(DnsEndPoint host, bool allowLoopback, CancellationToken ct)
    {
        IPAddress[] addresses = IPAddress.TryParse(host.Host, out IPAddress? literal) ? [literal] : await Dns.GetHostAddressesAsync(host.Host, ct);
        foreach (IPAddress address in addresses)
        {
            if (!IsAllowed(address, allowLoopback))
            {
                throw new HttpRequestException($"{host.Host} resolves to {address}, which is not a public address");
            }
        }

        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            await socket.ConnectAsync(addresses, host.Port, ct);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    /// <summary>Whether an address is public and not this machine's own, or loopback where that is allowed.</summary>
    public static bool IsAllowed(IPAddress address, bool allowLoopback)
    {
        IPAddress plain = address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address;
        if (IPAddress.IsLoopback(plain))
        {
            return allowLoopback;
        }

        return !NotPublic.Any(n => n.BaseAddress.AddressFamily == plain.AddressFamily && n.Contains(plain)) && !IsOwn(plain);
    }

    private static bool IsOwn(IPAddress address) =>
        NetworkInterface.GetAllNetworkInterfaces().SelectMany(n => n.GetIPProperties().UnicastAddresses).Any(u => u.Address.Equals(address));

    private static string? Problem(string url, bool allowLoopback, out Uri? uri)
    {
        if (!Uri.TryCreate(url, UriKind.Absolute, out uri) || uri.Scheme is not ("http" or "https") || url.Length > 2048)
        {
            return $"'{url}' is not an absolute http or https address of at most 2,048 characters";
        }

        bool literal = IPAddress.TryParse(uri.DnsSafeHost, out IPAddress? address);
        bool loopback = uri.IsLoopback || (literal && IPAddress.IsLoopback(address!));
        if (loopback)
        {
            return allowLoopback ? null : $"{uri.Host} is this machine and the receiver does not allow loopback";
        }

        return uri switch
        {
            { UserInfo.Length: > 0 } => "the address carries a user name or password",
            { Scheme: "http" } => "the address is http, https is required",
            { IsDefaultPort: false } => $"port {uri.Port} is not the default port of https",
            _ when uri.DnsSafeHost.Contains('%', StringComparison.Ordinal) => "the address has an IPv6 zone",
            _ when uri.IdnHost != uri.Host && !literal => $"the host {uri.Host} is not plain ASCII; write {uri.IdnHost}",
            _ when literal && !IsAllowed(address!, allowLoopback) => $"{address} is not a public address",
            _ => null,
        };
    }
}
