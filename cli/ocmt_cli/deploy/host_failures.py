"""Explains failures of ssh, sudo, rsync and a host's disk, with the cure."""

import json
import re
import shlex
from typing import Any

from ocmt_cli.deploy.inventory import ORDER, HostEntry, Policy
from ocmt_cli.failure import CommandFailed

SSH_FAILED = 255
"""ssh's exit code for a failed connection (ssh(1), EXIT STATUS)."""


class HostFailed(CommandFailed):
    """A step failed on a host. `str()` names the host, the step and the cure."""

    def __init__(self, host: str, step: str, text: str) -> None:
        super().__init__(f"{host}: {step}: {text}")
        self.host = host
        self.step = step
        self.text = text


class Unreachable(HostFailed):
    """The connection failed, ended before the answer, or brought none in time."""


class Refused(HostFailed):
    """The host refused the sign-in or the step."""


def last_lines(stderr: str, count: int = 6) -> str:
    """The last `count` lines that are not blank, or a text that says that there are none."""
    lines = [line for line in stderr.strip().splitlines() if line.strip()]
    return "\n  ".join(lines[-count:]) or "it gave no reason"


def hangs(host: str, step: str, within_s: float) -> Unreachable:
    """The failure of a host that accepted a connection but did not answer."""
    changes = "" if _only_reads(step) else " What it does there may still complete."
    return Unreachable(
        host,
        step,
        f"no answer within {within_s:.0f} s. The host accepts connections and hangs: check its "
        f"disks and load on its console.{changes} Then run this again.",
    )


_READING = frozenset({"facts", "status", "health", "releases", "logs", "journal", "lock", "ping"})


def _only_reads(step: str) -> bool:
    return step.rpartition(": ")[2] in _READING


_UNCLEAN = (
    'its login shell, or a command that sshd runs first, prints "{said}" into the output of '
    "commands. Let it print on a terminal only: put `[ -t 1 ] || return` before it in "
    "~/.bashrc and /etc/profile.d (for a ForceCommand, leave it out)."
)
# Pattern of what a host printed instead of an answer, and the cure. The first match applies.
_PRINTED = (
    (
        r"login as the user \W?(?P<user>[a-z_][a-z0-9_-]*)",
        'it says "{said}". Set hosts.{host}.user = "{user}" in the inventory.',
    ),
    (
        r"account is (currently )?not available|account has expired|password has expired",
        'it says "{said}". Set hosts.{host}.user in the inventory to a user who may log in there, '
        "or give this one a login shell.",
    ),
    (r"", _UNCLEAN),
)


def not_ours(host: str, step: str, printed: str) -> Refused:
    """The failure of a host that printed something else than an answer."""
    first = next((line.strip() for line in printed.splitlines() if line.strip()), "")[:200]
    found, cure = next(
        (found, cure) for words, cure in _PRINTED if (found := re.search(words, printed, re.I))
    )
    return Refused(host, step, cure.format(said=first, host=host, **found.groupdict()))


def answer_of(host: str, step: str, printed: str) -> dict[str, Any]:
    """Parse the JSON object that a program printed on a host.

    Raises `Refused` if it is something else, such as the output of a login shell.
    """
    try:
        answer = json.loads(printed)
    except ValueError:
        answer = None
    if isinstance(answer, dict):
        return answer
    raise not_ours(host, step, printed)


