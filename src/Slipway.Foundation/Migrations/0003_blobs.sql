-- Small blobs; larger ones are files. touched_at is the last put, which keeps the collector away.
CREATE TABLE foundation_blobs (
    hash TEXT NOT NULL PRIMARY KEY,
    bytes $blob$ NOT NULL,
    touched_at BIGINT NOT NULL
);
