using Microsoft.Extensions.DependencyInjection;
using Slipway.Foundation;
using Slipway.Registry;
using Slipway.Serving;

namespace Slipway.Tests.Serving;

/// <summary>A whole server on free ports that serves every reference model under its own name.</summary>
public sealed class ServedModels : IAsyncLifetime
{
    private readonly TemporaryFolder _folder = new();

    public SlipwayServer Server { get; private set; } = null!;

    public async ValueTask InitializeAsync()
    {
        Server = SlipwayServer.Create(new SlipwayOptions { DataDirectory = _folder.Path, Urls = ["http://127.0.0.1:0"], GrpcUrls = ["http://127.0.0.1:0"] });
        await Server.StartAsync(CancellationToken.None);
        foreach (var model in ReferenceModels.All.Select(row => row.Data))
        {
            await ServeAsync(model, ReferenceModels.Bytes(model));
        }
    }

    public async ValueTask DisposeAsync()
    {
        await Server.DisposeAsync();
        _folder.Dispose();
    }

    /// <summary>Registers one more model and makes an endpoint of its name.</summary>
    public async Task ServeAsync(string name, byte[] content)
    {
        var (models, blobs, endpoints) = (Server.Services.GetRequiredService<Models>(), Server.Services.GetRequiredService<IBlobStore>(), Server.Services.GetRequiredService<Endpoints>());
        await models.CreateAsync(TestWorld.Ada, name, null, CancellationToken.None);
        var blob = await blobs.PutAsync(new MemoryStream(content), CancellationToken.None);
        await models.RegisterAsync(TestWorld.Ada, new RegisterVersion { Name = name, Source = "s3://models/m", Files = [new("model.onnx", blob.Hash, blob.Size)] }, CancellationToken.None);
        await endpoints.CreateAsync(TestWorld.Ada, new CreateEndpoint { Name = name, ModelVersion = $"{name}/1" }, CancellationToken.None);
    }
}
