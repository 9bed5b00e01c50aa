"""Explains why a gateway exited, and what to do. Pure.

The text is shown to the agent's user and to operators. It is chosen by patterns in the gateway's
log but never quotes it: the log holds the user's words, and the agent can write to it.
"""

import re
import signal

from ocmt_agent.runtime.base import Observed

# In order: a full disk also causes database errors, and an exhausted watch limit causes ENOSPC.
_CAUSES = tuple(
    (re.compile(pattern, re.IGNORECASE), sentence)
    for pattern, sentence in (
        (
            r"ENOSPC: System limit|file watchers",
            "Its host has no file watches left. Operator: raise fs.inotify.max_user_watches and "
            "fs.inotify.max_user_instances; the next message starts the agent again.",
        ),
        (
            r"ENOSPC|EDQUOT|no space left|disk is full|quota exceeded",
            "Its disk is full. Operator: free some space on the agent's host; the next message "
            "starts the agent again.",
        ),
        (
            r"SQLITE_CORRUPT|SQLITE_NOTADB|database disk image is malformed|file is not a database",
            "Its database is damaged. Operator: restore the agent's state from a backup "
            "(`./ocmt restore`); the agent starts with the next message.",
        ),
        (
            r"EROFS|EACCES|EPERM|read-only file system|permission denied|readonly database",
            "It may not write its state folder. Operator: make sure that the folder belongs to the "
            "agent's user and that its disk is not mounted read-only.",
        ),
        (
            r"heap out of memory|ENOMEM|cannot allocate memory",
            "It ran out of memory. Operator: raise AGENT_MEMORY_MB if this repeats.",
        ),
        (
            r"EMFILE|ENFILE|too many open files",
            "Too many files are open. Operator: raise the engine's limit of open files.",
        ),
        (
            r"ERR_MODULE_NOT_FOUND|MODULE_NOT_FOUND|ERR_DLOPEN_FAILED",
            "Its OpenClaw is incomplete. Operator: rebuild the image with `./ocmt image build`.",
        ),
    )
)


def how_it_ended(observed: Observed | None, *, printed: str = "") -> str:
    """Explain the exit of a container; `printed` is its log since its last start.

    `observed` is `None` if there is no container.
    """
    if observed is None:
        return "Its container is gone; the next request creates it again."
    if observed.oom_killed:
        return (
            "It ran out of memory and was killed. Operator: raise AGENT_MEMORY_MB if this repeats."
        )
    for pattern, sentence in _CAUSES:
        if pattern.search(printed):
            return sentence
    if observed.exit_code == 78:
        return (
            "OpenClaw rejected its configuration (exit code 78). Operator: run `openclaw "
            "doctor --fix` on the agent's state folder, then wake the agent again."
        )
    if observed.exit_code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return (
            f"It was killed (exit code {observed.exit_code}), but not by the agent server. If no "
            "operator did it, check the kernel's log (dmesg): the host may have run out of memory."
        )
    # Unknown for a process that an earlier server started.
    code = "" if observed.exit_code is None else f" (exit code {observed.exit_code})"
    return f"The gateway exited by itself{code}. Operator: see the agent's log."
