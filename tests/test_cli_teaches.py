"""--help teaches by examples that exist, and a real shell completes by the script."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from pumpwatch.cli import app, main
from pumpwatch.cli_completion import script
from pumpwatch.cli_examples import EXAMPLES

WITHOUT = {"sim"}  # hands everything on to another program


def leaves(command: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for name, child in getattr(command, "commands", {}).items():
        place = f"{path} {name}".strip()
        if getattr(child, "commands", None):
            yield from leaves(child, place)
        else:
            yield place, child


LEAVES = dict(leaves(get_command(app)))


def test_every_verb_has_examples() -> None:
    assert set(EXAMPLES) == set(LEAVES) - WITHOUT


@pytest.mark.parametrize("verb", sorted(EXAMPLES))
def test_examples_are_of_the_verb_and_its_options(verb: str) -> None:
    known = {name for parameter in LEAVES[verb].params for name in parameter.opts} | {"--help"}
    for line in EXAMPLES[verb]:
        words = shlex.split(line.partition(" > ")[0])
        assert words[: len(verb.split())] == verb.split()
        assert [word for word in words if word.startswith("--") and word not in known] == []


@pytest.mark.parametrize("verb", ["run", "gaps list", "doctor"])
def test_help_shows_them_as_typed(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*verb.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    for line in EXAMPLES[verb]:
        assert f"  python -m pumpwatch {line}\n" in shown


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("pumpwatch st", {"status"}),
        ("pumpwatch alerts ", {"test", "silence", "history", "--help"}),
        ("pumpwatch doctor --on", {"--online"}),
        ("pumpwatch gaps list --op", {"--open"}),
        ("pumpwatch --vers", {"--version"}),
    ],
)
def test_bash_completes(typed: str, offered: set[str], tmp_path: Path) -> None:
    bash = shutil.which("bash")
    assert bash
    file = tmp_path / "completion"
    file.write_text(script(get_command(app), "bash"))
    words = [*typed.split(), *([""] if typed.endswith(" ") else [])]
    shown = subprocess.run(
        [bash, "--norc", "-c",
         f"source {file}; COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1};"
         ' _pumpwatch; printf "%s\\n" "${COMPREPLY[@]}"'],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shown.stderr == ""
    assert set(shown.stdout.split()) == offered


def test_the_verb_prints_it_and_knows_its_shells(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "zsh"]) == 0
    assert "bashcompinit" in capsys.readouterr().out
    assert main(["completion", "tcsh"]) == 64
