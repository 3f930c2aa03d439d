-- What a venue lists, one row per state. quantity of a trade = wire quantity x contract_value;
-- coin and unit: the coin of a multiplied ticker (1000PEPE: PEPE, 1000); volume_quote: 24 h.
-- venue_symbol is in the key: two of a venue's names may mean the same BASE+QUOTE.
CREATE TABLE IF NOT EXISTS instruments (
    valid_from TIMESTAMP_NS,
    exchange SYMBOL,
    market_type SYMBOL,
    venue_symbol VARCHAR,
    symbol SYMBOL,
    base SYMBOL,
    quote SYMBOL,
    coin SYMBOL,
    unit LONG,
    contract_value VARCHAR,
    price_exponent INT,
    status SYMBOL,
    krw_upbit BOOLEAN,
    krw_bithumb BOOLEAN,
    volume_quote DOUBLE,
    first_seen TIMESTAMP_NS,
    revision LONG
) TIMESTAMP(valid_from) PARTITION BY MONTH WAL
DEDUP UPSERT KEYS(valid_from, exchange, market_type, venue_symbol);
