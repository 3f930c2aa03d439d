"""An embedded database without a daemon, and somebody who writes made-up trades to it."""

from __future__ import annotations

import random
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from pumpwatch.config import Config, QuestdbConfig
from pumpwatch.drills.months import database_before
from pumpwatch.store.server import running_address
from pumpwatch.store.server_process import PidFile
from pumpwatch.store.sql import Sql

SECOND_NS = 10**9
FIRST_NS = 1_795_660_200 * SECOND_NS  # half past an hour: what follows stays in it
ROWS_PER_S = 5_000
SYMBOLS = 475
SEED = 20261126


class Writer:
    """Sends made-up trades of the given times; every row has an id of its own."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._rng = random.Random(SEED)
        self._id = 0

    async def send(self, times_ns: Sequence[int]) -> None:
        """One request, one commit."""
        lines = []
        for ns in times_ns:
            self._id += 1
            lines.append(
                f"trades,exchange=kucoin,market_type=spot,symbol=S{self._rng.randrange(SYMBOLS)},"
                f'side=buy,origin=stream,kind=trade trade_id="{self._id}",price=1.5,quantity=2.5,'
                f"sequence_number={self._id}i {ns}\n"
            )
        answer = await self._client.post("/write", content="".join(lines))
        answer.raise_for_status()

    def times_between(self, low_ns: int, high_ns: int, rows: int) -> list[int]:
        """So many times by chance, in order."""
        return sorted(self._rng.randrange(low_ns, high_ns) for _ in range(rows))


@dataclass(frozen=True)
class LoneDatabase:
    """With our tables, and nothing in them."""

    sql: Sql
    writer: Writer
    process: psutil.Process

    @property
    def cpu_s(self) -> float:
        """Processor time so far."""
        times = self.process.cpu_times()
        return times.user + times.system


@asynccontextmanager
async def lone_database() -> AsyncIterator[LoneDatabase]:
    """On free ports, in a folder of its own; gone with the block."""
    with tempfile.TemporaryDirectory(prefix="bench-database-") as folder:
        ports = QuestdbConfig(http_port=0, pg_port=0, health_port=0)
        config = Config(data_dir=Path(folder), questdb=ports)
        async with database_before(config) as sql:
            address, running = running_address(config), PidFile.read(config.data_dir)
            assert running is not None
            async with httpx.AsyncClient(
                base_url=address.http_url, auth=(address.user, address.password),
                timeout=60, trust_env=False,
            ) as client:  # fmt: skip
                yield LoneDatabase(sql, Writer(client), psutil.Process(running.pid))
