"""Walks an agent's folder while the agent may change it."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from ocmt_cli.backup.hostside.budget import Budget, LeftOut
from ocmt_cli.backup.hostside.no_follow import looked_at, reopened


@dataclass(frozen=True, slots=True)
class Entry:
    """An agent's folder, or a file, folder or link below it, with its `stat` when it was opened."""

    path: str
    """Relative to the agent's folder, which itself has the empty path."""
    name: str
    at: int
    """The descriptor of its folder; for the agent's folder, that of the folder of all agents."""
    found: int
    """The entry's `looked_at` descriptor, valid until the next entry."""
    seen: os.stat_result
    level: "Level"


@dataclass(slots=True)
class Level:
    """An open folder on the current path."""

    folder: int
    path: str
    names: list[str]
    todo: Iterator[str]
    done: set[str] = field(default_factory=set)
    """Names to skip, since they were stored together with an earlier name."""


def walk(agent: str, agents: int, budget: Budget, left_out: LeftOut) -> Iterator[Entry]:
    """The agent's folder and all entries below, sorted, each folder before its content.

    Leaves out entries below the budget's depth. Raises `OverBudget`, or `OSError` if the agent's
    folder cannot be opened.
    """
    levels: list[Level] = []
    try:
        with looked_at(agent, agents) as found:
            levels.append(_opened(found, "", budget))
            yield Entry("", agent, agents, found, os.fstat(found), levels[0])
        while levels:
            level = levels[-1]
            name = next(level.todo, None)
            if name is None:
                os.close(levels.pop().folder)
                continue
            if name in level.done:
                continue
            path = f"{level.path}/{name}" if level.path else name
            try:
                with looked_at(name, level.folder) as found:
                    seen = os.fstat(found)
                    if stat.S_ISDIR(seen.st_mode):
                        if len(levels) >= budget.depth:
                            left_out.add(path, f"it is more than {budget.depth} folders deep")
                            continue
                        levels.append(_opened(found, path, budget))
                    yield Entry(path, name, level.folder, found, seen, level)
            except FileNotFoundError:
                continue  # removed since it was listed
            except OSError as error:
                left_out.add(path, error.strerror or "it cannot be opened")
    finally:
        for level in levels:
            os.close(level.folder)


def _opened(found: int, path: str, budget: Budget) -> Level:
    folder = reopened(found, os.O_RDONLY | os.O_DIRECTORY)
    names: list[str] = []
    try:
        with os.scandir(folder) as listed:
            for one in listed:
                budget.take_entry()
                names.append(one.name)
    except BaseException:
        os.close(folder)
        raise
    # A folder that changes while it is listed may return a name twice.
    names = sorted(set(names))
    return Level(folder, path, names, iter(names))
