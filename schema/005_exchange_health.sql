-- How each connection of each feed stood; counters run from the connection's beginning.
CREATE TABLE IF NOT EXISTS exchange_health (
    checked_at TIMESTAMP_NS,
    exchange SYMBOL,
    market_type SYMBOL,
    connection LONG,
    state SYMBOL,
    subscribed LONG,
    silent_symbols LONG,
    messages LONG,
    trades LONG,
    reconnects LONG,
    last_trade_at TIMESTAMP_NS,
    lag_ms DOUBLE,
    error VARCHAR
) TIMESTAMP(checked_at) PARTITION BY DAY WAL
DEDUP UPSERT KEYS(checked_at, exchange, market_type, connection);
