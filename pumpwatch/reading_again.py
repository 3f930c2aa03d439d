"""``quarantine retry``: messages that could not be read go through today's parser.

One feed after the other, segment by segment: rows go to the spool by the road of the running daemon
(origin backfill, the key that they would have had), what still cannot be read stays. Only when the
rows are spooled do their messages leave the disk; a crash in between reads them twice, which gives
the same keys (promise 2). Then the ledger is told: a row of cause ``quarantine`` closes when none
of its messages is left, and a hole whose ids came closes as ever, also one that was lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
import structlog
import trio

from pumpwatch.capture.feed_state import FeedState
from pumpwatch.capture.ledger import NOT_KEPT, QUARANTINE
from pumpwatch.capture.ranges import ENDLESS, common
from pumpwatch.dashboard.actions import Action
from pumpwatch.errors import PumpWatchError, ServerError, UsageError
from pumpwatch.model import Gap
from pumpwatch.quarantine_orders import RETRY, STATE, ReadAgain
from pumpwatch.store.gap_rows import Questions, read_lost_gaps
from pumpwatch.store.kept_messages import DAY_NS
from pumpwatch.store.message_files import KeptMessage, Sealed, read_messages

if TYPE_CHECKING:
    from pumpwatch.daemon import Daemon

log = structlog.get_logger()

AT_ONCE = 200  # messages between two looks at what else is to do
LOOK_S = 3600.0  # between two looks for what is too old
WAIT_S = 5.0  # of one question for the result
UNALIGNED = "unaligned"  # says nothing here: these messages were picked out of a stream

Renames = Sequence[tuple[bytes, bytes]]


def read_renames(text: str) -> Renames:
    """``z=p,y=q``: the member z is read as p. Raises UsageError."""
    pairs = []
    for part in filter(None, text.split(",")):
        new, _, old = part.partition("=")
        if not new or not old or '"' in part or "\\" in part:
            raise UsageError(f"--rename {part[:40]}: allowed: NEW=OLD, names of JSON members")
        pairs.append((f'"{new}":'.encode(), f'"{old}":'.encode()))
    return pairs


class ReadingAgain:
    """Does it, one order at a time; ``run`` it beside the capture."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._side = daemon.side
        self._state = ReadAgain(ended=True)
        self._wanted: tuple[list[FeedState], Renames] | None = None
        self._arrived = trio.Event()
        self._ended = trio.Event()
        daemon.desk.add(
            RETRY,
            Action(
                help="Read the messages of the quarantine again.",
                arguments={
                    "feed?": "of this feed, as okx_spot",
                    "rename?": "NEW=OLD,…: a member that has another name now",
                },
                run=self._give,
            ),
        )
        daemon.desk.add(
            STATE,
            Action(help="What became of the last retry_quarantine.", arguments={}, run=self._ask),
        )

    async def _give(self, arguments: Mapping[str, str]) -> str:
        name = arguments.get("feed", "")
        feeds = [feed for feed in self._daemon.feeds if name in ("", feed.spec.name)]
        if not feeds:
            raise UsageError(f"feed {name[:40]!r}: no such feed is recorded")
        if not self._state.ended:
            raise UsageError("the messages are being read again: wait for the end")
        self._wanted = feeds, read_renames(arguments.get("rename", ""))
        self._state, self._ended = ReadAgain(), trio.Event()
        self._arrived.set()
        return await self._ask({})

    async def _ask(self, _arguments: Mapping[str, str]) -> str:
        if not self._state.ended:
            with trio.move_on_after(WAIT_S):
                await self._ended.wait()
        return msgspec.json.encode(self._state).decode()

    async def run(self, sql: Questions) -> None:
        """Until cancelled."""
        while True:
            self._give_up_old()
            with trio.move_on_after(LOOK_S):
                await self._arrived.wait()
            if self._wanted is None:
                continue
            (feeds, renames), self._wanted = self._wanted, None
            self._arrived = trio.Event()
            try:
                for feed in feeds:
                    await self.read_feed(feed, sql, renames, self._state)
            except (PumpWatchError, OSError) as error:
                self._state.error = str(error)
                log.warning("quarantine_retry_failed", message=str(error))
            self._state.ended = True
            log.info("quarantine_retried", text=self._state.text())
            self._ended.set()

    def _give_up_old(self) -> None:
        """What is not on the disk any more cannot be read one day."""
        ledger = self._daemon.ledger
        days = self._daemon.config.quarantine.keep_days
        before_ns = self._daemon.clock.wall_ns() - days * DAY_NS
        for gap in ledger.open_gaps():
            if gap.cause == QUARANTINE and 0 < gap.to_ns < before_ns:
                ledger.lost(gap.gap_id, f"kept for {days} days, and no parser could read it")

    # --- one feed ---------------------------------------------------------------------------------

    async def read_feed(
        self, feed: FeedState, sql: Questions, renames: Renames, state: ReadAgain
    ) -> None:
        """All messages of one feed that were kept until now; counts go to ``state``.

        Raises OSError.
        """
        name = feed.spec.name
        kept_before = self._side.messages.kept[name]
        segments = await self._side.messages.seal(name)
        feed.road.begin_again()
        stay: list[int] = []  # when they were received
        rows: list[tuple[int, int]] = []  # (when a message was received, new rows in it)
        for segment in segments:
            await self._read_segment(feed, segment, renames, stay, rows, state)
        if segments:
            came_meanwhile = self._side.messages.kept[name] > kept_before
            state.closed += self._close(feed, stay, rows, may_be_all=not came_meanwhile)
            state.closed += await self._reopen_lost(feed, sql, rows)

    async def _read_segment(
        self, feed: FeedState, segment: Sealed, renames: Renames, stay: list[int],
        rows: list[tuple[int, int]], state: ReadAgain,
    ) -> None:  # fmt: skip
        messages = await trio.to_thread.run_sync(lambda: list(read_messages(segment.path)))
        unread: list[KeptMessage] = []
        for number, message in enumerate(messages):
            if number % AT_ONCE == 0:
                self._send(feed)
                await feed.sink.room()
                await trio.lowlevel.checkpoint()
            state.messages += 1
            found = self._read(feed, message, renames, state)
            if found is None:
                unread.append(message)
                stay.append(message.at_ns)
            else:
                rows.append((message.at_ns, found))
        self._send(feed)
        state.stay += len(unread)
        if len(unread) < len(messages):
            await self._daemon.spool.written()
            await self._side.messages.replace(feed.spec.name, segment, unread)

    def _read(
        self, feed: FeedState, message: KeptMessage, renames: Renames, state: ReadAgain
    ) -> int | None:
        """The new rows in it; None: it still cannot be read, or not all of it."""
        raw = message.raw
        for new, old in renames:
            raw = raw.replace(new, old)
        now_ns = feed.clock.wall_ns()
        verdict, new_rows, repeated, refused = feed.road.take_again(
            raw, min(message.at_ns, now_ns), now_ns
        )
        state.rows += new_rows
        state.repeated += repeated
        self._side.quarantine.rows[feed.spec.name] += refused
        if verdict in ("malformed", "full") or refused:
            return None
        state.read += 1
        return new_rows

    def _send(self, feed: FeedState) -> None:
        news = [one for one in feed.road.take_backfill_news() if one[0] != UNALIGNED]
        feed.take_news(news)
        feed.flush()

    # --- the ledger -------------------------------------------------------------------------------

    def _close(
        self, feed: FeedState, stay: list[int], rows: list[tuple[int, int]], *, may_be_all: bool
    ) -> int:
        """Returns rows closed. ``may_be_all``: nothing is on the disk but what stays."""
        closed = 0
        feed.look()
        ledger = feed.ledger
        for gap in ledger.open_gaps(feed.spec.name):
            if gap.cause != QUARANTINE or gap.reason == NOT_KEPT:
                continue
            found = sum(count for at_ns, count in rows if gap.from_ns <= at_ns <= gap.to_ns)
            is_met = any(gap.from_ns <= at_ns <= gap.to_ns for at_ns, _ in rows)
            is_left = any(gap.from_ns <= at_ns <= gap.to_ns for at_ns in stay)
            if is_met:
                is_all = may_be_all and not is_left
                ledger.read_again(gap.gap_id, found, is_all=is_all)
                closed += is_all
        return closed

    async def _reopen_lost(
        self, feed: FeedState, sql: Questions, rows: list[tuple[int, int]]
    ) -> int:
        """Holes that were given up, of whose ids some came now: what came is filled after all."""
        if not feed.counts_up or not any(count for _, count in rows):
            return 0
        try:
            lost = await read_lost_gaps(sql, feed=feed.spec.name)
        except ServerError as error:
            log.warning("lost_gaps_not_read", feed=feed.spec.name, message=str(error))
            return 0
        closed = 0
        for gap in lost:
            if gap.last_id and feed.ledger.find(gap.gap_id) is None and _came(feed, gap):
                feed.ledger.reopen(gap)
                feed.look()
                if feed.ledger.find(gap.gap_id) is not None:
                    feed.ledger.lost(gap.gap_id, gap.reason)
                closed += 1
        return closed


def _came(feed: FeedState, gap: Gap) -> bool:
    """Whether any id of a lost hole is seen by now."""
    position = feed.position(gap.symbol)
    if position is None or not position[1]:
        return False
    seen_from, seen_to, _, missing = position
    unseen = [(0, seen_from - 1), *missing, (seen_to + 1, ENDLESS)]
    return common([(gap.first_id, gap.last_id)], unseen) != [(gap.first_id, gap.last_id)]
