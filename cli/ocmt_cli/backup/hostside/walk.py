"""An agent's folder, entry by entry, while the agent changes it."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from ocmt_cli.backup.hostside.budget import Budget, LeftOut
from ocmt_cli.backup.hostside.no_follow import looked_at, reopened


@dataclass(frozen=True, slots=True)
class Entry:
    """One name, as it was when it was opened."""

    path: str
    """From the agent's own folder on; that folder itself is the empty text."""
    name: str
    at: int
    """The folder it is in; for the agent's own folder, the folder of all agents."""
    found: int
    """Its descriptor, of `looked_at`; good until the next entry is asked for."""
    seen: os.stat_result
    level: "Level"


@dataclass(slots=True)
class Level:
    """An open folder on the way down."""

    folder: int
    path: str
    names: list[str]
    todo: Iterator[str]
    done: set[str] = field(default_factory=set)
    """Names that were stored together with an earlier one, and are passed over."""


def walk(agent: str, agents: int, budget: Budget, left_out: LeftOut) -> Iterator[Entry]:
    """The agent's folder and all below it: a folder before what is in it, names in order.

    Without recursion, and within the budget's entries and depth: what is deeper is left out. Raises
    `OverBudget`, and `OSError` when the agent's own folder cannot be opened.
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
                continue  # gone since it was listed
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
    # A folder that changes while it is listed may give a name twice.
    names = sorted(set(names))
    return Level(folder, path, names, iter(names))
