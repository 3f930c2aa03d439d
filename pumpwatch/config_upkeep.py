"""Settings of what looks after months of data: holes, quarantine, backups, retention, disks."""

from __future__ import annotations

from typing import Annotated

from pumpwatch.settings import ANY_PATH, Section, SettingError, pattern, span, texts


class BackfillConfig(Section, frozen=True, kw_only=True):
    """Closing holes through the venues' REST interfaces."""

    enabled: Annotated[
        bool, "false: holes are known, and closed only by what the stream brings"
    ] = True
    compare: Annotated[bool, "false: what an unbroken stream withholds stays unseen"] = True
    compare_s: Annotated[
        float, span(5, 3600, "s"), "each symbol's list is compared at least so often"
    ] = 60.0
    witness_symbols: Annotated[
        int, span(0, 50), "of Binance futures, whose other stream is heard, too; 0: none"
    ] = 5


class BackupConfig(Section, frozen=True, kw_only=True):
    """Daily backups."""

    directory: Annotated[str, ANY_PATH, "relative to data_dir; better another disk"] = "backups"
    daily_at: Annotated[
        str, pattern(r"([01][0-9]|2[0-3]):[0-5][0-9]", "HH:MM, 00:00 to 23:59"), "UTC"
    ] = "03:10"
    keep_days: Annotated[int, span(1, 3650, "days"), "the newest verified one always stays"] = 7
    remote_url: Annotated[
        str,
        pattern(r"((s3|gs|az)://[^\s/]\S*|file:///\S*)?", "empty or s3://, gs://, az://, file:///"),
        "s3://, gs://, az://, file:///; empty: none",
    ] = ""
    remote_keep_days: Annotated[
        int, span(1, 3650, "days"), "as keep_days, for the copies at remote_url"
    ] = 30
    full_every_days: Annotated[
        int, span(1, 3650, "days"), "so often everything is restored and compared, not a sample"
    ] = 30
    sample_partitions: Annotated[
        int, span(0, 10_000), "old partitions that each verification restores besides the new ones"
    ] = 3
    rate_mib_per_s: Annotated[
        int, span(0, 65_536, "MiB/s"), "reads the database no faster than this; 0: as it goes"
    ] = 64
    key_file: Annotated[
        str | None,
        ANY_PATH,
        "an age identity (made by backup key): archives are encrypted; relative to data_dir",
    ] = None


class RetentionConfig(Section, frozen=True, kw_only=True):
    """How long trades stay; listing windows, events and the ledger stay for ever."""

    days: Annotated[int, span(1, 40, "days"), "older days go; the tables' own limit is 45"] = 30
    emergency_days: Annotated[
        int, span(1, 40, "days"), "what stays when the disk passes disk.emergency_percent"
    ] = 25
    floor_days: Annotated[
        int, span(1, 40, "days"), "what stays in any case, however full the disk is"
    ] = 7
    cold_hours: Annotated[int, span(1, 960, "h"), "closed hours older than this become Parquet"] = (
        24
    )
    check_interval_s: Annotated[int, span(60, 86_400, "s"), "between two runs"] = 3600

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.floor_days <= self.emergency_days <= self.days:
            allowed = "allowed: floor_days <= emergency_days <= days"
            raise SettingError("emergency_days", str(self.emergency_days), allowed)


class ArchivesConfig(Section, frozen=True, kw_only=True):
    """Holes that REST cannot close: daily files of the venues that publish them."""

    enabled: Annotated[
        bool, "false: such a hole is lost; no real file was seen yet, see the manual"
    ] = False
    daily_at: Annotated[
        str, pattern(r"([01][0-9]|2[0-3]):[0-5][0-9]", "HH:MM, 00:00 to 23:59"), "UTC"
    ] = "06:30"
    wait_days: Annotated[
        int, span(1, 40, "days"), "so long a file is asked for; then the hole is lost"
    ] = 5
    urls: Annotated[
        tuple[str, ...],
        texts(r"[a-z_]+=https?://\S*\{symbol\}\S*", "a list of FEED=URL with {symbol}"),
        "where a feed's files are, if not where the manual says: {symbol}, {year}, {month}, {day}",
    ] = ()


class QuarantineConfig(Section, frozen=True, kw_only=True):
    """Messages that could not be read: they are kept whole, to be read by a later release."""

    disk_max_mib: Annotated[
        int, span(1, 1_048_576, "MiB"), "of each feed, compressed; more is told, and not kept"
    ] = 256
    keep_days: Annotated[int, span(1, 40, "days"), "then nobody mended the parser: they go"] = 30


class DiskConfig(Section, frozen=True, kw_only=True):
    """When a file system counts as full; database, spool and backups are measured apart."""

    warn_percent: Annotated[int, span(1, 99, "%"), "warns"] = 70
    emergency_percent: Annotated[int, span(1, 99, "%"), "the oldest days go; see retention"] = 85
    stop_percent: Annotated[int, span(1, 100, "%"), "the database gets no more rows above this"] = (
        95
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.warn_percent < self.emergency_percent < self.stop_percent:
            allowed = "allowed: warn_percent < emergency_percent < stop_percent"
            raise SettingError("emergency_percent", str(self.emergency_percent), allowed)
