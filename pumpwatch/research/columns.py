"""The columns of every frame that this package gives, with their polars types: a promise.

Columns may be added; one that is renamed, or means something else, raises ``VERSION``.
"""

from __future__ import annotations

VERSION = 1

EVENTS = {
    "event_id": "String",  # the bundle's name: AVA_20260131_130000
    "source": "String",  # upbit, bithumb; *_markets where no notice was seen; manual
    "notice_id": "String",
    "coin": "String",
    "kind": "String",  # announcement, opening
    "title": "String",
    "at": "Datetime(ns, UTC)",  # the moment that t_ms counts from
    "from": "Datetime(ns, UTC)",  # the window: from <= timestamp < to
    "to": "Datetime(ns, UTC)",
    "announced_at": "Datetime(ns, UTC)",  # by the board's clock
    "detected_at": "Datetime(ns, UTC)",  # by ours
    "opening_at": "Datetime(ns, UTC)",  # null: the notice does not say
    "kept_to": "Datetime(ns, UTC)",  # rows around the window are held until then
    "state": "String",  # complete, partial; pending: no bundle yet
    "revision": "Int64",
    "rows": "Int64",  # of the window
    "proven": "Int64",  # feeds of each grade
    "covered": "Int64",
    "incomplete": "Int64",
    "archive": "Int64",
    "not_listed": "Int64",
    "bundle": "String",  # its folder; null: there is none yet
}
TRADES = {
    "event_id": "String",  # null: the row belongs to no bundle
    "t_ms": "Float64",  # trade time - the event's moment
    "timestamp": "Datetime(ns, UTC)",  # the venue's trade time
    "received_at": "Datetime(ns, UTC)",  # our clock; null: not known
    "exchange": "String",
    "market_type": "String",  # spot, futures
    "symbol": "String",  # BASE+QUOTE
    "price": "Float64",  # of one base
    "quantity": "Float64",  # base coins
    "side": "String",  # the taker's: buy, sell
    "trade_id": "String",
    "sequence_number": "Int64",  # the venue's own order; 0: it has none
    "origin": "String",  # stream, backfill, import, archive
    "kind": "String",  # null: an ordinary trade; block, rpi, adl, insurance, ...
    "venue_symbol": "String",
    "feed": "String",  # exchange_market: binance_spot
    "unit": "Int64",  # coins that one base is: 1000 for 1000PEPE
    "certified": "String",  # the feed's grade, for rows of the window; null outside of it
    "suspect": "Boolean",  # perhaps another coin of this ticker: leave it out of aggregates
}
PANEL = {
    "event_id": "String",
    "t_ms": "Int64",  # then a Float64 column for each feed that traded
}
