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
    // A pair is kept for each row of a batch, up to this many: more tell nothing new about the model.
    private const int MostShadowRows = 100;

    private readonly Predictions _predictions;
    private readonly ServingOptions _options;
    private readonly Counters _counters;
    private readonly string _endpoint;
    private readonly string _variant;
    private readonly string _modelVersion;
    private readonly ulong _threshold;
    private readonly bool _enabled;
    private readonly bool _exposes;
    private readonly bool _logs;
    private readonly long _revision;
    private readonly Mask? _features;
    private readonly Mask? _outputs;

    public VariantLog(Predictions predictions, ServingOptions options, RouteSpec spec, RouteVariant variant, ModelSignature signature, Counters counters)
    {
        _counters = counters;
        (_predictions, _options, _endpoint, _variant, _modelVersion) = (predictions, options, spec.Endpoint, variant.Name, variant.ModelVersion);
        var settings = (spec.Settings ?? EndpointSettings.Default).Log;
        (_logs, _exposes, _revision) = (spec.LogPredictions, spec.Exposures, spec.Revision);
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
    public void Append(InferRequest request, string id, DecisionReason reason, bool ok, long latencyMicros, long atMicros)
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
                request.FeatureScratch.AsMemory(0, features), request.OutputScratch.AsMemory(0, outputs), Status(ok))
            { Reason = reason, Revision = _revision });
            if (!kept)
            {
                _counters.LogDropped();
            }
        }
    }

    /// <summary>
    /// Records that the entity met this variant although the prediction is not in the log: while an experiment runs, or (<paramref name="always"/>) because
    /// it failed and stable answered.
    /// </summary>
    public void Expose(InferRequest request, string id, DecisionReason reason, bool ok, long latencyMicros, long atMicros, bool always)
    {
        if (!_exposes && !(always && _enabled))
        {
            return;
        }

        var record = new PredictionRecord(id, _endpoint, _variant, _modelVersion, request.EntityKey, atMicros, latencyMicros, default, default, Status(ok))
        {
            Kind = PredictionKind.Exposure,
            Reason = reason,
            Revision = _revision,
        };
        if (!_predictions.Append(record))
        {
            _counters.LogDropped();
        }
    }

    /// <summary>Keeps the answer's numbers for the mirrors that come after it.</summary>
    public void Keep(InferRequest request, ShadowCopy copy)
    {
        var rows = copy.Ok && _logs ? Math.Max(1, Flat.Rows(request.Outputs)) : 1;
        var width = copy.Ok && _logs && Flat.Width(request.Outputs, rows) is var wide && wide <= _options.MaxLoggedFeatures ? (int)wide : 0;
        (copy.Rows, copy.Width) = ((int)Math.Min(rows, MostShadowRows), width);
        if (copy.Outputs.Length < copy.Rows * width)
        {
            copy.Outputs = new float[copy.Rows * width];
        }

        for (var row = 0; row < copy.Rows && width > 0; row++)
        {
            var room = copy.Outputs.AsSpan(row * width, width);
            Flat.Row(request.Outputs, row, rows, room);
            _outputs?.Hide(request.Outputs, rows, room);
        }
    }

    /// <summary>Appends the pairs of a mirror's answer and the one that the caller got, one a row.</summary>
    public void AppendShadow(InferRequest request, ShadowCopy copy, bool ok, long latencyMicros)
    {
        if (!_logs)
        {
            return;
        }

        var rows = ok ? Math.Max(1, Flat.Rows(request.Outputs)) : 1;
        var outputs = ok && Flat.Width(request.Outputs, rows) is var width && width <= _options.MaxLoggedFeatures ? (int)width : 0;
        if (request.OutputScratch.Length < outputs)
        {
            request.OutputScratch = new float[outputs];
        }

        var kept = ok ? Math.Min(rows, copy.Rows) : copy.Rows;
        for (var row = 0; row < kept; row++)
        {
            if (outputs > 0)
            {
                Flat.Row(request.Outputs, row, rows, request.OutputScratch);
                _outputs?.Hide(request.Outputs, rows, request.OutputScratch);
            }

            var record = new PredictionRecord(
                copy.Rows == 1 ? copy.Id : $"{copy.Id}:{row}", _endpoint, _variant, _modelVersion, request.EntityKey, copy.AtMicros, latencyMicros,
                copy.Outputs.AsMemory(row * copy.Width, copy.Width), request.OutputScratch.AsMemory(0, outputs), Status(ok))
            {
                Kind = PredictionKind.Shadow,
                Reason = DecisionReason.Mirror,
                Revision = _revision,
                PrimaryVariant = copy.Primary.Name,
                PrimaryLatencyMicros = copy.LatencyMicros,
                PrimaryStatus = Status(copy.Ok),
            };
            if (!_predictions.Append(record))
            {
                _counters.LogDropped();
            }
        }
    }

    private static int Status(bool ok) => ok ? 200 : 500;

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
