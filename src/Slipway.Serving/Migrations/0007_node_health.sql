-- What each node of a cluster counted of the endpoints that rollouts steer, second by second and a sign of life a row, for as long as health looks back: an analysis adds the nodes up.
CREATE TABLE serving_node_health (
    endpoint TEXT NOT NULL,
    node TEXT NOT NULL,
    variant TEXT NOT NULL,
    from_second BIGINT NOT NULL,
    until_second BIGINT NOT NULL,
    counts TEXT NOT NULL,
    PRIMARY KEY (endpoint, node, variant, from_second)
);
