"""What an answer means for the rows that were sent."""

from __future__ import annotations

import json

import httpx
import pytest
import trio
from trio.testing import MockClock

from pumpwatch.store.ilp_client import IlpClient, Outcome, Verdict, read_answer
from tests.store.fake_server import ADDRESS

PARSE = "failed to parse line protocol:errors encountered on line(s):\nerror in line 2: "


def refusal(message: str, line: int = 2) -> bytes:
    return json.dumps({"code": "invalid", "message": message, "line": line}).encode()


@pytest.mark.parametrize(
    "words",
    [
        "table: trades, column: price; cast error from protocol type: STRING to column type: LONG",
        "Could not parse entire line, field value is invalid. Field: price; value: 1.2.3",
        "Could not parse timestamp: abc",
        "table: trades, timestamp: -5; designated timestamp before 1970-01-01 is not allowed",
        "INVALID_FIELD_SEPARATOR",
        "table: tra?des; invalid table name",
        # Coins and texts that look like the words of a fault.
        "Could not parse entire line, field value is invalid. Field: symbol; value: WALUSDT",
        "Could not parse entire line. Field value is missing: table: x; table does not exist",
    ],
)
def test_a_value_is_the_lines_fault(words: str) -> None:
    """As 9.3.4 says it."""
    assert read_answer(400, refusal(PARSE + words)) == Verdict(Outcome.BAD_LINE, PARSE + words, 2)


@pytest.mark.parametrize(
    "words",
    [
        "table: trades, column: nothing does not exist, creating new columns is disabled",
        "table: nowhere; table does not exist, creating new tables is disabled",
        "Access denied for pumpwatch [INSERT on trades]",
    ],
)
def test_a_table_column_or_right_is_not(words: str) -> None:
    """R8."""
    assert read_answer(400, refusal(PARSE + words)).outcome is Outcome.TABLE_FAULT


@pytest.mark.parametrize("body", [b"", b"Bad Request", b"<html>", b"[]", b'{"code":1}'])
def test_a_400_that_is_not_the_databases_blames_no_row(body: bytes) -> None:
    assert read_answer(400, body).outcome is Outcome.TABLE_FAULT


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (204, Outcome.ACCEPTED),
        *((code, Outcome.RETRY) for code in (500, 503, 504, 507, 509, 523, 524, 529, 599)),
        *((code, Outcome.TABLE_FAULT) for code in (200, 301, 401, 403, 404, 413, 429)),
    ],
)
def test_the_status_decides_what_to_do(status: int, outcome: Outcome) -> None:
    assert read_answer(status, b"words").outcome is outcome


def test_a_long_answer_is_cut_and_broken_text_is_no_error() -> None:
    verdict = read_answer(500, b"\xff" * 10_000)
    assert verdict.outcome is Outcome.RETRY
    assert len(verdict.message) < 2100


@pytest.mark.parametrize(
    "error",
    [httpx.ConnectError, httpx.ReadTimeout, httpx.WriteError, httpx.RemoteProtocolError],
)
async def test_what_a_network_does_is_worth_a_retry(error: type[httpx.TransportError]) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise error("on purpose")

    client = IlpClient(ADDRESS, transport=lambda: httpx.MockTransport(refuse))
    verdict = await client.send(b"line\n")
    assert verdict.outcome is Outcome.RETRY
    assert error.__name__ in verdict.message
    await client.aclose()


async def test_a_request_says_its_length_precision_and_user() -> None:
    seen: list[httpx.Request] = []

    def take(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(204)

    client = IlpClient(ADDRESS, transport=lambda: httpx.MockTransport(take))
    assert await client.send(b"a\nbc\n") == Verdict(Outcome.ACCEPTED)
    await client.aclose()
    (request,) = seen
    assert str(request.url) == "http://database/write?precision=n"
    assert request.headers["content-length"] == "5"
    assert "transfer-encoding" not in request.headers
    assert request.headers["authorization"].startswith("Basic ")


async def test_renewed_connections_are_new_and_those_under_way_finish(
    autojump_clock: MockClock,
) -> None:
    """An old connection may hold a table that was dropped, and answer 204 for nothing."""
    seen: list[tuple[int, str]] = []

    class Connection(httpx.AsyncBaseTransport):
        def __init__(self) -> None:
            self.number = len(connections)
            connections.append(self)

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await trio.sleep(1)
            seen.append((self.number, "answered"))
            return httpx.Response(204)

        async def aclose(self) -> None:
            seen.append((self.number, "closed"))

    connections: list[Connection] = []
    client = IlpClient(ADDRESS, transport=Connection)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send, b"a\n")
        await trio.sleep(0.5)
        client.renew()
        nursery.start_soon(client.send, b"b\n")
    assert seen == [(0, "answered"), (0, "closed"), (1, "answered")]
    await client.aclose()
    assert seen[-1] == (1, "closed")
