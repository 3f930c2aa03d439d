"""Verbs in processes of their own, as an operator says them, against a drill's daemon."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import msgspec
import trio

from pumpwatch.drills.stage import DaemonProcess

VERB_S_MAX = 600.0


async def say(
    daemon: DaemonProcess, *words: str, as_json: bool = True, **environ: str
) -> tuple[int, Any, str]:
    """Exit code, JSON (None where there is none), and the last line of what it complains of."""
    command = [sys.executable, "-m", "pumpwatch", *words]
    command += ["--config", str(daemon.config_file), *(["--json"] if as_json else [])]
    done = await trio.to_thread.run_sync(
        lambda: subprocess.run(
            command, capture_output=True, text=True, timeout=VERB_S_MAX, check=False,
            env=os.environ | environ,
        )
    )  # fmt: skip
    lines = [line for line in done.stderr.splitlines() if line.startswith("pumpwatch: ")]
    document = msgspec.json.decode(done.stdout) if as_json and done.stdout else None
    return done.returncode, document, lines[-1] if lines else ""
