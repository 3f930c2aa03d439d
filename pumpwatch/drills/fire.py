"""A rehearsal for operators: a whole bad day in ``count`` minutes, and its timeline.

A pump, a venue gone, the database killed, its disk nearly full, a listing seen late, a broken
configuration. What happens, what the daemon says, what alerts, and what recovers is told while it
goes on; the last line is the proof. The small disk wants root, for mount.
"""

from __future__ import annotations

import random
import signal
from collections import Counter
from typing import Any

import msgspec
import trio

from pumpwatch.alert_files import AlertFiles
from pumpwatch.config import EXCHANGES
from pumpwatch.demo_listing import COIN
from pumpwatch.drills.disk import filled
from pumpwatch.drills.fire_plan import DAY, Trouble
from pumpwatch.drills.outage import is_well
from pumpwatch.drills.outcome import Order, Outcome
from pumpwatch.drills.reckoning import pending
from pumpwatch.drills.retention import image_volume
from pumpwatch.drills.stage import GOES_ON, DaemonProcess, end_server, is_subscribed, stage_of
from pumpwatch.drills.told import judge_feeds, read_ledger, settle_holes
from pumpwatch.listing_verbs import check, list_bundles
from pumpwatch.sim.faults import Fault
from pumpwatch.sim.process import Simulator

PUMP_TIMES = 20
VOLUME_MIB = 6144
FULL_SHARE = 0.965
TITLE = f"코인({COIN}) 신규 거래지원 안내 (KRW, BTC, USDT 마켓)"
LATE_S = 13.0  # as in the original's worst case (F-01)
SIDE_S = 10
REST_S = 15.0  # as many rows as come in so long may be pending, and count as drained
RECOVERY_S_MAX = 240.0
LOOK_S = 0.5
SAID_EVERY_S = 20.0  # the same event of the log is told so often at most
KILL_EVERY_S = 3.0
ALERTED_S = 60.0  # a trouble of such length; its rules wait for half of it
FIRED = {"fired": "ALERT", "recovered": "alert over", "listing": "LISTING"}
SETTINGS = f"\n[listing]\nbefore_s = {SIDE_S}\nafter_s = {SIDE_S}\n"
LEVELS = ("warning", "error", "critical")
SAID = ("listing_message", "listing_published", "writers_go_on")  # told although they are no worry


class Timeline:
    """What happened when; each line is told at once."""

    def __init__(self, order: Order, daemon: DaemonProcess) -> None:
        self.lines: list[str] = []
        self.events: dict[str, int] = {}  # of the daemon's log
        self.fired: list[str] = []  # rules
        self._order = order
        self._daemon = daemon
        self._begun_s = trio.current_time()
        self._log_bytes = 0
        self._alerts = 0
        self._said_s: dict[str, float] = {}

    def note(self, kind: str, text: str) -> None:
        """One line, with the minute and second of the day."""
        seconds = int(trio.current_time() - self._begun_s)
        line = f"{seconds // 60:02d}:{seconds % 60:02d}  {kind:<10} {text}"
        self.lines.append(line)
        self._order.tell(line)

    async def watch(self) -> None:
        """Follow the daemon's log and its alerts until cancelled."""
        while True:
            self._read_log()
            self._read_alerts()
            await trio.sleep(LOOK_S)

    def _read_log(self) -> None:
        path = self._daemon.log_file
        with path.open("rb") as file:
            file.seek(self._log_bytes)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._log_bytes += len(whole)
        for line in whole.splitlines():
            try:
                told: dict[str, Any] = msgspec.json.decode(line)
            except msgspec.DecodeError:
                continue
            self._note_event(told)

    def _note_event(self, told: dict[str, Any]) -> None:
        event = str(told.get("event", ""))
        self.events[event] = self.events.get(event, 0) + 1
        if told.get("level") not in LEVELS and event not in SAID:
            return
        now_s = trio.current_time()
        if now_s - self._said_s.get(event, -SAID_EVERY_S) < SAID_EVERY_S:
            return
        self._said_s[event] = now_s
        more = [f"{name} {told[name]}" for name in ("feed", "message", "error", "title", "state")
                if told.get(name)]  # fmt: skip
        self.note("log", f"{event}: {', '.join(more)}"[:160])

    def _read_alerts(self) -> None:
        entries = AlertFiles(self._daemon.data_dir).history(1000)[::-1]  # oldest first
        for entry in entries[self._alerts :]:
            if entry.kind == "fired":
                self.fired.append(entry.rule)
            self.note(FIRED.get(entry.kind, entry.kind), f"{entry.rule or entry.kind}"
                      f" {entry.subject}: {entry.title}"[:160])  # fmt: skip
        self._alerts = len(entries)


