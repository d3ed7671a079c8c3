-- Where the registry's events are posted. events is a JSON list of entity.action; secret is sealed by the server's key.
CREATE TABLE registry_webhooks (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    description TEXT,
    url TEXT NOT NULL,
    secret TEXT,
    events TEXT NOT NULL,
    active INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- One event for one webhook. seq is the journal entry's number, so that an entry that comes again makes no second delivery.
CREATE TABLE registry_deliveries (
    id TEXT NOT NULL PRIMARY KEY,
    webhook_id TEXT NOT NULL,
    seq BIGINT NOT NULL,
    event TEXT NOT NULL,
    body TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    tries_left_until BIGINT NOT NULL,
    next_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    last_status BIGINT,
    last_error TEXT,
    done_at BIGINT,
    UNIQUE (webhook_id, seq, event)
);

CREATE INDEX registry_deliveries_open ON registry_deliveries (next_at) WHERE state = 'pending';
CREATE INDEX registry_deliveries_by_webhook ON registry_deliveries (webhook_id, created_at DESC, id DESC);
