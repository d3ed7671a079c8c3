-- Rows of a segment that no monitor sees: answers of mirrors, and exposures without a sampled prediction.
CREATE TABLE monitoring_segment_side_parts (
    segment TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    kind BIGINT NOT NULL,
    row_count BIGINT NOT NULL,
    first_us BIGINT NOT NULL,
    last_us BIGINT NOT NULL,
    PRIMARY KEY (segment, endpoint, kind)
);
CREATE INDEX monitoring_segment_side_parts_endpoint ON monitoring_segment_side_parts (endpoint, kind, first_us);
