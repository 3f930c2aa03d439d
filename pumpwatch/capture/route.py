"""Which of a feed's addresses is connected to, where a venue moves its streams. Sans I/O.

On the wrong one a subscription is acknowledged and nothing ever comes (FEEDS.md, Binance futures).
Only comparisons with the venue's lists tell that from a quiet market: several symbols trade, and
for a minute nothing of the whole feed has come.
"""

from __future__ import annotations

SILENT_NS = 60 * 10**9  # of the whole feed
MUTE_SYMBOLS = 3  # that trade meanwhile; one or two may have a cause of their own


class Route:
    """``count`` addresses, taken in turn; the first is the one that should be right."""

    def __init__(self, count: int) -> None:
        self.number = 0
        self._count = count
        self._since_ns = 0  # of this address, or since when something came of it
        self._mute: set[str] = set()  # since anything came

    @property
    def is_doubted(self) -> bool:
        """Some symbol trades, and there is another address."""
        return self._count > 1 and bool(self._mute)

    def note_mute(self, venue_symbol: str) -> None:
        """It trades, and nothing of it comes."""
        self._mute.add(venue_symbol)

    def look(self, now_ns: int, heard_ns: int, carried: int) -> bool:
        """Whether the next address is to be tried from now on; ``heard_ns``: the feed's last row.

        ``carried``: how many symbols the venue says that it sends.
        """
        self._since_ns = max(self._since_ns or now_ns, heard_ns)
        if now_ns - self._since_ns <= SILENT_NS:
            if heard_ns == self._since_ns:
                self._mute.clear()
            return False
        if self._count < 2 or len(self._mute) < max(1, min(MUTE_SYMBOLS, carried)):
            return False
        self.number = (self.number + 1) % self._count
        self._since_ns = now_ns
        self._mute.clear()
        return True
