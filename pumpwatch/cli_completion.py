"""The verb that teaches a shell the others: completion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pumpwatch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

SHELLS = ("bash", "zsh")
# Words are matched by what was typed before them; unknown places offer files, as without it.
SCRIPT = """\
# pumpwatch, for bash and zsh: alias pumpwatch='python -m pumpwatch', then source this file.
{zsh}_pumpwatch() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" path="" part
    for part in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case "$path $part" in
{paths}
        esac
    done
    case "$path" in
{words}
        *) COMPREPLY=() ;;
    esac
}}
complete -o default -F _pumpwatch pumpwatch
"""


def completion(
    shell: Annotated[str, typer.Argument(metavar="SHELL", help="bash or zsh.")] = "bash",
) -> int:
    """Print what makes a shell complete verbs and options.

    It completes the word pumpwatch: alias pumpwatch='python -m pumpwatch'.
    """
    if shell not in SHELLS:
        raise UsageError(f"SHELL {shell!r}: allowed: {', '.join(SHELLS)}")
    from typer.main import get_command

    from pumpwatch.cli import app

    print(script(get_command(app), shell), end="")
    return 0


def script(command: Any, shell: str) -> str:
    """The script of a command and all below it."""
    paths, words = [], []
    for path, below, options in _walk(command, ""):
        if path:
            before, _, last = path.rpartition(" ")
            paths.append(f'            "{before} {last}") path="{path}" ;;')
        offered = " ".join([*below, *options])
        words.append(f'        "{path}") COMPREPLY=($(compgen -W "{offered}" -- "$word")) ;;')
    zsh = "autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else ""
    return SCRIPT.format(zsh=zsh, paths="\n".join(paths), words="\n".join(words))


def _walk(command: Any, path: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """Path, verbs below it and options, of every command."""
    below = dict(sorted(getattr(command, "commands", {}).items()))
    options = [
        name
        for parameter in command.params
        for name in parameter.opts
        if name.startswith("--") and not getattr(parameter, "hidden", False)
    ]
    yield path, list(below), sorted({*options, "--help"})
    for name, child in below.items():
        yield from _walk(child, f"{path} {name}".strip())
