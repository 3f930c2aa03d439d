"""``python -m tests.fuzz TARGET``: atheris (libFuzzer) on one target, for ``--seconds``.

What it finds worth keeping lies in build/fuzz/TARGET; an input that breaks a promise is written to
tests/fuzz/found/TARGET, where test_corpora.py takes it from: fix the code and commit the input.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["tests._fast", "tests.fuzz", "pumpwatch.store", "json"]):
    from tests.fuzz.targets import TARGETS

FOUND = Path(__file__).with_name("found")
CORPORA = Path("build/fuzz")
INPUT_BYTES_MAX = 8192


def main() -> None:
    """Seeds to files, then libFuzzer until the time is over; exit code 77 where a promise broke."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("target", choices=sorted(TARGETS))
    arguments.add_argument("--seconds", type=int, default=60)
    given = arguments.parse_args()
    target, seeds = TARGETS[given.target]
    corpus, found = CORPORA / given.target, FOUND / given.target
    corpus.mkdir(parents=True, exist_ok=True)
    found.mkdir(parents=True, exist_ok=True)
    for seed in seeds():
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    command = [sys.argv[0], str(corpus), str(found), f"-max_total_time={given.seconds}",
               f"-max_len={INPUT_BYTES_MAX}", f"-artifact_prefix={found}/", "-print_final_stats=1",
               "-timeout=20", "-rss_limit_mb=2048"]  # fmt: skip
    atheris.Setup(command, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
