"""Who may have how much memory: the hour, the spool's buffers, the database's heap."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from pumpwatch.config import Config
from pumpwatch.errors import ConfigError

MIB = 1 << 20
BUDGET_PERCENT = 60  # of RAM or cgroup limit; the rest is page cache, and everybody else's
HEAP_MIB_MIN = 256  # the server does not start a busy table with less
HEAP_MIB_DEFAULT = 1024  # measured: enough at 150,000 rows/s
HOUR_MIB_MIN = 16


class MemoryPlan(msgspec.Struct, frozen=True, kw_only=True):
    """MiB each."""

    total_mib: int  # RAM, or the cgroup limit where that is less
    budget_mib: int
    hour_mib: int  # the in-memory hour
    heap_mib: int  # -Xmx of the embedded server; 0: the server is not ours
    spool_buffer_mib: int
    spare_mib: int  # for scratch servers (restore tests) and the process itself


def plan_memory(config: Config, total_mib: int) -> MemoryPlan:
    """Share the budget out. Raises ConfigError, naming the key, where something cannot fit."""
    memory, buffer_mib = config.memory, config.spool.buffer_max_mib
    budget_mib = memory.budget_mib or total_mib * BUDGET_PERCENT // 100
    if memory.budget_mib > total_mib:
        raise ConfigError(
            f"memory.budget_mib = {memory.budget_mib}: allowed: 0 or at most {total_mib}, "
            "the memory of this machine (or its cgroup limit)"
        )
    embedded = config.questdb.mode == "embedded"
    heap_mib_min = HEAP_MIB_MIN if embedded else 0
    hour_mib_max = budget_mib - heap_mib_min - buffer_mib
    if hour_mib_max < HOUR_MIB_MIN:
        needed = heap_mib_min + buffer_mib + HOUR_MIB_MIN
        raise ConfigError(
            f"memory.budget_mib = {memory.budget_mib}: gives {budget_mib} MiB of {total_mib} here; "
            f"allowed: at least {needed} (heap {heap_mib_min}, spool.buffer_max_mib {buffer_mib}, "
            f"hour {HOUR_MIB_MIN})"
        )
    if memory.max_mib > hour_mib_max:
        raise ConfigError(
            f"memory.max_mib = {memory.max_mib}: allowed: {HOUR_MIB_MIN} to {hour_mib_max} here "
            f"(budget {budget_mib} MiB of {total_mib}, less heap {heap_mib_min} and "
            f"spool.buffer_max_mib {buffer_mib})"
        )
    left_mib = budget_mib - buffer_mib - memory.max_mib
    heap_mib = min(HEAP_MIB_DEFAULT, left_mib) if embedded else 0
    return MemoryPlan(
        total_mib=total_mib,
        budget_mib=budget_mib,
        hour_mib=memory.max_mib,
        heap_mib=heap_mib,
        spool_buffer_mib=buffer_mib,
        spare_mib=left_mib - heap_mib,
    )


def fit_memory(config: Config, total_mib: int) -> Config:
    """The settings with the hour cut to what fits; for ``init`` and ``demo``, not for ``run``.

    Raises ConfigError where not even the smallest hour fits.
    """
    smallest = msgspec.structs.replace(config.memory, max_mib=HOUR_MIB_MIN)
    plan = plan_memory(msgspec.structs.replace(config, memory=smallest), total_mib)
    heap_mib_min = HEAP_MIB_MIN if plan.heap_mib else 0
    hour_mib_max = plan.budget_mib - heap_mib_min - plan.spool_buffer_mib
    hour_mib = min(config.memory.max_mib, hour_mib_max)
    memory = msgspec.structs.replace(config.memory, max_mib=hour_mib)
    return msgspec.structs.replace(config, memory=memory)


def host_memory_mib(root: Path = Path("/")) -> int:
    """RAM or the strictest cgroup limit above this process (v2 and v1), whichever is less."""
    limits = [_ram_bytes(root), *_cgroup_limits_bytes(root)]
    return min(limits) // MIB


def _ram_bytes(root: Path) -> int:
    for line in _read(root / "proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # no /proc: macOS


def _cgroup_limits_bytes(root: Path) -> list[int]:
    """Every limit on the way from our cgroup to the top; each of them binds.

    Inside a container the path in /proc/self/cgroup may be the host's and not exist here: then
    only the top is found, which is the container's own group.
    """
    mounts = root / "sys/fs/cgroup"
    limits: list[int] = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            places = [(mounts, "memory.max"), (mounts / "unified", "memory.max")]
        elif "memory" in controllers.split(","):
            places = [(mounts / "memory", "memory.limit_in_bytes")]
        else:
            continue
        parts = [part for part in path.split("/") if part and part != ".."]
        for top, file in places:
            for depth in range(len(parts) + 1):
                text = _read(top.joinpath(*parts[:depth], file)).strip()
                if text.isdigit():  # "max" and a missing file bind nothing
                    limits.append(int(text))
    return limits


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
