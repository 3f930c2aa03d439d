"""What stands in front of the page: pace, deadlines, limits; against real sockets."""

from __future__ import annotations

import pytest
import trio
from h11 import LocalProtocolError
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from pumpwatch.config import DashboardConfig
from pumpwatch.dashboard import gate as gate_module
from pumpwatch.dashboard import server as server_module
from pumpwatch.dashboard.access import COOKIE, Policy
from pumpwatch.dashboard.actions import Action
from pumpwatch.dashboard.answers import SharedAnswers
from pumpwatch.dashboard.gate import (
    STRANGERS_PER_S_MAX,
    TURN_S_MAX,
    App,
    Gate,
    Message,
    Pace,
    Receive,
    Scope,
    Send,
)
from pumpwatch.dashboard.routes_standing import BUILDERS
from tests.dashboard.stage import TOKEN, SeatDouble, page_stage
from tests.standings import standing

OPEN = Policy(token=TOKEN, is_loopback_bind=True, behind_proxy=False)
PUBLIC = Policy(token=TOKEN, is_loopback_bind=False, behind_proxy=False)


@given(st.integers(1, 50), st.lists(st.floats(0, 0.5), min_size=1, max_size=200))
def test_no_more_than_the_pace_is_let_through(per_s: int, pauses_s: list[float]) -> None:
    pace, now_s = Pace(per_s), 100.0
    turns = []
    for pause_s in pauses_s:
        now_s += pause_s
        turn_s = pace.turn_s(now_s)
        if turn_s is not None:
            assert now_s <= turn_s <= now_s + TURN_S_MAX
            turns.append(turn_s)
    for first, turn_s in enumerate(turns):
        within = sum(turn_s <= other <= turn_s + 1.0 for other in turns[first:])
        assert within <= 2 * per_s + 2  # a second's worth saved up, and a second's worth


def make_gate(app: App, seat: SeatDouble, *, per_s: float) -> Gate:
    """Around an application of its own: nothing is shared."""
    return Gate(app, OPEN, seat, SharedAnswers(seat, {}), per_s=per_s)


def scope(path: str = "/api/feeds") -> Scope:
    return {
        "type": "http", "method": "GET", "path": path, "client": ("127.0.0.1", 5),
        "headers": [(b"host", b"localhost")], "query_string": b"",
    }  # fmt: skip


async def ask(gate: Gate, path: str = "/api/feeds", *, shown: Scope | None = None) -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        await trio.sleep_forever()
        raise AssertionError

    await gate(shown or scope(path), receive, send)
    return sent


async def slow(_scope: Scope, _receive: Receive, _send: Send) -> None:
    await trio.sleep(3600)


