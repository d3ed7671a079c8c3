-- One row a window of a monitor: whether its numbers may still move, and how many rows of the log they are made of.
CREATE TABLE monitoring_windows (
    monitor TEXT NOT NULL,
    start_us BIGINT NOT NULL,
    end_us BIGINT NOT NULL,
    phase TEXT NOT NULL,
    revision BIGINT NOT NULL,
    final_rows BIGINT NOT NULL,
    measured_rows BIGINT NOT NULL,
    late_rows BIGINT NOT NULL,
    label_version BIGINT NOT NULL,
    made_us BIGINT NOT NULL,
    PRIMARY KEY (monitor, start_us)
);
CREATE INDEX monitoring_windows_phase ON monitoring_windows (monitor, phase);

-- Windows of before: how many rows of the log they were made of is told when they are looked at the next time.
INSERT INTO monitoring_windows (monitor, start_us, end_us, phase, revision, final_rows, measured_rows, late_rows, label_version, made_us)
SELECT monitor, start_us, MAX(end_us), 'final', MAX(revision), -1, -1, 0, MAX(label_version), MAX(made_us)
FROM monitoring_points WHERE state <> 'error' GROUP BY monitor, start_us;

-- Mergeable sketches of the columns of one window, in the versioned form of SketchForm.
CREATE TABLE monitoring_sketches (
    monitor TEXT NOT NULL,
    start_us BIGINT NOT NULL,
    column_name TEXT NOT NULL,
    end_us BIGINT NOT NULL,
    body $blob$ NOT NULL,
    PRIMARY KEY (monitor, start_us, column_name)
);

-- Predictions that were deleted: no read gives them any more.
CREATE TABLE monitoring_tombstones (
    prediction_id TEXT NOT NULL PRIMARY KEY,
    endpoint TEXT NOT NULL,
    model_version TEXT NOT NULL,
    event_us BIGINT NOT NULL,
    deleted_by TEXT NOT NULL,
    deleted_us BIGINT NOT NULL
);
CREATE INDEX monitoring_tombstones_endpoint ON monitoring_tombstones (endpoint, event_us);
