"""Which partitions go, sans-IO: by age, and by room when the disk fills.

Laws: never the newest partition nor one that reaches past now, never one younger than the floor,
never one that holds a listing's window which is not kept elsewhere, and never one behind such a
one: what goes is always the oldest part as a whole (retention.py says why). Days are whole days of
UTC: with 30 days the rows of the 30th day before today stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from pumpwatch.errors import RetentionRefusedError
from pumpwatch.moments import iso_ns
from pumpwatch.store.partitions import DAY_NS, HOUR_NS, Partition

CLOCK_BEHIND_NS_MAX = HOUR_NS  # rows further ahead of our clock than this: it is behind
CLOCK_AHEAD_NS_MAX = DAY_NS  # no row for so long: it is ahead, or nothing is recorded


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """The span of trades that a listing needs; ``is_kept``: its bundle is made and verified."""

    name: str  # "upbit/4321/PEPE"
    symbols: tuple[str, ...]  # BASE+QUOTE of its coin; empty: not known, so all
    from_ns: int
    to_ns: int  # not included
    is_kept: bool

    def overlaps(self, partition: Partition) -> bool:
        """Whether rows of it lie there."""
        return self.from_ns < partition.end_ns and partition.start_ns < self.to_ns


class Drop(msgspec.Struct, frozen=True, kw_only=True):
    """A partition that goes, and why."""

    table: str
    partition: str
    rows: int
    disk_bytes: int
    reason: str


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """One that would go by its age, and why it stays."""

    table: str
    partition: str
    reason: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a run does to one table."""

    table: str
    cutoff_ns: int  # partitions that end here or before are meant
    drops: tuple[Drop, ...]
    kept: tuple[Kept, ...] = ()

    @property
    def freed_bytes(self) -> int:
        """What the dropped ones take on disk."""
        return sum(drop.disk_bytes for drop in self.drops)


def cutoff_of(now_ns: int, days: int) -> int:
    """The beginning of the UTC day that is so many days before today."""
    return now_ns // DAY_NS * DAY_NS - days * DAY_NS


def check_clock(now_ns: int, newest_ns: int) -> None:
    """Refuse to judge ages by a clock that the rows contradict. Raises RetentionRefusedError."""
    if newest_ns > now_ns + CLOCK_BEHIND_NS_MAX:
        raise RetentionRefusedError(
            f"retention: the newest trade is of {iso_ns(newest_ns)}, this machine's clock says"
            f" {iso_ns(now_ns)}: set the clock (or look at that row); nothing was dropped"
        )
    if now_ns > newest_ns + CLOCK_AHEAD_NS_MAX:
        raise RetentionRefusedError(
            f"retention: this machine's clock says {iso_ns(now_ns)}, the newest trade is of"
            f" {iso_ns(newest_ns)}: the clock is ahead, or nothing was recorded since; nothing"
            " was dropped, and nothing will be until newer trades are there"
        )


def check_cutoff(cutoff_ns: int, now_ns: int, floor_days: int) -> None:
    """Refuse a cut-off that reaches into what must stay. Raises RetentionRefusedError."""
    if cutoff_ns > now_ns:
        raise RetentionRefusedError(
            f"retention: the cut-off {iso_ns(cutoff_ns)} is in the future; nothing was dropped"
        )
    if cutoff_ns > cutoff_of(now_ns, floor_days):
        raise RetentionRefusedError(
            f"retention: the cut-off {iso_ns(cutoff_ns)} is younger than floor_days ="
            f" {floor_days} allows; nothing was dropped"
        )


def plan_age(
    table: str,
    partitions: Sequence[Partition],
    windows: Iterable[Window],
    *,
    now_ns: int,
    cutoff_ns: int,
    floor_days: int,
    reason: str,
) -> Plan:
    """Everything that ends at the cut-off or before. Raises RetentionRefusedError."""
    check_cutoff(cutoff_ns, now_ns, floor_days)
    drops: list[Drop] = []
    kept: list[Kept] = []
    pins = [window for window in windows if not window.is_kept]
    for partition in _closed(partitions, now_ns):
        if partition.end_ns > cutoff_ns:
            break
        pin = next((window for window in pins if window.overlaps(partition)), None)
        if pin is not None:
            why = f"holds the window of listing {pin.name}, which is not kept elsewhere"
            kept.append(Kept(table=table, partition=partition.name, reason=why))
        elif kept:
            why = f"stands behind {kept[0].partition}"
            kept.append(Kept(table=table, partition=partition.name, reason=why))
        else:
            drops.append(_drop(table, partition, reason))
    return Plan(table=table, cutoff_ns=cutoff_ns, drops=tuple(drops), kept=tuple(kept))


def plan_room(
    table: str,
    partitions: Sequence[Partition],
    windows: Iterable[Window],
    *,
    now_ns: int,
    floor_days: int,
    wanted_bytes: int,
) -> Plan:
    """The oldest days, whole ones, until so many bytes are free; down to the floor at most."""
    cutoff_ns = cutoff_of(now_ns, floor_days)
    everything = plan_age(
        table, partitions, windows, now_ns=now_ns, cutoff_ns=cutoff_ns, floor_days=floor_days,
        reason=f"the disk is full; down to {floor_days} days",
    )  # fmt: skip
    freed_bytes = 0
    drops: list[Drop] = []
    for drop in everything.drops:
        is_new_day = not drops or drop.partition[:10] != drops[-1].partition[:10]
        if is_new_day and freed_bytes >= wanted_bytes:
            break
        drops.append(drop)
        freed_bytes += drop.disk_bytes
    return msgspec.structs.replace(everything, drops=tuple(drops))


def _closed(partitions: Sequence[Partition], now_ns: int) -> list[Partition]:
    """Oldest first, without the newest and without those that reach past now."""
    in_order = sorted(partitions, key=lambda partition: partition.start_ns)
    return [partition for partition in in_order[:-1] if partition.end_ns <= now_ns]


def _drop(table: str, partition: Partition, reason: str) -> Drop:
    return Drop(
        table=table,
        partition=partition.name,
        rows=partition.rows,
        disk_bytes=partition.disk_bytes,
        reason=reason,
    )


# --- what is there --------------------------------------------------------------------------------


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """One of the states in which rows lie on disk."""

    name: str  # warm: native partitions; cold: Parquet
    partitions: int
    rows: int
    disk_bytes: int
    oldest_ns: int  # 0: there is none


def tiers(partitions: Iterable[Partition]) -> list[Tier]:
    """Warm and cold; what is hot lies in memory, what is gone is gone."""
    found = []
    for name, is_parquet in (("warm", False), ("cold", True)):
        chosen = [part for part in partitions if part.is_parquet == is_parquet]
        found.append(
            Tier(
                name=name,
                partitions=len(chosen),
                rows=sum(part.rows for part in chosen),
                disk_bytes=sum(part.disk_bytes for part in chosen),
                oldest_ns=min((part.start_ns for part in chosen), default=0),
            )
        )
    return found


def days_left(partitions: Sequence[Partition], now_ns: int, available_bytes: int) -> float | None:
    """How many days of rows still fit at the last 24 hours' rate; None where none came in."""
    recent_bytes = sum(part.disk_bytes for part in partitions if part.end_ns > now_ns - DAY_NS)
    return available_bytes / recent_bytes if recent_bytes else None
