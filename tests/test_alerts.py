"""Delivery to real targets: HTTP receivers on loopback, through apprise."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import trio

from pumpwatch.alert_book import Message
from pumpwatch.alert_files import AlertFiles
from pumpwatch.alerts import (
    GIVE_UP_NS,
    RETRY_S_MAX,
    SECOND_NS,
    AlertDesk,
    quiet_hours,
    send,
    target_of,
    targets_of,
)
from pumpwatch.cli import main
from pumpwatch.config import AlertsConfig, Config
from pumpwatch.standing import AlertStanding, Standing
from tests.standings import database, standing

NOW_NS = 1_796_000_000 * SECOND_NS


class StepClock:
    def __init__(self) -> None:
        self.now_ns = NOW_NS

    def wall_ns(self) -> int:
        return self.now_ns


class SeatDouble:
    def __init__(self) -> None:
        self.standing: Standing = standing()
        self.looked = trio.Event()
        self.alerts: list[AlertStanding] = []
        self.alert_deliveries: dict[str, int] = {}


class Receiver:
    """Takes what is posted, or refuses it."""

    def __init__(self) -> None:
        self.status = 200
        self.taken: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.port = 0

    @property
    def url(self) -> str:
        """As apprise calls it."""
        return f"json://127.0.0.1:{self.port}/secret-token"

    async def serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            held = b""
            while b"\r\n\r\n" not in held:
                held += await stream.receive_some(65536)
            head, _, body = held.partition(b"\r\n\r\n")
            lines = head.decode().lower().split("\r\n")
            sizes = [int(line.split(":")[1]) for line in lines if line.startswith("content-length")]
            while sizes and len(body) < sizes[0]:
                body += await stream.receive_some(65536)
            self.paths.append(lines[0].split()[1])
            if self.status == 200 and body:
                self.taken.append(json.loads(body))
            end = "content-length: 0\r\nconnection: close\r\n\r\n"
            await stream.send_all(f"HTTP/1.1 {self.status} x\r\n{end}".encode())


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    found = Receiver()
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, found.serve, 0, host="127.0.0.1"))
        found.port = listeners[0].socket.getsockname()[1]
        yield found
        nursery.cancel_scope.cancel()


def desk(folder: Path, clock: StepClock, seat: SeatDouble, **alerts: Any) -> AlertDesk:
    return AlertDesk(Config(data_dir=folder, alerts=AlertsConfig(**alerts)), clock, seat)


async def look_for(
    alerts: AlertDesk, clock: StepClock, seconds: int, *, sends: bool = True
) -> None:
    for _ in range(seconds):
        clock.now_ns += SECOND_NS
        await alerts.look()
        if sends:
            await alerts.send_due()


DOWN = standing(database=database(state="down", silent_s=9.0))


async def test_an_alert_and_its_recovery_reach_the_target_once(tmp_path: Path) -> None:
    clock, seat = StepClock(), SeatDouble()
    async with receiver() as target:
        alerts = desk(tmp_path, clock, seat, urls=(target.url,))
        seat.standing = DOWN
        await look_for(alerts, clock, 60)
        assert [note["title"] for note in target.taken] == ["database down"]
        assert target.taken[0]["type"] == "failure"
        assert [alert.rule for alert in seat.alerts] == ["database_down"]
        seat.standing = standing()
        await look_for(alerts, clock, 60)
        assert [note["title"] for note in target.taken[1:]] == ["recovered: database down"]
        assert seat.alerts == []
        assert seat.alert_deliveries == {"delivered": 2, "failed": 0, "given_up": 0, "waiting": 0}
    kinds = [entry.kind for entry in AlertFiles(tmp_path).history(10)]
    assert kinds == ["recovered", "fired"]


async def test_what_is_not_taken_is_tried_again_and_shown(tmp_path: Path) -> None:
    clock, seat = StepClock(), SeatDouble()
    async with receiver() as target:
        target.status = 500
        alerts = desk(tmp_path, clock, seat, urls=(target.url,))
        seat.standing = DOWN
        await look_for(alerts, clock, 21)
        assert target.taken == []
        assert (seat.alert_deliveries["failed"], seat.alert_deliveries["waiting"]) == (1, 1)
        # A restart in between: the message is still to be delivered, and told once only.
        alerts = desk(tmp_path, clock, seat, urls=(target.url,))
        target.status = 200
        await look_for(alerts, clock, 10)
        assert [note["title"] for note in target.taken] == ["database down"]
        assert seat.alert_deliveries["waiting"] == 0


async def test_a_target_that_never_takes_it_is_given_up_after_a_day(tmp_path: Path) -> None:
    clock, seat = StepClock(), SeatDouble()
    alerts = desk(tmp_path, clock, seat, urls=("json://127.0.0.1:1/",))
    seat.standing = DOWN
    await look_for(alerts, clock, 21)
    for _ in range(3):
        clock.now_ns += int(RETRY_S_MAX * SECOND_NS)
        await alerts.send_due()
    assert seat.alert_deliveries["waiting"] == 1
    clock.now_ns += GIVE_UP_NS
    await alerts.send_due()
    assert (seat.alert_deliveries["waiting"], seat.alert_deliveries["given_up"]) == (0, 1)


async def test_a_silence_of_the_command_line_is_heeded(tmp_path: Path) -> None:
    clock, seat = StepClock(), SeatDouble()
    AlertFiles(tmp_path).silence("database_down", NOW_NS + 100 * SECOND_NS, NOW_NS)
    alerts = desk(tmp_path, clock, seat)
    seat.standing = DOWN
    await look_for(alerts, clock, 90)
    assert [(alert.rule, alert.silenced) for alert in seat.alerts] == [("database_down", True)]
    assert AlertFiles(tmp_path).history(10) == []
    await look_for(alerts, clock, 20)
    assert [entry.rule for entry in AlertFiles(tmp_path).history(10)] == ["database_down"]


async def test_the_heart_beats_only_while_all_is_well(tmp_path: Path) -> None:
    clock, seat = StepClock(), SeatDouble()
    async with receiver() as target, httpx.AsyncClient(trust_env=False) as client:
        url = f"http://127.0.0.1:{target.port}/beat"
        alerts = desk(tmp_path, clock, seat, heartbeat_url=url)
        await alerts.beat(client)
        assert target.paths == ["/beat"]
        for shown in (DOWN, standing(differences=["x"]), standing(state="starting")):
            seat.standing = shown
            await alerts.beat(client)
        assert target.paths == ["/beat"]


def test_severities_have_their_targets() -> None:
    config = AlertsConfig(urls=("json://a",), page_urls=("json://b", "json://a"))
    assert [t.url for t in targets_of(config, "page")] == ["json://a", "json://b"]
    assert [t.url for t in targets_of(config, "notify")] == ["json://a"]


def test_a_target_is_shown_without_its_secrets() -> None:
    assert "hunter2" not in target_of("slack://hunter2@host/x").name
    assert target_of("slack://hunter2@host/x").name.startswith("slack-")


def test_an_unknown_kind_of_url_is_said() -> None:
    message = Message(
        kind="test", severity="page", rule="", subject="", title="t", body="b", at_ns=NOW_NS
    )
    assert "does not know" in send(target_of("nosuchthing://x"), message)


def test_quiet_hours_of_the_settings() -> None:
    assert not quiet_hours(AlertsConfig()).holds(NOW_NS)
    night = quiet_hours(AlertsConfig(quiet_hours="22:30-07:00"))
    assert msgspec.structs.astuple(night) == (81_000, 25_200)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["alerts", "silence", "nosuch"], 64),
        (["alerts", "silence", "feed_down", "--for", "soon"], 64),
        (["alerts", "test", "--severity", "loud"], 64),
        (["alerts", "test"], 64),
        (["alerts", "silence", "feed_down/okx_spot", "--for", "2h"], 0),
        (["alerts", "history", "--json"], 0),
    ],
)
def test_the_verbs(
    arguments: list[str], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUMPWATCH_DATA_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == code


def test_alerts_test_says_which_target_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PUMPWATCH_ALERTS__URLS", "json://127.0.0.1:1/hunter2")
    assert main(["alerts", "test", "--json"]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)[0]["result"] == "not taken"
    assert "hunter2" not in printed.out + printed.err


async def test_listings_told_at_once_are_all_kept_and_sent(tmp_path: Path) -> None:
    """Several tasks tell at the same time: the file is written by one of them after the other."""
    async with receiver() as target:
        alerts = desk(tmp_path, StepClock(), SeatDouble(), urls=(target.url,))
        async with trio.open_nursery() as nursery:
            for number in range(8):
                message = Message(
                    kind="listing", severity="page", rule="listing", subject="", title=f"T{number}",
                    body="b", at_ns=1,
                )  # fmt: skip
                nursery.start_soon(alerts.tell, message)
        kept = AlertFiles(tmp_path)
        assert len(kept.read_state().outbox) == 8
        await alerts.send_due()
        assert sorted(one["title"] for one in target.taken) == [f"T{n}" for n in range(8)]
        assert kept.read_state().outbox == []
