-- Models that runs log (MLflow 3). state: 0 live, 1 deleted.
CREATE TABLE registry_logged_models (
    id TEXT NOT NULL PRIMARY KEY,
    experiment_id BIGINT NOT NULL,
    name TEXT NOT NULL,
    model_type TEXT,
    source_run_id TEXT,
    artifact_uri TEXT NOT NULL,
    status TEXT NOT NULL,
    state BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE INDEX registry_logged_models_by_creation ON registry_logged_models (experiment_id, created_at DESC, id);
CREATE INDEX registry_logged_models_by_run ON registry_logged_models (source_run_id);

CREATE TABLE registry_logged_model_tags (
    model_id TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (model_id, key)
);

CREATE TABLE registry_logged_model_params (
    model_id TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (model_id, key)
);

-- Points of a run's metrics that speak about a model; the run's own series has them as well. No dataset is ''. NaN is value 0 with is_nan 1.
CREATE TABLE registry_logged_model_metrics (
    model_id TEXT NOT NULL,
    key TEXT NOT NULL,
    timestamp_ms BIGINT NOT NULL,
    step BIGINT NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    is_nan INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    dataset_name TEXT NOT NULL,
    dataset_digest TEXT NOT NULL,
    PRIMARY KEY (model_id, key, timestamp_ms, step, value, is_nan, run_id, dataset_name, dataset_digest)
);

-- Models that a run read (role 'input') or made (role 'output').
CREATE TABLE registry_run_models (
    run_id TEXT NOT NULL,
    role TEXT NOT NULL,
    model_id TEXT NOT NULL,
    step BIGINT NOT NULL,
    position BIGINT NOT NULL,
    PRIMARY KEY (run_id, role, model_id)
);
