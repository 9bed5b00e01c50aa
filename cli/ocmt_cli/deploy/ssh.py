"""ssh's command line for a host, without characters that ssh or a login shell would interpret.

ssh expands `%` and `${}` in its options and splits them at spaces. The login shell parses the
command, and csh, tcsh and fish quote differently. So the inventory's files are linked from a folder
with a plain path, and commands with special characters are sent in base64.
"""

import base64
import os
import re
import shlex
import tempfile
import textwrap
from collections.abc import Sequence
from pathlib import Path

from ocmt_cli.deploy.inventory import HostEntry, Policy
from ocmt_cli.failure import CommandFailed

CONNECT_TIMEOUT_S = 10
# A socket's path has at most 107 characters; ssh appends a hash and, temporarily, 17 more.
_LONGEST_FOLDER = 30
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9._/-]*")
_PLAIN_COMMAND = re.compile(r"[A-Za-z0-9 %+=:,./_@-]+")
_DECODE = 'eval "exec $(printf %s "$@" | base64 -d)"'
_LONGEST_WORD = 500  # csh's limit is about 1,000 characters
_KNOWN, _IDENTITY = "known_hosts", "identity"


def make_folder(entry: HostEntry, policy: Policy) -> Path:
    """Create a temporary folder for ssh's socket, with links to the inventory's files for a host.

    The caller removes it. Raises `CommandFailed` if no writable folder has a short, plain path.
    """
    places = [tempfile.gettempdir(), os.environ.get("XDG_RUNTIME_DIR", ""), "/tmp", "/var/tmp"]  # noqa: S108
    for place in places:
        short = len(place) <= _LONGEST_FOLDER and _PLAIN_PATH.fullmatch(place)
        if short and os.access(place, os.W_OK | os.X_OK):
            folder = Path(tempfile.mkdtemp(prefix="ocmt-ssh-", dir=place))
            break
    else:
        raise CommandFailed(
            "ssh needs a writable folder with a short path without spaces for its socket, and none "
            f"of {', '.join(filter(None, places))} is one. Set TMPDIR to such a folder."
        )
    if policy.known_hosts is not None:
        (folder / _KNOWN).symlink_to(policy.known_hosts.absolute())
    if entry.identity_file is not None:
        for suffix in ("", ".pub", "-cert.pub"):
            real = f"{entry.identity_file.absolute()}{suffix}"
            (folder / f"{_IDENTITY}{suffix}").symlink_to(real)
    return folder


def options(folder: Path, entry: HostEntry, policy: Policy) -> list[str]:
    """The options of ssh, also for rsync. `folder` is from `make_folder`."""
    words = [
        "-o", "BatchMode=yes",
        "-o", "StrictHostKeyChecking=yes",
        "-o", f"ConnectTimeout={CONNECT_TIMEOUT_S}",
        "-o", "ServerAliveInterval=5",
        "-o", "ServerAliveCountMax=3",
        "-o", "ControlMaster=auto",
        "-o", f"ControlPath={folder}/%C",
        "-o", "ControlPersist=15",
        "-o", "LogLevel=ERROR",
        "-p", str(entry.ssh_port),
        "-l", entry.user,
    ]  # fmt: skip
    if policy.known_hosts is not None:
        words += ["-o", f"UserKnownHostsFile={folder / _KNOWN}"]
    if entry.identity_file is not None:
        words += ["-i", str(folder / _IDENTITY), "-o", "IdentitiesOnly=yes"]
    return words


def with_own_paths(text: str, folder: Path, entry: HostEntry, policy: Policy) -> str:
    """Replace the links in ssh's output with the inventory's paths."""
    text = text.replace(str(folder / _KNOWN), str(policy.known_hosts))
    return text.replace(str(folder / _IDENTITY), str(entry.identity_file))


def for_any_shell(argv: Sequence[str]) -> str:
    """A command line that every login shell (sh, csh, tcsh, fish, zsh) runs as `argv`."""
    line = shlex.join(argv)
    if _PLAIN_COMMAND.fullmatch(line):
        return line
    words = textwrap.wrap(base64.b64encode(line.encode()).decode(), _LONGEST_WORD)
    return f"sh -c '{_DECODE}' sh {' '.join(words)}"
