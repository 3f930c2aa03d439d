"""Closed hours of the table ``trades`` as Parquet files that any reader of Hive folders takes.

``exchange=okx/market_type=spot/date=2026-01-31/13.parquet``: zstd, sorted by symbol and time, with
statistics. manifest.json says of each hour what the table had when it was written, so that the next
run writes only hours that changed. What retention has dropped from the table stays here.
"""

from __future__ import annotations

import io
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import msgspec
import polars as pl

from pumpwatch.config import Config
from pumpwatch.errors import ServerError, UsageError
from pumpwatch.moments import iso_ns
from pumpwatch.research.instance import Instance
from pumpwatch.store.partitions import UNIT_CHARACTERS, span_of
from pumpwatch.store.server import ServerAddress, running_address
from pumpwatch.trust import trust_for
from pumpwatch.whole_file import write_whole

MANIFEST, LAYOUT = "manifest.json", 1
ORDER = ("symbol", "timestamp", "sequence_number", "trade_id")
COLUMNS = ("timestamp", "symbol", "side", "price", "quantity", "trade_id", "sequence_number",
           "received_at", "origin", "kind")  # fmt: skip
# A VARCHAR column as it is comes out as nulls where a question spans less than the table (seen with
# QuestDB 9.3.4, Parquet exports only); one that is computed does not.
AS_ASKED = {"trade_id": "cast(trade_id AS STRING) AS trade_id"}
TEXTS = ("symbol", "side", "trade_id", "origin", "kind")
ROW_GROUP_ROWS = 100_000
EXPORT_S_MAX = 600.0
AHEAD = 2  # hours that are exported or wait to be, one after the other: two at once take longer
AHEAD_ROWS_MAX = 5_000_000  # waiting, some 150 bytes each: behind more no further hour is begun
BUSY, BUSY_TRIES, BUSY_PAUSE_S = 429, 60, 0.5  # the server runs two exports at once
PARTITIONS_SQL = "SELECT name, numRows FROM table_partitions('trades') WHERE attached"
# Whole numbers only: sums of doubles depend on the order in which the server adds them.
STATE_SQL = (
    "SELECT count(), max(received_at)::long, sum(sequence_number),"
    " sum(cast(price * 1000000 AS LONG)), sum(cast(quantity * 1000000 AS LONG)) FROM trades"
)


class Hour(msgspec.Struct, frozen=True, kw_only=True):
    """One hour of the lake."""

    rows: int
    state: str  # of the table's hour when it was written
    files: dict[str, int]  # path from the lake's folder: bytes


class Manifest(msgspec.Struct, kw_only=True):
    """All of it."""

    layout: int = LAYOUT
    hours: dict[str, Hour] = {}  # 2026-01-31T13


class _Look(msgspec.Struct, frozen=True, kw_only=True):
    """One closed hour of the table."""

    hour: str
    rows: int
    state: str
    is_held: bool  # the lake has it as it is


