"""What can go wrong apart from a machine failing us (see `executors.base` for that), and the exit codes.

OffloadError          1   unexpected
  UsageError          2   the request makes no sense as it stands
  InputError          3   an input is missing, unreadable or not what the service takes
  MissingHere         4   something needed is not installed here
  NoTarget            5   no target could take the job
    OutOfReach        5   the target that runs the job cannot be reached for now; the job is still open
    Overtaken         5   another process drives the job now
    Busy              5   another process has been writing the journal for too long
  JobFailed           6   the script failed; it would fail anywhere
  ConfigError         7   configuration, login or trust
  LimitError          8   disk, size, quota or memory
  IntegrityError      9   bytes are not what they should be
  Interrupted       130   the user, or the system, asked us to stop
"""

from __future__ import annotations


class OffloadError(Exception):
    """An error a person reads: what failed, and the next command to type in `hint`."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(OffloadError):
    """The request makes no sense as it stands."""

    exit_code = 2


class NoJob(UsageError):
    """There is no job of that id, or no longer."""


class InputError(OffloadError):
    """An input is missing, unreadable or not what the service takes."""

    exit_code = 3


class MissingHere(OffloadError):
    """Something needed is not installed where the job would run; `hint` installs it."""

    exit_code = 4


class NoTarget(OffloadError):
    """No target could take the job."""

    exit_code = 5


class OutOfReach(NoTarget):
    """The target that runs the job cannot be reached for now. The job is still open, and may go on there."""


class Overtaken(NoTarget):
    """Another process drives the job now: this one may write nothing of it any more."""


class Busy(NoTarget):
    """Another process has been writing the journal for too long: it may be stopped."""


class Ended(OffloadError):
    """The job ended so while another process drove it; `exit_code` is what it ended with there."""

    def __init__(self, message: str, hint: str, exit_code: int) -> None:
        super().__init__(message, hint)
        self.exit_code = exit_code


class JobFailed(OffloadError):
    """The script failed; it would fail anywhere."""

    exit_code = 6


class ConfigError(OffloadError):
    """Configuration, login or trust."""

    exit_code = 7


class LimitError(OffloadError):
    """Disk, size, quota or memory."""

    exit_code = 8


class IntegrityError(OffloadError):
    """Bytes are not what they should be."""

    exit_code = 9


class Interrupted(OffloadError):
    """The user, or the system, asked us to stop."""

    exit_code = 130


PARTLY = 101
"""Exit code of a batch that finished with some failures."""

EXIT_CODES = {
    "bad_input": InputError.exit_code,
    "missing": MissingHere.exit_code,
    "failed": JobFailed.exit_code,
    "limit": LimitError.exit_code,
    "memory": LimitError.exit_code,
    "integrity": IntegrityError.exit_code,
    "lost": NoTarget.exit_code,
    "cancelled": Interrupted.exit_code,
}
"""Exit code for each kind an item can fail with."""


def batch_exit_code(kinds: list[str | None]) -> int:
    """Exit code of a finished job, from its items' failure kinds (None: done)."""
    failures = {EXIT_CODES[kind] for kind in kinds if kind is not None}
    if not failures:
        return 0
    if None in kinds:
        return PARTLY
    return failures.pop() if len(failures) == 1 else JobFailed.exit_code
