"""Over loopback sockets, plain and through TLS: server → tap → C → spool, without a database.

The server is a process of its own (bench/frame_server.py), so that ``cpu_s`` is this process's
alone: its event loop, TLS, the road, and the spool's write thread. One road a connection, as the
daemon has one a feed. ``rows_per_s`` counts wall time, from the first byte asked for until all
lies in segments; ``rows_per_cpu_s`` is what one core would do.
"""

from __future__ import annotations

import argparse
import random
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio
import trustme
from trio_websocket import ConnectionClosed, wrap_client_stream

from bench.machine import emit, emit_machine
from bench.messages import FORMS, Form, Stream, frame
from bench.roads import FLUSH_BYTES, RECEIVE_NS, Road
from pumpwatch.capture.tap import Tap
from pumpwatch.clock import SystemClock
from pumpwatch.model import Record
from pumpwatch.store.spool import Spool, run_spool
from pumpwatch.store.spool_files import Cursor

MIB = 1024 * 1024
SEED = 20261125
FEEDS = {"binance_futures": 1, "bybit_spot": 50, "phemex_futures": 1, "phemex_spot": 50}
CONNECTIONS = (8, 56)
ROWS = 2_000_000  # a round, over all connections
ROUNDS = 3
FLUSH_S = 0.01  # as the daemon does
RELEASE_S = 0.05  # the disk must not fill
TIMEOUT_S = 120
TRADES = 1  # the table's number


class StandingClock:
    """The messages' time: their stamps are old, and nobody may find that strange."""

    def wall_ns(self) -> int:
        """Always the same."""
        return RECEIVE_NS


@contextmanager
def frame_server(frames: bytes, authority: trustme.CA | None) -> Iterator[int]:
    """The server's port; it is gone with the block."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "frames").write_bytes(frames)
        if authority is not None:
            issued = authority.issue_cert("localhost", "127.0.0.1")
            issued.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
        command = [sys.executable, "-m", "bench.frame_server", name]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()
            process.wait()


class Client:
    """One connection and its road."""

    def __init__(self, form: Form, stream: Stream, feed: int, spool: Spool) -> None:
        self.way = Road(form, stream, feed)
        self.feed = feed
        self.spool = spool

    def flush(self) -> None:
        """What waits goes to the spool, as a feed hands it on."""
        if self.way.rows.rows:
            payload, rows, _ = self.way.rows.take()
            self.spool.append(Record(table=TRADES, feed=self.feed, rows=rows, payload=payload))

    def on_chunk(self, _: float) -> None:
        """Behind every read."""
        if self.way.rows.size_bytes >= FLUSH_BYTES:
            self.flush()

    async def run(self, port: int, context: ssl.SSLContext | None) -> None:
        """Connect, read to the end."""
        stream: trio.abc.Stream
        if context is None:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
        else:
            stream = await trio.open_ssl_over_tcp_stream(
                "127.0.0.1", port, ssl_context=context, https_compatible=True
            )
        tap = Tap(stream, self.way.intake, self.spool, StandingClock(), self.on_chunk)
        async with trio.open_nursery() as nursery:
            socket = await wrap_client_stream(nursery, tap, "127.0.0.1", "/")  # type: ignore[arg-type]
            try:
                while True:
                    await socket.get_message()
            except ConnectionClosed:
                pass
            nursery.cancel_scope.cancel()
        await trio.aclose_forcefully(stream)
        self.flush()


async def flush_loop(clients: list[Client]) -> None:
    """What no read hands on, goes after 10 ms."""
    while True:
        await trio.sleep(FLUSH_S)
        for client in clients:
            client.flush()


async def release_loop(spool: Spool) -> None:
    """Everything counts as applied: segments go as soon as they are closed."""
    while True:
        await trio.sleep(RELEASE_S)
        await spool.release(spool.files.table_ends())


async def play(
    form: Form, stream: Stream, count: int, port: int, context: ssl.SSLContext | None, folder: Path
) -> tuple[list[Client], float, float]:
    """One round of ``count`` fresh connections; returns them, wall and cpu seconds."""
    spool = Spool(
        folder, SystemClock(), random.Random(SEED), schema_version=1,
        disk_bytes_max=8192 * MIB, fsync_s=1.0, buffer_bytes_max=64 * MIB,
    )  # fmt: skip
    applied: dict[int, Cursor] = {}
    clients = [Client(form, stream, number % 12 + 1, spool) for number in range(count)]
    with trio.fail_after(TIMEOUT_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(run_spool, spool, applied)
            nursery.start_soon(flush_loop, clients)
            nursery.start_soon(release_loop, spool)
            cpu_s, wall_s = time.process_time(), time.perf_counter()
            async with trio.open_nursery() as readers:
                for client in clients:
                    readers.start_soon(client.run, port, context)
            await spool.written()
            cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
            nursery.cancel_scope.cancel()
    return clients, wall_s, cpu_s


def measure(given: argparse.Namespace, feed: str, count: int, authority: trustme.CA | None) -> None:
    """All rounds of one case; the best and the median are told."""
    form = next(form for form in FORMS if form.feed == feed)
    rows_each = given.rows // count // FEEDS[feed] * FEEDS[feed]
    stream = Stream(form, SEED)
    frames = b"".join(map(frame, stream.messages(rows_each, FEEDS[feed])))
    context = None
    if authority is not None:
        context = ssl.create_default_context()
        authority.configure_trust(context)
    figures = []
    with frame_server(frames, authority) as port:
        for _ in range(given.rounds):
            with tempfile.TemporaryDirectory(dir=given.directory) as folder:
                clients, wall_s, cpu_s = trio.run(
                    play, form, stream, count, port, context, Path(folder)
                )
            for client in clients:
                client.way.check(rows_each)
            figures.append((wall_s, cpu_s))
    rows = rows_each * count
    wall_s = min(wall for wall, _ in figures)
    cpus = sorted(cpu for _, cpu in figures)
    emit(
        "tls", f"{feed} x{FEEDS[feed]}, {count} {'plain' if authority is None else 'tls'}", rows,
        wall_s, rows_per_cpu_s=round(rows / cpus[0]),
        rows_per_cpu_s_median=round(rows / cpus[len(cpus) // 2]),
        bytes_per_row=round(len(frames) / rows_each),
    )  # fmt: skip


def main() -> None:
    """Every feed, both kinds of socket, few and many connections."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--feed", choices=sorted(FEEDS), action="append")
    arguments.add_argument("--rows", type=int, default=ROWS, help="over all connections")
    arguments.add_argument("--rounds", type=int, default=ROUNDS)
    arguments.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()))
    given = arguments.parse_args()
    emit_machine("tls")
    for feed in given.feed or FEEDS:
        for count in CONNECTIONS:
            for authority in (None, trustme.CA()):
                measure(given, feed, count, authority)


if __name__ == "__main__":
    main()