async def quick(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


async def test_an_answer_that_takes_too_long_is_503(autojump_clock: MockClock) -> None:
    gate = make_gate(slow, SeatDouble(), per_s=10)
    sent = await ask(gate)
    assert sent[0]["status"] == 503
    assert trio.current_time() == pytest.approx(gate_module.ANSWER_S_MAX)


async def test_the_deadline_never_cuts_a_message_in_two(autojump_clock: MockClock) -> None:
    """Else the connection's two state machines part, and a 500 is sent into a begun answer."""
    whole: list[str] = []

    async def late(_scope: Scope, _receive: Receive, send: Send) -> None:
        await trio.sleep(gate_module.ANSWER_S_MAX - 0.5)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    async def slowly(message: Message) -> None:
        await trio.sleep(0.4)
        whole.append(message["type"])

    async def receive() -> Message:
        raise AssertionError

    await make_gate(late, SeatDouble(), per_s=10)(scope(), receive, slowly)
    assert whole == ["http.response.start", "http.response.body"]


async def test_one_connections_fault_ends_nobody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    class Faulty(server_module._Connection):
        async def run(self) -> None:
            monkeypatch.setattr(server_module, "_Connection", Faulty.__base__)
            raise ExceptionGroup("", [LocalProtocolError("can't handle event type Response")])

    async with page_stage() as stage, stage.listen() as event:
        assert (await event())[0] == "first"
        monkeypatch.setattr(server_module, "_Connection", Faulty)
        async with await stage.connect() as broken:
            with trio.fail_after(60):
                assert await broken.receive_some(10) == b""
        assert (await event())[0] == "moment"
        assert (await stage.get("/livez")).status_code == 200


async def test_too_many_requests_wait_and_then_are_turned_away(autojump_clock: MockClock) -> None:
    seat = SeatDouble()
    gate = make_gate(quick, seat, per_s=2)
    statuses: list[int] = []

    async def one() -> None:
        statuses.append((await ask(gate))[0]["status"])

    async with trio.open_nursery() as nursery:
        for _ in range(40):
            nursery.start_soon(one)
    refused = statuses.count(429)
    assert statuses.count(200) + refused == 40
    assert 10 <= statuses.count(200) <= 2 * (TURN_S_MAX + 2)
    assert seat.page_requests == {"2xx": 40 - refused, "refused": refused}
    assert trio.current_time() <= TURN_S_MAX + 0.1


async def test_probes_are_never_held_up(autojump_clock: MockClock) -> None:
    gate = make_gate(quick, SeatDouble(), per_s=1)
    for _ in range(20):
        assert (await ask(gate, "/readyz"))[0]["status"] == 200
    assert trio.current_time() == 0


async def test_who_is_refused_does_not_hold_up_readers(autojump_clock: MockClock) -> None:
    """Refusals have a pace of their own, and cost a second each: no way to make the daemon busy."""
    gate = make_gate(quick, SeatDouble(), per_s=1)
    strange = {**scope(), "headers": [(b"host", b"evil.example")]}
    statuses: list[int] = []

    async def stranger() -> None:
        statuses.append((await ask(gate, shown=strange))[0]["status"])

    async with trio.open_nursery() as nursery:
        for _ in range(200):
            nursery.start_soon(stranger)
        assert (await ask(gate))[0]["status"] == 200
        assert trio.current_time() == 0
    assert set(statuses) == {403, 429}
    assert statuses.count(403) <= STRANGERS_PER_S_MAX * (TURN_S_MAX + 2)


async def test_what_all_get_alike_is_built_once_a_look() -> None:
    async with page_stage() as stage:
        for _ in range(5):
            answers = {path: await stage.get(path) for path in BUILDERS}
        assert stage.shared.built == len(BUILDERS)
        etag = answers["/api/feeds"].headers["etag"]
        held = await stage.client.get("/api/feeds", headers={"if-none-match": etag})
        assert (held.status_code, held.content) == (304, b"")
        stage.seat.show(standing(state="draining"))
        fresh = await stage.client.get("/api/system/status", headers={"if-none-match": etag})
        assert (fresh.status_code, fresh.json()["state"]) == (200, "draining")


async def test_with_and_without_the_short_way_the_answer_is_the_same() -> None:
    """HEAD, and a query, take the way through the application."""
    async with page_stage() as stage:
        for path in BUILDERS:
            short = await stage.get(path)
            routed = await stage.client.get(f"{path}?", headers={"accept": "*/*"})
            assert (short.status_code, short.content) == (routed.status_code, routed.content)
            assert (
                short.headers["content-type"].split(";")[0]
                == (routed.headers["content-type"].split(";")[0])
            )
        assert (await stage.get("/api/feeds", nonsense="1")).status_code == 400


async def test_the_page_hands_out_a_cookie_for_the_token() -> None:
    async with page_stage(policy=PUBLIC) as stage:
        assert (await stage.get("/")).status_code == 401
        assert (await stage.get("/", token="wrong")).status_code == 401
        answer = await stage.get("/", token=TOKEN)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        stage.client.cookies.set(COOKIE, TOKEN)
        assert (await stage.get("/")).status_code == 200
        assert (await stage.client.post("/api/actions/x", json={})).status_code == 401


async def test_a_large_body_is_cut_off() -> None:
    async with page_stage() as stage:

        async def run(_arguments: object) -> str:
            raise AssertionError("it must not come this far")

        stage.desk.add("big", Action(help="", arguments={"text": ""}, run=run))
        body = b'{"arguments": {"text": "' + b"x" * 200_000 + b'"}}'
        async with await stage.connect() as stream:
            head = (
                "POST /api/actions/big HTTP/1.1\r\nhost: localhost\r\n"
                f"authorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\n\r\n"
            )
            with trio.fail_after(60):
                try:
                    await stream.send_all(head.encode() + body)
                    answer = await stream.receive_some(200)
                except trio.BrokenResourceError:
                    answer = b""
        assert not answer.startswith(b"HTTP/1.1 200")


async def test_stalled_connections_leave_room_for_nobody_else_and_then_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thousand stalling clients hold no more than connections_max file handles."""
    monkeypatch.setattr("pumpwatch.dashboard.server.IDLE_S_MAX", 1.0)
    dashboard = DashboardConfig(bind="127.0.0.1:0", connections_max=8)
    async with page_stage(dashboard=dashboard) as stage:
        stalled = [await stage.connect() for _ in range(8)]
        for stream in stalled:
            await stream.send_all(b"GET /livez HTTP/1.1\r\nhost: local")
        async with await stage.connect() as late:
            with trio.fail_after(60):
                assert (await late.receive_some(100)).startswith(b"HTTP/1.1 503")
        with trio.fail_after(60):
            for stream in stalled:
                while await stream.receive_some(1000):
                    pass
                await stream.aclose()
            assert (await stage.get("/livez")).status_code == 200


async def test_who_asks_once_and_goes_leaves_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else as many callers as there are places would shut out everybody until the idle timer."""
    monkeypatch.setattr("pumpwatch.dashboard.server.IDLE_S_MAX", 3600.0)
    dashboard = DashboardConfig(bind="127.0.0.1:0", connections_max=8)
    async with page_stage(dashboard=dashboard) as stage:
        for _ in range(40):
            async with await stage.connect() as stream:
                await stream.send_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
                with trio.fail_after(60):
                    assert (await stream.receive_some(1000)).startswith(b"HTTP/1.1 200")


async def test_a_client_that_does_not_read_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Hypercorn sends under a shield: without the bound this test would hang."""
    monkeypatch.setattr("pumpwatch.dashboard.server.SEND_S_MAX", 3600.0)
    with trio.fail_after(60):
        async with page_stage() as stage:
            deaf = await stage.connect()
            for _ in range(3):
                await deaf.send_all(
                    b"GET /static/plotly.min.js HTTP/1.1\r\nhost: localhost\r\n\r\n"
                )
            await trio.sleep(0.5)
    await deaf.aclose()


async def test_a_websocket_is_refused() -> None:
    async with page_stage() as stage, await stage.connect() as stream:
        await stream.send_all(
            b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
            b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        with trio.fail_after(60):
            assert (await stream.receive_some(100)).startswith(b"HTTP/1.1 403")
