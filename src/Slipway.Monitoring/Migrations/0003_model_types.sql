ALTER TABLE monitoring_monitors ADD COLUMN reference_value DOUBLE PRECISION;
ALTER TABLE monitoring_monitors ADD COLUMN baseline TEXT NOT NULL DEFAULT 'reference';
ALTER TABLE monitoring_monitors ADD COLUMN stopped_by TEXT;
