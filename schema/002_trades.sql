-- Every trade. timestamp: the venue's trade time; side: the taker's; quantity: base coins;
-- trade_id: never NULL; sequence_number: the venue's own order, 0 where it has none;
-- origin: stream, backfill, import; kind: NULL for an ordinary trade, else block, rpi, adl, ...
-- No index on symbol: it costs 15 to 20 % of the rate and saves nothing.
-- The TTL is a backstop: retention drops earlier, after it has saved what must stay.
CREATE TABLE IF NOT EXISTS trades (
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
) TIMESTAMP(timestamp) PARTITION BY HOUR TTL 45 DAYS WAL
DEDUP UPSERT KEYS(timestamp, exchange, market_type, symbol, trade_id);
