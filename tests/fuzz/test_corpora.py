"""The fuzz targets without a fuzzer: seeds, mutations of these, and inputs that once broke one."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS, Target

FOUND = Path(__file__).with_name("found")
MUTATIONS = 400
SEED = 20261125
PIECES = (
    *(bytes([byte]) for byte in b'"\\{}[],:.-e0 \x00\xff'),
    *(b"9" * 20, b"\\u0041", b"\\ud800", "币".encode(), b"null", b"true"),
)
EACH = pytest.mark.parametrize(("target", "seeds"), TARGETS.values(), ids=TARGETS)
Seeds = Callable[[], list[bytes]]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Bytes flipped, put in, taken out and doubled at one to four places."""
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(changed) + 1)
        kind = rng.randrange(4)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[at:at] = rng.choice(PIECES)
        elif kind == 2:
            del changed[at : at + rng.randrange(1, 20)]
        else:
            changed[at:at] = changed[at : at + rng.randrange(1, 200)]
    return bytes(changed)


@EACH
def test_seeds(target: Target, seeds: Seeds) -> None:
    given = seeds()
    assert given
    for seed in given:
        target(seed)


@EACH
def test_mutations_of_the_seeds(target: Target, seeds: Seeds) -> None:
    rng, given = random.Random(SEED), seeds()
    for number in range(MUTATIONS):
        data = mutated(rng.choice(given), rng)
        try:
            target(data)
        except Exception as error:
            error.add_note(f"mutation {number} of seed {SEED}: {data!r}")
            raise


def test_what_broke_a_promise_once_does_not_again() -> None:
    for path in sorted(FOUND.glob("*/*")):
        TARGETS[path.parent.name][0](path.read_bytes())
