"""Memory: the plan, and what a machine has."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.budget import (
    HEAP_MIB_MIN,
    HOUR_MIB_MIN,
    fit_memory,
    host_memory_mib,
    plan_memory,
)
from pumpwatch.config import Config, MemoryConfig, QuestdbConfig, SpoolConfig
from pumpwatch.errors import ConfigError

MIB = 1 << 20
EXTERNAL = QuestdbConfig(mode="external", http_url="http://db:9000", pg_host="db")


def test_sixty_percent_by_default() -> None:
    plan = plan_memory(Config(), 8000)
    assert (plan.budget_mib, plan.hour_mib, plan.heap_mib) == (4800, 1024, 1024)
    assert plan.spare_mib == 4800 - 1024 - 1024 - 64


def test_a_small_budget_takes_from_the_heap_first() -> None:
    config = Config(memory=MemoryConfig(budget_mib=1600))
    assert plan_memory(config, 8000).heap_mib == 1600 - 1024 - 64


@pytest.mark.parametrize(
    ("memory", "total_mib", "message"),
    [
        (MemoryConfig(), 2048, r"memory\.max_mib = 1024: allowed: 16 to 908 here"),
        (MemoryConfig(max_mib=90_000), 8000, r"memory\.max_mib = 90000: allowed: 16 to 4480 "),
        (MemoryConfig(budget_mib=9000), 8000, r"memory\.budget_mib = 9000: .* at most 8000"),
        (MemoryConfig(budget_mib=300), 8000, r"memory\.budget_mib = 300: .* at least 336"),
        (MemoryConfig(), 400, r"memory\.budget_mib = 0: gives 240 MiB of 400 here"),
    ],
)
def test_what_cannot_fit_is_refused_by_name(
    memory: MemoryConfig, total_mib: int, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_memory(Config(memory=memory), total_mib)


def test_a_server_of_others_needs_nothing_of_ours() -> None:
    plan = plan_memory(Config(questdb=EXTERNAL, memory=MemoryConfig(max_mib=1000)), 2000)
    assert plan.heap_mib == 0
    assert plan.spare_mib == 1200 - 1000 - 64


@given(
    total_mib=st.integers(64, 100_000),
    budget_mib=st.integers(0, 50_000),
    max_mib=st.integers(16, 50_000),
    buffer_mib=st.integers(4, 4096),
)
def test_a_plan_never_exceeds_its_budget_and_fitting_always_helps(
    total_mib: int, budget_mib: int, max_mib: int, buffer_mib: int
) -> None:
    config = Config(
        memory=MemoryConfig(budget_mib=budget_mib, max_mib=max_mib),
        spool=SpoolConfig(buffer_max_mib=buffer_mib),
    )
    try:
        fitted = fit_memory(config, total_mib)
    except ConfigError as error:
        assert "budget_mib" in str(error)  # noqa: PT017 - either outcome is fine
        return
    plan = plan_memory(fitted, total_mib)
    parts = plan.hour_mib + plan.heap_mib + plan.spool_buffer_mib + plan.spare_mib
    assert parts == plan.budget_mib <= total_mib
    assert plan.heap_mib >= HEAP_MIB_MIN
    assert HOUR_MIB_MIN <= plan.hour_mib <= max_mib
    assert plan.spare_mib >= 0


def write(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.fixture
def host(tmp_path: Path) -> Path:
    write(tmp_path, "proc/meminfo", "MemFree: 1 kB\nMemTotal:       8192000 kB\n")
    return tmp_path


def test_ram_where_nothing_limits(host: Path) -> None:
    write(host, "proc/self/cgroup", "0::/user.slice\n")
    write(host, "sys/fs/cgroup/user.slice/memory.max", "max\n")
    assert host_memory_mib(host) == 8000


def test_the_strictest_group_above_us_binds(host: Path) -> None:
    write(host, "proc/self/cgroup", "0::/a/b\n")
    write(host, "sys/fs/cgroup/a/memory.max", f"{700 * MIB}\n")
    write(host, "sys/fs/cgroup/a/b/memory.max", f"{900 * MIB}\n")
    assert host_memory_mib(host) == 700


def test_old_groups_count_too(host: Path) -> None:
    write(host, "proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/box\n0::/\n")
    write(host, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    write(host, "sys/fs/cgroup/memory/box/memory.limit_in_bytes", f"{600 * MIB}\n")
    assert host_memory_mib(host) == 600


def test_a_container_whose_path_is_the_hosts_still_finds_its_limit(host: Path) -> None:
    write(host, "proc/self/cgroup", "0::/docker/0123abc\n")
    write(host, "sys/fs/cgroup/memory.max", f"{512 * MIB}\n")
    assert host_memory_mib(host) == 512


def test_this_machine_has_some() -> None:
    assert host_memory_mib() > 64
