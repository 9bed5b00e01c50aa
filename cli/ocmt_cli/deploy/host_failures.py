"""What ssh, sudo, rsync and the disk of a host say when they fail, and what to do about it."""

import re

from ocmt_cli.deploy.inventory import HostEntry, Policy
from ocmt_cli.failure import CommandFailed

SSH_FAILED = 255
"""ssh's own exit code when it is the connection that failed (ssh(1), EXIT STATUS)."""


class HostFailed(CommandFailed):
    """Something did not work on a host; `str()` names the host, the step and the cure."""

    def __init__(self, host: str, step: str, text: str) -> None:
        super().__init__(f"{host}: {step}: {text}")
        self.host = host
        self.step = step
        self.text = text


class Unreachable(HostFailed):
    """The connection could not be made, or ended before the answer was there."""


class Refused(HostFailed):
    """The host answered and did not let us in, or not do this."""


def last_lines(stderr: str, count: int = 6) -> str:
    lines = [line for line in stderr.strip().splitlines() if line.strip()]
    return "\n  ".join(lines[-count:]) or "it failed without a word"


# What is on standard error, the class of the failure, and its cure. The first that fits counts.
_ANYWHERE: tuple[tuple[str, type[HostFailed], str], ...] = (
    (
        r"HOST IDENTIFICATION HAS CHANGED|host key .* has changed",
        Refused,
        "the host key of {address} is not the one in {known}. Either the server was made anew or "
        "somebody is in between. Compare the key's fingerprint with your provider's console; if it "
        "is yours: ssh-keygen -R '{pattern}' -f {known} && {scan}",
    ),
    (
        r"No .*host key is known|Host key verification failed",
        Refused,
        "the host key of {address} is not known yet. Fetch it, and compare its fingerprint with "
        "your provider's console: {scan}",
    ),
    (
        r"Permission denied \(|Too many authentication failures",
        Refused,
        "{where} does not accept {key}. Add its public half to the user's ~/.ssh/authorized_keys "
        "there, or set identity_file in the inventory.",
    ),
    (
        r"sudo: .*(password|not allowed|terminal)|not in the sudoers file|may not run sudo",
        Refused,
        "{user} may not run this by sudo without a password. Put `{user} ALL=(root) NOPASSWD: ALL` "
        "into /etc/sudoers.d/{user}, or deploy as root.",
    ),
    (
        r"sudo: (command )?not found|sudo: No such file",
        Refused,
        "{user} is not root and there is no sudo. Install sudo, or deploy as root.",
    ),
    (
        r"rsync: (command )?not found|rsync: No such file",
        Refused,
        "rsync is not installed there. apt-get install rsync",
    ),
    (
        r"python3: (command )?not found|python3: No such file",
        Refused,
        "Python is not installed there. apt-get install python3",
    ),
    (
        r"No space left on device|Disk quota exceeded",
        Refused,
        "the disk is full. Free some space there, or lower keep_releases.",
    ),
)
_CONNECTION: tuple[tuple[str, type[HostFailed], str], ...] = (
    (
        r"Could not resolve hostname",
        Unreachable,
        "there is no machine named {address}. Check hosts.{name}.address in the inventory.",
    ),
    (
        r"Connection (refused|timed out)|No route to host|Network is unreachable",
        Unreachable,
        "{where} does not answer ({said}). Check that the machine runs, its firewall, and ssh_port "
        "in the inventory.",
    ),
    (
        r"",
        Unreachable,
        "the connection was lost ({said}). What was running there goes on; run the same command "
        "again, it takes up where this one was.",
    ),
)


def explain(entry: HostEntry, policy: Policy, *, code: int, stderr: str, step: str) -> HostFailed:
    """The failure of a command that ended with `code`, in words that say what to do."""
    port, known = entry.ssh_port, policy.known_hosts or "~/.ssh/known_hosts"
    facts = {
        "name": entry.name,
        "address": entry.address,
        "user": entry.user,
        "where": f"{entry.user}@{entry.address} port {port}",
        "known": known,
        "key": entry.identity_file or "any of your keys",
        "pattern": entry.address if port == 22 else f"[{entry.address}]:{port}",
        "scan": f"ssh-keyscan -p {port} {entry.address} >> {known}",
        "said": last_lines(stderr, 1),
    }
    for words, kind, cure in (*_ANYWHERE, *(_CONNECTION if code == SSH_FAILED else ())):
        if re.search(words, stderr, re.I):
            return kind(entry.name, step, cure.format_map(facts))
    return HostFailed(entry.name, step, f"{last_lines(stderr)} (exit code {code})")
