-- What runs log. Points are kept in the order of a metric's history; latest is the largest by (step, timestamp, value).
-- NaN is value 0 with is_nan 1, because SQLite would store it as NULL.
CREATE TABLE registry_metrics (
    run_id TEXT NOT NULL,
    key TEXT NOT NULL,
    timestamp_ms BIGINT NOT NULL,
    step BIGINT NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    is_nan INTEGER NOT NULL,
    PRIMARY KEY (run_id, key, timestamp_ms, step, value, is_nan)
) WITHOUT ROWID;

CREATE TABLE registry_latest_metrics (
    run_id TEXT NOT NULL,
    key TEXT NOT NULL,
    experiment_id BIGINT NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    is_nan INTEGER NOT NULL,
    timestamp_ms BIGINT NOT NULL,
    step BIGINT NOT NULL,
    PRIMARY KEY (run_id, key)
) WITHOUT ROWID;

CREATE INDEX registry_latest_metrics_by_value ON registry_latest_metrics (experiment_id, key, is_nan, value);

CREATE TABLE registry_params (
    run_id TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (run_id, key)
) WITHOUT ROWID;

CREATE TABLE registry_tags (
    run_id TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (run_id, key)
) WITHOUT ROWID;
