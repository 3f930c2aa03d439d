"""Settings of the move from the original's JSON store: comparison, stages, when to step back."""

from __future__ import annotations

from typing import Annotated

from pumpwatch.settings import ANY_PATH, Section, SettingError, pattern, span

STAGES = pattern(
    r"[0-9]{1,3}:[0-9]{1,3}(\.[0-9]+)?( [0-9]{1,3}:[0-9]{1,3}(\.[0-9]+)?)*",
    "percent:days pairs with a blank between, percent growing from above 0 to 100",
)


class MigrationConfig(Section, frozen=True, kw_only=True):
    """Reads move to QuestDB by stages beside the old store; writes never wait for it."""

    shadow: Annotated[
        str | None, ANY_PATH, "the original's data folder; empty: there is no old store"
    ] = None
    compare_interval_s: Annotated[
        float, span(1, 86_400, "s"), "between two windows read from both stores"
    ] = 10.0
    stages: Annotated[
        str,
        STAGES,
        "percent:days; the last has no fallback",
    ] = "10:3 50:5 100:5 100:5"
    comparisons_min: Annotated[
        int, span(1, 1_000_000), "windows that were equal in this stage before the next one"
    ] = 100
    check_interval_s: Annotated[float, span(1, 3600, "s"), "between two checks"] = 30.0
    bad_checks: Annotated[int, span(1, 100), "in a row: one stage back"] = 3
    good_checks: Annotated[int, span(1, 10_000), "in a row after that before forward again"] = 10
    error_percent_max: Annotated[float, span(0, 100, "%"), "of reads that fail"] = 5.0
    read_ms_max: Annotated[float, span(1, 60_000, "ms"), "p99 of reads from QuestDB"] = 500.0
    disk_percent_max: Annotated[float, span(1, 100, "%"), "of the database's file system"] = 95.0

    def __post_init__(self) -> None:
        super().__post_init__()
        shares = [share for share, _ in self.plan]
        if shares != sorted(shares) or shares[0] < 1 or shares[-1] != 100:
            raise SettingError("stages", f'"{self.stages}"', f"allowed: {STAGES.allowed}")

    @property
    def plan(self) -> list[tuple[int, float]]:
        """(percent, days) of each stage."""
        pairs = (one.split(":") for one in self.stages.split(" "))
        return [(int(share), float(days)) for share, days in pairs]
