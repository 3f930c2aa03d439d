"""The command line's orders to a running daemon: given, then asked for until they are done."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from pumpwatch import errors
from pumpwatch.config import Config
from pumpwatch.daemon_client import act
from pumpwatch.environment import read_runtime
from pumpwatch.errors import PumpWatchError, ServerError

CREATE, RUN, ASK, ROTATE = "create_backup", "run_retention", "upkeep_order", "rotate_secrets"
VERIFY = "verify_backup"
SILENT_S_MAX = 120.0  # a page that is served anew, or a machine at its limits
PAUSE_S = 1.0
KINDS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, PumpWatchError)
}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an order."""

    number: int
    ended: bool
    error: str = ""
    kind: str = ""  # the error's class
    result: Any = None


def through_daemon(config: Config, action: str, **arguments: str) -> Answer | None:
    """Have the daemon of this data_dir do it, and wait for the end; None: no daemon can be asked.

    Raises what the work ended in, and ServerError where the daemon went away meanwhile.
    """
    runtime = read_runtime(config.data_dir)
    if runtime is None or not runtime.alive or runtime.dashboard_port is None:
        return None
    try:
        answer = _read(act(config, action, **arguments))
    except ServerError:
        return None  # whether it is busy or has no page: the lock decides who works
    silent_since_s = time.monotonic()
    while not answer.ended:
        try:
            answer = _read(act(config, ASK, number=str(answer.number)))
            silent_since_s = time.monotonic()
        except ServerError:
            if time.monotonic() - silent_since_s > SILENT_S_MAX:
                raise
            _pause()
    if answer.error:
        raise KINDS.get(answer.kind, PumpWatchError)(answer.error)
    return answer


def _read(text: str) -> Answer:
    return msgspec.json.decode(text, type=Answer)


def _pause() -> None:
    from threading import Event

    Event().wait(PAUSE_S)
