"""doctor --online: against the simulator's doors, refusing ones, and sockets that misbehave."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch import online
from pumpwatch.clock import SystemClock
from pumpwatch.config import FEED_NAMES, Config, FeedConfig
from pumpwatch.online import (
    Door,
    Seen,
    ask,
    ask_all,
    clock_ahead_s,
    doors_of,
    judge_clock,
    judge_seen,
)
from pumpwatch.sim.process import run_simulator
from tests.connect_proxy import connect_proxy

BINANCE_451 = (
    b'HTTP/1.1 451 \r\ncontent-type: application/json\r\n\r\n{"code": 0, "msg": "Service '
    b"unavailable from a restricted location according to 'b. Eligibility'\"}"
)
BYBIT_403 = (
    b"HTTP/1.1 403 Forbidden\r\nserver: CloudFront\r\n\r\nThe Amazon CloudFront distribution is "
    b"configured to block access from your country."
)


def door(port: int, **changes: object) -> Door:
    shown = Door(
        name="okx_spot rest", url=f"http://127.0.0.1:{port}/x", setting="feeds.okx_spot.proxy_url"
    )
    return msgspec.structs.replace(shown, **changes)


async def answering(nursery: trio.Nursery, answer: bytes) -> int:
    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some(4096)
            if answer:
                await stream.send_all(answer)

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(partial(trio.serve_listeners, serve, [listener]))
    return int(listener.socket.getsockname()[1])


@pytest.mark.slow
async def test_every_door_of_the_simulator_opens(tmp_path: Path) -> None:
    async with run_simulator(tmp_path / "truth", ["--rate", "100"]) as simulator:
        config = simulator.configure(Config())
        doors = doors_of(config)
        assert len(doors) == 2 * len(FEED_NAMES) + 4
        findings = [judge_seen(seen) for seen in await ask_all(doors, SystemClock())]
    assert {f.name: f.text for f in findings if f.state != "ok"} == {}


async def test_the_settings_decide_which_doors_there_are() -> None:
    feeds = {name: FeedConfig(enabled=name == "gate_spot") for name in FEED_NAMES}
    listing = Config().listing
    listing = msgspec.structs.replace(
        listing,
        upbit=msgspec.structs.replace(listing.upbit, enabled=False),
        bithumb=msgspec.structs.replace(listing.bithumb, enabled=False),
    )
    doors = doors_of(msgspec.structs.replace(Config(), feeds=feeds, listing=listing))
    assert [one.name for one in doors] == ["gate_spot rest", "gate_spot socket"]


@pytest.mark.parametrize(
    ("answer", "state", "words"),
    [
        (BINANCE_451, "fail", "refuses this location (HTTP 451"),
        (BYBIT_403, "fail", "set feeds.okx_spot.proxy_url"),
        (b"HTTP/1.1 400 Bad\r\n\r\nnot available in your region", "fail", "refuses this location"),
        (b"HTTP/1.1 429 Slow\r\n\r\n", "warn", "too many questions"),
        (b"HTTP/1.1 500 Oops\r\n\r\nbroken", "fail", "answered HTTP 500: broken"),
        (b"HTTP/1.1 200 OK\r\n\r\n{}", "ok", "ms"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "fail", "not HTTP"),
        (b"", "fail", "answer failed"),
    ],
)
async def test_each_answer_in_words(answer: bytes, state: str, words: str) -> None:
    async with trio.open_nursery() as nursery:
        port = await answering(nursery, answer)
        finding = judge_seen(await ask(door(port), SystemClock()))
        nursery.cancel_scope.cancel()
    assert finding.state == state, finding.text
    assert words in finding.text


async def test_a_socket_must_switch(autojump_clock: object) -> None:
    good = Seen(door=door(1, url="wss://v/ws"), status=101, tls="TLSv1.3")
    assert judge_seen(good).state == "ok"
    assert judge_seen(msgspec.structs.replace(good, status=200)).state == "fail"


async def test_the_step_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async with trio.open_nursery() as nursery:
        port = await answering(nursery, b"HTTP/1.1 200 OK\r\n\r\n")
        plain = await ask(door(port, url=f"https://127.0.0.1:{port}/"), SystemClock())
        assert (plain.status, plain.step) == (0, "tls")
        nursery.cancel_scope.cancel()
    nobody = await ask(door(9), SystemClock())
    assert (nobody.status, nobody.step) == (0, "connect")
    nameless = await ask(door(1, url="http://pumpwatch.invalid/"), SystemClock())
    assert (nameless.status, nameless.step) == (0, "name service")
    monkeypatch.setattr(online, "DOOR_S_MAX", 0.2)
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        deaf = await ask(door(listener.socket.getsockname()[1]), SystemClock())
        await listener.aclose()
    assert "nothing within 0.2 s" in judge_seen(deaf).text


async def test_through_the_proxy_of_the_settings() -> None:
    async with connect_proxy() as proxy, trio.open_nursery() as nursery:
        port = await answering(nursery, b"HTTP/1.1 403 no\r\n\r\n")
        finding = judge_seen(await ask(door(port, proxy_url=proxy.url), SystemClock()))
        assert proxy.tunnels == [f"127.0.0.1:{port}"]
        nursery.cancel_scope.cancel()
    assert "refuses the proxy's place" in finding.text


@given(st.integers(-10_000, 10_000), st.integers(0, 3_000), st.integers(0, 999))
def test_a_clock_is_blamed_only_for_what_the_date_proves(
    ahead_ms: int, way_ms: int, phase_ms: int
) -> None:
    """Date is cut to seconds: what is told is never more than the truth."""
    ms = 10**6
    theirs_ns = 1_790_000_000 * 10**9 + phase_ms * ms
    sent_ns = theirs_ns + (ahead_ms - way_ms) * ms
    came_ns = theirs_ns + (ahead_ms + way_ms) * ms
    told = clock_ahead_s("Mon, 21 Sep 2026 14:13:20 GMT", sent_ns, came_ns)
    assert told is not None
    assert abs(told) <= abs(ahead_ms) / 1000 + 1e-6
    assert told == 0 or (told > 0) == (ahead_ms > 0)


@pytest.mark.parametrize("date", ["", "yesterday", "Mon, 99 Sep 2026 14:13:20 GMT"])
def test_what_is_no_date_tells_nothing(date: str) -> None:
    assert clock_ahead_s(date, 0, 0) is None


def test_one_wrong_venue_is_no_wrong_clock() -> None:
    def seen(*offsets: float | None) -> list[Seen]:
        return [Seen(door=door(1), status=200, clock_ahead_s=offset) for offset in offsets]

    assert judge_clock(seen(0.0, 0.1, 9.0)).state == "ok"
    behind = judge_clock(seen(-4.0, -4.2, None))
    assert (behind.state, "behind" in behind.text) == ("fail", True)
    assert judge_clock(seen(None)).state == "warn"
