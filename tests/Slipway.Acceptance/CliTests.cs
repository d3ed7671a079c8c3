using System.CommandLine;
using Slipway.Cli;

namespace Slipway.Acceptance;

/// <summary>The command line against a running server: what it prints, word for word, and how it ends.</summary>
public sealed class CliTests(RunningServer server) : IClassFixture<RunningServer>
{
    [Fact]
    public async Task Help_topics_and_errors_keep_their_words() => await Transcript.MatchesAsync(server, "words",
    [
        "help exit-codes",
        "help output",
        "help contexts",
        "help filters",
        "help trash",
        "policies --help",
        "run --help",
        "trashes list",
        "help exit-code",
        "help nonsense",
        "endpont list",
        "endpoint",
        "endpoint create",
        "endpoint list -o xml",
        "rollout list --frob",
        "version show flights",
        "rollout start late flights/2 --steps ten",
    ]);

    [Fact]
    public async Task A_dataset_is_made_committed_compared_and_named()
    {
        await using var server = new RunningServer();
        await server.InitializeAsync();
        await File.WriteAllTextAsync(Path.Combine(server.Folder, "jan.csv"), "day,delay\n1,10\n2,\n3,-4\n", TestContext.Current.CancellationToken);
        await File.WriteAllTextAsync(Path.Combine(server.Folder, "feb.csv"), "day,delay\n1,12\n2,3\n", TestContext.Current.CancellationToken);
        await Transcript.MatchesAsync(server, "dataset",
        [
            "dataset create delays --description 'how late'",
            "dataset create delays",
            "dataset commit delays FOLDER/jan.csv -m january",
            "dataset tag delays january",
            "dataset commit delays FOLDER/jan.csv FOLDER/feb.csv -m february",
            "dataset list",
            "dataset list --no-headers --columns NAME,createdBy",
            "dataset list -o name",
            "dataset list -o json",
            "dataset log delays",
            "dataset show delays",
            "dataset show delays --version january -o yaml",
            "dataset profile delays",
            "dataset diff delays january",
            "dataset used-by delays",
            "dataset show delay",
            "dataset commit delays FOLDER/march.csv -m march",
        ]);
    }

    [Fact]
    public async Task A_version_passes_its_gate_and_goes_live_by_a_rollout()
    {
        await using var server = new RunningServer();
        await server.InitializeAsync();
        await server.RegisterIrisAsync(0.95);
        await server.RegisterIrisAsync(0.96);
        await server.RegisterIrisAsync(0.5);
        await File.WriteAllTextAsync(
            Path.Combine(server.Folder, "good.yaml"),
            """
            apiVersion: slipway.dev/policy/v1
            kind: GatePolicy
            metadata: { name: good-enough }
            gates:
              - { id: accuracy, check: metric_threshold, with: { metric: accuracy, op: '>=', value: '0.9' } }
            """,
            TestContext.Current.CancellationToken);
        await File.WriteAllTextAsync(
            Path.Combine(server.Folder, "flower.json"),
            """{"id":"flower-1","inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2]}]}""",
            TestContext.Current.CancellationToken);
        await File.WriteAllTextAsync(Path.Combine(server.Folder, "truth.csv"), "prediction_id,value\nflower-1,0\n", TestContext.Current.CancellationToken);
        await Transcript.MatchesAsync(server, "release",
        [
            "model list",
            "model versions iris",
            "version show iris/1",
            "model alias set iris shadow 2",
            "model alias remove iris shadow",
            "model alias remove iris shadow --yes",
            "policy apply -f FOLDER/good.yaml",
            "policy test -f FOLDER/good.yaml --model iris",
            "gate request iris/3 --policy good-enough",
            "gate request iris/1 --policy good-enough",
            "gate show iris/1 -o json",
            "endpoint create flowers --version iris/3 --policy good-enough",
            "endpoint create flowers --version iris/1 --policy good-enough --wait",
            "endpoint list",
            "endpoint show flower",
            "endpoint infer flowers FOLDER/flower.json",
            "endpoint weights flowers --columns VARIANT,VERSION,percent,actual,REQUESTS,ERRORS",
            "label push FOLDER/truth.csv --endpoint flowers",
            "label push FOLDER/truth.csv --endpoint flowers -o json",
            "label status flowers",
            "endpoint predictions flowers --columns PREDICTION,VARIANT,VERSION,STATUS",
            "gate request iris/2 --policy good-enough -o name",
            "rollout plan --rate 0.1 --effect 0.01 --per-day 20000",
            "rollout size --rate 0.1 --effect 0.01 --per-day 20000 -o name",
            "rollout plan",
            "rollout start flowers iris/2 --steps 50,100 --hold",
            "rollout list --endpoint flowers",
            "status",
            "endpoint delete flowers",
            "endpoint delete flowers --dry-run",
            "model delete iris --dry-run",
        ]);
    }

