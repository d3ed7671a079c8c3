CREATE TABLE monitoring_segments (
    id TEXT NOT NULL PRIMARY KEY,
    blob TEXT NOT NULL,
    digest TEXT NOT NULL,
    row_count BIGINT NOT NULL,
    byte_count BIGINT NOT NULL,
    min_id TEXT NOT NULL,
    max_id TEXT NOT NULL,
    first_us BIGINT NOT NULL,
    last_us BIGINT NOT NULL,
    created_us BIGINT NOT NULL
);
CREATE INDEX monitoring_segments_time ON monitoring_segments (last_us, first_us);

CREATE TABLE monitoring_segment_parts (
    segment TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    model_version TEXT NOT NULL,
    row_count BIGINT NOT NULL,
    first_us BIGINT NOT NULL,
    last_us BIGINT NOT NULL,
    PRIMARY KEY (segment, endpoint, model_version)
);
CREATE INDEX monitoring_segment_parts_endpoint ON monitoring_segment_parts (endpoint, model_version, first_us);

CREATE TABLE monitoring_labels (
    endpoint TEXT NOT NULL,
    prediction_id TEXT NOT NULL,
    revision BIGINT NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    at_us BIGINT NOT NULL,
    received_us BIGINT NOT NULL,
    state TEXT NOT NULL,
    is_current INTEGER NOT NULL,
    model_version TEXT,
    event_us BIGINT,
    PRIMARY KEY (prediction_id, endpoint, revision)
);
CREATE INDEX monitoring_labels_window ON monitoring_labels (endpoint, model_version, event_us);
CREATE INDEX monitoring_labels_parked ON monitoring_labels (endpoint, received_us) WHERE state = 'parked';

CREATE TABLE monitoring_monitors (
    id TEXT NOT NULL PRIMARY KEY,
    endpoint TEXT NOT NULL,
    model_version TEXT NOT NULL,
    config TEXT NOT NULL,
    config_digest TEXT NOT NULL,
    reference TEXT NOT NULL,
    reference_rows BIGINT NOT NULL,
    reference_auc DOUBLE PRECISION,
    next_us BIGINT,
    watermark_us BIGINT,
    created_by TEXT NOT NULL,
    created_us BIGINT NOT NULL,
    stopped_us BIGINT,
    last_error TEXT
);
CREATE UNIQUE INDEX monitoring_monitors_target ON monitoring_monitors (endpoint, model_version) WHERE stopped_us IS NULL;

CREATE TABLE monitoring_points (
    monitor TEXT NOT NULL,
    start_us BIGINT NOT NULL,
    metric TEXT NOT NULL,
    column_name TEXT NOT NULL,
    revision BIGINT NOT NULL,
    end_us BIGINT NOT NULL,
    value DOUBLE PRECISION,
    n BIGINT NOT NULL,
    state TEXT NOT NULL,
    level TEXT NOT NULL,
    lower_limit DOUBLE PRECISION,
    upper_limit DOUBLE PRECISION,
    standard_error DOUBLE PRECISION,
    coverage DOUBLE PRECISION,
    label_version BIGINT NOT NULL,
    why TEXT,
    detail TEXT NOT NULL,
    made_us BIGINT NOT NULL,
    PRIMARY KEY (monitor, start_us, metric, column_name, revision)
);

CREATE TABLE monitoring_rules (
    monitor TEXT NOT NULL,
    metric TEXT NOT NULL,
    column_name TEXT NOT NULL,
    state TEXT NOT NULL,
    since_us BIGINT NOT NULL,
    history TEXT NOT NULL,
    PRIMARY KEY (monitor, metric, column_name)
);

CREATE TABLE monitoring_alerts (
    id TEXT NOT NULL PRIMARY KEY,
    monitor TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    model_version TEXT NOT NULL,
    family TEXT NOT NULL,
    state TEXT NOT NULL,
    severity TEXT NOT NULL,
    metric TEXT NOT NULL,
    column_name TEXT,
    value DOUBLE PRECISION NOT NULL,
    threshold DOUBLE PRECISION NOT NULL,
    n BIGINT NOT NULL,
    start_us BIGINT NOT NULL,
    end_us BIGINT NOT NULL,
    sentence TEXT NOT NULL,
    members TEXT NOT NULL,
    fired_us BIGINT NOT NULL,
    updated_us BIGINT NOT NULL,
    resolved_us BIGINT,
    acknowledged_by TEXT,
    acknowledged_us BIGINT
);
CREATE UNIQUE INDEX monitoring_alerts_firing ON monitoring_alerts (monitor, family) WHERE state = 'firing';
CREATE INDEX monitoring_alerts_time ON monitoring_alerts (fired_us);

CREATE TABLE monitoring_timeline (
    id TEXT NOT NULL PRIMARY KEY,
    alert TEXT NOT NULL,
    at_us BIGINT NOT NULL,
    kind TEXT NOT NULL,
    text TEXT NOT NULL
);
CREATE INDEX monitoring_timeline_alert ON monitoring_timeline (alert, at_us, id);

CREATE TABLE monitoring_receivers (
    name TEXT NOT NULL PRIMARY KEY,
    url TEXT NOT NULL,
    secret TEXT,
    allow_loopback INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    created_us BIGINT NOT NULL,
    removed_us BIGINT
);

CREATE TABLE monitoring_notifications (
    id TEXT NOT NULL PRIMARY KEY,
    alert TEXT NOT NULL,
    receiver TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    next_us BIGINT NOT NULL,
    created_us BIGINT NOT NULL,
    body TEXT NOT NULL,
    last_status BIGINT,
    last_error TEXT,
    done_us BIGINT
);
CREATE INDEX monitoring_notifications_open ON monitoring_notifications (next_us) WHERE state = 'pending';
CREATE INDEX monitoring_notifications_alert ON monitoring_notifications (alert);
