"""What the boards answer, read into notices: Upbit's web list and socket, Bithumb's list.

Times become ns since 1970 UTC; the boards write Korean time (KST), Bithumb without saying so.
An entry that cannot be read is named and left out, an answer that is none is a VenueError.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec

from pumpwatch.errors import VenueError
from pumpwatch.listing.titles import TitleReading, read_bithumb_title, read_upbit_title

KST = timezone(timedelta(hours=9), "KST")
NS = 1_000_000_000
# Times outside of this are a broken field: both exchanges are younger, this format will be older.
YEAR_MIN, YEAR_MAX = 2013, 2099
SAMPLE_CHARACTERS = 120
UPBIT_NOTICE_URL = "https://upbit.com/service_center/notice?id="
DIGITS = re.compile(r"\d{1,19}", re.ASCII)
LAST_NUMBER = re.compile(r"/(\d{1,19})/?(?:[?#].*)?$", re.ASCII)
MARKET = re.compile(r"KRW-([A-Z0-9]{1,15})")

Entry = dict[str, Any]


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One notice as one channel shows it."""

    source: str  # upbit, bithumb
    channel: str  # upbit_web, upbit_socket, bithumb_web
    notice_id: str  # the board's number; on the socket, which does not know it, the uuid
    aliases: tuple[str, ...]  # every name of it: "id:6496", "uuid:898944907"
    title: str
    categories: tuple[str, ...]
    url: str
    first_published_ns: int
    edited_ns: int  # equal to first_published_ns where it never was
    sort_ns: int  # what the board's list is sorted by, newest first
    is_edited: bool  # Bithumb's are written before they are published, which is no edit

    def read_title(self) -> TitleReading:
        """The coins, by the rules of its board."""
        if self.source == "bithumb":
            return read_bithumb_title(self.title, self.categories)
        return read_upbit_title(self.title, ", ".join(self.categories))


class NoticePage(msgspec.Struct, frozen=True):
    """One answer of a board, in its order; ``refused`` names what could not be read."""

    notices: tuple[Notice, ...]
    refused: tuple[str, ...] = ()


class SocketNews(msgspec.Struct, frozen=True):
    """A message of Upbit's socket: a notice, an error's name and words, or neither (a pong)."""

    notice: Notice | None = None
    is_created: bool = False
    error: str = ""


# --- Upbit ----------------------------------------------------------------------------------------


def read_upbit_list(body: bytes) -> NoticePage:
    """``/api/v1/announcements``; what is pinned (fixed_notices) is old and never read."""
    document = _decode(body, "upbit announcements")
    data = document.get("data") if isinstance(document, dict) else None
    entries = data.get("notices") if isinstance(data, dict) else None
    if not isinstance(entries, list) or document.get("success") is False:
        raise VenueError(f"upbit announcements: no data.notices in the answer: {_sample(body)}")
    return _read_entries(entries, _upbit_entry)


def _upbit_entry(entry: Entry) -> Notice:
    number, uuid = _digits(entry["id"]), _optional_digits(entry.get("uuid"))
    first_ns = kst_ns(entry["first_listed_at"])
    listed_ns = kst_ns(entry.get("listed_at") or entry["first_listed_at"])
    return Notice(
        source="upbit",
        channel="upbit_web",
        notice_id=number,
        aliases=(f"id:{number}", f"uuid:{uuid}") if uuid else (f"id:{number}",),
        title=_text(entry["title"]),
        categories=(_text(entry.get("category") or ""),),
        url=UPBIT_NOTICE_URL + (uuid or number),
        first_published_ns=first_ns,
        edited_ns=listed_ns,
        sort_ns=listed_ns,
        is_edited=listed_ns != first_ns,
    )


def read_upbit_body(body: bytes) -> str:
    """``/api/v1/announcements/{id}``: the notice's HTML."""
    document = _decode(body, "upbit announcement")
    data = document.get("data") if isinstance(document, dict) else None
    html = data.get("body") if isinstance(data, dict) else None
    if not isinstance(html, str):
        raise VenueError(f"upbit announcement: no data.body in the answer: {_sample(body)}")
    return html


