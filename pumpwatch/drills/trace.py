"""Memory and descriptors of daemon and database while a drill runs (D-18), and whether they grow.

``own`` is memory of the process alone (RssAnon): a database maps its tables' files, and what of
them is resident is the page cache's, to be given back at any time. Its Java heap may grow up to its
-Xmx, which is a bound and no leak: what must be level is the memory beyond the heap. Of that
what is resident counts, not what Java has committed: of 310 MiB 228 were resident in one run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import psutil
import trio

from pumpwatch.drills.stage import DaemonProcess
from pumpwatch.store.server_process import PidFile

SAMPLE_S = 10.0  # as D-18 says
MIB = 1024 * 1024
RSS_MIB_MAX = 4096.0  # both together
GROWTH_PERCENT_MAX = 5.0  # of own memory over a last half that is shorter than JUDGED_S
SLOPE_PERCENT_MAX = 1.0  # an hour, over a longer one
JUDGED_S = 3600.0
STEADY_S = 60.0  # after a restart
POINTS_SHOWN = 40
PROCESSES = ("daemon", "database")
MAPPING = re.compile(r"^([0-9a-f]+)-[0-9a-f]+ ")
# Java puts a heap whose pointers it compresses (below 32 GiB) and its classes there, and Linux what
# is mapped without an address far above. A larger heap would count as grown memory.
LOW_BYTES = 32 << 30


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One look at one process."""

    at_s: float
    process: str
    pid: int
    rss_mib: float
    own_mib: float
    descriptors: int
    heap_mib: float = 0.0  # of ``own_mib``, what Java's heap has


class Growth(msgspec.Struct, frozen=True, kw_only=True):
    """What the last half of a run says of one process."""

    process: str
    seconds: float
    own_mib: float  # mean
    heap_mib: float  # mean
    percent_per_h: float  # of own memory, by what is beyond the heap, by least squares
    growth_percent: float  # the same over these seconds
    descriptors_from: float
    descriptors_to: float


