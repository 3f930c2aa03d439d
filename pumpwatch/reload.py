"""SIGHUP: the settings are read again, and what can change without a stop is changed.

A file that is refused changes nothing, and the log says why. What needs a start anew is named.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from msgspec.structs import replace

from pumpwatch import log as logging
from pumpwatch.config import Config, load_config
from pumpwatch.errors import ConfigError
from pumpwatch.settings import Section, keys_of

if TYPE_CHECKING:
    from pumpwatch.daemon import Daemon

log = structlog.get_logger()

LIVE_SECTIONS = ("alerts.", "system.log_level")
LIVE_FEED_KEYS = (".symbols", ".quotes")  # of a feed that is recorded


def changed_keys(old: Section, new: Section, prefix: str = "") -> list[str]:
    """Dotted names of the keys that differ."""
    found: list[str] = []
    for key in keys_of(type(old)):
        before, after = getattr(old, key.name), getattr(new, key.name)
        if isinstance(before, Section):
            found += changed_keys(before, after, f"{prefix}{key.name}.")
        elif isinstance(before, dict):
            for name, section in before.items():
                found += changed_keys(section, after[name], f"{prefix}{key.name}.{name}.")
        elif before != after:
            found.append(f"{prefix}{key.name}")
    return found


def reload(daemon: Daemon, path: Path | None, environ: Mapping[str, str] = os.environ) -> bool:
    """Read and apply the settings; returns False where they are refused."""
    try:
        fresh = load_config(path, environ)
    except ConfigError as error:
        log.error("reload_refused", message=str(error), action="nothing was changed")  # noqa: TRY400
        return False
    changed = changed_keys(daemon.config, fresh)
    live = [key for key in changed if _is_live(key)]
    waiting = [key for key in changed if key not in live]
    apply(daemon, fresh)
    log.warning("reloaded", changed=live, need_a_restart=waiting)
    return True


def _is_live(key: str) -> bool:
    return key.startswith(LIVE_SECTIONS) or (
        key.startswith("feeds.") and key.endswith(LIVE_FEED_KEYS)
    )


def apply(daemon: Daemon, fresh: Config) -> None:
    """Change what can be changed while the daemon runs.

    Symbols and quotes: the next list brings what they add; no connection is closed for it. What
    they leave out is recorded until the next start, since rows that come are not thrown away.
    """
    feeds = {
        name: replace(feed, symbols=fresh.feeds[name].symbols, quotes=fresh.feeds[name].quotes)
        for name, feed in daemon.config.feeds.items()
    }
    system = replace(daemon.config.system, log_level=fresh.system.log_level)
    daemon.config = replace(daemon.config, feeds=feeds, alerts=fresh.alerts, system=system)
    for name, run in daemon.runs.items():
        run.use(feeds[name])
    if daemon.alerts is not None:
        daemon.alerts.use(fresh.alerts)
    logging.set_level(fresh.system.log_level)
