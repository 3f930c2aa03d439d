"""Work that can wait: no faster than its limit, and out of the road's way."""

from __future__ import annotations

import trio
import trio.testing

from pumpwatch.store.pace import GIVE_WAY_S_MAX, Pace


async def test_a_limit_is_kept_chunk_by_chunk(autojump_clock: trio.testing.MockClock) -> None:
    pace = Pace(bytes_per_s=1000.0)
    begun_s = trio.current_time()
    await pace.spend(500)
    assert trio.current_time() - begun_s <= 0.5
    for _ in range(9):
        await pace.spend(500)
    passed_s = trio.current_time() - begun_s
    assert 4.8 <= passed_s <= 5.0


async def test_what_was_not_used_is_not_made_up_for(autojump_clock: trio.testing.MockClock) -> None:
    pace = Pace(bytes_per_s=1000.0)
    await pace.spend(1)
    await trio.sleep(60)
    begun_s = trio.current_time()
    await pace.spend(2000)
    assert trio.current_time() - begun_s >= 1.8


async def test_no_limit_is_none(autojump_clock: trio.testing.MockClock) -> None:
    begun_s = trio.current_time()
    await Pace().spend(1 << 40)
    await Pace().worked(3.0)
    assert trio.current_time() == begun_s


async def test_the_server_is_left_in_peace_as_long_as_it_worked(
    autojump_clock: trio.testing.MockClock,
) -> None:
    begun_s = trio.current_time()
    await Pace(rest=1.5).worked(2.0)
    assert trio.current_time() - begun_s == 3.0


async def test_it_gives_way_while_the_road_is_behind_and_goes_on_all_the_same(
    autojump_clock: trio.testing.MockClock,
) -> None:
    behind_until_s = trio.current_time() + 0.25
    pace = Pace(is_behind=lambda: trio.current_time() < behind_until_s)
    await pace.spend(1)
    assert trio.current_time() >= behind_until_s
    begun_s = trio.current_time()
    await Pace(is_behind=lambda: True).worked(0.0)
    assert GIVE_WAY_S_MAX <= trio.current_time() - begun_s < GIVE_WAY_S_MAX + 0.2


async def test_a_thread_waits_as_well() -> None:
    asked: list[bool] = []
    pace = Pace(is_behind=lambda: bool(asked.append(True)))
    await trio.to_thread.run_sync(pace.spend_in_thread, 1)
    assert asked
