using Slipway.Benchmarks;

switch (args)
{
    case ["slots"]:
        RouteBench.Slots();
        return 0;
    case ["route"]:
        RouteBench.Route();
        return 0;
    case ["journal"]:
        await JournalBench.RunAsync(64, TimeSpan.FromSeconds(5));
        return 0;
    case ["infer", var model, var request]:
        await RouteBench.InferAsync(model, request);
        return 0;
    default:
        Console.Error.WriteLine("usage: slots | route | journal | infer MODEL.onnx REQUEST.json");
        return 2;
}
