"""A soak's plan and its judges: what must be in it, and what must not go unseen."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.config import FEED_NAMES, Config, QuestdbConfig
from pumpwatch.drills.months import database_before
from pumpwatch.drills.soak import Outage, covered_share
from pumpwatch.drills.soak_plan import plan_soak
from pumpwatch.drills.stage import SERVER_HEAP_MIB
from pumpwatch.drills.trace import (
    MemoryTrace,
    Point,
    growth_of,
    heap_mib_of,
    judge_growth,
    line_through,
)
from pumpwatch.model import Gap
from pumpwatch.store.server_process import PidFile

S = 10**9
SYMBOLS = {"okx_spot": 10, "gate_spot": 10}
BEYOND_HEAP_MIB = 16.0  # of a server that has just started: stacks, compiled code, the allocator


def gap(symbol: str, from_s: float, to_s: float, state: str = "lost") -> Gap:
    return Gap(
        gap_id="g", exchange="okx", market_type="spot", symbol=symbol, opened_ns=1, cause="cut",
        from_ns=int(from_s * S), to_ns=int(to_s * S), state=state,
    )  # fmt: skip


@given(st.integers(0, 2**32), st.sampled_from([3, 20, 45, 120, 1440]))
def test_a_plan_holds_what_the_issue_names(seed: int, minutes: int) -> None:
    seconds = minutes * 60.0
    plan = plan_soak(random.Random(seed), seconds, FEED_NAMES)
    assert [step.at_s for step in plan] == sorted(step.at_s for step in plan)
    assert all(0 < step.at_s < seconds for step in plan)
    kinds = Counter(step.kind for step in plan)
    assert kinds["pump"] == kinds["calm"] == max(1, round(minutes / 20))
    assert kinds["kill"] == kinds["database"] == (2 if minutes >= 10 else 1)
    assert all(step.at_s < seconds * 0.56 for step in plan if step.kind != "cut")
    cuts = Counter(step.feed for step in plan if step.kind == "cut")
    assert set(cuts) == set(FEED_NAMES)
    assert set(cuts.values()) == {max(1, minutes // 10)}
    if minutes == 120:
        starts = [step.at_s for step in plan if step.kind == "pump"]
        ends = [step.at_s for step in plan if step.kind == "calm"]
        assert sum(ends) - sum(starts) == pytest.approx(360)  # six pump minutes


def test_covered_seconds_count_each_symbol_by_its_share() -> None:
    span = (0, 100 * S)
    assert covered_share([], SYMBOLS, span) == 1
    # One of ten symbols of one of two feeds, for half of the time.
    assert covered_share([gap("A", 0, 50)], SYMBOLS, span) == pytest.approx(1 - 0.5 / 10 / 2)
    twice = [gap("A", 0, 30), gap("A", 20, 50)]
    assert covered_share(twice, SYMBOLS, span) == pytest.approx(1 - 0.5 / 10 / 2)
    assert covered_share([gap("*", 0, 50)], SYMBOLS, span) == pytest.approx(0.75)
    for state in ("filled", "empty"):
        assert covered_share([gap("A", 0, 50, state)], SYMBOLS, span) == 1
    open_end = gap("A", 90, 0, "suspected")
    assert covered_share([open_end], SYMBOLS, span) == pytest.approx(1 - 0.1 / 10 / 2)
    outage = [Outage(10 * S, 20 * S)]
    inside = covered_share([gap("*", 10, 20)], SYMBOLS, span, outage)
    assert inside == 1
    assert covered_share([gap("*", 10, 29)], SYMBOLS, span, outage) == pytest.approx(0.95)


def points(own: list[float], descriptors: list[int], pids: list[int] | None = None) -> list[Point]:
    return [
        Point(at_s=10.0 * n, process="daemon", pid=pids[n] if pids else 1, rss_mib=mib, own_mib=mib,
              descriptors=files)
        for n, (mib, files) in enumerate(zip(own, descriptors, strict=True))
    ]  # fmt: skip


def broken(held: list[Point]) -> list[str]:
    growth = growth_of(held, "daemon")
    assert growth is not None
    return judge_growth(growth)


def test_a_leak_is_told_and_a_level_is_not() -> None:
    level = [100.0 + n % 3 for n in range(100)]
    assert broken(points(level, [50] * 100)) == []
    leak = [100.0 + n * 0.5 for n in range(100)]
    assert "memory grew" in broken(points(leak, [50] * 100))[0]
    (told,) = broken(points(level, [50 + n // 2 for n in range(100)]))
    assert "descriptors" in told
    # What the first half took, and the second keeps, is no leak.
    assert broken(points([min(200.0, 100.0 + n * 3) for n in range(100)], [50] * 100)) == []
    # An hour and more is judged by the hour: what is allowed in minutes is a leak there.
    slow = [100.0 + n * 0.006 for n in range(800)]
    assert "an hour" in broken(points(slow, [50] * 800))[0]


def test_only_the_last_process_counts() -> None:
    pids = [1] * 60 + [2] * 40
    mib = [300.0] * 60 + [100.0] * 40
    assert broken(points(mib, [90] * 60 + [50] * 40, pids)) == []
    assert growth_of(points([1.0, 2.0], [1, 1]), "daemon") is None
    assert growth_of([], "daemon") is None


def with_heap(held: list[Point], heap: list[float]) -> list[Point]:
    return [msgspec.structs.replace(one, process="database", heap_mib=mib)
            for one, mib in zip(held, heap, strict=True)]  # fmt: skip


def test_a_heap_that_fills_is_no_leak_and_what_grows_beyond_it_is() -> None:
    own = [300.0 + n for n in range(100)]
    growth = growth_of(
        with_heap(points(own, [50] * 100), [200.0 + n for n in range(100)]), "database"
    )
    assert growth is not None
    assert (growth.growth_percent, judge_growth(growth)) == (0.0, [])
    growth = growth_of(with_heap(points(own, [50] * 100), [200.0] * 100), "database")
    assert growth is not None
    assert "database: own memory grew" in judge_growth(growth)[0]


@pytest.mark.questdb
async def test_the_heap_is_what_is_resident_of_it(tmp_path: Path) -> None:
    ports = QuestdbConfig(http_port=0, pg_port=0, health_port=0)
    config = Config(data_dir=tmp_path, questdb=ports)
    async with database_before(config):
        running = PidFile.read(tmp_path)
        assert running is not None
        trace = MemoryTrace(SimpleNamespace(process=None), lambda: running.pid)  # type: ignore[arg-type]
        await trio.to_thread.run_sync(trace.look, 0.0)
    (point,) = trace.points
    assert 32 < point.heap_mib <= SERVER_HEAP_MIB
    assert point.heap_mib < point.own_mib - BEYOND_HEAP_MIB < point.rss_mib
    with pytest.raises(OSError, match="No such"):
        await trio.to_thread.run_sync(heap_mib_of, running.pid)


async def test_both_processes_together_have_a_limit() -> None:
    trace = MemoryTrace(daemon=None)  # type: ignore[arg-type]
    trace.points = points([3000.0] * 4, [50] * 4)
    assert trace.too_large() == []
    other = [Point(at_s=one.at_s, process="database", pid=2, rss_mib=1200.0, own_mib=1200.0,
                   descriptors=9) for one in trace.points]  # fmt: skip
    trace.points += other
    assert trace.too_large() == ["4200 MiB together, 4096 most"]
    assert trace.figures()["rss_mib_max"] == 4200


@given(st.floats(-5, 5), st.floats(-100, 100))
def test_a_line_goes_through_its_points(rise: float, start: float) -> None:
    held = [(float(x), start + rise * x) for x in range(10)]
    first, last = line_through(held)
    assert first == pytest.approx(start, abs=1e-6)
    assert last == pytest.approx(start + rise * 9, abs=1e-6)
