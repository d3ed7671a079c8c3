using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using Slipway.Pipelines.Training;
using Slipway.Registry;

namespace Slipway.Pipelines.Steps;

/// <summary>Scores rows with a registered version: challenger and champion by the same code in the same process.</summary>
internal sealed class ModelScorer(IBlobStore blobs)
{
    private const int BatchRows = 4096;
    private const long LargestModel = 1L << 30;

    /// <summary>The columns that a version wants, in its order.</summary>
    /// <exception cref="SlipwayException">PreconditionFailed when the version does not name them.</exception>
    public static IReadOnlyList<string> FeaturesOf(ModelVersion version) => version.Signature?.FeatureNames
        ?? throw new SlipwayException(ErrorCode.PreconditionFailed, $"{version.Subject} cannot be scored", "its signature does not name the columns of its input", "register it with feature names");

    /// <summary>The probability of each row; the table's features are the version's, in its order.</summary>
    /// <exception cref="SlipwayException">PreconditionFailed when it is not one ONNX file from a matrix of numbers to a score.</exception>
    public async Task<float[]> ScoreAsync(ModelVersion version, TabularData table, CancellationToken ct)
    {
        var files = version.Files.Where(f => f.Path.EndsWith(".onnx", StringComparison.OrdinalIgnoreCase)).ToList();
        if (files is not [var file] || file.Size > LargestModel)
        {
            throw new SlipwayException(
                ErrorCode.PreconditionFailed, $"{version.Subject} cannot be scored", $"it has {files.Count} ONNX files of {files.Sum(f => f.Size)} bytes; one of at most {LargestModel} bytes is read");
        }

        using var bytes = new MemoryStream();
        await using (var content = await blobs.OpenAsync(file.Hash, ct))
        {
            await content.CopyToAsync(bytes, ct);
        }

        return await Task.Run(() => Score(bytes.ToArray(), table, ct), ct).WaitAsync(ct);
    }

    /// <summary>The probability of each row: the last column of the model's last output.</summary>
    public static float[] Score(byte[] onnx, TabularData table, CancellationToken ct)
    {
        using var options = new SessionOptions { IntraOpNumThreads = 1, InterOpNumThreads = 1, LogSeverityLevel = OrtLoggingLevel.ORT_LOGGING_LEVEL_ERROR };
        using var session = new InferenceSession(onnx, options);
        if (session.InputNames is not [var input] || session.InputMetadata[input].ElementDataType != TensorElementType.Float)
        {
            throw new SlipwayException(ErrorCode.PreconditionFailed, "the model cannot be scored", $"it takes {session.InputNames.Count} inputs, not one matrix of 32-bit numbers");
        }

        var scores = new float[table.Rows];
        var features = table.Columns.Length;
        for (var start = 0; start < table.Rows; start += BatchRows)
        {
            ct.ThrowIfCancellationRequested();
            var rows = Math.Min(BatchRows, table.Rows - start);
            var matrix = new float[rows * features];
            for (var f = 0; f < features; f++)
            {
                for (var r = 0; r < rows; r++)
                {
                    matrix[(r * features) + f] = table.Columns[f][start + r];
                }
            }

            using var results = session.Run([NamedOnnxValue.CreateFromTensor(input, new DenseTensor<float>(matrix, [rows, features]))]);
            if (results[^1].Value is not Tensor<float> output || output.Length == 0 || output.Length % rows != 0)
            {
                throw new SlipwayException(ErrorCode.PreconditionFailed, "the model cannot be scored", $"its output '{results[^1].Name}' holds no 32-bit number for each of {rows} rows");
            }

            var width = (int)output.Length / rows;
            var flat = output.ToArray();
            for (var r = 0; r < rows; r++)
            {
                scores[start + r] = flat[(r * width) + width - 1];
            }
        }

        return scores;
    }
}
