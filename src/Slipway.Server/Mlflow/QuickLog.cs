using System.Text.Json;
using Slipway.Registry;

namespace Slipway.Server.Mlflow;

/// <summary>
/// Reads the bodies of log-metric and log-batch in one pass, in the form in which clients send them. Whatever is unusual in a
/// body is left to <see cref="MlflowInput"/>, which knows every quirk and every message.
/// </summary>
internal static class QuickLog
{
    /// <returns>False when the body has to be read the long way.</returns>
    public static bool TryReadMetric(ReadOnlySpan<byte> json, out string runId, out MetricPoint point)
    {
        runId = "";
        point = default;
        try
        {
            var reader = new Utf8JsonReader(json);
            var metric = new Metric();
            string? id = null, uuid = null;
            if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject)
            {
                return false;
            }

            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                if (!TryReadId(ref reader, ref id, ref uuid, out var known) || (!known && !metric.TryRead(ref reader)))
                {
                    return false;
                }
            }

            runId = (string.IsNullOrEmpty(id) ? uuid : id) ?? "";
            return runId.Length > 0 && metric.TryGet(out point) && Ended(ref reader);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            return false;
        }
    }

    /// <returns>False when the body has to be read the long way.</returns>
    public static bool TryReadBatch(ReadOnlySpan<byte> json, out string runId, List<MetricPoint> metrics, List<Param> parameters, List<Tag> tags)
    {
        runId = "";
        try
        {
            var reader = new Utf8JsonReader(json);
            string? id = null, uuid = null;
            if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject)
            {
                return false;
            }

            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                if (!TryReadId(ref reader, ref id, ref uuid, out var known))
                {
                    return false;
                }

                if (known)
                {
                    continue;
                }

                if (reader.ValueTextEquals("metrics"u8))
                {
                    if (metrics.Count > 0 || !TryReadMetrics(ref reader, metrics))
                    {
                        return false;
                    }
                }
                else if (reader.ValueTextEquals("params"u8))
                {
                    if (parameters.Count > 0 || !TryReadPairs(ref reader, (k, v) => parameters.Add(new Param(k, v))))
                    {
                        return false;
                    }
                }
                else if (reader.ValueTextEquals("tags"u8))
                {
                    if (tags.Count > 0 || !TryReadPairs(ref reader, (k, v) => tags.Add(new Tag(k, v))))
                    {
                        return false;
                    }
                }
                else
                {
                    reader.Skip();
                }
            }

            runId = (string.IsNullOrEmpty(id) ? uuid : id) ?? "";
            return runId.Length > 0 && Ended(ref reader);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            return false;
        }
    }

    private static bool Ended(ref Utf8JsonReader reader) => reader.TokenType == JsonTokenType.EndObject && !reader.Read();

    /// <summary>Reads <c>run_id</c> or <c>run_uuid</c>; false when it is no text.</summary>
    private static bool TryReadId(ref Utf8JsonReader reader, ref string? id, ref string? uuid, out bool known)
    {
        var isId = reader.ValueTextEquals("run_id"u8);
        known = isId || reader.ValueTextEquals("run_uuid"u8);
        if (!known)
        {
            return true;
        }

        reader.Read();
        if (reader.TokenType != JsonTokenType.String)
        {
            return false;
        }

        (isId ? ref id : ref uuid) = reader.GetString();
        return true;
    }

    private static bool TryReadMetrics(ref Utf8JsonReader reader, List<MetricPoint> metrics)
    {
        reader.Read();
        if (reader.TokenType != JsonTokenType.StartArray)
        {
            return false;
        }

        while (reader.Read() && reader.TokenType == JsonTokenType.StartObject)
        {
            var metric = new Metric();
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                if (!metric.TryRead(ref reader))
                {
                    return false;
                }
            }

            if (!metric.TryGet(out var point))
            {
                return false;
            }

            metrics.Add(point);
        }

        return reader.TokenType == JsonTokenType.EndArray;
    }

    private static bool TryReadPairs(ref Utf8JsonReader reader, Action<string, string> add)
    {
        reader.Read();
        if (reader.TokenType != JsonTokenType.StartArray)
        {
            return false;
        }

        while (reader.Read() && reader.TokenType == JsonTokenType.StartObject)
        {
            string? key = null, value = null;
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                var isKey = reader.ValueTextEquals("key"u8);
                if (!isKey && !reader.ValueTextEquals("value"u8))
                {
                    reader.Skip();
                    continue;
                }

                reader.Read();
                if (reader.TokenType != JsonTokenType.String)
                {
                    return false;
                }

                (isKey ? ref key : ref value) = reader.GetString();
            }

            if (string.IsNullOrEmpty(key) || value is null)
            {
                return false;
            }

            add(key, value);
        }

        return reader.TokenType == JsonTokenType.EndArray;
    }

    private ref struct Metric
    {
        private string? key;
        private double? value;
        private long? timestamp;
        private long step;

        /// <summary>Reads one property on whose name the reader stands.</summary>
        public bool TryRead(ref Utf8JsonReader reader)
        {
            if (reader.ValueTextEquals("key"u8))
            {
                return reader.Read() && reader.TokenType == JsonTokenType.String && (key = reader.GetString()) is { Length: > 0 };
            }

            if (reader.ValueTextEquals("value"u8))
            {
                reader.Read();
                value = reader.TokenType switch
                {
                    JsonTokenType.Number => reader.GetDouble(),
                    JsonTokenType.String when reader.ValueTextEquals("NaN"u8) => double.NaN,
                    JsonTokenType.String when reader.ValueTextEquals("Infinity"u8) => double.PositiveInfinity,
                    JsonTokenType.String when reader.ValueTextEquals("-Infinity"u8) => double.NegativeInfinity,
                    _ => null,
                };
                return value is not null;
            }

            if (reader.ValueTextEquals("timestamp"u8))
            {
                if (!reader.Read() || reader.TokenType != JsonTokenType.Number || !reader.TryGetInt64(out var at))
                {
                    return false;
                }

                timestamp = at;
                return true;
            }

            if (reader.ValueTextEquals("step"u8))
            {
                return reader.Read() && reader.TokenType == JsonTokenType.Number && reader.TryGetInt64(out step);
            }

            // A point that speaks about a model as well is not plain.
            if (reader.ValueTextEquals("model_id"u8) || reader.ValueTextEquals("dataset_name"u8) || reader.ValueTextEquals("dataset_digest"u8))
            {
                return false;
            }

            reader.Skip();
            return true;
        }

        public readonly bool TryGet(out MetricPoint point)
        {
            point = key is null || value is null || timestamp is null ? default : new MetricPoint(key, value.Value, timestamp.Value, step);
            return point.Key is not null;
        }
    }
}
