"""Tells people: what the book decides goes to apprise's targets, until they have taken it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from typing import Protocol

import httpx
import msgspec
import structlog
import trio

from pumpwatch.alert_book import AlertBook, Message, QuietHours
from pumpwatch.alert_files import AlertFiles, Delivery, Kept
from pumpwatch.alert_rules import RULES, find_signals
from pumpwatch.clock import Clock
from pumpwatch.config import AlertsConfig, Config
from pumpwatch.health import judge
from pumpwatch.moments import iso_ns
from pumpwatch.standing import AlertStanding, Standing
from pumpwatch.trust import system_roots

log = structlog.get_logger()

SECOND_NS = 10**9
SEND_S_MAX = 30.0
RETRY_S_MIN = 5.0
RETRY_S_MAX = 300.0
GIVE_UP_NS = 86_400 * SECOND_NS
OUTBOX_MAX = 1000
HEARTBEAT_S = 60.0
AGAIN_S = 10.0


class AlertSeat(Protocol):
    """The seat, seen from here."""

    standing: Standing
    looked: trio.Event
    alerts: list[AlertStanding]
    alert_deliveries: dict[str, int]


class Target(msgspec.Struct, frozen=True):
    """One apprise URL; ``name`` can be shown."""

    url: str
    name: str


def targets_of(config: AlertsConfig, severity: str) -> list[Target]:
    """Who is told of a severity: its own targets, and those that are told everything."""
    own = {"page": config.page_urls, "notify": config.notify_urls, "digest": config.digest_urls}
    urls = dict.fromkeys((*config.urls, *own.get(severity, ())))
    return [target_of(url) for url in urls]


def target_of(url: str) -> Target:
    """A target by its URL, of which only the scheme may be seen."""
    digest = hashlib.sha256(url.encode()).hexdigest()[:8]
    return Target(url, f"{url.partition(':')[0]}-{digest}")


def send(target: Target, message: Message) -> str:
    """Send one message, blocking; returns what went wrong, empty when it was taken."""
    import apprise  # heavy, and only needed where somebody is told

    kinds = {"page": apprise.NotifyType.FAILURE, "notify": apprise.NotifyType.WARNING}
    kind = kinds.get(message.severity, apprise.NotifyType.INFO)
    if message.kind == "recovered":
        kind = apprise.NotifyType.SUCCESS
    if message.kind == "listing":
        kind = apprise.NotifyType.INFO
    sender = apprise.Apprise()
    if not sender.add(target.url):
        return "apprise does not know this kind of URL"
    body = f"{message.body}\n{iso_ns(message.at_ns)[:19]}Z"
    return "" if sender.notify(title=message.title, body=body, notify_type=kind) else "not taken"


async def send_within(target: Target, message: Message) -> str:
    """As ``send``, in a thread and with a deadline."""
    problem = f"no answer within {SEND_S_MAX:g} s"
    with trio.move_on_after(SEND_S_MAX):
        try:
            problem = await trio.to_thread.run_sync(send, target, message, abandon_on_cancel=True)
        except Exception as error:  # noqa: BLE001 - a plugin of apprise may raise anything
            problem = type(error).__name__
    return problem


class AlertDesk:
    """One daemon's alerts; ``config`` may be replaced while it runs."""

    def __init__(self, config: Config, clock: Clock, seat: AlertSeat) -> None:
        self.config = config.alerts
        self._clock = clock
        self._seat = seat
        self._files = AlertFiles(config.data_dir)
        kept = self._files.read_state()
        self._book = AlertBook(
            RULES,
            quiet=quiet_hours(config.alerts),
            digest_at_s=seconds_of_day(config.alerts.digest_at),
            memory=kept.memory,
        )
        self._outbox = kept.outbox
        self._counts: Counter[str] = Counter()
        self._posted = trio.Event()
        self._keeping = trio.Lock()  # one file, several tasks that write it

    def use(self, config: AlertsConfig) -> None:
        """Other targets and hours from now on."""
        self.config = config
        self._book.use(quiet_hours(config), seconds_of_day(config.digest_at))

    async def run(self) -> None:
        """Look, tell and beat until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look_loop)
            nursery.start_soon(self._send_loop)
            nursery.start_soon(self._heartbeat_loop)

    async def _look_loop(self) -> None:
        while True:
            await self.look()
            await self._seat.looked.wait()

    async def look(self) -> None:
        """One look: what is to be told is put into the outbox."""
        now_ns = self._clock.wall_ns()
        signals = find_signals(self._seat.standing)
        messages = self._book.update(now_ns, signals, self._files.silences())
        self._seat.alerts = [self._shown(alert) for alert in self._book.alerts.values()
                             if alert.state != "waiting"]  # fmt: skip
        self._show_deliveries()
        if messages:
            await self._post(messages)

    def _shown(self, alert: msgspec.Struct) -> AlertStanding:
        facts = msgspec.structs.asdict(alert)
        severity = next(rule.severity for rule in RULES if rule.name == facts["rule"])
        return AlertStanding(
            rule=facts["rule"],
            subject=facts["subject"],
            severity=severity,
            text=facts["text"],
            since=iso_ns(facts["since_ns"])[:19] + "Z",
            repeats=facts["repeats"],
            silenced=facts["state"] == "silenced",
            suppressed_by=facts["suppressed_by"],
        )

    async def tell(self, message: Message) -> None:
        """What is no alert but must reach people now, whatever the hour: a listing."""
        await self._post([message])

    async def _post(self, messages: list[Message]) -> None:
        for message in messages:
            report = log.error if message.kind == "fired" else log.info
            report(f"alert_{message.kind}", rule=message.rule, subject=message.subject,
                   severity=message.severity, message=message.body)  # fmt: skip
            targets = targets_of(self.config, message.severity)
            self._outbox += [Delivery(message=message, target=t.name) for t in targets]
        dropped = len(self._outbox) - OUTBOX_MAX
        if dropped > 0:
            log.error("alerts_dropped", messages=dropped, reason="no target takes them")
            self._counts["given_up"] += dropped
            del self._outbox[:dropped]
        await self._keep(messages)
        posted, self._posted = self._posted, trio.Event()
        posted.set()

    async def _keep(self, messages: list[Message]) -> None:
        kept = Kept(memory=self._book.memory(), outbox=self._outbox)
        content = msgspec.json.decode(msgspec.json.encode(kept), type=Kept)  # a copy for the thread
        try:
            async with self._keeping:
                await trio.to_thread.run_sync(self._files.write_state, content)
                if messages:
                    await trio.to_thread.run_sync(self._files.note, messages)
        except OSError as error:
            log.warning("alert_state_not_kept", error=str(error))

    # -- delivery -------------------------------------------------------------------------------

    async def _send_loop(self) -> None:
        while True:
            posted = self._posted
            await self.send_due()
            next_ns = min((delivery.next_ns for delivery in self._outbox), default=None)
            with trio.move_on_after(self._pause_s(next_ns)):
                await posted.wait()

    def _pause_s(self, next_ns: int | None) -> float:
        if next_ns is None:
            return HEARTBEAT_S
        return max(0.1, (next_ns - self._clock.wall_ns()) / SECOND_NS)

    async def send_due(self) -> None:
        """Try every delivery that is due once."""
        now_ns = self._clock.wall_ns()
        due = [delivery for delivery in self._outbox if delivery.next_ns <= now_ns]
        known = {
            target.name: target
            for severity in ("page", "notify", "digest")
            for target in targets_of(self.config, severity)
        }
        for delivery in due:
            target = known.get(delivery.target)
            problem = "" if target is None else await send_within(target, delivery.message)
            self._note_outcome(delivery, problem)
        if due:
            self._show_deliveries()
            await self._keep([])

    def _note_outcome(self, delivery: Delivery, problem: str) -> None:
        now_ns = self._clock.wall_ns()
        if not problem:
            self._counts["delivered"] += 1
            self._outbox.remove(delivery)
            return
        self._counts["failed"] += 1
        if now_ns - delivery.message.at_ns > GIVE_UP_NS:
            self._counts["given_up"] += 1
            log.error("alert_given_up", target=delivery.target, title=delivery.message.title)
            self._outbox.remove(delivery)
            return
        wait_s = min(RETRY_S_MAX, RETRY_S_MIN * 2 ** min(delivery.tries, 10))
        delivery.tries += 1
        delivery.error = problem
        delivery.next_ns = now_ns + int(wait_s * SECOND_NS)
        log.warning("alert_not_delivered", target=delivery.target, problem=problem,
                    tries=delivery.tries, again_in_s=wait_s)  # fmt: skip

    def _show_deliveries(self) -> None:
        self._seat.alert_deliveries = {
            "delivered": self._counts["delivered"],
            "failed": self._counts["failed"],
            "given_up": self._counts["given_up"],
            "waiting": len(self._outbox),
        }

    # -- the heartbeat --------------------------------------------------------------------------

    async def _heartbeat_loop(self) -> None:
        async with httpx.AsyncClient(
            timeout=SEND_S_MAX, trust_env=False, verify=system_roots("http")
        ) as client:
            while True:
                await self.beat(client)
                await trio.sleep(HEARTBEAT_S)

    async def beat(self, client: httpx.AsyncClient) -> None:
        """Tell a watcher elsewhere that all is well: only while it is, so that silence tells."""
        standing = self._seat.standing
        if not self.config.heartbeat_url or standing.differences or not judge(standing).is_ready:
            return
        try:
            answer = await client.get(self.config.heartbeat_url)
            problem = "" if answer.is_success else f"status {answer.status_code}"
        except httpx.HTTPError as error:
            problem = type(error).__name__
        if problem:
            log.warning("heartbeat_failed", problem=problem)


def seconds_of_day(text: str) -> int:
    """``08:30`` -> 30,600."""
    hour, _, minute = text.partition(":")
    return int(hour) * 3600 + int(minute) * 60


def quiet_hours(config: AlertsConfig) -> QuietHours:
    """``22:00-07:00``; empty: none."""
    if not config.quiet_hours:
        return QuietHours()
    start, _, end = config.quiet_hours.partition("-")
    return QuietHours(seconds_of_day(start), seconds_of_day(end))


async def run_alerts(make: Callable[[], AlertDesk]) -> None:
    """Run a desk until cancelled; a fault of it is logged and it begins anew."""
    while True:
        try:
            await make().run()
        except* Exception:
            log.exception("alerts_ended")
        await trio.sleep(AGAIN_S)
