"""The watch against the simulated boards, over real sockets."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import trio

from pumpwatch.errors import ConfigError
from pumpwatch.listing.notices import NS
from pumpwatch.listing.requests import ListingRequest, put_request, waiting_requests
from pumpwatch.listing.seen import MemoryFile
from pumpwatch.listing.watch import MEMORY_FILE, ListingWatch
from tests.listing.living import KEYS, Told, World, living, some_looks, until

pytestmark = pytest.mark.slow

ANNOUNCEMENTS = "/api/v1/announcements"
MARKETS = "/v1/market/all"
NOTICES = "/v1/notices"
KRW_ONE = {"board": "upbit", "do": "publish", "title": "에이(A) KRW 마켓 디지털 자산 추가",
           "symbols": ["A"]}  # fmt: skip
TRAPS = [
    {"board": "upbit", "do": "publish", "title": "아이콘(ICX) 거래지원 종료 안내 (10/19 15:00)"},
    {"board": "upbit", "do": "publish", "title": "플록(FLOCK) 신규 거래지원 안내 (BTC, USDT 마켓)"},
    {"board": "upbit", "do": "publish", "title": "그래비티토큰(GRVT) 트레이딩 위크 이벤트!",
     "category": "이벤트"},
    {"board": "upbit", "do": "publish", "title": "테더 USDT, KRW 마켓 추가 안내"},
    {"board": "upbit", "do": "edit", "key": "old",
     "title": "딥북(DEEP) KRW 마켓 디지털 자산 추가 (거래지원 개시 시점 변경 안내)"},
    {"board": "bithumb", "do": "publish", "category": "이벤트",
     "title": "[이벤트] 총 3억원 상당, 젠신(AI) 원화마켓 추가 기념 이벤트"},
    {"board": "bithumb", "do": "publish", "category": "거래지원종료",
     "title": "달오픈네트워크(D), 훅트프로토콜(HOOK) 거래지원 종료"},
    {"board": "upbit", "do": "market", "coin": "FLOCK", "quote": "BTC"},
]  # fmt: skip


def compare(world: World, told: Told) -> None:
    """One event for every scripted coin, with the board's time, and none for anything else."""
    expected = sorted(
        (one["board"], symbol, one["first_published_ns"])
        for one in world.boards.stats()["notices"]
        for symbol in one["symbols"]
    )
    assert sorted((e.source, e.symbol, e.announced_ns) for e in told.events) == expected
    for event in told.events:
        assert event.last_absent_ns < event.detected_ns
        assert event.trigger_delay_ms >= 0


async def test_new_notices_and_every_trap(tmp_path: Path) -> None:
    async with living(tmp_path) as world, world.watch() as (watch, told):
        world.play(
            *TRAPS,
            KRW_ONE | {"title": "에이(A), 비(B)(리플)(XB) 신규 거래지원 안내 (KRW, BTC 마켓)",
                       "symbols": ["A", "XB"], "opening_s": 3600, "key": "two"},
            KRW_ONE | {"title": "KRW, BTC 마켓 디지털 자산 추가 (ALT)", "symbols": ["ALT"],
                       "late_s": 13},
            KRW_ONE | {"title": "씨(C)(KRW 마켓), 디(D)(BTC 마켓) 신규 거래지원 안내",
                       "symbols": ["C"], "late_s": 16 * 60},
            {"board": "bithumb", "do": "publish", "title": "에이(A), 이(E) 원화 마켓 추가",
             "symbols": ["A", "E"], "late_s": 7200},
            {"board": "upbit", "do": "edit", "key": "two", "at_s": 1.5, "opening_s": 7200,
             "title": "에이(A), 비(B)(리플)(XB) 신규 거래지원 안내 (KRW, BTC 마켓) (변경 안내)"},
        )  # fmt: skip
        await until(lambda: len(told.events) >= 6 and len(told.revisions) >= 4)
        await some_looks(watch)
        compare(world, told)
        assert told.kinds("ambiguous_title") == [
            ("ambiguous_title", one["id"])
            for one in world.boards.stats()["notices"]
            if one["title"].startswith("테더")
        ]
        announced = {event.symbol: event.announced_ns for event in told.events}
        assert [(one.symbol, one.opening_ns - announced["XB"], one.revision)
                for one in told.revisions] == [
            ("A", 3600 * NS - announced["XB"] % (60 * NS), 2),
            ("XB", 3600 * NS - announced["XB"] % (60 * NS), 2),
            ("A", 7200 * NS - announced["XB"] % (60 * NS), 3),
            ("XB", 7200 * NS - announced["XB"] % (60 * NS), 3),
        ]  # fmt: skip
        assert {w.name: w.state for w in watch.witnesses.values()} == dict.fromkeys(
            ["upbit_web", "upbit_markets", "bithumb_web", "bithumb_markets"], "seeing"
        )
        assert world.asked("upbit", ANNOUNCEMENTS, 304) >= 2
        delays = {line["detector"]: line["delays"] for line in watch.status()}
        assert (delays["upbit_web"], delays["bithumb_web"]) == (3, 1)  # notices, not coins


