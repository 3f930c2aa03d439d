-- Every backup, retention run, verification and change of stage: when, what, result.
-- A row is written at the start (result: running) and upserted at the end (revision grows).
CREATE TABLE IF NOT EXISTS operations (
    started_at TIMESTAMP_NS,
    operation SYMBOL,
    subject VARCHAR,
    result SYMBOL,
    detail VARCHAR,
    finished_at TIMESTAMP_NS,
    revision LONG
) TIMESTAMP(started_at) PARTITION BY MONTH WAL
DEDUP UPSERT KEYS(started_at, operation, subject);
