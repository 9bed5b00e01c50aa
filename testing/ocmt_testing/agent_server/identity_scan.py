"""Searches all that an agent has for texts: files, databases, environments, open files, sockets."""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

_LISTENS = 0x0A


def found_in_files(folder: Path, texts: Iterable[str]) -> set[tuple[str, str]]:
    """`(text, path)` for each text in a file's name or content below `folder`."""
    texts = list(texts)
    found = set()
    for one in folder.rglob("*"):
        if "node-compile-cache" in one.parts:
            continue
        found |= {(text, str(one)) for text in texts if text in one.name}
        if one.is_file() and not one.is_symlink():
            for content in _contents(one):
                found |= {(text, str(one)) for text in texts if text in content}
    return found


def _contents(file: Path) -> Iterator[str]:
    """The content of a file; of a database also each value, as SQLite gives it."""
    with contextlib.suppress(OSError):
        yield file.read_bytes().decode("utf-8", errors="replace")
    if file.suffix == ".sqlite":
        with (
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database,
        ):
            tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            for (table,) in tables.fetchall():
                with contextlib.suppress(sqlite3.Error):  # a module that is not loaded here
                    for row in database.execute(f'SELECT * FROM "{table}"'):
                        yield " ".join(map(str, row))


def found_in_processes(pids: Iterable[int], texts: Iterable[str]) -> set[tuple[str, str]]:
    """`(text, place)` for each text in a command, an environment, or an open file's or socket's
    name."""
    found = set()
    for pid in pids:
        places = {name: _read(pid, name) for name in ("cmdline", "environ", "net/unix")}
        places["open files"] = "\n".join(_open_files(pid))
        found |= {
            (text, f"{place} of {pid}")
            for place, content in places.items()
            for text in texts
            if text in content
        }
    return found


def ports_of(pids: Iterable[int]) -> tuple[set[int], set[int]]:
    """The TCP ports on which the processes listen, and those of their connections' far ends.

    Connections that others opened to a port on which they listen are left out.
    """
    listens: set[int] = set()
    ends: set[tuple[int, int]] = set()
    for pid in pids:
        sockets = {name.removeprefix("socket:[").rstrip("]") for name in _open_files(pid)}
        for line in (_read(pid, "net/tcp") + _read(pid, "net/tcp6")).splitlines():
            row = line.split()
            if len(row) < 10 or row[9] not in sockets:
                continue
            here, there = (int(address.rpartition(":")[2], 16) for address in row[1:3])
            if int(row[3], 16) == _LISTENS:
                listens.add(here)
            else:
                ends.add((here, there))
    return listens, {there for here, there in ends if here not in listens}


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def _open_files(pid: int) -> list[str]:
    names = []
    with contextlib.suppress(OSError):
        for one in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                names.append(str(one.readlink()))
    return names
