#!/usr/bin/env python3
"""Checks a PumpWatch bundle with nothing but Python's standard library.

    python3 verify.py [FOLDER] [--key HEX]

Computes rows, order, digests and ids of every feed anew from raw/, and holds them against
certificate.json; checks all files against manifest.json, and the signatures (Ed25519, RFC 8032).
Exit code 0: all as it was signed. 1: what is not is printed, a line each.
"""

import hashlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Ed25519, verification only (RFC 8032 section 6): slow, and no secret is ever in it.
P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)
Point = tuple[int, int, int, int]


def add(a: Point, b: Point) -> Point:
    """The sum of two points in extended coordinates."""
    x, y = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    t, z = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    e, f, g, h = y - x, z - t, z + t, y + x
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(factor: int, point: Point) -> Point:
    """A multiple of a point."""
    total: Point = (0, 1, 1, 0)
    while factor:
        if factor & 1:
            total = add(total, point)
        point, factor = add(point, point), factor >> 1
    return total


def decompress(data: bytes) -> Point | None:
    """A point from its 32 bytes; None: there is no such point."""
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    x = x * ROOT % P if (x * x - square) % P else x
    if (x * x - square) % P or (x == 0 and sign):
        return None
    x = x if x & 1 == sign else P - x
    return x, y, 1, x * y % P


BASE = decompress((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def is_signed(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether this key signed this message."""
    point, start = decompress(key), decompress(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if point is None or start is None or BASE is None or s >= ORDER:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % ORDER
    a, b = times(s, BASE), add(start, times(h, point))
    return (a[0] * b[2] - b[0] * a[2]) % P == 0 and (a[1] * b[2] - b[1] * a[2]) % P == 0


class Fault(Exception):
    """What is not as it was signed."""


def canonical(document: object) -> bytes:
    """The one form of a document."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def read_signed(path: Path, key: str | None) -> tuple[dict[str, Any], str]:
    """The content of a signed document and the key that signed it. Raises Fault."""
    try:
        whole = json.loads(data := path.read_bytes())
        content, signer, signature = whole["content"], whole["key"], whole["signature"]
        bare = {"content": content, "key": signer, "signature": signature}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Fault(f"{path.name}: cannot be read: {error}") from None
    if canonical(bare) + b"\n" != data:
        raise Fault(f"{path.name}: its bytes are not those that were signed")
    if not (re.fullmatch("[0-9a-f]{64}", signer) and re.fullmatch("[0-9a-f]{128}", signature)):
        raise Fault(f"{path.name}: its key or signature is none")
    if key and signer != key:
        raise Fault(f"{path.name}: signed with another key: {signer}")
    if not is_signed(bytes.fromhex(signer), canonical(content), bytes.fromhex(signature)):
        raise Fault(f"{path.name}: the signature is not of this content")
    return content, signer


def check_manifest(folder: Path, key: str | None, apart: str = "") -> Iterator[str]:
    """Every file is there, as it was, and no other one; ``apart``: has its own manifest."""
    listed = read_signed(folder / "manifest.json", key)[0]["files"]
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}
    there = {p for p in there if p != "manifest.json" and not (apart and p.startswith(apart))}
    for name in sorted(there - set(listed)):
        yield f"{name}: is not in the manifest"
    yield from (f"{name}: is missing" for name in sorted(set(listed) - there))
    for name in sorted(there & set(listed)):
        whole = hashlib.sha256()
        with (folder / name).open("rb") as file:
            while part := file.read(1 << 20):
                whole.update(part)
        if whole.hexdigest() != listed[name]["sha256"]:
            yield f"{name}: is not the file that was signed"


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The trades of a raw/ file, one by one: a line holds one. Raises Fault."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            text = line.strip().removeprefix("[").removesuffix("]").removesuffix(",")
            if text:
                yield json.loads(text)


def check_feed(folder: Path, proof: dict[str, Any], window: dict[str, int]) -> Iterator[str]:
    """One feed's rows against what the certificate says of them."""
    feed = proof["feed"]
    digest, count, last = hashlib.sha256(), 0, (0, "", 0, b"")
    held: dict[str, list[int]] = {}
    for row in read_rows(folder / "raw" / f"{feed}.json"):
        at, number = row["timestamp_ns"], row["sequence_number"]
        fields = (at, row["exchange"], row["market_type"], row["symbol"], row["trade_id"],
                  row["side"], row["price"], row["quantity"], number)  # fmt: skip
        digest.update(("\t".join(map(str, fields)) + "\n").encode())
        held.setdefault(row["symbol"], []).append(number)
        count += 1
        place = (at, row["symbol"], number, row["trade_id"].encode())
        if place <= last:
            yield f"{feed}: row {count} is out of order, or there twice"
        last = place
        if not window["from_ns"] <= at < window["to_ns"]:
            yield f"{feed}: row {count} is outside of the window"
        if f"{row['exchange']}_{row['market_type']}" != feed or row["timestamp"] != at // 10**6:
            yield f"{feed}: row {count} contradicts itself"
    if count != proof["rows"] or digest.hexdigest() != proof["sha256"]:
        yield f"{feed}: raw/ gives {count} rows, sha256 {digest.hexdigest()}; certified are others"
    for symbol in sorted(set(held) - {one["symbol"] for one in proof["instruments"]}):
        yield f"{feed}: rows of {symbol}, which is not certified"
    for one in proof["instruments"]:
        numbers = sorted(held.get(one["symbol"], []))
        ends = (numbers[0], numbers[-1]) if numbers else (0, 0)
        if len(numbers) != one["rows"] or ends != (one["first_id"], one["last_id"]):
            yield f"{feed} {one['symbol']}: other rows or ids than certified"
        if proof["grade"] == "proven":
            yield from check_ids(f"{feed} {one['symbol']}", one, numbers)


def check_ids(name: str, one: dict[str, Any], numbers: list[int]) -> Iterator[str]:
    """No number between the rows around the window is missing, but for those the venue skips."""
    around = [n for n in (one["id_before"], one["id_after"]) if n]
    held = sorted({*numbers, *around})
    reach = held[0] if held else 0
    for first, last in sorted([(n, n) for n in held] + [tuple(ids) for ids in one["skipped"]]):
        if first > reach + 1:
            yield f"{name}: called proven, but ids {reach + 1} to {first - 1} are not there"
        reach = max(reach, last)
    if not one["id_before"]:
        yield f"{name}: called proven without a row before the window"


def check(folder: Path, key: str | None = None) -> list[str]:
    """All that is wrong with a bundle; []: nothing."""
    try:
        certificate, signer = read_signed(folder / "certificate.json", key)
        faults = list(check_manifest(folder, signer, "frames/"))
        if (folder / "frames").is_dir():
            faults += check_manifest(folder / "frames", signer)
        for proof in certificate["feeds"]:
            faults += check_feed(folder, proof, certificate["window"])
    except (Fault, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"{type(error).__name__}: {error}"]
    return faults


def main(arguments: list[str]) -> int:
    """Check the named folder, or the one that this file lies in."""
    key = arguments.pop(arguments.index("--key") + 1) if "--key" in arguments else None
    names = [one for one in arguments if one != "--key"] or [str(Path(__file__).parent)]
    folder = Path(names[0])
    faults = check(folder, key)
    sys.stdout.write("\n".join(faults) + "\n" if faults else f"{folder}: as it was signed\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
