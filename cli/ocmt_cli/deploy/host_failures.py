"""What ssh, sudo, rsync and the disk of a host say when they fail, and what to do about it."""

import json
import re
import shlex
from typing import Any

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


_UNCLEAN = (
    'its login shell, or a command that sshd runs first, prints "{said}" where only the answer of '
    "our command may be. Let it print on a terminal only: put `[ -t 1 ] || return` before it in "
    "~/.bashrc and /etc/profile.d (for a ForceCommand, leave it out)."
)


def answer_of(host: str, step: str, printed: str) -> dict[str, Any]:
    """The one JSON object that a program of ours printed on a host.

    Raises `Refused`, with what was printed instead: a login shell's words, an account that is shut.
    """
    try:
        answer = json.loads(printed)
    except ValueError:
        answer = None
    if isinstance(answer, dict):
        return answer
    first = next((line.strip() for line in printed.splitlines() if line.strip()), "")
    raise Refused(host, step, _UNCLEAN.format(said=first[:200]))


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
        "your provider's console: {scan} (behind a jump host: ./ocmt setup {name} --plan)",
    ),
    (
        r"UNPROTECTED PRIVATE KEY FILE|bad permissions",
        Refused,
        "others may read the key {key}, so ssh does not use it. chmod 600 {key_file}",
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
        r"is your shell clean|protocol version mismatch",
        Refused,
        _UNCLEAN.replace("{said}", "something"),
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
        r"Unable to negotiate",
        Refused,
        "its ssh and this machine's have no algorithm in common ({said}). Update the older one.",
    ),
    (
        r"Bad owner or permissions on|bad configuration option|command-line.* line \d+|line \d+: "
        r"|percent_|ControlPath|extra arguments|Bad key types|no argument after keyword",
        Refused,
        "ssh does not take its settings on this machine ({said}). Look into ~/.ssh/config and "
        "/etc/ssh/ssh_config, and try: {by_hand}",
    ),
    (
        r"^\s*$|Timeout, server|not responding|closed by|reset by|Broken pipe|client_loop"
        r"|mux_client",
        Unreachable,
        "the connection was lost ({said}). What was running there goes on; run the same command "
        "again, it takes up where this one was.",
    ),
    (
        r"",
        Unreachable,
        "ssh failed ({said}). See what it says to: {by_hand}",
    ),
)
_OTHERS_KEY = re.compile(r"No \S+ host key is known for (\S+) and you have")


def explain(entry: HostEntry, policy: Policy, *, code: int, stderr: str, step: str) -> HostFailed:
    """The failure of a command that ended with `code`, in words that say what to do."""
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
    }
    for words, kind, cure in (*_ANYWHERE, *(_CONNECTION if code == SSH_FAILED else ())):
        if re.search(words, stderr, re.I):
            return kind(entry.name, step, cure.format_map(facts))
    return HostFailed(entry.name, step, f"{last_lines(stderr)} (exit code {code})")