class Synced(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one hour."""

    hour: str
    rows: int
    written: bool


def read_manifest(folder: Path) -> Manifest:
    """What a lake holds; nothing where there is none yet. Raises UsageError."""
    path = folder / MANIFEST
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError:
        return Manifest()
    except msgspec.MsgspecError as error:
        raise UsageError(f"{path}: {error}; move it away to have the lake written anew") from None
    if found.layout != LAYOUT:
        raise UsageError(f"{path}: layout {found.layout} is another version's; take another folder")
    return found


class Lake:
    """A folder that follows the table of a running instance. Blocking."""

    def __init__(self, folder: Path, config: Config) -> None:
        """Raises UsageError for a folder with another version's manifest."""
        self.folder = folder
        self.manifest = read_manifest(folder)
        self._instance = Instance(config)
        self._config = config

    def closed_hours(self) -> list[str]:
        """Hours that the table has, oldest first, without the newest. Raises ServerError."""
        names = self._instance.query(PARTITIONS_SQL)
        return sorted({str(name)[: UNIT_CHARACTERS["HOUR"]] for name, _ in names})[:-1]

    def sync(self) -> Iterator[Synced]:
        """Write what changed, hour by hour; each is on disk when it is told of.

        While one hour is written the server exports the next ones. Raises ServerError, OSError;
        what was written before stays, and is not written again.
        """
        address = running_address(self._config)
        looks = self._looks()
        waiting: deque[tuple[_Look, Future[pl.DataFrame] | None]] = deque()
        with (
            httpx.Client(
                trust_env=False, timeout=EXPORT_S_MAX, verify=trust_for(address.http_url)
            ) as client,
            ThreadPoolExecutor(max_workers=1) as server,
        ):

            def begin_more() -> None:
                while len(waiting) < AHEAD:
                    ahead = sum(look.rows for look, _ in waiting)
                    if waiting and ahead >= AHEAD_ROWS_MAX:
                        return
                    look = next(looks, None)
                    if look is None:
                        return
                    where = _where(look.hour)
                    export = (
                        None if look.is_held else server.submit(_export, client, address, where)
                    )
                    waiting.append((look, export))

            begin_more()
            while waiting:
                look, export = waiting.popleft()
                frame = export.result() if export else None
                begin_more()
                if frame is not None:
                    self._write(look, frame)
                yield Synced(
                    hour=look.hour, rows=look.rows if frame is None else len(frame),
                    written=frame is not None,
                )  # fmt: skip

    def _looks(self) -> Iterator[_Look]:
        """Each closed hour, as the table has it; looked at before it is exported."""
        for hour in self.closed_hours():
            found = self._instance.query(STATE_SQL + _where(hour))[0]
            state = "/".join(str(part) for part in found)
            held = self.manifest.hours.get(hour)
            is_held = held is not None and held.state == state and self._is_whole(held)
            yield _Look(hour=hour, rows=int(found[0]), state=state, is_held=is_held)

    def _write(self, look: _Look, frame: pl.DataFrame) -> None:
        """The hour's files; what it no longer has goes; then the manifest."""
        held = self.manifest.hours.get(look.hour)
        files = write_hour(self.folder, look.hour, frame)
        for old in (held.files if held else {}).keys() - files.keys():
            (self.folder / old).unlink(missing_ok=True)
        self.manifest.hours[look.hour] = Hour(rows=len(frame), state=look.state, files=files)
        content = msgspec.json.encode(self.manifest, order="sorted")
        write_whole(self.folder / MANIFEST, msgspec.json.format(content) + b"\n")

    def _is_whole(self, held: Hour) -> bool:
        paths = {self.folder / name: size for name, size in held.files.items()}
        return all(path.is_file() and path.stat().st_size == size for path, size in paths.items())


def _where(hour: str) -> str:
    from_ns, to_ns = span_of(hour)
    return f" WHERE timestamp >= '{iso_ns(from_ns)}' AND timestamp < '{iso_ns(to_ns)}'"


def _export(client: httpx.Client, address: ServerAddress, where: str) -> pl.DataFrame:
    """One hour. Over HTTP there is only the user who may do all; nothing but a question is sent."""
    columns = ", ".join(AS_ASKED.get(one, one) for one in ("exchange", "market_type", *COLUMNS))
    query = f"SELECT {columns} FROM trades{where}"
    answer = _ask(client, address, query)
    for _ in range(BUSY_TRIES):
        if answer.status_code != BUSY:
            break
        time.sleep(BUSY_PAUSE_S)  # noqa: TID251 - there is no loop here
        answer = _ask(client, address, query)
    if answer.status_code != httpx.codes.OK:
        raise ServerError(f"the database gave no export: {answer.status_code} {answer.text[:200]}")
    try:
        frame = pl.read_parquet(io.BytesIO(answer.content))
    except pl.exceptions.PolarsError as error:
        raise ServerError(f"the database's Parquet export cannot be read: {error}") from None
    if frame["trade_id"].null_count():
        raise ServerError("the database's export lacks trade ids: its Parquet export is at fault")
    return frame


def _ask(client: httpx.Client, address: ServerAddress, query: str) -> httpx.Response:
    try:
        return client.get(
            f"{address.http_url}/exp", params={"query": query, "fmt": "parquet"},
            auth=(address.user, address.password),
        )  # fmt: skip
    except httpx.HTTPError as error:
        raise ServerError(
            f"no database answers on {address.http_url}"
            f" (is `pumpwatch run` running on this data_dir?): {error}"
        ) from None


def write_hour(folder: Path, hour: str, frame: pl.DataFrame) -> dict[str, int]:
    """An hour's rows as files, each in place as a whole; their sizes. Raises OSError."""
    day, _, clock = hour.partition("T")
    times = [pl.col(one).cast(pl.Datetime("ns")) for one in ("timestamp", "received_at")]
    texts = [pl.col(one).cast(pl.String) for one in ("exchange", "market_type", *TEXTS)]
    parts = frame.with_columns(*times, *texts).partition_by(
        "exchange", "market_type", as_dict=True, include_key=False
    )
    files = {}
    for (exchange, market_type), rows in sorted(parts.items(), key=lambda one: str(one[0])):
        name = f"exchange={exchange}/market_type={market_type}/date={day}/{clock}.parquet"
        content = io.BytesIO()
        in_order(rows.select(COLUMNS)).write_parquet(
            content, compression="zstd", compression_level=1, statistics=True,
            row_group_size=ROW_GROUP_ROWS,
        )  # fmt: skip
        write_whole(folder / name, content.getvalue())
        files[name] = len(content.getvalue())
    return files


def in_order(rows: pl.DataFrame) -> pl.DataFrame:
    """One feed's rows, which come in the order of time, sorted by ORDER.

    Sorting by the symbol alone does most of it, at a third of the price: only where rows of one
    instant are not in order yet, all four columns are looked at.
    """
    rows = rows.sort("symbol", maintain_order=True)
    symbol, timestamp, number, trade_id = (pl.col(one) for one in ORDER)
    is_same = (symbol == symbol.shift(1)) & (timestamp == timestamp.shift(1))
    is_late = (number < number.shift(1)) | (
        (number == number.shift(1)) & (trade_id < trade_id.shift(1))
    )
    is_back = (symbol == symbol.shift(1)) & (timestamp < timestamp.shift(1))
    if rows.select((is_back | (is_same & is_late)).any()).item():
        return rows.sort(ORDER)
    return rows


def describe(lake: Lake) -> dict[str, Any]:
    """How large it is, for who prints it."""
    hours = lake.manifest.hours.values()
    sizes = [size for hour in hours for size in hour.files.values()]
    return {"hours": len(hours), "rows": sum(hour.rows for hour in hours), "files": len(sizes),
            "bytes": sum(sizes)}  # fmt: skip
