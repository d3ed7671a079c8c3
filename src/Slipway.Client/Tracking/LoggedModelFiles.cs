using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Slipway.Client;

/// <summary>A model on the local disk that a run stores.</summary>
/// <param name="Path">A file, or a folder with everything that belongs to the model.</param>
public sealed record LoggedModelFiles(string Path)
{
    /// <summary>The folder below the run.</summary>
    public string Name { get; init; } = "model";

    /// <summary>What goes in and comes out; null when it is not known.</summary>
    public TensorSignature? Signature { get; init; }

    /// <summary>The registered model whose next version this becomes; null for none.</summary>
    public string? RegisterAs { get; init; }

    /// <summary>An alias for that version.</summary>
    public string? Alias { get; init; }

    /// <summary>What that version is.</summary>
    public string? Description { get; init; }

    private string? OnnxFile => System.IO.Path.GetExtension(Path).Equals(".onnx", StringComparison.OrdinalIgnoreCase)
        ? System.IO.Path.GetFileName(Path)
        : Directory.Exists(Path) ? Directory.EnumerateFiles(Path, "*.onnx").Select(System.IO.Path.GetFileName).Order(StringComparer.Ordinal).FirstOrDefault() : null;

    /// <summary>The description as MLflow's <c>MLmodel</c> file has it. Each value is JSON, which YAML includes.</summary>
    internal string Yaml(string runId, DateTimeOffset at)
    {
        var text = new StringBuilder();
        foreach (var (key, value) in Fields(runId, at))
        {
            text.Append(key).Append(": ").Append(value!.ToJsonString()).Append('\n');
        }

        return text.ToString();
    }

    /// <summary>The same as the JSON of runs/log-model.</summary>
    internal string Json(string runId, DateTimeOffset at) => Fields(runId, at).ToJsonString();

    private JsonObject Fields(string runId, DateTimeOffset at)
    {
        var fields = new JsonObject
        {
            ["artifact_path"] = Name,
            ["flavors"] = OnnxFile is { } onnx
                ? new JsonObject
                {
                    ["onnx"] = new JsonObject { ["data"] = onnx, ["onnx_version"] = "1.0.0", ["providers"] = new JsonArray("CPUExecutionProvider") },
                    ["python_function"] = new JsonObject { ["loader_module"] = "mlflow.onnx", ["data"] = onnx },
                }
                : new JsonObject { ["mlnet"] = new JsonObject { ["data"] = System.IO.Path.GetFileName(Path.TrimEnd('/')) } },
            ["run_id"] = runId,
            ["utc_time_created"] = at.UtcDateTime.ToString("yyyy-MM-dd HH:mm:ss.ffffff", CultureInfo.InvariantCulture),
        };
        if (Signature is not null)
        {
            fields["signature"] = new JsonObject { ["inputs"] = Tensor.Write(Signature.Inputs), ["outputs"] = Tensor.Write(Signature.Outputs) };
        }

        return fields;
    }
}

/// <summary>What goes into a model and what comes out.</summary>
/// <param name="Inputs">In the model's order.</param>
/// <param name="Outputs">In the model's order.</param>
public sealed record TensorSignature(IReadOnlyList<Tensor> Inputs, IReadOnlyList<Tensor> Outputs);

/// <summary>One tensor of a signature.</summary>
/// <param name="Name">As the model names it.</param>
/// <param name="Type">NumPy's name of the element, for example <c>float32</c> or <c>int64</c>.</param>
/// <param name="Shape">Its dimensions; -1 for the number of rows.</param>
public sealed record Tensor(string Name, string Type, IReadOnlyList<long> Shape)
{
    /// <summary>MLflow keeps a signature as JSON inside of a text.</summary>
    internal static string Write(IReadOnlyList<Tensor> tensors) => JsonSerializer.Serialize(tensors.Select(t => new JsonObject
    {
        ["type"] = "tensor",
        ["tensor-spec"] = new JsonObject { ["dtype"] = t.Type, ["shape"] = new JsonArray([.. t.Shape.Select(d => (JsonNode)d)]) },
        ["name"] = t.Name,
    }));
}
