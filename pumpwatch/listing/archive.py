"""The folder of bundles, data_dir/listings: where each one lies, and what is published already."""

from __future__ import annotations

from pathlib import Path

import msgspec
import structlog

from pumpwatch.errors import BundleError
from pumpwatch.listing.bundle import EVENT, bundle_name, put_in_place
from pumpwatch.listing.certificate import Certificate
from pumpwatch.listing.events import Key
from pumpwatch.listing.evidence import Window
from pumpwatch.listing.verify import read_certificate, verify_bundle

log = structlog.get_logger()

FOLDER = "listings"
VERSIONS = "versions"
STAGING = ".staging"


class Archive:
    """Blocking, all but ``is_verified``."""

    def __init__(self, data_dir: Path) -> None:
        self.root = data_dir / FOLDER
        self._verified: dict[Key, Path] = {}

    def place(self, key: Key, window: Window) -> Path:
        """Where its bundle lies, or will; two boards may announce a coin in one second."""
        plain = self.root / bundle_name(key[2], window)
        held = self._published(plain)
        if held is None or _key(held) == key:
            return plain
        return plain.with_name(f"{plain.name}_{key[0]}")

    def staging(self, key: Key, window: Window) -> Path:
        """Where it is made."""
        return self.root / STAGING / self.place(key, window).name

    def published(self, key: Key, window: Window) -> Certificate | None:
        """The certificate of what is in place for this window; None: nothing that can be read."""
        held = self._published(self.place(key, window))
        return held if held is not None and held.window == window else None

    @staticmethod
    def _published(place: Path) -> Certificate | None:
        if not (place / EVENT).exists():
            return None
        try:
            return read_certificate(place)[0]
        except BundleError as error:
            log.warning("bundle_unreadable", bundle=place.name, message=str(error))
            return None

    def publish(self, staged: Path, key: Key, window: Window, revision: int) -> Path:
        """Put a sealed bundle in place; the version before it is kept. Raises OSError."""
        place = self.place(key, window)
        old = self.root / VERSIONS / f"{place.name}.v{revision - 1}"
        put_in_place(staged, place, old)
        self._verified.pop(key, None)
        return place

    def bundles(self) -> list[Path]:
        """All of them, oldest name first."""
        if not self.root.is_dir():
            return []
        return sorted(p for p in self.root.iterdir() if p.is_dir() and (p / EVENT).exists())

    def find(self, text: str) -> Path:
        """A bundle by its folder, its name, or the newest of a coin. Raises BundleError."""
        if Path(text).is_dir():
            return Path(text)
        named = self.root / text
        if "/" not in text and (named / EVENT).exists():
            return named
        of_coin = [p for p in self.bundles() if p.name.partition("_")[0] == text]
        if not of_coin:
            raise BundleError(f"{text}: no bundle of this name or coin in {self.root}")
        return max(of_coin, key=lambda p: "_".join(p.name.split("_")[1:3]))

    def is_verified(self, source: str, notice_id: str, symbol: str) -> bool:
        """Whether this event's bundle is complete on disk and was checked, byte for byte.

        At once: ``verify`` has done the work before.
        """
        place = self._verified.get((source, notice_id, symbol))
        return place is not None and (place / EVENT).exists()

    def verify(self, key: Key, window: Window) -> bool:
        """Check a complete bundle of an announcement, and remember it. Takes seconds."""
        held = self.published(key, window)
        if held is None or held.state != "complete" or window.kind != "announcement":
            return False
        place = self.place(key, window)
        verdict = verify_bundle(place)
        if verdict.is_sound:
            self._verified[key] = place
        else:
            log.error("bundle_damaged", bundle=place.name, faults=verdict.faults[:3])
        return verdict.is_sound


def _key(certificate: Certificate) -> Key:
    return certificate.source, certificate.notice_id, certificate.symbol


class CoinMap(msgspec.Struct, kw_only=True):
    """What a person said of feeds whose ticker may be another coin: by coin, then feed."""

    coins: dict[str, dict[str, str]] = {}  # same, other


MAP_FILE = "listing_map.json"


def read_map(data_dir: Path) -> CoinMap:
    """Blocking. Raises BundleError for a file that cannot be read."""
    path = data_dir / MAP_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=CoinMap)
    except FileNotFoundError:
        return CoinMap()
    except (OSError, msgspec.DecodeError) as error:
        raise BundleError(f"{path}: {error}; mend it or move it away") from None
