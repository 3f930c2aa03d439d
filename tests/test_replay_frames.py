"""A bundle's raw messages are played back where they tell of its rows, and only there."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import zstandard

from pumpwatch.capture.flight import Extract
from pumpwatch.capture.flight_frames import RawFrame
from pumpwatch.cli import main
from pumpwatch.clock import SystemClock
from pumpwatch.errors import BundleError
from pumpwatch.listing_frames import put_frames
from pumpwatch.replay_frames import messages_as_recorded, read_frames, reasons_absent
from pumpwatch.replay_verb import Options, frames_of, make_exchange, read_instruments, told
from pumpwatch.research.bundles import Bundle
from pumpwatch.research.replaying import in_receive_order
from pumpwatch.sim.exchange import VENUES
from pumpwatch.sim.replay import ReplayExchange, items_of
from pumpwatch.sim.settings import FEED_NAMES, SimSettings
from pumpwatch.sim.told import ToldMessage, ToldTrade, entry_of, message_text
from tests.listing.bundles import SIGNER
from tests.research.making import VENUE_NAMES, Shape, make_bundle
from tests.sim.driving import VirtualClock, contract_values
from tests.sim.reading import difference, read_texts
from tests.sim.test_replay import DECIMALS, playing, seen

SHAPE = Shape(coin="AVA", rate_per_s=2.0, before_s=30, after_s=30)


def trades_of(place: Path, *, kept: bool = False) -> list[ToldTrade]:
    return [told(row) for row in in_receive_order(Bundle(place).scan(kept=kept).collect())]


class Recording:
    """Raw messages as the venues would have sent them: other words than the simulator's own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.clock = SystemClock()
        self.exchange = ReplayExchange(
            SimSettings(symbols=2, recorded=False), self.clock, read_instruments(Bundle(place)),
            [], speed=1.0, wait_s=0.0,
        )  # fmt: skip

    def frames(self, trades: list[ToldTrade], connection: int = 1) -> list[RawFrame]:
        return [self.frame(item, connection) for item in items_of(trades, None)]  # type: ignore[arg-type]

    def frame(self, message: ToldMessage, connection: int = 1) -> RawFrame:
        feed = message.rows[0].feed
        venue = self.exchange.venues[feed]
        instrument = venue.market.by_name[message.rows[0].venue_symbol]
        entries = [entry_of(trade, instrument, venue) for trade in message.rows]
        text = message_text(venue, instrument, message.rows, entries, venue.dialects[-1])
        head, comma, tail = text.rpartition(',"')  # a space that no rebuilt message has
        return RawFrame(
            feed=feed, connection=connection, receive_ns=message.at_ns,
            payload=f'{head}{comma[0]} "{tail}'.encode(),
        )  # fmt: skip

    def matched(self, frames: list[RawFrame], trades: list[ToldTrade]) -> list[ToldMessage]:
        return messages_as_recorded(
            frames, trades, read_instruments(Bundle(self.place)), self.clock
        )

    def keep(self, frames: list[RawFrame], absent: list[str]) -> None:
        found = Extract(frames=frames, absent=absent)
        put_frames(found, self.place, self.place.parent / ".staged", SIGNER)


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    return Recording(make_bundle(tmp_path / "data/listings", SHAPE))


@pytest.mark.parametrize("feed", FEED_NAMES)
async def test_a_client_gets_the_recorded_words_and_behind_them_those_made_anew(
    feed: str, recording: Recording, autojump_clock: object
) -> None:
    inside = [row for row in trades_of(recording.place) if row.feed == feed]
    frames = recording.frames(inside)
    recording.keep(frames, [])
    clock = VirtualClock(inside[0].at_ns)
    clock.wall_ns()
    exchange = make_exchange(recording.place, Options(speed=10.0, wait_s=1.0, kept=True), clock)
    async with playing(exchange, clock) as stage:
        values = contract_values(stage, feed)
        client = await stage.connect(feed, headers=DECIMALS)
        await client.subscribe([VENUE_NAMES[feed].format("AVA")])
        await exchange.finished.wait()
        await exchange.drain()
        await stage.close()
        await client.closed.wait()
    everything = [
        row
        for row in in_receive_order(Bundle(recording.place).scan(kept=True).collect())
        if row.feed == feed
    ]
    assert not difference(read_texts(feed, client.texts, values), seen(everything))
    texts = {frame.payload.decode() for frame in frames}
    if feed.startswith("binance"):  # recorded of a combined stream, and asked for on a raw one
        texts = {text[text.index('"data":') + 7 : -1] for text in texts}
    assert len(texts & set(client.texts)) == len(texts) > 50
    assert exchange.progress()["frames"]["recorded"] == len(texts)
    assert exchange.progress()["frames"]["rebuilt"] > 100


def test_what_a_second_connection_brought_again_is_told_once(recording: Recording) -> None:
    trades = [row for row in trades_of(recording.place) if row.feed == "okx_spot"]
    frames = recording.frames(trades)
    again = [frame.__class__(feed=frame.feed, connection=2, receive_ns=frame.receive_ns + 5_000,
                             payload=frame.payload) for frame in frames]  # fmt: skip
    both = sorted([*frames, *again], key=lambda frame: frame.receive_ns)
    assert [one.rows for one in recording.matched(both, trades)] == [[row] for row in trades]
    assert recording.matched(again, trades) == []


