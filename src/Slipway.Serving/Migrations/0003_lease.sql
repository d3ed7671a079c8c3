-- Until when (Unix microseconds) the control plane has vouched for a rollout's route. It is renewed often, so it is no revision.
ALTER TABLE serving_endpoints ADD COLUMN lease_until BIGINT NOT NULL DEFAULT 0;
