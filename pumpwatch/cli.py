"""The command line: what verbs there are, and what becomes of errors.

Nothing heavy is imported here or at the top of a cli_*.py, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from pumpwatch import (
    cli_alerts,
    cli_backup,
    cli_check,
    cli_completion,
    cli_data,
    cli_drill,
    cli_examples,
    cli_gaps,
    cli_lake,
    cli_migrate,
    cli_quarantine,
    cli_replay,
    cli_retention,
    cli_run,
    cli_seat,
    cli_study,
    cli_upgrade,
    cli_verify,
)
from pumpwatch.errors import EXIT_GOOD, EXIT_UNAVAILABLE, EXIT_USAGE, PumpWatchError

PROGRAM = "python -m pumpwatch"
EXIT_BUG = 70  # neither an answer nor a fault of the world: the traceback tells more
EXIT_INTERRUPTED = 130
COMMAND_LINE_ERROR = typer.BadParameter.__bases__[0]  # UsageError: no public name in every typer

app = typer.Typer(
    name="pumpwatch",
    help="Records every trade of 12 exchange feeds into QuestDB, and proves it.",
    epilog="Options stand after the verb. docs/operations.md explains every verb and setting.",
    add_completion=False,
    pretty_exceptions_enable=False,  # they show local variables, passwords among them
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
gaps = typer.Typer(help="List the holes of the record, show one, have them tried again.")
schema = typer.Typer(help="Make the tables, or compare them with this version.")


def _show_version(wanted: bool) -> None:
    if wanted:
        cli_check.version()
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and end."
        ),
    ] = False,
) -> None:
    """Records every trade of 12 exchange feeds into QuestDB, and proves it."""


PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True}

app.command()(cli_run.run)
app.command()(cli_check.init)
app.command()(cli_run.demo)
app.command()(cli_check.check)
app.command()(cli_check.doctor)
app.command()(cli_data.status)
app.command()(cli_data.trades)
app.add_typer(gaps, name="gaps")
gaps.command("list")(cli_gaps.gaps_list)
gaps.command("show")(cli_gaps.gaps_show)
gaps.command("retry")(cli_gaps.gaps_retry)
gaps.command("settle")(cli_gaps.gaps_settle)
app.add_typer(cli_quarantine.quarantine, name="quarantine")
app.add_typer(cli_study.group, name="listings")
app.add_typer(schema, name="schema")
schema.command("apply")(cli_data.schema_apply)
schema.command("check")(cli_data.schema_check)
app.add_typer(cli_backup.backup, name="backup")
app.add_typer(cli_retention.retention, name="retention")
app.command()(cli_verify.verify)
app.add_typer(cli_migrate.migrate, name="migrate")
app.add_typer(cli_upgrade.upgrade, name="upgrade")
app.add_typer(cli_upgrade.secrets, name="secrets")
app.command()(cli_upgrade.proof)
app.command()(cli_drill.drill)
app.command()(cli_replay.replay)
app.add_typer(cli_lake.lake, name="lake")
app.command()(cli_seat.sql)
app.command()(cli_seat.capacity)
app.add_typer(cli_seat.feeds, name="feeds")
app.add_typer(cli_alerts.alerts, name="alerts")
app.command(context_settings=PASS_THROUGH, add_help_option=False)(cli_run.sim)
app.command()(cli_completion.completion)
app.command()(cli_check.version)
cli_examples.teach(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code (DESIGN: 0, 1, 64, 69, 78; 70 is a bug)."""
    try:
        result = app(
            args=None if arguments is None else list(arguments),
            prog_name=PROGRAM,
            standalone_mode=False,
        )
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has seen enough; the interpreter must not flush again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_GOOD
    except OSError as error:
        return _refuse(_one_line(str(error)), EXIT_UNAVAILABLE)
    except PumpWatchError as error:
        return _refuse(_one_line(str(error)), error.exit_code)
    except BaseExceptionGroup as group:
        return _refuse_group(group)
    except Exception as error:  # noqa: BLE001 - the last place: a bug must not look like "no" (1)
        if isinstance(error, COMMAND_LINE_ERROR):
            message = _one_line(getattr(error, "format_message", error.__str__)())
            return _refuse(f"{message} (try {PROGRAM} --help)", EXIT_USAGE)
        traceback.print_exc()
        return EXIT_BUG
    return result if isinstance(result, int) else EXIT_GOOD


def _refuse_group(group: BaseExceptionGroup[BaseException]) -> int:
    """A nursery's errors: the first of ours that nobody in it contradicts, else a bug."""
    leaves = list(_leaves(group))
    if all(isinstance(leaf, KeyboardInterrupt) for leaf in leaves):
        return EXIT_INTERRUPTED
    deliberate = [leaf for leaf in leaves if isinstance(leaf, PumpWatchError | OSError)]
    if len(deliberate) < len(leaves):
        traceback.print_exception(group)
        return EXIT_BUG
    first = deliberate[0]
    code = first.exit_code if isinstance(first, PumpWatchError) else EXIT_UNAVAILABLE
    return _refuse(_one_line(str(first)), code)


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


def _refuse(line: str, code: int) -> int:
    print(f"pumpwatch: error: {line}", file=sys.stderr)
    return code


def _one_line(text: str) -> str:
    return " ".join(text.split())
