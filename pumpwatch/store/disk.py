"""How full the disks are: each file system measured apart, with levels that the writers can ask."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from enum import IntEnum
from pathlib import Path

import msgspec
import structlog
import trio

from pumpwatch.config import Config
from pumpwatch.config_upkeep import DiskConfig

log = structlog.get_logger()

LOOK_S = 5.0  # 150,000 rows/s are some 70 MB in that time
EASE_PERCENT = 1.0  # a level ends only this far below its limit: no flapping at the edge


class Level(IntEnum):
    """What a file system's fill means."""

    OK = 0
    WARN = 1
    EMERGENCY = 2  # the oldest days go
    STOP = 3  # nothing more is written there by the writers


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Of one file system, in bytes; ``available`` is what we may use of it."""

    device: int  # two folders with the same number share their room
    total_bytes: int
    used_bytes: int
    available_bytes: int

    @property
    def percent(self) -> float:
        """As df says it: used of what is used or usable."""
        usable = self.used_bytes + self.available_bytes
        return 100.0 * self.used_bytes / usable if usable else 100.0

    def bytes_over(self, percent: float) -> int:
        """How much must go until it is no more than this full."""
        return max(
            0, int(self.used_bytes - (self.used_bytes + self.available_bytes) * percent / 100)
        )


Measure = Callable[[Path], Usage]


def measure(path: Path) -> Usage:
    """Ask the kernel about the file system of a folder, or of the nearest one above it.

    Raises OSError.
    """
    while not path.exists() and path != path.parent:
        path = path.parent
    stat = os.statvfs(path)
    return Usage(
        device=path.stat().st_dev,
        total_bytes=stat.f_blocks * stat.f_frsize,
        used_bytes=(stat.f_blocks - stat.f_bfree) * stat.f_frsize,
        available_bytes=stat.f_bavail * stat.f_frsize,
    )


def next_level(now: Level, percent: float, rules: DiskConfig) -> Level:
    """The level at this fill: up at the limit, down only a little below it."""
    limits = {
        Level.STOP: rules.stop_percent,
        Level.EMERGENCY: rules.emergency_percent,
        Level.WARN: rules.warn_percent,
    }
    for level, limit in limits.items():
        if percent >= (limit - EASE_PERCENT if level <= now else limit):
            return level
    return Level.OK


class Volume:
    """One place that is watched."""

    def __init__(self, path: Path, usage: Usage) -> None:
        self.path = path
        self.usage = usage
        self.level = Level.OK


class DiskWatch:
    """The database, the spool and the backups, looked at every few seconds.

    ``writers_stopped`` is for the writers: True while the database's file system is as good as
    full. Rows then wait in the spool, and when that is full, in the sockets.
    """

    def __init__(
        self,
        paths: Mapping[str, Path],
        rules: DiskConfig,
        *,
        measure: Measure = measure,
        on_change: Callable[[str, Level, float], None] = lambda volume, level, percent: None,
    ) -> None:
        self._rules = rules
        self._measure = measure
        self._on_change = on_change
        self.volumes = {name: Volume(path, measure(path)) for name, path in paths.items()}
        self.emergency = trio.Event()  # set when the database's volume passes that limit
        self.look()

    @property
    def level(self) -> Level:
        """Of the database's file system; OK where the database is not ours to look after."""
        return self.volumes["database"].level if "database" in self.volumes else Level.OK

    @property
    def percent(self) -> float:
        """How full the database's file system is; 0 where it is not ours."""
        return self.volumes["database"].usage.percent if "database" in self.volumes else 0.0

    @property
    def used_bytes(self) -> int:
        """Of the database's file system; 0 where it is not ours."""
        return self.volumes["database"].usage.used_bytes if "database" in self.volumes else 0

    @property
    def writers_stopped(self) -> bool:
        """Whether the writers must leave the database's file system alone."""
        return self.level is Level.STOP

    def bytes_over_emergency(self) -> int:
        """What must go from the database's file system until it is below that level."""
        if "database" not in self.volumes:
            return 0
        limit_percent = self._rules.emergency_percent - EASE_PERCENT
        return self.volumes["database"].usage.bytes_over(limit_percent)

    def look(self) -> None:
        """Measure now; a change of level is said once."""
        for name, volume in self.volumes.items():
            volume.usage = self._measure(volume.path)
            level = next_level(volume.level, volume.usage.percent, self._rules)
            if level is not volume.level:
                tell = log.error if level >= Level.EMERGENCY else log.warning
                tell("disk_level", volume=name, path=str(volume.path), was=volume.level.name,
                     now=level.name, percent=round(volume.usage.percent, 1))  # fmt: skip
                volume.level = level
                self._on_change(name, level, volume.usage.percent)
        if self.level >= Level.EMERGENCY:
            self.emergency.set()
        elif self.emergency.is_set():
            self.emergency = trio.Event()

    async def run(self) -> None:
        """Look until cancelled; a disk that cannot be asked keeps its last level."""
        while True:
            await trio.sleep(LOOK_S)
            try:
                self.look()
            except OSError as error:
                log.warning("disk_not_measured", error=str(error))


def watched_paths(config: Config) -> dict[str, Path]:
    """Where the three lie; the database's and its backups' only where the database is ours."""
    ours = {
        "database": config.data_dir / "questdb",
        "backups": config.path(config.backup.directory),
    }
    is_ours = config.questdb.mode == "embedded"
    return {"spool": config.data_dir / "spool"} | (ours if is_ours else {})
