-- The stream detector of a monitor: where it stands in the labels, which it takes in the order of their time, and its state in the versioned form of SketchForm.
CREATE TABLE monitoring_streams (
    monitor TEXT NOT NULL PRIMARY KEY,
    from_us BIGINT NOT NULL,
    at_us BIGINT NOT NULL,
    event_us BIGINT NOT NULL,
    prediction_id TEXT NOT NULL,
    taken BIGINT NOT NULL,
    body $blob$
);

-- What the detector said of the labels of one window of label time.
CREATE TABLE monitoring_stream_points (
    monitor TEXT NOT NULL,
    start_us BIGINT NOT NULL,
    end_us BIGINT NOT NULL,
    value DOUBLE PRECISION,
    n BIGINT NOT NULL,
    state TEXT NOT NULL,
    why TEXT,
    detail TEXT NOT NULL,
    made_us BIGINT NOT NULL,
    PRIMARY KEY (monitor, start_us)
);

CREATE INDEX monitoring_labels_time ON monitoring_labels (endpoint, at_us) WHERE state = 'joined';
