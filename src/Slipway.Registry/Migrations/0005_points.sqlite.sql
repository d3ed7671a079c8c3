-- Points of metrics as they arrive, one row a batch, until they are folded into the series. The bytes are those of PackedPoints.
CREATE TABLE registry_points (
    n INTEGER PRIMARY KEY,
    experiment_id BIGINT NOT NULL,
    run_id TEXT NOT NULL,
    points BLOB NOT NULL
);

CREATE INDEX registry_points_by_run ON registry_points (experiment_id, run_id);

-- A metric's history in chunks, each under its first point. bits is the value in an order-preserving form.
CREATE TABLE registry_series (
    run_id TEXT NOT NULL,
    key TEXT NOT NULL,
    timestamp_ms BIGINT NOT NULL,
    step BIGINT NOT NULL,
    bits BIGINT NOT NULL,
    points BLOB NOT NULL,
    PRIMARY KEY (run_id, key, timestamp_ms, step, bits)
);

INSERT INTO registry_points (experiment_id, run_id, points)
SELECT r.experiment_id, m.run_id, CAST('L' || m.key || char(31) || m.timestamp_ms || char(31) || m.step || char(31) || CASE m.is_nan WHEN 1 THEN 'NaN' ELSE printf('%!.17g', m.value) END AS BLOB)
FROM registry_metrics m JOIN registry_runs r ON r.id = m.run_id;

DROP TABLE registry_metrics;

-- Finds the few runs with a rare parameter value.
CREATE INDEX registry_params_by_value ON registry_params (key, SUBSTR(value, 1, 100));
