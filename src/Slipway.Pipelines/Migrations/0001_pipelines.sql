CREATE TABLE pipelines_specs (
    name TEXT NOT NULL,
    version BIGINT NOT NULL,
    digest TEXT NOT NULL,
    spec TEXT NOT NULL,
    applied_by TEXT NOT NULL,
    applied_us BIGINT NOT NULL,
    PRIMARY KEY (name, version)
);

CREATE TABLE pipelines_runs (
    id TEXT NOT NULL PRIMARY KEY,
    pipeline TEXT NOT NULL,
    version BIGINT NOT NULL,
    spec TEXT NOT NULL,
    state TEXT NOT NULL,
    cause_key TEXT,
    causes TEXT NOT NULL,
    trigger_name TEXT,
    started_by TEXT NOT NULL,
    authors TEXT NOT NULL,
    created_us BIGINT NOT NULL,
    finished_us BIGINT,
    cancel_us BIGINT,
    cancelled_by TEXT,
    model_version TEXT,
    error TEXT
);
CREATE UNIQUE INDEX pipelines_runs_cause ON pipelines_runs (cause_key) WHERE cause_key IS NOT NULL;
CREATE INDEX pipelines_runs_time ON pipelines_runs (created_us);
CREATE INDEX pipelines_runs_pipeline ON pipelines_runs (pipeline, created_us);
CREATE INDEX pipelines_runs_open ON pipelines_runs (created_us) WHERE finished_us IS NULL;

CREATE TABLE pipelines_steps (
    run TEXT NOT NULL,
    ordinal BIGINT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    owner TEXT,
    beat_us BIGINT,
    started_us BIGINT,
    finished_us BIGINT,
    done BIGINT,
    total BIGINT,
    progress TEXT,
    output TEXT,
    error TEXT,
    PRIMARY KEY (run, ordinal)
);

CREATE TABLE pipelines_triggers (
    name TEXT NOT NULL PRIMARY KEY,
    digest TEXT NOT NULL,
    spec TEXT NOT NULL,
    applied_by TEXT NOT NULL,
    applied_us BIGINT NOT NULL
);

CREATE TABLE pipelines_decisions (
    id TEXT NOT NULL PRIMARY KEY,
    trigger_name TEXT NOT NULL,
    alert TEXT NOT NULL,
    outcome TEXT NOT NULL,
    code TEXT NOT NULL,
    reason TEXT NOT NULL,
    run TEXT,
    at_us BIGINT NOT NULL
);
CREATE UNIQUE INDEX pipelines_decisions_alert ON pipelines_decisions (trigger_name, alert);
CREATE INDEX pipelines_decisions_time ON pipelines_decisions (trigger_name, at_us);
