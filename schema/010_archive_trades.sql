-- Imports and archives: old trades, which the TTL of trades would evict at once; no TTL.
CREATE TABLE IF NOT EXISTS archive_trades (
    timestamp TIMESTAMP_NS,
    exchange SYMBOL,
    market_type SYMBOL,
    symbol SYMBOL,
    side SYMBOL,
    price DOUBLE,
    quantity DOUBLE,
    trade_id VARCHAR,
    sequence_number LONG,
    received_at TIMESTAMP_NS,
    origin SYMBOL,
    kind SYMBOL
) TIMESTAMP(timestamp) PARTITION BY DAY WAL
DEDUP UPSERT KEYS(timestamp, exchange, market_type, symbol, trade_id);
