-- Which of these files a database has seen. Written by store/schema.py itself, not by the spool.
CREATE TABLE IF NOT EXISTS schema_version (
    applied_at TIMESTAMP_NS,
    version LONG,
    name VARCHAR
) TIMESTAMP(applied_at) PARTITION BY YEAR WAL
DEDUP UPSERT KEYS(applied_at, version);