class _Day:
    """Does what goes wrong, and waits until it is right again."""

    def __init__(
        self, order: Order, simulator: Simulator, daemon: DaemonProcess, line: Timeline
    ) -> None:
        self.recoveries_s: dict[str, float] = {}
        self.untold: list[str] = []
        self._order = order
        self._simulator = simulator
        self._daemon = daemon
        self._line = line
        self._rng = random.Random(order.seed)
        self._seconds = order.count * 60.0

    async def play(self) -> None:
        """The whole day."""
        begun_s = trio.current_time()
        for trouble in DAY:
            await trio.sleep_until(begun_s + trouble.at * self._seconds)
            before = dict(self._line.events)
            self._line.note("TROUBLE", trouble.text)
            await self._do(trouble, trouble.lasts * self._seconds)
            over_s = trio.current_time()
            self._line.note("over", trouble.text.partition(":")[0].partition(",")[0])
            rest = self._order.rate_per_s * REST_S
            await self._daemon.until(
                lambda now, rest=rest: is_subscribed(now) and is_well(now) and pending(now) <= rest,  # type: ignore[misc]
                f"well after: {trouble.text}", RECOVERY_S_MAX,
            )  # fmt: skip
            took_s = trio.current_time() - over_s
            self.recoveries_s[trouble.kind] = round(took_s, 1)
            self._line.note("recovered", f"all feeds, database, backlog: {took_s:.1f} s")
            await trio.sleep(2 * LOOK_S)  # the log is followed
            said = [e for e in trouble.logs if self._line.events.get(e, 0) > before.get(e, 0)]
            if trouble.logs and not said:
                self.untold.append(f"{trouble.kind}: the log told nothing of it")
        await trio.sleep_until(begun_s + self._seconds)

    async def _do(self, trouble: Trouble, seconds: float) -> None:
        match trouble.kind:
            case "pump":
                await self._simulator.set_rate(self._order.rate_per_s * PUMP_TIMES)
                await trio.sleep(seconds)
                await self._simulator.set_rate(self._order.rate_per_s)
            case "outage":
                played = self._order.feeds
                there = {feed.partition("_")[0] for feed in played}
                exchange = self._rng.choice([one for one in EXCHANGES if one in there])
                self._line.note("", f"{exchange} cuts its connections and refuses new ones")
                feeds = [feed for feed in played if feed.startswith(f"{exchange}_")]
                plan = [Fault(feed=feed, kind="outage", seconds=seconds) for feed in feeds]
                await self._simulator.give_faults(plan)
                await trio.sleep(seconds)
            case "database":
                with trio.move_on_after(seconds):
                    while True:
                        end_server(self._daemon)
                        await trio.sleep(KILL_EVERY_S)
            case "disk":
                with filled(self._daemon.data_dir / "questdb", FULL_SHARE):
                    await trio.sleep(seconds)
            case "listing":
                await self._list()
            case "reload":
                await self._reload(seconds)

    async def _list(self) -> None:
        notice = {"board": "upbit", "do": "publish", "late_s": LATE_S, "title": TITLE}
        await self._simulator.script_boards([notice])
        with trio.move_on_after(RECOVERY_S_MAX):
            while True:
                found = await trio.to_thread.run_sync(list_bundles, self._daemon.config)
                if any(row["symbol"] == COIN for row in found):
                    return
                await trio.sleep(LOOK_S)
        self.untold.append("listing: no bundle was published")

    async def _reload(self, seconds: float) -> None:
        path = trio.Path(self._daemon.config_file)
        good = await path.read_text()
        await path.write_text(f"nonsense = 1\n{good}")
        self._daemon.signal(signal.SIGHUP)
        await trio.sleep(max(seconds, 2.0))
        await path.write_text(good)
        self._daemon.signal(signal.SIGHUP)


async def run(order: Order) -> Outcome:
    """Play the day, judge it; see the module."""
    outcome = Outcome()
    async with stage_of(order, SETTINGS, has_backfill=True, arguments=GOES_ON) as (
        simulator,
        daemon,
    ):
        with image_volume(daemon.data_dir / "questdb", VOLUME_MIB):
            daemon.start()
            line = Timeline(order, daemon)
            await daemon.until(is_subscribed, "subscribed")
            line.note("begins", f"{len(order.feeds)} feeds, {order.rate_per_s:,} rows/s")
            day = _Day(order, simulator, daemon, line)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(line.watch)
                await day.play()
                line.note("ends", "trading ends; what is pending drains, holes close")
                await settle_holes(outcome, simulator, daemon)
                nursery.cancel_scope.cancel()
            gaps = await read_ledger(outcome, daemon)
            played = await simulator.played_faults()
            await judge_feeds(order, outcome, simulator, daemon, gaps, played)
            bundles = await trio.to_thread.run_sync(_bundles, daemon)
            daemon.signal(signal.SIGTERM)
            code = await daemon.wait()
            outcome.expect(code == 0, f"the daemon's exit code is {code}")
    outcome.faults += day.untold
    _expect_alerts(outcome, order, line)
    outcome.expect(bool(bundles) and all(bundles.values()), f"bundles: {bundles or 'none'}")
    states = Counter(gap.state for gap in gaps)
    proof = (
        f"{outcome.rows:,} rows were traded: missing {outcome.missing}, stored twice"
        f" {outcome.duplicate}; {len(gaps)} holes in the ledger ({states['filled']} filled,"
        f" {states['empty']} empty, {states['lost']} lost with bounds), rows in no hole and absent:"
        f" {outcome.missing}; {len(bundles)} listing signed and verified"
    )
    line.note("PROOF", proof)
    outcome.figures |= {
        "minutes": order.count, "recovered_s": day.recoveries_s, "alerts": line.fired,
        "bundles": list(bundles), "proof": proof, "timeline": line.lines,
    }  # fmt: skip
    return outcome


def _bundles(daemon: DaemonProcess) -> dict[str, bool]:
    """Name -> whether it is as it was signed."""
    config = daemon.config
    names = [str(row["bundle"]) for row in list_bundles(config)]
    return {name: check(config, daemon.data_dir / "listings" / name, "").is_sound for name in names}


def _expect_alerts(outcome: Outcome, order: Order, line: Timeline) -> None:
    """Where a trouble lasted longer than its rules wait, one of them fired."""
    for trouble in DAY:
        if trouble.alerts and trouble.lasts * order.count * 60.0 >= ALERTED_S:
            is_told = any(rule in line.fired for rule in trouble.alerts)
            outcome.expect(is_told, f"{trouble.kind}: none of {trouble.alerts} fired: {line.fired}")
