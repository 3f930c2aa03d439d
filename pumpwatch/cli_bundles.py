"""``listings bundles``, ``report``, ``verify``, ``export``, ``map``: what a bundle proves."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pumpwatch.cli_listings import coin_of, group
from pumpwatch.cli_print import ConfigOption, JsonOption, load, print_json, print_rows
from pumpwatch.errors import EXIT_NO, EXIT_UNAVAILABLE, UsageError

__all__ = ["group"]

BundleArgument = Annotated[
    str, typer.Argument(metavar="BUNDLE", help="A folder, its name, or a coin: its newest.")
]
BUNDLE_COLUMNS = (
    "bundle", "source", "kind", "state", "revision", "rows", "proven", "covered", "incomplete",
    "archive", "not_listed",
)  # fmt: skip
FORMS = ("original", "csv", "parquet", "bundle")
MAPS = ("same", "other", "forget")


@group.command()
def bundles(as_json: JsonOption = False, config: ConfigOption = None) -> int:
    """List what is published, with the feeds of each grade."""
    from pumpwatch.listing_verbs import list_bundles

    rows = list_bundles(load(config))
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, BUNDLE_COLUMNS)
    return 0


@group.command()
def report(bundle: BundleArgument, as_json: JsonOption = False, config: ConfigOption = None) -> int:
    """Print a listing's report as tables, and where its page is; --json prints its figures."""
    from rich.console import Console

    from pumpwatch import listing_verbs
    from pumpwatch.listing.verify import read_certificate
    from pumpwatch.report.terminal import decode, tables
    from pumpwatch.report.write import REPORT_HTML, REPORT_JSON

    place = listing_verbs.find_bundle(load(config), bundle)
    if as_json:
        sys.stdout.write(listing_verbs.report(place, REPORT_JSON).read_text("utf-8"))
        return 0
    certificate, _ = read_certificate(place)
    path = listing_verbs.report(place, REPORT_HTML)
    told = listing_verbs.report(place, REPORT_JSON)
    print(f"{certificate.symbol} ({certificate.source}): {certificate.verdict}")
    Console(highlight=False).print(tables(decode(told.read_bytes(), str(told))))
    print(path)
    return 0


@group.command()
def verify(
    bundle: BundleArgument,
    key: Annotated[str, typer.Option(metavar="HEX", help="It must be signed with this key.")] = "",
    against_venue: Annotated[
        bool, typer.Option("--against-venue", help="Ask the venues' lists again, now.")
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> int:
    """Check a bundle offline: files, signatures, rows and ids computed anew.

    Exit code 1 where something is not as it was signed, or a venue shows other rows.
    """
    from pumpwatch import listing_verbs

    settings = load(config)
    place = listing_verbs.find_bundle(settings, bundle)
    verdict = listing_verbs.check(settings, place, key)
    answers = listing_verbs.ask_venues(settings, place) if against_venue else []
    if as_json:
        print_json(
            {
                "bundle": verdict.bundle, "is_sound": verdict.is_sound, "faults": verdict.faults,
                "key": verdict.key, "is_own_key": verdict.is_own_key, "venues": answers,
            }
        )  # fmt: skip
    else:
        for fault in verdict.faults:
            print(fault)
        if verdict.is_sound and verdict.certificate is not None:
            whose = {True: "our own", False: "another installation's", None: "an unknown"}
            print(f"as it was signed, with {whose[verdict.is_own_key]} key {verdict.key}")
            print(verdict.certificate.verdict)
        if answers:
            print_rows(
                [{name: getattr(one, name) for name in one.__struct_fields__} for one in answers],
                ("feed", "answer", "rows", "shown", "text"),
            )
    told = {one.answer for one in answers}
    if verdict.faults or listing_verbs.DIFFERS in told:
        return EXIT_NO
    return EXIT_UNAVAILABLE if told == {listing_verbs.UNREAD} else 0


@group.command()
def export(
    bundle: BundleArgument,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Where to; made when missing.")],
    form: Annotated[str, typer.Option("--format", help=f"One of {', '.join(FORMS)}.")] = "original",
    config: ConfigOption = None,
) -> int:
    """Write a bundle's trades in another form; the same bytes each time."""
    from pumpwatch import listing_verbs

    if form not in FORMS:
        raise UsageError(f"--format {form}: allowed: {', '.join(FORMS)}")
    place = listing_verbs.find_bundle(load(config), bundle)
    print(listing_verbs.export(place, to, form))  # type: ignore[arg-type]
    return 0


@group.command("map")
def map_feed(
    symbol: Annotated[str, typer.Argument(help="The coin, as AVA.")],
    feed: Annotated[str, typer.Argument(help="A feed, as okx_spot.")],
    verdict: Annotated[str, typer.Argument(help=f"One of {', '.join(MAPS)}.")],
    config: ConfigOption = None,
) -> int:
    """Say whether a feed's ticker is the coin; the next version of a bundle follows it."""
    from pumpwatch import listing_verbs

    coin = coin_of(symbol)
    if verdict not in MAPS:
        raise UsageError(f"{verdict}: allowed: {', '.join(MAPS)}")
    known = listing_verbs.map_coin(load(config), coin, feed, verdict)
    print(f"{coin}: {known.coins.get(coin, {}) or 'nothing noted'}")
    return 0
