"""Raises the limit of open files and sockets to the system's maximum.

The usual soft limit, 1,024, exists for old programs. A server with a few hundred open chats would
reach it, and then accept no connections.
"""

import contextlib
import resource


def allow_many_open_files() -> int:
    """Raise this process's soft limit to its hard limit. Returns the new limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):  # the server also works with less
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
