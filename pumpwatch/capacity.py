"""What a rate of rows costs on this host, and whether it fits; sans-IO.

The costs are measured ones (bench/RESULTS.md, docs/capacity.md); they are of one row, with all
that hangs on it.
"""

from __future__ import annotations

from typing import Literal

import msgspec

TABLE_BYTES_PER_ROW = 90.0  # native partitions of the last day
PARQUET_BYTES_PER_ROW = 30.0  # closed hours older than a day
BACKUP_BYTES_PER_ROW = 24.0
SPOOL_BYTES_PER_ROW = 130.0  # until applied, a minute's worth at most when all is well
MEMORY_BYTES_PER_ROW = 72.0  # of the in-memory hour
WIRE_BYTES_PER_ROW = 190.0  # JSON and frame of a message with one trade
DAEMON_CPU_S_PER_ROW = 2.4e-6  # 56 connections; a busy connection costs less
DATABASE_CPU_S_PER_ROW = 3.2e-6  # taken in, applied, and the view of 1-second bars
STEADY_CORES = 0.45  # at any rate: commits several times a second, looks, keeping time
BURST = 10.0  # a listing's minute against the average
CPU_SHARE_MAX = 0.7
DISK_SHARE_MAX = 0.85
DAY_S = 86_400
RETENTION_DAYS = 30

State = Literal["fits", "tight", "too much"]


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """What this machine has."""

    processors: int
    disk_free_bytes: int  # with what our data holds already
    hour_bytes: int  # memory.max_mib
    window_s: int  # memory.window_s
    spool_bytes: int  # spool.disk_max_mib


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that the rate needs."""

    what: str
    needs: str
    has: str
    state: State


def plan(rows_per_s: float, host: Host) -> list[Line]:
    """A line for each thing that can run out."""
    day_rows = rows_per_s * DAY_S
    recent_bytes = day_rows * TABLE_BYTES_PER_ROW
    cold_bytes = day_rows * (RETENTION_DAYS - 1) * PARQUET_BYTES_PER_ROW
    table_bytes = recent_bytes + cold_bytes
    cores = cpu_cores(rows_per_s)
    burst_cores = cpu_cores(rows_per_s * BURST)
    held_s = host.hour_bytes / MEMORY_BYTES_PER_ROW / max(rows_per_s, 1e-9)
    outage_s = host.spool_bytes / SPOOL_BYTES_PER_ROW / max(rows_per_s, 1e-9)
    month = _gib(day_rows * RETENTION_DAYS * WIRE_BYTES_PER_ROW)
    return [
        Line(
            what="network", needs=f"{rows_per_s * WIRE_BYTES_PER_ROW * 8 / 1e6:.1f} Mbit/s",
            has=f"{month} a month", state="fits",
        ),
        Line(
            what="processors", needs=f"{cores:.2f} cores", has=f"{host.processors}",
            state=_state(cores / host.processors, CPU_SHARE_MAX),
        ),
        Line(
            what=f"processors, {BURST:g} times the rate", needs=f"{burst_cores:.2f} cores",
            has=f"{host.processors}", state=_state(burst_cores / host.processors, 1.0),
        ),
        Line(
            what="disk, last day", needs=_gib(recent_bytes), has=_gib(host.disk_free_bytes),
            state=_state(recent_bytes / max(host.disk_free_bytes, 1), DISK_SHARE_MAX),
        ),
        Line(
            what=f"disk, {RETENTION_DAYS} days (older than a day as Parquet)",
            needs=_gib(table_bytes), has=_gib(host.disk_free_bytes),
            state=_state(table_bytes / max(host.disk_free_bytes, 1), DISK_SHARE_MAX),
        ),
        Line(
            what="one backup", needs=_gib(day_rows * RETENTION_DAYS * BACKUP_BYTES_PER_ROW),
            has="better on another disk", state="fits",
        ),
        Line(
            what="memory window", needs=f"{host.window_s} s asked for",
            has=f"{held_s:,.0f} s in {_gib(host.hour_bytes)}",
            state="fits" if held_s >= host.window_s else "tight",
        ),
        Line(
            what="an outage of the database", needs="an hour is good", has=f"{outage_s:,.0f} s",
            state="fits" if outage_s >= 3600 else "tight",
        ),
    ]  # fmt: skip


def cpu_cores(rows_per_s: float) -> float:
    """Daemon and database together."""
    per_row = DAEMON_CPU_S_PER_ROW + DATABASE_CPU_S_PER_ROW
    return STEADY_CORES + rows_per_s * per_row


def _state(share: float, share_max: float) -> State:
    if share > share_max:
        return "too much"
    return "tight" if share > share_max * 0.8 else "fits"


def _gib(size_bytes: float) -> str:
    size = size_bytes / 2**30
    return f"{size:,.1f} GiB" if size < 1000 else f"{size / 1024:,.1f} TiB"
