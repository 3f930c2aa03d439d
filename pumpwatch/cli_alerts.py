"""Verbs of the alerts: test, silence, history."""

from __future__ import annotations

from typing import Annotated

import typer

from pumpwatch.cli_print import ConfigOption, JsonOption, load, print_json, print_rows
from pumpwatch.cli_run import parse_duration_s
from pumpwatch.errors import EXIT_NO, UsageError

alerts = typer.Typer(help="Try the targets, silence a rule, show what was told.")


@alerts.command("test")
def try_targets(
    severity: Annotated[
        str, typer.Option(metavar="SEVERITY", help="page, notify or digest.")
    ] = "page",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> int:
    """Send a test message to every target of a severity.

    Exit code 1 if one does not take it.
    """
    from pumpwatch.alert_book import Message
    from pumpwatch.alerts import send, targets_of
    from pumpwatch.clock import SystemClock

    if severity not in ("page", "notify", "digest"):
        raise UsageError(f"--severity {severity}: allowed: page, notify, digest")
    targets = targets_of(load(config).alerts, severity)
    if not targets:
        raise UsageError(
            f"alerts.urls and alerts.{severity}_urls are empty: nobody would be told"
            " (docs/operations.md, [alerts])"
        )
    message = Message(
        kind="test", severity=severity, rule="", subject="", title="PumpWatch: a test",  # type: ignore[arg-type]
        body=f"This is what an alert of severity {severity} looks like.",
        at_ns=SystemClock().wall_ns(),
    )  # fmt: skip
    rows = []
    for target in targets:
        problem = send(target, message)
        rows.append({"target": target.name, "result": problem or "taken"})
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, ("target", "result"))
    return EXIT_NO if any(row["result"] != "taken" for row in rows) else 0


@alerts.command("silence")
def silence(
    rule: Annotated[str, typer.Argument(help="A rule, or rule/subject: feed_down/okx_spot.")],
    duration: Annotated[
        str, typer.Option("--for", metavar="TIME", help="How long: 2h, 30m; 0 ends it.")
    ] = "1h",
    config: ConfigOption = None,
) -> int:
    """Tell nobody of a rule for a while; the page still shows it.

    A running daemon heeds it within a second.
    """
    from pumpwatch.alert_files import AlertFiles
    from pumpwatch.alert_rules import RULE_NAMES
    from pumpwatch.clock import SystemClock
    from pumpwatch.moments import iso_ns

    if rule.partition("/")[0] not in RULE_NAMES:
        raise UsageError(f"RULE {rule!r}: no such rule; there are {', '.join(RULE_NAMES)}")
    seconds = 0.0 if duration == "0" else parse_duration_s(duration)
    now_ns = SystemClock().wall_ns()
    until_ns = now_ns + int(seconds * 1e9)
    AlertFiles(load(config).data_dir).silence(rule, until_ns, now_ns)
    print(
        f"{rule} is silent until {iso_ns(until_ns)[:19]}Z" if seconds else f"{rule} is told again"
    )
    return 0


@alerts.command("history")
def history(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 50,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> int:
    """Show what was told, newest first."""
    from pumpwatch.alert_files import AlertFiles
    from pumpwatch.moments import iso_ns

    rows = [
        {
            "at": iso_ns(entry.at_ns)[:19] + "Z",
            "kind": entry.kind,
            "severity": entry.severity,
            "rule": entry.rule,
            "subject": entry.subject,
            "text": entry.body,
        }
        for entry in AlertFiles(load(config).data_dir).history(limit)
    ]
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, ("at", "kind", "severity", "rule", "subject", "text"))
    return 0
