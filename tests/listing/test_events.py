"""The record of a listing: its row, read back; revisions; the memory's file."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pumpwatch.errors import PumpWatchError
from pumpwatch.listing.events import (
    EVENT_COLUMNS,
    EventBook,
    EventLog,
    ListingAlert,
    ListingEvent,
    event_from_row,
    listing_line,
)
from pumpwatch.listing.requests import (
    ListingRequest,
    put_request,
    read_request,
    waiting_requests,
)
from pumpwatch.listing.seen import Memory, MemoryFile, SeenNotice, SourceMemory, encode

EVENT = ListingEvent(
    source="upbit", notice_id="200", symbol="POD", title='돌핀(POD) "KRW"', url="https://x?id=1",
    channel="upbit_web", announced_ns=8_000_000_000, detected_ns=12_345_678_901,
    last_absent_ns=6_000_000_000,
)  # fmt: skip


def test_the_row_of_an_event() -> None:
    assert listing_line(EVENT).decode() == (
        "listing_events,source=upbit,symbol=POD,state=pending,channel=upbit_web"
        ' notice_id="200",title="돌핀(POD) \\"KRW\\"",url="https://x?id=1",trigger_delay_ms=4345i,'
        "collected_trades=0i,exchanges_with_data=0i,revision=1i,announced_at=8000000000n,"
        "last_absent_at=6000000000n 12345678901\n"
    )


def test_an_event_from_its_row() -> None:
    row: dict[str, Any] = dict.fromkeys(EVENT_COLUMNS)
    row |= {
        "detected_at": 12_345_678_901, "source": "upbit", "notice_id": "200", "symbol": "POD",
        "title": '돌핀(POD) "KRW"', "url": "https://x?id=1", "announced_at": 8_000_000_000,
        "trigger_delay_ms": 4345, "state": "pending", "revision": 1, "channel": "upbit_web",
        "last_absent_at": 6_000_000_000,
    }  # fmt: skip
    assert event_from_row(row) == EVENT
    with pytest.raises(msgspec.ValidationError):
        event_from_row(row | {"state": "lost"})


def test_revisions_only_grow() -> None:
    done = EVENT.revised(state="complete", collected_trades=7)
    assert (done.revision, done.state, done.key) == (2, "complete", EVENT.key)
    book = EventBook([EVENT])
    assert not book.put(EVENT)
    assert book.put(done)
    assert not book.put(EVENT)
    assert book.all() == [done]
    assert book.get(EVENT.key) == done
    with pytest.raises(AssertionError):
        EVENT.revised(detected_ns=1)  # it is the row's time: another one would be another row


@dataclasses.dataclass
class Rows:
    """Side tables that only note."""

    lines: list[bytes] = dataclasses.field(default_factory=list)

    def listing_event(self, line: bytes) -> None:
        """Take a row."""
        self.lines.append(line)


def test_the_log_writes_rows_and_tells() -> None:
    rows, told = Rows(), []
    log = EventLog(rows, told.append, told.append, told.append)
    alert = ListingAlert(kind="blind", source="upbit", about="upbit_web", text="403", at_ns=1)
    later = EVENT.revised(opening_ns=9)
    log.listed([EVENT, EVENT])
    log.revised(later)
    log.alert(alert)
    assert rows.lines == [listing_line(EVENT), listing_line(EVENT), listing_line(later)]
    assert told == [[EVENT, EVENT], later, alert]


# --- files ----------------------------------------------------------------------------------------

MEMORY = Memory(
    boards={
        "upbit": SourceMemory(
            since_ns=1,
            notices=[
                SeenNotice(notice_id="1", aliases=["id:1"], channels=["upbit_web"],
                           published_ns=1, edited_ns=2, symbols=["A"])
            ],
        )
    },
    events=[EVENT],
)  # fmt: skip


def test_the_memorys_file(tmp_path: Path) -> None:
    file = MemoryFile(tmp_path / "new" / "seen.json")
    assert file.load() is None
    for memory in (Memory(), MEMORY):
        file.save(encode(memory))
        assert file.load() == memory
    assert [path.name for path in file.path.parent.iterdir()] == ["seen.json"]


def test_a_save_that_breaks_off_leaves_the_old_file(tmp_path: Path) -> None:
    file = MemoryFile(tmp_path / "seen.json")
    file.save(encode(MEMORY))
    file.path.with_suffix(".new").write_bytes(encode(MEMORY)[:50])  # as a power cut leaves it
    assert file.load() == MEMORY


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"boards":3}'])
def test_a_damaged_file_is_moved_aside_and_said(tmp_path: Path, content: bytes) -> None:
    file = MemoryFile(tmp_path / "seen.json")
    file.path.write_bytes(content)
    with pytest.raises(PumpWatchError, match="damaged"):
        file.load()
    assert file.load() is None
    assert (tmp_path / "seen.damaged").read_bytes() == content


def test_a_newer_versions_file_is_not_touched(tmp_path: Path) -> None:
    file = MemoryFile(tmp_path / "seen.json")
    file.save(encode(Memory(version=99)))
    for _ in range(2):
        with pytest.raises(PumpWatchError, match="newer"):
            file.load()


def test_requests_wait_in_order_of_time(tmp_path: Path) -> None:
    assert waiting_requests(tmp_path) == []
    later = ListingRequest(symbol="B", announced_ns=1_800_000_000_000_000_001)
    first = ListingRequest(symbol="A", announced_ns=1_700_000_000_000_000_001, note="rumour")
    for request in (later, first, first):
        assert put_request(tmp_path, request).exists()
    assert [read_request(path) for path in waiting_requests(tmp_path)] == [first, later]


def test_a_request_that_is_none_is_moved_aside(tmp_path: Path) -> None:
    path = put_request(tmp_path, ListingRequest(symbol="A", announced_ns=1))
    path.write_text('{"symbol":"A"}')
    with pytest.raises(PumpWatchError, match="no request"):
        read_request(path)
    assert waiting_requests(tmp_path) == []
