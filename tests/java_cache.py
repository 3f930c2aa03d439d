"""``python -m tests.java_cache FILE``: what Java keeps of a server's start, for all later ones.

A server that a test starts lives for seconds, and loading and linking its classes is half of the
processor time it takes. Java 25 (JEP 514) writes what one run loaded into a file and maps it in the
next. An older one, or one whose file fits no more (another jar), starts as ever.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import trio

from pumpwatch.store.embedded_files import find_java

JAVA_MAJOR_MIN = 25
# Most of a short-lived server's processor time goes into compiling itself as if it ran for days,
# and into collecting its garbage twice when it has just started.
QUICK_JAVA = "-XX:TieredStopAtLevel=1 -XX:+DisableExplicitGC"
FILE = Path("build/server.aot")
REQUESTS, ROWS = 20, 50


def options(file: Path) -> str:
    """JDK_JAVA_OPTIONS of a test's servers."""
    return f'{QUICK_JAVA} -XX:AOTCache="{file.absolute()}"' if file.exists() else QUICK_JAVA


async def _live() -> None:
    """A short life: tables made, rows written, a question asked."""
    # Here, as all tests import this file, and only ``python -m`` has bench in reach.
    from bench.lone_database import FIRST_NS, SECOND_NS, lone_database

    async with lone_database() as database:
        for _ in range(REQUESTS):
            times = database.writer.times_between(FIRST_NS, FIRST_NS + 60 * SECOND_NS, ROWS)
            await database.writer.send(times)
        await database.sql.query("select count() from trades")


def main(file: Path) -> None:
    """Write it; Java does so while it ends."""
    if find_java().major < JAVA_MAJOR_MIN:
        return
    file.parent.mkdir(exist_ok=True)
    fresh = file.with_suffix(".new").absolute()
    os.environ["JDK_JAVA_OPTIONS"] = f'{QUICK_JAVA} -XX:AOTCacheOutput="{fresh}"'
    trio.run(_live)
    if fresh.exists():  # else the server was ended before it had written it
        fresh.replace(file)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
