"""Sockets → tap → lines → spool, without a database: plain TCP and TLS.

The server is a process of its own (bench.frame_server) that sends prebuilt frames as fast as they
are read; the measured process is built of the daemon's parts: tap, trio-websocket, road, spool. It
has one core, the server the others. ``rows_per_s`` is by wall time, from the first dial until the
last row lies in a segment; ``rows_per_cpu_s`` by this process's processor time.
"""

from __future__ import annotations

import argparse
import os
import random
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import trio
import trustme
from trio_websocket import ConnectionClosed, wrap_client_stream

from bench.machine import emit, emit_machine
from bench.messages import FORMS, START_NS, Form, Stream, frame
from bench.roads import FLUSH_BYTES, Road
from pumpwatch.capture.tap import Tap
from pumpwatch.capture.tls import TlsStream
from pumpwatch.clock import SystemClock
from pumpwatch.model import Record
from pumpwatch.store.spool import Spool, run_spool
from pumpwatch.trust import system_roots

MIB = 1024 * 1024
SEED = 20261125
FLUSH_S = 0.01
SYMBOLS = 100  # a connection
CONTEXTS = 50
# (feed, trades a message, connections, rows a connection)
CASES = (
    ("binance_futures", 1, 8, 150_000),
    ("binance_futures", 1, 56, 25_000),
    ("bybit_spot", 50, 8, 200_000),
    ("gate_spot", 1, 8, 100_000),
    ("phemex_futures", 1, 8, 100_000),
)
HOST = "localhost"


def form_of(feed: str) -> Form:
    """A feed's messages."""
    return next(form for form in FORMS if form.feed == feed)


@contextmanager
def serving(folder: Path, certificate: Path | None) -> Iterator[int]:
    """The server's port, while the block runs."""
    command = [sys.executable, "-m", "bench.frame_server", str(folder)]
    if certificate is not None:
        command += ["--certificate", str(certificate)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(10)


class Client:
    """One connection: the daemon's way from a socket to its feed's lines."""

    def __init__(self, form: Form, stream: Stream, rows: int, spool: Spool) -> None:
        self.rows = rows
        # The messages were made for START_NS: nothing of them is to count as history.
        self.road = Road(form, stream, history_ns=2 * (time.time_ns() - START_NS))
        self._spool = spool

    @property
    def is_done(self) -> bool:
        """All rows went on."""
        return bool(self.road.road.counts_now()["passed"] >= self.rows)

    def on_chunk(self, _: float) -> None:
        """As the daemon: a record as soon as there is enough for one."""
        if self.road.rows.size_bytes >= FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand the lines on."""
        if self.road.rows.rows:
            payload, rows, _ = self.road.rows.take()
            self._spool.append(Record(table=1, feed=1, rows=rows, payload=payload))

    async def run(self, port: int, number: int, trust: ssl.SSLContext | None) -> None:
        """Read until cancelled."""
        stream: trio.abc.Stream = await trio.open_tcp_stream("127.0.0.1", port)
        if trust is not None:
            tls = TlsStream(stream, trust, HOST)
            await tls.do_handshake()
            stream = tls
        tap = Tap(stream, self.road.intake, self._spool, SystemClock(), self.on_chunk)
        async with trio.open_nursery() as nursery:
            socket = await wrap_client_stream(nursery, tap, HOST, f"/{number}")  # type: ignore[arg-type]
            try:
                await socket.get_message()
            except ConnectionClosed:
                return


async def measure(
    form: Form, streams: list[Stream], rows: int, port: int, trust: ssl.SSLContext | None,
    directory: Path,
) -> tuple[float, float]:  # fmt: skip
    """(wall seconds, processor seconds) for all rows of all connections."""
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        spool = Spool(
            Path(folder), SystemClock(), random.Random(SEED), schema_version=1,
            disk_bytes_max=8192 * MIB, fsync_s=1.0, buffer_bytes_max=64 * MIB,
        )  # fmt: skip
        clients = [Client(form, stream, rows, spool) for stream in streams]
        async with trio.open_nursery() as nursery:
            await nursery.start(run_spool, spool, {})
            began_s, used_s = time.perf_counter(), time.process_time()
            for number, client in enumerate(clients):
                nursery.start_soon(client.run, port, number, trust)
            while not all(client.is_done for client in clients):
                await trio.sleep(FLUSH_S)
                for client in clients:
                    client.flush()
            for client in clients:
                client.flush()
            await spool.written()
            seconds = time.perf_counter() - began_s
            cpu_s = time.process_time() - used_s
            nursery.cancel_scope.cancel()
        for client in clients:
            client.road.check(rows)
    return seconds, cpu_s


def run_case(
    case: tuple[str, int, int, int], authority: trustme.CA, directory: Path, rounds: int
) -> None:
    """Both ways, the best of some rounds each."""
    feed, trades, connections, rows = case
    form = form_of(feed)
    with tempfile.TemporaryDirectory(dir=directory) as name:
        folder = Path(name)
        streams = [Stream(form, SEED + number, SYMBOLS) for number in range(connections)]
        for number, stream in enumerate(streams):
            frames = b"".join(map(frame, stream.messages(rows, trades)))
            (folder / str(number)).write_bytes(frames)
        certificate = folder / "server.pem"
        authority.issue_cert(HOST).private_key_and_cert_chain_pem.write_to_path(str(certificate))
        trust = ssl.create_default_context()
        authority.configure_trust(trust)
        for way, context in (("tcp", None), ("tls", trust)):
            with serving(folder, certificate if context else None) as port:
                found = [
                    trio.run(measure, form, streams, rows, port, context, directory)
                    for _ in range(rounds)
                ]
            wall_s, cpu_s = min(one[0] for one in found), min(one[1] for one in found)
            total = rows * connections
            emit(
                "tls", f"{way} {feed} {trades} a message, {connections} connections", total, wall_s,
                rows_per_cpu_s=round(total / cpu_s),
            )  # fmt: skip


def measure_contexts() -> None:
    """What each connection would take, had it its own list of whom the system trusts."""
    before_bytes, begun_s = psutil.Process().memory_info().rss, time.process_time()
    contexts = [ssl.create_default_context() for _ in range(CONTEXTS)]
    cpu_s = time.process_time() - begun_s
    grown_mib = (psutil.Process().memory_info().rss - before_bytes) / MIB
    del contexts
    system_roots("socket")
    begun_s = time.process_time()
    for _ in range(CONTEXTS):
        system_roots("socket")
    shared_s = time.process_time() - begun_s
    emit(
        "tls", "a context of a connection's own", CONTEXTS, cpu_s, mib_each=grown_mib / CONTEXTS,
        shared_us=round(shared_s / CONTEXTS * 1e6, 1),
    )  # fmt: skip


def main() -> None:
    """All cases."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()))
    arguments.add_argument("--rounds", type=int, default=3)
    given = arguments.parse_args()
    emit_machine("tls")
    measure_contexts()
    authority = trustme.CA()
    cores = sorted(os.sched_getaffinity(0))
    for case in CASES:
        run_case(case, authority, given.directory, given.rounds)
    assert sorted(os.sched_getaffinity(0)) == cores


if __name__ == "__main__":
    main()