    [Fact]
    public async Task A_version_is_tried_without_an_endpoint()
    {
        await using var server = new RunningServer();
        await server.InitializeAsync();
        await server.RegisterIrisAsync(0.95);
        var stop = TestContext.Current.CancellationToken;
        foreach (var (file, text) in new[]
        {
            ("flower.json", """{"inputs":[{"name":"X","shape":[2,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2,6.7,3.1,5.6,2.4]}]}"""),
            ("label.json", """{"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2]}],"outputs":[{"name":"label"}]}"""),
            ("narrow.json", """{"inputs":[{"name":"X","shape":[1,3],"datatype":"FP32","data":[5.1,3.5,1.4]}]}"""),
            ("unknown.json", """{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2]}]}"""),
            ("typed.json", """{"inputs":[{"name":"X","shape":[1,4],"datatype":"INT64","data":[5,3,1,0]}]}"""),
            ("short.json", """{"inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":[5.1]}]}"""),
            ("rows.csv", "a,b,c,d\n5.1,3.5,1.4,0.2\n6.7,3.1,5.6,2.4\n"),
            ("words.csv", "a,b,c,d\n5.1,wide,1.4,0.2\n"),
        })
        {
            await File.WriteAllTextAsync(Path.Combine(server.Folder, file), text, stop);
        }

        await Transcript.MatchesAsync(server, "try",
        [
            "version try --help",
            "version try iris/1 --input FOLDER/flower.json",
            "version try iris/1 --input FOLDER/rows.csv --no-headers",
            "version try iris/1 --input FOLDER/label.json --quiet",
            "version try iris/1 --input FOLDER/narrow.json",
            "version try iris/1 --input FOLDER/unknown.json",
            "version try iris/1 --input FOLDER/typed.json",
            "version try iris/1 --input FOLDER/short.json",
            "version try iris/1 --input FOLDER/words.csv",
            "version try iris/1 --input FOLDER/none.json",
            "version try iris/9 --input FOLDER/flower.json",
            "version try irs/1 --input FOLDER/flower.json",
            "version try iris@champion --input FOLDER/flower.json",
        ]);

        var json = await server.CliAsync("version try iris/1 --input - -o json", input: await File.ReadAllTextAsync(Path.Combine(server.Folder, "flower.json"), stop));
        using var answer = System.Text.Json.JsonDocument.Parse(json.Out);
        Assert.Equal("iris/1", answer.RootElement.GetProperty("modelVersion").GetString());
        Assert.True(answer.RootElement.GetProperty("latencyMillis").GetDouble() > 0);
        Assert.True(answer.RootElement.GetProperty("loadMillis").GetDouble() > 0);
        Assert.Equal([2L, 3L], answer.RootElement.GetProperty("outputs")[1].GetProperty("shape").EnumerateArray().Select(d => d.GetInt64()));

        // A trial needs the right to predict, and leaves no trace in the statistics.
        var viewer = await server.CliAsync("version try iris/1 --input FOLDER/flower.json", key: await server.KeyOfAsync("vera", "viewer"));
        Assert.Equal(ExitCodes.Denied, viewer.Exit);
        Assert.Contains("predict", viewer.Error, StringComparison.Ordinal);
        Assert.Empty(server.Get<Slipway.Serving.Endpoints>().Statistics(null, null));
    }

