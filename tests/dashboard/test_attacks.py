"""Who means no good, or nothing at all: generated requests, injections, stallers, a flood."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx
import psutil
import pytest
import schemathesis
import trio
from hypothesis import HealthCheck, given, settings
from schemathesis import checks
from schemathesis.specs.openapi import checks as openapi_checks

from pumpwatch.config import DashboardConfig
from pumpwatch.dashboard.actions import Action
from pumpwatch.store.schema import apply_schema
from pumpwatch.store.server import ServerAddress
from pumpwatch.store.sql import Sql
from tests.dashboard.stage import TOKEN, Stage, page_stage

QUICK = DashboardConfig(bind="127.0.0.1:0", requests_per_s_max=10_000, connections_max=64)
EXAMPLES = 40  # generated requests per operation
ENDLESS = "/api/stream"
STALLERS = 1_000
HALF = b"GET /api/feeds HTTP/1.1\r\nhost: l"
JUST_ACCEPTED = 64  # and about to be turned away
CHECKS: list[Callable[..., Any]] = [
    checks.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_schema_conformance,
    openapi_checks.negative_data_rejection,
]
ATTACKS = (
    "'; DROP TABLE trades; --", "1 OR 1=1", "BTCUSDT' UNION SELECT * FROM tables() --", "$$x$$",
    "%27%20OR%201=1", "../../../../etc/passwd", "..%2f..%2fetc%2fpasswd", "....//secrets/questdb",
    "/etc/passwd", "\\..\\..\\secrets", "%00", "a\x00b", "{{7*7}}", "${jndi:ldap://x}", "\u202e",
    "<script>alert(1)</script>", "-1", "1e9", "9" * 400, "NaN", "\r\nset-cookie: a=b", "%s%s%n",
)  # fmt: skip


@pytest.fixture
async def tables(questdb_server: ServerAddress) -> ServerAddress:
    sql = Sql(questdb_server)
    await apply_schema(sql, spool_is_empty=lambda: True)
    await sql.aclose()
    return questdb_server


def offer(stage: Stage) -> list[dict[str, str]]:
    """An action that would tell if it were ever run."""
    ran: list[dict[str, str]] = []

    async def run(arguments: Any) -> str:
        ran.append(dict(arguments))
        return "done"

    stage.desk.add("tempting", Action(help="", arguments={"what?": ""}, run=run))
    return ran


@pytest.mark.questdb
@pytest.mark.slow
async def test_whatever_the_document_allows_is_answered_as_it_says(tables: ServerAddress) -> None:
    """Schemathesis makes requests from /schema, good and bad ones, and checks every answer."""
    asked = 0
    async with page_stage(tables, dashboard=QUICK) as stage:
        document = (await stage.get("/schema")).json()

        def attack() -> None:
            nonlocal asked
            schema = schemathesis.openapi.from_dict(document)
            for found in schema.get_all_operations():
                operation = found.ok()
                if operation.path == ENDLESS:
                    continue

                @settings(
                    max_examples=EXAMPLES, deadline=None, database=None,
                    suppress_health_check=list(HealthCheck),
                )  # fmt: skip
                @given(case=operation.as_strategy())
                def one(case: schemathesis.Case) -> None:
                    nonlocal asked
                    answer = case.call(base_url=stage.url, timeout=15)
                    asked += 1
                    case.validate_response(answer, checks=CHECKS)

                one()

        await trio.to_thread.run_sync(attack)
    assert asked > 10 * EXAMPLES / 2


@pytest.mark.questdb
async def test_no_parameter_is_a_way_into_database_or_disk(tables: ServerAddress) -> None:
    """Every parameter of every operation, each with every attack."""
    sql = Sql(tables)
    before = await sql.query("SELECT count() FROM tables()")
    async with page_stage(tables, dashboard=QUICK) as stage:
        ran = offer(stage)
        document = (await stage.get("/schema")).json()
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                for parameter in operation.get("parameters", ()):
                    for attack in ATTACKS:
                        answer = await ask_badly(stage, method, path, parameter, attack)
                        where = f"{method} {path} {parameter['name']}={attack!r}"
                        assert answer.status_code in (200, 400, 401, 404), f"{where}: {answer.text}"
                        assert "root:" not in answer.text, where
                        assert "set-cookie" not in answer.headers, where
                        assert answer.headers["content-type"].startswith("application/json"), where
        assert ran == []
    assert await sql.query("SELECT count() FROM tables()") == before
    await sql.aclose()


async def ask_badly(
    stage: Stage, method: str, path: str, parameter: dict[str, Any], attack: str
) -> httpx.Response:
    place = path.replace("{" + parameter["name"] + "}", quote(attack, safe=""))
    place = place.replace("{source}", "upbit").replace("{notice_id}", "1")
    place = place.replace("{coin_symbol}", "A")
    query = {parameter["name"]: attack} if parameter["in"] == "query" else {}
    if "window" in path and parameter["name"] not in ("symbol", "coin"):
        query |= {"symbol": "BTCUSDT"}
    return await stage.client.request(method, place, params=query)


@pytest.mark.parametrize(
    "path",
    ["/static/../../secrets/questdb", "/static/..%2f..%2fpage.py", "/static/%2e%2e/page.py",
     "//etc/passwd", "/static//etc/passwd", "/../../../../etc/passwd", "/static/page.css%00.py"],
)  # fmt: skip
async def test_no_path_leaves_the_pages_files(path: str) -> None:
    """Sent as they are: clients would tidy them up."""
    async with page_stage() as stage, await stage.connect() as stream:
        await stream.send_all(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        with trio.fail_after(60):
            answer = await stream.receive_some(65536)
    assert answer.split(b" ")[1] in (b"400", b"404"), answer[:200]
    assert b"root:" not in answer
    assert b"import " not in answer


@pytest.mark.slow
async def test_a_thousand_stallers_cost_no_more_than_their_places(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Some say nothing, some half a request; most are turned away, the rest go after a while."""
    monkeypatch.setattr("pumpwatch.dashboard.server.IDLE_S_MAX", 2.0)
    rng = random.Random(1)
    async with page_stage(dashboard=QUICK) as stage:
        port = int(stage.url.rpartition(":")[2])
        ended, held_max = 0, 0

        async def stall() -> None:
            nonlocal ended
            async with await stage.connect() as stream:
                ask_now_and_then(stream)
                with contextlib.suppress(trio.BrokenResourceError):
                    await stream.send_all(HALF[: rng.randrange(len(HALF))])
                    while await stream.receive_some(1000):
                        pass
            ended += 1

        with trio.fail_after(240):
            async with trio.open_nursery() as nursery:
                for number in range(STALLERS):
                    nursery.start_soon(stall)
                    if number % 50 == 49:
                        await trio.sleep(0.01)
                        held_max = max(held_max, handles_of(port))
        assert QUICK.connections_max / 2 < held_max <= QUICK.connections_max + JUST_ACCEPTED
        assert ended == STALLERS
        assert (await stage.get("/livez")).status_code == 200


