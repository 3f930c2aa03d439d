"""Another address where one is silent: not in a quiet market, not for one symbol, not too soon."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from msgspec import structs

from pumpwatch.capture.route import SILENT_NS, Route
from pumpwatch.sim.faults import Fault
from pumpwatch.sim.settings import SimSettings
from tests.capture.virtual import HOST, PORT, VirtualDesk, run_in_virtual_time

NS = 10**9
NOW_NS = 1_790_000_000 * NS


def silent(count: int = 2) -> Route:
    """An address of which nothing came, looked at for the first time."""
    route = Route(count)
    route.look(NOW_NS, 0, 400)
    return route


def test_three_symbols_that_trade_and_a_minute_of_nothing() -> None:
    route = silent()
    for name in ("A", "B", "B"):
        route.note_mute(name)
    later_ns = NOW_NS + SILENT_NS + 1
    assert not route.look(later_ns, 0, 400)  # two symbols may have a cause of their own
    route.note_mute("C")
    assert not route.look(NOW_NS + SILENT_NS, 0, 400)  # it is too young
    assert route.look(later_ns, 0, 400)
    assert route.number == 1
    for name in ("A", "B", "C"):
        route.note_mute(name)
    assert not route.look(later_ns + SILENT_NS, 0, 400)  # so is the other one
    assert route.look(later_ns + SILENT_NS + 1, 0, 400)
    assert route.number == 0  # in turn


def test_a_feed_of_one_symbol_needs_one() -> None:
    route = silent()
    route.note_mute("A")
    assert route.look(NOW_NS + SILENT_NS + 1, 0, 1)


def test_what_comes_of_any_symbol_clears_it() -> None:
    route = silent()
    for name in ("A", "B", "C"):
        route.note_mute(name)
    now_ns = NOW_NS + SILENT_NS + 1
    assert not route.look(now_ns, now_ns - NS, 400)
    assert not route.is_doubted
    assert not route.look(now_ns + SILENT_NS + 1, 0, 400)  # nobody found another mute one
    route.note_mute("D")
    assert not route.look(now_ns + 2 * SILENT_NS, 0, 400)


def test_where_there_is_no_other_address_nothing_changes() -> None:
    route = silent(1)
    for name in ("A", "B", "C"):
        route.note_mute(name)
    assert not route.is_doubted
    assert not route.look(NOW_NS + 10 * SILENT_NS, 0, 400)


@pytest.mark.parametrize("has_other", [True, False])
def test_trades_come_again_over_the_other_address(
    has_other: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Binance futures as of April 2026: from one day on a route takes all and sends nothing."""
    settings = SimSettings(
        seed=7, symbols=6, rate_per_s=30.0, recorded=False, goes_on=True, tick_s=0.4,
        feeds=("binance_futures",),
    )  # fmt: skip
    seen: list[tuple[str, int]] = []

    async def main() -> None:
        desk = VirtualDesk(monkeypatch, tmp_path, settings)
        feed = desk.config.feeds["binance_futures"]
        base = f"ws://{HOST}:{PORT}/binance_futures"
        others = (f"{base}/market/ws", f"{base}/private/ws") if has_other else ()
        desk.config = structs.replace(desk.config, feeds={
            "binance_futures": structs.replace(feed, other_websocket_urls=others)
        })  # fmt: skip

        async def script(desk: VirtualDesk) -> None:
            (state,) = desk.feeds

            def streamed() -> int:
                heard_ns = map(state.heard_ns, state.coverage.wanted)
                return sum(one > desk.clock.wall_ns() - 30 * NS for one in heard_ns)

            assert await desk.until(lambda: streamed() >= 5, 60)
            venue = desk.exchange.venues["binance_futures"]
            monkeypatch.setattr(venue, "sends_trades", lambda route: route == "private")
            cut = Fault(feed="binance_futures", kind="cut", at_s=0.0)
            desk.exchange.faults.give([cut], trio.current_time())
            await trio.sleep(60)
            for _ in range(6):
                await trio.sleep(60)
                seen.append((state.route, streamed()))
                if streamed() >= 5:
                    break

        await desk.run(script)

    run_in_virtual_time(monkeypatch, main)
    if has_other:
        assert seen[-1] == (f"ws://{HOST}:{PORT}/binance_futures/private/ws", 6), seen
    else:
        assert set(seen) == {("", 0)}, seen