def test_a_message_that_tells_of_more_than_the_bundle_is_not_played(recording: Recording) -> None:
    trades = [row for row in trades_of(recording.place) if row.feed == "bybit_spot"][:5]
    bundled = [row._replace(at_ns=trades[0].at_ns) for row in trades]
    frame = recording.frame(ToldMessage(bundled))
    (message,) = recording.matched([frame], bundled)
    assert message.rows == bundled
    assert recording.matched([frame], bundled[:-1]) == []
    # Nor does it keep its rows from another message.
    alone = recording.frame(ToldMessage(bundled[:1]))
    assert [one.rows for one in recording.matched([frame, alone], bundled[:-1])] == [bundled[:1]]


def test_equal_trades_of_one_instant_are_as_many_as_there_were(recording: Recording) -> None:
    first = next(row for row in trades_of(recording.place) if row.feed == "phemex_spot")
    stem = first.trade_id.rpartition("-")[0]
    trades = [first._replace(trade_id=f"{stem}-{ordinal}") for ordinal in range(3)]
    frames = recording.frames(trades[:2])
    (one,) = recording.matched(frames[:1], trades)
    assert one.rows in ([trades[0]], trades[:2])
    whole = recording.frame(ToldMessage(trades))
    (message,) = recording.matched([whole], trades)
    assert message.rows == trades
    assert recording.matched([whole], trades[:2]) == []


@pytest.mark.parametrize(
    "payload",
    [b"pong", b'{"event":"subscribe","arg":{"channel":"trades-all","instId":"AVA-USDT"}}', b"\xff",
     b"[]", b"{", b'{"data":[{"px":"1"}]}', b'{"result":null,"id":"AVA-USDT"}', b"",
     b'{"data":[{"instId":"AVA-USDT","tradeId":"x","px":"1","sz":"1","side":"buy","ts":"1"}]}'],
)  # fmt: skip
@pytest.mark.parametrize("feed", FEED_NAMES)
def test_what_is_no_trade_is_left_out(feed: str, payload: bytes, recording: Recording) -> None:
    trades = trades_of(recording.place)
    frame = RawFrame(feed=feed, connection=1, receive_ns=trades[0].at_ns, payload=payload)
    assert recording.matched([frame], trades) == []


def test_lines_say_which_were_recorded(
    recording: Recording, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(recording.place.parents[2])
    trades = trades_of(recording.place)
    kept = [row for row in trades if row.feed in ("okx_spot", "phemex_futures")]
    recording.keep(recording.frames(kept), ["gate_spot: the disk refuses"])

    def lines(*more: str) -> list[dict[str, object]]:
        assert main(["replay", "AVA", "--jsonl", "--speed", "max", *more]) == 0
        found = map(json.loads, capsys.readouterr().out.splitlines())
        return [line for line in found if line["type"] == "trade"]

    recorded = [line for line in lines() if line["frame"] == "recorded"]
    assert {line["feed"] for line in recorded} == {"okx_spot", "phemex_futures"}
    assert len(recorded) == len(kept)
    assert {line["frame"] for line in lines("--rebuilt")} == {"rebuilt"}
    options = Options(speed=0.0, wait_s=0.0)
    document = frames_of(
        recording.place, make_exchange(recording.place, options, SystemClock()), options
    )
    assert document["recorded"] == len(kept)
    rest = [row for row in trades if row not in kept]
    assert document["rebuilt"] == len(items_of(rest, None)) <= len(rest)
    assert document["feeds"]["gate_spot"] == {"recorded": 0, "rebuilt": sum(
        row.feed == "gate_spot" for row in trades)}  # fmt: skip
    assert document["absent"] == ["gate_spot: the disk refuses"]
    moved = Options(speed=0.0, wait_s=0.0, to_now=True)
    document = frames_of(
        recording.place, make_exchange(recording.place, moved, SystemClock()), moved
    )
    assert (document["recorded"], document["absent"]) == (0, ["--now moves their times"])


@pytest.mark.parametrize(
    "content",
    [b"no zstd", zstandard.compress(b'{"connection":1}\nx\n'),
     zstandard.compress(b'{"connection":1,"receive_ns":1,"base64":"?"}\n')],
)  # fmt: skip
def test_damaged_messages_are_an_error_that_says_where(
    recording: Recording, content: bytes, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(recording.place.parents[2])
    assert read_frames(recording.place) == []
    assert reasons_absent(recording.place) == ["the bundle holds no raw messages"]
    recording.keep(recording.frames(trades_of(recording.place)[:9]), [])
    assert len(read_frames(recording.place)) == 9
    (recording.place / "frames/okx_spot.jsonl.zst").write_bytes(content)
    with pytest.raises(BundleError, match=r"okx_spot.jsonl.zst.*listings verify.*--rebuilt"):
        read_frames(recording.place)
    assert main(["replay", "AVA", "--jsonl", "--speed", "max"]) != 0
    assert "--rebuilt" in capsys.readouterr().err
    assert main(["replay", "AVA", "--jsonl", "--speed", "max", "--rebuilt"]) == 0


def test_messages_that_are_no_text_come_back_as_they_were(recording: Recording) -> None:
    frames = [RawFrame(feed="okx_spot", connection=3, receive_ns=number, payload=payload)
              for number, payload in enumerate((b"\xff\x00", "이름".encode(), b""))]  # fmt: skip
    recording.keep(frames, [])
    assert read_frames(recording.place) == frames


def test_every_feed_has_a_reader() -> None:
    for feed, venue in VENUES.items():
        made = venue(SimSettings(symbols=2, recorded=False), SystemClock(), random.Random(0))
        assert made.read_recorded("{}") is None, feed
