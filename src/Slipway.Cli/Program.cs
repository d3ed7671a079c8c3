using System.Runtime.InteropServices;
using Slipway.Cli;

using var stop = new CancellationTokenSource();

// The first interrupt asks for an orderly end; a second one is left to the system.
void Interrupt(PosixSignalContext context)
{
    if (!stop.IsCancellationRequested)
    {
        context.Cancel = true;
        stop.Cancel();
    }
}

using var interrupted = PosixSignalRegistration.Create(PosixSignal.SIGINT, Interrupt);
using var terminated = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Interrupt);
if (args is ["runtime-worker", "--socket", var socket, "--model", var model])
{
    // Started by the server for a model that runs apart; not a command for people.
    return await Slipway.Server.Oip.RuntimeWorker.RunAsync(socket, model, Console.Error, stop.Token);
}

return await CommandLine.RunAsync(args, Terminal.OfProcess(), stop.Token);
