-- People and service accounts. A service account always has a person as its owner and counts as that person.
CREATE TABLE governance_users (
    name TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    owner TEXT,
    roles TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    disabled_at BIGINT
);

-- API keys. Only the SHA-256 of the secret is kept; 256 random bits need no slow hash.
CREATE TABLE governance_keys (
    id TEXT NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    secret_hash TEXT NOT NULL,
    roles TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT,
    last_used_at BIGINT
);

CREATE INDEX governance_keys_owner ON governance_keys (owner);

-- The one-time token with which the first owner is made.
CREATE TABLE governance_owner_links (
    token_hash TEXT NOT NULL PRIMARY KEY,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    redeemed_at BIGINT
);

-- Every text ever in force; the highest version of a name is in force now. Rows are never changed, so a decision can be computed again.
CREATE TABLE governance_policies (
    name TEXT NOT NULL,
    version BIGINT NOT NULL,
    digest TEXT NOT NULL,
    yaml TEXT NOT NULL,
    applied_at BIGINT NOT NULL,
    applied_by TEXT NOT NULL,
    PRIMARY KEY (name, version)
);

-- ordinal counts up per subject and policy so that "the newest request" is a fact and not a matter of clocks.
CREATE TABLE governance_requests (
    id TEXT NOT NULL PRIMARY KEY,
    subject TEXT NOT NULL,
    policy TEXT NOT NULL,
    ordinal BIGINT NOT NULL,
    policy_digest TEXT NOT NULL,
    state TEXT NOT NULL,
    evidence TEXT NOT NULL,
    evidence_digest TEXT NOT NULL,
    rules TEXT NOT NULL,
    authors TEXT NOT NULL,
    required_approvals BIGINT NOT NULL,
    requested_by TEXT NOT NULL,
    requested_at BIGINT NOT NULL,
    decided_at BIGINT,
    entry_id TEXT NOT NULL,
    revision BIGINT NOT NULL,
    UNIQUE (subject, policy, ordinal)
);

CREATE INDEX governance_requests_state ON governance_requests (state, requested_at);

CREATE TABLE governance_votes (
    request_id TEXT NOT NULL,
    voter TEXT NOT NULL,
    approve INTEGER NOT NULL,
    comment TEXT NOT NULL,
    evidence_digest TEXT NOT NULL,
    roles TEXT NOT NULL,
    auth TEXT NOT NULL,
    at BIGINT NOT NULL,
    entry_id TEXT NOT NULL,
    PRIMARY KEY (request_id, voter)
);
