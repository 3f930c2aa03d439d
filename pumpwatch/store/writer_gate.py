"""Where the writers wait: while a checkpoint is taken (R18), and while the database's disk is full.

Every request to the database passes here. Rows wait in the spool meanwhile, and when that has
reached its limit, in the sockets.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
import trio

log = structlog.get_logger()

HOLD_S_MAX = 2.0  # the spool absorbs it; more would show as lag (R18)
FLIGHT_S_MAX = 1.0  # of it, until the requests under way have their answers


class WriterGate:
    """One for all writers of a daemon."""

    def __init__(self, position: Callable[[], str] = lambda: "") -> None:
        """``position``: where the writers stand in the spool, as a text for manifests."""
        self._position = position
        self._is_stopped = False
        self._open_at_s: float | None = None  # writers wait until then; None: nobody holds them
        self._in_flight = 0
        self._changed = trio.Event()

    @property
    def is_stopped(self) -> bool:
        """Whether the disk keeps the writers away."""
        return self._is_stopped

    def stop(self, *, stopped: bool) -> None:
        """Keep the writers away from a disk that is full, or let them go on."""
        if stopped != self._is_stopped:
            self._is_stopped = stopped
            log.error("writers_stopped") if stopped else log.warning("writers_go_on")
            self._wake()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Inside, one request is under way; waits while the gate is closed."""
        while self._is_stopped or self._is_held():
            with trio.move_on_at(self._open_at_s or float("inf")):
                await self._changed.wait()
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1
            self._wake()

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[str | None]:
        """Inside, nothing is sent; gives where the writers stand (checkpoint.WriterHold).

        None: what was under way did not end in time, so that nothing is held. Whatever the body
        does, the writers go on after ``HOLD_S_MAX``.
        """
        assert self._open_at_s is None, "two checkpoints at once"
        self._open_at_s = trio.current_time() + HOLD_S_MAX
        try:
            with trio.move_on_after(FLIGHT_S_MAX):
                while self._in_flight:
                    await self._changed.wait()
            if self._in_flight:
                self._release()
                yield None
            else:
                yield self._position() or "0:0"
        finally:
            self._release()

    def _is_held(self) -> bool:
        return self._open_at_s is not None and trio.current_time() < self._open_at_s

    def _release(self) -> None:
        self._open_at_s = None
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()