def read_upbit_message(text: str | bytes) -> SocketNews:
    """A message of the announcement socket."""
    raw = text.encode("utf-8", "replace") if isinstance(text, str) else text
    document = _decode(raw, "upbit socket")
    if not isinstance(document, dict):
        raise VenueError(f"upbit socket: no object: {_sample(raw)}")
    if isinstance(error := document.get("error"), dict):
        return SocketNews(error=f"{error.get('name') or 'error'}: {error.get('message') or ''}")
    if document.get("type") != "announcement":
        return SocketNews()
    try:
        uuid = _digits(document["uuid"])
        first_ns = kst_ns(document["first_listed_at"])
        listed_ns = kst_ns(document.get("listed_at") or document["first_listed_at"])
        notice = Notice(
            source="upbit",
            channel="upbit_socket",
            notice_id=uuid,
            aliases=(f"uuid:{uuid}",),
            title=_text(document["title"]),
            categories=(_text(document.get("category") or ""),),
            url=_text(document.get("url") or UPBIT_NOTICE_URL + uuid),
            first_published_ns=first_ns,
            edited_ns=listed_ns,
            sort_ns=listed_ns,
            is_edited=listed_ns != first_ns,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise VenueError(f"upbit socket: {_reason(error)}: {_sample(raw)}") from None
    return SocketNews(notice, document.get("event_type") == "CREATED")


# --- Bithumb --------------------------------------------------------------------------------------


def read_bithumb_list(body: bytes) -> NoticePage:
    """``/v1/notices``: a bare array."""
    entries = _decode(body, "bithumb notices")
    if not isinstance(entries, list):
        raise VenueError(f"bithumb notices: no array: {_sample(body)}")
    return _read_entries(entries, _bithumb_entry)


def _bithumb_entry(entry: Entry) -> Notice:
    url = _text(entry["pc_url"])
    number = LAST_NUMBER.search(url)
    if number is None:
        raise ValueError(f"no number at the end of pc_url {url!r}")
    categories = entry.get("categories") or []
    if not isinstance(categories, list):
        raise TypeError(f"categories are {categories!r}")
    published_ns = kst_ns(entry["published_at"])
    modified_ns = kst_ns(entry.get("modified_at") or entry["published_at"])
    return Notice(
        source="bithumb",
        channel="bithumb_web",
        notice_id=number[1],
        aliases=(f"id:{number[1]}",),
        title=_text(entry["title"]),
        categories=tuple(_text(category) for category in categories),
        url=url,
        first_published_ns=published_ns,
        edited_ns=max(modified_ns, published_ns),
        sort_ns=published_ns,
        is_edited=False,  # an edit lifts nothing here: the list is sorted by publication
    )


# --- both -----------------------------------------------------------------------------------------


def read_krw_markets(body: bytes) -> frozenset[str]:
    """``/v1/market/all`` of either exchange: the coins of its KRW markets, never none."""
    entries = _decode(body, "market list")
    if not isinstance(entries, list):
        raise VenueError(f"market list: no array: {_sample(body)}")
    names = [entry.get("market") for entry in entries if isinstance(entry, dict)]
    matches = [MARKET.fullmatch(name) for name in names if isinstance(name, str)]
    coins = frozenset(match[1] for match in matches if match)
    if not coins:
        raise VenueError(f"market list: no KRW market in it: {_sample(body)}")
    return coins


def kst_ns(text: object) -> int:
    """An ISO 8601 time, Korean where it names no zone, as ns since 1970 UTC. Raises ValueError."""
    if not isinstance(text, str):
        raise ValueError(f"no time: {text!r}")  # noqa: TRY004 - one reason, one kind of error
    moment = datetime.fromisoformat(text.strip())
    if not YEAR_MIN <= moment.year <= YEAR_MAX:
        raise ValueError(f"no time of ours: {text!r}")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=KST)
    seconds = int(moment.replace(microsecond=0).timestamp())
    return seconds * NS + moment.microsecond * 1_000


def _read_entries(entries: list[Any], read_one: Callable[[Entry], Notice]) -> NoticePage:
    notices: list[Notice] = []
    refused: list[str] = []
    for entry in entries:
        try:
            notices.append(read_one(entry))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            refused.append(f"{_reason(error)}: {_sample(repr(entry).encode('utf-8', 'replace'))}")
    if refused and not notices:
        raise VenueError(f"no notice of {len(refused)} can be read: {refused[0]}")
    return NoticePage(tuple(notices), tuple(refused))


def _decode(body: bytes, what: str) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise VenueError(f"{what}: no JSON: {error}: {_sample(body)}") from None


def _digits(value: object) -> str:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or DIGITS.fullmatch(text) is None:
        raise ValueError(f"no number: {value!r}")
    return text


def _optional_digits(value: object) -> str:
    return "" if value is None or value == "" else _digits(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"no text: {value!r}")
    return value


def _reason(error: Exception) -> str:
    return f"no {error}" if isinstance(error, KeyError) else str(error)


def _sample(body: bytes) -> str:
    return " ".join(body[:SAMPLE_CHARACTERS].decode("utf-8", "replace").split())
