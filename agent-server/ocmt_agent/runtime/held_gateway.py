"""The files by which a container's gateway is held before it reads its state, and gets another.

The image's preloaded library (`cli/ocmt_cli/openclaw/preloaded/hold.c`) waits for as long as `hold`
is in the folder of the gateway's configuration, where agents cannot write. While it is there, the
state is not complete: a gateway that boots then waits as well.
"""

import contextlib
from collections.abc import Iterable
from pathlib import Path

from ocmt_agent.runtime.accounts import Account
from ocmt_agent.runtime.base import RuntimeFailed
from ocmt_agent.runtime.docker_container import give_away
from ocmt_agent.runtime.removal import remove_folder


def _hold(home: Path) -> Path:
    return home / "config" / "hold"


def _hold_still(home: Path) -> Path:
    return home / "config" / "hold-still"


def _held(home: Path) -> Path:
    return home / "state" / ".held"


def place_hold(home: Path) -> None:
    """From now on the gateway does not get the lock that it takes first. Raises `OSError`."""
    _held(home).unlink(missing_ok=True)  # of an earlier try
    _hold(home).touch(mode=0o644)


def place_hold_still(home: Path) -> None:
    """Let the gateway wait at its next try, instead of after each. Raises `OSError`."""
    _hold_still(home).touch(mode=0o644)


def end_hold(home: Path) -> None:
    """Raises `OSError`."""
    _hold(home).unlink(missing_ok=True)
    _hold_still(home).unlink(missing_ok=True)


def is_held(home: Path) -> bool:
    """Whether the gateway of a spare waits. It says so in its state, which no user has had yet."""
    return _held(home).exists()


def open_below(folder: str, pids: Iterable[int]) -> set[str]:
    """The files below `folder` that a process has open, as they are named in its container.

    SQLite deletes the log of a database by its name when it closes it. So a state is only replaced
    while nothing of it is open. Raises `OSError` if this server may not look.
    """
    names = {name for pid in pids for name in _open_files(pid)}
    return {name for name in names if name.startswith(f"{folder}/")}


def _open_files(pid: int) -> list[str]:
    names = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
        for one in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                names.append(str(one.readlink()))
    return names


def empty(home: Path) -> None:
    """Remove all that a spare's gateway has written. Raises `RuntimeFailed`."""
    state = home / "state"
    try:
        entries = list(state.iterdir())
    except OSError as error:
        raise _not_moved(error) from error
    for entry in entries:
        remove_folder(entry)


def move_state(source: Path, home: Path, account: Account) -> None:
    """Move what is in the state of `source` into that of `home`, entry by entry.

    The folder itself stays, since a container has it mounted. A link is moved, not followed. May be
    repeated, until nothing is left. Raises `RuntimeFailed`.
    """
    before, after = source / "state", home / "state"
    try:
        entries = list(before.iterdir())
    except FileNotFoundError:
        return  # all was moved
    except OSError as error:
        raise _not_moved(error) from error
    try:
        give_away(before, account)
        for entry in entries:
            entry.rename(after / entry.name)
        before.rmdir()  # fails if anything is left
    except OSError as error:
        raise _not_moved(error) from error


def are_on_one_disk(one: Path, other: Path) -> bool:
    """Whether a state can be moved between two homes without copying it."""
    return _device(one) == _device(other)


def _device(folder: Path) -> int | None:
    try:
        return folder.stat().st_dev
    except OSError:
        return None


def _not_moved(error: OSError) -> RuntimeFailed:
    return RuntimeFailed(f"The agent's state cannot be moved: {error}. The next request goes on.")
