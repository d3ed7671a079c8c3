using Slipway.Benchmarks;

switch (args)
{
    case ["slots"]:
        RouteBench.Slots();
        return 0;
    case ["route"]:
        RouteBench.Route();
        return 0;
    case ["rollout-stats", .. var count]:
        RolloutStatisticsBench.Run(count is [var rollouts] ? int.Parse(rollouts, System.Globalization.CultureInfo.InvariantCulture) : 2000);
        return 0;
    case ["journal"]:
        await JournalBench.RunAsync(64, TimeSpan.FromSeconds(5));
        return 0;
    case ["infer", var model, var request]:
        await RouteBench.InferAsync(model, request);
        return 0;
    case ["rollback", var model, var request, .. var sizes]:
        await RollbackBench.RunAsync(model, request, sizes is [var rounds, ..] ? int.Parse(rounds, System.Globalization.CultureInfo.InvariantCulture) : 100, sizes is [_, var threads] ? int.Parse(threads, System.Globalization.CultureInfo.InvariantCulture) : Environment.ProcessorCount);
        return 0;
    case ["rollback-nodes", var model, var request, var postgres]:
        await RollbackBench.RunAsync(model, request, 100, Environment.ProcessorCount, postgres);
        return 0;
    case ["empty", var url]:
        await Servers.EmptyAsync(url);
        return 0;
    case ["naive", var url, var model]:
        await Servers.NaiveAsync(url, model);
        return 0;
    case ["compiled", .. var models] when models.Length > 0:
        await CompiledBench.RunAsync(models);
        return 0;
    case ["ort", var model, var request, var callers]:
        Servers.Ort(model, request, int.Parse(callers, System.Globalization.CultureInfo.InvariantCulture));
        return 0;
    case ["artifacts", var url, var folder, .. var pid]:
        await ArtifactBench.RunAsync(new Uri(url), folder, pid is [var id] ? int.Parse(id, System.Globalization.CultureInfo.InvariantCulture) : null);
        return 0;
    case ["track", var url]:
        await TrackingBench.RunAsync(new Uri(url));
        return 0;
    case ["body", var model, var rows, var target]:
        Console.WriteLine(Servers.Body(model, int.Parse(rows, System.Globalization.CultureInfo.InvariantCulture), target));
        return 0;
    case ["monitoring"]:
        MonitoringBench.Memory(1_000_000);
        return 0;
    case ["monitoring", "rows", var rows]:
        MonitoringBench.Memory(int.Parse(rows));
        return 0;
    case ["monitoring", "write", var folder, var rows]:
        MonitoringBench.WriteCsv(folder, int.Parse(rows));
        return 0;
    case ["monitoring", "csv", var folder]:
        MonitoringBench.Csv(folder);
        return 0;
    case ["compact", .. var count]:
        CompactBench.Run(count is [var logged] ? int.Parse(logged, System.Globalization.CultureInfo.InvariantCulture) : 500_000);
        return 0;
    case ["registry", var url, var engine, var seconds, var pid, .. var only]:
        RegistryBench.Run(new Uri(url), engine, double.Parse(seconds, System.Globalization.CultureInfo.InvariantCulture), int.Parse(pid, System.Globalization.CultureInfo.InvariantCulture), only);
        return 0;
    case ["registry-search", var runs, .. var postgres]:
        await SearchBench.RunAsync(int.Parse(runs, System.Globalization.CultureInfo.InvariantCulture), postgres is [var connection] ? connection : null);
        return 0;
    default:
        Console.Error.WriteLine("usage: slots | route | rollout-stats [ROLLOUTS] | journal | infer MODEL.onnx REQUEST.json | rollback MODEL.onnx REQUEST.json [ROUNDS [CALLERS]] | rollback-nodes MODEL.onnx REQUEST.json POSTGRES | compiled MODEL.onnx … | empty URL | naive URL MODEL.onnx | ort MODEL.onnx REQUEST.json CALLERS | body MODEL.onnx ROWS FILE | artifacts URL FOLDER [SERVER_PID] | track URL | registry URL sqlite|postgres SECONDS SERVER_PID [SCENARIO …] | registry-search RUNS [POSTGRES] | compact [ROWS] | monitoring [rows N | write FOLDER ROWS | csv FOLDER]");
        return 2;
}
