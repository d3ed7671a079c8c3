CREATE TABLE journal_outbox (
    n $serial$,
    id TEXT NOT NULL,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    actor TEXT NOT NULL,
    subject TEXT NOT NULL,
    links TEXT NOT NULL,
    outcome TEXT NOT NULL,
    head TEXT NOT NULL,
    tail TEXT NOT NULL,
    key_id TEXT NOT NULL,
    detail $blob$ NOT NULL
);
