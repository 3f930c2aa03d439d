"""Where the database is and who may ask it: addresses, passwords, data_dir/runtime.json."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

import msgspec

from pumpwatch.config import Config
from pumpwatch.errors import ConfigError, ServerError

LOOPBACK = "127.0.0.1"
RUNTIME_FILE = "runtime.json"
PASSWORD = re.compile(r"[!-~]{1,200}")  # what server.conf, HTTP and PGWire all carry unchanged
PASSWORD_BYTES = 32


class ServerAddress(msgspec.Struct, kw_only=True):
    """A database and both users: the one who writes and the one who answers questions.

    Not frozen: whoever holds it asks with the new passwords once they were changed.
    """

    http_url: str  # no slash at the end
    pg_host: str
    pg_port: int
    user: str
    password: str
    readonly_user: str
    readonly_password: str

    def __repr__(self) -> str:
        """Without passwords: addresses land in logs and tracebacks."""
        return f"ServerAddress({self.http_url}, {self.pg_host}:{self.pg_port}, {self.user})"


class Ports(msgspec.Struct, frozen=True):
    """The embedded server's ports on 127.0.0.1; as settings, 0 stands for a free one."""

    http_port: int
    pg_port: int
    health_port: int

    def fit(self, used: Ports) -> bool:
        """Whether ports in use are what these settings ask for."""
        pairs = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(used), strict=True)
        return all(wanted in (0, port) for wanted, port in pairs)


# --- addresses ------------------------------------------------------------------------------------


def running_address(config: Config) -> ServerAddress:
    """The database that the daemon of this data_dir uses; whether it answers is not asked.

    Raises ServerError where no daemon has run here yet.
    """
    if config.questdb.mode == "external":
        return external_address(config)
    runtime = read_runtime(config.data_dir)
    try:
        ports = msgspec.convert(runtime, type=Ports)
        return embedded_address(config, ports, read_passwords(config))
    except (msgspec.ValidationError, ConfigError):
        raise ServerError(
            f"no database runs for data_dir {config.data_dir}: start one with `pumpwatch run`"
        ) from None


def embedded_address(config: Config, ports: Ports, passwords: tuple[str, str]) -> ServerAddress:
    """The address of a server of our own; ``passwords`` of the user and the read-only user."""
    return ServerAddress(
        http_url=f"http://{LOOPBACK}:{ports.http_port}",
        pg_host=LOOPBACK,
        pg_port=ports.pg_port,
        user=config.questdb.user,
        password=passwords[0],
        readonly_user=config.questdb.readonly_user,
        readonly_password=passwords[1],
    )


def external_address(config: Config) -> ServerAddress:
    """The address of somebody else's server.

    It need not have a read-only user: without a file for that one's password the user who writes
    asks the questions too. Raises ConfigError where the user's own password cannot be read.
    """
    questdb = config.questdb
    if questdb.http_url is None or questdb.pg_host is None:
        raise ConfigError("questdb.http_url and questdb.pg_host are needed with mode = external")
    password = read_password(config, "password_file")
    readonly_user, readonly_password = questdb.user, password
    if config.path(questdb.readonly_password_file).exists():
        readonly_user = questdb.readonly_user
        readonly_password = read_password(config, "readonly_password_file")
    return ServerAddress(
        http_url=questdb.http_url.rstrip("/"),
        pg_host=questdb.pg_host,
        pg_port=questdb.pg_port,
        user=questdb.user,
        password=password,
        readonly_user=readonly_user,
        readonly_password=readonly_password,
    )


# --- passwords ------------------------------------------------------------------------------------


def read_passwords(config: Config) -> tuple[str, str]:
    """Passwords of the user and the read-only user. Raises ConfigError."""
    return read_password(config, "password_file"), read_password(config, "readonly_password_file")


def read_password(config: Config, key: str) -> str:
    """The password in the file that ``questdb.<key>`` names. Raises ConfigError."""
    path = config.path(getattr(config.questdb, key))
    try:
        password = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"questdb.{key} = {path}: cannot be read: {error.strerror}") from None
    except ValueError:
        password = ""
    if PASSWORD.fullmatch(password) is None:
        raise ConfigError(
            f"questdb.{key} = {path}: allowed: one line of 1 to 200 printable ASCII characters"
            " without spaces"
        )
    return password


def new_passwords(config: Config) -> tuple[str, str]:
    """Write new random ones over both files of the embedded server; returns them."""
    for name in (config.questdb.password_file, config.questdb.readonly_password_file):
        write_private(config.path(name), secrets.token_urlsafe(PASSWORD_BYTES) + "\n")
    return read_passwords(config)


def ensure_passwords(config: Config) -> tuple[str, str]:
    """The embedded server's passwords; random ones are made where a file is missing (0600)."""
    for name in (config.questdb.password_file, config.questdb.readonly_password_file):
        path = config.path(name)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_private(path, secrets.token_urlsafe(PASSWORD_BYTES) + "\n")
    return read_passwords(config)


# --- files ----------------------------------------------------------------------------------------


def write_private(path: Path, text: str) -> None:
    """Put a whole file in place, readable by its owner only; never a part of it."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def read_runtime(data_dir: Path) -> dict[str, object]:
    """What stands in data_dir/runtime.json; empty where no daemon ever ran."""
    try:
        return msgspec.json.decode((data_dir / RUNTIME_FILE).read_bytes(), type=dict[str, object])
    except (OSError, msgspec.DecodeError):
        return {}


def write_runtime(data_dir: Path, **values: object) -> None:
    """Add values to data_dir/runtime.json, atomically.

    Values of an earlier process are forgotten: its ports are nobody's now. The file always holds
    our ``pid``.
    """
    known = read_runtime(data_dir)
    if known.get("pid") != os.getpid():
        known = {}
    known |= {"pid": os.getpid(), **values}
    text = msgspec.json.format(msgspec.json.encode(known).decode(), indent=2)
    write_private(data_dir / RUNTIME_FILE, text + "\n")
