-- Every measurement of an analysis's further metrics.
CREATE TABLE serving_measurements (
    rollout TEXT NOT NULL,
    metric TEXT NOT NULL,
    at BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    verdict TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (rollout, metric, at)
);

CREATE INDEX serving_measurements_newest ON serving_measurements (rollout, at);
