"""Daily trade files of the venues that publish them: where they lie, and how a row is read.

No file was at hand when this was written: addresses and columns are what is known of them in public
(2024 to 2026). So the settings may name another address, archives are switched off by default, and
a file whose rows do not agree with what is held is never believed.
"""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import IO

import msgspec

from pumpwatch.errors import VenueError
from pumpwatch.venues.rest_trades import (
    MICROSECONDS,
    MILLISECONDS,
    SECONDS,
    amount,
    plain_id,
    side,
    signed_amount,
    time_ns,
    whole,
)
from pumpwatch.venues.spec import ArchiveFile, RestTrade

Row = Mapping[str, str]
TRUE = frozenset({"true", "True", "TRUE"})
NAMES_MIN = 4  # time, side, price, size: a page that says what went wrong has none of them
TEXT_BYTES_MAX = 4 << 30  # of one file unpacked: more is no day of one symbol


def _binance(row: Row) -> RestTrade:
    number = whole(row, "id")
    return RestTrade(
        trade_id=str(number), order_id=number, sequence_number=number,
        side="sell" if row["is_buyer_maker"] in TRUE else "buy",
        price=amount(row, "price"), quantity=amount(row, "qty"),
        exchange_ns=time_ns(row, "time", MILLISECONDS, MICROSECONDS),
    )  # fmt: skip


def _bybit_futures(row: Row) -> RestTrade:
    return RestTrade(
        trade_id=plain_id(row, "trdMatchID"), order_id=0, sequence_number=0,
        side=side(row, "side"), price=amount(row, "price"), quantity=amount(row, "size"),
        exchange_ns=time_ns(row, "timestamp", SECONDS),
    )  # fmt: skip


def _bybit_spot(row: Row) -> RestTrade:
    return RestTrade(
        trade_id=f"archive-{whole(row, 'id')}", order_id=0, sequence_number=0,
        side=side(row, "side"), price=amount(row, "price"), quantity=amount(row, "volume"),
        exchange_ns=time_ns(row, "timestamp", MILLISECONDS),
    )  # fmt: skip


def _okx(row: Row) -> RestTrade:
    number = whole(row, "trade_id")
    return RestTrade(
        trade_id=str(number), order_id=number, sequence_number=number, side=side(row, "side"),
        price=amount(row, "price"), quantity=amount(row, "size"),
        exchange_ns=time_ns(row, "created_time", MILLISECONDS),
    )  # fmt: skip


def _gate_spot(row: Row) -> RestTrade:
    # The number that counts up (id_market) is not in the file, and equals the id on some markets.
    return RestTrade(
        trade_id=str(whole(row, "dealid")), order_id=0, sequence_number=0,
        side={"1": "sell", "2": "buy"}[row["side"]],  # type: ignore[arg-type]
        price=amount(row, "price"), quantity=amount(row, "amount"),
        exchange_ns=time_ns(row, "timestamp", SECONDS),
    )  # fmt: skip


def _gate_futures(row: Row) -> RestTrade:
    number = whole(row, "dealid")
    is_sell, size = signed_amount(row, "size")
    return RestTrade(
        trade_id=str(number), order_id=number, sequence_number=number,
        side="sell" if is_sell else "buy", price=amount(row, "price"), quantity=size,
        exchange_ns=time_ns(row, "timestamp", SECONDS),
    )  # fmt: skip


def _binance_file(folder: str) -> ArchiveFile:
    return ArchiveFile(
        url=f"https://data.binance.vision/data/{folder}/daily/trades/{{symbol}}/"
        "{symbol}-trades-{year}-{month}-{day}.zip",
        columns=("id", "price", "qty", "quote_qty", "time", "is_buyer_maker", "is_best_match"),
        read_row=_binance,
    )


def _okx_file() -> ArchiveFile:
    return ArchiveFile(
        url="https://www.okx.com/cdn/okex/traderecords/trades/daily/{year}{month}{day}/"
        "{symbol}-trades-{year}-{month}-{day}.zip",
        columns=("instrument_name", "trade_id", "side", "price", "size", "created_time"),
        read_row=_okx,
        utc_offset_h=8,
    )


