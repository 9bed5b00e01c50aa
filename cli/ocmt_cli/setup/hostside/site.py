"""Installs a site into a web server with other sites, after a test; undone if it fails.

The web server tests a copy of its folder, which is mounted over the folder in a private mount
namespace: includes, links and absolute paths resolve as usual, and no other process sees the copy.
OCMT's units need mount namespaces anyway.
"""

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TypedDict

from ocmt_common.atomic_files import replacing_file

_MOUNTED = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'


class Order(TypedDict):
    """`setup.changes.Install` as JSON."""

    folder: str
    writes: dict[str, str]
    append_to: str
    line: str
    test: list[str]
    must_print: str
    conflicts: list[str]
    service: str
    cure: str


class Refused(Exception):
    """The site was not installed, and nothing has changed. `str()` is the reason and the cure."""


def main() -> None:
    order: Order = json.loads(sys.stdin.buffer.read())
    try:
        install(order)
    except Refused as refused:
        sys.exit(str(refused))
    except OSError as error:
        sys.exit(f"{error.strerror or error}: {error.filename or order['folder']}")


def install(order: Order) -> None:
    """Install the site. Raises `Refused`."""
    files = _wanted(order)
    if order["test"]:
        _test(order, files)
    before = {path: _read(path) for path in files}
    for path, content in files.items():
        _put(path, content, own=str(path) in order["writes"])
    if not order["service"]:
        return
    reload = ["systemctl", "reload-or-restart", order["service"]]
    done = _run(reload)
    if done.returncode != 0:
        for path, old in before.items():
            if old is None:
                path.unlink()
            else:
                _put(path, old, own=False)
        _run(reload)
        raise Refused(
            f"{order['service']} does not load the site, so its files were restored: "
            f"{_said(done)}\nSee: journalctl -u {order['service']} -n 20"
        )


def _wanted(order: Order) -> dict[Path, bytes]:
    """File → its new content."""
    files = {Path(name): text.encode() for name, text in order["writes"].items()}
    if order["append_to"]:
        path, line = Path(order["append_to"]), order["line"].encode()
        old = _read(path) or b""
        if line not in [one.strip() for one in old.splitlines()]:
            between = b"" if not old else b"\n" if old.endswith(b"\n") else b"\n\n"
            files[path] = old + between + line + b"\n"
    return files


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _put(path: Path, content: bytes, *, own: bool) -> None:
    """Write a file atomically, following a link. Unless it is OCMT's `own`, keep owner and mode."""
    real = path.resolve()
    real.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with replacing_file(real, mode=0o644) as draft:
        draft.write(content)
        draft.flush()
        if not own and real.exists():
            there = real.stat()
            os.chown(draft.name, there.st_uid, there.st_gid)
            shutil.copystat(real, draft.name)


def _test(order: Order, files: dict[Path, bytes]) -> None:
    folder = Path(order["folder"])
    user, environment = _as_the_service(order["service"])
    # As the service's user, since a test as root would create files that the service cannot open.
    test = [*(["runuser", "-p", "-u", user, "--"] if user else []), *order["test"]]
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "copy"
        copy.mkdir()
        _copy(f"{folder}/.", copy)
        for path, content in files.items():
            copied = copy / path.relative_to(folder)
            if copied.is_symlink():
                real = path.resolve()
                copied.unlink()
                if real.exists():
                    _copy(str(real), copied)
            _put(copied, content, own=str(path) in order["writes"])
        private = ["unshare", "--mount", "--propagation", "private", "--", "sh", "-c", _MOUNTED]
        done = _run([*private, "sh", str(copy), str(folder), *test], environment)
    if done.stderr.startswith(("unshare:", "mount:")):
        raise Refused(
            f"root cannot create a mount namespace on this host ({_said(done)}), which the test of "
            "the site and OCMT's units need. In an LXC container, enable nesting."
        )
    nothing = "so nothing was changed"
    program = order["test"][0]
    if done.returncode != 0:
        there = not order["append_to"] or Path(order["append_to"]).exists()
        if there and (bare := _run(test, environment)).returncode != 0:
            raise Refused(
                f"{program} does not accept its present configuration, {nothing}: "
                f"{_said(bare)}\nCorrect that, then run this again."
            )
        raise Refused(
            f"{program} does not accept the site, {nothing}: {_said(done)}\n{order['cure']}"
        )
    for warning in order["conflicts"]:
        if warning in done.stderr:
            raise Refused(
                f"{program} has another site with that name, {nothing}: {warning}\n{order['cure']}"
            )
    if order["must_print"] not in done.stdout:
        names = ", ".join(order["writes"])
        raise Refused(f"{program} would not read {names}, {nothing}.\n{order['cure']}")


def _copy(source: str, to: Path) -> None:
    """Copy with owners and modes, so that the test can read exactly what the service can.

    Raises `Refused`.
    """
    done = _run(["cp", "-a", "--", source, str(to)])
    if done.returncode != 0:
        raise Refused(
            f"{source} cannot be copied for a test, so nothing was changed: {_said(done)}"
        )


def _as_the_service(service: str) -> tuple[str, dict[str, str]]:
    """The service's user (empty for root), and its environment, to which its files may refer."""
    shown = _run(["systemctl", "show", "-p", "User", "-p", "MainPID", service]).stdout
    values = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    user, pid = values.get("User", ""), values.get("MainPID", "0")
    environment = dict(os.environ)
    if user and not user.isdecimal():
        environment["HOME"] = pwd.getpwnam(user).pw_dir
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes() if pid != "0" else b""
    except OSError:
        raw = b""
    pairs = [one.split("=", 1) for one in os.fsdecode(raw).split("\0") if "=" in one]
    return user, environment | dict(pairs)


def _run(
    argv: list[str], environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env=environment,
        stdin=subprocess.DEVNULL,
    )


def _said(done: subprocess.CompletedProcess[str]) -> str:
    """The last three lines of standard error, without Caddy's JSON log."""
    lines = [line.strip() for line in done.stderr.splitlines()]
    told = [line for line in lines if line and not line.startswith("{")]
    return "\n  ".join(told[-3:]) or f"exit code {done.returncode}"
