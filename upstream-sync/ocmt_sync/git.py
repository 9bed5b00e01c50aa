"""Runs git; no other module does.

Names and messages in a repository are bytes that need not be UTF-8. They are decoded to `str` with
surrogate escapes (`text`, `raw`), and `shown` makes them printable. Optional locks are off, so that
reading never rewrites the user's index.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from ocmt_common.console import printable

from ocmt_sync.errors import Exit, GitFailed, SyncError

_CHUNK_BYTES = 1 << 16
# GIT_* variables that git inherits. Others, such as GIT_DIR, could select another repository.
_KEPT = (
    "GIT_SSH", "GIT_SSL", "GIT_HTTP", "GIT_PROXY", "GIT_ALLOW_PROTOCOL", "GIT_ASKPASS",
    "GIT_CONFIG", "GIT_AUTHOR", "GIT_COMMITTER", "GIT_TRACE",
)  # fmt: skip
GIT_NEEDED = (2, 39)


def text(data: bytes) -> str:
    """Decode bytes of git; `raw` is the inverse."""
    return data.decode("utf-8", "surrogateescape")


def raw(value: str) -> bytes:
    """Encode a value to the bytes that `text` decoded."""
    return value.encode("utf-8", "surrogateescape")


def shown(value: str) -> str:
    """`value` on one line, with undecodable bytes and control characters escaped."""
    readable = raw(value).decode("utf-8", "backslashreplace")
    return printable(readable).replace("\n", "\\n").replace("\t", "\\t")


def complaint(stderr: bytes) -> str:
    """The last lines of git's error output, printable and at most 800 characters."""
    return "\n".join(map(shown, text(stderr).strip().split("\n")[-8:]))[-800:]


def inherited() -> dict[str, str]:
    """The environment without variables that select another repository."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name.startswith(_KEPT)
    }


def _split(stream: IO[bytes] | None) -> Iterator[bytes]:
    rest = b""
    while chunk := stream.read(_CHUNK_BYTES) if stream else b"":
        *whole, rest = (rest + chunk).split(b"\0")
        yield from whole
    if rest:
        yield rest


@dataclass(frozen=True, slots=True)
class Git:
    """A folder in which to run git.

    `environment` adds variables, for the temporary object store. `keep_open` are file descriptors
    that git inherits, so that a lock is held for as long as any git runs. `settings` are `-c`
    options for every command.
    """

    cwd: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    keep_open: tuple[int, ...] = ()
    settings: tuple[str, ...] = ()

    def _argv(self, args: Iterable[str]) -> list[bytes]:
        options = (word for setting in self.settings for word in ("-c", setting))
        return [b"git", *map(raw, options), *map(raw, args)]

    def variables(self) -> dict[str, str]:
        return {
            **inherited(),
            "LC_ALL": "C",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_EDITOR": "true",
            "GIT_MERGE_AUTOEDIT": "no",
            **self.environment,
        }

    def result(self, *args: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        """Run git and return the result with any exit code."""
        try:
            return subprocess.run(
                self._argv(args),
                cwd=self.cwd,
                env=self.variables(),
                input=stdin,
                capture_output=True,
                check=False,
                pass_fds=self.keep_open,
            )
        except FileNotFoundError as error:
            if not self.cwd.is_dir():
                raise SyncError(Exit.REPOSITORY, f"{self.cwd} is not a folder.") from error
            raise SyncError(
                Exit.FAILED, f"git is not installed; install git {_dotted(GIT_NEEDED)} or newer."
            ) from error

    def output(self, *args: str, stdin: bytes = b"") -> bytes:
        """Run git and return its output. Raises `GitFailed` if its exit code is not 0."""
        done = self.result(*args, stdin=stdin)
        if done.returncode != 0:
            command, reason = shown(" ".join(args[:4])), complaint(done.stderr)
            raise GitFailed(
                f"`git {command}` failed: {reason or 'no reason given'}",
                stderr=text(done.stderr),
                returncode=done.returncode,
            )
        return done.stdout

    def text(self, *args: str, stdin: bytes = b"") -> str:
        return text(self.output(*args, stdin=stdin)).strip("\n")

    def lines(self, *args: str, stdin: bytes = b"") -> list[str]:
        # Not `splitlines`, which also splits at characters that names may contain.
        return [line for line in self.text(*args, stdin=stdin).split("\n") if line]

    def succeeds(self, *args: str) -> bool:
        return self.result(*args).returncode == 0

    def resolve(self, name: str) -> str | None:
        """The hash of the commit to which `name` resolves; `None` if there is none."""
        done = self.result(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"
        )
        return text(done.stdout).strip() if done.returncode == 0 else None

    def tree_of(self, commit: str) -> str:
        return self.text("rev-parse", "--verify", f"{commit}^{{tree}}")

    def is_ancestor(self, older: str, newer: str) -> bool:
        return self.succeeds("merge-base", "--is-ancestor", older, newer)

    def start(
        self, *args: str, stdin: int | IO[bytes] | None = subprocess.PIPE
    ) -> "subprocess.Popen[bytes]":
        """Start git with pipes for its input and output; the caller ends it."""
        return subprocess.Popen(
            self._argv(args),
            cwd=self.cwd,
            env=self.variables(),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=self.keep_open,
        )

    def tokens(self, *args: str, stdin: Iterable[str] = ()) -> Iterator[bytes]:
        """Stream git's NUL-separated output, so that memory does not grow with the history."""
        with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as given:
            given.writelines(raw(line) + b"\n" for line in stdin)
            given.seek(0)
            with subprocess.Popen(
                self._argv(args),
                cwd=self.cwd,
                env=self.variables(),
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=said,
            ) as child:
                try:
                    yield from _split(child.stdout)
                except GeneratorExit:
                    child.kill()
                    raise
            said.seek(0)
            errors = text(said.read())
        if child.returncode != 0:
            raise GitFailed(
                f"`git {args[0]}` failed: {shown(errors.strip()[-600:])}",
                stderr=errors,
                returncode=child.returncode,
            )


