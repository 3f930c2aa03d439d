"""The ledger: every hole from its opening to what became of it, one table row each. Sans I/O.

A row is written with each change (its revision grows), so the table always says what is known. A
hole closes by ids alone where ids count up: ``look`` compares rows with what the road has seen. For
the rest, whoever asks REST says what became of it: ``fill_ids``, ``fill``, ``empty``, ``lost``.

Whatever happens, each id that is missing stands in exactly one row that is open or lost.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from pumpwatch.capture.open_gaps import AWAITING_ARCHIVE, ID_RESET, Entry, OpenGaps
from pumpwatch.capture.ranges import ENDLESS, Ids, common, size, without
from pumpwatch.model import FeedName, Gap, Hole

SECOND_NS = 10**9
REORDER_NS = 2 * SECOND_NS  # a late id within this time closes its hole without REST
# What we have read up to T proves only what a venue made well before: it travels, symbols overtake
# each other, and clocks differ.
PROOF_LAG_NS = 5 * SECOND_NS
UNREAD_STEP_NS = 10 * SECOND_NS  # a row that grows while messages stay unread grows in steps

ANY_SYMBOL = "*"
CONTRACT_VALUE = "contract_value"
LATE_SUBSCRIPTION = "late_subscription"
QUARANTINE = "quarantine"
RESTART = "restart"
SPOOL_DAMAGE = "spool_damage"
RESTORE = "restore"  # the database is a backup's, and what came after it is not in it
# Causes of spans in which nothing carried a symbol: two without a row between are one.
CUTS = frozenset(
    {
        "cut",
        "backpressure",
        "handover",
        "paused",
        LATE_SUBSCRIPTION,
        "refused",
        "silence",
        RESTART,
        RESTORE,
    }
)

NEXT_ID = "next_id"  # the first id that could be missing came by itself
LATE = "late"  # the stream brought the missing ids after all
REST = "rest"
ARCHIVE = "archive"  # a daily file of the venue
READ_AGAIN = "read_again"  # messages of the quarantine were read by a later parser
NOT_KEPT = "not kept: the quarantine of this feed is full"
NOT_OFFERED = "not_offered"  # the venue skips these ids itself (R2)

Position = tuple[int, int, int, list[Ids]]  # seen_from, seen_to, last ns, missing


class Edge(msgspec.Struct, frozen=True):
    """Where a symbol stood when nothing carried it any more."""

    symbol: str
    last_ns: int = 0  # exchange time of the last row; 0: none yet
    next_id: int = 0  # the id that would come next; 0: ids do not count up, or none was seen


class Ledger:
    """All feeds' holes. ``emit`` gets the changed rows of one call together, in order.

    ``run`` sets ids of this run apart from those of others.
    """

    def __init__(
        self, clock_ns: Callable[[], int], emit: Callable[[list[Gap]], None], run: str = ""
    ) -> None:
        self.is_loaded = False  # what earlier runs left is known
        self._clock_ns = clock_ns
        self._rows = OpenGaps(clock_ns, emit, run)
        self._settled: defaultdict[tuple[str, str], list[Gap]] = defaultdict(list)

    # --- what is open -----------------------------------------------------------------------------

    def open_gaps(self, feed: str | None = None) -> list[Gap]:
        """Open rows of one feed, or of all, oldest first."""
        entries = self._rows.all() if feed is None else self._rows.of_feed(feed)
        return sorted((entry.gap for entry in entries), key=lambda gap: gap.opened_ns)

    def find(self, gap_id: str) -> Gap | None:
        """An open row as it is now; None: it is closed."""
        return self._rows[gap_id].gap if gap_id in self._rows else None

    def open_of(self, feed: FeedName, symbol: str) -> list[Gap]:
        """Open rows of one symbol, oldest first."""
        return [entry.gap for entry in self._rows.of_symbol(feed, symbol)]

    def due(self, feed: str | None = None, *, while_open: bool = False) -> list[Gap]:
        """What REST can be asked for now: bounded, and not a mere matter of order; oldest first.

        ``while_open``: also what has no end yet.
        """
        now_ns = self._clock_ns()
        entries = self._rows.all() if feed is None else self._rows.of_feed(feed)
        due = [
            entry.gap
            for entry in entries
            if (entry.gap.to_ns or while_open)
            and entry.due_ns <= now_ns
            and entry.gap.cause not in (CONTRACT_VALUE, QUARANTINE)
            and entry.gap.state != AWAITING_ARCHIVE
        ]
        return sorted(due, key=lambda gap: gap.opened_ns)

    def postpone(self, gap_id: str, until_ns: int) -> None:
        """Not due before this time of our clock."""
        self._rows[gap_id].due_ns = until_ns

    def remaining(self, gap_id: str) -> list[Ids]:
        """The ids of a confirmed hole that did not come yet."""
        return list(self._rows[gap_id].remaining)

    # --- opening ----------------------------------------------------------------------------------

    def cut(
        self, feed: FeedName, edges: Iterable[Edge], *, cause: str = "cut", alive_ns: int = 0
    ) -> None:
        """Nothing carries these symbols any more.

        ``alive_ns``: all that the venue had sent by then was read (our clock); 0: unknown.
        """
        for edge in edges:
            if not self._goes_on(feed, edge):
                from_ns = max(edge.last_ns, alive_ns - PROOF_LAG_NS, 0)
                self._rows.open(feed, edge.symbol, cause, from_ns=from_ns, first_id=edge.next_id)
        self._rows.send()

    def _goes_on(self, feed: FeedName, edge: Edge) -> bool:
        """Whether an earlier cut is unresolved, with no row since: then it is the same hole."""
        for entry in self._rows.of_symbol(feed, edge.symbol):
            gap = entry.gap
            if gap.cause not in CUTS or gap.last_id or entry.is_of_old_ids:
                continue
            if gap.state == AWAITING_ARCHIVE:
                continue  # it has its end, whatever comes
            if gap.first_id == edge.next_id and (edge.next_id or edge.last_ns <= gap.from_ns):
                if gap.to_ns:
                    self._rows.change(entry, to_ns=0)
                return True
            if not gap.to_ns:  # rows came since: it was carried again, and a crash took the word
                self._rows.change(entry, to_ns=max(edge.last_ns, gap.from_ns))
        return False

    def bound(self, feed: FeedName, symbols: Iterable[str], to_ns: int) -> None:
        """From ``to_ns`` on these symbols are carried again."""
        for symbol in symbols:
            for entry in self._rows.of_symbol(feed, symbol):
                if not entry.gap.to_ns:
                    self._rows.change(entry, to_ns=max(to_ns, entry.gap.from_ns))
        self._rows.send()

    def suspect(
        self, feed: FeedName, symbol: str, cause: str, from_ns: int, to_ns: int, reason: str = ""
    ) -> str:
        """In this span rows may be missing or wrong, for a reason that is no cut and no jump.

        Returns the row's gap_id.
        """
        entry = self._rows.open(feed, symbol, cause, from_ns=from_ns, to_ns=to_ns, reason=reason)
        self._rows.send()
        return entry.gap.gap_id

    def unread(self, feed: FeedName, at_ns: int, *, is_kept: bool = True) -> None:
        """A message could not be read: whose trades were in it is not known (promise 5).

        ``is_kept``: it can be read again one day; else its row is lost once it has an end.
        """
        reason = "" if is_kept else NOT_KEPT
        for entry in self._rows.of_symbol(feed, ANY_SYMBOL):
            gap = entry.gap
            is_same = gap.cause == QUARANTINE and gap.reason == reason
            if is_same and at_ns - gap.to_ns < UNREAD_STEP_NS:
                if at_ns > gap.to_ns:
                    self._rows.change(entry, to_ns=at_ns + UNREAD_STEP_NS)
                    self._rows.send()
                return
        from_ns, to_ns = at_ns - PROOF_LAG_NS, at_ns + UNREAD_STEP_NS
        self.suspect(feed, ANY_SYMBOL, QUARANTINE, from_ns, to_ns, reason)

    def read_again(self, gap_id: str, rows: int, *, is_all: bool) -> None:
        """Messages of a quarantine's row were read, with so many rows that nobody had brought.

        ``is_all``: none of them is left.
        """
        entry = self._rows[gap_id]
        rows += entry.gap.filled_rows
        if is_all:
            state = "filled" if rows else "empty"
            self._rows.close(entry, state, READ_AGAIN, missing=rows, exact=True, filled_rows=rows)
        elif rows != entry.gap.filled_rows:
            self._rows.change(entry, filled_rows=rows)
        self._rows.send()

    # --- what the road tells ----------------------------------------------------------------------

    def jump(self, feed: FeedName, holes: Iterable[Hole]) -> None:
        """Holes in the road's order. Their rows are written at once, REST is asked a bit later."""
        for hole in holes:
            if hole.cause == ID_RESET:
                self._reset(feed, hole)
            elif hole.first_id:
                self._jump(feed, hole)
            else:
                self._unaligned(feed, hole)
        self._rows.send()

    def _jump(self, feed: FeedName, hole: Hole) -> None:
        facts: dict[str, Any] = {
            "last_id": hole.last_id, "exact": True, "state": "confirmed",
            "from_ns": hole.from_ns, "to_ns": hole.to_ns,
        }  # fmt: skip
        ids = [(hole.first_id, hole.last_id)]
        told: Entry | None = None
        for entry in self._rows.of_symbol(feed, hole.symbol):
            first_id = entry.gap.first_id
            if not entry.is_cut_by_id or first_id > hole.first_id:
                continue
            is_same = first_id == hole.first_id and hole.cause == "id_jump"
            if told is None and (is_same or entry.rest_rows):
                # The cut's own hole; its beginning may have come from REST already.
                self._rows.change(entry, **facts, missing=hole.last_id - first_id + 1)
                entry.remaining, told = ids, entry
            else:
                self._rows.close(entry, "empty", NEXT_ID, missing=0)
        if told is None:
            facts["first_id"], facts["missing"] = hole.first_id, size(ids)
            told = self._rows.open(feed, hole.symbol, hole.cause, **facts)
        told.due_ns = self._clock_ns() + REORDER_NS

    def _reset(self, feed: FeedName, hole: Hole) -> None:
        """The venue counts anew: what was missing cannot come by these ids any more."""
        for entry in self._rows.of_symbol(feed, hole.symbol):
            if entry.gap.first_id and not entry.is_of_old_ids:
                entry.is_of_old_ids = True
                self._rows.change(entry, reason=ID_RESET)
        self._rows.open(feed, hole.symbol, ID_RESET, from_ns=hole.from_ns, to_ns=hole.to_ns)

    def _unaligned(self, feed: FeedName, hole: Hole) -> None:
        """A snapshot does not meet what came after it (R6): part of a cut's hole, or one itself."""
        for entry in self._rows.of_symbol(feed, hole.symbol):
            gap = entry.gap
            if gap.from_ns <= hole.from_ns and not gap.last_id:
                if 0 < gap.to_ns < hole.to_ns:
                    self._rows.change(entry, to_ns=hole.to_ns)
                return
        self._rows.open(feed, hole.symbol, hole.cause, from_ns=hole.from_ns, to_ns=hole.to_ns)

    # --- closing by ids ---------------------------------------------------------------------------

    def look(self, feed: str, position_of: Callable[[str], Position | None]) -> None:
        """Compare a feed's open rows with what has been seen.

        The rows that were seen must be on their way to the spool: a closing row goes behind them.
        """
        now_ns = self._clock_ns()
        for entry in self._rows.of_feed(feed):
            if entry.gap.reason == NOT_KEPT and entry.gap.to_ns < now_ns:
                self._rows.close(entry, "lost", NOT_KEPT)
                continue
            if not entry.gap.first_id or entry.is_of_old_ids:
                continue
            position = position_of(entry.gap.symbol)
            if position is None or not position[1]:
                continue
            if entry.gap.last_id:
                seen_from, seen_to, _, missing = position
                unseen = [(0, seen_from - 1), *missing, (seen_to + 1, ENDLESS)]
                entry.remaining = common(entry.remaining, unseen)
                self._close_if_filled(entry)
            else:
                self._see_first_id(entry, position)
        self._rows.send()

    def _see_first_id(self, entry: Entry, position: Position) -> None:
        seen_from, seen_to, _, missing = position
        first_id = entry.gap.first_id
        if not seen_from <= first_id <= seen_to or entry.rest_rows:
            return  # not proven seen; or shown by REST, and who asked says how far that goes
        hole = [last for first, last in missing if first <= first_id <= last]
        if not hole:
            self._rows.close(entry, "empty", NEXT_ID, missing=0)
            return
        # A jump's own row would have told; a crash took it.
        others = [
            other.gap
            for other in self._rows.of_symbol(entry.gap, entry.gap.symbol)
            if other.gap.last_id
        ]
        left = without([(first_id, hole[0])], [(gap.first_id, gap.last_id) for gap in others])
        if left and left[0][0] == first_id:
            self.confirm(entry.gap.gap_id, left[0][1])
        else:
            self._rows.close(entry, "empty", f"same hole as {others[0].gap_id}", missing=0)

    def _close_if_filled(self, entry: Entry) -> None:
        if not entry.remaining:
            reason = REST if entry.rest_rows else LATE
            if entry.gap.state == AWAITING_ARCHIVE and entry.rest_rows:
                reason = ARCHIVE
            self._rows.close(entry, "filled", reason, filled_rows=entry.gap.missing)

    # --- closing by evidence ----------------------------------------------------------------------

    def note_rest(self, gap_id: str, rows: int) -> None:
        """So many rows of this hole came from REST."""
        self._rows[gap_id].rest_rows += rows

    def confirm(self, gap_id: str, last_id: int) -> None:
        """A cut's last missing id is known."""
        entry = self._rows[gap_id]
        assert entry.is_cut_by_id
        ids = (entry.gap.first_id, last_id)
        self._rows.change(entry, last_id=last_id, missing=size([ids]), exact=True,
                          state="confirmed")  # fmt: skip
        entry.remaining = [ids]
        self._rows.send()

    def fill_ids(self, gap_id: str, first_id: int, last_id: int) -> None:
        """These ids are on their way to the spool, also where the road keeps no count of them."""
        entry = self._rows[gap_id]
        assert entry.gap.last_id
        entry.remaining = without(entry.remaining, [(first_id, last_id)])
        self._close_if_filled(entry)
        self._rows.send()

    def fill(self, gap_id: str, rows: int, reason: str = REST) -> None:
        """A hole without known ids: all that was missing, ``rows``, is on its way to the spool."""
        entry = self._rows[gap_id]
        assert not entry.gap.last_id
        self._rows.close(entry, "filled", reason, missing=rows, exact=True, filled_rows=rows)
        self._rows.send()

    def empty(self, gap_id: str, reason: str, ids: Ids | None = None) -> None:
        """It is proven that nothing is missing; ``ids``: among these ids."""
        self._settle(self._rows[gap_id], "empty", reason, ids, estimate=0)

    def settle_value(self, gap_id: str, reason: str, rows: int) -> None:
        """The moment of a contract's change is known, and ``rows`` rows are counted anew (R13)."""
        self._rows.close(self._rows[gap_id], "filled", reason, missing=0, filled_rows=rows)
        self._rows.send()

    def lost(self, gap_id: str, reason: str, ids: Ids | None = None, estimate: int = -1) -> None:
        """Nobody can bring it; ``ids``: these ids alone. ``estimate``: rows, where no ids count."""
        self._settle(self._rows[gap_id], "lost", reason, ids, estimate)

    def await_archive(
        self, gap_id: str, reason: str, ids: Ids | None = None, estimate: int = -1
    ) -> None:
        """REST cannot bring it (as ``lost``), the venue's file of that day may."""
        self._settle(self._rows[gap_id], AWAITING_ARCHIVE, reason, ids, estimate)

    def split(self, gap_id: str, at_ns: int) -> str:
        """Part a hole without known ids at an exchange time; returns the younger part's id."""
        entry = self._rows[gap_id]
        gap = entry.gap
        assert not gap.last_id
        assert gap.from_ns <= at_ns <= gap.to_ns
        younger = self._rows.part(entry, from_ns=at_ns)
        self._rows.change(entry, to_ns=at_ns)
        self._rows.send()
        return younger.gap.gap_id

    def _settle(
        self, entry: Entry, state: str, reason: str, ids: Ids | None, estimate: int
    ) -> None:
        if not entry.gap.last_id:
            self._end(entry, state, reason, missing=estimate, exact=estimate == 0)
        else:
            for part in entry.remaining if ids is None else common(entry.remaining, [ids]):
                entry = self._carve(entry, part, state, reason)
        self._rows.send()

    def _carve(self, entry: Entry, ids: Ids, state: str, reason: str) -> Entry:
        """Close missing ids in a row of their own; returns the entry of what lies above them.

        What lies below and has come is filled then: no row speaks of ids of different fates.
        """
        gap = entry.gap
        around = [(gap.first_id, ids[0] - 1), (ids[1] + 1, gap.last_id)]
        around = [part for part in around if part[0] <= part[1]]
        missing = 0 if state == "empty" else size([ids])
        if not around:
            self._end(entry, state, reason, missing=missing)
            return entry
        own = self._rows.part(entry, first_id=ids[0], last_id=ids[1], missing=size([ids]))
        kept = [entry]
        for first_id, last_id in around[1:]:
            kept.append(
                self._rows.part(
                    entry, first_id=first_id, last_id=last_id, missing=last_id - first_id + 1
                )
            )
        self._rows.narrow(entry, around[0])
        self._end(own, state, reason, missing=missing)
        for one in kept:
            self._close_if_filled(one)
        return kept[-1]

    def _end(self, entry: Entry, state: str, reason: str, **facts: Any) -> None:
        if state == AWAITING_ARCHIVE:
            self._rows.change(entry, state=state, reason=reason, **facts)
        else:
            self._rows.close(entry, state, reason, **facts)

    def reopen(self, gap: Gap) -> None:
        """A lost row, as the table has it: it is tried again."""
        assert gap.state == "lost"
        assert gap.gap_id not in self._rows
        state = "confirmed" if gap.last_id else "suspected"
        again = msgspec.structs.replace(
            gap, state=state, reason="", closed_ns=0, filled_rows=0, revision=gap.revision + 1
        )
        self._rows.add(again)
        self._rows.send()

    # --- over a restart ---------------------------------------------------------------------------

    def load(self, rows: Iterable[Gap]) -> None:
        """Take in what the table holds: open rows, and closed ones that explain missing ids.

        To be called once, when what the spool held is applied. Rows of this run are newer than the
        table's (R3); a hole that two rows tell stays with the older one.
        """
        assert self._rows.closed is not None
        for gap in rows:
            self._rows.note_time(gap.opened_ns)
            if gap.gap_id in self._rows.closed or gap.gap_id in self._rows:
                continue
            if not gap.is_open:
                self._settled[(gap.feed, gap.symbol)].append(gap)
                continue
            old = self._rows.add(gap, is_news=False)
            for new in self._rows.of_symbol(gap, gap.symbol):
                if new is not old and _is_same_hole(old, new):
                    self._merge(old, new)
        self._rows.closed = None
        self.is_loaded = True
        self._rows.send()

    def _merge(self, old: Entry, new: Entry) -> None:
        names = ["to_ns", "last_id", "missing", "exact", "state"]
        if new.gap.last_id:
            names.append("from_ns")  # of the row before the hole
        self._rows.change(old, **{name: getattr(new.gap, name) for name in names})
        old.remaining, old.due_ns, old.rest_rows = new.remaining, new.due_ns, new.rest_rows
        reason = f"same hole as {old.gap.gap_id}"
        self._rows.close(new, "empty", reason, last_id=0, missing=0)

    def reconcile(self, feed: FeedName, symbol: str, missing: Iterable[Ids]) -> list[Ids]:
        """Open rows for missing ids that no row tells of (a crash, damage), once after ``load``.

        Returns ids that the venue is known to skip: they are not missing.
        """
        settled = self._settled.pop((f"{feed.exchange}_{feed.market_type}", symbol), [])
        told = [entry.gap for entry in self._rows.of_symbol(feed, symbol)] + settled
        known = [(gap.first_id, gap.last_id) for gap in told if gap.last_id]
        begun = [gap.first_id for gap in told if gap.is_open and gap.first_id and not gap.last_id]
        for first_id, last_id in without(missing, known):
            if first_id in begun:
                continue  # ``look`` will see to it
            self._rows.open(
                feed, symbol, RESTART, first_id=first_id, last_id=last_id, exact=True,
                missing=last_id - first_id + 1, state="confirmed", to_ns=self._clock_ns(),
                reason="its own row was lost",
            )  # fmt: skip
        self._rows.send()
        return [(gap.first_id, gap.last_id) for gap in settled if gap.reason == NOT_OFFERED]


def _is_same_hole(old: Entry, new: Entry) -> bool:
    """Whether a row of an earlier run and one of this run tell the same hole."""
    if old.gap.cause not in CUTS or old.gap.last_id or old.is_of_old_ids:
        return False
    if old.gap.first_id:
        return new.gap.first_id == old.gap.first_id and not new.is_of_old_ids
    is_cut = new.gap.cause in CUTS and not new.gap.first_id
    return is_cut and not old.gap.to_ns and new.gap.from_ns >= old.gap.from_ns
