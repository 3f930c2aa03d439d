"""The writers: retries never end, a bad line costs only itself, a bad table costs only time."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from trio.testing import MockClock

from pumpwatch.errors import ServerError
from pumpwatch.model import Record
from pumpwatch.store.ilp_client import Outcome, Verdict
from pumpwatch.store.writer import (
    BAD_LINES_MAX,
    CHECK_AGAIN_S,
    IDLE_INTERVAL_S,
    RETRY_S_MAX,
    RETRY_S_MIN,
    SIDE_INTERVAL_S,
    SILENT_S,
)
from pumpwatch.store.writer_gate import WriterGate
from tests.store.fake_server import (
    POISON,
    FakeServer,
    Fault,
    failure,
    lost_answer,
    status,
)
from tests.store.records import (
    GAPS,
    QUARANTINE,
    TRADES,
    flip,
    held,
    lines_of,
    record,
    records_in,
    segment_names,
    split,
    write,
)
from tests.store.road import INTERVAL_S, balance_of, running

pytestmark = pytest.mark.usefixtures("inline_threads")


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


def gaps_between(server: FakeServer) -> list[float]:
    return [later - earlier for (earlier, _), (later, _) in pairwise(server.requests)]


def bad(serial: int, feed: int = 1) -> bytes:
    return lines_of(TRADES, [serial], feed, POISON)[0]


# --- the gate -------------------------------------------------------------------------------------


async def test_a_full_disk_keeps_every_row_in_the_spool_until_there_is_room(
    tmp_path: Path, server: FakeServer, autojump_clock: MockClock
) -> None:
    gate = WriterGate()
    async with running(tmp_path, server.client(), server, gate=gate) as road:
        gate.stop(stopped=True)
        road.append(*range(100))
        await trio.sleep(3600)
        assert server.requests == []
        gate.stop(stopped=False)
        await road.until_applied()
    assert b"".join(body for _, body in server.requests) == b"".join(lines_of(TRADES, range(100)))


async def test_nothing_is_sent_while_a_checkpoint_is_taken(
    tmp_path: Path, server: FakeServer, autojump_clock: MockClock
) -> None:
    gate = WriterGate()
    async with running(tmp_path, server.client(), server, gate=gate) as road:
        async with gate.hold() as position:
            assert position
            road.append(*range(100))
            await trio.sleep(1.9)
            assert server.requests == []
        await road.until_applied()
    assert balance_of(road) == (100, 100, 0)


# --- sending --------------------------------------------------------------------------------------


async def test_all_that_piled_up_goes_in_one_request_and_in_order(
    tmp_path: Path, server: FakeServer, autojump_clock: MockClock
) -> None:
    async with running(tmp_path, server.client(), server) as road:
        for first in range(0, 500, 50):
            road.append(*range(first, first + 50))
            await trio.sleep(0.1)
        await road.until_applied()
    assert b"".join(body for _, body in server.requests) == b"".join(lines_of(TRADES, range(500)))
    assert 2 <= len(server.requests) <= 4
    assert balance_of(road) == (500, 500, 0)
    assert road.differences() == []


async def test_requests_keep_to_the_rows_limit(
    tmp_path: Path, server: FakeServer, autojump_clock: MockClock
) -> None:
    async with running(tmp_path, server.client(), server, rows_max=7) as road:
        road.append(*range(30))
        await road.until_applied()
    assert server.requests[-1][0] < 0.5  # a full request is followed at once
    assert max(len(split(body)) for _, body in server.requests) == 7
    assert server.stored("trades") == sorted(lines_of(TRADES, range(30)))


async def test_nothing_is_sent_before_it_is_known_which_table_takes_it(
    tmp_path: Path, server: FakeServer, autojump_clock: MockClock
) -> None:
    """Dropped and made anew between the first 204 and the first look, nobody would notice."""
    async with running(tmp_path, server.client(), server, is_watched=False) as road:
        road.append(1)
        await trio.sleep(10)
        assert server.requests == []
        await road.watch.look()
        await trio.sleep(1)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(status(500, "errno=28"), id="500"),
        pytest.param(status(503), id="503"),
        pytest.param(failure(httpx.ConnectError), id="no connection"),
        pytest.param(failure(httpx.ReadTimeout), id="no answer"),
        pytest.param(lost_answer, id="answer lost"),
    ],
)
async def test_the_same_bytes_are_sent_again_until_they_are_accepted(
    tmp_path: Path, server: FakeServer, fault: Fault, autojump_clock: MockClock
) -> None:
    server.faults.extend([fault] * 50)
    async with running(tmp_path, server.client(), server) as road:
        road.append(1, 2, 3)
        await road.until(lambda: len(server.requests) > 10)
        assert road.writers["trades"].state == "retrying"
        assert road.trades.accepted_by_feed == {}
        road.append(4)  # comes later, and not in front
        await road.until_applied(within_s=1000)
        assert road.writers["trades"].state == "idle"
    bodies = [body for _, body in server.requests]
    assert bodies[:51] == [b"".join(lines_of(TRADES, [1, 2, 3]))] * 51
    assert bodies[51:] == lines_of(TRADES, [4])
    assert server.stored("trades") == lines_of(TRADES, [1, 2, 3, 4])
    assert road.differences() == []
    waits = gaps_between(server)[:50]
    assert RETRY_S_MIN / 2 <= waits[0] <= RETRY_S_MIN
    assert max(waits) <= RETRY_S_MAX
    assert len(set(waits)) > 40  # jitter


async def test_a_batch_of_nothing_but_damage_is_passed(
    tmp_path: Path, server: FakeServer, autojump_clock: MockClock
) -> None:
    async with running(tmp_path, server.client(), server) as road:
        write(road.spool, record([1]))
        path = road.spool.files.active.path
        flip(path, records_in(path)[0].payload_offset)
        await trio.sleep(1)
        assert server.requests == []
        road.append(2)
        await road.until_applied()
        assert server.stored("trades") == lines_of(TRADES, [2])
        assert road.differences() == []


# --- pace -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows_per_s", "pace_s"),
    [(2_000, IDLE_INTERVAL_S), (15_000, IDLE_INTERVAL_S), (30_000, INTERVAL_S)],
)
async def test_below_20_000_rows_a_second_requests_are_made_less_often(
    tmp_path: Path, server: FakeServer, autojump_clock: MockClock, rows_per_s: int, pace_s: float
) -> None:
    """R23. Whichever pace a writer comes from."""
    async with running(tmp_path, server.client(), server) as road:
        for first in range(0, 4 * rows_per_s, rows_per_s // 20):
            road.spool.append(record(range(first, first + rows_per_s // 20)))
            await trio.sleep(0.05)
    paces = gaps_between(server)[2:]
    assert paces == pytest.approx([pace_s] * len(paces), abs=0.051)
    assert len(paces) >= 4


@pytest.mark.parametrize(
    ("name", "pace_s"),
    [
        ("exchange_health", SIDE_INTERVAL_S),
        ("feed_gaps", INTERVAL_S),
        ("listing_events", INTERVAL_S),
    ],
)
async def test_small_tables_commit_rarely_but_ledger_and_events_at_once(
    tmp_path: Path, server: FakeServer, autojump_clock: MockClock, name: str, pace_s: float
) -> None:
    """R23."""
    async with running(tmp_path, server.client(), server, names=[name]) as road:
        for serial in range(200):
            road.append(serial, table=road.tables[name].number)
            await trio.sleep(0.1)
    assert server.requests[0][0] < 0.3  # the first row does not wait at all
    paces = gaps_between(server)
    assert paces == pytest.approx([pace_s] * len(paces), abs=0.11)


async def test_when_draining_nobody_waits_for_more(
    tmp_path: Path, server: FakeServer, autojump_clock: MockClock
) -> None:
    async with running(tmp_path, server.client(), server, names=["operations"]) as road:
        road.append(1, table=7)
        await road.until(lambda: len(server.requests) == 1)
        road.append(2, table=7)
        await trio.sleep(1)
        assert len(server.requests) == 1
        road.spool.begin_drain()
        await trio.sleep(0.01)
        assert len(server.requests) == 2


# --- bad lines ------------------------------------------------------------------------------------


@pytest.mark.parametrize("names_lines", [True, False], ids=["line named", "halving"])
async def test_a_refused_line_goes_to_quarantine_and_the_rest_is_stored(
    tmp_path: Path, server: FakeServer, names_lines: bool, autojump_clock: MockClock
) -> None:
    server.names_lines = names_lines
    async with running(tmp_path, server.client(), server) as road:
        for record_of in (
            record(range(20)),
            record([20], text=POISON, feed=2),
            record(range(21, 40)),
            record([40], text=POISON, feed=3),
        ):
            road.spool.append(record_of)
        await road.until_applied()
    words = "cast error from protocol type: STRING to column type: LONG"
    assert [(feed, line) for feed, line, _ in road.refused] == [(2, bad(20, 2)), (3, bad(40, 3))]
    assert all(words in message for _, _, message in road.refused)
    assert server.stored("trades") == sorted(lines_of(TRADES, [*range(20), *range(21, 40)]))
    assert road.differences() == []
    assert [balance_of(road, feed) for feed in (1, 2, 3)] == [(39, 39, 0), (0, 0, 1), (0, 0, 1)]
    assert server.requests[-1][1] == b"".join(
        lines_of(TRADES, [*range(20), *range(21, 40)])
    )  # order kept


class Judge:
    """A sender that refuses lines with the poison, and names a line as it is told."""

    def __init__(self, name_line: Callable[[int], int]) -> None:
        self.rows: Counter[bytes] = Counter()
        self.requests = 0
        self._name_line = name_line

    async def send(self, body: bytes) -> Verdict:
        await trio.lowlevel.checkpoint()
        self.requests += 1
        lines = split(body)
        for number, line in enumerate(lines, start=1):
            if POISON.encode() in line:
                return Verdict(Outcome.BAD_LINE, f"words for {number}", self._name_line(number))
        self.rows.update(lines)
        return Verdict(Outcome.ACCEPTED)

    def renew(self) -> None:
        raise AssertionError("the table stays the same")


@settings(deadline=None)
@given(
    st.lists(st.lists(st.booleans(), min_size=1, max_size=6), min_size=1, max_size=10).filter(
        lambda payloads: sum(map(sum, payloads)) <= BAD_LINES_MAX
    ),
    st.sampled_from(["right", "none", "wrong", "beyond"]),
)
@pytest.mark.usefixtures("inline_threads")
def test_exactly_the_bad_lines_are_refused_whatever_the_server_names(
    payloads: list[list[bool]], names: str
) -> None:
    name_line = {
        "right": lambda number: number, "none": lambda _: 0,
        "wrong": lambda number: number + 1, "beyond": lambda _: 10**6,
    }[names]  # fmt: skip
    judge = Judge(name_line)
    refused: list[bytes] = []

    lines = [
        [lines_of(TRADES, [number * 10 + place], text=POISON * mark)[0]
         for place, mark in enumerate(marks)]
        for number, marks in enumerate(payloads)
    ]  # fmt: skip

    async def main() -> None:
        with TemporaryDirectory() as folder:
            async with running(Path(folder), judge, FakeServer(), is_watched=False) as road:
                await road.watch.look()
                for some in lines:
                    road.spool.append(
                        Record(table=TRADES, feed=1, rows=len(some), payload=b"".join(some))
                    )
                await road.spool.written()
                end = road.spool.files.table_ends()[TRADES]
                await road.until(lambda: road.trades.accepted == end)
                refused.extend(line for _, line, _ in road.refused)

    trio.run(main, clock=MockClock(autojump_threshold=0))
    every = [line for some in lines for line in some]
    assert sorted(refused) == sorted(line for line in every if POISON.encode() in line)
    assert set(judge.rows) == {line for line in every if POISON.encode() not in line}


async def test_finding_a_line_by_halving_takes_few_requests(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    judge = Judge(lambda _: 0)
    server = FakeServer()
    async with running(tmp_path, judge, server, is_watched=False) as road:
        await road.watch.look()
        road.spool.append(record(range(700)))
        road.append(700, text=POISON)
        road.spool.append(record(range(701, 1000)))
        await road.until(lambda: bool(road.refused))
    assert judge.requests <= 3 + 10  # the whole, its halves, the line alone, the rest


async def test_no_line_is_given_up_that_is_not_refused_alone(
    tmp_path: Path, server: FakeServer, autojump_clock: MockClock
) -> None:
    """A server that changes its mind in the middle: all is tried again."""
    words = '{"code":"invalid","message":"error in line 2: Could not parse timestamp: 1","line":0}'
    server.faults.append(status(400, words))
    async with running(tmp_path, server.client(), server) as road:
        road.append(1, 2, 3)
        await road.until_applied()
    assert road.refused == []
    assert server.stored("trades") == lines_of(TRADES, [1, 2, 3])


async def test_rows_are_passed_only_when_their_quarantine_lies_on_the_disk(
    tmp_path: Path, server: FakeServer, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keep(road):  # type: ignore[no-untyped-def]
        def take(feed: int, line: bytes, message: str) -> None:
            # From now on the disk refuses.
            monkeypatch.setattr(road.spool.files, "write", refuse)
            road.spool.append(record([1], QUARANTINE))

        return take

    def refuse(records: object) -> None:
        raise OSError(28, "No space left on device")

    async with running(tmp_path, server.client(), server, quarantine=keep) as road:
        road.append(1, text=POISON)
        road.append(2)
        await trio.sleep(30)
        assert server.stored("trades") == lines_of(TRADES, [2])
        assert road.trades.accepted_by_feed == {}
        monkeypatch.undo()
        await road.until(lambda: balance_of(road) == (1, 1, 1))
        assert held(road.spool, QUARANTINE) == lines_of(QUARANTINE, [1], 0)


async def test_a_refused_line_does_not_block_a_full_spool(
    tmp_path: Path, server: FakeServer, autojump_clock: MockClock
) -> None:
    """Rows that wait for room on the disk must not be waited for, or there would never be any."""

    def keep(road):  # type: ignore[no-untyped-def]
        return lambda *_: road.spool.append(record([1], QUARANTINE))

    async with running(
        tmp_path, server.client(), server, quarantine=keep, disk_bytes_max=1000,
        names=["trades", "quarantine"], is_watched=False,
    ) as road:  # fmt: skip
        road.append(1, text=POISON)
        for serial in range(10, 60, 10):
            road.spool.append(record(range(serial, serial + 10)))
        await road.until(lambda: road.spool.state == "full")
        with trio.fail_after(60):
            while not road.spool.is_drained(road.watch.applied):
                await road.watch.look()
                await trio.sleep(0.1)
    assert len(server.stored("trades")) == 50
    assert server.stored("quarantine") == lines_of(QUARANTINE, [1], 0)


# --- faults of the table (R8) ---------------------------------------------------------------------


async def test_a_missing_table_stops_its_writer_only_and_no_row_is_blamed(
    tmp_path: Path, server: FakeServer, autojump_clock: MockClock
) -> None:
    async with running(
        tmp_path, server.client(), server, names=["trades", "feed_gaps"], is_watched=False
    ) as road:
        await road.watch.look()
        del server.tables["trades"]
        road.append(1, 2)
        road.append(1, table=GAPS)
        await trio.sleep(1000)
        assert road.writers["trades"].state == "faulty"
        assert "table does not exist" in road.writers["trades"].last_error
        assert road.refused == []
        assert road.trades.accepted_by_feed == {}
        assert len(held(road.spool)) == 2
        assert server.stored("feed_gaps") == lines_of(GAPS, [1], 0)
        assert len(server.requests) > 200  # it never gives up
        assert max(gaps_between(server)[20:]) <= RETRY_S_MAX
        server.create("trades")
        await road.watch.look()
        await road.until(lambda: server.stored("trades") == lines_of(TRADES, [1, 2]))
        await road.until(lambda: road.writers["trades"].state == "idle")


async def test_a_fault_of_the_table_says_how_it_differs_from_the_schema(
    tmp_path: Path, server: FakeServer, autojump_clock: MockClock
) -> None:
    answers: deque[list[str] | ServerError] = deque(
        [ServerError("no answer"), ["trades.price: is missing"]]
    )
    asked_s: list[float] = []

    async def check() -> list[str]:
        asked_s.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        found = answers.popleft() if answers else []
        if isinstance(found, ServerError):
            raise found
        return found

    with capture_logs() as logs:
        async with running(tmp_path, server.client(), server, check_schema=check) as road:
            writer = road.writers["trades"]
            server.faults.extend([status(403)] * 10_000)
            road.append(1)
            await road.until(lambda: writer.state == "faulty")
            assert "differ" not in writer.last_error
            await trio.sleep(1.5 * CHECK_AGAIN_S)
            assert writer.last_error.endswith("differ from the schema: trades.price: is missing")
            await trio.sleep(CHECK_AGAIN_S)
            assert "differ" not in writer.last_error  # somebody mended it
            server.faults.clear()
            await road.until_applied()
            server.faults.append(status(403))
            road.append(2)
            await road.until_applied()
    assert [line["differences"] for line in logs if line["event"] == "schema_differs"] == [
        ["trades.price: is missing"]
    ]
    waits_s = [after - before for before, after in pairwise(asked_s[:3])]
    assert all(CHECK_AGAIN_S <= wait_s <= CHECK_AGAIN_S + RETRY_S_MAX for wait_s in waits_s)
    assert len(asked_s) == 4  # at once with the next fault


async def test_a_fault_that_answers_no_question_goes_on_being_retried(
    tmp_path: Path, server: FakeServer, autojump_clock: MockClock
) -> None:
    async with running(tmp_path, server.client(), server, check_schema=trio.sleep_forever) as road:
        server.faults.extend([status(403)] * 3)
        road.append(1)
        await road.until_applied()
    assert server.stored("trades") == lines_of(TRADES, [1])


@pytest.mark.parametrize("code", [401, 403, 404, 413])
async def test_lost_rights_are_no_rows_fault(
    tmp_path: Path, server: FakeServer, code: int, autojump_clock: MockClock
) -> None:
    server.faults.extend([status(code)] * 5)
    async with running(tmp_path, server.client(), server) as road:
        road.append(1)
        await road.until(lambda: road.writers["trades"].state == "faulty")
        await road.until_applied()
    assert road.refused == []
    assert server.stored("trades") == lines_of(TRADES, [1])


async def test_many_refused_lines_in_a_request_are_the_tables_fault(
    tmp_path: Path, server: FakeServer, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, server.client(), server) as road:
        road.append(*range(BAD_LINES_MAX + 1), text=POISON)
        road.append(*range(100, 110))
        await road.until(lambda: road.writers["trades"].state == "faulty")
        await trio.sleep(600)
        assert road.refused == []
        assert road.trades.accepted_by_feed == {}
        assert "many lines refused" in road.writers["trades"].last_error
        monkeypatch.setattr("tests.store.fake_server.POISON", "nothing is poison now")
        await road.until_applied()
    assert len(server.stored("trades")) == BAD_LINES_MAX + 11
    assert road.refused == []


async def test_as_many_as_are_allowed_are_refused(
    tmp_path: Path, server: FakeServer, autojump_clock: MockClock
) -> None:
    async with running(tmp_path, server.client(), server) as road:
        road.append(*range(BAD_LINES_MAX), text=POISON)
        road.append(100)
        await road.until_applied()
    assert len(road.refused) == BAD_LINES_MAX
    assert server.stored("trades") == lines_of(TRADES, [100])


class SilentSender:
    """Answers as late as a server that hangs."""

    def __init__(self, server: FakeServer, silence_s: float) -> None:
        self._client = server.client()
        self._silence_s = silence_s

    async def send(self, body: bytes) -> Verdict:
        await trio.sleep(self._silence_s)
        return await self._client.send(body)

    def renew(self) -> None:
        self._client.renew()


async def test_a_request_without_an_answer_is_told_of_and_not_given_up(
    tmp_path: Path, server: FakeServer, autojump_clock: MockClock
) -> None:
    sender = SilentSender(server, silence_s=SILENT_S + 10)
    async with running(tmp_path, sender, server) as road:
        writer = road.writers["trades"]
        road.append(1)
        await road.until(lambda: writer.requests == 1)
        asked_s = trio.current_time()
        await road.until(lambda: writer.state == "waiting")
        assert trio.current_time() - asked_s <= 5  # the time an alert may take
        await road.until_applied()
        assert writer.state == "idle"
    assert len(server.requests) == 1
    assert server.stored("trades") == lines_of(TRADES, [1])


# --- another table --------------------------------------------------------------------------------


async def test_a_writer_that_retries_gives_the_batch_up_when_the_table_changes(
    tmp_path: Path, server: FakeServer, autojump_clock: MockClock
) -> None:
    """All rows go again in order: the batch must not overtake those before it."""
    async with running(tmp_path, server.client(), server, is_watched=False) as road:
        await road.watch.look()
        road.append(1)
        await road.until(lambda: len(server.requests) == 1)
        server.faults.extend([status(503)] * 3)
        road.append(2)
        await road.until(lambda: road.writers["trades"].state == "retrying")
        server.create("trades")
        server.faults.clear()
        await road.watch.look()
        await road.until(lambda: server.stored("trades") == lines_of(TRADES, [1, 2]))
    bodies = [body for _, body in server.requests]
    assert bodies[-1] == b"".join(lines_of(TRADES, [1, 2]))


async def test_a_writer_that_waits_for_rows_sends_the_old_ones_again(
    tmp_path: Path, server: FakeServer, autojump_clock: MockClock
) -> None:
    async with running(tmp_path, server.client(), server) as road:
        server.applies_at_once = False
        road.append(1, 2)
        await road.until(lambda: len(server.requests) == 1)
        await trio.sleep(5)
        server.create("trades")
        server.applies_at_once = True
        await road.until_applied()  # without a new row that would wake it
        assert server.stored("trades") == lines_of(TRADES, [1, 2])
        assert road.differences() == []
        assert segment_names(tmp_path) != []
