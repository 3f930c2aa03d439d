-- One row per announced coin, kept for ever and upserted (revision grows); symbol is the coin.
-- exchanges_with_data: feeds, 0 to 12; certificate: JSON, what is proven of each feed.
CREATE TABLE IF NOT EXISTS listing_events (
    detected_at TIMESTAMP_NS,
    source SYMBOL,
    notice_id VARCHAR,
    symbol SYMBOL,
    title VARCHAR,
    url VARCHAR,
    announced_at TIMESTAMP_NS,
    trigger_delay_ms LONG,
    state SYMBOL,
    collected_trades LONG,
    exchanges_with_data LONG,
    certificate VARCHAR,
    revision LONG
) TIMESTAMP(detected_at) PARTITION BY MONTH WAL
DEDUP UPSERT KEYS(detected_at, source, notice_id, symbol);
