-- The ledger: one row per hole and symbol, upserted as its state changes (revision grows).
-- from_ts and to_ts: the exchange time that it may span, to_ts NULL while it is open;
-- missing: rows, -1 unknown; state: suspected, confirmed, filled, empty, lost.
CREATE TABLE IF NOT EXISTS feed_gaps (
    opened_at TIMESTAMP_NS,
    gap_id VARCHAR,
    exchange SYMBOL,
    market_type SYMBOL,
    symbol SYMBOL,
    cause SYMBOL,
    from_ts TIMESTAMP_NS,
    to_ts TIMESTAMP_NS,
    first_id LONG,
    last_id LONG,
    missing LONG,
    exact BOOLEAN,
    state SYMBOL,
    filled_rows LONG,
    closed_at TIMESTAMP_NS,
    reason VARCHAR,
    revision LONG
) TIMESTAMP(opened_at) PARTITION BY DAY WAL
DEDUP UPSERT KEYS(opened_at, gap_id);