class MemoryTrace:
    """Looks until cancelled; processes may be other ones after a restart."""

    def __init__(self, daemon: DaemonProcess, database_pid: Callable[[], int | None] | None = None):
        self.points: list[Point] = []
        self._daemon = daemon
        self._database_pid = database_pid or self._embedded_pid
        self._begun_s = trio.current_time()

    def _embedded_pid(self) -> int | None:
        known = PidFile.read(self._daemon.data_dir)
        return None if known is None else known.pid

    async def run(self, every_s: float = SAMPLE_S) -> None:
        """One look each ``every_s``."""
        while True:
            await trio.to_thread.run_sync(self.look, trio.current_time() - self._begun_s)
            await trio.sleep(every_s)

    def look(self, at_s: float) -> None:
        """Note both processes; one that is being started again is left out. Blocking."""
        process = self._daemon.process
        pids = {"daemon": None if process is None else process.pid,
                "database": self._database_pid()}  # fmt: skip
        for name, pid in pids.items():
            point = None if pid is None else _point(name, pid, at_s)
            if point is not None:
                self.points.append(point)

    def figures(self) -> dict[str, object]:
        """The most of each, both together, and a thinned trace: [seconds, daemon, database] MiB."""
        both = self._together()
        thin = max(1, len(both) // POINTS_SHOWN)
        return {
            "rss_mib_max": round(max((daemon + base for _, daemon, base in both), default=0.0)),
            "daemon_rss_mib_max": round(max((daemon for _, daemon, _ in both), default=0.0)),
            "database_rss_mib_max": round(max((base for _, _, base in both), default=0.0)),
            "rss_trace": [[round(part) for part in row] for row in both[::thin]],
        }

    def _together(self) -> list[tuple[float, float, float]]:
        found: dict[float, dict[str, float]] = {}
        for point in self.points:
            found.setdefault(point.at_s, {})[point.process] = point.rss_mib
        return [(at_s, one.get("daemon", 0.0), one.get("database", 0.0))
                for at_s, one in found.items()]  # fmt: skip

    def too_large(self) -> list[str]:
        """The rule of the most that both may take together, where it did not hold."""
        most = max((daemon + base for _, daemon, base in self._together()), default=0.0)
        return [] if most <= RSS_MIB_MAX else [f"{most:.0f} MiB together, {RSS_MIB_MAX:.0f} most"]

    def broken(self) -> list[str]:
        """Rules of memory and descriptors that did not hold."""
        found = self.too_large()
        for name in PROCESSES:
            growth = growth_of(self.points, name)
            if growth is not None:
                found += judge_growth(growth)
        return found


def _point(name: str, pid: int, at_s: float) -> Point | None:
    try:
        process = psutil.Process(pid)
        return Point(
            at_s=round(at_s, 1), process=name, pid=pid,
            rss_mib=process.memory_info().rss / MIB, own_mib=own_mib_of(pid),
            descriptors=process.num_fds(), heap_mib=heap_mib_of(pid) if name == "database" else 0.0,
        )  # fmt: skip
    except (psutil.Error, OSError, StopIteration):
        return None


def own_mib_of(pid: int) -> float:
    """Memory of the process alone. Raises OSError or StopIteration where it is gone or a zombie."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    own = next(line for line in status.splitlines() if line.startswith("RssAnon:"))
    return int(own.split()[1]) / 1024


def heap_mib_of(pid: int) -> float:
    """What a Java process's heap has of its own memory. Raises OSError where it is gone."""
    found_kib, is_heap = 0, False
    with Path(f"/proc/{pid}/smaps").open(encoding="utf-8") as lines:
        for line in lines:
            if begun := MAPPING.match(line):
                is_heap = int(begun[1], 16) < LOW_BYTES
            elif is_heap and line.startswith("Anonymous:"):
                found_kib += int(line.split()[1])
    return found_kib / 1024


def growth_of(points: Sequence[Point], process: str) -> Growth | None:
    """Over the last half, or since the last restart in it; None where that is too short to tell."""
    some = [point for point in points if point.process == process]
    if not some:
        return None
    last = some[-1]
    same = [point for point in some if point.pid == last.pid]
    begin_s = max(last.at_s / 2, same[0].at_s + STEADY_S if same[0] is not some[0] else 0.0)
    late = [point for point in same if point.at_s >= begin_s]
    if len(late) < 4:
        return None
    seconds = late[-1].at_s - late[0].at_s
    mean = sum(point.own_mib for point in late) / len(late)
    grown = line_through([(point.at_s, point.own_mib - point.heap_mib) for point in late])
    opened = line_through([(point.at_s, float(point.descriptors)) for point in late])
    return Growth(
        process=process, seconds=round(seconds), own_mib=round(mean, 1),
        heap_mib=round(sum(point.heap_mib for point in late) / len(late), 1),
        percent_per_h=round((grown[1] - grown[0]) / mean * 100 / seconds * 3600, 2),
        growth_percent=round((grown[1] - grown[0]) / mean * 100, 2),
        descriptors_from=round(opened[0], 1), descriptors_to=round(opened[1], 1),
    )  # fmt: skip


def line_through(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The least squares' line at the first and at the last place."""
    count = len(points)
    mean_x = sum(x for x, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    width = sum((x - mean_x) ** 2 for x, _ in points)
    rise = sum((x - mean_x) * (y - mean_y) for x, y in points) / width if width else 0.0
    return mean_y + rise * (points[0][0] - mean_x), mean_y + rise * (points[-1][0] - mean_x)


# A database opens files for each new hour, and for what it merges.
DESCRIPTORS_GROWTH_MAX = {"daemon": (8.0, 0.05), "database": (64.0, 0.15)}


def judge_growth(growth: Growth) -> list[str]:
    """Rules that did not hold. A short half has too few collections for a slope by the hour."""
    found = []
    name = growth.process
    if growth.seconds >= JUDGED_S:
        if growth.percent_per_h > SLOPE_PERCENT_MAX:
            found.append(f"{name}: own memory grows by {growth.percent_per_h} % an hour")
    elif growth.growth_percent > GROWTH_PERCENT_MAX:
        found.append(f"{name}: own memory grew by {growth.growth_percent} % in {growth.seconds} s")
    rows, share = DESCRIPTORS_GROWTH_MAX[name]
    opened = growth.descriptors_to - growth.descriptors_from
    if opened > max(rows, share * growth.descriptors_from):
        found.append(f"{name}: {opened:.0f} descriptors more than before")
    return found
