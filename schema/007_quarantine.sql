-- What was not understood, or refused by the server, with its text: nothing is thrown away.
-- rows: trades known to be in it, 0 where it could not be read; detail: the server's words.
-- raw is in the key: two messages of the same nanosecond are two.
CREATE TABLE IF NOT EXISTS quarantine (
    received_at TIMESTAMP_NS,
    exchange SYMBOL,
    market_type SYMBOL,
    reason SYMBOL,
    raw VARCHAR,
    detail VARCHAR,
    rows LONG
) TIMESTAMP(received_at) PARTITION BY DAY WAL
DEDUP UPSERT KEYS(received_at, exchange, market_type, reason, raw);
