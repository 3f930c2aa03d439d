"""What the verb ``migrate`` does, on the running database or one of the moment."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path

import msgspec
import trio

from pumpwatch.clock import SystemClock
from pumpwatch.config import Config
from pumpwatch.errors import UsageError
from pumpwatch.listing.archive import Archive
from pumpwatch.listing.verify import read_certificate
from pumpwatch.listing_verbs import export
from pumpwatch.migrate.event_folder import EventFolder, find_folders
from pumpwatch.migrate.frames import check_client, frame_sender
from pumpwatch.migrate.importer import FolderReport, Importer, Values
from pumpwatch.migrate.journal import Entry, Journal
from pumpwatch.migrate.legacy_store import LegacyStore
from pumpwatch.migrate.shadow import Shadow
from pumpwatch.schema_verbs import connection, database
from pumpwatch.store.ilp_client import IlpClient
from pumpwatch.store.operations import DirectSink, OperationLog
from pumpwatch.store.schema import apply_schema
from pumpwatch.store.spool_recovery import holds_rows
from pumpwatch.store.sql import Sql

FOLDER = "migrate"  # below data_dir
STATUS_FILE = "status.json"
CLOSE_S_MAX = 5.0
VALUES_SQL = "SELECT DISTINCT exchange, market_type, symbol, contract_value FROM instruments"


def import_folders(
    config: Config, root: Path, *, again: bool, on_folder: Callable[[FolderReport, int], None]
) -> list[FolderReport]:
    """Import every event folder below ``root``; ``on_folder`` is told each and how many there are.

    Raises UsageError, ServerError. What was stored before a failure stays, and is known.
    """
    check_client()
    folders = find_folders(root)
    journal = Journal(config.data_dir / FOLDER / "imported.json")

    async def task() -> list[FolderReport]:
        async with database(config) as address, connection(Sql(address)) as sql:
            sender = IlpClient(address)
            try:
                await apply_schema(sql, spool_is_empty=lambda: _spool_is_empty(config))
                operations = OperationLog(DirectSink(sender), SystemClock())
                importer = Importer(
                    sql, sender, frame_sender(address), config.data_dir / FOLDER / "refused",
                    await read_values(sql), SystemClock().wall_ns(),
                )  # fmt: skip
                run = await operations.begin("import", str(root))
                reports = []
                for folder in folders:
                    reports.append(await _one(importer, journal, folder, again=again))
                    on_folder(reports[-1], len(folders))
                await operations.end(run, "good", summary(reports))
                return reports
            finally:
                with trio.move_on_after(CLOSE_S_MAX, shield=True):
                    await sender.aclose()

    return trio.run(task)


async def _one(
    importer: Importer, journal: Journal, folder: EventFolder, *, again: bool
) -> FolderReport:
    digest = await trio.to_thread.run_sync(folder.digest)
    known = None if again else journal.find(folder.name, digest)
    if known is not None:
        return FolderReport(
            folder=folder.name, symbol=folder.metadata.symbol or folder.symbol,
            announced_ns=folder.metadata.announced_ns, state="known", files=len(folder.files),
            read=known.read, stored=known.stored, repeated=known.repeated, refused=known.refused,
        )  # fmt: skip
    report = await importer.store(folder)
    journal.note(
        folder.name, Entry(digest, report.read, report.stored, report.repeated, report.refused)
    )
    return report


async def read_values(sql: Sql) -> Values:
    """Coins per contract, where the lists never said two values. Raises ServerError."""
    told: dict[tuple[str, str], dict[str, set[Decimal]]] = {}
    for exchange, market_type, symbol, value in await sql.query(VALUES_SQL):
        feed = told.setdefault((str(exchange), str(market_type)), {})
        feed.setdefault(str(symbol), set()).add(Decimal(str(value)))
    return {
        feed: {symbol: values.pop() for symbol, values in symbols.items() if len(values) == 1}
        for feed, symbols in told.items()
    }


def summary(reports: list[FolderReport]) -> str:
    """One line."""
    parts = {name: sum(getattr(one, name) for one in reports)
             for name in ("read", "stored", "repeated", "refused")}  # fmt: skip
    return f"folders {len(reports)}, " + ", ".join(f"{k} {v}" for k, v in parts.items())


def _spool_is_empty(config: Config) -> bool:
    return not holds_rows(config.data_dir / "spool")


# --- back -----------------------------------------------------------------------------------------


def export_bundles(config: Config, target: Path, names: Sequence[str]) -> list[dict[str, object]]:
    """Bundles below ``target`` as the original wrote events; all of them where none is named.

    A folder that is there is left alone: it may be the original's own. Raises BundleError, OSError.
    """
    archive = Archive(config.data_dir)
    places = [archive.find(name) for name in names] if names else archive.bundles()
    rows: list[dict[str, object]] = []
    for place in places:
        certificate, _ = read_certificate(place)
        out = target / place.resolve().name
        is_there = out.exists()
        if not is_there:
            export(place, target, "original")
        rows.append(
            {
                "folder": str(out), "state": "there" if is_there else "written",
                "symbol": certificate.symbol, "rows": certificate.rows,
            }
        )  # fmt: skip
    return rows


# --- comparison and stages ------------------------------------------------------------------------


def old_store(config: Config) -> Path:
    """The folder of ``migration.shadow``. Raises UsageError where it is not set."""
    if config.migration.shadow is None:
        raise UsageError("migration.shadow is not set: name the original's data folder there")
    return config.path(config.migration.shadow)


def compare(config: Config, windows: int, seed: int) -> list[dict[str, object]]:
    """Compare random windows of both stores; a row per feed. Raises UsageError, ServerError."""
    root = old_store(config)

    async def task() -> list[dict[str, object]]:
        async with database(config) as address, connection(Sql(address)) as sql:
            store = LegacyStore(root, await read_values(sql), SystemClock().wall_ns())
            path = config.data_dir / FOLDER / "differences.jsonl"
            shadow = Shadow(store, sql, SystemClock(), random.Random(seed), path)
            for _ in range(windows):
                if await shadow.step() is None:
                    raise UsageError(f"{root}: no event folder with trades in it")
            shares = shadow.tally.shares()
            return [
                {
                    "feed": feed, "windows": windows, "equal": one.equal,
                    "only_old": one.only_old, "only_new": one.only_new,
                    "differing": one.differing, "fields": one.fields,
                    "rows_share": shares[feed]["rows"],
                }
                for feed, one in sorted(shadow.tally.feeds.items())
            ]  # fmt: skip

    return trio.run(task)


def standing(config: Config) -> dict[str, object]:
    """What the daemon wrote at its last check. Raises UsageError where it never did."""
    old_store(config)
    path = config.data_dir / FOLDER / STATUS_FILE
    try:
        document: dict[str, object] = msgspec.json.decode(path.read_bytes())
    except OSError:
        raise UsageError(
            f"{path}: the daemon has not checked the migration yet; is `pumpwatch run` running with"
            " migration.shadow set?"
        ) from None
    return document