def ask_now_and_then(stream: trio.SocketStream) -> None:
    """Let the kernel ask whether the other end knows this connection.

    Where more come at once than the listener's queue takes, the kernel answers with SYN cookies
    and keeps nothing: whoever then says nothing is connected to nobody, and would wait for ever.
    """
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 3)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)


def handles_of(port: int) -> int:
    """Connections that the server holds: their own end has its port."""
    return sum(
        shown.laddr.port == port and shown.status == "ESTABLISHED"
        for shown in psutil.Process().net_connections("tcp4")
    )


@pytest.mark.parametrize("what", ["head", "body"])
async def test_a_slow_loris_is_cut_off(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then keeps no place: the time for a whole request does not start again."""
    monkeypatch.setattr("pumpwatch.dashboard.server.IDLE_S_MAX", 1.0)
    monkeypatch.setattr("pumpwatch.dashboard.gate.ANSWER_S_MAX", 1.0)
    async with page_stage() as stage, await stage.connect() as stream:
        ran = offer(stage)
        head = b"POST /api/actions/tempting HTTP/1.1\r\nhost: localhost\r\n"
        if what == "body":
            head += f"authorization: Bearer {TOKEN}\r\ncontent-length: 1000\r\n\r\n".encode()
        else:
            head += b"x-slow: "
        await stream.send_all(head)

        async def drip(scope: trio.CancelScope) -> None:
            try:
                while True:
                    await stream.send_all(b"a")
                    await trio.sleep(0.1)
            except trio.BrokenResourceError:
                scope.cancel()

        received = b""
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(drip, nursery.cancel_scope)
                try:
                    while data := await stream.receive_some(1000):
                        received += data
                except trio.BrokenResourceError:
                    pass
                nursery.cancel_scope.cancel()
        assert b" 200 " not in received
        assert ran == []
        assert (await stage.get("/livez")).status_code == 200
