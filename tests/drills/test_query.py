"""The drill of windows knows every row that its table holds: by arithmetic, without asking it."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest

from pumpwatch.clock import SystemClock
from pumpwatch.drills.query import (
    SYMBOLS,
    WINDOW_NS,
    ask_all,
    fill,
    plan_of,
    questions_of,
    rows_of,
)
from pumpwatch.rates import TimesBySource
from pumpwatch.store.partitions import DAY_NS, NS_PER_S
from pumpwatch.store.schema import apply_schema
from pumpwatch.store.server import ServerAddress
from pumpwatch.store.sql import Sql
from pumpwatch.store.window_model import WindowQuestion
from pumpwatch.store.window_reader import Windows

pytestmark = pytest.mark.questdb
FROM_NS = 1_790_000_000 * NS_PER_S // DAY_NS * DAY_NS
DAYS, RATE = 5, 1
STEP_NS = NS_PER_S // RATE


@pytest.fixture
async def sql(questdb_server: ServerAddress) -> AsyncIterator[Sql]:
    access = Sql(questdb_server)
    await apply_schema(access, spool_is_empty=lambda: True)
    await access.execute("TRUNCATE TABLE trades")
    yield access
    await access.execute("TRUNCATE TABLE trades")
    await access.aclose()


async def test_every_answer_is_as_it_was_filled_in(sql: Sql) -> None:
    assert await fill(sql, FROM_NS, RATE, DAYS) == DAYS * 86_400 * RATE
    [(rows, feeds)] = await sql.query(
        "SELECT sum(n), count() FROM (SELECT exchange, market_type, count() n FROM trades"
        " WHERE symbol LIKE 'QUERY%' GROUP BY exchange, market_type)"
    )
    assert (rows, feeds) == (DAYS * 86_400 * RATE, 12)
    windows = Windows(sql, SystemClock(), TimesBySource())
    rng = random.Random(5)
    edges = [
        WindowQuestion(symbols=(SYMBOLS[n],), from_ns=FROM_NS + n * STEP_NS,
                       to_ns=FROM_NS + n * STEP_NS + WINDOW_NS) for n in range(3)
    ]  # fmt: skip
    questions = [*edges, *questions_of(rng, 30, FROM_NS, FROM_NS + DAYS * DAY_NS)]
    times_s, wrong = await ask_all(windows, questions, FROM_NS, STEP_NS)
    assert wrong == []
    assert len(times_s) == len(questions)
    assert sum(1 for _ in rows_of(edges[0], FROM_NS, STEP_NS)) == 40 * RATE / len(SYMBOLS)
    # The control: by rows that lie a round of symbols later, nothing agrees.
    _, wrong = await ask_all(windows, questions, FROM_NS + len(SYMBOLS) * STEP_NS, STEP_NS)
    assert len(wrong) == len(questions)
    assert "Interval forward scan" in await plan_of(sql, FROM_NS)
