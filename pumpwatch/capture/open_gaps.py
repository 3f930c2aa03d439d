"""The ledger's open rows, and how a change of one becomes a row to write. Sans I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import msgspec

from pumpwatch.capture.ranges import Ids, common, size
from pumpwatch.model import FeedName, Gap

ID_RESET = "id_reset"
AWAITING_ARCHIVE = "awaiting_archive"


class Entry:
    """An open row and what is known beyond it."""

    def __init__(self, gap: Gap) -> None:
        self.gap = gap
        self.due_ns = 0  # our clock: REST is not asked before
        self.rest_rows = 0  # that REST brought
        # Ids of before a reset say nothing about the ids of now.
        self.is_of_old_ids = gap.reason == ID_RESET
        self.remaining: list[Ids] = [(gap.first_id, gap.last_id)] if gap.last_id else []

    @property
    def is_cut_by_id(self) -> bool:
        """Begins with a known id, ends with one that is not known yet."""
        gap = self.gap
        is_by_id = gap.first_id > 0 and gap.last_id == 0 and not self.is_of_old_ids
        return is_by_id and gap.state != AWAITING_ARCHIVE


class OpenGaps:
    """Open rows by id, feed and symbol; changed rows wait for ``send``, in order.

    ``run`` ends every id: two runs never give the same one, whatever their clocks do.
    """

    def __init__(
        self, clock_ns: Callable[[], int], emit: Callable[[list[Gap]], None], run: str
    ) -> None:
        self.closed: set[str] | None = set()  # ids closed in this run; None: not noted any more
        self._clock_ns = clock_ns
        self._emit = emit
        self._run = run
        self._last_ns = 0
        self._by_id: dict[str, Entry] = {}
        self._of_feed: defaultdict[str, dict[str, Entry]] = defaultdict(dict)
        self._of_symbol: defaultdict[tuple[str, str], dict[str, Entry]] = defaultdict(dict)
        self._out: list[Gap] = []

    def __contains__(self, gap_id: str) -> bool:
        return gap_id in self._by_id

    def __getitem__(self, gap_id: str) -> Entry:
        return self._by_id[gap_id]

    def all(self) -> list[Entry]:
        """Every open row's."""
        return list(self._by_id.values())

    def of_feed(self, feed: str) -> list[Entry]:
        """One feed's."""
        return list(self._of_feed[feed].values())

    def of_symbol(self, feed: FeedName, symbol: str) -> list[Entry]:
        """One symbol's, oldest first."""
        name = f"{feed.exchange}_{feed.market_type}"
        return list(self._of_symbol.get((name, symbol), {}).values())

    # --- opening and changing ---------------------------------------------------------------------

    def open(self, feed: FeedName, symbol: str, cause: str, **facts: Any) -> Entry:
        """A new hole's row."""
        opened_ns = self._unique_ns()
        return self.add(
            Gap(
                gap_id=f"{opened_ns:x}{self._run}", opened_ns=opened_ns, exchange=feed.exchange,
                market_type=feed.market_type, symbol=symbol, cause=cause, **facts,
            )
        )  # fmt: skip

    def add(self, gap: Gap, *, is_news: bool = True) -> Entry:
        """Take a row in; ``is_news``: the table does not have it yet."""
        entry = self._by_id[gap.gap_id] = Entry(gap)
        self._of_feed[gap.feed][gap.gap_id] = entry
        self._of_symbol[(gap.feed, gap.symbol)][gap.gap_id] = entry
        if is_news:
            self._out.append(gap)
        return entry

    def note_time(self, at_ns: int) -> None:
        """Rows of earlier runs have this time: no new one may have it again."""
        self._last_ns = max(self._last_ns, at_ns)

    def change(self, entry: Entry, **facts: Any) -> None:
        """One revision more."""
        entry.gap = msgspec.structs.replace(entry.gap, revision=entry.gap.revision + 1, **facts)
        self._out.append(entry.gap)

    def close(self, entry: Entry, state: str, reason: str, **facts: Any) -> None:
        """The row's last revision."""
        now_ns, gap = self._clock_ns(), entry.gap
        facts.setdefault("to_ns", gap.to_ns or max(now_ns, gap.from_ns))
        self.change(entry, state=state, reason=reason, closed_ns=now_ns, **facts)
        del self._by_id[gap.gap_id]
        del self._of_feed[gap.feed][gap.gap_id]
        of_symbol = self._of_symbol[(gap.feed, gap.symbol)]
        del of_symbol[gap.gap_id]
        if not of_symbol:
            del self._of_symbol[(gap.feed, gap.symbol)]
        if self.closed is not None:
            self.closed.add(gap.gap_id)

    # --- parting ----------------------------------------------------------------------------------

    def part(self, entry: Entry, **facts: Any) -> Entry:
        """A row of its own for a part of this hole; narrows nothing by itself."""
        part = self.add(
            msgspec.structs.replace(
                entry.gap, gap_id=f"{self._unique_ns():x}{self._run}", revision=1, **facts
            )
        )
        part.due_ns, part.rest_rows = entry.due_ns, entry.rest_rows
        part.is_of_old_ids = entry.is_of_old_ids
        if part.gap.last_id:
            part.remaining = common(entry.remaining, [(part.gap.first_id, part.gap.last_id)])
        return part

    def narrow(self, entry: Entry, ids: Ids) -> None:
        """The row speaks of these ids alone from now on."""
        self.change(entry, first_id=ids[0], last_id=ids[1], missing=size([ids]))
        entry.remaining = common(entry.remaining, [ids])

    # --- rows -------------------------------------------------------------------------------------

    def _unique_ns(self) -> int:
        """Our clock, but never the same twice: DEDUP must not fold two rows."""
        self._last_ns = max(self._clock_ns(), self._last_ns + 1)
        return self._last_ns

    def send(self) -> None:
        """Hand the changed rows on."""
        if self._out:
            rows, self._out = self._out, []
            self._emit(rows)
