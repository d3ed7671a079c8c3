using System.Globalization;
using Slipway.Foundation;
using Slipway.Registry;

namespace Slipway.Serving.Repository;

/// <summary>What a model's config.pbtxt asks for, as far as Slipway serves it. What would change answers and is not there is refused, not ignored.</summary>
/// <param name="MaxBatch">Rows of a batch; 0: the model has no batch dimension.</param>
/// <param name="FileName">The model file in a version's folder.</param>
/// <param name="Batching">How requests run together; null: decided by measuring the model.</param>
/// <param name="Versions">Which of the folder's versions are served.</param>
internal sealed record RepositoryConfig(int MaxBatch, string FileName, BatchingSettings? Batching, Func<IReadOnlyList<int>, IReadOnlyList<int>> Versions)
{
    // Without a policy every version of the folder is served, so that any can be asked for by its path.
    private static readonly RepositoryConfig Absent = new(0, "model.onnx", null, versions => versions);
    private static readonly string[] Refused = ["ensemble_scheduling", "sequence_batching", "model_transaction_policy", "batch_input", "batch_output", "response_cache", "model_operations"];
    private static readonly string[] Tuning = ["optimization", "model_warmup", "metric_tags", "parameters", "cc_model_filenames", "runtime", "model_metrics"];
    private static readonly string[] Read = ["name", "platform", "backend", "max_batch_size", "input", "output", "version_policy", "instance_group", "dynamic_batching", "default_model_filename"];
    private IReadOnlyList<TextProto> _inputs = [];
    private IReadOnlyList<TextProto> _outputs = [];
    private bool _given;

    /// <summary>Fields that were read over because they only tune another server.</summary>
    public IReadOnlyList<string> Ignored { get; private init; } = [];

    /// <summary>Reads the text of model <paramref name="name"/>'s config.pbtxt; null: there is none.</summary>
    public static RepositoryConfig Parse(string name, string? text)
    {
        if (text is null)
        {
            return Absent;
        }

        var config = TextProto.Parse(text, $"the config.pbtxt of model '{name}'");
        if (config.Text("name") is { } own && own != name)
        {
            throw Wrong(name, $"it names the model '{own}', its folder is '{name}'", "give both the same name, or leave the name out");
        }

        if ((config.Text("backend") ?? config.Text("platform")) is { } backend && backend is not ("onnxruntime" or "onnxruntime_onnx"))
        {
            throw Wrong(name, $"its {(config.Has("backend") ? "backend" : "platform")} is '{backend}'", "Slipway serves onnxruntime; put another server in front as a remote runtime");
        }

        if (Refused.FirstOrDefault(config.Has) is { } refused)
        {
            throw Wrong(name, $"it asks for {refused}, which is not supported", $"remove {refused}, or serve this model by its own server as a remote runtime");
        }

        if (config.Names.FirstOrDefault(field => !Read.Contains(field) && !Tuning.Contains(field)) is { } unknown)
        {
            throw Wrong(name, $"it has the field '{unknown}', which nobody knows", $"the fields are {string.Join(", ", Read)}");
        }

        if (config.Messages("instance_group").Select(group => group.Text("kind")).FirstOrDefault(kind => kind is "KIND_GPU" or "KIND_MODEL") is { } kind)
        {
            throw Wrong(name, $"its instance_group asks for {kind}", "models run on the processor: write KIND_CPU or KIND_AUTO");
        }

        var maxBatch = Number(name, config, "max_batch_size") ?? 0;
        return new RepositoryConfig(maxBatch, FileNameOf(name, config), BatchingOf(name, config, maxBatch), VersionsOf(name, config))
        {
            _inputs = [.. config.Messages("input")],
            _outputs = [.. config.Messages("output")],
            _given = true,
            Ignored = [.. config.Names.Where(Tuning.Contains)],
        };
    }

    /// <summary>Refuses a configuration that does not fit the model: other tensors, other types, other dimensions.</summary>
    public void Demand(string name, ModelSignature signature)
    {
        if (!_given)
        {
            return;
        }

        Demand(name, "input", _inputs, signature.Inputs);
        Demand(name, "output", _outputs, signature.Outputs);
        if (MaxBatch > 0 && signature.Inputs.FirstOrDefault(input => input.Shape is not [< 0, ..]) is { } whole)
        {
            throw Wrong(name, $"max_batch_size is {MaxBatch}, but input '{whole.Name}' has the shape [{string.Join(",", whole.Shape)}] without an open first dimension", "write max_batch_size: 0");
        }
    }

