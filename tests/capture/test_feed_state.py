"""The feed's own part: restarts, what could not be read, symbols of which nothing comes."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from pumpwatch._fast.intake import Intake
from pumpwatch.capture.feed_state import FIRST_TRADE_NS
from pumpwatch.capture.ledger import NOT_KEPT, PROOF_LAG_NS, Position
from pumpwatch.model import Gap
from pumpwatch.venues.spec import TradeIds
from tests._fast.driving import NOW_NS, SECOND_NS, as_bytes, binance_trade
from tests.capture.rig import Rig
from tests.capture.specs import feed_spec
from tests.strategies import TEXT, frame

SYMBOLS = ["BTCUSDT", "ETHUSDT", "NEWUSDT"]
POSITIONS: dict[str, Position] = {
    "BTCUSDT": (1, 100, NOW_NS - 90 * SECOND_NS, [(40, 42)]),
    "ETHUSDT": (7, 7, NOW_NS - 9000 * SECOND_NS, []),
}
MS = 10**6
ALIVE_NS = NOW_NS - 60 * SECOND_NS


def rig_of(ids: TradeIds = TradeIds.CONTIGUOUS) -> Rig:
    return Rig(feed_spec(ids=ids), SYMBOLS)


def bring(rig: Rig, intake: Intake, *trades: tuple[int, str]) -> None:
    rig.clock.wall_ns()  # virtual time begins now
    for number, symbol in trades:
        text = binance_trade(number, symbol=symbol, ns=NOW_NS)
        intake.feed(frame(TEXT, as_bytes(text)), rig.clock.wall_ns())
        rig.feed.take_news(intake.take_news())


def by_symbol(rig: Rig) -> dict[str, Gap]:
    return {gap.symbol: gap for gap in rig.side.ledger}


@pytest.mark.parametrize("ids", [TradeIds.CONTIGUOUS, TradeIds.OBSERVED, TradeIds.OPAQUE])
def test_a_restart_is_a_hole_of_every_symbol_that_had_a_row(ids: TradeIds) -> None:
    rig = rig_of(ids)
    rig.feed.resume(POSITIONS.get, ALIVE_NS)
    gaps = by_symbol(rig)
    assert set(gaps) == {"BTCUSDT", "ETHUSDT"}
    assert {(gap.cause, gap.state, gap.to_ns) for gap in gaps.values()} == {
        ("restart", "suspected", 0)
    }
    assert {gap.from_ns for gap in gaps.values()} == {ALIVE_NS - PROOF_LAG_NS}
    counts_up = ids is not TradeIds.OPAQUE
    assert gaps["BTCUSDT"].first_id == (101 if counts_up else 0)
    assert rig.feed.table.position(0)[3] == [(40, 42)]


def test_a_hole_holds_what_a_process_that_was_behind_had_not_read() -> None:
    """Killed, or cut, 7 s behind with reading: rows of that time lie unread in its socket."""
    rig = rig_of(TradeIds.OPAQUE)
    rig.feed.want(SYMBOLS)
    intake = Intake(rig.feed.road)
    connection = rig.feed.opened(intake)
    rig.feed.carried(connection, SYMBOLS)
    read_ns = rig.clock.wall_ns()
    unread_ns = read_ns - 7 * SECOND_NS
    text = binance_trade(1, symbol="ETHUSDT", ns=unread_ns - MS)
    intake.feed(frame(TEXT, as_bytes(text)), read_ns)
    intake.emptied(read_ns)
    rig.feed.look()
    assert rig.feed.alive_ns() < unread_ns
    rig.feed.ended(connection, "cut")
    assert {gap.from_ns < unread_ns for gap in rig.side.ledger} == {True}
    assert by_symbol(rig)["BTCUSDT"].from_ns >= unread_ns - MS - PROOF_LAG_NS

    later = rig_of(TradeIds.OPAQUE)
    later.feed.resume(POSITIONS.get, unread_ns - MS)
    assert {gap.from_ns < unread_ns for gap in later.side.ledger} == {True}


def test_the_first_ids_after_a_restart_say_what_was_missed() -> None:
    rig = rig_of()
    rig.feed.resume(POSITIONS.get, ALIVE_NS)
    intake = Intake(rig.feed.road)
    connection = rig.feed.opened(intake)
    rig.feed.carried(connection, SYMBOLS)
    assert all(gap.to_ns for gap in rig.side.ledger)
    bring(rig, intake, (105, "BTCUSDT"), (8, "ETHUSDT"))
    rig.feed.look()
    gaps = by_symbol(rig)
    btc, eth = gaps["BTCUSDT"], gaps["ETHUSDT"]
    assert (btc.cause, btc.state, btc.first_id, btc.last_id) == ("restart", "confirmed", 101, 104)
    assert (eth.state, eth.reason) == ("empty", "next_id")


def test_control_without_positions_the_outage_is_silent() -> None:
    rig = rig_of()
    intake = Intake(rig.feed.road)
    rig.feed.carried(rig.feed.opened(intake), SYMBOLS)
    bring(rig, intake, (105, "BTCUSDT"), (8, "ETHUSDT"))
    rig.feed.look()
    assert rig.side.ledger == []


def test_missing_ids_without_a_row_get_one_and_skipped_ids_are_forgotten() -> None:
    rig = rig_of()
    positions: dict[str, Position] = {"BTCUSDT": (1, 100, NOW_NS, [(10, 12), (40, 42)])}
    rig.feed.resume(positions.get, ALIVE_NS)
    skipped = Gap(
        gap_id="old", opened_ns=5, exchange="binance", market_type="spot", symbol="BTCUSDT",
        cause="id_jump", first_id=10, last_id=12, state="empty", reason="not_offered", to_ns=9,
    )  # fmt: skip
    rig.ledger.load([skipped])
    rig.feed.reconcile()
    assert rig.feed.table.position(0)[3] == [(40, 42)]
    (gap,) = [gap for gap in rig.side.ledger if gap.last_id]
    assert (gap.first_id, gap.last_id, gap.state) == (40, 42, "confirmed")


def test_a_cut_of_an_earlier_run_ends_where_this_run_is_subscribed() -> None:
    rig = rig_of(TradeIds.OPAQUE)
    rig.feed.carried(rig.feed.opened(Intake(rig.feed.road)), SYMBOLS)
    old = Gap(gap_id="old", opened_ns=5, exchange="binance", market_type="spot",
              symbol="BTCUSDT", cause="cut", from_ns=4)  # fmt: skip
    rig.ledger.load([old])
    rig.feed.reconcile()
    (gap,) = rig.side.ledger
    assert (gap.gap_id, gap.to_ns) == ("old", rig.feed.coverage.since_ns("BTCUSDT"))


def test_a_holes_row_goes_in_front_of_the_row_that_shows_it() -> None:
    """R3: else a kill between the two would leave a jump that nobody tells of."""
    rig = rig_of()
    intake = Intake(rig.feed.road)
    rig.feed.opened(intake)
    bring(rig, intake, (1, "BTCUSDT"))
    rig.feed.flush()
    order: list[str] = []
    rig.sink.append = lambda record: order.append("rows")  # type: ignore[method-assign]
    rig.feed.ledger._rows._emit = lambda rows: order.extend(row.state for row in rows)
    bring(rig, intake, (5, "BTCUSDT"))
    rig.feed.flush()
    assert order == ["confirmed", "rows"]


def test_a_closing_row_goes_behind_the_rows_that_it_speaks_of() -> None:
    rig = rig_of()
    intake = Intake(rig.feed.road)
    rig.feed.opened(intake)
    bring(rig, intake, (1, "BTCUSDT"), (5, "BTCUSDT"))
    order: list[str] = []
    rig.sink.append = lambda record: order.append("rows")  # type: ignore[method-assign]
    rig.side.gaps = lambda rows: order.extend(row.state for row in rows)  # type: ignore[method-assign]
    rig.feed.ledger._rows._emit = rig.side.gaps
    bring(rig, intake, *((number, "BTCUSDT") for number in (2, 3, 4)))
    rig.feed.look()
    assert order == ["rows", "filled"]


def test_what_could_not_be_read_may_have_held_anybody_s_trades() -> None:
    rig = rig_of()
    rig.feed.take_quarantine([("malformed", b"{", 0), ("time", b"{}", 1)])
    rig.feed.take_quarantine([("unknown_symbol", b"{}", 1)])
    (gap,) = rig.side.ledger
    assert (gap.symbol, gap.cause, gap.state) == ("*", "quarantine", "suspected")
    assert len(rig.side.quarantined) == 3
    rig.feed.take_quarantine([])
    assert len(rig.side.rows) == 1
    rig.side.has_room = False
    rig.feed.take_quarantine([("malformed", b"{", 0)])
    assert [gap.reason for gap in rig.side.ledger] == ["", NOT_KEPT]


def test_what_changed_about_a_message_is_told() -> None:
    rig = rig_of()
    text = b'{"e":"trade","s":"BTCUSDT","t":1,"p":1.5,"q":"1","T":1,"m":true}'
    rig.feed.take_quarantine([("malformed", text, 0), ("time", text, 1)])
    assert rig.side.details == ["p became a number", ""]
    assert rig.feed.shape.named(rig.clock.wall_ns()) == "p became a number"


async def test_symbols_of_which_nothing_comes_are_named(autojump_clock: MockClock) -> None:
    rig = rig_of()
    intake = Intake(rig.feed.road)
    rig.feed.carried(rig.feed.opened(intake), SYMBOLS[:2])
    bring(rig, intake, (1, "BTCUSDT"))
    assert rig.feed.unheard() == []
    await trio.sleep(FIRST_TRADE_NS / 1e9 + 1)
    assert rig.feed.unheard() == ["ETHUSDT"]  # NEWUSDT is not subscribed: that is shown elsewhere
    bring(rig, intake, (1, "ETHUSDT"))
    assert rig.feed.unheard() == []
