using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Slipway.Foundation;
using Slipway.Serving;
using Slipway.Serving.Tensors;

namespace Slipway.Server.Oip;

/// <summary>
/// The child process of an endpoint whose model runs apart: one ONNX file by the Open Inference Protocol on a Unix socket. It ends when its
/// standard input does, that is with the server that started it.
/// </summary>
public static class RuntimeWorker
{
    /// <summary>Serves until the token or standard input ends.</summary>
    /// <param name="socket">Path of the socket to make.</param>
    /// <param name="model">The ONNX file.</param>
    /// <param name="errors">Told why the model cannot be served.</param>
    /// <param name="ct">Ends it.</param>
    /// <returns>The exit code.</returns>
    public static async Task<int> RunAsync(string socket, string model, TextWriter errors, CancellationToken ct)
    {
        var builder = WebApplication.CreateSlimBuilder(new WebApplicationOptions { ContentRootPath = AppContext.BaseDirectory });
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.MaxRequestBodySize = OipEndpoints.MaxBody;
            kestrel.ListenUnixSocket(socket);
        });
        await using var app = builder.Build();
        StandaloneModel loaded;
        try
        {
            loaded = StandaloneModel.Load(model, TimeProvider.System, app.Services.GetRequiredService<ILoggerFactory>());
        }
        catch (SlipwayException refused)
        {
            await errors.WriteLineAsync(refused.Sentence);
            return 2;
        }

        using (loaded)
        {
            app.Run(context => AnswerAsync(context, loaded));
            await app.StartAsync(ct);
            using var end = CancellationTokenSource.CreateLinkedTokenSource(ct);
            var orphaned = Task.Run(() => WaitForEndOfInput(end), CancellationToken.None);
            await app.WaitForShutdownAsync(end.Token);
            // The thread that reads the input ends with the process.
            return orphaned.IsFaulted ? 1 : 0;
        }
    }

    private static void WaitForEndOfInput(CancellationTokenSource end)
    {
        using var input = Console.OpenStandardInput();
        while (input.ReadByte() >= 0)
        {
        }

        end.Cancel();
    }

    private static Task AnswerAsync(HttpContext context, StandaloneModel model) => (context.Request.Method, context.Request.Path.Value) switch
    {
        ("GET", "/v2/health/ready") => OipEndpoints.Json(context, 200, json => json.WriteBoolean("ready", true)),
        ("GET", "/v2/models/model") => OipEndpoints.Json(context, 200, json =>
        {
            json.WriteString("name", "model");
            OipEndpoints.Tensors(json, "inputs", model.Signature.Inputs);
            OipEndpoints.Tensors(json, "outputs", model.Signature.Outputs);
        }),
        ("POST", "/v2/models/model/infer") => InferAsync(context, model),
        _ => OipEndpoints.ErrorAsync(context, 404, $"there is no {context.Request.Method} {context.Request.Path}"),
    };

    private static async Task InferAsync(HttpContext context, StandaloneModel model)
    {
        using var request = InferRequest.Rent();
        request.Endpoint = "model";
        if (await OipEndpoints.ReadAsync(context, _ => model.Signature, request) is { } fault)
        {
            await OipEndpoints.ErrorAsync(context, fault.Status, fault.Message);
            return;
        }

        var outcome = await model.InferAsync(request, context.RequestAborted);
        await (outcome.Code is { } code ? OipEndpoints.ErrorAsync(context, OipEndpoints.Status(code), outcome.Message ?? "") : OipEndpoints.AnswerAsync(context, request, outcome));
    }
}
