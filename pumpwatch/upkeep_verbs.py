"""What the verbs ``backup`` and ``retention`` do, on the running database or one of the moment."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import trio

from pumpwatch.budget import host_memory_mib, plan_memory
from pumpwatch.clock import SystemClock
from pumpwatch.config import Config
from pumpwatch.daemon_orders import CREATE, RUN, through_daemon
from pumpwatch.environment import read_runtime
from pumpwatch.errors import MaintenanceBusyError, UsageError
from pumpwatch.moments import iso_ns
from pumpwatch.schema_verbs import connection, database
from pumpwatch.store.backup import Backups, open_folder
from pumpwatch.store.backup_manifest import RUNNING, Manifest, State, last_full_ns
from pumpwatch.store.backup_objects import make_key
from pumpwatch.store.backup_recall import SpanResult, restore_span, restore_whole
from pumpwatch.store.backup_remote import Remote
from pumpwatch.store.checkpoint import NoHold
from pumpwatch.store.disk import DiskWatch, watched_paths
from pumpwatch.store.event_windows import NoBundles
from pumpwatch.store.ilp_client import IlpClient
from pumpwatch.store.maintenance_lock import hold_maintenance
from pumpwatch.store.nightly import OPERATION, PROOFS_SQL, broken_links
from pumpwatch.store.operations import DirectSink, NoSink, OperationLog
from pumpwatch.store.retention import Outcome, Retention, over_limit
from pumpwatch.store.scratch_server import QUERY_S_MAX
from pumpwatch.store.server import ServerAddress, running_address
from pumpwatch.store.sql import Sql

SCRATCH_HEAP_MIB = (256, 512)  # what it needs at least, and what it gains nothing beyond
CLOSE_S_MAX = 5.0
Rows = list[dict[str, Any]]


def scratch_heap_mib(config: Config) -> int:
    """For a server of the moment: of what the memory budget leaves over."""
    least, most = SCRATCH_HEAP_MIB
    return max(least, min(most, plan_memory(config, host_memory_mib()).spare_mib))


@asynccontextmanager
async def _sender(address: ServerAddress) -> AsyncIterator[IlpClient]:
    sender = IlpClient(address)
    try:
        yield sender
    finally:
        with trio.move_on_after(CLOSE_S_MAX, shield=True):
            await sender.aclose()


def _backups(config: Config, sql: Sql, operations: OperationLog) -> Backups:
    """``NoHold``: only the daemon can have its writer wait; rows are counted on both sides."""
    return Backups(
        config, sql, SystemClock(), operations, random.Random(os.urandom(8)),
        hold=NoHold(), heap_mib=scratch_heap_mib(config),
    )  # fmt: skip


# --- backup ---------------------------------------------------------------------------------------


def create(config: Config) -> State:
    """Make a backup and test it. Raises BackupError, MaintenanceBusyError."""
    folder = open_folder(config)  # refuse before a server is started
    answer = through_daemon(config, CREATE)
    if answer is not None:
        return folder.state(str(answer.result["name"]))

    async def task() -> State:
        async with (
            database(config) as address,
            _sender(address) as sender,
            connection(Sql(address, timeout_s=QUERY_S_MAX)) as sql,
        ):
            operations = OperationLog(DirectSink(sender), SystemClock())
            return await _backups(config, sql, operations).create()

    return trio.run(task)


def verify(config: Config, name: str, *, full: bool) -> list[str]:
    """Test a backup again; what is wrong, a line each. Needs no running database."""
    open_folder(config).state(name)

    async def task() -> list[str]:
        runtime = read_runtime(config.data_dir)
        if runtime is None or not runtime.alive:
            nobody = ServerAddress(
                http_url="", pg_host="", pg_port=0, user="", password="", readonly_user="",
                readonly_password="",
            )  # fmt: skip
            operations = OperationLog(NoSink(), SystemClock())
            return await _backups(config, Sql(nobody), operations).verify(name, full=full)
        address = running_address(config)
        async with _sender(address) as sender, connection(Sql(address)) as sql:
            operations = OperationLog(DirectSink(sender), SystemClock())
            return await _backups(config, sql, operations).verify(name, full=full)

    return trio.run(task)


def list_backups(config: Config, *, remote: bool) -> Rows:
    """Oldest first; ``remote``: those at backup.remote_url instead of those here."""
    folder = open_folder(config)
    if remote:
        if not config.backup.remote_url:
            raise UsageError("--remote: backup.remote_url is not set")
        place = Remote(config.backup.remote_url)
        states = sorted(place.states(), key=lambda state: state.created_ns)
        return [_row(state, f"{place.url}/{state.name}", state.state) for state in states]
    rows = []
    is_busy = _is_busy(config)
    for state in folder.states():
        shown = "unfinished" if state.state == RUNNING and not is_busy else state.state
        rows.append(_row(state, str(folder.folder / state.name), shown))
    return rows


def _is_busy(config: Config) -> bool:
    """Whether a run has the lock: else whatever says that it runs was killed."""
    try:
        with hold_maintenance(config.data_dir, "backup list"):
            return False
    except MaintenanceBusyError:
        return True


def _row(state: State, location: str, shown: str) -> dict[str, Any]:
    return {
        "name": state.name,
        "state": shown,
        "created_at": _iso_s(state.created_ns),
        "verified_at": _iso_s(state.verified_ns),
        "bytes": state.stored_bytes,
        "location": location,
        "new_bytes": state.new_bytes,
        "rows": state.rows,
        "full_verified_at": _iso_s(state.full_verified_ns),
        "last_full_at": _iso_s(last_full_ns([state])),
        "uploaded_at": _iso_s(state.uploaded_ns),
        "error": state.error,
    }


def _iso_s(moment_ns: int) -> str | None:
    return f"{iso_ns(moment_ns)[:19]}Z" if moment_ns else None


def restore_to(config: Config, name: str, target: Path, *, from_remote: bool) -> Manifest:
    """Restore a whole backup into an empty folder, and compare it."""
    heap_mib = scratch_heap_mib(config)
    return trio.run(
        partial(restore_whole, config, name, target.expanduser().absolute(),
                from_remote=from_remote, heap_mib=heap_mib)
    )  # fmt: skip


def restore_rows(
    config: Config, name: str, table: str, span_ns: tuple[int, int], *, from_remote: bool
) -> SpanResult:
    """Send a span of a backup into the database."""

    async def task() -> SpanResult:
        async with (
            database(config) as address,
            _sender(address) as sender,
            connection(Sql(address, timeout_s=QUERY_S_MAX)) as sql,
        ):
            row = await OperationLog(DirectSink(sender), SystemClock()).begin("restore", name)
            result = await restore_span(
                config, name, table, span_ns, sql=sql, sender=sender, clock=SystemClock(),
                from_remote=from_remote, heap_mib=scratch_heap_mib(config),
            )  # fmt: skip
            detail = f"{table} {iso_ns(span_ns[0])} to {iso_ns(span_ns[1])}: {result.rows} rows"
            await OperationLog(DirectSink(sender), SystemClock()).end(row, "good", detail)
            return result

    return trio.run(task)


def create_key(config: Config) -> tuple[Path, str]:
    """Make the key file that the settings name; its path and the public key."""
    if config.backup.key_file is None:
        raise UsageError('backup key: set backup.key_file first, as "secrets/backup"')
    path = config.path(config.backup.key_file)
    return path, make_key(path).public


# --- proofs ---------------------------------------------------------------------------------------


def proofs(config: Config) -> tuple[Rows, list[str]]:
    """The nightly lines, oldest first, and what is wrong with their chain."""

    async def task() -> Rows:
        async with database(config) as address, connection(Sql(address)) as sql:
            return [
                {"written_at": _iso_s(int(at_ns)), "day": day, "result": result, "detail": detail}
                for at_ns, day, result, detail in await sql.query(PROOFS_SQL, (OPERATION,))
            ]

    rows = trio.run(task)
    return rows, broken_links([str(row["detail"]) for row in rows])


# --- retention ------------------------------------------------------------------------------------


@asynccontextmanager
async def _retention(config: Config) -> AsyncIterator[Retention]:
    async with (
        database(config) as address,
        _sender(address) as sender,
        connection(Sql(address, timeout_s=QUERY_S_MAX)) as sql,
    ):
        yield Retention(
            sql, config.retention, DiskWatch(watched_paths(config), config.disk),
            OperationLog(DirectSink(sender), SystemClock()), SystemClock(), bundles=NoBundles(),
            window_s=(config.listing.before_s, config.listing.after_s), data_dir=config.data_dir,
        )  # fmt: skip


def plan_retention(config: Config, cutoff_ns: int | None) -> tuple[Rows, bool]:
    """What a run would do, a row per partition; True: something is over a limit."""

    async def task() -> tuple[Rows, bool]:
        async with _retention(config) as retention:
            plans = await retention.plan(cutoff_ns)
        rows: Rows = []
        for plan in plans:
            rows += [{"action": "drop"} | msgspec.structs.asdict(drop) for drop in plan.drops]
            rows += [{"action": "keep"} | msgspec.structs.asdict(kept) for kept in plan.kept]
        return rows, over_limit(plans)

    return trio.run(task)


def run_retention(config: Config, cutoff_ns: int | None) -> Outcome:
    """Drop what is due. Raises RetentionRefusedError, MaintenanceBusyError."""
    before = {} if cutoff_ns is None else {"before_ns": str(cutoff_ns)}
    answer = through_daemon(config, RUN, **before)
    if answer is not None:
        return msgspec.convert(answer.result, type=Outcome)

    async def task() -> Outcome:
        async with _retention(config) as retention:
            return await retention.run(cutoff_ns)

    return trio.run(task)
