"""Where writers wait: for checkpoints, which end by themselves, and for a disk with room."""

from __future__ import annotations

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pumpwatch.store.writer_gate import FLIGHT_S_MAX, HOLD_S_MAX, WriterGate


async def pass_through(gate: WriterGate, took_s: list[float], work_s: float = 0.0) -> None:
    begun_s = trio.current_time()
    async with gate.turn():
        took_s.append(trio.current_time() - begun_s)
        await trio.sleep(work_s)


async def test_nothing_is_sent_while_it_is_held(autojump_clock: MockClock) -> None:
    gate, took_s = WriterGate(lambda: "3:77"), list[float]()
    async with trio.open_nursery() as nursery:
        async with gate.hold() as position:
            assert position == "3:77"
            nursery.start_soon(pass_through, gate, took_s)
            await trio.sleep(1.5)
            assert took_s == []
        await wait_all_tasks_blocked()
        assert took_s == [1.5]


async def test_a_hold_waits_for_what_is_under_way(autojump_clock: MockClock) -> None:
    gate, took_s = WriterGate(lambda: "1:1"), list[float]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pass_through, gate, took_s, FLIGHT_S_MAX / 2)
        await wait_all_tasks_blocked()
        begun_s = trio.current_time()
        async with gate.hold() as position:
            assert position == "1:1"
            assert trio.current_time() - begun_s == FLIGHT_S_MAX / 2


async def test_what_does_not_end_in_time_is_not_held(autojump_clock: MockClock) -> None:
    gate, took_s = WriterGate(lambda: "1:1"), list[float]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pass_through, gate, took_s, 10 * FLIGHT_S_MAX)
        await wait_all_tasks_blocked()
        async with gate.hold() as position:
            assert position is None
            await pass_through(gate, took_s)
    assert took_s == [0.0, 0.0]


async def test_nobody_waits_longer_than_the_limit(autojump_clock: MockClock) -> None:
    gate, took_s = WriterGate(lambda: "1:1"), list[float]()
    async with trio.open_nursery() as nursery, gate.hold():
        nursery.start_soon(pass_through, gate, took_s)
        await trio.sleep(10 * HOLD_S_MAX)
        assert took_s == [HOLD_S_MAX]


async def test_a_full_disk_keeps_them_away_until_there_is_room(autojump_clock: MockClock) -> None:
    gate, took_s = WriterGate(), list[float]()
    gate.stop(stopped=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pass_through, gate, took_s)
        await trio.sleep(3600)
        async with gate.hold() as position:  # a checkpoint may be taken all the same
            assert position == "0:0"
        await trio.sleep(400)
        assert took_s == []
        gate.stop(stopped=False)
    assert took_s == [4000.0]


async def test_a_cancelled_writer_leaves_nothing_behind(autojump_clock: MockClock) -> None:
    gate, took_s = WriterGate(lambda: "1:1"), list[float]()
    with trio.move_on_after(0.1):
        await pass_through(gate, took_s, 60)
    async with gate.hold() as position:
        assert position == "1:1"
    await pass_through(gate, took_s)
    assert took_s == [0.0, 0.0]
