"""How fast work may go that can wait, while rows come in: backups, checksums, conversions.

It reads no more than so many bytes a second, leaves the server in peace for a while after each of
its answers, and gives way while the road is behind; but for ever it does not wait, as what a
checkpoint holds back grows.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

GIVE_WAY_S_MAX = 0.5  # at once: some work goes on, however busy the road is
LOOK_S = 0.1
BURST_S = 0.1  # what was not used earlier is not made up for


class Pace:
    """Of one piece of work. ``is_behind``: whether rows take longer than they should just now."""

    def __init__(
        self,
        *,
        bytes_per_s: float = 0.0,  # 0: as fast as it goes
        rest: float = 0.0,  # as a share of the time that the server has just worked
        is_behind: Callable[[], bool] = lambda: False,
    ) -> None:
        self._bytes_per_s = bytes_per_s
        self._rest = rest
        self._is_behind = is_behind
        self._due_s = 0.0

    async def spend(self, content_bytes: int) -> None:
        """After so many bytes were read or written; those that are zero cost nothing."""
        await self.give_way()
        if self._bytes_per_s:
            now_s = trio.current_time()
            self._due_s = max(self._due_s, now_s - BURST_S) + content_bytes / self._bytes_per_s
            await trio.sleep_until(self._due_s)

    async def worked(self, seconds: float) -> None:
        """After the server worked for us so long."""
        await trio.sleep(seconds * self._rest)
        await self.give_way()

    async def give_way(self) -> None:
        """Wait while the road is behind, a moment at the longest."""
        with trio.move_on_after(GIVE_WAY_S_MAX):
            while self._is_behind():  # noqa: ASYNC110 - it changes with every answer
                await trio.sleep(LOOK_S)

    def spend_in_thread(self, content_bytes: int) -> None:
        """``spend`` for a thread of trio's; it waits there."""
        trio.from_thread.run(self.spend, content_bytes)


AT_ONCE = Pace()  # for whom somebody waits
