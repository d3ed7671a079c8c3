-- Which of a version's predictions a monitor looks at: empty for those that callers got, else a segment of them, or the answers to copies of their requests.
ALTER TABLE monitoring_monitors ADD COLUMN scope TEXT NOT NULL DEFAULT '';
DROP INDEX monitoring_monitors_target;
CREATE UNIQUE INDEX monitoring_monitors_target ON monitoring_monitors (endpoint, model_version, scope) WHERE stopped_us IS NULL;
