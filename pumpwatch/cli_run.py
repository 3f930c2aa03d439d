"""Verbs that run something: run, demo, sim."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pumpwatch.cli_print import ConfigOption, load
from pumpwatch.errors import UsageError

if TYPE_CHECKING:
    from pumpwatch.config import Config
    from pumpwatch.log_file import RotatingFile

DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(h|m|s|)")
UNIT_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "": 1.0}
DURATION_S_MAX = 86_400.0 * 30


def run(
    config: ConfigOption = None,
    duration: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="TIME",
            help="A taste (5m, 90s): records into a new temporary folder, ends with a table.",
        ),
    ] = None,
    feeds: Annotated[
        str | None, typer.Option(metavar="A,B", help="Only these feeds, as okx_spot,gate_futures.")
    ] = None,
    symbols: Annotated[
        str | None, typer.Option(metavar="GLOBS", help="Only these symbols, as 'BTC*,ETHUSDT'.")
    ] = None,
) -> int:
    """Record all enabled feeds until SIGTERM."""
    from pumpwatch import log
    from pumpwatch.budget import fit_memory, host_memory_mib, plan_memory
    from pumpwatch.config import RunOptions, in_folder, narrow

    settings = narrow(load(config), split_list(feeds), split_list(symbols))
    duration_s = None if duration is None else parse_duration_s(duration)
    if duration_s is not None:
        import tempfile

        folder = Path(tempfile.mkdtemp(prefix="pumpwatch-"))
        settings = fit_memory(in_folder(settings, folder), host_memory_mib())
    plan_memory(settings, host_memory_mib())  # refuse before anything is started
    log.configure(_log_file(settings))
    log.set_level(settings.system.log_level)
    from pumpwatch import daemon

    return int(daemon.run(settings, RunOptions(duration_s=duration_s, config_path=config)) or 0)


def _log_file(settings: Config) -> RotatingFile | None:
    from pumpwatch.log_file import MIB, RotatingFile

    system = settings.system
    if system.log_file is None:
        return None
    path = settings.path(system.log_file)
    return RotatingFile(path, bytes_max=system.log_max_mib * MIB, keep=system.log_keep)


def demo(
    seconds: Annotated[int, typer.Option(min=5, max=86_400, help="How long trades come in.")] = 60,
    rate: Annotated[
        int, typer.Option(min=12, max=1_000_000, help="Trades a second, over all feeds.")
    ] = 20_000,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Keep the data here.")
    ] = None,
) -> int:
    """Show the whole road without an exchange, then a table.

    Simulator, daemon and database run on free ports of this machine.
    Exit code 1 if a row is missing or stored twice.
    """
    from pumpwatch.demo import run_demo

    return int(run_demo(seconds=seconds, rate_per_s=rate, data_dir=data) or 0)


def sim(context: typer.Context) -> int:
    """Run the simulated venues alone; sim --help says more."""
    from pumpwatch.sim.main import main as sim_main

    return int(sim_main(context.args) or 0)


def split_list(text: str | None) -> tuple[str, ...]:
    """``"a, b"`` -> ``("a", "b")``; None or nothing -> ()."""
    return tuple(item.strip() for item in (text or "").split(",") if item.strip())


def parse_duration_s(text: str) -> float:
    """``5m``, ``90s``, ``1h30m`` or plain seconds. Raises UsageError for anything else."""
    parts = DURATION_PART.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        seconds = sum(float(number) * UNIT_S[unit] for number, unit in parts)
        if 0 < seconds <= DURATION_S_MAX:
            return seconds
    raise UsageError(f"--for {text!r}: allowed: a time above 0, up to 30 days, as 5m, 90s or 1h30m")