    [Fact]
    public void Every_command_is_described_and_its_examples_can_be_run()
    {
        var terminal = new Terminal(TextReader.Null, TextWriter.Null, TextWriter.Null, _ => null, ShowsTables: false, CanAsk: false, TimeProvider.System);
        var root = CommandLine.Build(terminal);
        List<string> faults = [];
        foreach (var command in All(root))
        {
            var path = string.Join(' ', command.Parents.OfType<Command>().Select(c => c.Name).Append(command.Name));
            faults.AddRange(command.Arguments.Where(a => string.IsNullOrWhiteSpace(a.Description)).Select(a => $"{path} <{a.Name}> is not described"));
            faults.AddRange(command.Options.Where(o => string.IsNullOrWhiteSpace(o.Description)).Select(o => $"{path} {o.Name} is not described"));
            if (string.IsNullOrWhiteSpace(command.Description))
            {
                faults.Add($"{path} is not described");
            }

            foreach (var example in (command as Verb)?.Examples ?? [])
            {
                // What the shell makes of it: one of the words between pipes calls the command, behind an assignment or a redirection.
                var parses = example.Split(" | ").Where(p => p.Contains("slipway ", StringComparison.Ordinal))
                    .Select(p => root.Parse([.. RunningServer.Split(p[(p.IndexOf("slipway ", StringComparison.Ordinal) + 8)..].TrimEnd(')'))])).ToList();
                if (!parses.Exists(p => p.Errors.Count == 0 && p.CommandResult.Command == command))
                {
                    faults.Add($"{path}: {example}: {string.Join("; ", parses.SelectMany(p => p.Errors).Select(e => e.Message))}");
                }
            }
        }

        Assert.Empty(faults);

        static IEnumerable<Command> All(Command command) => command.Subcommands.SelectMany(c => All(c).Prepend(c));
    }

    [Fact]
    public async Task An_endpoint_and_its_rollout_are_declared_in_a_file()
    {
        await using var server = new RunningServer();
        await server.InitializeAsync();
        await server.RegisterIrisAsync(0.95);
        await server.RegisterIrisAsync(0.96);
        const string Endpoint = """
            apiVersion: slipway.dev/endpoint/v1
            kind: Endpoint
            name: flowers
            modelVersion: iris/1
            settings: {queueRows: 2048}

            """;
        const string Rollout = """
            ---
            apiVersion: slipway.dev/rollout/v1
            kind: Rollout
            endpoint: flowers
            candidate: iris/2
            strategy: canary
            autoStart: false
            steps:
              - setWeight: 10
              - pause: 10m
              - approve: {role: approver}
              - setWeight: 100

            """;
        await File.WriteAllTextAsync(Path.Combine(server.Folder, "endpoint.yaml"), Endpoint, TestContext.Current.CancellationToken);
        await File.WriteAllTextAsync(Path.Combine(server.Folder, "all.yaml"), Endpoint.Replace("2048", "4096", StringComparison.Ordinal) + Rollout, TestContext.Current.CancellationToken);
        await File.WriteAllTextAsync(Path.Combine(server.Folder, "bad.yaml"), Rollout.Replace("100", "5", StringComparison.Ordinal).Replace("10m", "soon", StringComparison.Ordinal).Replace("strategy", "stratgy", StringComparison.Ordinal), TestContext.Current.CancellationToken);
        await Transcript.MatchesAsync(server, "declared",
        [
            "rollout lint FOLDER/all.yaml",
            "rollout lint FOLDER/bad.yaml",
            "rollout lint FOLDER/bad.yaml -o json",
            "rollout plan FOLDER/all.yaml",
            "apply -f FOLDER/bad.yaml",
            "apply -f FOLDER/endpoint.yaml",
            "diff -f FOLDER/endpoint.yaml",
            "diff -f FOLDER/all.yaml",
            "apply -f FOLDER/all.yaml --dry-run",
            "apply -f FOLDER/all.yaml",
            "apply -f FOLDER/all.yaml",
            "diff -f FOLDER/all.yaml",
            "export",
            "rollout approve 0193a7c2f0d27f3c9a41b6d0a2e5c001",
        ]);
    }

