"""Every deliberate exception: what went wrong, where, what to do, and whether a retry helps."""

from __future__ import annotations

EXIT_GOOD = 0
EXIT_NO = 1  # the answer is "no": differences, incomplete
EXIT_USAGE = 64
EXIT_UNAVAILABLE = 69
EXIT_CONFIG = 78


class PumpWatchError(Exception):
    """Base of all errors that PumpWatch raises on purpose; ``str()`` is one line for a person."""

    exit_code = EXIT_UNAVAILABLE
    retry = False


class ConfigError(PumpWatchError):
    """A setting is unknown, impossible, or does not fit this machine."""

    exit_code = EXIT_CONFIG


class UsageError(PumpWatchError):
    """A verb was called with arguments that cannot be meant."""

    exit_code = EXIT_USAGE


class ServerError(PumpWatchError):
    """The QuestDB server cannot be had: no Java, a bad jar, a port in use, no answer."""

    retry = True


class SchemaError(PumpWatchError):
    """The tables are not what this version of PumpWatch writes."""

    exit_code = EXIT_CONFIG


class SpoolError(PumpWatchError):
    """The spool cannot be used: damage, another process, no room, an unknown format."""


class VenueError(PumpWatchError):
    """A venue refused, said nonsense, or fell silent; the connection is made again."""

    retry = True


class FeedSilentError(VenueError):
    """Nothing came for longer than the venue's keepalive allows: the connection is dead."""


class ProtocolError(VenueError):
    """Bytes that are no WebSocket (RFC 6455); ``close_code`` is what section 7.4.1 answers."""

    close_code = 1002


class StatementError(ServerError):
    """The server answers, and refuses the statement: saying it again does not help."""

    retry = False


class DataDirError(PumpWatchError):
    """Another PumpWatch works in this data_dir."""


class MaintenanceBusyError(PumpWatchError):
    """Another backup, retention run, conversion or restore has the maintenance lock (R14)."""

    retry = True


class RetentionRefusedError(PumpWatchError):
    """A retention run would judge by a clock or a cut-off that cannot be right."""

    exit_code = EXIT_NO


class BackupError(PumpWatchError):
    """A backup cannot be made, found, read or restored."""


class DamagedBackupError(BackupError):
    """Bytes of a backup are not those that were written, or rows not those that were counted."""

    exit_code = EXIT_NO


class BundleError(PumpWatchError):
    """A listing's bundle, certificate or key is not what it should be."""

    exit_code = EXIT_NO


class DrillError(PumpWatchError):
    """A drill could not be played to its end: a part did not start, or did not come back."""

    exit_code = EXIT_NO
