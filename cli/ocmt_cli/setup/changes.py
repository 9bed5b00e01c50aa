"""What a plan of `ocmt setup` is made of: changes, each with its steps."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from ocmt_cli.setup.facts import HostFacts


@dataclass(frozen=True, slots=True)
class Run:
    argv: tuple[str, ...]
    stdin: str = ""


@dataclass(frozen=True, slots=True)
class Write:
    """A file that is OCMT's own, as a whole."""

    path: PurePosixPath
    text: str
    mode: int
    replaces: bool = False
    """Whether the host has another text there."""


@dataclass(frozen=True, slots=True)
class Install:
    """A site of a web server that has others (`hostside.site`): tested, then moved into place."""

    folder: PurePosixPath
    """What the web server reads; all files below are in it."""
    writes: tuple[Write, ...]
    append_to: PurePosixPath | None
    """The operator's own file, which gets `line` at its end."""
    line: str
    test: tuple[str, ...]
    """Ends with 0 for a configuration that the web server would start with; empty: no test."""
    must_print: str
    """What the test prints if the site is part of the configuration; may be empty."""
    conflicts: tuple[str, ...]
    """Warnings of the test that mean that the site and another one exclude each other."""
    service: str
    """The unit to reload; empty: none."""
    cure: str
    """What the operator can do when the test fails."""


Step = Run | Write | Install


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the plan; without steps it only tells why nothing is done."""

    what: str
    steps: tuple[Step, ...] = ()

    def __str__(self) -> str:
        writes: list[Write] = []
        for step in self.steps:
            writes += [step] if isinstance(step, Write) else []
            writes += step.writes if isinstance(step, Install) else []
        replaced = [str(write.path) for write in writes if write.replaces]
        return f"{self.what}; replaces {', '.join(replaced)}" if replaced else self.what


def is_done(changes: Sequence[Change]) -> bool:
    return not any(change.steps for change in changes)


def write_if_different(facts: HostFacts, path: PurePosixPath, text: str, mode: int) -> Write | None:
    """`None` when the file is there as it should be."""
    found = facts.paths.get(str(path))
    same = found is not None and found.sha256 == hashlib.sha256(text.encode()).hexdigest()
    if found is not None and same and found.mode == mode:
        return None
    return Write(path, text, mode, replaces=found is not None and not same)
