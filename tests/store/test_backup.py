"""Backups of a real server: made, restored, compared, broken, killed and rotated."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import psutil
import pytest
import trio

from pumpwatch.errors import (
    BackupError,
    DamagedBackupError,
    MaintenanceBusyError,
    PumpWatchError,
    ServerError,
    UsageError,
)
from pumpwatch.moments import iso_ns
from pumpwatch.store import backup as backup_module
from pumpwatch.store import checkpoint as checkpoint_module
from pumpwatch.store.backup import Backups, open_folder
from pumpwatch.store.backup_archive import unchanged
from pumpwatch.store.backup_folder import BackupFolder
from pumpwatch.store.backup_manifest import BROKEN, GOOD, RUNNING, UNVERIFIED, State
from pumpwatch.store.backup_objects import make_key
from pumpwatch.store.backup_recall import restore_span, restore_whole
from pumpwatch.store.backup_restore import RESTORE_TRIGGER, RESTORED_FILE
from pumpwatch.store.checkpoint import NoHold, WriterHold, is_open
from pumpwatch.store.digest import digest, read_columns
from pumpwatch.store.ilp_client import IlpClient
from pumpwatch.store.maintenance_lock import hold_maintenance
from pumpwatch.store.operations import OperationLog
from pumpwatch.store.partitions import DAY_NS, HOUR_NS, NS_PER_S, wait_applied
from pumpwatch.store.server import ServerAddress
from pumpwatch.store.sql import Sql
from tests.store.upkeep import (
    NOW_NS,
    TODAY_NS,
    FixedClock,
    ListSink,
    add_trades,
    config_of,
    connection,
    count,
    fresh_tables,
    running_server,
)

pytestmark = [pytest.mark.questdb, pytest.mark.slow]
TABLES = ("schema_version", "trades", "operations", "trades_1s")
ROWS = 26 * 60  # a row a minute: 26 partitions, the last one open
START_NS = NOW_NS // HOUR_NS * HOUR_NS - 25 * HOUR_NS
HEAP_MIB = 256
LATE_NS = START_NS + 3 * HOUR_NS + 1


class HeldWriter:
    """A hold as the daemon gives one; counts how often it was asked."""

    def __init__(self) -> None:
        self.holds = 0

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[str]:
        self.holds += 1
        yield "segment 7 record 3"


class Rig:
    """One server's data_dir with a backup folder that every test finds empty."""

    def __init__(self, sql: Sql, address: ServerAddress, data_dir: Path) -> None:
        self.sql = sql
        self.address = address
        self.data_dir = data_dir
        self.clock = FixedClock()
        self.sink = ListSink()
        self.alerts: list[str] = []
        self.phases: list[str] = []
        self.fail_in = ""

    def on_phase(self, phase: str) -> None:
        self.phases.append(phase)
        if phase == self.fail_in:
            raise OSError(28, f"No space left on device, in {phase}")

    def backups(self, hold: WriterHold | None = None, **settings: object) -> Backups:
        return Backups(
            config_of(self.data_dir, **settings), self.sql, self.clock,
            OperationLog(self.sink, self.clock), random.Random(7),
            hold=hold or NoHold(), heap_mib=HEAP_MIB, on_phase=self.on_phase,
            alert=lambda rule, text: self.alerts.append(f"{rule}: {text}"),
        )  # fmt: skip

    @property
    def folder(self) -> BackupFolder:
        return open_folder(config_of(self.data_dir))

    def names(self) -> list[tuple[str, str]]:
        return [(state.name, state.state) for state in self.folder.states()]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerAddress, Path]]:
    data_dir = tmp_path_factory.mktemp("backup")
    with running_server(data_dir) as address:
        trio.run(_fill, address)
        yield address, data_dir


async def _fill(address: ServerAddress) -> None:
    async with connection(address) as sql:
        await fresh_tables(sql, TABLES)
        await add_trades(sql, START_NS, rows=ROWS, step_ns=60 * NS_PER_S)
        while not await count(sql, "trades_1s"):  # noqa: ASYNC110
            await trio.sleep(0.1)
        await wait_applied(sql, "trades_1s")


