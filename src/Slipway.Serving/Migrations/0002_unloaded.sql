-- 1 while nodes hold the endpoint out of memory on purpose.
ALTER TABLE serving_endpoints ADD COLUMN unloaded BIGINT NOT NULL DEFAULT 0;
