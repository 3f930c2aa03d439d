"""One detector and whether it can see: a web list, a market list, the socket."""

from __future__ import annotations

from typing import Literal

import trio

from pumpwatch.listing.board_client import BoardRefusedError
from pumpwatch.listing.events import ListingAlert
from pumpwatch.listing.pace import Pace

# One lost request is no blindness; a refusal is, from the first one on.
FAULTS_UNTIL_BLIND = 2

Sight = Literal["starting", "seeing", "blind"]


class Witness:
    """State for the status page and alerts, and the pace of the looks."""

    def __init__(self, name: str, source: str, pace: Pace) -> None:
        self.name = name
        self.source = source
        self.pace = pace
        self.state: Sight = "starting"
        self.reason = ""
        self.looks = 0
        self.good_ns = 0  # the last good look; 0: none yet
        self.blind_since_ns = 0
        self.hurry = trio.Event()  # set: look now

    @property
    def is_blind(self) -> bool:
        """Whether what happens on the board now would not be seen."""
        return self.state == "blind"

    def saw(self, now_ns: int) -> ListingAlert | None:
        """A good look; the alert says that it sees again."""
        was_blind, blind_since_ns = self.is_blind, self.blind_since_ns
        self.state, self.reason, self.blind_since_ns = "seeing", "", 0
        self.looks += 1
        self.good_ns = now_ns
        if not was_blind:
            return None
        blind_s = (now_ns - blind_since_ns) / 1e9
        return self._alert("sees_again", f"{self.name} sees again, after {blind_s:.0f} s", now_ns)

    def failed(self, error: Exception, now_ns: int, instead: str) -> ListingAlert | None:
        """A look that showed nothing; the alert says that it is blind, once."""
        self.reason = str(error)
        is_blind = isinstance(error, BoardRefusedError) or self.pace.faults >= FAULTS_UNTIL_BLIND
        if self.is_blind or not is_blind:
            return None
        self.state = "blind"
        self.blind_since_ns = self.good_ns or now_ns
        return self._alert("blind", f"{error}; {instead}", now_ns)

    async def pause(self, seconds: float) -> None:
        """Wait for the next look, shorter where somebody is in a hurry."""
        with trio.move_on_after(seconds):
            await self.hurry.wait()
        self.hurry = trio.Event()

    def _alert(self, kind: str, text: str, now_ns: int) -> ListingAlert:
        return ListingAlert(kind=kind, source=self.source, about=self.name, text=text, at_ns=now_ns)
