"""How fast one simulator process feeds a reader that only counts bytes: one JSON line.

``python -m bench.bench_sim --rate 400000 --seconds 15`` starts ``python -m pumpwatch.sim`` with all
12 feeds, subscribes to every USDT symbol over plain sockets and reads. Rows are what the simulator
says it delivered; cpu seconds are those of its process, from the first trade to the last.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

READ_BYTES = 1 << 20
START_S_MAX = 20.0
OKX_CONNECT_PAUSE_S = 0.4  # three connects a second
BYBIT_SPOT_ARGS, PHEMEX_SYMBOLS, OTHER_SYMBOLS = 10, 20, 100


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.bench_sim", description=__doc__)
    parser.add_argument("--rate", type=int, default=400_000, help="rows a second, all feeds")
    parser.add_argument("--symbols", type=int, default=40, help="per feed")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--feeds", default="", help="only these, with commas between them")
    parser.add_argument("--profile", type=Path, default=None, help="write cProfile's figures here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-sim-") as folder:
        print(json.dumps(measure(options, folder)))


def measure(options: argparse.Namespace, folder: str) -> dict[str, Any]:
    """Run the simulator and the reader; returns the figures."""
    profile = ["-m", "cProfile", "-o", str(options.profile)] if options.profile else []
    command = [
        sys.executable, *profile, "-m", "pumpwatch.sim", "--rate", str(options.rate),
        "--symbols", str(options.symbols), "--truth", folder, "--no-rest-limits",
        "--time-scale", "1000",  # the reader does not ping
    ]  # fmt: skip
    if options.feeds:
        command += ["--feeds", options.feeds]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        feeds = json.loads(process.stdout.readline())["feeds"]
        sockets = [one for name, urls in feeds.items() for one in connect(name, urls)]
        rest_url = next(iter(feeds.values()))["rest_url"].rsplit("/", 1)[0]
        read(sockets, 2.0)  # recorded messages, first templates
        cpu_s, rows, bytes_read = cpu_of(process.pid), delivered(rest_url), 0
        own_s, begun = time.process_time(), time.perf_counter()
        bytes_read = read(sockets, options.seconds)
        took_s = time.perf_counter() - begun
        rows, cpu_s = delivered(rest_url) - rows, cpu_of(process.pid) - cpu_s
        stats = get(f"{rest_url}/control/stats")
        for one in sockets:
            one.close()
        process.terminate()
        process.wait(30)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return {
        "rows_per_s": round(rows / took_s), "rate": options.rate, "rows": rows,
        "seconds": round(took_s, 2), "mb_per_s": round(bytes_read / took_s / 1e6, 1),
        "sim_cpu_s_per_million_rows": round(cpu_s / rows * 1e6, 3),
        "sim_cpu_share": round(cpu_s / took_s, 3),
        "rows_per_cpu_s": round(rows / cpu_s),
        "reader_cpu_share": round((time.process_time() - own_s) / took_s, 3),
        "throttled_s": stats["throttled_s"], "violations": [
            f"{name}: {feed['violations']}" for name, feed in stats["feeds"].items()
            if feed["violations"]
        ],
    }  # fmt: skip


def read(sockets: list[socket.socket], seconds: float) -> int:
    """Read all there is for a while; returns how many bytes that was."""
    total = 0
    buffer = bytearray(READ_BYTES)
    until_s = time.perf_counter() + seconds
    with selectors.DefaultSelector() as selector:
        for one in sockets:
            selector.register(one, selectors.EVENT_READ)
        while (left_s := until_s - time.perf_counter()) > 0:
            for key, _ in selector.select(left_s):
                assert isinstance(key.fileobj, socket.socket)
                count = key.fileobj.recv_into(buffer)
                if not count:
                    raise RuntimeError("the simulator closed a connection")
                total += count
    return total


def cpu_of(pid: int) -> float:
    """User and system seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def get(url: str, *, post: bool = False) -> Any:
    request = urllib.request.Request(url, data=b"" if post else None)
    with urllib.request.urlopen(request, timeout=START_S_MAX) as answer:
        return json.load(answer)


def delivered(rest_url: str) -> int:
    stats = get(f"{rest_url}/control/stats")
    return sum(feed["delivered"] for feed in stats["feeds"].values())


def connect(name: str, urls: dict[str, str]) -> Iterator[socket.socket]:
    """The connections that one feed needs, subscribed."""
    names = symbols_of(name, urls["rest_url"])
    per_connection = PHEMEX_SYMBOLS if name.startswith("phemex") else len(names)
    for at in range(0, len(names), per_connection):
        url = urls["websocket_url"]
        if name.startswith("kucoin"):
            token = get(f"{urls['rest_url']}/api/v1/bullet-public", post=True)["data"]["token"]
            url += f"?token={token}&connectId=1"
        if name.startswith("okx"):
            time.sleep(OKX_CONNECT_PAUSE_S)
        one = open_socket(url, decimal=name == "gate_futures")
        for text in subscriptions(name, names[at : at + per_connection]):
            one.sendall(masked(text))
        yield one


