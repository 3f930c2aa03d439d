"""What ``check`` and ``doctor`` test: the settings against this machine.

``gather`` looks (folders, ports, disk, Java, limits), ``judge`` decides; only the first does I/O.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import socket
import stat
import tempfile
from pathlib import Path
from typing import Literal

import msgspec

from pumpwatch.budget import MIB, host_memory_mib, plan_memory
from pumpwatch.config import Config
from pumpwatch.errors import EXIT_CONFIG, EXIT_GOOD, EXIT_UNAVAILABLE, ConfigError, PumpWatchError

LOOPBACK = "127.0.0.1"
RUNTIME_FILE = "runtime.json"
DISK_FREE_MIB_MIN = 512  # the server and the spool's first segments
DISK_USED_PERCENT_WARN = 85
OPEN_FILES_MIN = 1024
OPEN_FILES_GOOD = 65_536  # a few per partition and column, and one per socket
MAP_COUNT_GOOD = 1_048_576  # the database maps every column of every open partition

State = Literal["ok", "warn", "fail"]


class Runtime(msgspec.Struct, frozen=True, kw_only=True):
    """data_dir/runtime.json: what the daemon of this data_dir uses, or used last."""

    pid: int
    http_port: int
    pg_port: int
    health_port: int
    dashboard_port: int | None = None
    started_at: str | int | float | None = None

    @property
    def alive(self) -> bool:
        """Whether a process of that number runs."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except (PermissionError, OverflowError):
            return True
        return True

    @property
    def ports(self) -> frozenset[int]:
        """Every port in it."""
        ports = (self.http_port, self.pg_port, self.health_port, self.dashboard_port)
        return frozenset(port for port in ports if port)


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One line of ``check``."""

    name: str
    state: State
    text: str
    is_config: bool = False  # a failure is the settings' fault, not the machine's


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What ``gather`` saw."""

    memory_mib: int
    folders: dict[str, str | None]  # key -> what is wrong with it, None: nothing
    ports_taken: dict[str, int]  # key -> port that something listens on
    disk_total_mib: int
    disk_free_mib: int
    spool_used_mib: int
    java: str | None  # what it is and where; None: the server is not ours
    java_error: str | None
    secrets: dict[str, str | None]  # key -> what is wrong with the file, None: nothing
    open_files_max: int  # the hard limit, up to which a process may raise its own
    map_count_max: int | None  # None: not Linux
    runtime: Runtime | None
    runtime_alive: bool


# --- looking --------------------------------------------------------------------------------------


def gather(config: Config) -> Facts:
    """Look at this machine; nothing is changed, no port stays open."""
    embedded = config.questdb.mode == "embedded"
    java, java_error = _find_java() if embedded else (None, None)
    usage = shutil.disk_usage(existing_ancestor(config.data_dir))
    runtime = read_runtime(config.data_dir)
    return Facts(
        memory_mib=host_memory_mib(),
        folders={
            "data_dir": folder_problem(config.data_dir),
            "backup.directory": folder_problem(config.path(config.backup.directory)),
        },
        ports_taken={
            key: port
            for key, (host, port) in listening_addresses(config).items()
            if port and is_taken(host, port)
        },
        disk_total_mib=usage.total // MIB,
        disk_free_mib=usage.free // MIB,
        spool_used_mib=_folder_bytes(config.path("spool")) // MIB,
        java=java,
        java_error=java_error,
        secrets={key: secret_problem(path) for key, path in _secret_files(config).items()},
        open_files_max=_open_files_max(),
        map_count_max=_map_count_max(Path("/proc/sys/vm/max_map_count")),
        runtime=runtime,
        runtime_alive=runtime is not None and runtime.alive,
    )


def listening_addresses(config: Config) -> dict[str, tuple[str, int]]:
    """Key -> address for all that we would listen on; port 0: a free one."""
    questdb = config.questdb
    addresses = {"dashboard.bind": (config.dashboard.host, config.dashboard.port)}
    if questdb.mode == "embedded":
        addresses["questdb.http_port"] = (LOOPBACK, questdb.http_port)
        addresses["questdb.pg_port"] = (LOOPBACK, questdb.pg_port)
        addresses["questdb.health_port"] = (LOOPBACK, questdb.health_port)
    return addresses


