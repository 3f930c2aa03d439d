"""The program itself over real sockets: stock clients, slow readers, signals, HTTP."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import trio
import trustme
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from pumpwatch.clock import SystemClock
from pumpwatch.errors import EXIT_UNAVAILABLE, EXIT_USAGE
from pumpwatch.sim.exchange import Exchange
from pumpwatch.sim.settings import FEED_NAMES, SimSettings
from pumpwatch.sim.truth import load_truth
from tests.sim.driving import HANDSHAKE, subscriptions
from tests.sim.reading import READERS, difference, read_texts, truth_rows

SYMBOLS = {
    "binance_spot": ["BTCUSDT", "ETHUSDT"],
    "binance_futures": ["BTCUSDT", "ETHUSDT"],
    "bybit_spot": ["BTCUSDT", "ETHUSDT"],
    "bybit_futures": ["BTCUSDT", "ETHUSDT"],
    "okx_spot": ["BTC-USDT", "ETH-USDT"],
    "okx_futures": ["BTC-USDT-SWAP", "ETH-USDT-SWAP"],
    "kucoin_spot": ["BTC-USDT", "ETH-USDT"],
    "kucoin_futures": ["XBTUSDTM", "ETHUSDTM"],
    "gate_spot": ["BTC_USDT", "ETH_USDT"],
    "gate_futures": ["BTC_USDT", "ETH_USDT"],
    "phemex_spot": ["sBTCUSDT", "sETHUSDT"],
    "phemex_futures": ["BTCUSDT", "ETHUSDT"],
}
CONTRACTS = {  # base coins per contract, as FEEDS.md has them
    "okx_futures": {"BTC-USDT-SWAP": "0.01", "ETH-USDT-SWAP": "0.1"},
    "kucoin_futures": {"XBTUSDTM": "0.001", "ETHUSDTM": "0.01"},
    "gate_futures": {"BTC_USDT": "0.0001", "ETH_USDT": "0.01"},
}
TIMEOUT_S = 60
RECEIVE_BUFFER_BYTES = 64 * 1024  # a slow reader is soon behind


def values_of(feed: str) -> dict[str, Decimal]:
    unit = "1e-8" if feed == "phemex_spot" else "1"
    known = CONTRACTS.get(feed, {})
    return {name: Decimal(known.get(name, unit)) for name in SYMBOLS[feed]}


class Program:
    """``python -m pumpwatch.sim`` as a process."""

    def __init__(self, process: trio.Process, ready: dict[str, Any], folder: Path) -> None:
        self.process = process
        self.ready = ready
        self.folder = folder
        self.url = f"http://127.0.0.1:{ready['port']}"

    def ask(self, method: str, path: str) -> Any:
        return httpx.request(method, self.url + path, trust_env=False, timeout=TIMEOUT_S).json()

    async def stats(self) -> Any:
        return await trio.to_thread.run_sync(self.ask, "GET", "/control/stats")

    async def end(self) -> None:
        """SIGTERM; returns when it has ended well."""
        self.process.send_signal(signal.SIGTERM)
        with trio.fail_after(TIMEOUT_S):
            assert await self.process.wait() == 0

    async def feed_url(self, feed: str) -> str:
        urls = self.ready["feeds"][feed]
        if not feed.startswith("kucoin"):
            return str(urls["websocket_url"])
        path = f"/{feed}/api/v1/bullet-public"
        document = await trio.to_thread.run_sync(self.ask, "POST", path)
        server = document["data"]["instanceServers"][0]["endpoint"]
        return f"{server}?token={document['data']['token']}&connectId=c1"


@asynccontextmanager
async def program(folder: Path, *options: str) -> AsyncIterator[Program]:
    command = [
        sys.executable,
        "-m",
        "pumpwatch.sim",
        "--port",
        "0",
        "--truth",
        str(folder),
        *options,
    ]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        line = b""
        with trio.fail_after(TIMEOUT_S):
            while not line.endswith(b"\n"):
                data = await process.stdout.receive_some()
                assert data, "it did not start"
                line += data
        yield Program(process, json.loads(line), folder)
    finally:
        if process.returncode is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
        assert process.stdout is not None
        await process.stdout.aclose()


@asynccontextmanager
async def connected(
    url: str, tls: ssl.SSLContext | None = None, queue_size: int = 1
) -> AsyncIterator[WebSocketConnection]:
    """A stock client; its socket is closed at the end, which trio-websocket leaves to us."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    plain = await trio.open_tcp_stream(parts.hostname, parts.port)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    stream: trio.abc.Stream = plain
    if tls is not None:
        stream = trio.SSLStream(stream, tls, server_hostname=parts.hostname)
    resource = url.partition(parts.netloc)[2]
    headers = [(b"X-Gate-Size-Decimal", b"1")]
    try:
        async with trio.open_nursery() as nursery:
            yield await wrap_client_stream(
                nursery, stream, parts.netloc, resource, extra_headers=headers,
                message_queue_size=queue_size,
            )  # fmt: skip
            nursery.cancel_scope.cancel()
    finally:
        await trio.aclose_forcefully(stream)


