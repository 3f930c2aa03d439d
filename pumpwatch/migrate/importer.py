"""One event folder of the original -> archive_trades, listing_events, and a report that adds up.

read = stored + repeated + refused, in records. A folder may be imported as often as one likes: its
rows have the same keys each time, and so have its event and what of it went to quarantine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path

import msgspec
import structlog
import trio

from pumpwatch.errors import ServerError
from pumpwatch.listing.events import ListingEvent, listing_line
from pumpwatch.migrate.event_folder import EventFolder, RawFile
from pumpwatch.migrate.legacy import Found, LegacyRow, Mender, RecordError, read_records
from pumpwatch.store.ilp_client import IlpSender, Outcome
from pumpwatch.store.partitions import SqlAccess, wait_applied
from pumpwatch.store.side_rows import side_row

log = structlog.get_logger()

TABLE = "archive_trades"
ORIGIN = "import"
SOURCE = "import"  # of the events
QUARANTINE_ROWS_MAX = 600  # of one folder; its file has them all
RAW_CHARACTERS_MAX = 12_000
SENT_ROWS_MAX = 50_000  # a request
ROWS_WAIT_S = 60.0
MS_NS = 1_000_000
Values = Mapping[tuple[str, str], Mapping[str, Decimal]]  # by feed: coins per contract by symbol
in_thread = trio.to_thread.run_sync


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """A record that was not believed: where it stands, and why."""

    file: str
    line: int
    exchange: str
    market_type: str
    problem: str
    raw: str


class FolderReport(msgspec.Struct, kw_only=True):
    """What became of one folder; rows unless the name says otherwise."""

    folder: str
    symbol: str
    announced_ns: int
    state: str = "stored"  # stored, known (imported before), empty
    files: int = 0
    read: int = 0
    stored: int = 0
    repeated: int = 0
    refused: int = 0
    feeds: int = 0  # with at least one row
    other_coins: int = 0  # rows of another symbol: the original matched by the end of a name
    mended: dict[str, int] = {}  # what was put right -> rows
    notes: list[str] = []


class Reading(msgspec.Struct, kw_only=True):
    """A folder's files, read and judged; nothing is stored yet."""

    report: FolderReport
    rows: list[LegacyRow]
    refused: list[Refused]


def read_folder(folder: EventFolder, values: Values, latest_ns: int) -> Reading:
    """Read all files of a folder. Blocking; never raises for what is in them."""
    metadata = folder.metadata
    report = FolderReport(
        folder=folder.name, symbol=metadata.symbol or folder.symbol,
        announced_ns=metadata.announced_ns, files=len(folder.files),
    )  # fmt: skip
    notes = [metadata.problem] if metadata.problem else []
    notes += [f"{name}: of no feed, left alone" for name in folder.strangers]
    rows: dict[tuple[int, str, str, str, str], LegacyRow] = {}
    refused: list[Refused] = []
    mended: Counter[str] = Counter()
    triggers: Counter[int] = Counter()
    for file in folder.files:
        feed_values = values.get((file.exchange, file.market_type), {})
        mender = Mender(file.exchange, file.market_type, feed_values, latest_ns)
        for found in _records(file):
            report.read += 1
            if found.value is not None:
                triggers[_trigger_ms(found.value)] += 1
            row = _judge(found, mender, rows, report, refused, folder, file)
            if row is not None:
                mended.update(row.mended)
    if not report.announced_ns:
        # Without metadata the rows tell; the folder's name is in the writer's local time.
        trigger_ms = next((ms for ms, _ in triggers.most_common() if ms), 0)
        report.announced_ns = trigger_ms * MS_NS
        if trigger_ms:
            notes.append("the time of the event is its trades' trigger_time")
    kept = sorted(rows.values(), key=lambda row: row.key)
    wanted = f"{report.symbol}USDT"
    report.other_coins = sum(row.symbol not in (wanted, f"1000{wanted}") for row in kept)
    report.feeds = len({(row.exchange, row.market_type) for row in kept})
    report.refused = len(refused)
    report.mended = dict(sorted(mended.items()))
    report.notes = notes
    return Reading(report=report, rows=kept, refused=refused)


def _records(file: RawFile) -> list[Found]:
    try:
        text = file.path.read_bytes().decode("utf-8", "backslashreplace")
    except OSError as error:
        return [Found(0, None, f"cannot be read: {error}")]
    return list(read_records(text))


def _trigger_ms(record: Mapping[str, object]) -> int:
    value = record.get("trigger_time")
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _judge(
    found: Found, mender: Mender, rows: dict[tuple[int, str, str, str, str], LegacyRow],
    report: FolderReport, refused: list[Refused], folder: EventFolder, file: RawFile,
) -> LegacyRow | None:  # fmt: skip
    """The record's row where it is a new one; counts it otherwise."""
    problem, row = found.problem, None
    if found.value is not None:
        try:
            row = mender.row(found.value)
        except RecordError as error:
            problem = str(error)
        else:
            held = rows.setdefault(row.key, row)
            if held is row:
                return row
            same = (held.side, held.price, held.quantity) == (row.side, row.price, row.quantity)
            if same:
                report.repeated += 1
                return None
            problem = f"trade_id {row.trade_id} was another trade before, at the same time"
    refused.append(
        Refused(
            file=str(file.path.relative_to(folder.path)), line=found.line,
            exchange=file.exchange, market_type=file.market_type, problem=problem, raw=found.raw,
        )
    )  # fmt: skip
    return None


