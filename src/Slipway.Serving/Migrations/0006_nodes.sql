-- What each node of a cluster serves of the endpoints that rollouts steer. A rollout's next step waits for it.
CREATE TABLE serving_nodes (
    node TEXT NOT NULL PRIMARY KEY,
    seen_at BIGINT NOT NULL,
    report TEXT NOT NULL
);
