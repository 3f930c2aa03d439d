"""The moment from which a drill's alert is due: the database's first refusal, seen from outside."""

from __future__ import annotations

import contextlib
from typing import cast

import pytest
import trio

from pumpwatch.drills.proxy import PASS, STORED, FaultProxy, run_proxy
from pumpwatch.drills.refused import ALERT_S_MAX, LOOK_S, REFUSAL_S_MAX, Refusal, until_alert
from pumpwatch.errors import DrillError, ServerError
from pumpwatch.store.server import LOOPBACK
from pumpwatch.store.sql import Sql

REQUEST = b"POST /write HTTP/1.1\r\nContent-Length: 2\r\n\r\nab"
FULL_S = 8.0  # longer than anybody waits for an alert


@pytest.mark.parametrize(
    ("refused_s", "told_s", "alert_s"),
    [
        (1.0, 1.5, 0.5),
        (20.0, 22.0, 2.0),
        (2.0, 1.0, 0.0),
        (None, 1.0, 0.0),
        (1.0, 80.0, None),
        (20.0, 80.0, None),
    ],
)
async def test_an_alert_is_due_from_the_first_refusal(
    refused_s: float | None, told_s: float, alert_s: float | None, autojump_clock: object
) -> None:
    refusal, begun_s = Refusal(), trio.current_time()

    def has_told() -> bool:
        return trio.current_time() >= begun_s + told_s

    async def refuse(after_s: float) -> None:
        await trio.sleep(after_s)
        refusal.note()
        await trio.sleep(1.0)
        refusal.note()  # the first one counts

    async with trio.open_nursery() as nursery:
        if refused_s is not None:
            nursery.start_soon(refuse, refused_s)
        found_s = await until_alert(has_told, refusal, FULL_S)
        assert trio.current_time() >= begun_s + FULL_S
        nursery.cancel_scope.cancel()
    if alert_s is None:  # nobody waits for ever, and what it took so far is too long
        assert found_s > ALERT_S_MAX
    else:
        assert found_s == pytest.approx(alert_s, abs=2 * LOOK_S)


async def test_what_was_never_refused_proves_nothing(autojump_clock: object) -> None:
    begun_s = trio.current_time()
    with pytest.raises(DrillError, match="no row was refused"):
        await until_alert(lambda: False, Refusal(), FULL_S)
    assert trio.current_time() > begun_s + REFUSAL_S_MAX


async def test_a_suspended_table_is_a_refusal_and_a_silent_server_is_none(
    autojump_clock: object,
) -> None:
    answers: list[object] = [[(0,)], ServerError("it does not answer"), [(0,)], [(1,)], [(0,)]]

    class Server:
        async def query(self, sql: str) -> object:
            await trio.lowlevel.checkpoint()
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            if isinstance(answer, Exception):
                raise answer
            return answer

    refusal, begun_s = Refusal(), trio.current_time()
    with trio.move_on_after(1.0):
        await refusal.watch(cast("Sql", Server()))
    assert refusal.first_s == pytest.approx(begun_s + 3 * LOOK_S)


@pytest.mark.parametrize(
    ("answer", "is_refused"),
    [
        (STORED + b" No Content\r\n\r\n", False),
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", True),
        (b"", True),  # it hangs up
        (None, True),  # nobody is there
    ],
)
async def test_the_proxy_tells_of_each_request_that_was_not_stored(
    answer: bytes | None, is_refused: bool
) -> None:
    refusal = Refusal()

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            assert answer is not None
            await stream.receive_some()
            if answer:
                await stream.send_all(answer)

    async def ask(proxy: FaultProxy) -> None:
        assert proxy.mode == PASS
        port = int(proxy.url.rsplit(":", 1)[1])
        async with await trio.open_tcp_stream(LOOPBACK, port) as stream:
            with contextlib.suppress(trio.BrokenResourceError):  # nobody is behind it
                await stream.send_all(REQUEST)
                await stream.receive_some()

    listeners = await trio.open_tcp_listeners(0, host=LOOPBACK)
    port = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        if answer is None:
            for listener in listeners:
                await listener.aclose()
        else:
            await nursery.start(trio.serve_listeners, serve, listeners)
        async with run_proxy(f"http://{LOOPBACK}:{port}") as proxy:
            proxy.on_refused = refusal.note
            with trio.fail_after(10):
                await ask(proxy)
        nursery.cancel_scope.cancel()
    assert (refusal.first_s is not None) is is_refused
