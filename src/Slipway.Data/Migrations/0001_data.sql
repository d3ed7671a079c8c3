CREATE TABLE data_datasets (
    name TEXT NOT NULL PRIMARY KEY,
    description TEXT,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL
);

-- Immutable. id is the SHA-256 of manifest, which is canonical JSON and holds parent, files, message, author and time.
CREATE TABLE data_versions (
    id TEXT NOT NULL PRIMARY KEY,
    dataset TEXT NOT NULL,
    parent TEXT,
    manifest TEXT NOT NULL,
    profile TEXT
);

CREATE INDEX data_versions_dataset ON data_versions (dataset, id);

-- The only thing that moves: the head of a branch, by compare-and-swap.
CREATE TABLE data_branches (
    dataset TEXT NOT NULL,
    name TEXT NOT NULL,
    head TEXT NOT NULL,
    PRIMARY KEY (dataset, name)
);

CREATE TABLE data_tags (
    dataset TEXT NOT NULL,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    tagged_at BIGINT NOT NULL,
    tagged_by TEXT NOT NULL,
    PRIMARY KEY (dataset, name)
);

-- Who uses a version: while a pin stands, its bytes are not collected.
CREATE TABLE data_pins (
    version TEXT NOT NULL,
    subject TEXT NOT NULL,
    pinned_at BIGINT NOT NULL,
    pinned_by TEXT NOT NULL,
    PRIMARY KEY (version, subject)
);