async def read_all(url: str, feed: str, texts: list[str], is_open: trio.Event) -> None:
    """Subscribe, then read until the server closes."""
    async with connected(url) as client:
        for request in subscriptions(feed, SYMBOLS[feed], SystemClock().wall_ns() // 10**9):
            await client.send_message(json.dumps(request))
        is_open.set()
        await collect(client, texts)
        assert client.closed is not None
        assert client.closed.code == 1001


async def collect(client: WebSocketConnection, texts: list[str]) -> None:
    try:
        while True:
            text = await client.get_message()
            assert isinstance(text, str)
            texts.append(text)
    except ConnectionClosed:
        return


@pytest.mark.slow
async def test_stock_clients_of_all_feeds_and_sigterm_in_mid_load(tmp_path: Path) -> None:
    """What 12 clients got, up to the close frame, is exactly what the truth holds."""
    texts: dict[str, list[str]] = {feed: [] for feed in FEED_NAMES}
    async with program(tmp_path, "--rate", "20000", "--symbols", "4", "--seed", "11") as sim:
        assert sim.ready["feeds"].keys() == set(FEED_NAMES)
        async with trio.open_nursery() as nursery:
            opened = []
            for feed in FEED_NAMES:
                opened.append(trio.Event())
                url = await sim.feed_url(feed)
                nursery.start_soon(read_all, url, feed, texts[feed], opened[-1])
            for event in opened:
                await event.wait()
            await trio.sleep(2.0)
            await sim.end()
    truth = load_truth(tmp_path)
    for feed in FEED_NAMES:
        mine = truth.filter(truth["feed"] == feed)
        got = read_texts(feed, texts[feed], values_of(feed))
        assert len(got) > 500, feed
        assert not difference(got, truth_rows(mine, has_ids=not feed.startswith("phemex")))


@pytest.mark.slow
async def test_a_client_that_dies_is_told_apart(tmp_path: Path) -> None:
    """Rows that were on their way to a dead client are not in the truth as delivered for ever."""
    options = ("--rate", "30000", "--symbols", "2", "--feeds", "okx_spot")
    async with program(tmp_path, *options) as sim:
        sock = socket.create_connection(("127.0.0.1", sim.ready["port"]))
        path = "/okx_spot/ws/v5/business"
        sock.sendall(HANDSHAKE.format(path=path).encode())
        assert await trio.to_thread.run_sync(sock.recv, 4096)
        args = [{"channel": "trades-all", "instId": name} for name in SYMBOLS["okx_spot"]]
        text = json.dumps({"op": "subscribe", "args": args}).encode()
        sock.sendall(b"\x81\xfe" + len(text).to_bytes(2, "big") + bytes(4) + text)
        await trio.sleep(1.5)  # nothing is read: the socket's buffers are full
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()  # RST
        await trio.sleep(0.5)
        stats = (await sim.stats())["feeds"]["okx_spot"]
        assert stats["connections"] == stats["subscriptions"] == stats["backlog_bytes"] == 0
        await sim.end()
        assert stats["generated"] - stats["delivered"] > 1000
    everything = load_truth(tmp_path, everything=True)
    assert len(everything) == stats["generated"]
    assert everything["delivered"].sum() == stats["delivered"]
    assert len(load_truth(tmp_path)) == stats["delivered"]


@pytest.mark.slow
async def test_stop_drains_and_the_sockets_stay_open(tmp_path: Path) -> None:
    texts: list[str] = []
    async with program(tmp_path, "--rate", "5000", "--feeds", "gate_spot") as sim:
        async with trio.open_nursery() as nursery:
            is_open = trio.Event()
            url = await sim.feed_url("gate_spot")
            nursery.start_soon(read_all, url, "gate_spot", texts, is_open)
            await is_open.wait()
            await trio.sleep(0.5)
            written = await trio.to_thread.run_sync(sim.ask, "POST", "/control/stop")
            assert written["waiting"] == 0
            stats = await sim.stats()
            assert not stats["is_trading"]
            assert stats["feeds"]["gate_spot"]["connections"] == 1
            before = load_truth(tmp_path)
            assert len(before) == stats["feeds"]["gate_spot"]["delivered"]
            await trio.sleep(0.3)
            assert (await sim.stats())["feeds"]["gate_spot"]["generated"] == len(before)
            await sim.end()
        assert len(load_truth(tmp_path)) == len(before)
    assert not difference(
        read_texts("gate_spot", texts, values_of("gate_spot")), truth_rows(before, has_ids=True)
    )


@pytest.mark.slow
async def test_seconds_and_exit_and_the_written_config(tmp_path: Path) -> None:
    config = tmp_path / "sim.toml"
    options = (
        "--seconds",
        "0.5",
        "--exit",
        "--feeds",
        "kucoin_spot",
        "--write-config",
        str(config),
    )
    async with program(tmp_path / "truth", *options) as sim:
        urls = tomllib.loads(config.read_text(encoding="utf-8"))["feeds"]
        assert urls == sim.ready["feeds"]
        texts: list[str] = []
        url = await sim.feed_url("kucoin_spot")
        with trio.fail_after(TIMEOUT_S):
            await read_all(url, "kucoin_spot", texts, trio.Event())
            assert await sim.process.wait() == 0
    assert json.loads(texts[0]) == {"id": "c1", "type": "welcome"}
    assert len(load_truth(tmp_path / "truth")) == len(texts) - 2  # welcome and ack


def run(options: Sequence[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pumpwatch.sim", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


@pytest.mark.slow
def test_refusals_are_one_line() -> None:
    found = run(["--feeds", "binance_spot,nosuch"])
    assert found.returncode == EXIT_USAGE
    assert found.stderr.startswith("sim: no such feed: nosuch; there are binance_spot, ")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = run(["--port", str(port)])
    assert found.returncode == EXIT_UNAVAILABLE
    assert found.stderr.startswith(f"sim: cannot listen on 127.0.0.1:{port}: ")
    assert found.stderr.count("\n") == 1


# --- HTTP, in this process ------------------------------------------------------------------------


@asynccontextmanager
async def served(
    settings: SimSettings, tls: ssl.SSLContext | None = None, folder: Path | None = None
) -> AsyncIterator[tuple[Exchange, dict[str, dict[str, str]]]]:
    exchange = Exchange(settings, SystemClock(), folder)
    async with trio.open_nursery() as nursery:
        listeners: Sequence[Any]
        if tls is None:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            port = listeners[0].socket.getsockname()[1]
        else:
            listeners = await trio.open_ssl_over_tcp_listeners(0, tls, host="127.0.0.1")
            port = listeners[0].transport_listener.socket.getsockname()[1]
        await nursery.start(trio.serve_listeners, exchange.serve, listeners)
        yield exchange, exchange.listen_at("127.0.0.1", port, tls=tls is not None)
        nursery.cancel_scope.cancel()


@pytest.mark.slow
async def test_a_slow_reader_gets_all_in_the_end_and_does_not_hold_others_up(
    tmp_path: Path,
) -> None:
    """Its symbols stop trading while it is far behind; acks and pongs go between whole frames."""
    feeds = ("binance_futures", "bybit_futures")
    settings = SimSettings(
        feeds=feeds, symbols=2, rate_per_s=30_000.0, backlog_bytes_max=500_000, recorded=False
    )
    texts: list[str] = []
    quick: list[str] = []
    async with (
        served(settings, folder=tmp_path) as (exchange, urls),
        connected(urls[feeds[0]]["websocket_url"]) as slow,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(exchange.run)
        url = urls[feeds[1]]["websocket_url"]
        nursery.start_soon(read_all, url, feeds[1], quick, trio.Event())
        streams = [f"{name.lower()}@trade" for name in SYMBOLS[feeds[0]]]
        await slow.send_message(json.dumps({"method": "SUBSCRIBE", "params": streams, "id": 1}))
        for number in range(6):  # it reads nothing, but asks and pings
            nursery.start_soon(slow.ping)  # until the pong comes
            await trio.sleep(0.4)
            await slow.send_message(json.dumps({"method": "SUBSCRIBE", "params": [], "id": number}))
        stuck = exchange.stats()["feeds"]
        assert 500_000 < stuck[feeds[0]]["backlog_bytes"] < 2_500_000  # and what a late tick adds
        await trio.sleep(0.5)
        later = exchange.stats()["feeds"]
        assert later[feeds[0]]["generated"] == stuck[feeds[0]]["generated"]
        assert later[feeds[1]]["generated"] > stuck[feeds[1]]["generated"] + 3000
        assert exchange.stats()["throttled_s"] > 0.4
        nursery.start_soon(collect, slow, texts)
        with trio.fail_after(TIMEOUT_S):
            tape = exchange.venues[feeds[0]].market.tape
            while tape.generated == later[feeds[0]]["generated"]:  # noqa: ASYNC110
                await trio.sleep(0.05)  # no event tells of trading
            while _answers(texts) < 7:  # noqa: ASYNC110 - what was asked last is read last
                await trio.sleep(0.05)
            exchange.engine.stop()
            assert (await exchange.drain())["waiting"] == 0
        await exchange.close()
        exchange.truth.flush()
    truth = load_truth(tmp_path)
    for feed, some in ((feeds[0], texts), (feeds[1], quick)):
        got = read_texts(feed, some, values_of(feed))
        mine = truth.filter(truth["feed"] == feed)
        assert not difference(got, truth_rows(mine, has_ids=True))
    assert _answers(texts) == 7


def _answers(texts: Sequence[str]) -> int:
    return sum('"result":null' in text for text in texts)


async def test_http_keeps_a_connection_open_for_many_requests() -> None:
    client = httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_S)
    async with served(SimSettings(symbols=2)) as (_, urls), client:
        rest_url = urls["binance_spot"]["rest_url"]
        symbols = await client.get(f"{rest_url}/api/v3/exchangeInfo")
        assert symbols.status_code == 200
        assert symbols.headers["content-type"] == "application/json"
        head = await client.head(f"{rest_url}/api/v3/exchangeInfo")
        assert (head.status_code, head.content) == (200, b"")
        posted = await client.post(
            f"{urls['kucoin_spot']['rest_url']}/api/v1/bullet-public", content=b"x" * 100_000
        )
        assert posted.json()["code"] == "200000"
        wrong = await client.get(f"{rest_url}/api/v3/trades?symbol=BTCUSDT&limit=many")
        assert wrong.status_code == 400
        nowhere = await client.get(f"{rest_url}/../nosuch_feed/api")
        assert nowhere.status_code == 404
        pool = client._transport._pool  # type: ignore[attr-defined]
        assert len(pool.connections) == 1


@pytest.mark.parametrize("feed", ["phemex_futures", "binance_spot"])
async def test_the_same_over_tls(feed: str) -> None:
    """A stream that is no socket: the slower way out, with the same frames."""
    authority = trustme.CA()
    server, client = (
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH),
        ssl.create_default_context(),
    )
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    texts: list[str] = []
    settings = SimSettings(symbols=2, rate_per_s=3000.0, feeds=(feed,))
    async with (
        served(settings, server) as (exchange, urls),
        connected(urls[feed]["websocket_url"], client, queue_size=10_000) as socket,
        trio.open_nursery() as nursery,
    ):
        assert urls[feed]["websocket_url"].startswith("wss://")
        nursery.start_soon(collect, socket, texts)
        for request in subscriptions(feed, SYMBOLS[feed], 0):
            await socket.send_message(json.dumps(request))
        with trio.fail_after(TIMEOUT_S):
            await exchange.run(0.6)
            await exchange.drain()
            delivered = exchange.venues[feed].counts.delivered
            while len(read_texts(feed, texts, values_of(feed))) < delivered:  # noqa: ASYNC110
                await trio.sleep(0.05)  # what a socket took is not read yet
            await exchange.close()
        statuses = {READERS[feed](text.encode())[0] for text in texts}
        assert statuses == {"trades", "other"}
        assert len(read_texts(feed, texts, values_of(feed))) == delivered
