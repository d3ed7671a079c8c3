-- Commands that carried an idempotency key: a repeated one finds what the first one did.
CREATE TABLE serving_rollout_commands (
    actor TEXT NOT NULL,
    key TEXT NOT NULL,
    command TEXT NOT NULL,
    rollout TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (actor, key)
);

CREATE INDEX serving_rollout_commands_by_time ON serving_rollout_commands (at);

-- What an experiment, bandit or shadow said last.
ALTER TABLE serving_rollouts ADD COLUMN findings TEXT NULL;

-- Keys of the plan's webhooks, sealed.
ALTER TABLE serving_rollouts ADD COLUMN secrets TEXT NULL;
