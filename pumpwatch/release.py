"""Which release a data_dir was last run by, and what an upgrade of it changes.

data_dir/release.json is written at each start, once the tables are this release's.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec
import structlog
import trio

from pumpwatch.config import Config
from pumpwatch.store import embedded_files
from pumpwatch.store.embedded_files import maven_repository
from pumpwatch.store.operations import OperationLog
from pumpwatch.store.schema import SCHEMA_VERSION
from pumpwatch.store.server import write_private
from pumpwatch.version import VERSION

log = structlog.get_logger()

RELEASE_FILE = "release.json"
JARS_FOLDER = "jars"


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """A release, as far as data depends on it."""

    version: str
    schema_version: int
    server_version: str

    def __str__(self) -> str:
        """In words."""
        return (
            f"PumpWatch {self.version}, schema {self.schema_version}, QuestDB {self.server_version}"
        )


INSTALLED = Release(
    version=VERSION, schema_version=SCHEMA_VERSION, server_version=embedded_files.VERSION
)


def read_release(data_dir: Path) -> Release | None:
    """The one that last ran here; None: none that noted it."""
    try:
        return msgspec.json.decode((data_dir / RELEASE_FILE).read_bytes(), type=Release)
    except (OSError, msgspec.DecodeError):
        return None


async def note_release(config: Config, operations: OperationLog) -> None:
    """Note that this release runs here now; a change is a row in ``operations``."""
    before = await trio.to_thread.run_sync(read_release, config.data_dir)
    if before == INSTALLED:
        return
    text = msgspec.json.encode(INSTALLED).decode() + "\n"
    await trio.to_thread.run_sync(write_private, config.data_dir / RELEASE_FILE, text)
    if before is not None:
        await operations.note("upgrade", VERSION, "good", f"{before} became {INSTALLED}")


def keep_jar(data_dir: Path, version: str) -> Path | None:
    """Keep an earlier server's jar in data_dir/jars; None: it is nowhere to be found any more.

    Raises OSError.
    """
    name = f"questdb-{version}.jar"
    kept = data_dir / JARS_FOLDER / name
    if kept.exists():
        return kept
    place = maven_repository() / "org/questdb/questdb" / version / name
    if not place.exists():
        return None
    kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = kept.with_suffix(".part")
    shutil.copyfile(place, part)
    os.replace(part, kept)
    return kept
