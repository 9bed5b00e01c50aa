"""Runs commands on hosts with the system's ssh and rsync, and explains their failures.

`SshHost` is another machine, `LocalHost` this one (`ocmt deploy --pull`). Commands are argument
lists, quoted for the remote shell in one place.
"""

import contextlib
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from ocmt_cli.deploy.host_failures import SSH_FAILED, HostFailed, Unreachable, explain, last_lines
from ocmt_cli.deploy.inventory import HostEntry, Policy
from ocmt_cli.deploy.ssh import for_any_shell, make_folder, options, with_own_paths
from ocmt_cli.failure import CommandFailed

# rsync's exit codes for a lost connection (rsync(1), EXIT VALUES).
_RSYNC_DROPPED = frozenset({10, 12, 30, 35, 255})


_FAREWELL_S = 10


@dataclass(frozen=True, slots=True)
class Finished:
    """A completed command on a host."""

    code: int
    stdout: str
    stderr: str


class Host(Protocol):
    """A machine to run commands on and copy files to."""

    name: str

    def run(
        self,
        argv: Sequence[str],
        *,
        step: str,
        stdin: bytes = b"",
        check: bool = True,
        timeout_s: float = 600,
    ) -> Finished:
        """Run a command as root and wait until it ends.

        Raises `HostFailed` if the host cannot be reached, if it takes longer than `timeout_s`
        seconds or, with `check`, if the exit code is not 0.
        """
        ...

    def put(self, text: str, path: PurePosixPath, *, mode: int, step: str) -> None:
        """Write a file atomically, with `mode` from the start."""
        ...

    def rsync(
        self, src: Path, dst: PurePosixPath, *, step: str, options: Sequence[str] = ()
    ) -> None:
        """Copy the contents of the folder `src` into the folder `dst`, created if missing."""
        ...

    def popen(self, argv: Sequence[str], *, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start a command as root, with pipes. `failure` explains its exit code."""
        ...

    def failure(self, code: int, stderr: str, step: str) -> HostFailed:
        """The error for a command's exit code, with the cure."""
        ...

    def close(self) -> None: ...


# Writes to a file beside the target and renames it, so that no reader sees a partial file.
_PUT = (
    'set -e; umask 077; d=$(dirname "$1"); mkdir -p "$d"; t=$(mktemp "$d/.put.XXXXXX"); '
    'trap \'rm -f "$t"\' EXIT; cat > "$t"; chmod "$2" "$t"; mv -f "$t" "$1"; trap - EXIT'
)


class _Base:
    name: str

    def _finish(
        self,
        argv: Sequence[str],
        *,
        step: str,
        stdin: bytes,
        check: bool,
        timeout_s: float,
    ) -> Finished:
        try:
            done = subprocess.run(
                argv, input=stdin, capture_output=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise Unreachable(
                self.name,
                step,
                f"no answer within {timeout_s:.0f} s. Check the host's load, then run this again.",
            ) from error
        except FileNotFoundError as error:
            raise CommandFailed(
                f"{argv[0]} is not installed on this machine. apt-get install openssh-client rsync"
            ) from error
        finished = Finished(
            done.returncode,
            done.stdout.decode(errors="replace"),
            done.stderr.decode(errors="replace"),
        )
        if done.returncode == SSH_FAILED or (check and done.returncode != 0):
            raise self.failure(finished.code, finished.stderr, step)
        return finished

    def failure(self, code: int, stderr: str, step: str) -> HostFailed:
        return HostFailed(self.name, step, f"{last_lines(stderr)} (exit code {code})")


class LocalHost(_Base):
    """This machine, for a server that deploys to itself. System folders need root."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(
        self,
        argv: Sequence[str],
        *,
        step: str,
        stdin: bytes = b"",
        check: bool = True,
        timeout_s: float = 600,
    ) -> Finished:
        return self._finish(argv, step=step, stdin=stdin, check=check, timeout_s=timeout_s)

    def put(self, text: str, path: PurePosixPath, *, mode: int, step: str) -> None:
        self.run(("sh", "-c", _PUT, "sh", str(path), f"{mode:o}"), step=step, stdin=text.encode())

    def rsync(
        self, src: Path, dst: PurePosixPath, *, step: str, options: Sequence[str] = ()
    ) -> None:
        self.run(("rsync", "-a", "--mkpath", *options, f"{src}/", f"{dst}/"), step=step)

    def popen(self, argv: Sequence[str], *, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
        return _piped(argv, stderr)

    def close(self) -> None:
        pass


class SshHost(_Base):
    """A host over ssh; all commands share one connection."""

    def __init__(self, entry: HostEntry, policy: Policy) -> None:
        self.name = entry.name
        self.entry = entry
        self.policy = policy
        self._folder = make_folder(entry, policy)
        self._options = options(self._folder, entry, policy)

    def _as_root(self, argv: Sequence[str]) -> list[str]:
        return list(argv) if self.entry.user == "root" else ["sudo", "-n", "--", *argv]

    def command(self, argv: Sequence[str]) -> list[str]:
        """The local command that runs `argv` as root on the host."""
        line = for_any_shell(self._as_root(argv))
        return ["ssh", *self._options, "--", self.entry.address, line]

    def run(
        self,
        argv: Sequence[str],
        *,
        step: str,
        stdin: bytes = b"",
        check: bool = True,
        timeout_s: float = 600,
    ) -> Finished:
        return self._finish(
            self.command(argv), step=step, stdin=stdin, check=check, timeout_s=timeout_s
        )

    def put(self, text: str, path: PurePosixPath, *, mode: int, step: str) -> None:
        self.run(("sh", "-c", _PUT, "sh", str(path), f"{mode:o}"), step=step, stdin=text.encode())

    def rsync(
        self, src: Path, dst: PurePosixPath, *, step: str, options: Sequence[str] = ()
    ) -> None:
        address = f"[{self.entry.address}]" if ":" in self.entry.address else self.entry.address
        words = [
            "rsync", "-a", "--mkpath", "--timeout=60",
            "-e", shlex.join(["ssh", *self._options]),
            "--rsync-path", shlex.join(self._as_root(["rsync"])),
            *options, f"{src}/", f"{address}:{dst}/",
        ]  # fmt: skip
        finished = self._finish(words, step=step, stdin=b"", check=False, timeout_s=1800)
        if finished.code in _RSYNC_DROPPED:
            raise self.failure(SSH_FAILED, finished.stderr, step)
        if finished.code != 0:
            raise self.failure(finished.code, finished.stderr, step)

    def popen(self, argv: Sequence[str], *, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
        return _piped(self.command(argv), stderr)

    def failure(self, code: int, stderr: str, step: str) -> HostFailed:
        said = with_own_paths(stderr, self._folder, self.entry, self.policy)
        return explain(self.entry, self.policy, code=code, stderr=said, step=step)

    def close(self) -> None:
        """Close the shared connection."""
        farewell = ["ssh", *self._options, "-O", "exit", self.entry.address]
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(farewell, capture_output=True, check=False, timeout=_FAREWELL_S)
        shutil.rmtree(self._folder, ignore_errors=True)


def open_host(entry: HostEntry, policy: Policy, *, local: bool = False) -> Host:
    """The host's transport, which connects on first use."""
    return LocalHost(entry.name) if local else SshHost(entry, policy)


def _piped(argv: Sequence[str], stderr: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        # In its own session, so that the terminal's Ctrl-C does not interrupt a step on a host.
        start_new_session=True,
    )