# Pattern of standard error, class of the failure, and the cure. The first match applies.
_ANYWHERE: tuple[tuple[str, type[HostFailed], str], ...] = (
    (
        r"HOST IDENTIFICATION HAS CHANGED|host key .* has changed",
        Refused,
        "the host key of {address} differs from {known}. Either the server was reinstalled, or "
        "another machine answers. Compare the key's fingerprint with your provider's console; if "
        "it is correct: ssh-keygen -R '{pattern}' -f {known} && {scan}",
    ),
    (
        r"No .*host key is known|Host key verification failed",
        Refused,
        "the host key of {address} is not known yet. Fetch it, and compare its fingerprint with "
        "your provider's console: {scan} (behind a jump host: ./ocmt setup {name} --plan)",
    ),
    (
        r"UNPROTECTED PRIVATE KEY FILE|bad permissions",
        Refused,
        "other users may read the key {key}, so ssh does not use it. chmod 600 {key_file}",
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
        "{user} may not use sudo without a password. Put `{user} ALL=(root) NOPASSWD: ALL` "
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
        r"is your shell clean|protocol version mismatch",
        Refused,
        _UNCLEAN.replace("{said}", "something"),
    ),
    (
        r"No space left on device|Disk quota exceeded",
        Refused,
        "the disk is full. Free some space there{releases}.",
    ),
)
_CONNECTION: tuple[tuple[str, type[HostFailed], str], ...] = (
    (
        r"Could not resolve hostname",
        Unreachable,
        "the name {address} does not resolve. Check hosts.{name}.address in the inventory.",
    ),
    (
        r"Connection (refused|timed out)|No route to host|Network is unreachable",
        Unreachable,
        "{where} does not answer ({said}). Check that the machine runs, its firewall, and ssh_port "
        "in the inventory.",
    ),
    (
        r"Unable to negotiate",
        Refused,
        "its ssh and this machine's share no algorithm ({said}). Update the older one.",
    ),
    (
        r"Bad owner or permissions on|bad configuration option|command-line.* line \d+|line \d+: "
        r"|percent_|ControlPath|extra arguments|Bad key types|no argument after keyword",
        Refused,
        "ssh rejects its configuration on this machine ({said}). Check ~/.ssh/config and "
        "/etc/ssh/ssh_config, and try: {by_hand}",
    ),
    (
        r"^\s*$|Timeout, server|not responding|closed by|reset by|Broken pipe|client_loop"
        r"|mux_client",
        Unreachable,
        "the connection was lost ({said}).{continues} Run the same command again.",
    ),
    (
        r"",
        Unreachable,
        "ssh failed ({said}). Try: {by_hand}",
    ),
)
_OTHERS_KEY = re.compile(r"No \S+ host key is known for (\S+) and you have")


def explain(entry: HostEntry, policy: Policy, *, code: int, stderr: str, step: str) -> HostFailed:
    """The failure of a command with the exit code `code`, with the cure."""
    port, known = entry.ssh_port, "~/.ssh/known_hosts"
    if policy.known_hosts is not None:
        known = shlex.quote(str(policy.known_hosts))
    pattern = entry.address if port == 22 else f"[{entry.address}]:{port}"
    jump = _OTHERS_KEY.search(stderr)
    if jump is not None and jump[1] not in (pattern, entry.address, entry.name):
        return Refused(
            entry.name,
            step,
            f"the host key of {jump[1]}, to which ~/.ssh/config leads, is not known yet. If that "
            f"is {entry.name} itself: ./ocmt setup {entry.name} --plan; if it is a jump host, "
            f"connect once by hand and compare its fingerprint: ssh {jump[1]}",
        )
    facts = {
        "name": entry.name,
        "address": entry.address,
        "user": entry.user,
        "where": f"{entry.user}@{entry.address} port {port}",
        "known": known,
        "key": entry.identity_file or "any of your keys",
        "key_file": shlex.quote(str(entry.identity_file or "~/.ssh/id_ed25519")),
        "pattern": pattern,
        "by_hand": f"ssh -p {port} {entry.user}@{entry.address}",
        "scan": f"ssh-keyscan -p {port} {entry.address} >> {known}",
        "said": last_lines(stderr, 1),
        "releases": ", or lower keep_releases" if step.partition(":")[0] in ORDER else "",
        "continues": "" if _only_reads(step) else " What it was doing there continues.",
    }
    for words, kind, cure in (*_ANYWHERE, *(_CONNECTION if code == SSH_FAILED else ())):
        if re.search(words, stderr, re.I):
            return kind(entry.name, step, cure.format_map(facts))
    return HostFailed(entry.name, step, f"{last_lines(stderr)} (exit code {code})")
