CREATE TABLE serving_endpoints (
    name TEXT NOT NULL PRIMARY KEY,
    policy TEXT NULL,
    revision BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- Every route that ever served, kept after the endpoint is deleted: the proof of who saw what.
CREATE TABLE serving_route_revisions (
    endpoint TEXT NOT NULL,
    revision BIGINT NOT NULL,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    cause TEXT NOT NULL,
    spec TEXT NOT NULL,
    PRIMARY KEY (endpoint, revision)
);

CREATE TABLE serving_rollouts (
    id TEXT NOT NULL PRIMARY KEY,
    endpoint TEXT NOT NULL,
    stable TEXT NOT NULL,
    candidate TEXT NOT NULL,
    policy TEXT NULL,
    spec TEXT NOT NULL,
    state TEXT NOT NULL,
    active BIGINT NOT NULL,
    status TEXT NOT NULL,
    analysis TEXT NULL,
    rev BIGINT NOT NULL,
    proposed_by TEXT NOT NULL,
    proposed_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE INDEX serving_rollouts_by_endpoint ON serving_rollouts (endpoint, proposed_at);

CREATE INDEX serving_rollouts_by_candidate ON serving_rollouts (candidate);

-- At most one rollout steers an endpoint; others wait as proposals.
CREATE UNIQUE INDEX serving_rollouts_one_active ON serving_rollouts (endpoint) WHERE active = 1;

CREATE TABLE serving_rollout_events (
    rollout TEXT NOT NULL,
    number BIGINT NOT NULL,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    step BIGINT NOT NULL,
    percent DOUBLE PRECISION NOT NULL,
    actor TEXT NOT NULL,
    cause TEXT NOT NULL,
    analysis TEXT NULL,
    PRIMARY KEY (rollout, number)
);