async def test_detection_adds_little_to_the_answer(tmp_path: Path) -> None:
    """The ring of trades reaches back; still, what is ours to waste is 100 ms (DESIGN 7)."""
    async with living(tmp_path) as world, world.watch() as (_, told):
        world.play(KRW_ONE)
        await until(lambda: told.events)
        event = told.events[0]
        assert event.detected_ns - event.last_absent_ns < (0.5 + 0.6) * NS  # interval, and slack


# --- refusals -------------------------------------------------------------------------------------


async def test_retry_after_is_waited_out(tmp_path: Path) -> None:
    async with living(tmp_path) as world, world.watch() as (watch, told):
        web = watch.witnesses["upbit_web"]
        world.play({"board": "upbit", "do": "refuse", "status": 429, "count": 1,
                    "retry_after_s": 2, "path": ANNOUNCEMENTS}, KRW_ONE)  # fmt: skip
        await until(lambda: web.is_blind)
        at_s, asked = trio.current_time(), sum(world.boards.requests["upbit"].values())
        assert "429" in web.reason
        assert watch.is_blind("upbit")
        assert not watch.is_blind("bithumb")
        await until(lambda: not web.is_blind)
        assert trio.current_time() - at_s >= 1.9
        others = world.asked("upbit", MARKETS) * 2
        assert sum(world.boards.requests["upbit"].values()) - asked <= 2 + others
        await until(lambda: told.events)
        compare(world, told)
        assert told.kinds("blind", "sees_again") == [
            ("blind", "upbit_web"), ("sees_again", "upbit_web"),
        ]  # fmt: skip


async def test_a_429_without_retry_after_backs_off(tmp_path: Path) -> None:
    async with living(tmp_path) as world, world.watch() as (watch, _):
        web = watch.witnesses["upbit_web"]
        world.play({"board": "upbit", "do": "refuse", "status": 429, "count": 2,
                    "path": ANNOUNCEMENTS})  # fmt: skip
        await until(lambda: web.is_blind)
        at_s = trio.current_time()
        await until(lambda: not web.is_blind)
        assert world.asked("upbit", ANNOUNCEMENTS, 429) == 2
        assert trio.current_time() - at_s >= 0.6 + 1.2 - 0.1  # doubling


async def test_a_403_leaves_the_market_list(tmp_path: Path) -> None:
    async with living(tmp_path) as world, world.watch() as (watch, told):
        web, markets = watch.witnesses["upbit_web"], watch.witnesses["upbit_markets"]
        world.play({"board": "upbit", "do": "refuse", "status": 403, "for_s": 60,
                    "path": ANNOUNCEMENTS}, KRW_ONE)  # fmt: skip
        await until(lambda: web.is_blind)
        alert = next(alert for alert in told.alerts if alert.kind == "blind")
        assert "403" in alert.text
        assert "watched through upbit_markets" in alert.text
        before, at_s = markets.looks, trio.current_time()
        world.play({"board": "upbit", "do": "market", "coin": "A"})
        await until(lambda: told.events)
        assert [event.key for event in told.events] == [("upbit_markets", "KRW-A", "A")]
        await until(lambda: markets.looks >= before + 4)
        assert trio.current_time() - at_s < 4 * 5 * 0.5  # five times as often as in peace
        assert world.asked("upbit", ANNOUNCEMENTS, 403) <= 4  # and no hammering


async def test_redirects_are_a_rate_limit_and_not_followed(tmp_path: Path) -> None:
    async with living(tmp_path) as world, world.watch() as (watch, told):
        web = watch.witnesses["bithumb_web"]
        world.play({"board": "bithumb", "do": "refuse", "status": 302, "count": 1, "path": NOTICES},
                   {"board": "bithumb", "do": "publish", "title": "에이(A) 원화 마켓 추가",
                    "symbols": ["A"]})  # fmt: skip
        await until(lambda: web.is_blind)
        assert "redirect" in web.reason
        await until(lambda: told.events)
        compare(world, told)
        assert world.asked("bithumb", NOTICES, 302) == 1


