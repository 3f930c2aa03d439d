"""Tells systemd how the daemon does: READY, STATUS, WATCHDOG, STOPPING (sd_notify(3)).

Without NOTIFY_SOCKET (not started by systemd, or Type= is another) nothing is sent.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import structlog
import trio

from pumpwatch.health_line import health_line

if TYPE_CHECKING:
    from pumpwatch.daemon import Daemon

log = structlog.get_logger()

STATUS_S = 10.0


class Notifier:
    """The socket that systemd listens on; sending never blocks and never raises."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self.watchdog_s = _watchdog_s(environ)

    def send(self, **fields: str) -> None:
        """``send(READY="1", STATUS="recording")``."""
        if not self._address:
            return
        # "@" stands for the zero byte of an abstract address.
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        text = "\n".join(f"{name}={value}" for name, value in fields.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as out:
                out.sendto(text.encode(), address)
        except OSError as error:
            log.warning("systemd_not_told", error=str(error))


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    """Half of what systemd waits for; None where it does not watch this process."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 2e6 if microseconds.isdigit() and int(microseconds) else None


async def run_notify(
    daemon: Daemon,
    notifier: Notifier,
    *,
    is_alive: Callable[[], bool] = lambda: True,
) -> None:
    """Tell systemd until cancelled.

    The watchdog is fed by the event loop, so it bites when that stands still, and only while the
    seat has looked lately: a daemon that no longer looks at itself is as good as stuck.
    """
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_status_loop, daemon, notifier)
        nursery.start_soon(_stopping, daemon, notifier)
        if notifier.watchdog_s is not None:
            nursery.start_soon(_watchdog_loop, notifier, notifier.watchdog_s, is_alive)


async def _status_loop(daemon: Daemon, notifier: Notifier) -> None:
    notifier.send(STATUS=daemon.state)
    await daemon.capturing.wait()
    notifier.send(READY="1", STATUS=health_line(daemon.seat.standing))
    while not daemon.stop.is_set():
        await trio.sleep(STATUS_S)
        notifier.send(STATUS=health_line(daemon.seat.standing))


async def _stopping(daemon: Daemon, notifier: Notifier) -> None:
    await daemon.stop.wait()
    notifier.send(STOPPING="1", STATUS="writing and draining what was received")


async def _watchdog_loop(
    notifier: Notifier, interval_s: float, is_alive: Callable[[], bool]
) -> None:
    while True:
        if is_alive():
            notifier.send(WATCHDOG="1")
        await trio.sleep(interval_s)
