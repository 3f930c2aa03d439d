"""Backups under load: killed in each phase, cut on their way, failing, damaged, over and over.

Every backup that is called good was restored and compared; what is killed is put right by the next
start; the newest good one survives whatever fails after it; a byte that flips is found. Needs
root, for mount, and moto, for S3.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import trio

from pumpwatch.clock import SystemClock
from pumpwatch.daemon_client import act
from pumpwatch.daemon_orders import CREATE
from pumpwatch.drills.disk import volume
from pumpwatch.drills.months import SYMBOL, ask, database_before, day_of, fill_days
from pumpwatch.drills.object_store import BUCKET, Relay, run_relay, s3_server
from pumpwatch.drills.outcome import Order, Outcome
from pumpwatch.drills.reckoning import reckon
from pumpwatch.drills.stage import DaemonProcess, is_subscribed, stage_of
from pumpwatch.drills.verbs import say
from pumpwatch.drills.verdict import Kill
from pumpwatch.errors import DrillError, PumpWatchError
from pumpwatch.store.backup import open_folder
from pumpwatch.store.backup_folder import BackupFolder
from pumpwatch.store.backup_manifest import GOOD, RUNNING
from pumpwatch.store.partitions import DAY_NS
from pumpwatch.store.retention import TRADES
from pumpwatch.store.scratch_server import SERVER_FOLDER
from pumpwatch.store.server_process import find_leftovers

# What the daemon's log says when a phase has begun.
PHASES = {
    "checkpoint": '"checkpoint_taken"', "archiving": '"phase":"archiving"',
    "checksums": '"phase":"checksums"', "uploading": '"phase":"uploading"',
    "restoring": '"phase":"restoring"',
}  # fmt: skip
FAILURES, FAILURES_SHORT = 8, 2  # the short ones where few cycles are asked for
COUNT_SHORT = 2
ROWS_PER_HOUR, ROWS_SHORT = 20_000, 4_000  # of the day before: hours nobody writes to any more
HOURS = 24
LOAD_S = (1.0, 3.0)
PHASE_S_MAX = 240.0
RECOVER_S_MAX = 60.0
POLL_S = 0.02
CUT_SHARE = 0.2  # of what an upload sends; the next one sends only what changed
FULL_MIB = 1
OLD_DAYS = 30
SETTINGS = "\n[backup]\nsample_partitions = 3\nrate_mib_per_s = 0\n"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "drill", "AWS_SECRET_ACCESS_KEY": "drill",
               "AWS_REGION": "us-east-1"}  # fmt: skip


async def run(order: Order) -> Outcome:
    """``count`` backups under load, as many flipped bytes, and then everything that can fail."""
    outcome = Outcome()
    rng = random.Random(order.seed)
    async with stage_of(order, SETTINGS) as (simulator, daemon):
        play = _Play(outcome, daemon, rng)
        is_short = order.count <= COUNT_SHORT
        await play.prepare(order.seed, ROWS_SHORT if is_short else ROWS_PER_HOUR)
        await play.start()
        for number in range(order.count):
            order.tell(f"backup {number + 1} of {order.count}")
            await play.cycle(number)
        order.tell("a byte of each flipped")
        await play.flipped_bytes(order.count)
        order.tell("backups that must fail")
        await play.failing(FAILURES_SHORT if is_short else FAILURES)
        await play.end()
        with s3_server() as url:
            async with run_relay(url) as relay:
                with remote(relay.url):
                    await play.start()
                    order.tell("killed in its phases")
                    await play.killed_in_each_phase(is_short=is_short)
                    order.tell("an upload is cut")
                    await play.cut_upload(relay)
                    order.tell("comparing with the truth")
                    verdict = await reckon(
                        outcome, simulator, daemon, kills=play.kills, not_traded=SYMBOL
                    )
    outcome.figures |= play.figures | {"tail_rows": verdict.tail_rows}
    return outcome


@contextmanager
def remote(url: str) -> Iterator[None]:
    """Daemons and verbs that are started inside copy to the S3 server."""
    values = CREDENTIALS | {
        "AWS_ENDPOINT_URL": url, "PUMPWATCH_BACKUP__REMOTE_URL": f"s3://{BUCKET}/drill"
    }  # fmt: skip
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            os.environ.pop(name, None)


class _Play:
    """The steps; each leaves a daemon that records."""

    def __init__(self, outcome: Outcome, daemon: DaemonProcess, rng: random.Random) -> None:
        self.outcome = outcome
        self.daemon = daemon
        self.rng = rng
        self.kills: list[Kill] = []
        self.figures: dict[str, Any] = {"backups": 0, "rows_backed_up": 0}
        self._clock = SystemClock()
        self._started_ns = 0

    # --- steps ------------------------------------------------------------------------------------

    async def prepare(self, seed: int, rows_per_hour: int) -> None:
        """A day of closed hours: their checksums are compared, not only their counts."""
        now_ns = self._clock.wall_ns()
        async with database_before(self.daemon.config) as sql:
            await fill_days(
                sql, day_of(now_ns, 1), day_of(now_ns, 0), rows_per_hour=rows_per_hour, seed=seed
            )

    async def killed_in_each_phase(self, *, is_short: bool) -> None:
        """SIGKILL; the next start releases, ends, removes, and the next backup is good.

        In short: while the checkpoint is open; the next backup is that of ``cut_upload``.
        """
        opened, phases = [], ["checkpoint"] if is_short else list(PHASES)
        for phase in phases:
            mark = PHASES[phase]
            await trio.sleep(self.rng.uniform(*LOAD_S))
            known = self._log_bytes()
            await trio.to_thread.run_sync(act, self.daemon.config, CREATE)
            await self._until_log(known, mark)
            self.kills.append(Kill(started_ns=self._started_ns, at_ns=self._clock.wall_ns()))
            self.daemon.kill()
            if await self._is_open():
                opened.append(phase)
            await self.start()
            with trio.move_on_after(RECOVER_S_MAX) as waiting:
                while await self._is_open() or self._leftovers():  # noqa: ASYNC110
                    await trio.sleep(0.2)
            self.expect(not waiting.cancelled_caught, f"{phase}: a killed run was not put right")
            if not is_short:
                await self.create(f"after a kill in {phase}")
        self.figures |= {"kills": phases, "checkpoints_left_open": opened}
        self.expect("checkpoint" in opened, "no kill met an open checkpoint")

    async def cut_upload(self, relay: Relay) -> None:
        """The line breaks; the next run sends what is missing, and a restore needs it alone."""
        before = relay.bytes_up
        await self.create("whole upload")
        whole_bytes = relay.bytes_up - before
        relay.cut_after(int(whole_bytes * CUT_SHARE))
        code, rows, text = await say(self.daemon, "backup", "create")
        error = rows[0]["error"] if rows else text
        self.expect(code == 1 and "not uploaded" in error, f"a cut upload: {code}, {error}")
        relay.cut_after(None)
        row = await self.create("resumed upload")
        self.expect(bool(row["uploaded_at"]), "the resumed upload is not told")
        _, far, _ = await say(self.daemon, "backup", "list", "--remote")
        names = [one["name"] for one in far or []]
        self.expect(row["name"] in names, f"{row['name']} is not at the remote: {names}")
        place = self.daemon.data_dir.parent / "from-afar"
        with hidden(self._folder().folder):
            words = ("backup", "restore", row["name"], "--from-remote", "--to", str(place))
            code, restored, text = await say(self.daemon, *words)
        self.expect(code == 0 and restored[0]["rows"] == row["rows"], f"from afar: {code} {text}")
        shutil.rmtree(place, ignore_errors=True)
        self.figures |= {"upload_bytes": whole_bytes, "restored_from_remote": row["rows"]}

    async def failing(self, failures: int) -> None:
        """So many in a row, by a full disk and by a server that dies; the old good one stays."""
        name = [row["name"] for row in await self._list() if row["state"] == GOOD][-1]
        self._make_old(name)
        objects = self._folder().objects.folder
        for number in range(failures):
            if number % 2:
                code, text = await self._create_with_dying_server()
            else:
                with over(objects):
                    code, _, text = await say(self.daemon, "backup", "create")
            self.expect(code != 0, f"failure {number + 1} was none: {text}")
            rows = await self._list()
            kept = [row["name"] for row in rows if row["state"] == GOOD]
            self.expect(name in kept, f"failure {number + 1}: the good one is gone: {kept}")
        code, problems, text = await say(self.daemon, "backup", "verify", name)
        self.expect(code == 0, f"the last good one after {failures} failures: {problems} {text}")
        await self.create("the next good one")
        self.expect(
            name not in [row["name"] for row in await self._list()],
            "the old one stayed although a newer one is good",
        )
        self.figures["failures"] = failures

    async def cycle(self, number: int) -> None:
        """One backup of a table that is written to, restored and compared."""
        await trio.sleep(self.rng.uniform(*LOAD_S))
        row = await self.create(f"cycle {number + 1}")
        manifest = self._folder().manifest(row["name"])
        counted = [
            part
            for (table, _), part in manifest.partitions().items()
            if table == TRADES and part.digest is not None
        ]
        self.expect(manifest.was_held, f"cycle {number + 1}: the writers were not held")
        self.expect(len(counted) >= HOURS, f"cycle {number + 1}: {len(counted)} checksums of hours")
        self.figures["rows_backed_up"] = row["rows"]
        self.figures["digests"] = self.figures.get("digests", 0) + len(counted)

    async def flipped_bytes(self, count: int) -> None:
        """One byte of one object, each time another: ``backup verify`` says no."""
        folder = self._folder()
        good = [row for row in await self._list() if row["state"] == GOOD][-1]["name"]
        found = 0
        for number in range(count):
            copy = self.daemon.data_dir.parent / f"flipped-{number}"
            place = await trio.to_thread.run_sync(flip, folder, good, copy, self.rng)
            code, problems, text = await say(
                self.daemon, "backup", "verify", good, PUMPWATCH_BACKUP__DIRECTORY=str(copy)
            )
            is_found = code == 1 and bool(problems)
            self.expect(is_found, f"a flipped byte of {place} was not found: {code} {text}")
            found += is_found
            shutil.rmtree(copy)
        self.figures["flipped_bytes_found"] = f"{found}/{count}"

    # --- hands ------------------------------------------------------------------------------------

    def expect(self, holds: bool, rule: str) -> None:
        """Note a rule that does not hold."""
        self.outcome.expect(holds, rule)

    async def start(self) -> None:
        """Start the daemon; it records."""
        self._started_ns = self._clock.wall_ns()
        self.daemon.start()
        await self.daemon.until(is_subscribed, "subscribed")
        await self.daemon.until(lambda now: bool(now["upkeep"]["disks"]), "the caretaker at work")

    async def end(self) -> None:
        """End it in order."""
        self.daemon.signal(signal.SIGTERM)
        code = await self.daemon.wait()
        self.expect(code == 0, f"the daemon's exit code is {code}")

    async def create(self, what: str) -> dict[str, Any]:
        """A backup that must be good."""
        code, rows, text = await say(self.daemon, "backup", "create")
        if code or not rows:
            raise DrillError(f"{what}: exit code {code}: {rows and rows[0]['error']} {text}")
        row: dict[str, Any] = rows[0]
        self.expect(row["state"] == GOOD, f"{what}: {row['state']} ({row['error']})")
        self.figures["backups"] += 1
        return row

    def _folder(self) -> BackupFolder:
        return open_folder(self.daemon.config)

    async def _list(self) -> list[dict[str, Any]]:
        _, rows, _ = await say(self.daemon, "backup", "list")
        return list(rows or [])

    async def _is_open(self) -> bool:
        """Whether a checkpoint is, by the server that outlives the daemon."""
        try:
            rows = await ask(self.daemon, "SELECT in_progress FROM checkpoint_status()")
        except PumpWatchError:
            return False
        return bool(rows and rows[0][0])

    def _leftovers(self) -> bool:
        """Whether a killed run's scratch server or unfinished backup is still there."""
        folder = self._folder()
        servers = find_leftovers(folder.scratch, folder.scratch / SERVER_FOLDER)
        return bool(servers) or any(state.state == RUNNING for state in folder.states())

    def _log_bytes(self) -> int:
        return len(self.daemon.log_file.read_bytes())

    async def _until_log(self, known: int, mark: str) -> None:
        with trio.move_on_after(PHASE_S_MAX):
            while mark.encode() not in self.daemon.log_file.read_bytes()[known:]:  # noqa: ASYNC110
                await trio.sleep(POLL_S)
            return
        raise DrillError(f"the log never said {mark}: {self.daemon.log_tail()}")

    async def _create_with_dying_server(self) -> tuple[int, str]:
        known = self._log_bytes()
        result: list[tuple[int, Any, str]] = []

        async def create() -> None:
            result.append(await say(self.daemon, "backup", "create"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(create)
            await self._until_log(known, PHASES["restoring"])
            await self._kill_scratch_server()
        code, _, text = result[0]
        return code, text

    async def _kill_scratch_server(self) -> None:
        scratch = self._folder().scratch
        with trio.move_on_after(PHASE_S_MAX):
            while not (found := find_leftovers(scratch, scratch / SERVER_FOLDER)):  # noqa: ASYNC110
                await trio.sleep(POLL_S)
            for server in found:
                psutil.Process(server.pid).kill()

    def _make_old(self, name: str) -> None:
        """As if it had been made a month ago: rotation must keep it all the same."""
        folder = self._folder()
        state = folder.state(name)
        state.created_ns -= OLD_DAYS * DAY_NS
        folder.write_state(state)


@contextmanager
def hidden(folder: Path) -> Iterator[None]:
    """The backups of this machine are not there."""
    away = folder.with_name("hidden")
    folder.rename(away)
    try:
        yield
    finally:
        if folder.exists():
            shutil.rmtree(folder)
        away.rename(folder)


@contextmanager
def over(folder: Path) -> Iterator[None]:
    """A disk without room lies over the objects."""
    with volume(folder, FULL_MIB):
        yield


def flip(folder: BackupFolder, name: str, copy: Path, rng: random.Random) -> str:
    """A copy of the folder (links) in which one byte of one of the backup's objects is another."""
    shutil.copytree(folder.folder, copy, copy_function=os.link)
    objects = sorted(folder.manifest(name).objects())
    path = copy / folder.objects.relative(rng.choice(objects))
    data = bytearray(path.read_bytes())
    at = rng.randrange(len(data))
    data[at] ^= 1 << rng.randrange(8)
    path.unlink()  # the link: the original stays
    path.write_bytes(data)
    (copy / name / "state.json").write_bytes((folder.folder / name / "state.json").read_bytes())
    return f"{path.name} at {at}"
