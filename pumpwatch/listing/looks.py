"""One look at each list: the request, its reading, what the detector finds in it."""

from __future__ import annotations

from collections import deque

import structlog

from pumpwatch.errors import VenueError
from pumpwatch.listing.board_client import BoardAnswer, BoardClient, BoardRefusedError
from pumpwatch.listing.bodies import opening_times
from pumpwatch.listing.detector import Detector, Findings
from pumpwatch.listing.events import ListingAlert
from pumpwatch.listing.markets import MarketWitness
from pumpwatch.listing.notices import (
    NoticePage,
    read_bithumb_list,
    read_krw_markets,
    read_upbit_body,
    read_upbit_list,
)

log = structlog.get_logger()

UPBIT_PATH = "/api/v1/announcements"
BITHUMB_PATH = "/v1/notices"
MARKETS_PATH = "/v1/market/all"
PER_PAGE = 20  # the most that both boards are known to give
# After an outage a page may show nothing that was seen before: then the ones behind it are read.
PAGES_MAX = 5
# Nobody promises that every listing is filed under trade: all categories, now and then.
CROSS_CHECK_EVERY = 10
BODY_TRIES_MAX = 5


class UpbitLook:
    """Upbit's web list and the texts of its listings."""

    def __init__(self, client: BoardClient, detector: Detector) -> None:
        self._client = client
        self._detector = detector
        self._looks = 0
        self._page = 1
        self._etags: dict[str, str] = {}
        self._bodies: deque[tuple[str, int]] = deque()  # number, tries
        self._unreadable = _Unreadable("upbit")

    async def __call__(self) -> Findings:
        """Look once. Raises VenueError."""
        view = "all" if self._looks % CROSS_CHECK_EVERY == 1 and self._page == 1 else "trade"
        self._looks += 1
        is_first = self._page == 1
        parameters = {
            "os": "web", "page": str(self._page), "per_page": str(PER_PAGE), "category": view,
        }  # fmt: skip
        etag = self._etags.get(view, "") if is_first else ""
        answer = await self._client.get(UPBIT_PATH, parameters, etag)
        if answer.is_unchanged:
            self._detector.unchanged("upbit", answer.look)
            findings = Findings()
        else:
            findings = self._read(answer, view, is_first=is_first)
        self._bodies.extend((number, 0) for number in findings.texts)
        return findings

    def _read(self, answer: BoardAnswer, view: str, *, is_first: bool) -> Findings:
        page = read_upbit_list(answer.body)
        is_full = len(page.notices) + len(page.refused) >= PER_PAGE
        goes_on = is_full and not self._detector.reaches_back("upbit", page)
        if view == "trade":
            self._page = self._page + 1 if goes_on and self._page < PAGES_MAX else 1
        findings = self._detector.page(
            "upbit", page, answer.look, view, is_full=is_full, is_first=is_first
        )
        if is_first:
            self._etags[view] = answer.etag  # only of a list that could be read
        self._unreadable.name(page, answer, findings)
        return findings

    @property
    def has_texts_to_read(self) -> bool:
        """Whether ``read_text`` has work."""
        return bool(self._bodies)

    async def read_text(self) -> Findings:
        """Read the text of one listing: when trading opens. Raises BoardRefusedError."""
        number, tries = self._bodies.popleft()
        try:
            answer = await self._client.get(f"{UPBIT_PATH}/{number}", {})
            html = read_upbit_body(answer.body)
        except BoardRefusedError:
            self._bodies.append((number, tries))
            raise
        except VenueError as error:
            log.warning("notice_text_unread", notice_id=number, error=str(error), tries=tries + 1)
            if tries + 1 < BODY_TRIES_MAX:
                self._bodies.append((number, tries + 1))
            return Findings()
        alias = f"id:{number}"
        published_ns = self._detector.published_ns("upbit", alias)
        openings = opening_times(html, self._detector.symbols("upbit", alias), published_ns)
        if not openings:
            log.info("opening_unknown", notice_id=number)
        return self._detector.opening("upbit", alias, openings)


class BithumbLook:
    """Bithumb's notices: one page is all there is, and it has no texts."""

    def __init__(self, client: BoardClient, detector: Detector) -> None:
        self._client = client
        self._detector = detector
        self._unreadable = _Unreadable("bithumb")

    async def __call__(self) -> Findings:
        """Look once. Raises VenueError."""
        answer = await self._client.get(BITHUMB_PATH, {"count": str(PER_PAGE)})
        page = read_bithumb_list(answer.body)
        is_full = len(page.notices) + len(page.refused) >= PER_PAGE
        has_hole = is_full and not self._detector.reaches_back("bithumb", page)
        findings = self._detector.page("bithumb", page, answer.look, "notices", is_full=is_full)
        if has_hole:
            text = (
                f"all {PER_PAGE} notices are new since the last look: some may have been missed;"
                " look at the board"
            )
            findings.alerts.append(_alert("board_hole", "bithumb", "notices", text, answer))
        self._unreadable.name(page, answer, findings)
        return findings


class MarketsLook:
    """A market list."""

    def __init__(self, source: str, client: BoardClient, markets: MarketWitness) -> None:
        self._source = source
        self._client = client
        self._markets = markets

    async def __call__(self) -> Findings:
        """Look once. Raises VenueError."""
        answer = await self._client.get(MARKETS_PATH, {})
        return self._markets.look(self._source, read_krw_markets(answer.body), answer.look)


class _Unreadable:
    """Entries that cannot be read may be listings: a person must look at each, once."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._named: set[str] = set()

    def name(self, page: NoticePage, answer: BoardAnswer, findings: Findings) -> None:
        """Alert on those that the last list did not have."""
        new = [reason for reason in page.refused if reason not in self._named]
        self._named = set(page.refused)
        if new:
            text = f"{len(new)} entries of the list cannot be read: {new[0]}"
            findings.alerts.append(_alert("unreadable", self._source, "entries", text, answer))


def _alert(kind: str, source: str, about: str, text: str, answer: BoardAnswer) -> ListingAlert:
    return ListingAlert(
        kind=kind, source=source, about=about, text=text, at_ns=answer.look.received_ns
    )
