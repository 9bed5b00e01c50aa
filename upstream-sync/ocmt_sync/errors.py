"""The exit codes of `ocmt sync`, which scripts may rely on (docs/sync.md), and its errors."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of `ocmt sync`. The command-line parser uses 2 for wrong usage."""

    DONE = 0
    FINDINGS = 1  # doctor found something, or the configured tests fail
    REPOSITORY = 3  # not a repository, no upstream, an unknown commit
    INPUT = 4  # a mistake in the policy, the plan, an option's value or an advisory file
    CONFLICT = 5  # apply stopped at a conflict
    BUSY = 6  # another sync is running here
    REFUSED = 7  # the step would not be safe
    FAILED = 8  # git or the machine failed (a full disk, no network)
    INTERRUPTED = 130  # Ctrl-C


class SyncError(Exception):
    """An error with its exit code. `str()` says what is wrong and, if it is known, what to do."""

    def __init__(self, exit_code: Exit, message: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class GitFailed(SyncError):
    """A git command failed; `stderr` is its standard error."""

    def __init__(self, message: str, *, stderr: str, returncode: int) -> None:
        super().__init__(Exit.FAILED, message)
        self.stderr = stderr
        self.returncode = returncode
