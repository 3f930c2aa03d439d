"""The verbs ``upgrade check``, ``secrets rotate`` and ``proof``."""

from __future__ import annotations

from typing import Annotated

import typer

from pumpwatch.cli_print import ConfigOption, JsonOption, load, print_json, print_rows
from pumpwatch.errors import EXIT_NO

upgrade = typer.Typer(help="See what the installed release would change here.")
secrets = typer.Typer(help="Passwords of the embedded database.")


@upgrade.command("check")
def upgrade_check(
    no_backup: Annotated[
        bool, typer.Option("--no-backup", help="Go without a good backup of the last 24 hours.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Compare schema, server and settings with this release; exit code 1 if something is missing.

    Run it with the new release, before it is started; the old one may still record.
    """
    settings = load(config)
    from pumpwatch import upgrade_verb

    findings = upgrade_verb.check(settings, wants_backup=not no_backup)
    rows = [{"name": f.name, "state": f.state, "text": f.text} for f in findings]
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, ("name", "state", "text"))
    return EXIT_NO if any(finding.state == "fail" for finding in findings) else 0


@upgrade.callback()
def _upgrade() -> None:
    """See what the installed release would change here."""


@secrets.command("rotate")
def secrets_rotate(config: ConfigOption = None, as_json: JsonOption = False) -> int:
    """New passwords for both users of the database; a running daemon loses no row by it."""
    settings = load(config)
    from pumpwatch import log, upgrade_verb

    log.configure()
    files = upgrade_verb.rotate(settings)
    if as_json:
        print_json([{"file": name} for name in files])
    else:
        for name in files:
            print(f"{settings.path(name)} holds a new password")
    return 0


@secrets.callback()
def _secrets() -> None:
    """Passwords of the embedded database."""


def proof(config: ConfigOption = None, as_json: JsonOption = False) -> int:
    """List the nightly proofs and check their chain.

    Oldest first; exit code 1 if a line was changed or taken away.
    """
    settings = load(config)
    from pumpwatch import upkeep_verbs

    rows, problems = upkeep_verbs.proofs(settings)
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            print(row["detail"])
    for problem in problems:
        typer.echo(problem, err=True)
    return EXIT_NO if problems else 0