@pytest.fixture
async def rig(server: tuple[ServerAddress, Path]) -> AsyncIterator[Rig]:
    address, data_dir = server
    async with connection(address) as sql:
        yield Rig(sql, address, data_dir)
        assert not await is_open(sql), "a checkpoint was left open"
    shutil.rmtree(data_dir / "backups", ignore_errors=True)
    assert [p for p in psutil.process_iter() if f"{data_dir}/backups" in " ".join(_words(p))] == []


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


async def no_test(self: Backups, state: State, manifest: object, parts: object) -> list[str]:
    """Instead of the restore, where a test is about something else: the backup counts as good."""
    self._on_phase("restoring")
    state.state, state.verified_ns = GOOD, self._clock.wall_ns()
    await trio.to_thread.run_sync(self._folder.write_state, state)
    return []


@pytest.fixture
def untested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backups, "_test", no_test)


# --- good ones ------------------------------------------------------------------------------------


async def test_backup_restore_compare(rig: Rig, tmp_path: Path) -> None:
    hold = HeldWriter()
    state = await rig.backups(hold).create()
    assert (state.state, state.error) == (GOOD, "")
    assert hold.holds == 1
    assert state.full_verified_ns == state.verified_ns > 0, "the first one is tested as a whole"
    manifest = rig.folder.manifest(state.name)
    assert manifest.was_held
    assert manifest.spool_position == "segment 7 record 3"
    trades = [part for (table, _), part in manifest.partitions().items() if table == "trades"]
    assert len(trades) == 26
    assert sum(part.rows for part in trades) == ROWS
    assert all(part.digest is not None and part.rows == part.rows_max for part in trades)
    assert "result=good" in rig.sink.lines[-1]
    assert not rig.folder.scratch.exists()
    assert not any(path.name.startswith("conf") for path in rig.folder.folder.rglob("*"))

    target = tmp_path / "restored"
    await restore_whole(
        config_of(rig.data_dir), state.name, target, from_remote=False, heap_mib=HEAP_MIB
    )
    mark = json.loads((target / RESTORED_FILE).read_text())
    assert (mark["backup"], mark["spool_position"]) == (state.name, "segment 7 record 3")
    columns = await read_columns(rig.sql, "trades")
    wanted = await digest(rig.sql, columns, START_NS, NOW_NS + DAY_NS)
    with running_in_thread(target) as start:
        address = await trio.to_thread.run_sync(start)
        async with connection(address) as restored:
            assert await digest(restored, columns, START_NS, NOW_NS + DAY_NS) == wanted
            await add_trades(restored, NOW_NS, rows=1, step_ns=1, seed=99)
            assert await count(restored) == ROWS + 1, "it takes new rows"
    with pytest.raises(BackupError, match="is not empty"):
        await restore_whole(
            config_of(rig.data_dir), state.name, target, from_remote=False, heap_mib=HEAP_MIB
        )


class running_in_thread:  # noqa: N801 - used as a context manager
    """``running_server`` starts its own event loop, so it runs in a thread."""

    def __init__(self, data_dir: Path) -> None:
        self._server = running_server(data_dir)

    def __enter__(self) -> object:
        return self._server.__enter__

    def __exit__(self, *details: object) -> None:
        self._server.__exit__(None, None, None)


