"""The original's trade records: read one by one, mended where what is wrong is certain. Sans-IO.

Its files are JSON lists of objects with the fields exchange, market_type, symbol, trade_id, price
and quantity (text), side, timestamp, collected_at and trigger_time (milliseconds). What its
connectors are known to have stored wrongly (REQUIREMENTS F-09, F-11, F-31) is put right here, and
counted; what cannot be known is refused with the line it stands in, never guessed.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

EXCHANGES = ("binance", "bybit", "okx", "kucoin", "gate", "phemex")
MARKET_TYPES = ("spot", "futures")
# Where one unit of the venue's size is a contract; the original stored it as if it were a coin.
CONTRACT_FEEDS = frozenset({"okx_futures", "kucoin_futures", "gate_futures"})
# Whose connector took "the buyer is the maker" for a buy.
INVERTED_FEEDS = frozenset({"binance_spot", "binance_futures"})
# Whose channel merged the fills of one taker order.
AGGREGATED_FEEDS = frozenset({"okx_spot", "okx_futures"})
# What is left of the venue's own names once the signs between base and quote are gone.
NAME_PREFIX = {"phemex_spot": "s"}
NAME_SUFFIX = {"okx_futures": "SWAP", "kucoin_futures": "M"}
BASE_NAMES = {"kucoin_futures": ("XBT", "BTC")}
SYMBOL = re.compile(r"[0-9A-Z]{1,40}")
EARLIEST_NS = 1_262_304_000_000_000_000  # 2010-01-01, as for rows of a stream
FUTURE_NS = 86_400_000_000_000
# By size: a time of these years has 10 digits in seconds, 13 in ms, 16 in us, 19 in ns.
UNITS = ((11, 10**9, "s"), (14, 10**6, "ms"), (17, 10**3, "us"), (20, 1, "ns"))
RAW_CHARACTERS_MAX = 2_000  # of a broken record that is kept as evidence
ID_CHARACTERS_MAX = 200

EXACT_TIME = "timestamp_ns"  # a field that only an export of ours has
SIDE_INVERTED = "side_inverted"
CONTRACTS = "contracts_multiplied"
UNIT = "time_unit"
RENAMED = "symbol_renamed"
COMPOSED = "id_composed"
AGGREGATE = "aggregate"  # also the row's kind


class Found(msgspec.Struct, frozen=True):
    """One record of a file, or why there is none; ``line`` counts from 1."""

    line: int
    value: dict[str, Any] | None
    problem: str = ""
    raw: str = ""


class LegacyRow(msgspec.Struct, frozen=True, kw_only=True):
    """A trade as the archive takes it; ``mended`` names what was put right."""

    timestamp_ns: int
    exchange: str
    market_type: str
    symbol: str
    side: str
    price: Decimal
    quantity: Decimal  # base coins
    trade_id: str
    received_ns: int  # 0: not told
    kind: str  # "" for an ordinary trade
    mended: tuple[str, ...]

    @property
    def key(self) -> tuple[int, str, str, str, str]:
        """What makes it one row of the table."""
        return self.timestamp_ns, self.exchange, self.market_type, self.symbol, self.trade_id


class RecordError(Exception):
    """A record cannot be what it says; ``str()`` is why."""


def read_records(text: str) -> Iterator[Found]:
    """The objects of a list, as far as it can be read; numbers with a point stay text.

    A list that was cut off gives what is whole in it, and the rest as one problem.
    """
    decoder = json.JSONDecoder(parse_float=str)
    at = _skip(text, 0)
    if text[at:].strip() == "null":
        return  # how the original's language writes an empty list
    if not text.startswith("[", at):
        yield Found(1, None, "no JSON list of trades", text[at : at + RAW_CHARACTERS_MAX])
        return
    at, line, counted = _skip(text, at + 1), 1, 0
    while not text.startswith("]", at):
        line += text.count("\n", counted, at)
        counted = at
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            yield Found(line, None, "the file is cut off or broken from here on",
                        text[at : at + RAW_CHARACTERS_MAX])  # fmt: skip
            return
        if isinstance(value, dict):
            yield Found(line, value, raw=text[at:end])
        else:
            yield Found(line, None, "no trade", text[at : min(end, at + RAW_CHARACTERS_MAX)])
        at = _skip(text, end)
        if text.startswith(",", at):
            at = _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n\ufeff":
        at += 1
    return at


class Mender:
    """Turns the records of one feed's file into rows.

    ``contract_values``: base coins per contract by symbol, for feeds that count in contracts.
    ``latest_ns``: rows later than a day after it are refused.
    """

    def __init__(
        self,
        exchange: str,
        market_type: str,
        contract_values: Mapping[str, Decimal],
        latest_ns: int,
    ) -> None:
        self._exchange = exchange
        self._market_type = market_type
        self._feed = f"{exchange}_{market_type}"
        self._values = contract_values
        self._latest_ns = latest_ns
        self._ordinals: Counter[tuple[int, str, str, Decimal, Decimal]] = Counter()

    def row(self, record: Mapping[str, Any]) -> LegacyRow:
        """Raises RecordError where the record cannot be believed."""
        mended: list[str] = []
        for name, wanted in (("exchange", self._exchange), ("market_type", self._market_type)):
            told = record.get(name)
            if told not in (wanted, None, ""):
                raise RecordError(f"{name} is {told!r} in a file of {self._feed}")
        if EXACT_TIME in record:
            return self._own_row(record)
        symbol = self._symbol(record.get("symbol"), mended)
        timestamp_ns = self._time(record.get("timestamp"), mended)
        price = _amount("price", record.get("price"))
        quantity = self._quantity(record.get("quantity"), symbol, mended)
        side = self._side(record, mended)
        trade_id = record.get("trade_id")
        if isinstance(trade_id, int) and not isinstance(trade_id, bool):
            trade_id = str(trade_id)
        if trade_id in (None, ""):
            mended.append(COMPOSED)
            trade_id = self._composed_id(timestamp_ns, symbol, side, price, quantity)
        if not isinstance(trade_id, str) or len(trade_id) > ID_CHARACTERS_MAX:
            raise RecordError(f"trade_id {str(trade_id)[:80]!r} is no id")
        is_aggregate = self._feed in AGGREGATED_FEEDS
        if is_aggregate:
            mended.append(AGGREGATE)
        return LegacyRow(
            timestamp_ns=timestamp_ns, exchange=self._exchange, market_type=self._market_type,
            symbol=symbol, side=side, price=price, quantity=quantity, trade_id=trade_id,
            received_ns=_time_ns(record.get("collected_at"))[0],
            kind=AGGREGATE if is_aggregate else "", mended=tuple(mended),
        )  # fmt: skip

    def _own_row(self, record: Mapping[str, Any]) -> LegacyRow:
        """Of an export of ours: sides, sizes and names are right as they stand."""
        timestamp_ns, received_ns = record[EXACT_TIME], record.get("received_ns") or 0
        if type(timestamp_ns) is not int or type(received_ns) is not int:
            raise RecordError(f"{EXACT_TIME} {timestamp_ns!r} is no time of a trade")
        self._time(timestamp_ns // 1_000_000, [])
        side, trade_id, symbol = (record.get(name) for name in ("side", "trade_id", "symbol"))
        if side not in ("buy", "sell"):
            raise RecordError(f"side {side!r} is neither buy nor sell")
        if not isinstance(trade_id, str) or not 0 < len(trade_id) <= ID_CHARACTERS_MAX:
            raise RecordError(f"trade_id {str(trade_id)[:80]!r} is no id")
        if not isinstance(symbol, str) or not symbol:
            raise RecordError(f"symbol {symbol!r} is no text")
        return LegacyRow(
            timestamp_ns=timestamp_ns, exchange=self._exchange, market_type=self._market_type,
            symbol=symbol, side=side, price=_amount("price", record.get("price")),
            quantity=_amount("quantity", record.get("quantity")), trade_id=trade_id,
            received_ns=received_ns, kind=str(record.get("kind") or ""), mended=(),
        )  # fmt: skip

    def _symbol(self, told: object, mended: list[str]) -> str:
        if not isinstance(told, str) or not told:
            raise RecordError(f"symbol {told!r} is no text")
        symbol = told.removeprefix(NAME_PREFIX.get(self._feed, ""))
        symbol = symbol.replace("-", "").replace("_", "").upper()
        symbol = symbol.removesuffix(NAME_SUFFIX.get(self._feed, ""))
        old, new = BASE_NAMES.get(self._feed, ("", ""))
        if old and symbol.startswith(old):
            symbol = new + symbol.removeprefix(old)
        if SYMBOL.fullmatch(symbol) is None:
            raise RecordError(f"symbol {told!r} is none")
        if symbol != told:
            mended.append(RENAMED)
        return symbol

    def _time(self, told: object, mended: list[str]) -> int:
        moment_ns, unit = _time_ns(told)
        if not EARLIEST_NS <= moment_ns <= self._latest_ns + FUTURE_NS:
            raise RecordError(f"timestamp {told!r} is no time of a trade")
        if unit != "ms":
            mended.append(UNIT)
        return moment_ns

    def _quantity(self, told: object, symbol: str, mended: list[str]) -> Decimal:
        quantity = _amount("quantity", told)
        if self._feed not in CONTRACT_FEEDS:
            return quantity
        value = self._values.get(symbol)
        if value is None:
            raise RecordError(
                f"quantity {told} is in contracts, and how many coins one of {symbol} is, is not"
                " known: record the feed until it lists the symbol, then import again"
            )
        mended.append(CONTRACTS)
        return quantity * value

    def _side(self, record: Mapping[str, Any], mended: list[str]) -> str:
        told = record.get("side")
        side = told.lower() if isinstance(told, str) else ""
        if side not in ("buy", "sell"):
            raise RecordError(f"side {told!r} is neither buy nor sell")
        if self._feed not in INVERTED_FEEDS:
            return side
        # The flag itself decides where it was kept.
        is_buyer_maker = record.get("is_buyer_maker")
        if isinstance(is_buyer_maker, bool):
            right = "sell" if is_buyer_maker else "buy"
        else:
            right = "sell" if side == "buy" else "buy"
        if right != side:
            mended.append(SIDE_INVERTED)
        return right

    def _composed_id(
        self, timestamp_ns: int, symbol: str, side: str, price: Decimal, quantity: Decimal
    ) -> str:
        """As R6 does where there are no ids: the ordinal among equals keeps twins apart."""
        twins = (timestamp_ns, symbol, side, price, quantity)
        ordinal = self._ordinals[twins]
        self._ordinals[twins] += 1
        return f"{side}-{plain(price)}-{plain(quantity)}-{ordinal}"


def plain(value: Decimal) -> str:
    """Without exponent and trailing zeros."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _amount(name: str, told: object) -> Decimal:
    """Above 0. Raises RecordError."""
    if isinstance(told, int) and not isinstance(told, bool):
        told = str(told)
    try:
        value = Decimal(told) if isinstance(told, str) and "_" not in told else None
    except InvalidOperation:
        value = None
    if value is None or not value.is_finite() or value <= 0 or abs(value.adjusted()) > 30:
        raise RecordError(f"{name} {told!r} is no amount")
    return value


def _time_ns(told: object) -> tuple[int, str]:
    """(ns since 1970, the unit it was told in); 0 where it is no time."""
    if not isinstance(told, int) or isinstance(told, bool) or told <= 0:
        return 0, "ms"
    for digits_max, factor, unit in UNITS:
        if len(str(told)) <= digits_max:
            return told * factor, unit
    return 0, "ms"
