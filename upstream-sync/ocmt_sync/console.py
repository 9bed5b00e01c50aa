"""Output of the commands: results on stdout (text or JSON), progress and errors on stderr.

With `--json`, an error is the JSON document on stdout.
"""

import errno
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from ocmt_common import console

from ocmt_sync.errors import Exit, SyncError
from ocmt_sync.git import Repository, open_repository
from ocmt_sync.policy import Policy, load_policy

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def styled(value: str, **style: Any) -> str:
    """`value` in colour if stdout is a terminal and NO_COLOR is not set."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return value
    return typer.style(value, **style)


class Progress:
    """A progress line on stderr that overwrites itself; silent unless stderr is a terminal."""

    def __init__(self) -> None:
        self._watched = sys.stderr.isatty()
        self._last = ""

    def __call__(self, what: str, done: int, total: int) -> None:
        line = f"{what} {done}/{total}" if total else f"{what}…"
        if self._watched and line != self._last:
            self._last = line
            sys.stderr.write(f"\r\x1b[K{console.printable(line)}")
            sys.stderr.flush()

    def end(self) -> None:
        if self._watched and self._last:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


@dataclass
class Session:
    """The options given before the command: --repo and --policy."""

    folder: Path
    policy_path: Path | None
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    def open(self) -> tuple[Repository, Policy]:
        repository = open_repository(self.folder)
        return repository, load_policy(self.policy_path, repository.top)


def session(context: typer.Context) -> Session:
    found = context.find_object(Session)
    return found or Session(Path.cwd(), None)


def emit(document: Any) -> None:
    """Print a command's result as one JSON document."""
    console.say_json(document)


def say(*lines: str) -> None:
    for line in lines:
        console.say(line, colours=True)


@contextmanager
def speaking(as_json: bool) -> Iterator[Progress]:
    """Yield a progress line; turn expected failures into a message and an exit code."""
    progress = Progress()
    try:
        yield progress
    except SyncError as error:
        progress.end()
        _fail(error.exit_code, str(error), as_json)
    except (OSError, sqlite3.Error) as error:
        progress.end()
        _fail(Exit.FAILED, _describe_system_error(error), as_json)
    except KeyboardInterrupt:
        progress.end()
        _fail(
            Exit.INTERRUPTED, "Interrupted. `ocmt sync status` shows what is unfinished.", as_json
        )
    finally:
        progress.end()


def _describe_system_error(error: OSError | sqlite3.Error) -> str:
    said = str(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "The disk is full. Free space on it, then run the command again."
    if isinstance(error, sqlite3.Error) and "disk" in said:
        return f"The disk is full, or broken ({said})."
    if isinstance(error, PermissionError) or "readonly" in said or "Read-only" in said:
        return (
            f"{said}. Sync keeps its lock, cache and journal in the folder `ocmt-sync` of the git "
            "directory. Make that folder writable for your user."
        )
    return f"The operating system refused: {said}"


def _fail(code: Exit, message: str, as_json: bool) -> None:
    if as_json:
        emit({"error": {"code": code.name.lower(), "exitCode": int(code), "message": message}})
    else:
        console.complain(f"ocmt sync: {message}")
    raise typer.Exit(int(code))