async def test_a_late_row_stores_its_hour_only(
    rig: Rig, untested: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pumpwatch.store.backup_archive.SETTLED_NS", 0)
    rig.clock.now_ns = (await _newest_file_ns(rig)) + NS_PER_S
    first = await rig.backups().create()
    await add_trades(rig.sql, LATE_NS, rows=1, step_ns=1, seed=3)
    backups = rig.backups()
    second = await backups.create()
    before, after = (rig.folder.manifest(one.name).partitions() for one in (first, second))
    changed = {key for key in after if before[key].files != after[key].files}
    assert {name for table, name in changed if table == "trades"} == {"2026-03-09T14"}
    assert after["trades", "2026-03-09T14"].rows == before["trades", "2026-03-09T14"].rows + 1
    assert second.new_bytes < first.new_bytes / 4
    kept = {key for key in after if key[0] == "trades"} - changed
    assert all(after[key].digest == before[key].digest is not None for key in kept)


async def _newest_file_ns(rig: Rig) -> int:
    return max(path.stat().st_mtime_ns for path in (rig.data_dir / "questdb/db").rglob("*"))


async def test_a_file_that_was_just_written_is_read_again(rig: Rig, untested: None) -> None:
    """A write through a memory map may leave the time of the file as it was."""
    await rig.backups().create()
    seen: list[str] = []
    backups = rig.backups()
    put = backup_module.Archive._store_file

    def note(self: backup_module.Archive, relative: str, settle: bool) -> object:
        is_read = not settle or unchanged(self._root / relative, relative, self._known) is None
        copy = put(self, relative, settle)
        if is_read:
            seen.append(relative)
        return copy

    backup_module.Archive._store_file = note  # type: ignore[method-assign, assignment]
    try:
        await backups.create()
    finally:
        backup_module.Archive._store_file = put  # type: ignore[method-assign]
    assert any("trades~" in path and path.endswith("price.d") for path in seen)


async def test_rows_that_come_in_meanwhile_are_counted_on_both_sides(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Writing:
        """Holds nothing, and a row is written between the count and the checkpoint."""

        @asynccontextmanager
        async def hold(self) -> AsyncIterator[str]:
            yield ""

    execute = rig.sql.execute

    async def write_first(statement: str, params: tuple[object, ...] = ()) -> None:
        if statement == "CHECKPOINT CREATE":
            await add_trades(rig.sql, NOW_NS - 1, rows=3, step_ns=1, seed=44)
        await execute(statement, params)

    monkeypatch.setattr(rig.sql, "execute", write_first)
    state = await rig.backups(Writing()).create()
    assert state.state == GOOD
    part = rig.folder.manifest(state.name).partitions()["trades", "2026-03-10T12"]
    assert part.rows_max == part.rows + 3
    assert part.digest is None


async def test_rows_that_are_replaced_before_the_files_are_listed_are_no_difference(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writers go on as soon as there is a checkpoint: the copy has the rows of before."""
    listed = checkpoint_module.list_files

    def replace_first(*arguments: object) -> object:
        trio.from_thread.run(replace)
        return listed(*arguments)  # type: ignore[arg-type]

    async def replace() -> None:  # the same keys, other prices
        await rig.sql.execute(
            "INSERT INTO trades SELECT timestamp, exchange, market_type, symbol, side, price + 1,"
            " quantity, trade_id, sequence_number, received_at, origin, kind FROM trades"
            f" WHERE timestamp < {START_NS + HOUR_NS}"
        )
        await wait_applied(rig.sql, "trades")

    monkeypatch.setattr(checkpoint_module, "list_files", replace_first)
    state = await rig.backups(HeldWriter()).create()
    assert (state.state, state.error) == (GOOD, "")
    parts = rig.folder.manifest(state.name).partitions()
    replaced = parts["trades", iso_ns(START_NS)[:13]]
    assert (replaced.rows, replaced.rows_max, replaced.digest) == (60, 60, None)
    assert parts["trades", iso_ns(START_NS + HOUR_NS)[:13]].digest is not None


async def test_encrypted_backups_need_their_key(rig: Rig, tmp_path: Path) -> None:
    make_key(rig.data_dir / "secrets" / "backup")
    state = await rig.backups(key_file="secrets/backup").create()
    assert state.state == GOOD
    for path in rig.folder.folder.glob("objects/??/*"):
        assert path.suffix == ".age"
        assert path.read_bytes()[:21] == b"age-encryption.org/v1"
    with pytest.raises(BackupError, match=r"needs the key age1.*backup\.key_file"):
        await restore_whole(
            config_of(rig.data_dir), state.name, tmp_path / "to", from_remote=False,
            heap_mib=HEAP_MIB,
        )  # fmt: skip
    (rig.data_dir / "secrets" / "backup").unlink()


async def test_a_span_goes_back_into_the_running_table(rig: Rig) -> None:
    state = await rig.backups().create()
    columns = await read_columns(rig.sql, "trades")
    span = (START_NS + HOUR_NS, START_NS + 3 * HOUR_NS)
    wanted = await digest(rig.sql, columns, *span)
    assert wanted.rows == 120
    await rig.sql.execute("ALTER TABLE trades DROP PARTITION LIST '2026-03-09T12', '2026-03-09T13'")
    await wait_applied(rig.sql, "trades")
    assert (await digest(rig.sql, columns, *span)).rows == 0
    sender = IlpClient(rig.address)
    try:
        for _ in range(2):  # the second time folds
            result = await restore_span(
                config_of(rig.data_dir), state.name, "trades", span, sql=rig.sql, sender=sender,
                clock=rig.clock, from_remote=False, heap_mib=HEAP_MIB,
            )  # fmt: skip
            assert (result.rows, result.live_rows) == (120, 120)
            assert await digest(rig.sql, columns, *span) == wanted
        for table, start_ns in (("feed_gaps", span[0]), ("trades", NOW_NS - 46 * DAY_NS)):
            with pytest.raises(UsageError):
                await restore_span(
                    config_of(rig.data_dir), state.name, table, (start_ns, span[1]), sql=rig.sql,
                    sender=sender, clock=rig.clock, from_remote=False, heap_mib=HEAP_MIB,
                )  # fmt: skip
    finally:
        await sender.aclose()
    await rig.sql.execute("REFRESH MATERIALIZED VIEW trades_1s FULL")


# --- damage ---------------------------------------------------------------------------------------


async def test_one_changed_byte_is_found_and_healed(rig: Rig, untested: None) -> None:
    first = await rig.backups().create()
    manifest = rig.folder.manifest(first.name)
    file = next(one for one in manifest.all_files() if one.path.endswith("09T20/price.d"))
    path = rig.folder.objects.path(file.sha256)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    problems = await rig.backups().verify(first.name)
    assert len(problems) == 1
    assert file.sha256 in problems[0]
    assert rig.names() == [(first.name, BROKEN)]
    assert any(text.startswith("backup_broken") for text in rig.alerts)
    with pytest.raises(BackupError, match="is broken"):
        await restore_whole(
            config_of(rig.data_dir), first.name, rig.data_dir / "nowhere", from_remote=False,
            heap_mib=HEAP_MIB,
        )  # fmt: skip
    assert not path.exists()
    second = await rig.backups().create()
    assert path.exists()
    assert rig.names() == [(second.name, GOOD)]


async def test_a_restore_that_meets_damage_leaves_the_place_empty(
    rig: Rig, untested: None, tmp_path: Path
) -> None:
    state = await rig.backups().create()
    manifest = rig.folder.manifest(state.name)
    file = next(one for one in manifest.all_files() if one.path.endswith("10T00/price.d"))
    rig.folder.objects.path(file.sha256).write_bytes(b"no object")
    target = tmp_path / "to"
    with pytest.raises(DamagedBackupError, match=file.sha256):
        await restore_whole(
            config_of(rig.data_dir), state.name, target, from_remote=False, heap_mib=HEAP_MIB
        )
    assert list(target.iterdir()) == []


async def test_rows_that_differ_make_a_backup_broken(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manifest that counts one row more stands for a copy that lost one."""
    make = backup_module.make_manifest

    def miscount(*args: object, **kwargs: object) -> object:
        manifest = make(*args, **kwargs)  # type: ignore[arg-type]
        tables = []
        for table in manifest.tables:
            parts = [
                msgspec.structs.replace(part, rows=part.rows + 1, rows_max=part.rows + 1,
                                        digest=None)
                if (table.name, part.name) == ("trades", "2026-03-10T01") else part
                for part in table.partitions
            ]  # fmt: skip
            tables.append(msgspec.structs.replace(table, partitions=tuple(parts)))
        return msgspec.structs.replace(manifest, tables=tuple(tables))

    monkeypatch.setattr(backup_module, "make_manifest", miscount)
    state = await rig.backups().create()
    assert state.state == BROKEN
    assert state.error == "trades 2026-03-10T01: 60 rows, not 61 to 61"
    assert "result=failed" in rig.sink.lines[-1]


# --- failures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["checkpoint", "archiving", "checksums"])
async def test_a_failure_leaves_nothing_and_releases(rig: Rig, untested: None, phase: str) -> None:
    rig.fail_in = phase
    with pytest.raises(BackupError, match=f"No space left on device, in {phase}"):
        await rig.backups().create()
    assert not await is_open(rig.sql)
    assert rig.names() == []
    assert list(rig.folder.objects.names()) == []
    assert "result=failed" in rig.sink.lines[-1]
    assert rig.alerts[0].startswith("backup_failed")


async def test_eight_failures_in_a_row_leave_the_newest_good_one(rig: Rig, untested: None) -> None:
    old = await rig.backups().create()
    rig.clock.now_ns += DAY_NS
    good = await rig.backups().create()
    for number in range(8):
        rig.clock.now_ns += DAY_NS
        rig.fail_in = ("archiving", "restoring")[number % 2]
        with pytest.raises(BackupError):
            await rig.backups().create()
    rig.fail_in = ""
    left = rig.names()
    assert (good.name, GOOD) in left
    assert all(state == UNVERIFIED for name, state in left if name not in (good.name, old.name))
    rig.clock.now_ns += DAY_NS
    newest = await rig.backups().create()
    assert rig.names() == [(newest.name, GOOD)], "older than keep_days, and not the newest"


async def test_a_disk_that_is_too_small_is_refused_with_numbers(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup_module, "free_bytes", lambda folder: 1 << 20)
    with pytest.raises(BackupError, match=r"has 1 MiB free, about \d+ are needed"):
        await rig.backups().create()
    assert "archiving" not in rig.phases
    assert list(rig.folder.objects.names()) == []


async def test_two_at_once_are_refused(rig: Rig) -> None:
    with hold_maintenance(rig.data_dir, "retention"), pytest.raises(MaintenanceBusyError):
        await rig.backups().create()


async def test_a_server_that_does_not_start_leaves_it_unverified(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup_module, "HEAP_MIB_DEFAULT", 0)
    backups = rig.backups()
    backups._heap_mib = 1  # no Java starts with that
    with pytest.raises(BackupError, match="scratch server did not start"):
        await backups.create()
    ((name, state),) = rig.names()
    assert state == UNVERIFIED
    rig.clock.now_ns += NS_PER_S
    assert await rig.backups().verify(name, full=False) == []
    assert rig.names() == [(name, GOOD)]


async def test_an_external_server_is_none_of_ours(rig: Rig) -> None:
    config = config_of(rig.data_dir)
    questdb = msgspec.structs.replace(
        config.questdb, mode="external", http_url="http://db:9000", pg_host="db", pg_port=8812
    )
    with pytest.raises(PumpWatchError, match="embedded database only"):
        open_folder(msgspec.structs.replace(config, questdb=questdb))


# --- kills ----------------------------------------------------------------------------------------

KILLED = """
import os, random, signal, sys
from pathlib import Path
import trio
from pumpwatch.store import backup as backup_module, scratch_server
from pumpwatch.store.backup import Backups
from pumpwatch.store.checkpoint import NoHold
from pumpwatch.store.operations import OperationLog
from pumpwatch.store.server import ServerAddress
from pumpwatch.store.sql import Sql
from tests.store.upkeep import FixedClock, ListSink, config_of
import json

data_dir, phase, address, remote = sys.argv[1:5]

def die(now):
    if now == phase:
        os.kill(os.getpid(), signal.SIGKILL)

async def die_beside_the_server(sql, manifest, parts, pace):
    os.kill(os.getpid(), signal.SIGKILL)

if phase == "comparing":
    backup_module.compare = die_beside_the_server

async def main():
    sql = Sql(ServerAddress(**json.loads(address)))
    clock = FixedClock()
    config = config_of(Path(data_dir), remote_url=remote)
    backups = Backups(config, sql, clock, OperationLog(ListSink(), clock), random.Random(1),
                      hold=NoHold(), heap_mib=256, on_phase=die)
    await backups.create()

trio.run(main)
"""


@pytest.mark.parametrize(
    "phase", ["checkpoint", "archiving", "checksums", "uploading", "restoring", "comparing"]
)
async def test_a_kill_in_any_phase_is_put_right(rig: Rig, tmp_path: Path, phase: str) -> None:
    address = json.dumps(msgspec.structs.asdict(rig.address))
    remote = f"file://{tmp_path}/remote"
    done = await trio.run_process(
        [sys.executable, "-c", KILLED, str(rig.data_dir), phase, address, remote],
        check=False, capture_stdout=True, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == -9, done.stdout.decode()[-2000:]
    assert await is_open(rig.sql) == (phase == "archiving")
    left = [state for _, state in rig.names()]
    assert left == (
        [RUNNING] if phase in ("checkpoint", "archiving", "checksums") else [UNVERIFIED]
    )
    await rig.backups().recover()
    assert not await is_open(rig.sql)
    assert not rig.folder.scratch.exists()
    assert [state for _, state in rig.names()] == [one for one in left if one != RUNNING]
    if RUNNING in left:
        assert list(rig.folder.objects.names()) == []


# --- elsewhere ------------------------------------------------------------------------------------


async def test_a_copy_in_a_folder_elsewhere_restores_without_the_local_one(
    rig: Rig, tmp_path: Path
) -> None:
    url = f"file://{tmp_path}/remote"
    state = await rig.backups(remote_url=url).create()
    assert (state.state, state.error) == (GOOD, "")
    assert state.uploaded_ns > 0
    shutil.rmtree(rig.folder.folder)
    target = tmp_path / "to"
    config = config_of(rig.data_dir, remote_url=url)
    manifest = await restore_whole(config, state.name, target, from_remote=True, heap_mib=HEAP_MIB)
    assert manifest.rows >= ROWS
    assert not (target / "questdb" / RESTORE_TRIGGER).exists(), "a server has started on it"


async def test_an_upload_that_fails_is_told_and_the_backup_stays_good(
    rig: Rig, untested: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "remote").mkdir()
    backups = rig.backups(remote_url=f"file://{tmp_path}/remote")
    put = backups._remote._put  # type: ignore[union-attr]
    sent: list[str] = []

    def cut(key: str, path: Path) -> None:
        if len(sent) == 5:
            raise BackupError("the line was cut")
        sent.append(key)
        put(key, path)

    monkeypatch.setattr(backups._remote, "_put", cut)
    state = await backups.create()
    assert state.state == GOOD
    assert "not uploaded: the line was cut" in state.error
    assert "result=failed" in rig.sink.lines[-1]
    assert not list((tmp_path / "remote").glob("*/state.json"))
    # The next one goes on where this one was cut.
    monkeypatch.setattr(
        backups._remote, "_put", lambda key, path: (sent.append(key), put(key, path))
    )
    again = await backups.create()
    assert again.error == ""
    assert len(sent) == len(set(sent)), "nothing went twice"


async def test_servers_that_are_gone_are_said(rig: Rig) -> None:
    nobody = msgspec.structs.replace(rig.address, pg_port=1)
    async with connection(nobody) as sql:
        backups = rig.backups()
        backups._sql = sql
        with pytest.raises(BackupError, match="does not answer"):
            await backups.create()
    with pytest.raises(ServerError):
        async with connection(nobody) as sql:
            await is_open(sql)


def test_what_is_today(tmp_path: Path) -> None:
    """Names are UTC, and two of one second differ."""
    folder = open_folder(config_of(tmp_path))
    assert folder.new_name(TODAY_NS) == "20260310T000000Z"
    (folder.folder / "20260310T000000Z").mkdir(parents=True)
    assert folder.new_name(TODAY_NS) == "20260310T000000Z-2"
