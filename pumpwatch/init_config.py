"""``init``: a commented pumpwatch.toml that fits this machine."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from pumpwatch.budget import MIB, fit_memory, host_memory_mib, plan_memory
from pumpwatch.config import FEED_NAMES, Config, FeedConfig
from pumpwatch.environment import existing_ancestor, folder_problem, is_taken, listening_addresses
from pumpwatch.errors import ConfigError, UsageError
from pumpwatch.settings import Key, Section, keys_of, variable_name

PORTS_TRIED_MAX = 200
SPOOL_SHARE_OF_FREE = 4  # the spool may take a quarter of what is free; rows need the rest
HEADER = """\
# PumpWatch's settings for this machine, written by `python -m pumpwatch init`.
# A line "# key = value" shows a default. Every key can also be set in the environment,
# as {variable}. Unknown keys and impossible values refuse the start;
# `python -m pumpwatch check` says which. The keys are explained in docs/operations.md.
"""
FEEDS_NOTE = (
    "Feeds: {names}. One that is not named here runs with its defaults; add a section as this "
    "one for each that shall differ:"
)
LINE_CHARACTERS_MAX = 100
NOTE_COLUMN = 32

IsTaken = Callable[[str, int], bool]


def write_config(path: Path, data_dir: Path) -> list[str]:
    """Write the file and return what was chosen for this machine, a line each.

    Raises UsageError where the file exists, ConfigError where this machine is too small.
    """
    data_dir = data_dir.expanduser().absolute()
    problem = folder_problem(data_dir)
    if problem is not None:
        raise ConfigError(f"--data {data_dir}: {problem}")
    free_mib = shutil.disk_usage(existing_ancestor(data_dir)).free // MIB
    config, notes = fit_host(Config(data_dir=data_dir), host_memory_mib(), free_mib, is_taken)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(render(config))
    except FileExistsError:
        raise UsageError(
            f"--config {path}: exists, and init never overwrites; move it away or name another"
        ) from None
    return notes


def fit_host(
    config: Config, memory_mib: int, disk_free_mib: int, taken: IsTaken
) -> tuple[Config, list[str]]:
    """The settings with what this machine needs differently, and a line about each choice."""
    notes = [f"data in {config.data_dir}"]
    spool_mib = min(config.spool.disk_max_mib, max(disk_free_mib // SPOOL_SHARE_OF_FREE, 256))
    spool = msgspec.structs.replace(config.spool, disk_max_mib=spool_mib)
    notes.append(f"spool up to {spool_mib} MiB of {disk_free_mib} MiB free disk")
    config = fit_memory(msgspec.structs.replace(config, spool=spool), memory_mib)
    plan = plan_memory(config, memory_mib)
    notes.append(
        f"memory {plan.budget_mib} MiB of {memory_mib}: hour {plan.hour_mib}, "
        f"database heap {plan.heap_mib}"
    )
    addresses = listening_addresses(config)
    used = {port for _, port in addresses.values()}  # no key moves to where another wants to be
    ports: dict[str, int] = {}
    for key, (host, port) in addresses.items():
        ports[key] = _free_port(host, port, used, taken)
        used.add(ports[key])
        if ports[key] != port:
            notes.append(f"port {port} is taken: {key} uses {ports[key]}")
    questdb = msgspec.structs.replace(
        config.questdb,
        http_port=ports["questdb.http_port"],
        pg_port=ports["questdb.pg_port"],
        health_port=ports["questdb.health_port"],
    )
    dashboard = msgspec.structs.replace(
        config.dashboard, bind=f"{config.dashboard.host}:{ports['dashboard.bind']}"
    )
    return msgspec.structs.replace(config, questdb=questdb, dashboard=dashboard), notes


def _free_port(host: str, port: int, used: set[int], taken: IsTaken) -> int:
    """The port itself or the first free one after it."""
    for candidate in range(port, min(port + PORTS_TRIED_MAX, 65536)):
        if (candidate == port or candidate not in used) and not taken(host, candidate):
            return candidate
    return 0  # a free one at each start


def render(config: Config) -> str:
    """The settings as TOML: what differs from the defaults as keys, the defaults as comments."""
    lines = [HEADER.format(variable=variable_name("section.key"))]
    lines += _render_keys(config, Config(), "")
    return "\n".join(lines) + "\n"


def _render_keys(section: Section, default: Section, prefix: str) -> Iterator[str]:
    keys = keys_of(type(section))
    for key in keys:
        if key.section is None and key.name != "feeds":
            yield from _render_key(key, getattr(section, key.name), getattr(default, key.name))
    for key in keys:
        if key.name == "feeds" and isinstance(section, Config):
            yield from _render_feeds()
        elif key.section is not None:
            yield from ("", f"[{prefix}{key.name}]  # {_summary(key.section)}")
            inner, inner_default = getattr(section, key.name), getattr(default, key.name)
            yield from _render_keys(inner, inner_default, f"{prefix}{key.name}.")


def _render_key(key: Key, value: Any, default: Any) -> Iterator[str]:
    """The key with its explanation behind it, or above where the line would be too long."""
    line = f"{'' if value != default else '# '}{key.name} = {_toml(value)}"
    with_note = f"{line:<{NOTE_COLUMN}}  # {key.doc}"
    if not key.doc:
        yield line
    elif len(with_note) <= LINE_CHARACTERS_MAX:
        yield with_note
    else:
        yield from _comment(key.doc, "#   ")
        yield line


def _comment(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, LINE_CHARACTERS_MAX, initial_indent=indent, subsequent_indent=indent)


def _render_feeds() -> Iterator[str]:
    yield ""
    yield from _comment(FEEDS_NOTE.format(names=", ".join(FEED_NAMES)), "# ")
    yield f"# [feeds.{FEED_NAMES[0]}]"
    for key in keys_of(FeedConfig):
        yield from _render_key(key, key.default, key.default)


def _summary(section: type[Section]) -> str:
    return (section.__doc__ or "").splitlines()[0]


def _toml(value: Any) -> str:
    """A value as TOML; JSON's texts, numbers and lists are TOML as well."""
    if isinstance(value, Path):
        value = str(value)
    return json.dumps("" if value is None else value, ensure_ascii=False)