async def test_bithumbs_limit_of_one_request_a_second_is_kept(tmp_path: Path) -> None:
    async with living(tmp_path, limits=True) as world:
        told = Told()
        watch = make_watch(world, told, gap_s=1.0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.run)
            await until(lambda: watch.witnesses["bithumb_web"].looks >= 3)
            nursery.cancel_scope.cancel()
        assert world.asked("bithumb", NOTICES, 302) == 0
        assert told.kinds("blind") == []


def make_watch(world: World, told: Told, *, gap_s: float) -> ListingWatch:
    import random

    from pumpwatch.clock import SystemClock
    from tests.listing.living import FAST

    rules = msgspec.structs.replace(FAST, gap_s=gap_s)
    return ListingWatch(world.config, told, SystemClock(), random.Random(7), rules=rules)


async def test_a_fault_is_no_blindness_and_nonsense_is_no_list(tmp_path: Path) -> None:
    async with living(tmp_path) as world, world.watch() as (watch, told):
        web = watch.witnesses["upbit_web"]
        world.play({"board": "upbit", "do": "refuse", "status": 500, "count": 1,
                    "path": ANNOUNCEMENTS})  # fmt: skip
        await until(lambda: world.asked("upbit", ANNOUNCEMENTS, 500))
        await some_looks(watch)
        assert not told.alerts
        world.play({"board": "upbit", "do": "refuse", "status": 200, "count": 3,
                    "path": ANNOUNCEMENTS})  # fmt: skip
        await until(lambda: web.is_blind)  # the second in a row
        assert "no data.notices" in web.reason
        await until(lambda: not web.is_blind)
        assert told.kinds("blind", "sees_again") == [
            ("blind", "upbit_web"), ("sees_again", "upbit_web"),
        ]  # fmt: skip


# --- restarts -------------------------------------------------------------------------------------


async def test_what_happens_while_we_are_away_is_found(tmp_path: Path) -> None:
    """Also behind the first page: 25 notices in one absence."""
    async with living(tmp_path) as world:
        async with world.watch() as (_, told):
            assert told.events == []
        world.play(*[
            KRW_ONE | {"title": f"코인(C{n}) KRW 마켓 디지털 자산 추가", "symbols": [f"C{n}"]}
            for n in range(25)
        ])  # fmt: skip
        await until(lambda: not world.boards.stats()["waiting"])
        async with world.watch() as (watch, told):
            await until(lambda: len(told.events) >= 25)
            await some_looks(watch)
            compare(world, told)
        async with world.watch() as (watch, told):
            await some_looks(watch)
            assert told.events == []
            assert len(watch.book.all()) == 25


async def test_without_memory_the_first_look_only_seeds(tmp_path: Path) -> None:
    async with living(tmp_path) as world:
        world.play(KRW_ONE)
        await until(lambda: world.boards.stats()["notices"])
        async with world.watch() as (watch, told):
            await some_looks(watch)
        assert told.events == []


async def test_a_crash_between_row_and_file_makes_no_double(tmp_path: Path) -> None:
    async with living(tmp_path) as world:
        async with world.watch():
            pass
        before = (tmp_path / MEMORY_FILE).read_bytes()
        world.play(KRW_ONE)
        async with world.watch() as (_, told):
            await until(lambda: told.events)
        assert len(MemoryFile(tmp_path / MEMORY_FILE).load().events) == 1  # type: ignore[union-attr]
        (tmp_path / MEMORY_FILE).write_bytes(before)  # the file is older than the row
        async with world.watch(stored=told.events) as (watch, again):
            await some_looks(watch)
        assert again.events == []
        # The other way round, the row is written again.
        async with world.watch(stored=[]) as (watch, third):
            await until(lambda: third.revisions)
        assert third.revisions == told.events


async def test_an_event_is_on_disk_long_before_the_end(tmp_path: Path) -> None:
    async with living(tmp_path) as world, world.watch() as (_, told):
        file = MemoryFile(tmp_path / MEMORY_FILE)
        await until(lambda: file.load() is not None)  # what was seeded
        world.play(KRW_ONE)
        await until(lambda: told.events)
        at_s = trio.current_time()
        await until(lambda: file.load().events == told.events)  # type: ignore[union-attr]
        assert trio.current_time() - at_s < 2


async def test_a_request_waits_for_the_disk(tmp_path: Path) -> None:
    async with living(tmp_path) as world, world.watch() as (_, told):
        path = tmp_path / MEMORY_FILE
        await until(path.exists)
        path.unlink()
        path.mkdir()  # nothing can be saved in its place
        put_request(tmp_path, ListingRequest(symbol="SOMI", announced_ns=NS))
        await until(lambda: len(told.kinds("memory")) >= 2)
        assert waiting_requests(tmp_path)
        path.rmdir()
        await until(lambda: not waiting_requests(tmp_path))
        assert len(told.events) == 1
        assert MemoryFile(path).load().events == told.events  # type: ignore[union-attr]


