"""Notices, pages and looks for tests of the detectors; times in seconds around NOW."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from pumpwatch.listing.detector import Detector, Findings, Look
from pumpwatch.listing.events import EventBook, ListingEvent
from pumpwatch.listing.markets import MarketWitness
from pumpwatch.listing.notices import NS, Notice, NoticePage
from pumpwatch.listing.seen import Memory, encode

NOW_NS = 1_790_000_000 * NS
DAY_S = 86_400
POD = "돌핀(POD) 신규 거래지원 안내 (KRW, BTC, USDT 마켓)"
TWO = "에이(A), 비(B) 신규 거래지원 안내 (KRW 마켓)"
DELISTED = "아이콘(ICX) 거래지원 종료 안내 (10/19 15:00)"
TETHER = "테더 USDT, KRW 마켓 추가 안내"


def look(at_s: float, took_s: float = 0.2, venue_ahead_s: float | None = None) -> Look:
    """A look that was answered at that time; the board's clock may be ahead of ours."""
    received_ns = NOW_NS + int(at_s * NS)
    venue_ns = 0 if venue_ahead_s is None else received_ns + int(venue_ahead_s * NS)
    return Look(received_ns - int(took_s * NS), received_ns, venue_ns)


def upbit(
    number: int, title: str, at_s: float, *, edited_s: float | None = None, category: str = "거래"
) -> Notice:
    """A notice as Upbit's web list shows it."""
    first_ns = NOW_NS + int(at_s * NS)
    listed_ns = first_ns if edited_s is None else NOW_NS + int(edited_s * NS)
    return Notice(
        source="upbit", channel="upbit_web", notice_id=str(number),
        aliases=(f"id:{number}", f"uuid:{number}00000"), title=title, categories=(category,),
        url=f"https://upbit.com/service_center/notice?id={number}00000",
        first_published_ns=first_ns, edited_ns=listed_ns, sort_ns=listed_ns,
        is_edited=listed_ns != first_ns,
    )  # fmt: skip


def on_socket(notice: Notice) -> Notice:
    """The same notice as Upbit's socket shows it: without the number."""
    uuid = notice.aliases[1]
    return msgspec.structs.replace(
        notice, channel="upbit_socket", notice_id=uuid.removeprefix("uuid:"), aliases=(uuid,),
        title=f"[거래] {notice.title}", categories=("trade",),
    )  # fmt: skip


def bithumb(number: int, title: str, at_s: float, category: str = "마켓 추가") -> Notice:
    """A notice of Bithumb."""
    first_ns = NOW_NS + int(at_s * NS)
    return Notice(
        source="bithumb", channel="bithumb_web", notice_id=str(number), aliases=(f"id:{number}",),
        title=title, categories=(category,), url=f"https://feed.bithumb.com/notice/{number}",
        first_published_ns=first_ns, edited_ns=first_ns, sort_ns=first_ns, is_edited=False,
    )  # fmt: skip


OLD = [upbit(100 - days, DELISTED, -days * DAY_S) for days in range(1, 21)]


@dataclass
class Bench:
    """A detector with its memory, and all that it found so far."""

    memory: Memory = field(default_factory=Memory)
    late_s_max: float = DAY_S
    stored: list[ListingEvent] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.book = EventBook([*self.memory.events, *self.stored])
        self.detector = Detector(self.memory, self.book, late_s_max=self.late_s_max)
        self.markets = MarketWitness(self.memory, self.book)

    def web(
        self, at_s: float, *notices: Notice, view: str = "trade", is_full: bool = True,
        is_first: bool = True, venue_ahead_s: float | None = None, source: str = "upbit",
    ) -> Findings:  # fmt: skip
        """A look at a web list."""
        return self._noted(
            self.detector.page(
                source, NoticePage(notices), look(at_s, venue_ahead_s=venue_ahead_s), view,
                is_full=is_full, is_first=is_first,
            )
        )  # fmt: skip

    def socket(self, at_s: float, notice: Notice, *, is_created: bool = True) -> Findings:
        """A message of the socket."""
        found = self.detector.socket(on_socket(notice), look(at_s, 0), is_created=is_created)
        return self._noted(found)

    def coins(self, at_s: float, coins: set[str], source: str = "upbit") -> Findings:
        """A look at a market list."""
        return self._noted(self.markets.look(source, frozenset(coins), look(at_s)))

    def settle(self, *, is_blind: bool = False, source: str = "upbit") -> Findings:
        """Decide on new markets."""
        looked_ns = self.detector.looked_ns(source)
        return self._noted(self.markets.settle(source, looked_ns, is_blind=is_blind))

    def restarted(self, stored: list[ListingEvent] | None = None) -> Bench:
        """As after a restart: what the file holds, and what the table holds."""
        kept = msgspec.json.decode(encode(self.detector.snapshot()), type=Memory)
        return Bench(kept, self.late_s_max, stored or [])

    def found(self) -> list[tuple[str, str, str]]:
        """Every event so far."""
        return [event.key for event in self.book.all()]

    def _noted(self, findings: Findings) -> Findings:
        self.alerts += [alert.kind for alert in findings.alerts]
        return findings
