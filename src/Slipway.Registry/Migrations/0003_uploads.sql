-- Uploads in parts that are not complete. The parts' bytes lie in files beside the database until then.
CREATE TABLE registry_uploads (
    id TEXT NOT NULL PRIMARY KEY,
    path TEXT NOT NULL,
    parts BIGINT NOT NULL,
    started_by TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE TABLE registry_upload_parts (
    upload_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    size BIGINT NOT NULL,
    etag TEXT NOT NULL,
    PRIMARY KEY (upload_id, number)
);