    [Fact]
    public async Task Runs_and_versions_are_listed_compared_fetched_and_thrown_away()
    {
        await using var server = new RunningServer();
        await server.InitializeAsync();
        var first = (await server.RegisterIrisAsync(0.95)).RunId!;
        var second = (await server.RegisterIrisAsync(0.96)).RunId!;
        await File.WriteAllTextAsync(Path.Combine(server.Folder, "plot.txt"), "a curve\n", TestContext.Current.CancellationToken);
        await Transcript.MatchesAsync(server, "registry",
        [
            "experiment list --columns NAME,ID,deleted",
            "experiment show iris --columns NAME,ID",
            "experiment create churn --dry-run",
            "experiment create churn -o name",
            "experiment create churn",
            "experiment show irs",
            "experiment delete churn",
            "experiment delete churn --dry-run",
            "experiment delete churn --yes",
            "experiment restore churn --dry-run",
            "experiment restore churn -o name",
            "run list --experiment iris --filter 'metrics.accuracy > 0.95' --columns NAME,STATUS,METRICS",
            "run list --filter 'metrics.accuracy >'",
            "run list --experiment iris -o name --order 'metrics.accuracy DESC' --limit 1",
            $"run show {first} --columns NAME,STATUS,PARAMS,METRICS",
            $"run compare {first} {second}",
            $"run compare {first} {second} --all -o json",
            $"run compare {first}",
            $"run log params {first} seed=7 --dry-run",
            $"run log params {first} seed=7",
            $"run log params {first} seed=8",
            $"run log metrics {first} f1=0.9 auc=NaN --step 3",
            $"run log metrics {first} f1=high",
            $"run log metrics {first} f1",
            $"run metric {first} f1 --columns STEP,VALUE",
            $"run watch {first} --columns NAME,STATUS",
            $"run artifact list {first}",
            $"run artifact put {first} FOLDER/plot.txt --as plots/roc.txt --dry-run",
            $"run artifact put {first} FOLDER/plot.txt --as plots/roc.txt",
            $"run artifact put {first} FOLDER/plot.txt --as ../roc.txt",
            $"run artifact get {first} plots/roc.txt --to -",
            $"run artifact get {first} plots --to FOLDER/out",
            $"run artifact get {first} nothing --to FOLDER/out",
            $"run delete {first} --dry-run",
            $"run delete {first} --yes",
            $"run restore {first} --columns NAME,STATUS",
            "model list -o name",
            "model history iris --columns ACTOR,KIND,SUBJECT",
            "model alias set iris shadow 2 --dry-run",
            "version register iris --source models:/iris/1 --dry-run",
            "version register iris --source models:/iris/1 -o name",
            "version compare iris/1 iris/2",
            "version compare iris/1",
            "version download iris/1 --to FOLDER/iris",
            "version download iris/9 --to FOLDER/iris",
            "model retire iris --dry-run",
            "model retire iris --yes",
            "model show iris",
            "trash list --columns NAME,RUNS,VERSIONS,FILES,SIZE",
            "trash restore model:iris --dry-run",
            "trash restore model:iris --columns NAME,VERSIONS",
            $"run delete {first} --yes",
            $"trash purge run:{first} --dry-run --columns NAME,PURGED",
            "trash purge experiment:churn",
            "trash purge",
            "trash restore iris",
            "trash purge model:nothing --yes",
            "experiment delete churn --yes --quiet",
            "trash purge experiment:churn --yes --columns NAME,RUNS,PURGED",
            "experiment create churn -o name",
        ]);
    }