    private void Demand(string name, string what, IReadOnlyList<TextProto> given, IReadOnlyList<TensorSpec> real)
    {
        foreach (var tensor in given)
        {
            var tensorName = tensor.Text("name") ?? throw Wrong(name, $"an {what} has no name", "name every tensor");
            if (tensor.Has("reshape"))
            {
                throw Wrong(name, $"{what} '{tensorName}' asks for reshape, which is not supported", "reshape inside the model");
            }

            var spec = real.FirstOrDefault(spec => spec.Name == tensorName)
                ?? throw Wrong(name, $"it has the {what} '{tensorName}', the model has {string.Join(", ", real.Select(spec => $"'{spec.Name}'"))}", "use the model's names");
            var type = tensor.Text("data_type");
            var wanted = spec.Datatype == "BYTES" ? "TYPE_STRING" : "TYPE_" + spec.Datatype;
            if (type is not null && type != wanted)
            {
                throw Wrong(name, $"{what} '{tensorName}' is {type}, the model has {wanted}", $"write data_type: {wanted}");
            }

            long[] dims = [.. MaxBatch > 0 ? [-1L] : (long[])[], .. tensor.Texts("dims").Select(dim => long.TryParse(dim, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var value) ? value : throw Wrong(name, $"'{dim}' in the dims of {what} '{tensorName}' is not a number", "write numbers, -1 for any"))];
            if (tensor.Has("dims") && (dims.Length != spec.Shape.Count || !dims.Zip(spec.Shape).All(pair => pair.First < 0 || pair.Second < 0 || pair.First == pair.Second)))
            {
                throw Wrong(name, $"{what} '{tensorName}' has the dims [{string.Join(",", tensor.Texts("dims"))}]{(MaxBatch > 0 ? " behind the batch" : "")}, the model has the shape [{string.Join(",", spec.Shape)}]", "write the model's dimensions");
            }
        }
    }

    private static string FileNameOf(string name, TextProto config)
    {
        var file = config.Text("default_model_filename") ?? "model.onnx";
        return file.Length is > 0 and <= 255 && file == Path.GetFileName(file) && file is not ("." or "..") && !file.Contains('\\', StringComparison.Ordinal)
            ? file : throw Wrong(name, $"default_model_filename '{file}' is not the name of a file", "name a file inside of the version's folder");
    }

    private static BatchingSettings? BatchingOf(string name, TextProto config, int maxBatch)
    {
        if (config.Messages("dynamic_batching").LastOrDefault() is not { } dynamic)
        {
            // Triton runs requests together only when it is told to; a configuration that does not say so keeps that promise.
            return new BatchingSettings(MaxRows: 1);
        }

        if (maxBatch == 0)
        {
            throw Wrong(name, "it asks for dynamic_batching with max_batch_size 0", "set max_batch_size to the rows that may run together");
        }

        var delay = Number(name, dynamic, "max_queue_delay_microseconds") ?? 0;
        return new BatchingSettings(Math.Min(maxBatch, 4096), Math.Min(delay, 1_000_000));
    }

    private static Func<IReadOnlyList<int>, IReadOnlyList<int>> VersionsOf(string name, TextProto config)
    {
        var policy = config.Messages("version_policy").LastOrDefault();
        if (policy?.Messages("specific").LastOrDefault() is { } specific)
        {
            var wanted = specific.Texts("versions").Select(text => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var version) ? version : throw Wrong(name, $"version '{text}' is not a number", "write the numbers of folders")).ToList();
            return versions => wanted.FirstOrDefault(version => !versions.Contains(version)) is > 0 and var missing
                ? throw Wrong(name, $"version_policy asks for version {missing}, the folder has {string.Join(", ", versions)}", "name versions that are there")
                : [.. versions.Where(wanted.Contains)];
        }

        if (policy?.Messages("latest").LastOrDefault() is { } latest)
        {
            var count = Number(name, latest, "num_versions") ?? 1;
            return versions => [.. versions.Take(Math.Max(1, count))];
        }

        return versions => versions;
    }

    private static int? Number(string name, TextProto message, string field) => message.Text(field) is not { } text ? null
        : int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number
        : throw Wrong(name, $"{field} '{text}' is not a number", $"write {field} as a number that is not negative");

    private static SlipwayException Wrong(string name, string why, string next) => new(ErrorCode.InvalidArgument, $"model '{name}' of the repository cannot be served", $"config.pbtxt: {why}", next);
}
