CREATE TABLE registry_counters (
    name TEXT NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);

INSERT INTO registry_counters (name, value) VALUES ('experiment', 0);

-- state: 0 live, 1 deleted. A run's state is 2 when it was deleted together with its experiment.
CREATE TABLE registry_experiments (
    id BIGINT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    artifact_location TEXT NOT NULL,
    state BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

INSERT INTO registry_experiments (id, name, artifact_location, state, created_at, updated_at)
VALUES (0, 'Default', 'mlflow-artifacts:/0', 0, 0, 0);

CREATE TABLE registry_experiment_tags (
    experiment_id BIGINT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (experiment_id, key)
);

CREATE TABLE registry_runs (
    id TEXT NOT NULL PRIMARY KEY,
    experiment_id BIGINT NOT NULL,
    name TEXT NOT NULL,
    user_id TEXT NOT NULL,
    status TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at BIGINT,
    artifact_uri TEXT NOT NULL,
    state BIGINT NOT NULL
);

CREATE INDEX registry_runs_by_start ON registry_runs (experiment_id, started_at DESC, id);

CREATE TABLE registry_datasets (
    id TEXT NOT NULL PRIMARY KEY,
    experiment_id BIGINT NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    source_type TEXT NOT NULL,
    source TEXT NOT NULL,
    schema TEXT,
    profile TEXT,
    UNIQUE (experiment_id, name, digest)
);

-- tags holds the input tags other than the context, a JSON list of {Key, Value}.
CREATE TABLE registry_inputs (
    run_id TEXT NOT NULL,
    dataset_id TEXT NOT NULL,
    position BIGINT NOT NULL,
    context TEXT,
    tags TEXT NOT NULL,
    PRIMARY KEY (run_id, dataset_id)
);

CREATE INDEX registry_inputs_by_dataset ON registry_inputs (dataset_id);

-- The tree of artifacts: parent is the full path of the folder ('' for the root), a folder has no hash.
CREATE TABLE registry_artifacts (
    parent TEXT NOT NULL,
    name TEXT NOT NULL,
    hash TEXT,
    size BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (parent, name)
);

CREATE INDEX registry_artifacts_by_hash ON registry_artifacts (hash);

CREATE TABLE registry_models (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    description TEXT,
    last_version BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE registry_model_tags (
    model_id TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (model_id, key)
);

-- files is a JSON list of {Path, Hash, Size}; signature a JSON document or NULL. A deleted version keeps its number only.
CREATE TABLE registry_versions (
    model_id TEXT NOT NULL,
    version BIGINT NOT NULL,
    run_id TEXT,
    source TEXT NOT NULL,
    storage_uri TEXT NOT NULL,
    run_link TEXT NOT NULL,
    status TEXT NOT NULL,
    stage TEXT NOT NULL,
    description TEXT,
    files TEXT NOT NULL,
    signature TEXT,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted INTEGER NOT NULL,
    PRIMARY KEY (model_id, version)
);

CREATE INDEX registry_versions_by_run ON registry_versions (run_id);
CREATE INDEX registry_versions_by_update ON registry_versions (updated_at DESC);

CREATE TABLE registry_version_tags (
    model_id TEXT NOT NULL,
    version BIGINT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (model_id, version, key)
);

CREATE TABLE registry_aliases (
    model_id TEXT NOT NULL,
    alias TEXT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (model_id, alias)
);

-- Names whose model was deleted or renamed. Numbers go on from last_version, so that an approval of NAME/3 never covers another content.
CREATE TABLE registry_retired_names (
    name TEXT NOT NULL PRIMARY KEY,
    model_id TEXT NOT NULL,
    last_version BIGINT NOT NULL
);
