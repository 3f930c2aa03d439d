"""What ``upgrade check`` and ``secrets rotate`` do."""

from __future__ import annotations

from pathlib import Path

import trio

from pumpwatch.clock import SystemClock
from pumpwatch.config import Config
from pumpwatch.daemon_orders import ROTATE, through_daemon
from pumpwatch.environment import Finding, read_runtime
from pumpwatch.errors import PumpWatchError, UsageError
from pumpwatch.moments import iso_ns
from pumpwatch.release import INSTALLED, Release, keep_jar, read_release
from pumpwatch.schema_verbs import connection
from pumpwatch.store.backup import open_folder
from pumpwatch.store.backup_manifest import State, newest_good
from pumpwatch.store.embedded import hold_data_dir
from pumpwatch.store.partitions import HOUR_NS, NS_PER_S
from pumpwatch.store.schema import MIGRATIONS, check_schema, read_version
from pumpwatch.store.server import new_passwords, running_address
from pumpwatch.store.sql import Sql

BACKUP_AGE_NS_MAX = 24 * HOUR_NS
LONG_AGO = "no release is noted in this data_dir: nothing ran here, or an early one"


def check(config: Config, *, wants_backup: bool) -> list[Finding]:
    """What the installed release would change here, and whether it may. Changes no data.

    Keeps the earlier server's jar where the server changes.
    """
    before = read_release(config.data_dir)
    findings = [_judge_release(before, INSTALLED)]
    runtime = read_runtime(config.data_dir)
    if runtime is not None and runtime.alive:
        findings.append(_judge_tables(trio.run(_ask_tables, config)))
    if before is None:
        return findings
    changes = changes_of(before, INSTALLED)
    if before.server_version != INSTALLED.server_version:
        findings.append(_judge_jar(config.data_dir, before.server_version))
    if config.questdb.mode == "embedded":
        now_ns = SystemClock().wall_ns()
        good = newest_good(open_folder(config).states())
        findings.append(judge_backup(changes, good, now_ns, wants_backup=wants_backup))
    return findings


def changes_of(before: Release, after: Release) -> list[str]:
    """What of the data's form is another: schema, server."""
    changes = []
    if before.schema_version != after.schema_version:
        changes.append(f"schema {before.schema_version} becomes {after.schema_version}")
    if before.server_version != after.server_version:
        changes.append(f"QuestDB {before.server_version} becomes {after.server_version}")
    return changes


def _judge_release(before: Release | None, after: Release) -> Finding:
    if before is None:
        return Finding(name="release", state="ok", text=f"{after}; {LONG_AGO}")
    if before == after:
        return Finding(name="release", state="ok", text=f"{after}, as it ran last")
    if before.schema_version > after.schema_version:
        text = (
            f"{before} ran last, {after} is installed: a way back; it starts if the tables have all"
            " that it needs (below), else restore the backup from before the upgrade"
        )
        return Finding(name="release", state="warn", text=text)
    return Finding(name="release", state="ok", text=f"{before} becomes {after}")


async def _ask_tables(config: Config) -> tuple[int, list[str]]:
    async with connection(Sql(running_address(config))) as sql:
        return await read_version(sql), await check_schema(sql)


def _judge_tables(found: tuple[int, list[str]]) -> Finding:
    """The tables of the running database, as this release would find them."""
    version, missing = found
    last = MIGRATIONS[-1].number
    if version < last:
        names = ", ".join(f"{m.number:03d}_{m.name}" for m in MIGRATIONS if m.number > version)
        deep = [m.name for m in MIGRATIONS if m.number > version and not m.is_additive]
        more = " (needs an empty spool: end the daemon in order first)" if deep else ""
        return Finding(name="tables", state="ok", text=f"{version} becomes {last}: {names}{more}")
    if missing:
        return Finding(name="tables", state="fail", text="; ".join(missing[:5]))
    return Finding(name="tables", state="ok", text=f"schema version {version}; nothing is missing")


def judge_backup(
    changes: list[str], good: State | None, now_ns: int, *, wants_backup: bool
) -> Finding:
    """A change of the data's form wants a good backup of today."""
    age_ns = None if good is None else now_ns - good.created_ns
    if good is None or age_ns is None:
        shown = "there is no good backup"
    else:
        hours = age_ns / NS_PER_S / 3600
        shown = f"{good.name} is good, {hours:.1f} h old, verified {iso_ns(good.verified_ns)[:19]}Z"
    if not changes:
        return Finding(name="backup", state="ok", text=f"not needed: {shown}")
    if age_ns is not None and age_ns <= BACKUP_AGE_NS_MAX:
        return Finding(name="backup", state="ok", text=shown)
    text = f"{', '.join(changes)}: {shown}; make one first: `pumpwatch backup create`"
    if wants_backup:
        return Finding(name="backup", state="fail", text=f"{text}, or say --no-backup")
    return Finding(name="backup", state="warn", text=text)


def _judge_jar(data_dir: Path, version: str) -> Finding:
    kept = keep_jar(data_dir, version)
    if kept is None:
        text = f"QuestDB {version} is in no repository here: a way back would fetch it again"
        return Finding(name="jar", state="warn", text=text)
    return Finding(name="jar", state="ok", text=f"{kept} is kept for a way back")


def rotate(config: Config) -> list[str]:
    """New passwords of the embedded database; names of the files that were written.

    Through the running daemon, which loses no row by it; else the next start takes them.
    """
    if config.questdb.mode == "external":
        raise UsageError(
            "secrets rotate: the database is not ours: change its passwords there, write them to"
            " the files that questdb.password_file and readonly_password_file name, and start the"
            " daemon anew"
        )
    answer = through_daemon(config, ROTATE)
    if answer is not None:
        return [str(name) for name in answer.result]
    runtime = read_runtime(config.data_dir)
    if runtime is not None and runtime.alive:
        raise PumpWatchError(
            "secrets rotate: a daemon runs on this data_dir, and its page, through which it is"
            " asked, does not answer: see the log, or end the daemon first"
        )
    with hold_data_dir(config.data_dir):
        new_passwords(config)
    return [config.questdb.password_file, config.questdb.readonly_password_file]
