"""How the daemon stands, as a file: written by the daemon every second, read by ``status``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import psutil

from pumpwatch.config import Config
from pumpwatch.errors import PumpWatchError

STATUS_FILE = "status.json"
STALE_S = 15.0  # a daemon writes every second; one that does not for this long is stuck or gone


def write_status(data_dir: Path, document: dict[str, Any]) -> None:
    """Replace the status file as a whole, so that readers never see half of one."""
    path = data_dir / STATUS_FILE
    fresh = path.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(document))
    os.replace(fresh, path)


def read_status(config: Config) -> dict[str, Any]:
    """The daemon's last word. Raises PumpWatchError where no daemon runs on this data_dir."""
    path = config.data_dir / STATUS_FILE
    try:
        document: dict[str, Any] = msgspec.json.decode(path.read_bytes())
    except FileNotFoundError:
        raise PumpWatchError(
            f"no daemon has run on {config.data_dir}: start one with `pumpwatch run`"
        ) from None
    pid = int(document["pid"])
    if not psutil.pid_exists(pid):
        document["state"] = "stopped"
    return document
