"""`CommandFailed`, the error of all commands: a text with the cure, and an exit code."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class CommandFailed(Exception):
    """A command failed. `main` prints `str()` for the operator and exits with `exit_code`."""

    def __init__(self, text: str, *, exit_code: int = 1) -> None:
        super().__init__(text)
        self.exit_code = exit_code


@contextmanager
def explained(folder: Path, *, another_by: str = "--data") -> Iterator[None]:
    """Turn a full disk or a path that cannot be written into a `CommandFailed` with the cure.

    Other `OSError`s pass. `folder` is named if the error names no file; `another_by` is how the
    operator chooses another one.
    """
    try:
        yield
    except OSError as error:
        where = error.filename or folder
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CommandFailed(
                f"The disk is full: {where} cannot be written. Free some space, or choose a "
                f"folder on another disk with {another_by}."
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise CommandFailed(
                f"{where} cannot be written ({error.strerror}). Make it writable for this user, or "
                f"choose another folder with {another_by}."
            ) from error
        raise


@contextmanager
def interruptible(consequence: str) -> Iterator[None]:
    """Turn Ctrl-C into a `CommandFailed` that says what became of the command's work."""
    try:
        yield
    except KeyboardInterrupt:
        raise CommandFailed(f"Interrupted. {consequence}", exit_code=130) from None


def of_the_machine(error: OSError) -> str:
    """Explain an `OSError` to the operator, with the cure."""
    where = f" ({error.filename})" if error.filename else ""
    if isinstance(error, BrokenPipeError):
        return (
            "the program or connection that it was writing to ended. Run it again; if that fails "
            "too, see that program's log."
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full{where}. Free some space, then run it again."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return (
            f"{error.strerror}{where}. Run it as the owner of these files, or let this user read "
            "and write them."
        )
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "too many files are open. Raise the limit (`ulimit -n`), then run it again."
    if isinstance(error, FileNotFoundError):
        return (
            f"{error.filename or error} is missing. `./ocmt doctor` shows what this machine lacks."
        )
    return f"the system refused: {error}. `./ocmt doctor` shows what this machine lacks."