def _gate_file(
    folder: str, columns: tuple[str, ...], read_row: Callable[[Row], RestTrade]
) -> ArchiveFile:
    return ArchiveFile(
        url=f"https://download.gatedata.org/{folder}/{{year}}{{month}}/"
        "{symbol}-{year}{month}{day}.csv.gz",
        columns=columns,
        read_row=read_row,
    )


BINANCE_SPOT, BINANCE_FUTURES = _binance_file("spot"), _binance_file("futures/um")
BYBIT_SPOT = ArchiveFile(
    url="https://public.bybit.com/spot/{symbol}/{symbol}_{year}-{month}-{day}.csv.gz",
    columns=("id", "timestamp", "price", "volume", "side"),
    read_row=_bybit_spot,
    has_stream_ids=False,
)
BYBIT_FUTURES = ArchiveFile(
    url="https://public.bybit.com/trading/{symbol}/{symbol}{year}-{month}-{day}.csv.gz",
    columns=("timestamp", "symbol", "side", "size", "price", "tickDirection", "trdMatchID"),
    read_row=_bybit_futures,
)
OKX_SPOT = OKX_FUTURES = _okx_file()
GATE_SPOT = _gate_file("spot/deals", ("timestamp", "dealid", "price", "amount", "side"), _gate_spot)
GATE_FUTURES = _gate_file(
    "futures_usdt/trades", ("timestamp", "dealid", "price", "size"), _gate_futures
)


def read_file(archive: ArchiveFile, body: bytes, step_ns: int) -> Iterator[RestTrade]:
    """Every trade of a file, in its order, at the stream's own time steps.

    Raises VenueError where it is no such file; a row that cannot be read makes the file none.
    """
    columns, number = archive.columns, 0
    try:
        lines = csv.reader(io.TextIOWrapper(_unpacked(body), encoding="utf-8", newline=""))
        for number, cells in enumerate(lines):
            if number == 0 and not any(cell[:1].isdigit() for cell in cells):
                columns = tuple(_column(cell, archive.columns) for cell in cells)
                if len(set(columns) & set(archive.columns)) < NAMES_MIN:
                    raise ValueError(f"no line of names: {cells}"[:200])  # noqa: TRY301
                continue
            trade = archive.read_row(dict(zip(columns, cells, strict=False)))
            yield _at_step(trade, step_ns)
    except (LookupError, ValueError, ArithmeticError, UnicodeDecodeError, csv.Error) as error:
        raise VenueError(f"archive, row {number + 1}: {type(error).__name__}: {error}") from None
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise VenueError(f"archive: cannot be unpacked: {error}") from None


def _column(name: str, known: tuple[str, ...]) -> str:
    """A column's name as we know it: OKX has two languages in one cell, Binance two spellings."""
    first = name.split("/")[0].strip()
    plain = {one.replace("_", "").lower(): one for one in known}
    return plain.get(first.replace("_", "").lower(), first)


def _at_step(trade: RestTrade, step_ns: int) -> RestTrade:
    cut_ns = trade.exchange_ns - trade.exchange_ns % step_ns
    if cut_ns == trade.exchange_ns:
        return trade
    return msgspec.structs.replace(trade, exchange_ns=cut_ns)


def _unpacked(body: bytes) -> IO[bytes] | gzip.GzipFile:
    try:
        if body[:2] == b"PK":
            packed = zipfile.ZipFile(io.BytesIO(body))
            [entry] = [one for one in packed.infolist() if not one.is_dir()]
            if entry.file_size > TEXT_BYTES_MAX:
                raise VenueError(f"archive: {entry.file_size} bytes unpacked")
            return packed.open(entry)
        if body[:2] == b"\x1f\x8b":
            return gzip.open(io.BytesIO(body), "rb")
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise VenueError(f"archive: cannot be unpacked: {error}") from None
    return io.BytesIO(body)
