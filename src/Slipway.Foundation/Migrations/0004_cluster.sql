-- The nodes of the cluster: one row, because a cluster has few nodes and its members are always read and changed together.
CREATE TABLE foundation_cluster (
    id BIGINT NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL,
    members TEXT NOT NULL
);
INSERT INTO foundation_cluster (id, version, members) VALUES (1, 0, '[]');