def is_taken(host: str, port: int) -> bool:
    """Whether binding fails; an address that is not ours counts as taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As servers do: connections of an ended server that linger do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError:
        return True
    return False


def read_runtime(data_dir: Path) -> Runtime | None:
    """The ports in use; None where no daemon ever ran or the file is no such thing."""
    try:
        return msgspec.json.decode((data_dir / RUNTIME_FILE).read_bytes(), type=Runtime)
    except (OSError, msgspec.DecodeError):
        return None


def existing_ancestor(path: Path) -> Path:
    """The path itself or the nearest folder above it that exists."""
    for place in (path, *path.absolute().parents):
        if place.exists():
            return place
    return Path("/")


def folder_problem(path: Path) -> str | None:
    """Why files cannot be written there; None where they can, or the folder can be made."""
    place = existing_ancestor(path)
    if not place.is_dir():
        return f"{place} is no folder"
    if not os.access(place, os.W_OK | os.X_OK):
        return f"{place} cannot be written to"
    if place == path:
        try:  # rights are not all: read-only mounts, quotas, full disks
            with tempfile.TemporaryFile(dir=place) as file:
                file.write(b"pumpwatch")
        except OSError as error:
            return f"{place} cannot be written to: {error.strerror}"
    return None


def secret_problem(path: Path) -> str | None:
    """Why a password or key file cannot be used; None where it can."""
    try:
        mode = path.stat().st_mode
        if not path.read_bytes().strip():
            return f"{path} is empty"
    except OSError as error:
        return f"{path}: {error.strerror}"
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        return f"{path} can be read by others: chmod 600 {path}"
    return None


def _secret_files(config: Config) -> dict[str, Path]:
    """Key -> file for all that must be there; embedded makes its own passwords."""
    upbit = config.listing.upbit
    names: dict[str, str | None] = {
        f"feeds.{name}.api_key_file": feed.api_key_file for name, feed in config.feeds.items()
    }
    names["listing.upbit.access_key_file"] = upbit.access_key_file
    names["listing.upbit.secret_key_file"] = upbit.secret_key_file
    passwords = {
        "questdb.password_file": config.questdb.password_file,
        "questdb.readonly_password_file": config.questdb.readonly_password_file,
    }
    external = config.questdb.mode == "external"
    names |= {key: n for key, n in passwords.items() if external or config.path(n).exists()}
    return {key: config.path(name) for key, name in names.items() if name is not None}


def _find_java() -> tuple[str | None, str | None]:
    from pumpwatch.store import embedded_files

    try:
        java = embedded_files.find_java()
    except PumpWatchError as error:
        return None, str(error)
    return str(java), None


def _folder_bytes(folder: Path) -> int:
    total = 0
    with contextlib.suppress(OSError):  # segments go while we look
        for file in folder.rglob("*"):
            with contextlib.suppress(OSError):
                total += file.stat().st_size if file.is_file() else 0
    return total


def _open_files_max() -> int:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return 1 << 31 if hard == resource.RLIM_INFINITY else hard


def _map_count_max(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


# --- judging --------------------------------------------------------------------------------------


def judge(config: Config, facts: Facts) -> list[Finding]:
    """One finding per question, in the order in which a start would meet them."""
    return [
        *(_judge_folder(key, problem, config) for key, problem in facts.folders.items()),
        _judge_daemon(facts),
        *(_judge_port(key, port, facts) for key, (_, port) in listening_addresses(config).items()),
        _judge_disk(config, facts),
        _judge_memory(config, facts),
        *_judge_java(config, facts),
        *(_judge_secret(key, problem) for key, problem in facts.secrets.items()),
        _judge_open_files(facts),
        _judge_map_count(facts),
        _judge_feeds(config),
    ]


def exit_code(findings: list[Finding]) -> int:
    """78 where the settings are at fault, 69 where the machine is, 0 with warnings."""
    failed = [finding for finding in findings if finding.state == "fail"]
    if not failed:
        return EXIT_GOOD
    is_config = any(finding.is_config for finding in failed)
    return EXIT_CONFIG if is_config else EXIT_UNAVAILABLE


def _judge_folder(key: str, problem: str | None, config: Config) -> Finding:
    path = config.data_dir if key == "data_dir" else config.path(config.backup.directory)
    if problem is None:
        return Finding(name=key, state="ok", text=f"{path} can be written to")
    # Backups come later than rows: a missing backup disk must not stop the recording.
    return Finding(name=key, state="fail" if key == "data_dir" else "warn", text=problem)


def _judge_daemon(facts: Facts) -> Finding:
    if facts.runtime is None:
        text = "none has run here yet"
    elif facts.runtime_alive:
        text = f"running, pid {facts.runtime.pid}"
    else:
        text = f"not running (the last was pid {facts.runtime.pid})"
    return Finding(name="daemon", state="ok", text=text)


def _judge_port(key: str, port: int, facts: Facts) -> Finding:
    if port == 0:
        return Finding(name=key, state="ok", text="0: a free one is taken at start")
    if key not in facts.ports_taken:
        return Finding(name=key, state="ok", text=f"{port} is free")
    if facts.runtime is not None and port in facts.runtime.ports:
        if facts.runtime_alive:
            return Finding(name=key, state="ok", text=f"{port} is our own daemon's")
        text = f"{port} is held, it seems by a server that a daemon left; run takes it over"
        return Finding(name=key, state="warn", text=text)
    text = f"{port} is taken by another program: end it, or set {key} to another port"
    # Nothing that records depends on the page.
    state: State = "warn" if key == "dashboard.bind" else "fail"
    return Finding(name=key, state=state, text=text)


def _judge_disk(config: Config, facts: Facts) -> Finding:
    free, total = facts.disk_free_mib, max(facts.disk_total_mib, 1)
    used_percent = 100 - free * 100 // total
    text = f"{free:,} MiB free of {total:,} ({used_percent} % used)"
    if free < DISK_FREE_MIB_MIN:
        text += f": at least {DISK_FREE_MIB_MIN} are needed; free some or move data_dir"
        return Finding(name="disk", state="fail", text=text)
    spool_mib = max(config.spool.disk_max_mib - facts.spool_used_mib, 0)
    if free < spool_mib + DISK_FREE_MIB_MIN:
        text += f": spool.disk_max_mib = {config.spool.disk_max_mib} would fill it"
        return Finding(name="disk", state="warn", text=text)
    state: State = "warn" if used_percent >= DISK_USED_PERCENT_WARN else "ok"
    return Finding(name="disk", state=state, text=text)


def _judge_memory(config: Config, facts: Facts) -> Finding:
    try:
        plan = plan_memory(config, facts.memory_mib)
    except ConfigError as error:
        return Finding(name="memory", state="fail", text=str(error), is_config=True)
    text = (
        f"budget {plan.budget_mib:,} MiB of {plan.total_mib:,}: hour {plan.hour_mib}, "
        f"database heap {plan.heap_mib}, spool buffers {plan.spool_buffer_mib}"
    )
    return Finding(name="memory", state="ok", text=text)


def _judge_java(config: Config, facts: Facts) -> list[Finding]:
    if config.questdb.mode == "external":
        return []
    if facts.java_error is not None:
        return [Finding(name="java", state="fail", text=facts.java_error)]
    return [Finding(name="java", state="ok", text=facts.java or "found")]


def _judge_secret(key: str, problem: str | None) -> Finding:
    if problem is None:
        return Finding(name=key, state="ok", text="readable only by its owner")
    state: State = "warn" if "chmod" in problem else "fail"
    return Finding(name=key, state=state, text=problem, is_config=True)


def _judge_open_files(facts: Facts) -> Finding:
    limit = facts.open_files_max
    if limit >= OPEN_FILES_GOOD:
        return Finding(name="open files", state="ok", text=f"limit {limit:,}")
    text = f"limit {limit:,}: set it to {OPEN_FILES_GOOD} (ulimit -Hn, or LimitNOFILE in systemd)"
    return Finding(name="open files", state="fail" if limit < OPEN_FILES_MIN else "warn", text=text)


def _judge_map_count(facts: Facts) -> Finding:
    name, limit = "vm.max_map_count", facts.map_count_max
    if limit is None:
        return Finding(name=name, state="ok", text="does not exist on this system")
    if limit >= MAP_COUNT_GOOD:
        return Finding(name=name, state="ok", text=f"{limit:,}")
    text = f"{limit:,}: set it with sysctl -w vm.max_map_count={MAP_COUNT_GOOD}"
    return Finding(name=name, state="warn", text=text)


def _judge_feeds(config: Config) -> Finding:
    count, total = len(config.enabled_feeds), len(config.feeds)
    if count == 0:
        text = "none is enabled: nothing would be recorded"
        return Finding(name="feeds", state="fail", text=text, is_config=True)
    return Finding(name="feeds", state="ok", text=f"{count} of {total} enabled")
