-- One-second bars of each market, kept up to date by the server (3 % of its time at 150 k rows/s).
CREATE MATERIALIZED VIEW IF NOT EXISTS trades_1s WITH BASE trades REFRESH IMMEDIATE AS (
    SELECT
        timestamp, exchange, market_type, symbol,
        first(price) AS open,
        max(price) AS high,
        min(price) AS low,
        last(price) AS close,
        sum(quantity) AS volume,
        count() AS trade_count,
        sum(CASE WHEN side = 'buy' THEN quantity ELSE 0.0 END) AS buy_volume
    FROM trades
    SAMPLE BY 1s
) PARTITION BY DAY TTL 45 DAYS;