@dataclass(frozen=True, slots=True)
class Repository:
    """The folders of a repository. `state`, in the git directory, has cache, journal and lock."""

    git: Git
    top: Path | None
    git_dir: Path
    common_dir: Path

    @property
    def state(self) -> Path:
        return self.common_dir / "ocmt-sync"


def open_repository(folder: Path) -> Repository:
    """Find the repository that contains `folder`. Raises `SyncError` with the reason if none."""
    git = Git(folder)
    _check_version(git)
    done = git.result("rev-parse", "--absolute-git-dir")
    if done.returncode != 0:
        said = text(done.stderr)
        if "dubious ownership" in said:
            cure = next(line for line in said.splitlines() if "safe.directory" in line)
            raise SyncError(
                Exit.REPOSITORY,
                f"The repository of {shown(str(folder))} belongs to another user, so git does not "
                f"read it. If you trust it: {shown(cure.strip())}",
            )
        if "not a git repository" not in said:
            raise SyncError(
                Exit.FAILED, f"git cannot read this repository: {complaint(done.stderr)}"
            )
        raise SyncError(
            Exit.REPOSITORY,
            f"{shown(str(folder))} is not in a git repository. Run this in your fork or pass "
            "--repo.",
        )
    # One command per folder, since a folder's name may contain a line break.
    common = git.output("rev-parse", "--path-format=absolute", "--git-common-dir")
    top = git.result("rev-parse", "--show-toplevel")
    return Repository(
        git=git,
        top=_path(top.stdout) if top.returncode == 0 else None,
        git_dir=_path(done.stdout),
        common_dir=_path(common),
    )


def _path(said: bytes) -> Path:
    return Path(os.fsdecode(said.removesuffix(b"\n")))


def _check_version(git: Git) -> None:
    version = git.text("version").split()[2]
    numbers = tuple(int(n) for n in version.split(".")[:2] if n.isdigit())
    if numbers < GIT_NEEDED:
        raise SyncError(
            Exit.FAILED,
            f"git {version} is too old to forecast: install git {_dotted(GIT_NEEDED)} or newer.",
        )


def _dotted(numbers: Iterable[int]) -> str:
    return ".".join(map(str, numbers))
