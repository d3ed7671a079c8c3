-- Whether a window is cut by the beginning or the end of the version's predictions.
ALTER TABLE monitoring_windows ADD COLUMN partial INTEGER NOT NULL DEFAULT 0;
