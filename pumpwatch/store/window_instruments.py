"""Which instruments a question means, feed by feed, and under which names. Sans I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from pumpwatch._fast.trade_rows import Label
from pumpwatch.model import InstrumentState
from pumpwatch.store.window_model import UsedInstrument, WindowQuestion

OTHER_COIN = "same ticker, another coin"
UNLISTED = "rows of a symbol that the feed's instruments do not name"


class Meant(msgspec.Struct, frozen=True):
    """What a question means on one feed."""

    feed: str
    used: tuple[UsedInstrument, ...]
    labels: tuple[Label, ...]  # in canonical order; one for each symbol

    def names(self, symbol: str) -> list[str]:
        """The venue's names of a symbol: rarely two."""
        return [
            one.instrument.venue_symbol
            for one in self.used
            if one.is_used and one.instrument.symbol == symbol
        ]


class InstrumentIndex:
    """The latest state of every instrument, found by coin, by ticker and by symbol."""

    def __init__(self, states: Iterable[InstrumentState] = ()) -> None:
        self._states: dict[tuple[str, str], InstrumentState] = {}
        self._by_word: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
        self.update(states)

    def __len__(self) -> int:
        return len(self._states)

    def update(self, states: Iterable[InstrumentState]) -> None:
        """Take in newer states; older ones than what is known change nothing."""
        for state in states:
            one = state.instrument
            key = (one.feed, one.venue_symbol)
            known = self._states.get(key)
            if known is not None and known.valid_from_ns > state.valid_from_ns:
                continue
            if known is not None:
                for word in _words(known):
                    self._by_word[word].discard(key)
            self._states[key] = state
            for word in _words(state):
                self._by_word[word].add(key)

    def meant(self, question: WindowQuestion, feeds: Sequence[str]) -> list[Meant]:
        """One for each feed, in the given order.

        A symbol that is the coin's on one feed is looked for on the feeds that do not name it, too:
        they may hold rows of it, and what a feed names as another coin's is left out.
        """
        words = (question.coin,) if question.coin else question.symbols
        keys = {key for word in words for key in self._by_word.get(word, ())}
        found: defaultdict[str, list[UsedInstrument]] = defaultdict(list)
        symbols = set(question.symbols)
        for key in sorted(keys):
            used = self._judge(self._states[key], question)
            if used is None:
                continue
            found[key[0]].append(used)
            if used.is_used:
                symbols.add(used.instrument.symbol)
        return [_meant(feed, found[feed], symbols) for feed in feeds]

    def _judge(self, state: InstrumentState, question: WindowQuestion) -> UsedInstrument | None:
        one = state.instrument
        if question.symbols and one.symbol not in question.symbols:
            return None  # found by its coin, which is spelt like a symbol
        notes = []
        is_used = not question.coin or one.coin == question.coin
        if not is_used:
            notes.append(f"{OTHER_COIN}: {one.coin}")
        elif one.unit != 1:
            notes.append(f"1 {one.base} = {one.unit} {one.coin}")
        if one.status != "trading":
            notes.append(one.status)
        return UsedInstrument(
            instrument=one, first_seen_ns=state.first_seen_ns, is_used=is_used,
            note=", ".join(notes),
        )  # fmt: skip


def _words(state: InstrumentState) -> set[str]:
    one = state.instrument
    return {one.coin, one.base, one.symbol} - {""}


def _meant(feed: str, found: list[UsedInstrument], symbols: set[str]) -> Meant:
    exchange, _, market_type = feed.partition("_")
    # What trades first: its name stands for both where a feed has two of one symbol.
    ranked = sorted(found, key=lambda one: one.instrument.status != "trading")
    names: dict[str, str] = {}
    for one in ranked:
        if one.is_used:
            names.setdefault(one.instrument.symbol, one.instrument.venue_symbol)
    others = {one.instrument.symbol for one in found if not one.is_used} - names.keys()
    labels = [
        Label(exchange, market_type, symbol, names.get(symbol, ""))
        for symbol in sorted(symbols - others)
    ]
    return Meant(feed, tuple(found), tuple(labels))