    [Fact]
    public async Task A_version_is_watched_against_a_file()
    {
        await using var server = new RunningServer();
        await server.InitializeAsync();
        await server.RegisterIrisAsync(0.95);
        // Which iris it is follows from the length of a petal, as the model has it.
        var rows = Enumerable.Range(0, 150).Select(i => (Kind: i % 3, Petal: new[] { 1.4, 4.3, 5.6 }[i % 3] + i % 7 * 0.1));
        await File.WriteAllLinesAsync(
            Path.Combine(server.Folder, "iris.csv"),
            rows.Select(r => string.Create(System.Globalization.CultureInfo.InvariantCulture, $"5.8,3,{r.Petal:0.0},{r.Petal / 3:0.00},{r.Kind},{r.Kind}")).Prepend("sepal_length,sepal_width,petal_length,petal_width,species,predicted"),
            TestContext.Current.CancellationToken);
        await File.WriteAllTextAsync(Path.Combine(server.Folder, "long.csv"), "a,b,c,d,species\n1,2,long,3,0\n", TestContext.Current.CancellationToken);
        await Transcript.MatchesAsync(server, "monitor",
        [
            "endpoint create flowers --version iris/1 --wait -o name",
            "monitor create flowers iris/1 --reference FOLDER/iris.csv --type multiclass --score predicted --target species --window hour --watch petal_length petal_width",
            "monitor create flowers iris/1 --reference FOLDER/iris.csv --type multiclass --score predicted --target species --window month",
            "monitor create flowers iris/1 --reference FOLDER/iris.csv --score predicted --target species",
            "monitor create flowers iris/1 --reference FOLDER/long.csv --target species",
            "monitor create flowers iris/1 --reference FOLDER/iris.csv --type multiclass --score predicted --target specis",
            "monitor create flowers iris/1 --reference FOLDER/iris.csv --type multiclass --score predicted --target species --watch petals",
            "monitor create flowers iris/1 --reference FOLDER/nothing.csv",
            "dataset create flowers",
            "dataset commit flowers FOLDER/iris.csv --message rows --quiet -o name",
            "monitor create other iris/1 --reference dataset:flowers@main --type multiclass --score predicted --target species",
            "endpoint create other --version iris/1 --wait -o name",
            "monitor create other iris/1 --reference dataset:flowers@main --type multiclass --score predicted --target species",
            "monitor create other iris/1 --reference dataset:flowers@v9 --type multiclass",
            "monitor create flowers iris/1 --type regression",
            "monitor create flowers iris/1 --watch petal_length",
            "monitor create flowers iris/1 --window year",
            "monitor create flower iris/1",
            "monitor create flowers iris/9 --reference FOLDER/iris.csv",
            "monitor list --columns ENDPOINT,VERSION,TYPE,BASELINE,WINDOW,ROWS",
            "monitor create --help",
            "monitor test --reference FOLDER/iris.csv --current FOLDER/iris.csv --column petal_length -o json",
        ]);
    }

    [Fact]
    public async Task A_file_becomes_an_endpoint_in_one_command()
    {
        await using var server = new RunningServer();
        await server.InitializeAsync();
        File.Copy(Path.Combine(AppContext.BaseDirectory, "models", "iris_logreg.onnx"), Path.Combine(server.Folder, "iris.onnx"));
        await File.WriteAllTextAsync(Path.Combine(server.Folder, "rows.csv"), "a,b,c,d\n5.9,3,5.1,1.8\n5.1,3.5,1.4,0.2\n", TestContext.Current.CancellationToken);
        await File.WriteAllTextAsync(Path.Combine(server.Folder, "words.csv"), "a,b,c,d\n5.9,3,long,1.8\n", TestContext.Current.CancellationToken);
        await File.WriteAllTextAsync(Path.Combine(server.Folder, "three.csv"), "a,b,c\n5.9,3,5.1\n", TestContext.Current.CancellationToken);
        await File.WriteAllTextAsync(Path.Combine(server.Folder, "truth.csv"), "prediction_id,value\nflower-1,often\n", TestContext.Current.CancellationToken);
        await Transcript.MatchesAsync(server, "serve",
        [
            "endpoint create flowers --onnx FOLDER/iris.onnx --wait",
            "endpoint create flowers --onnx FOLDER/iris.onnx",
            "endpoint create more --onnx FOLDER/iris.onnx --model flowers",
            "endpoint create other --onnx FOLDER/rows.csv",
            "endpoint create other --onnx FOLDER/nothing.onnx",
            "endpoint create other",
            "endpoint create other --version flowers/1 --onnx FOLDER/iris.onnx",
            "endpoint list",
            "endpoint infer flowers FOLDER/rows.csv --csv",
            "endpoint infer flowers FOLDER/words.csv --csv",
            "endpoint infer flowers FOLDER/three.csv --csv",
            "endpoint infer nowhere FOLDER/rows.csv --csv",
            "label push FOLDER/truth.csv --endpoint flowers",
            "label status flowers",
            "version show flowers/2 --columns NAME,VERSION,STATUS",
            "endpoint delete more --yes",
        ]);
    }

