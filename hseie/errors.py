"""Every error HSEIE raises on purpose, and the exit code with which a process ends because of it."""

import enum


class ExitCode(enum.IntEnum):
    """What the end of a process means to whoever started it (the numbers follow sysexits.h where it has one)."""

    OK = 0
    FAILURE = 1  # a bug or a refusal of the surroundings: worth a restart
    USAGE = 64  # the command line is wrong
    UNAVAILABLE = 69  # given up: a child does not stay up; or what a command needs does not answer
    STORAGE = 74  # the journal could not be written or synced: restart on a fresh handle
    TEMPORARY = 75  # the place is taken: another node, or a port in use
    FENCED = 77  # another writer owns this journal: never restart by itself
    CONFIG = 78  # the configuration is wrong, or the database is not this node's: a restart cannot help


class HseieError(Exception):
    """Base of all of them. The message is one sentence for an operator, and says what to do where that is known."""

    exit_code: ExitCode = ExitCode.FAILURE


class ConfigError(HseieError):
    """A key, value or file of the configuration is wrong. Correct it; a restart alone does not help."""

    exit_code = ExitCode.CONFIG


class EmbeddedPostgresError(HseieError):
    """The embedded PostgreSQL cannot be found, made or started. The message holds the end of its log."""


class DatabaseUnavailableError(HseieError):
    """PostgreSQL does not answer at the moment. Try again later; after a commit, ask the checkpoint."""

    exit_code = ExitCode.UNAVAILABLE


class MigrationError(HseieError):
    """The schema and the migration files do not agree. Nothing was changed; the message names the file."""

    exit_code = ExitCode.CONFIG


class InstanceLockedError(HseieError):
    """Another node runs on this data folder."""

    exit_code = ExitCode.TEMPORARY


class PortTakenError(HseieError):
    """Another program listens on the port."""

    exit_code = ExitCode.TEMPORARY


class JournalError(HseieError):
    """A write or sync of the journal failed. Nothing of that group may be acknowledged; end the process."""

    exit_code = ExitCode.STORAGE


class FencedError(HseieError):
    """The checkpoint row belongs to another writer. End the process at once and flush nothing more."""

    exit_code = ExitCode.FENCED


class LostJournalError(HseieError):
    """The database was written by journals that this node's folder does not hold. A restart alone does not help."""

    exit_code = ExitCode.CONFIG


class ArchiveUnavailableError(HseieError):
    """An archived day cannot be read or written: a file or DuckDB is missing, or fails. Nothing is lost by that."""

    exit_code = ExitCode.UNAVAILABLE


class ArchiveMisplacedError(ArchiveUnavailableError):
    """The archive's folder is not one, or another database's. Correct `retention.archive`, or the folder."""


class FrameError(HseieError):
    """A message on an internal socket is not one of ours. Count it and drop it."""


class CertificateError(HseieError):
    """The files of the TLS certificate cannot be used as they are. The message names the file and what is wrong."""


class KeysFileError(HseieError):
    """The file of the API keys cannot be read or written at the moment. Nothing in it was changed."""

    exit_code = ExitCode.STORAGE


class KeyRefusedError(HseieError):
    """There is no such API key, or what was asked cannot be done with it."""


class NotReachableError(HseieError):
    """No node answers at this data folder. Start one with `hseie up`."""

    exit_code = ExitCode.UNAVAILABLE
