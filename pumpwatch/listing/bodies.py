"""When trading opens, from the HTML of a notice: best effort, None where it does not say.

The boards write it for people: in a table with a row for each coin, or in a sentence such as
"거래지원 개시 시점 : 2025년 4월 22일 17:00 KST 예정", with or without the year.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from html.parser import HTMLParser

from pumpwatch.listing.notices import KST, NS, YEAR_MAX, YEAR_MIN

HTML_CHARACTERS_MAX = 400_000
ANCHOR = re.compile(
    r"거래\s*지원\s*(?:개시|시작)|거래\s*(?:개시|시작|오픈)|trading\s+(?:support\s+)?(?:opens?|starts?)",
    re.IGNORECASE,
)
ANCHOR_REACH_CHARACTERS = 200
OTHER_TIMES = re.compile(r"입금|출금|입출금|deposit|withdraw", re.IGNORECASE)
TIME = re.compile(
    r"(?:(?P<year>20\d\d)\s*[-./년]\s*)?"
    r"(?P<month>\d{1,2})\s*[-./월]\s*(?P<day>\d{1,2})\s*일?\s*\.?"
    r"\s*(?:\([^()]{1,5}\)|T)?,?\s*"
    r"(?P<half>오전|오후|AM\b|PM\b)?\s*"
    r"(?P<hour>\d{1,2})\s*(?::\s*(?P<minute>\d{2})|시(?:\s*(?P<minute2>\d{1,2})\s*분)?)",
    re.IGNORECASE,
)
LINE_ENDS = frozenset({"p", "br", "tr", "li", "div", "h1", "h2", "h3", "h4", "table", "ul", "ol"})
HIDDEN = frozenset({"script", "style"})
# A time before the notice or far behind it is another one: of the project's history, of an event.
EARLIEST_BEFORE_NS = 24 * 3600 * NS
LATEST_AFTER_NS = 60 * 24 * 3600 * NS


class _Text(HTMLParser):
    """The text of a page, a line for each paragraph and table row."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        """A block begins a line, a cell stands apart."""
        self._hidden += tag in HIDDEN
        self._space(tag)

    def handle_endtag(self, tag: str) -> None:
        """As at its start."""
        if tag in HIDDEN:
            self._hidden = max(0, self._hidden - 1)
        self._space(tag)

    def handle_data(self, data: str) -> None:
        """Text that a reader sees."""
        if not self._hidden:
            self.parts.append(data)

    def _space(self, tag: str) -> None:
        if tag in LINE_ENDS:
            self.parts.append("\n")
        elif tag in ("td", "th"):
            self.parts.append(" ")


def opening_times(html: str, symbols: Sequence[str], published_ns: int) -> dict[str, int]:
    """When trading of each coin opens, ns since 1970 UTC; without a word of it, it is absent.

    A table row (or line) with the coin's symbol and a time counts before the sentence that is
    meant for all of them.
    """
    lines = _lines(html)
    for_all = _after_anchor("\n".join(lines), published_ns)
    found: dict[str, int] = {}
    for symbol in symbols:
        own = _on_own_line(lines, symbol, published_ns)
        opening_ns = for_all if own is None else own
        if opening_ns is not None:
            found[symbol] = opening_ns
    return found


def _lines(html: str) -> list[str]:
    parser = _Text()
    parser.feed(html[:HTML_CHARACTERS_MAX])
    parser.close()
    lines = (" ".join(line.split()) for line in "".join(parser.parts).split("\n"))
    return [line for line in lines if line]


def _on_own_line(lines: list[str], symbol: str, published_ns: int) -> int | None:
    name = re.compile(rf"(?<![A-Za-z0-9]){re.escape(symbol)}(?![A-Za-z0-9])")
    for line in lines:
        if name.search(line) and not OTHER_TIMES.search(line):
            times = _times(line, published_ns)
            if times:
                return times[0]
    return None


def _after_anchor(text: str, published_ns: int) -> int | None:
    for anchor in ANCHOR.finditer(text):
        reach = text[anchor.end() : anchor.end() + ANCHOR_REACH_CHARACTERS]
        other = OTHER_TIMES.search(reach)
        times = _times(reach[: other.start()] if other else reach, published_ns)
        if times:
            return times[0]
    return None


def _times(text: str, published_ns: int) -> list[int]:
    """The plausible times in a text, in its order."""
    made = (_moment_ns(match, published_ns) for match in TIME.finditer(text))
    return [
        at_ns
        for at_ns in made
        if at_ns is not None
        and published_ns - EARLIEST_BEFORE_NS <= at_ns <= published_ns + LATEST_AFTER_NS
    ]


def _moment_ns(match: re.Match[str], published_ns: int) -> int | None:
    published = datetime.fromtimestamp(published_ns // NS, KST)
    hour = int(match["hour"])
    minute = int(match["minute"] or match["minute2"] or 0)
    half = (match["half"] or "").upper()
    if half in ("오후", "PM") and hour < 12:
        hour += 12
    elif half in ("오전", "AM") and hour == 12:
        hour = 0
    month, day = int(match["month"]), int(match["day"])
    years = [int(match["year"])] if match["year"] else [published.year, published.year + 1]
    for year in years:
        try:
            moment = datetime(year, month, day, tzinfo=KST)
        except ValueError:  # no such day
            continue
        if not YEAR_MIN <= year <= YEAR_MAX or hour > 24 or minute > 59:
            return None
        moment += timedelta(hours=hour, minutes=minute)
        if match["year"] or moment >= published - timedelta(days=1):
            return int(moment.timestamp()) * NS
    return None