    [Fact]
    public async Task A_pipeline_is_applied_run_and_triggered()
    {
        await using var server = new RunningServer();
        await server.InitializeAsync();
        await server.RegisterIrisAsync(0.95);
        await File.WriteAllTextAsync(
            Path.Combine(server.Folder, "good.yaml"),
            """
            apiVersion: slipway.dev/policy/v1
            kind: GatePolicy
            metadata: { name: good-enough }
            gates:
              - { id: accuracy, check: metric_threshold, with: { metric: accuracy, op: '>=', value: '0.9' } }
            """,
            TestContext.Current.CancellationToken);
        await File.WriteAllTextAsync(
            Path.Combine(server.Folder, "check.json"),
            """{"name":"check","steps":[{"name":"gate","kind":"gate","with":{"policy":"good-enough","modelVersion":"iris/1"}}]}""",
            TestContext.Current.CancellationToken);
        await File.WriteAllTextAsync(
            Path.Combine(server.Folder, "drifted.json"),
            """{"name":"drifted","pipeline":"check","match":{"endpoint":"flowers","minSeverity":"major"},"coolDown":"12:00:00","maxPerDay":2}""",
            TestContext.Current.CancellationToken);
        await Transcript.MatchesAsync(server, "pipeline",
        [
            "policy apply -f FOLDER/good.yaml -o name",
            "pipeline apply -f FOLDER/check.json",
            "pipeline list",
            "pipeline run chek",
            "pipeline run check --wait --quiet",
            "pipeline runs",
            "trigger apply -f FOLDER/drifted.json",
            "trigger list",
            "trigger show drited",
            "trigger decisions drifted",
        ]);
    }

    [Fact]
    public async Task Nobody_approves_what_they_asked_for_and_another_person_may()
    {
        await server.RegisterIrisAsync(0.97);
        await File.WriteAllTextAsync(
            Path.Combine(server.Folder, "four-eyes.yaml"),
            """
            apiVersion: slipway.dev/policy/v1
            kind: GatePolicy
            metadata: { name: four-eyes }
            approvals:
              - { stage: technical, require: 1, from: [role:validator] }
            gates:
              - { id: accuracy, check: metric_threshold, with: { metric: accuracy, op: '>=', value: '0.9' } }
            """,
            TestContext.Current.CancellationToken);
        var grace = await server.KeyOfAsync("grace", "validator");

        Assert.Equal(0, (await server.CliAsync("policy apply -f FOLDER/four-eyes.yaml")).Exit);
        var asked = await server.CliAsync("gate request iris/1 --policy four-eyes -o name");
        Assert.Equal(8, asked.Exit);
        var own = await server.CliAsync($"approval approve {asked.Out.Trim()}");
        Assert.Equal(4, own.Exit);
        Assert.Contains("sod.author", own.Error, StringComparison.Ordinal);
        Assert.Equal(8, (await server.CliAsync("gate request iris/1 --policy four-eyes --wait --timeout 0s")).Exit);
        var waiting = await server.CliAsync("approval list -o name", key: grace);
        var granted = await server.CliAsync($"approval approve {waiting.Out.Trim()} -m 'looks good' -o json", key: grace);
        Assert.Equal(0, granted.Exit);
        Assert.Contains("\"state\": \"granted\"", granted.Out, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Exit_codes_tell_what_happened()
    {
        Assert.Equal(0, (await server.CliAsync("whoami")).Exit);
        Assert.Equal(2, (await server.CliAsync("token revoke abcdefgh")).Exit);
        Assert.Equal(3, (await server.CliAsync("run show 00000000000000000000000000000000")).Exit);
        Assert.Equal(4, (await server.CliAsync("status", key: null)).Exit);
        Assert.Equal(4, (await server.CliAsync("status", key: "slp_abcdefgh_nonsense")).Exit);
        var viewer = await server.KeyOfAsync("vera", "viewer");
        Assert.Equal(4, (await server.CliAsync("model create x", key: viewer)).Exit);
        Assert.Equal(6, (await server.CliAsync("status --url http://127.0.0.1:1")).Exit);
        Assert.Equal(0, (await server.CliAsync("model create twice")).Exit);
        Assert.Equal(5, (await server.CliAsync("model create twice")).Exit);
    }

    [Fact]
    public async Task Exit_codes_are_those_of_the_servers_table()
    {
        await Task.CompletedTask;
        foreach (var code in Enum.GetValues<Foundation.ErrorCode>())
        {
            Assert.Equal(Server.Errors.Of(code).Exit, Cli.ExitCodes.Of(System.Text.Json.JsonNamingPolicy.CamelCase.ConvertName(code.ToString())));
        }
    }

    [Fact]
    public async Task Contexts_say_which_server_is_asked()
    {
        var nothing = new Dictionary<string, string>(StringComparer.Ordinal) { ["SLIPWAY_URL"] = "", ["SLIPWAY_TOKEN"] = "", ["XDG_CONFIG_HOME"] = Path.Combine(server.Folder, "contexts") };
        Assert.Equal(0, (await server.CliAsync($"context add team --url {server.Url} --token {server.OwnerKey}", environment: nothing)).Exit);
        Assert.Equal(0, (await server.CliAsync("context add other --url http://127.0.0.1:1", environment: nothing)).Exit);
        Assert.Contains("NAME:      ada", (await server.CliAsync("whoami", environment: nothing)).Out, StringComparison.Ordinal);
        Assert.Equal(6, (await server.CliAsync("whoami --context other", environment: nothing)).Exit);
        var unknown = await server.CliAsync("whoami --context tem", environment: nothing);
        Assert.Equal(3, unknown.Exit);
        Assert.Contains("did you mean \"team\"?", unknown.Error, StringComparison.Ordinal);
        Assert.DoesNotContain(server.OwnerKey, (await server.CliAsync("context list -o json", environment: nothing)).Out, StringComparison.Ordinal);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Path.Combine(server.Folder, "contexts", "slipway", "contexts.json")));
    }

