"""What ``--help`` ends with: examples of every verb, as they are typed.

One table, so that a test can hold each line against the verbs and options that there are.
"""

from __future__ import annotations

import typer

EXAMPLES: dict[str, tuple[str, ...]] = {
    "run": ("run --config pumpwatch.toml", "run --for 5m --feeds okx_spot --symbols 'BTC*'"),
    "init": ("init", "init --config /etc/pumpwatch/pumpwatch.toml --data /var/lib/pumpwatch"),
    "demo": ("demo", "demo --seconds 20 --rate 50000 --data /tmp/demo"),
    "check": ("check --config pumpwatch.toml",),
    "doctor": ("doctor", "doctor --online", "doctor --online --json > doctor.json"),
    "status": ("status", "status --watch", "status --json"),
    "trades": (
        "trades BTCUSDT",
        "trades BTCUSDT --feed okx_spot --from 2026-01-31T13:00:00Z --to 2026-01-31T13:00:40Z",
    ),
    "gaps list": ("gaps list --open", "gaps list --feed okx_spot --json"),
    "gaps show": ("gaps show GAP_ID",),
    "gaps retry": ("gaps retry --open", "gaps retry --feed okx_spot"),
    "gaps settle": ("gaps settle GAP_ID --at 2026-01-31T08:00:00Z",),
    "quarantine list": ("quarantine list", "quarantine list --feed okx_spot --json"),
    "quarantine show": ("quarantine show okx_spot --limit 3",),
    "quarantine retry": (
        "quarantine retry",
        "quarantine retry --feed okx_spot --rename price=px",
    ),
    "verify": (
        "verify --from 2026-01-31T13:00",
        "verify --from 2026-01-31T13:00 --sample 5 --seed 1",
    ),
    "listings list": ("listings list --limit 20",),
    "listings show": ("listings show AVA",),
    "listings add": ("listings add AVA --at 2026-01-31T13:00:00Z --note 'seen elsewhere'",),
    "listings backfill": (
        "listings backfill --since 2026-01-01",
        "listings backfill --since 2026-11-01 --source bithumb",
    ),
    "listings map": ("listings map AVA okx_spot same",),
    "listings bundles": ("listings bundles",),
    "listings report": ("listings report AVA",),
    "listings export": ("listings export AVA --to /tmp/ava",),
    "listings verify": ("listings verify AVA", "listings verify AVA --against-venue"),
    "listings study": (
        "listings study --out /tmp/study",
        "listings study --source upbit --since 2026-01-01",
    ),
    "lake sync": ("lake sync /data/lake",),
    "replay": (
        "replay AVA --serve 127.0.0.1:7000",
        "replay AVA --serve 127.0.0.1:7000 --speed 10 --now --write-config replay.toml",
        "replay AVA --jsonl --speed max > ava.jsonl",
    ),
    "schema apply": ("schema apply",),
    "schema check": ("schema check --json",),
    "backup create": ("backup create",),
    "backup list": ("backup list", "backup list --remote --json"),
    "backup verify": ("backup verify NAME --quick",),
    "backup restore": ("backup restore NAME --help",),
    "backup key": ("backup key",),
    "retention plan": ("retention plan",),
    "retention run": ("retention run",),
    "migrate import": ("migrate import /old/data",),
    "migrate export": ("migrate export --to /old/data", "migrate export AVA --to /tmp/ava"),
    "migrate shadow": ("migrate shadow --windows 100 --seed 1",),
    "migrate status": ("migrate status",),
    "migrate advance": ("migrate advance",),
    "migrate rollback": ("migrate rollback", "migrate rollback --whole"),
    "upgrade check": ("upgrade check",),
    "secrets rotate": ("secrets rotate",),
    "proof": ("proof",),
    "drill": ("drill list", "drill console --seed 7", "drill crash --count 10 --rate 20000"),
    "sql": (
        "sql 'SELECT count() FROM trades'",
        "sql 'SELECT * FROM feed_gaps' --format parquet --out gaps.parquet",
        "sql --psql",
    ),
    "capacity": ("capacity --rate 20000", "capacity --measure 60s"),
    "feeds pause": ("feeds pause okx_spot",),
    "feeds resume": ("feeds resume okx_spot",),
    "feeds renew": ("feeds renew okx_spot",),
    "alerts test": ("alerts test --severity page",),
    "alerts silence": ("alerts silence feed_down/okx_spot --for 2h", "alerts silence disk_filling"),
    "alerts history": ("alerts history --limit 20",),
    "completion": ("completion bash > ~/.local/share/bash-completion/completions/pumpwatch",),
    "version": ("version", "version --json"),
}


def teach(app: typer.Typer, prefix: str = "") -> None:
    """Give every verb its examples; a verb without any keeps its help as it is."""
    for command in app.registered_commands:
        assert command.callback is not None
        name = prefix + (command.name or command.callback.__name__.replace("_", "-"))
        if name in EXAMPLES:
            lines = "\n".join(f"  python -m pumpwatch {line}" for line in EXAMPLES[name])
            command.epilog = f"\b\nExamples:\n{lines}"
    for group in app.registered_groups:
        if group.typer_instance is not None:
            teach(group.typer_instance, f"{prefix}{group.name} ")