def symbols_of(name: str, rest_url: str) -> list[str]:
    """What trades against USDT, by the venue's own list."""
    if name.startswith("binance"):
        rows = get(
            rest_url + ("/api/v3" if name.endswith("spot") else "/fapi/v1") + "/exchangeInfo"
        )
        return [row["symbol"] for row in rows["symbols"]
                if row["status"] == "TRADING" and row["symbol"].endswith("USDT")]  # fmt: skip
    if name.startswith("bybit"):
        return bybit_symbols(name, rest_url)
    if name.startswith("okx"):
        kind, end = ("SPOT", "-USDT") if name.endswith("spot") else ("SWAP", "-USDT-SWAP")
        rows = get(f"{rest_url}/api/v5/public/instruments?instType={kind}")["data"]
        return [row["instId"] for row in rows
                if row["state"] == "live" and row["instId"].endswith(end)]  # fmt: skip
    if name == "kucoin_spot":
        rows = get(f"{rest_url}/api/v2/symbols")["data"]
        return [row["symbol"] for row in rows
                if row["enableTrading"] and row["quoteCurrency"] == "USDT"]  # fmt: skip
    if name == "kucoin_futures":
        rows = get(f"{rest_url}/api/v1/contracts/active")["data"]
        return [row["symbol"] for row in rows
                if row["status"] == "Open" and row["quoteCurrency"] == "USDT"]  # fmt: skip
    if name == "gate_spot":
        rows = get(f"{rest_url}/api/v4/spot/currency_pairs")
        return [row["id"] for row in rows
                if row["trade_status"] == "tradable" and row["quote"] == "USDT"]  # fmt: skip
    if name == "gate_futures":
        rows = get(f"{rest_url}/api/v4/futures/usdt/contracts")
        return [row["name"] for row in rows if row["status"] == "trading"]
    document = get(f"{rest_url}/public/products")["data"]
    rows = document["products"] if name.endswith("spot") else document["perpProductsV2"]
    return [row["symbol"] for row in rows
            if row["status"] == "Listed" and row["symbol"].endswith("USDT")]  # fmt: skip


def bybit_symbols(name: str, rest_url: str) -> list[str]:
    category = "spot" if name.endswith("spot") else "linear"
    found: list[str] = []
    cursor = ""
    while True:
        result = get(
            f"{rest_url}/v5/market/instruments-info?category={category}&limit=1000&cursor={cursor}"
        )["result"]
        found += [row["symbol"] for row in result["list"]
                  if row["status"] == "Trading" and row["symbol"].endswith("USDT")]  # fmt: skip
        cursor = result.get("nextPageCursor", "")
        if not cursor:
            return found


def subscriptions(name: str, names: list[str]) -> Iterator[str]:
    """The texts that subscribe, within the venue's limits."""
    size = BYBIT_SPOT_ARGS if name == "bybit_spot" else OTHER_SYMBOLS
    for at in range(0, len(names), size):
        some = names[at : at + size]
        match name.split("_"):
            case "binance", _:
                document: dict[str, Any] = {
                    "method": "SUBSCRIBE", "params": [f"{one.lower()}@trade" for one in some],
                }  # fmt: skip
            case "bybit", _:
                document = {"op": "subscribe", "args": [f"publicTrade.{one}" for one in some]}
            case "okx", _:
                args = [{"channel": "trades-all", "instId": one} for one in some]
                document = {"op": "subscribe", "args": args}
            case "kucoin", kind:
                topic = "/market/match:" if kind == "spot" else "/contractMarket/execution:"
                document = {"type": "subscribe", "topic": topic + ",".join(some)}
            case "gate", kind:
                document = {"time": int(time.time()), "channel": f"{kind}.trades",
                            "event": "subscribe", "payload": some}  # fmt: skip
            case _, kind:
                method = "trade.subscribe" if kind == "spot" else "trade_p.subscribe"
                document = {"method": method, "params": some}
        yield json.dumps({"id": at + 1, **document}, separators=(",", ":"), ensure_ascii=False)


def masked(text: str) -> bytes:
    """A client's text frame; the mask is zero."""
    payload = text.encode()
    size = len(payload)
    short = bytes((0x81, 0x80 | size)) if size <= 125 else b""
    head = short or b"\x81\xfe" + size.to_bytes(2, "big")
    return head + bytes(4) + payload


def open_socket(url: str, *, decimal: bool) -> socket.socket:
    """Connect and shake hands."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    one = socket.create_connection((parts.hostname, parts.port or 80), timeout=START_S_MAX)
    key = base64.b64encode(os.urandom(16)).decode()
    query = f"?{parts.query}" if parts.query else ""
    extra = "X-Gate-Size-Decimal: 1\r\n" if decimal else ""
    one.sendall(
        f"GET {parts.path}{query} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        f"{extra}\r\n".encode()
    )
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += one.recv(4096)
    if b" 101 " not in answer.splitlines()[0]:
        raise RuntimeError(f"{url}: {answer!r}")
    return one


if __name__ == "__main__":
    main()
