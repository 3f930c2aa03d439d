"""One feed: its instruments, shared out over slots, and what changes about both while it runs."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import msgspec
import structlog
import trio

from pumpwatch.capture.agreement import Agreement
from pumpwatch.capture.feed_state import FeedState
from pumpwatch.capture.instruments import KrwCoins, Listing, fetch_listing
from pumpwatch.capture.ledger import LATE_SUBSCRIPTION, Edge
from pumpwatch.capture.pacing import Backoff, ConnectPacer
from pumpwatch.capture.plan import plan_connections, rank, room_of, slots_max
from pumpwatch.capture.roster import Changes, Roster
from pumpwatch.capture.route import Route
from pumpwatch.capture.slot import Slot
from pumpwatch.config import FeedConfig
from pumpwatch.errors import VenueError
from pumpwatch.model import Instrument, InstrumentState
from pumpwatch.venues.spec import FeedSpec, Rest, Target, connection_target, websocket_urls

log = structlog.get_logger()

LIST_RETRY_S_MAX = 15.0
LIST_S_MIN, LIST_S_MAX = 10.0, 30.0  # between two lists (R21)
LIST_SHARE = 0.05  # of the REST budget that lists may take
LOOK_S = 1.0
EARLY_RETRY_S = 1.0  # a venue that takes no subscription before the first trade is asked so often
REFUSED_RETRY_S = 60.0
# A list may name an instrument so long after its first trade: it is made anew now and then.
LIST_BEHIND_NS = 60 * 10**9
GONE_QUIET_S = 300.0  # without a trade for so long, an instrument that is gone has had its last


class FeedRun:
    """A feed's slots and instruments; ``run`` keeps them until ``stop``."""

    def __init__(
        self,
        feed: FeedState,
        config: FeedConfig,
        rest: Rest,
        pacer: ConnectPacer,
        rng: random.Random,
        stop: trio.Event,
        krw_coins: Callable[[], KrwCoins],
        known: Iterable[InstrumentState] = (),
    ) -> None:
        self.feed = feed
        feed.subscribe_anew = self._subscribe_anew
        feed.dial_now = self._dial_now
        feed.renew = self._renew
        self._urls = websocket_urls(feed.spec, config) if feed.spec.token is None else ()
        self._route = Route(len(self._urls))
        feed.note_mute = self._route.note_mute
        self.roster = Roster(known)
        self.slots: list[Slot] = []
        self._spec: FeedSpec = feed.spec
        self._config = config
        self._rest = rest
        self._pacer = pacer
        self._rng = rng
        self._stop = stop
        self._krw_coins = krw_coins
        self._copies = config.redundancy
        self._to_renew: list[Slot] = []  # one after the other: a venue limits connections
        self._last_slot = 0
        self._statuses = {
            one.instrument.venue_symbol: one.instrument.status for one in self.roster.known()
        }  # of all that any list named
        self._awaited: set[str] = set()  # did not trade when they were placed, and are not carried
        self._gone: dict[str, tuple[int, float]] = {}  # rows then, and since when there was no more
        if config.redundancy > 1:
            feed.agreement = Agreement()

    def use(self, config: FeedConfig) -> None:
        """Other symbols and quotes, from the next list on; what they leave out stays subscribed."""
        self._config = msgspec.structs.replace(
            self._config, symbols=config.symbols, quotes=config.quotes
        )

    async def target(self) -> Target:
        """Where the next connection goes, when it is its turn. Raises VenueError."""
        await self._pacer.turn()
        return await connection_target(
            self._spec, self._rest, self._config, self._rng, route=self._route.number
        )

    async def run(self, on_listed: Callable[[FeedState], None]) -> None:
        """Record until ``stop``; what fails here fails for this feed only, and is tried again.

        ``on_listed`` is called when the instruments are known and nothing is connected yet.
        """
        listing: Listing | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_when, self._stop, nursery.cancel_scope)
            listing = await self._first_listing()
            nursery.cancel_scope.cancel()
        if listing is None:
            return
        changes = self._take(listing)
        self.feed.add_instruments(changes.added)
        on_listed(self.feed)
        self.feed.state = "running"
        async with trio.open_nursery() as slots:
            self._plan(slots, changes.added)
            async with trio.open_nursery() as watch:
                watch.start_soon(self._poll, slots, listing.requests)
                watch.start_soon(self._look)
                watch.start_soon(self._ask_again)
                await self._stop.wait()
                self.feed.state = "stopping"
                watch.cancel_scope.cancel()
        self.feed.state = "stopped"

    # --- lists ------------------------------------------------------------------------------------

    async def _first_listing(self) -> Listing:
        """The instrument list, asked for until the venue gives one with something to record."""
        feed, backoff = self.feed, Backoff(self._rng, LIST_RETRY_S_MAX)
        while True:
            try:
                listing = await self._fetch(is_first=True)
            except VenueError as error:
                feed.state, feed.error = "failing", str(error)
                log.warning("instruments_failed", feed=self._spec.name, message=str(error))
            else:
                if listing.instruments:
                    feed.error = ""
                    return listing
                feed.state = "failing"
                feed.error = "no instrument matches symbols and quotes"
                log.warning("no_instruments", feed=self._spec.name, message=feed.error,
                            symbols=list(self._config.symbols))  # fmt: skip
            await trio.sleep(backoff.next_s())

    async def _fetch(self, *, is_first: bool) -> Listing:
        listing = await fetch_listing(
            self._spec, self._rest, self._config, self._krw_coins(), is_first=is_first,
            before=self._statuses,
        )  # fmt: skip
        self._statuses.update(listing.statuses)
        return listing

    async def _poll(self, nursery: trio.Nursery, requests: int) -> None:
        while True:
            await trio.sleep(poll_interval_s(self._spec, requests))
            try:
                listing = await self._fetch(is_first=False)
            except VenueError as error:
                log.warning("instruments_failed", feed=self._spec.name, message=str(error))
                continue
            requests = listing.requests
            self._apply(nursery, self._take(listing))

    def _take(self, listing: Listing) -> Changes:
        changes = self.roster.take(listing.instruments, listing.statuses, self.feed.clock.wall_ns())
        if changes.held_back:
            log.warning("list_shrank", feed=self._spec.name, missing=changes.held_back,
                        message="not believed before a second list says so")  # fmt: skip
        self._revalue(changes)
        self.feed.side.instruments(changes.states)
        return changes

    def _revalue(self, changes: Changes) -> None:
        """R13: from this list on rows count by the new value; before it, nobody knows by which."""
        feed = self.feed
        for old, new in changes.revalued:
            since_ns = changes.since_ns
            if new.venue_symbol in feed.instruments:
                feed.revalue(old, new, since_ns)
            reason = (
                f"{old.contract_value} -> {new.contract_value},"
                f" price exponent {old.price_exponent} -> {new.price_exponent}"
            )
            log.warning("contract_value", feed=self._spec.name, symbol=new.symbol, change=reason)
            feed.ledger.suspect(
                self._spec, new.symbol, "contract_value", since_ns, feed.clock.wall_ns(), reason
            )

    # --- slots ------------------------------------------------------------------------------------

    def _plan(self, nursery: trio.Nursery, instruments: list[Instrument]) -> None:
        plan = plan_connections(
            self._spec, instruments,
            connections_max=slots_max(self._config.connections_max), redundancy=self._copies,
        )  # fmt: skip
        self._leave_out(list(plan.left_out))
        self._want(one for members in plan.connections for one in members)
        for members in plan.connections:
            self._open_slot(nursery, members)

    def _open_slot(self, nursery: trio.Nursery, members: Iterable[Instrument]) -> None:
        self._last_slot += 1
        child = random.Random(self._rng.getrandbits(64))
        slot = Slot(self._last_slot, self.feed, self, child, self._stop, members)
        self.slots.append(slot)
        nursery.start_soon(self._keep, slot)

    async def _keep(self, slot: Slot) -> None:
        await slot.run()
        self.slots.remove(slot)

    def _want(self, instruments: Iterable[Instrument]) -> None:
        """What trades must be carried; what does not yet, where the venue can send it."""
        instruments = list(instruments)
        self._awaited.update(one.venue_symbol for one in instruments if one.status == "prelaunch")
        self.feed.want(
            one.venue_symbol
            for one in instruments
            if one.status == "trading" or self._spec.prelaunch_has_feed
        )

    def _leave_out(self, instruments: list[Instrument]) -> None:
        if len(instruments) > len(self.feed.left_out):
            log.warning("symbols_left_out", feed=self._spec.name, symbols=len(instruments))
        self.feed.left_out = instruments

    def _apply(self, nursery: trio.Nursery, changes: Changes) -> None:
        """Subscribe what is new, see what is gone off."""
        feed, now_s = self.feed, trio.current_time()
        feed.add_instruments(changes.added)
        self._place(nursery, changes.added, changes.since_ns)
        self._want(one for one in changes.begun if self._slots_of(one))
        for one in changes.gone:
            self._gone[one.venue_symbol] = (self._rows(one.venue_symbol), now_s)
        for one in changes.added:
            self._gone.pop(one.venue_symbol, None)
        self._leave_quiet(now_s)
        if feed.left_out:
            self._place(nursery, [], changes.since_ns)

    def _place(self, nursery: trio.Nursery, instruments: list[Instrument], since_ns: int) -> None:
        """Give instruments a connection; those that found no place before have another try.

        What trades already was missed since the list before, or longer if that was behind; what
        does not may begin before the venue takes the subscription.
        """
        waiting = sorted([*self.feed.left_out, *instruments], key=rank)
        placed: dict[Slot | None, list[Instrument]] = {}
        left_out = []
        for one in waiting:
            slots = self._room_for(one, placed)
            if not slots:
                left_out.append(one)
            for slot in slots:
                placed.setdefault(slot, []).append(one)
        for slot, some in placed.items():
            if slot is None:
                room = room_of(self._spec)
                for first in range(0, len(some), room):
                    self._open_slot(nursery, some[first : first + room])
            else:
                slot.add(some)
        fresh = [one for some in placed.values() for one in some]
        self._want(fresh)
        # Where a subscription before trading is refused, its acceptance opens the hole.
        if not self._spec.prelaunch_has_feed:
            waits = [one.venue_symbol for one in fresh if one.status == "prelaunch"]
            self.feed.expect_refusal(waits, since_ns)
        may_trade = {"trading", "prelaunch"} if self._spec.prelaunch_has_feed else {"trading"}
        late = {one.symbol for one in fresh if one.status in may_trade}
        from_ns = max(since_ns - LIST_BEHIND_NS, 0)
        edges = [Edge(symbol, from_ns) for symbol in sorted(late)]
        self.feed.ledger.cut(self._spec, edges, cause=LATE_SUBSCRIPTION)
        self._leave_out(left_out)
        if fresh:
            log.info("instruments_added", feed=self._spec.name, symbols=len(fresh),
                     first=[one.symbol for one in fresh[:5]])  # fmt: skip

    def _room_for(
        self, instrument: Instrument, placed: dict[Slot | None, list[Instrument]]
    ) -> list[Slot | None]:
        """A slot for each copy; None stands for a new one, [] for no place."""
        present = self._slots_of(instrument)
        if present:
            return []
        room = room_of(self._spec)
        free = sorted(
            (slot for slot in self.slots if len(slot.members) + len(placed.get(slot, [])) < room),
            key=lambda slot: len(slot.members) + len(placed.get(slot, [])),
        )
        found: list[Slot | None] = [*free[: self._copies]]
        limit = slots_max(self._config.connections_max)
        coming = -(-len(placed.get(None, [])) // room)
        may_open = not limit or len(self.slots) + coming < limit
        if len(found) < self._copies and (may_open or len(placed.get(None, [])) % room):
            found.append(None)
        return found

    def _subscribe_anew(self, venue_symbol: str) -> None:
        """Another connection for what this one does not bring, though the venue took it."""
        for slot in self.slots:
            if venue_symbol in slot.members:
                slot.replace(venue_symbol)

    def _dial_now(self) -> None:
        for slot in self.slots:
            slot.dial_now()

    def _renew(self) -> int:
        self._to_renew = list(self.slots)
        return len(self._to_renew)

    def _renew_next(self) -> None:
        if self._to_renew and not any(slot.is_renewing for slot in self.slots):
            self._to_renew.pop(0).renew()

    def _slots_of(self, instrument: Instrument) -> list[Slot]:
        return [slot for slot in self.slots if instrument.venue_symbol in slot.members]

    def _rows(self, venue_symbol: str) -> int:
        number = self.feed.table.number(venue_symbol)
        return 0 if number is None else self.feed.table.rows(number)

    def _leave_quiet(self, now_s: float) -> None:
        """Unsubscribe what is gone, after its last trade."""
        for name, (rows, since_s) in list(self._gone.items()):
            if self._rows(name) != rows:
                self._gone[name] = (self._rows(name), now_s)
            elif now_s - since_s >= GONE_QUIET_S:
                del self._gone[name]
                for slot in list(self.slots):
                    slot.leave([name])
                self.feed.unwant([name])
                log.info("instrument_gone", feed=self._spec.name, symbol=name)

    # --- once in a while --------------------------------------------------------------------------

    async def _look(self) -> None:
        while True:
            self.feed.look()
            self._look_at_route()
            self._renew_next()
            await trio.sleep(LOOK_S)

    def _look_at_route(self) -> None:
        """Another address for all connections where this one is silent, and symbols trade."""
        feed = self.feed
        if not self._route.is_doubted:
            return
        heard_ns = max(map(feed.heard_ns, feed.coverage.wanted), default=0)
        if self._route.look(feed.clock.wall_ns(), heard_ns, feed.subscribed):
            url = self._urls[self._route.number]
            feed.route = url if self._route.number else ""
            log.error("route_silent", feed=self._spec.name, tried=url,
                      message="nothing comes from the address, though symbols trade")  # fmt: skip
            self._renew()

    async def _ask_again(self) -> None:
        """Refusals are not for ever, least of all those of instruments that do not trade yet."""
        next_s = trio.current_time() + REFUSED_RETRY_S
        while True:
            await trio.sleep(EARLY_RETRY_S)
            coverage, names = self.feed.coverage, set(self.feed.refused)
            # Until it is carried, not until the list says that it trades: that may come first.
            self._awaited = {name for name in self._awaited if not coverage.since_ns(name)}
            if trio.current_time() < next_s:
                names -= coverage.wanted - self._awaited
            else:
                next_s += REFUSED_RETRY_S
            for slot in self.slots:
                slot.ask_again(names & slot.members.keys())


def poll_interval_s(spec: FeedSpec, requests: int) -> float:
    """Between two lists: as short as a small share of the REST budget allows."""
    allowance = spec.rest_allowance
    weight_per_s = LIST_SHARE * allowance.units / allowance.per_s
    wanted_s = requests * spec.instruments.weight / weight_per_s
    return min(max(wanted_s, LIST_S_MIN), LIST_S_MAX)


async def _cancel_when(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
