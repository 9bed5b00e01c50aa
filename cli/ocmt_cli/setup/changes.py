"""The changes in a plan of `ocmt setup`, each with its steps."""

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
    """A file that belongs wholly to OCMT."""

    path: PurePosixPath
    text: str
    mode: int
    replaces: bool = False
    """Whether the host has a file with another text."""
    only_new: bool = False
    """Whether to fail if the host has the file when it is written."""


@dataclass(frozen=True, slots=True)
class Install:
    """A site for a web server that may have others (`hostside.site`); tested before it is used."""

    folder: PurePosixPath
    """The web server's configuration folder, which contains all files below."""
    writes: tuple[Write, ...]
    append_to: PurePosixPath | None
    """The operator's file, to which `line` is appended."""
    line: str
    test: tuple[str, ...]
    """The command that tests the configuration, with exit code 0 if it is valid; may be empty."""
    must_print: str
    """Output of the test that proves that the site is included; may be empty."""
    conflicts: tuple[str, ...]
    """Warnings of the test that mean a conflict with another site."""
    service: str
    """The unit to reload; may be empty."""
    cure: str
    """The cure if the test fails."""


Step = Run | Write | Install


@dataclass(frozen=True, slots=True)
class Change:
    """A line of the plan. A change without steps is a remark."""

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
    """Whether all changes are remarks."""
    return not any(change.steps for change in changes)


def write_if_different(
    facts: HostFacts, path: PurePosixPath, text: str, mode: int, *, group: str = ""
) -> Write | None:
    """The write; `None` if the host's file is the same, including its group if `group` is given."""
    found = facts.paths.get(str(path))
    same = found is not None and found.sha256 == hashlib.sha256(text.encode()).hexdigest()
    if found is not None and same and found.mode == mode and group in ("", found.group):
        return None
    return Write(path, text, mode, replaces=found is not None and not same)
