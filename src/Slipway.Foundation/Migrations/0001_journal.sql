CREATE TABLE journal_entries (
    seq BIGINT NOT NULL PRIMARY KEY,
    id TEXT NOT NULL,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    actor TEXT NOT NULL,
    subject TEXT NOT NULL,
    outcome TEXT NOT NULL,
    entry $blob$ NOT NULL,
    leaf $blob$ NOT NULL,
    key_id TEXT NOT NULL,
    detail $blob$ NOT NULL
);
CREATE UNIQUE INDEX journal_entries_id ON journal_entries (id);
CREATE INDEX journal_entries_kind ON journal_entries (kind, seq);
CREATE INDEX journal_entries_subject ON journal_entries (subject, seq);
CREATE INDEX journal_entries_actor ON journal_entries (actor, seq);

CREATE TABLE journal_links (
    seq BIGINT NOT NULL,
    subject TEXT NOT NULL,
    PRIMARY KEY (seq, subject)
);
CREATE INDEX journal_links_subject ON journal_links (subject, seq);

CREATE TABLE journal_head (
    id BIGINT NOT NULL PRIMARY KEY,
    size BIGINT NOT NULL,
    frontier $blob$ NOT NULL
);

CREATE TABLE journal_keys (
    key_id TEXT NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL UNIQUE,
    wrapped $blob$ NOT NULL
);

CREATE TABLE journal_cursors (
    name TEXT NOT NULL PRIMARY KEY,
    seq BIGINT NOT NULL,
    failures BIGINT NOT NULL DEFAULT 0,
    last_error TEXT
);
