using System.IO.Hashing;
using System.Runtime.InteropServices;
using Slipway.Monitoring;
using Slipway.Registry;
using Slipway.Serving.Tensors;

namespace Slipway.Serving.Routing;

/// <summary>
/// What of one variant's predictions goes to the log, decided once when the route is published: the share of requests, the columns whose values
/// are not kept, and whether an answer waits for the disk. The log never blocks; what it drops it counts.
/// </summary>
internal sealed class VariantLog
{
    private readonly Predictions _predictions;
    private readonly ServingOptions _options;
    private readonly Counters _counters;
    private readonly string _endpoint;
    private readonly string _variant;
    private readonly string _modelVersion;
    private readonly ulong _threshold;
    private readonly bool _enabled;
    private readonly Mask? _features;
    private readonly Mask? _outputs;

    public VariantLog(Predictions predictions, ServingOptions options, RouteSpec spec, RouteVariant variant, ModelSignature signature, Counters counters)
    {
        _counters = counters;
        (_predictions, _options, _endpoint, _variant, _modelVersion) = (predictions, options, spec.Endpoint, variant.Name, variant.ModelVersion);
        var settings = (spec.Settings ?? EndpointSettings.Default).Log;
        _enabled = spec.LogPredictions && settings.Sample > 0;
        _threshold = settings.Sample >= 1 ? ulong.MaxValue : (ulong)(settings.Sample * ulong.MaxValue);
        Sync = _enabled && settings.Durability == LogDurability.Sync;
        _features = Mask.Of(settings.Mask, signature.Inputs, signature.FeatureNames);
        _outputs = Mask.Of(settings.Mask, signature.Outputs, null);
    }

    /// <summary>Whether the answer waits until its record is on the disk.</summary>
    public bool Sync { get; }

    /// <summary>Whether the request of this id is logged: a hash of the id decides, so that every node and every repetition decides alike.</summary>
    public bool Wants(string id) => _enabled && (_threshold == ulong.MaxValue || XxHash3.HashToUInt64(MemoryMarshal.AsBytes(id.AsSpan())) < _threshold);

    /// <summary>
    /// Appends one record a row: the numbers of the inputs and of the outputs in model order, each narrowed to a float. Rows of a
    /// batch have the id followed by a colon and the row.
    /// </summary>
    public void Append(InferRequest request, string id, bool ok, long latencyMicros, long atMicros)
    {
        var rows = Flat.Rows(request.Inputs);
        if (ok && rows != Flat.Rows(request.Outputs))
        {
            rows = 1;
        }

        var features = Flat.Width(request.Inputs, rows) is var wide && wide <= _options.MaxLoggedFeatures ? (int)wide : 0;
        var outputs = ok && Flat.Width(request.Outputs, rows) is var width && width <= _options.MaxLoggedFeatures ? (int)width : 0;
        if (request.FeatureScratch.Length < features)
        {
            request.FeatureScratch = new float[features];
        }

        if (request.OutputScratch.Length < outputs)
        {
            request.OutputScratch = new float[outputs];
        }

        for (long row = 0; row < Math.Min(rows, _options.MaxLoggedRows); row++)
        {
            if (features > 0)
            {
                Flat.Row(request.Inputs, row, rows, request.FeatureScratch);
                _features?.Hide(request.Inputs, rows, request.FeatureScratch);
            }

            if (outputs > 0)
            {
                Flat.Row(request.Outputs, row, rows, request.OutputScratch);
                _outputs?.Hide(request.Outputs, rows, request.OutputScratch);
            }

            var kept = _predictions.Append(new PredictionRecord(
                rows == 1 ? id : $"{id}:{row}", _endpoint, _variant, _modelVersion, request.EntityKey, atMicros, latencyMicros,
                request.FeatureScratch.AsMemory(0, features), request.OutputScratch.AsMemory(0, outputs), ok ? 200 : 500));
            if (!kept)
            {
                _counters.LogDropped();
            }
        }
    }

    /// <summary>Which numbers of a row are replaced by NaN, which monitoring reads as missing: whole tensors, and columns of the first one.</summary>
    private sealed class Mask
    {
        private readonly bool[] _tensors;
        private readonly int[] _columns;

        private Mask(bool[] tensors, int[] columns) => (_tensors, _columns) = (tensors, columns);

        public static Mask? Of(IReadOnlyList<string> names, IReadOnlyList<TensorSpec> tensors, IReadOnlyList<string>? columns)
        {
            var whole = tensors.Select(tensor => names.Contains(tensor.Name, StringComparer.Ordinal)).ToArray();
            int[] single = columns is null ? [] : [.. columns.Index().Where(column => names.Contains(column.Item, StringComparer.Ordinal)).Select(column => column.Index)];
            return single.Length > 0 || whole.Contains(true) ? new(whole, single) : null;
        }

        public void Hide(TensorSet tensors, long rows, Span<float> row)
        {
            foreach (var column in _columns)
            {
                if (column < row.Length)
                {
                    row[column] = float.NaN;
                }
            }

            var at = 0;
            for (var i = 0; i < tensors.Count; i++)
            {
                var width = (int)(tensors[i].Count / rows);
                if (i < _tensors.Length && _tensors[i])
                {
                    row.Slice(at, width).Fill(float.NaN);
                }

                at += width;
            }
        }
    }
}