async def test_a_damaged_memory_is_said_and_the_watch_goes_on(tmp_path: Path) -> None:
    (tmp_path / MEMORY_FILE).write_bytes(b"{")
    async with living(tmp_path) as world, world.watch() as (_, told):
        assert told.kinds("memory") == [("memory", MEMORY_FILE)]
        world.play(KRW_ONE)
        await until(lambda: told.events)


# --- the socket, requests -------------------------------------------------------------------------


async def test_the_socket_is_first_and_the_web_makes_no_second_event(tmp_path: Path) -> None:
    async with living(tmp_path, keys=KEYS) as world, world.watch() as (watch, told):
        world.play(KRW_ONE | {"web_lag_s": 0.8, "opening_s": 600})
        await until(lambda: told.events)
        assert told.events[0].channel == "upbit_socket"
        assert told.events[0].title == "[거래] 에이(A) KRW 마켓 디지털 자산 추가"
        await until(lambda: told.revisions)  # the web knows the number of the text
        await some_looks(watch)
        compare(world, told)
        assert {name: len(delays) for name, delays in watch.detector.delays_ms.items()} == {
            "upbit_socket": 1, "upbit_web": 1,
        }  # fmt: skip
        # A cut socket is made again; what it missed the web shows.
        world.play({"board": "upbit", "do": "drop_sockets"},
                   KRW_ONE | {"title": "비(B) KRW 마켓 디지털 자산 추가", "symbols": ["B"],
                              "channels": ["web"]})  # fmt: skip
        await until(lambda: len(told.events) == 2 and world.boards.sockets.connects == 2)
        compare(world, told)


async def test_the_socket_sees_while_the_web_is_refused(tmp_path: Path) -> None:
    async with living(tmp_path, keys=KEYS) as world:
        world.play({"board": "upbit", "do": "refuse", "status": 403, "for_s": 60,
                    "path": ANNOUNCEMENTS})  # fmt: skip
        async with world.watch() as (watch, told):
            assert watch.witnesses["upbit_web"].is_blind
            assert not watch.is_blind("upbit")
            world.play(KRW_ONE)
            await until(lambda: told.events)
            compare(world, told)


async def test_a_wrong_key_is_said_and_not_tried_for_ever(tmp_path: Path) -> None:
    wrong = (
        "simulated-access-key-0123456789abcdef0123",
        "another-secret-of-the-same-length-0123456",
    )
    async with living(tmp_path, keys=wrong) as world, world.watch() as (watch, told):
        assert watch.witnesses["upbit_socket"].is_blind
        assert "HTTP 401" in watch.witnesses["upbit_socket"].reason
        await some_looks(watch)
        assert world.boards.sockets.refused <= 3
        assert ("blind", "upbit_socket") in told.kinds("blind")
        world.play(KRW_ONE)
        await until(lambda: told.events)


async def test_key_files_that_cannot_be_read(tmp_path: Path) -> None:
    async with living(tmp_path, keys=("a", "b")) as world:
        (tmp_path / "secret_key_file").unlink()
        with pytest.raises(ConfigError, match="secret_key_file"):
            make_watch(world, Told(), gap_s=0.0)


async def test_a_listing_by_hand(tmp_path: Path) -> None:
    request = ListingRequest(symbol="SOMI", announced_ns=1_790_000_000 * NS, note="rumour")
    put_request(tmp_path, request)  # before the daemon runs
    async with living(tmp_path) as world, world.watch() as (_, told):
        await until(lambda: told.events and not waiting_requests(tmp_path))
        put_request(tmp_path, request)  # and once more
        (tmp_path / "listing_requests" / "broken.json").write_text("{")
        await until(lambda: not waiting_requests(tmp_path))
        await until(lambda: told.kinds("request"))
    assert [(e.key, e.title) for e in told.events] == [
        (("manual", str(request.announced_ns), "SOMI"), "rumour")
    ]
    memory = MemoryFile(tmp_path / MEMORY_FILE).load()
    assert memory is not None
    assert memory.events == told.events


async def test_a_board_that_is_switched_off_is_not_asked(tmp_path: Path) -> None:
    async with living(tmp_path) as world:
        listing = world.config.listing
        off = msgspec.structs.replace(listing.bithumb, enabled=False)
        config = msgspec.structs.replace(
            world.config, listing=msgspec.structs.replace(listing, bithumb=off)
        )
        async with world.watch(config=config) as (watch, _):
            await some_looks(watch)
        assert set(watch.witnesses) == {"upbit_web", "upbit_markets"}
        assert not world.boards.requests["bithumb"]
