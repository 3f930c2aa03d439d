"""A listing as it is kept: the record behind a row of listing_events, its states and revisions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec
import structlog

from pumpwatch.store.side_rows import side_row

log = structlog.get_logger()

MS_NS = 1_000_000
State = Literal["pending", "complete", "partial", "imported", "historic"]
NOT_RECORDED = frozenset({"imported", "historic"})  # nobody was there: no window is waited for
Key = tuple[str, str, str]  # source, notice id, symbol

TABLE = "listing_events"
EVENT_COLUMNS = (
    "detected_at",
    "source",
    "notice_id",
    "symbol",
    "title",
    "url",
    "announced_at",
    "trigger_delay_ms",
    "state",
    "collected_trades",
    "exchanges_with_data",
    "certificate",
    "revision",
    "channel",
    "last_absent_at",
    "opening_at",
)
TIME_COLUMNS = ("detected_at", "announced_at", "last_absent_at", "opening_at")
# Times as numbers: text of a TIMESTAMP_NS comes back with microseconds only.
EVENTS_SQL = "SELECT {} FROM {}".format(
    ", ".join(f"{one}::long AS {one}" if one in TIME_COLUMNS else one for one in EVENT_COLUMNS),
    TABLE,
)


class ListingEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One announced coin. Times are ns since 1970 UTC; 0: not known."""

    source: str  # upbit, bithumb; upbit_markets, bithumb_markets where no notice was seen; manual
    notice_id: str
    symbol: str  # the coin: AVA
    title: str
    url: str
    channel: str  # which witness saw it first: upbit_web, upbit_socket, …
    announced_ns: int  # first publication, by the board's clock
    detected_ns: int  # when the answer that shows it was here, by ours
    last_absent_ns: int = 0  # the last look that did not show it was asked then
    opening_ns: int = 0  # trading opens, from the notice's text
    state: State = "pending"  # until all is known of its window; partial says what misses
    collected_trades: int = 0
    exchanges_with_data: int = 0  # feeds, 0 to 12
    certificate: str = ""
    revision: int = 1

    @property
    def key(self) -> Key:
        """What makes it one event."""
        return self.source, self.notice_id, self.symbol

    @property
    def trigger_delay_ms(self) -> int:
        """From publication to detection; below 0 where the board's clock is ahead of ours."""
        return (self.detected_ns - self.announced_ns) // MS_NS

    def revised(self, **changes: Any) -> ListingEvent:
        """The next revision of it, with other values."""
        assert not changes.keys() & {"source", "notice_id", "symbol", "detected_ns", "revision"}
        return msgspec.structs.replace(self, revision=self.revision + 1, **changes)


class ListingAlert(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a person must decide or know; ``kind`` and ``about`` name it for folding."""

    kind: str  # ambiguous_title, edited_into_listing, too_old, future, markets, blind, sees_again …
    source: str
    about: str  # a notice's id or a witness
    text: str  # what, where, what to do
    title: str = ""
    url: str = ""
    at_ns: int


class EventBook:
    """The newest revision of every event."""

    def __init__(self, events: Iterable[ListingEvent] = ()) -> None:
        self._events: dict[Key, ListingEvent] = {}
        for event in events:
            self.put(event)

    def put(self, event: ListingEvent) -> bool:
        """Keep it; False, and nothing changed, where as high a revision is there already."""
        held = self._events.get(event.key)
        if held is not None and held.revision >= event.revision:
            return False
        self._events[event.key] = event
        return True

    def get(self, key: Key) -> ListingEvent | None:
        """The newest revision of an event."""
        return self._events.get(key)

    def of_notice(self, source: str, notice_id: str) -> list[ListingEvent]:
        """The coins of one notice."""
        return [e for e in self._events.values() if (e.source, e.notice_id) == (source, notice_id)]

    def all(self) -> list[ListingEvent]:
        """Every event, in the order they came."""
        return list(self._events.values())


# --- rows -----------------------------------------------------------------------------------------


def listing_line(event: ListingEvent) -> bytes:
    """The event's row, for the spool; the same key and time for every revision of it."""
    return side_row(
        TABLE,
        {
            "source": event.source,
            "symbol": event.symbol,
            "state": event.state,
            "channel": event.channel,
        },
        {
            "notice_id": event.notice_id,
            "title": event.title,
            "url": event.url,
            "trigger_delay_ms": event.trigger_delay_ms,
            "collected_trades": event.collected_trades,
            "exchanges_with_data": event.exchanges_with_data,
            "certificate": event.certificate or None,
            "revision": event.revision,
        },
        event.detected_ns,
        time_fields={
            "announced_at": event.announced_ns,
            "last_absent_at": event.last_absent_ns,
            "opening_at": event.opening_ns,
        },
    )


def event_from_row(row: Mapping[str, Any]) -> ListingEvent:
    """An event from a row of EVENTS_SQL. Raises msgspec.ValidationError for a row that is none."""
    values = {name: row[name] for name in EVENT_COLUMNS if row[name] is not None}
    for name in TIME_COLUMNS:
        if name in values:
            values[name.removesuffix("_at") + "_ns"] = values.pop(name)
    values.pop("trigger_delay_ms", None)
    return msgspec.convert({"title": "", "url": "", "channel": "", **values}, ListingEvent)


class EventRows(Protocol):
    """Where rows go: the side tables, seen from here."""

    def listing_event(self, line: bytes) -> None:
        """Take one row of listing_events."""
        ...


# --- who is told ----------------------------------------------------------------------------------


class ListingSink(Protocol):
    """What the watch tells; nothing here may wait."""

    def listed(self, events: Sequence[ListingEvent]) -> None:
        """New events: all coins of one notice."""
        ...

    def revised(self, event: ListingEvent) -> None:
        """A known event with other values."""
        ...

    def alert(self, alert: ListingAlert) -> None:
        """A person must look."""
        ...


class EventLog:
    """Rows first, then the log, then whoever else wants to know."""

    def __init__(
        self,
        rows: EventRows,
        on_listed: Callable[[Sequence[ListingEvent]], None] = lambda events: None,
        on_revised: Callable[[ListingEvent], None] = lambda event: None,
        on_alert: Callable[[ListingAlert], None] = lambda alert: None,
    ) -> None:
        self._rows = rows
        self._on_listed = on_listed
        self._on_revised = on_revised
        self._on_alert = on_alert

    def listed(self, events: Sequence[ListingEvent]) -> None:
        """New events: all coins of one notice."""
        for event in events:
            self._rows.listing_event(listing_line(event))
            log.info(
                "listing", source=event.source, notice_id=event.notice_id, symbol=event.symbol,
                channel=event.channel, title=event.title, delay_ms=event.trigger_delay_ms,
            )  # fmt: skip
        self._on_listed(events)

    def revised(self, event: ListingEvent) -> None:
        """A known event with other values."""
        self._rows.listing_event(listing_line(event))
        log.info(
            "listing_revised", source=event.source, notice_id=event.notice_id,
            symbol=event.symbol, state=event.state, revision=event.revision,
        )  # fmt: skip
        self._on_revised(event)

    def alert(self, alert: ListingAlert) -> None:
        """A person must look."""
        log.warning(
            "listing_alert", kind=alert.kind, source=alert.source, about=alert.about,
            message=alert.text, title=alert.title, url=alert.url,
        )  # fmt: skip
        self._on_alert(alert)