    [Fact]
    public async Task The_owner_link_of_the_first_start_signs_in_once()
    {
        await using var fresh = new RunningServer(withOwner: false);
        await fresh.InitializeAsync();
        var nothing = new Dictionary<string, string>(StringComparer.Ordinal) { ["SLIPWAY_URL"] = "" };
        var link = $"{fresh.Url}/owner?token={await fresh.Get<Governance.Access>().MintOwnerLinkAsync(TestContext.Current.CancellationToken)}";

        var unsigned = await fresh.CliAsync("whoami", key: null);
        Assert.Equal(4, unsigned.Exit);
        Assert.Contains("slipway login OWNER-LINK", unsigned.Error, StringComparison.Ordinal);
        Assert.Equal(0, (await fresh.CliAsync($"login {link} --name ada", key: null, environment: nothing)).Exit);
        Assert.Equal("ada\n", (await fresh.CliAsync("whoami -o name", key: null, environment: nothing)).Out);
        Assert.Equal(4, (await fresh.CliAsync($"login {link} --name eve", key: null, environment: nothing)).Exit);
        Assert.Equal(2, (await fresh.CliAsync($"login {fresh.Url} --name eve", key: null, environment: nothing)).Exit);
    }

    [Fact]
    public async Task Every_command_begins_its_help_with_two_examples()
    {
        var root = Cli.CommandLine.Build(new Cli.Terminal(TextReader.Null, TextWriter.Null, TextWriter.Null, _ => null, false, false, TimeProvider.System));
        var verbs = Below(root).OfType<Cli.Verb>().ToList();
        Assert.True(verbs.Count > 60, $"{verbs.Count} verbs");
        Assert.All(verbs, v => Assert.True(v.Examples.Count == 2 && v.Examples.All(e => e.Contains("slipway", StringComparison.Ordinal)), v.Name));
        Assert.StartsWith("Examples:\n  slipway rollout list\n", (await server.CliAsync("rollout --help")).Out, StringComparison.Ordinal);

        // An example that the parser refuses would teach a mistake.
        foreach (var example in verbs.SelectMany(v => v.Examples).Where(e => e.StartsWith("slipway ", StringComparison.Ordinal) && !e.Contains('|', StringComparison.Ordinal) && !e.Contains('"', StringComparison.Ordinal)))
        {
            var parse = root.Parse(example["slipway ".Length..].Replace('\'', '"'));
            Assert.True(parse.Errors.Count == 0, $"{example}: {string.Join(' ', parse.Errors.Select(e => e.Message))}");
        }
    }

    private static IEnumerable<System.CommandLine.Command> Below(System.CommandLine.Command command) => command.Subcommands.SelectMany(c => Below(c).Prepend(c));
}
