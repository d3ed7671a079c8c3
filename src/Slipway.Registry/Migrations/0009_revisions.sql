-- Changes whenever anything of the run changes, to a value that the run never had: what was read under a revision stays true of it.
ALTER TABLE registry_runs ADD COLUMN rev BIGINT NOT NULL DEFAULT 0;
