"""The same messages through what a user would otherwise run; ratios are of this one run.

PumpWatch starts from frames and ends with checked, sequenced lines; the others start from the
message and end with a line. cryptofeed needs an environment of its own: ``make bench-peers``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from bench import peers_python
from bench.machine import emit, emit_machine, timed
from bench.messages import FORMS, MANY, Form, Stream
from bench.roads import Road, chunks_of

ROWS = 20_000
ROUNDS = 5
SYMBOLS = 200
SEED = 20261125
CRYPTOFEED = Path("build/peers/bin/python")
TIMEOUT_S = 900


def as_aggregate(message: str) -> str:
    """Binance's aggTrade of the same trade, which is what cryptofeed subscribes to."""
    document = json.loads(message)
    data = document["data"]
    number = data.pop("t")
    document["data"] = data | {"e": "aggTrade", "a": number, "f": number, "l": number}
    document["stream"] = document["stream"].replace("@trade", "@aggTrade")
    return json.dumps(document, separators=(",", ":"))


class Case:
    """One feed with one number of rows a message."""

    def __init__(self, form: Form, count: int) -> None:
        self.form = form
        self.name = f"{form.feed} {'one' if count == 1 else 'many'}"
        self.stream = Stream(form, SEED, SYMBOLS)
        self.messages = list(self.stream.messages(ROWS, count))
        self.ours_per_s = 0.0

    def measure(self) -> None:
        """PumpWatch, msgspec and orjson, one after the other."""
        chunks = chunks_of(self.messages)
        rows, ours_s, _ = timed(
            lambda: Road(self.form, self.stream), lambda road: road.run(chunks), ROUNDS
        )
        self.ours_per_s = rows / ours_s
        emit("peers", f"{self.name} pumpwatch", rows, ours_s, ratio=1.0)
        prefixes = peers_python.prefixes_of(self.form, self.stream)
        for peer, (decode, read) in peers_python.decoders(self.form.feed).items():
            run = partial(peers_python.run, decode, read, prefixes)
            rows, seconds, _ = timed(lambda: self.messages, run, ROUNDS)
            self.tell(peer, rows, seconds)

    def tell(self, peer: str, rows: int, seconds: float) -> None:
        """The peer's line, with how many times faster PumpWatch is."""
        assert rows == ROWS, (self.name, peer, rows)
        ratio = round(self.ours_per_s / (rows / seconds), 1)
        emit("peers", f"{self.name} {peer}", rows, seconds, ratio=ratio)

    def as_json(self) -> dict[str, Any]:
        """What the cryptofeed process reads."""
        symbols = [(market.base, self.form.symbol(market.base)) for market in self.stream.markets]
        messages = [message.decode() for message in self.messages]
        if self.form.feed.startswith("binance"):
            messages = [as_aggregate(message) for message in messages]
        return {"feed": self.form.feed, "symbols": symbols, "messages": messages}


def run_cryptofeed(python: Path, cases: list[Case]) -> None:
    """All cases in one process of the other environment; a clear line where there is none."""
    if not python.exists():
        print(f"peers: cryptofeed skipped, {python} is missing: make bench-peers", file=sys.stderr)
        return
    script = Path(__file__).with_name("peers_cryptofeed.py")
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump({case.name: case.as_json() for case in cases}, file)
        file.flush()
        done = subprocess.run(
            [str(python), str(script), file.name],
            capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
    if done.returncode:
        sys.exit(f"peers: cryptofeed failed\n{done.stderr[-2000:]}")
    by_name = {case.name: case for case in cases}
    for told in map(json.loads, done.stdout.splitlines()):
        if "skipped" in told:
            print(f"peers: {told['case']} cryptofeed skipped: {told['skipped']}", file=sys.stderr)
        else:
            by_name[told["case"]].tell("cryptofeed", told["rows"], told["seconds"])


def main() -> None:
    """All feeds, or those of ``--feed``."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--feed", default="", help="only feeds whose name holds this")
    arguments.add_argument("--cryptofeed", type=Path, default=CRYPTOFEED, help="its Python")
    given = arguments.parse_args()
    emit_machine("peers")
    cases = [
        Case(form, count)
        for form in FORMS
        if given.feed in form.feed
        for count in ((1, MANY) if form.rows_max > 1 else (1,))
    ]
    for case in cases:
        case.measure()
    run_cryptofeed(given.cryptofeed, cases)


if __name__ == "__main__":
    main()
