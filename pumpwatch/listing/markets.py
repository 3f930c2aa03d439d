"""The market lists as second witness: what is new in them confirms a notice, or replaces one.

A new KRW market is a fact, though later than its notice. It becomes an event of its own only if
the notice board, asked after it was seen, does not know the coin either, or cannot be seen.
"""

from __future__ import annotations

from collections import Counter

import msgspec

from pumpwatch.listing.detector import Findings, Look
from pumpwatch.listing.events import EventBook, ListingAlert, ListingEvent
from pumpwatch.listing.notices import NS
from pumpwatch.listing.seen import MarketMemory, Memory

CHANNEL = "{}_markets"  # also the source of events that no notice stands behind
NEW_COINS_MAX = 10  # more at once are a change of the list, not listings
# A coin is delisted when so many lists in a row do not have it: answers with holes come (R21).
GONE_LISTS = 3
ANNOUNCED_NS_MAX = 60 * 24 * 3600 * NS  # a notice this old still explains a new market


class _Unexplained(msgspec.Struct, frozen=True):
    """A new market whose notice was not seen yet."""

    look: Look
    last_absent_ns: int


class MarketWitness:
    """Both exchanges' lists."""

    def __init__(self, memory: Memory, book: EventBook) -> None:
        self._memory = memory
        self._book = book
        self._unexplained: dict[tuple[str, str], _Unexplained] = {}
        self._gone: dict[str, Counter[str]] = {}

    def coins(self, source: str) -> frozenset[str] | None:
        """The coins with a KRW market, as last seen; None before the first list."""
        known = self._market(source).coins
        return None if known is None else frozenset(known)

    def look(self, source: str, coins: frozenset[str], look: Look) -> Findings:
        """A list that was fetched; the first one only seeds."""
        market = self._market(source)
        findings = Findings()
        if market.coins is None:
            market.coins = sorted(coins)
            findings.seeded, findings.must_save = len(coins), True
        else:
            self._compare(source, coins, look, findings)
        market.looked_ns = look.sent_ns
        return findings

    def settle(self, source: str, notices_looked_ns: int, *, is_blind: bool) -> Findings:
        """Decide on new markets: the board was last asked at ``notices_looked_ns``."""
        findings = Findings()
        for (place, coin), one in list(self._unexplained.items()):
            if place != source:
                continue
            is_explained = self._is_announced(source, coin, one.look.received_ns)
            if not is_explained and not is_blind and notices_looked_ns <= one.look.received_ns:
                continue
            del self._unexplained[source, coin]
            self._learn(source, coin)
            findings.must_save = True
            if not is_explained:
                self._event(source, coin, one, findings)
        return findings

    # --- inside -----------------------------------------------------------------------------------

    def _market(self, source: str) -> MarketMemory:
        return self._memory.markets.setdefault(source, MarketMemory())

    def _compare(self, source: str, coins: frozenset[str], look: Look, findings: Findings) -> None:
        market = self._market(source)
        assert market.coins is not None
        known = set(market.coins)
        new = [coin for coin in sorted(coins - known) if (source, coin) not in self._unexplained]
        if len(new) > NEW_COINS_MAX:
            market.coins = sorted(known | coins)
            findings.must_save = True
            text = f"{len(new)} new KRW markets at once ({', '.join(new[:5])} …): look at the list"
            findings.alerts.append(_alert(source, "markets", text, look))
            return
        for coin in new:
            self._unexplained[source, coin] = _Unexplained(look, market.looked_ns)
        gone = self._gone.setdefault(source, Counter())
        for coin in known - coins:
            gone[coin] += 1
        for coin in [coin for coin in gone if coin in coins]:
            del gone[coin]
        delisted = {coin for coin, lists in gone.items() if lists >= GONE_LISTS} & known
        if delisted:
            market.coins = sorted(known - delisted)
            findings.must_save = True

    def _is_announced(self, source: str, coin: str, now_ns: int) -> bool:
        return any(
            event.source == source
            and event.symbol == coin
            and abs(now_ns - event.announced_ns) <= ANNOUNCED_NS_MAX
            for event in self._book.all()
        )

    def _learn(self, source: str, coin: str) -> None:
        market = self._market(source)
        market.coins = sorted({*(market.coins or ()), coin})

    def _event(self, source: str, coin: str, one: _Unexplained, findings: Findings) -> None:
        event = ListingEvent(
            source=CHANNEL.format(source), notice_id=f"KRW-{coin}", symbol=coin,
            title=f"KRW-{coin} is new in {source}'s market list; no notice was seen", url="",
            channel=CHANNEL.format(source), announced_ns=one.look.received_ns,
            detected_ns=one.look.received_ns, last_absent_ns=one.last_absent_ns,
        )  # fmt: skip
        if self._book.put(event):
            findings.listed.append([event])
            text = f"KRW-{coin} opened without a notice that we saw: look for it on the board"
        else:
            text = f"KRW-{coin} opened once more; `listings add {coin} --at TIME` if it matters"
        findings.alerts.append(_alert(source, f"KRW-{coin}", text, one.look))


def _alert(source: str, about: str, text: str, look: Look) -> ListingAlert:
    return ListingAlert(
        kind="markets", source=source, about=about, text=text, at_ns=look.received_ns
    )
