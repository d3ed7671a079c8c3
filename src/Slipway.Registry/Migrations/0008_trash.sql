-- What was deleted and can be restored, for each kind: experiment, run, model. The rows of a deleted model are its snapshot,
-- so that its name is free at once; experiments and runs keep their rows, marked.
CREATE TABLE registry_trash (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    deleted_at BIGINT NOT NULL,
    deleted_by TEXT NOT NULL,
    snapshot TEXT,
    PRIMARY KEY (kind, id)
);

CREATE INDEX registry_trash_by_time ON registry_trash (deleted_at, kind, id);

INSERT INTO registry_trash (kind, id, name, deleted_at, deleted_by)
SELECT 'experiment', CAST(id AS TEXT), name, updated_at, '' FROM registry_experiments WHERE state <> 0;

INSERT INTO registry_trash (kind, id, name, deleted_at, deleted_by)
SELECT 'run', id, name, COALESCE(ended_at, started_at), '' FROM registry_runs WHERE state = 1;
