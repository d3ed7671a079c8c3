ALTER TABLE monitoring_alerts ADD COLUMN labels TEXT NOT NULL DEFAULT '{}';
ALTER TABLE monitoring_alerts ADD COLUMN annotations TEXT NOT NULL DEFAULT '{}';
ALTER TABLE monitoring_alerts ADD COLUMN fingerprint TEXT NOT NULL DEFAULT '';
ALTER TABLE monitoring_alerts ADD COLUMN revision BIGINT NOT NULL DEFAULT 0;
ALTER TABLE monitoring_alerts ADD COLUMN expires_us BIGINT;
ALTER TABLE monitoring_alerts ADD COLUMN snoozed_us BIGINT;
ALTER TABLE monitoring_alerts ADD COLUMN assigned_to TEXT;
CREATE INDEX monitoring_alerts_open ON monitoring_alerts (expires_us) WHERE state = 'firing' AND expires_us IS NOT NULL;

ALTER TABLE monitoring_receivers ADD COLUMN kind TEXT NOT NULL DEFAULT 'webhook';
ALTER TABLE monitoring_receivers ADD COLUMN settings TEXT NOT NULL DEFAULT '{}';
ALTER TABLE monitoring_receivers ADD COLUMN sealed_secret TEXT;

ALTER TABLE monitoring_notifications ADD COLUMN group_id TEXT;
ALTER TABLE monitoring_notifications ADD COLUMN content TEXT NOT NULL DEFAULT '{}';
ALTER TABLE monitoring_notifications ADD COLUMN message TEXT;
UPDATE monitoring_notifications SET state = 'superseded', done_us = next_us WHERE state = 'pending';
CREATE INDEX monitoring_notifications_group ON monitoring_notifications (group_id) WHERE state = 'pending';
CREATE INDEX monitoring_notifications_done ON monitoring_notifications (receiver, done_us);

CREATE TABLE monitoring_notification_alerts (
    alert TEXT NOT NULL,
    notification TEXT NOT NULL,
    PRIMARY KEY (alert, notification)
);
INSERT INTO monitoring_notification_alerts (alert, notification) SELECT alert, id FROM monitoring_notifications;

CREATE TABLE monitoring_groups (
    id TEXT NOT NULL PRIMARY KEY,
    route TEXT NOT NULL,
    receiver TEXT NOT NULL,
    labels TEXT NOT NULL,
    told TEXT NOT NULL,
    told_us BIGINT,
    sequence BIGINT NOT NULL,
    next_us BIGINT NOT NULL,
    muted INTEGER NOT NULL,
    created_us BIGINT NOT NULL
);
CREATE INDEX monitoring_groups_due ON monitoring_groups (next_us);

CREATE TABLE monitoring_group_alerts (
    group_id TEXT NOT NULL,
    alert TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    muted_by TEXT,
    PRIMARY KEY (group_id, alert)
);
CREATE INDEX monitoring_group_alerts_alert ON monitoring_group_alerts (alert);

CREATE TABLE monitoring_silences (
    id TEXT NOT NULL PRIMARY KEY,
    matchers TEXT NOT NULL,
    start_us BIGINT NOT NULL,
    end_us BIGINT NOT NULL,
    comment TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_us BIGINT NOT NULL,
    expired_by TEXT,
    expired_us BIGINT
);
CREATE INDEX monitoring_silences_end ON monitoring_silences (end_us);

CREATE TABLE monitoring_routing (
    version BIGINT NOT NULL PRIMARY KEY,
    body TEXT NOT NULL,
    digest TEXT NOT NULL,
    applied_by TEXT NOT NULL,
    applied_us BIGINT NOT NULL
);

CREATE TABLE monitoring_alert_rules (
    name TEXT NOT NULL PRIMARY KEY,
    body TEXT NOT NULL,
    applied_by TEXT NOT NULL,
    applied_us BIGINT NOT NULL
);

CREATE TABLE monitoring_rule_sets (
    monitor TEXT NOT NULL,
    rule TEXT NOT NULL,
    labels TEXT NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY (monitor, rule, labels)
);

CREATE TABLE monitoring_accepted (
    monitor TEXT NOT NULL,
    start_us BIGINT NOT NULL,
    column_name TEXT NOT NULL,
    comment TEXT NOT NULL,
    accepted_by TEXT NOT NULL,
    accepted_us BIGINT NOT NULL,
    PRIMARY KEY (monitor, start_us, column_name)
);