# --- storing --------------------------------------------------------------------------------------


class Importer:
    """Stores folders. ``send_rows`` is blocking and runs in a thread."""

    def __init__(
        self,
        sql: SqlAccess,
        sender: IlpSender,
        send_rows: Callable[[Sequence[LegacyRow]], None],
        refused_folder: Path,
        values: Values,
        latest_ns: int,
    ) -> None:
        self._sql = sql
        self._sender = sender
        self._send_rows = send_rows
        self._refused_folder = refused_folder
        self._values = values
        self._latest_ns = latest_ns

    async def store(self, folder: EventFolder) -> FolderReport:
        """Read it, store it, and count what the table has of it. Raises ServerError, OSError."""
        reading = await in_thread(read_folder, folder, self._values, self._latest_ns)
        report = reading.report
        await self._store_refused(folder, reading)
        for first in range(0, len(reading.rows), SENT_ROWS_MAX):
            await in_thread(self._send_rows, reading.rows[first : first + SENT_ROWS_MAX])
        if reading.rows:
            await self._check(reading)
        else:
            report.state = "empty"
        report.stored = len(reading.rows)
        if report.announced_ns:
            await self._send(listing_line(event_of(folder, report)))
        else:
            report.notes.append("no time of the event is known: it is not in the list of listings")
        log.info("imported", folder=report.folder, read=report.read, stored=report.stored,
                 repeated=report.repeated, refused=report.refused)  # fmt: skip
        return report

    async def _check(self, reading: Reading) -> None:
        """The table shows every row: applied, not only accepted."""
        await wait_applied(self._sql, TABLE, wait_s=ROWS_WAIT_S)
        wanted = {row.key for row in reading.rows}
        times = [row.timestamp_ns for row in reading.rows]
        symbols = sorted({row.symbol for row in reading.rows})
        places = ", ".join(["%s"] * len(symbols))
        shown = await self._sql.query(
            f"SELECT timestamp::long, exchange, market_type, symbol, trade_id FROM {TABLE}"
            f" WHERE timestamp >= {min(times)} AND timestamp <= {max(times)}"
            f" AND symbol IN ({places})",
            tuple(symbols),
        )
        missing = wanted - set(shown)
        if missing:
            raise ServerError(
                f"{reading.report.folder}: {TABLE} shows {len(wanted) - len(missing)} of"
                f" {len(wanted)} rows after all were taken; import it again"
            )

    async def _store_refused(self, folder: EventFolder, reading: Reading) -> None:
        """Whole in a file, the first ones in the table too, under times of the event's own."""
        if not reading.refused:
            return
        path = self._refused_folder / f"{folder.name}.jsonl"
        await in_thread(_write_lines, path, reading.refused)
        if len(reading.refused) > QUARANTINE_ROWS_MAX:
            reading.report.notes.append(
                f"{len(reading.refused) - QUARANTINE_ROWS_MAX} refused records are only in {path}"
            )
        base_ns = reading.report.announced_ns or self._latest_ns
        lines = [
            side_row(
                "quarantine",
                {"exchange": one.exchange, "market_type": one.market_type, "reason": ORIGIN},
                {
                    "raw": one.raw[:RAW_CHARACTERS_MAX],
                    "detail": f"{folder.name}/{one.file}:{one.line}: {one.problem}",
                    "rows": 1,
                },
                base_ns + number,
            )
            for number, one in enumerate(reading.refused[:QUARANTINE_ROWS_MAX])
        ]
        await self._send(b"".join(lines))

    async def _send(self, body: bytes) -> None:
        verdict = await self._sender.send(body)
        if verdict.outcome is not Outcome.ACCEPTED:
            raise ServerError(f"import: {verdict.message}")


def event_of(folder: EventFolder, report: FolderReport) -> ListingEvent:
    """The event as the list of listings shows it: imported, and without a certificate."""
    metadata = folder.metadata
    is_invented = metadata.url.startswith("internal:")  # the original's own words, not the board's
    return ListingEvent(
        source=SOURCE, notice_id=folder.name, symbol=report.symbol,
        title=metadata.title, url="" if is_invented else metadata.url, channel=SOURCE,
        announced_ns=report.announced_ns,
        detected_ns=metadata.detected_ns or report.announced_ns,
        state="imported", collected_trades=report.stored, exchanges_with_data=report.feeds,
    )  # fmt: skip


def _write_lines(path: Path, refused: Sequence[Refused]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in refused))
