"""Which coins have a won market: the lists, and boards that fail."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx
import pytest
import structlog
import trio

from pumpwatch.capture.krw import POLL_S, RETRY_S_MIN, KrwCoins, read_won_coins
from pumpwatch.clock import SystemClock
from pumpwatch.config import BithumbConfig, Config, ListingConfig, UpbitConfig
from pumpwatch.errors import VenueError
from pumpwatch.rest import RestClient
from pumpwatch.sim import boards as sim_boards
from pumpwatch.sim.server import serve_client
from pumpwatch.sim.venue import Answer, Request

LIST = b'[{"market":"KRW-BTC"},{"market":"BTC-ETH"},{"market":"KRW-1INCH"}]'


def listing(base_url: str = "http://board.invalid", *, upbit: bool = True) -> ListingConfig:
    return ListingConfig(
        upbit=UpbitConfig(enabled=upbit, markets_url=f"{base_url}/upbit"),
        bithumb=BithumbConfig(api_url=f"{base_url}/bithumb/"),
    )


def client(transport: httpx.AsyncBaseTransport | None = None) -> RestClient:
    return RestClient(Config(data_dir=Path("data")), random.Random(7), transport=transport)


class Boards(httpx.AsyncBaseTransport):
    """Both boards; ``upbit`` and ``bithumb`` say how each answers."""

    def __init__(self) -> None:
        self.upbit: Callable[[], httpx.Response] = lambda: httpx.Response(200, content=LIST)
        self.bithumb: Callable[[], httpx.Response] = lambda: httpx.Response(200, content=LIST)
        self.asked: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        board = request.url.path.split("/")[1]
        assert request.url.path == f"/{board}/v1/market/all"
        self.asked.append(board)
        return self.upbit() if board == "upbit" else self.bithumb()


def unreachable() -> httpx.Response:
    raise httpx.ConnectError("nobody there")


def test_only_won_markets_count() -> None:
    assert read_won_coins(LIST, "upbit") == {"BTC", "1INCH"}


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>busy</html>", b"{}", b'{"error":{"name":"too_many_requests"}}', b"[]", b"null",
     b'[{"market":"BTC-ETH"}]', b'[{"market":"KRW-"}]', b'["KRW-BTC", {"market":5}, null]'],
)  # fmt: skip
def test_nonsense_is_an_error_that_names_the_board(body: bytes) -> None:
    with pytest.raises(VenueError, match="bithumb market list"):
        read_won_coins(body, "bithumb")


async def test_the_boards_of_the_simulator(nursery: trio.Nursery) -> None:
    boards = sim_boards.Boards(SystemClock(), random.Random(1))

    async def answer(board: str, request: Request) -> Answer:
        return boards.answer(board, request)

    async def no_socket(*_: object) -> None:
        raise AssertionError("no WebSocket here")

    async def handle(stream: trio.SocketStream) -> None:
        await serve_client(stream, answer, no_socket)

    listeners = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
    port = listeners[0].socket.getsockname()[1]
    stop = trio.Event()
    async with client() as rest, trio.open_nursery() as inner:
        krw = KrwCoins(rest, listing(f"http://127.0.0.1:{port}"))
        assert krw.coins() == (None, None)
        inner.start_soon(krw.run, stop)
        await krw.first(30)
        assert krw.coins() == tuple(
            set(sim_boards.WON_COINS[name]) for name in ("upbit", "bithumb")
        )
        stop.set()  # ends ``run``, else the block would not end


async def test_a_failing_board_is_told_once_keeps_what_is_known_and_comes_back(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    boards = Boards()
    async with client(boards) as rest:
        krw = KrwCoins(rest, listing())
        with structlog.testing.capture_logs() as lines:
            nursery.start_soon(krw.run, trio.Event())
            await krw.first(5)
            boards.upbit = unreachable
            boards.bithumb = lambda: httpx.Response(200, content=LIST.replace(b"1INCH", b"NEW"))
            await trio.sleep(5 * POLL_S)
            assert krw.coins() == ({"BTC", "1INCH"}, {"BTC", "NEW"})
            boards.upbit = boards.bithumb
            await trio.sleep(2 * POLL_S)
        assert krw.coins() == ({"BTC", "NEW"}, {"BTC", "NEW"})
    told = [(line["event"], line["board"]) for line in lines]
    assert told == [("won_markets_unknown", "upbit"), ("won_markets_known", "upbit")]
    assert "nobody there" in lines[0]["message"]


async def test_a_board_is_asked_every_few_minutes(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    boards = Boards()
    async with client(boards) as rest:
        nursery.start_soon(KrwCoins(rest, listing()).run, trio.Event())
        await trio.sleep(4 * POLL_S + 1)
    assert sorted(boards.asked) == ["bithumb"] * 5 + ["upbit"] * 5


async def test_a_failing_board_is_asked_soon_and_then_less_often(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    boards = Boards()
    boards.upbit = lambda: httpx.Response(404)
    async with client(boards) as rest:
        nursery.start_soon(KrwCoins(rest, listing()).run, trio.Event())
        await trio.sleep(2 * RETRY_S_MIN)
        assert boards.asked.count("upbit") == 2
        await trio.sleep(4 * POLL_S)
    assert boards.asked.count("upbit") <= 9


async def test_a_disabled_board_is_not_asked_and_not_waited_for(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    boards = Boards()
    async with client(boards) as rest:
        krw = KrwCoins(rest, listing(upbit=False))
        nursery.start_soon(krw.run, trio.Event())
        await krw.first(60)
        assert krw.coins() == (None, {"BTC", "1INCH"})
        assert trio.current_time() < 1
    assert boards.asked == ["bithumb"]


async def test_the_start_waits_neither_for_silent_nor_for_failing_boards(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    boards = Boards()
    boards.upbit = boards.bithumb = lambda: httpx.Response(400)
    async with client(boards) as rest:
        failing = KrwCoins(rest, listing())
        await failing.first(3)  # nobody asks
        assert trio.current_time() == pytest.approx(3)
        nursery.start_soon(failing.run, trio.Event())
        await failing.first(60)
        assert trio.current_time() < 4
        assert failing.coins() == (None, None)
