"""How many files and sockets a server may have open: as many as the system would let it.

The usual soft limit, 1024, is the one that old programs can live with. A server with a few hundred
chats open reaches it, and then takes no connection at all.
"""

import contextlib
import resource


def allow_many_open_files() -> int:
    """Raise this process's soft limit to its hard one; what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):  # less is no reason not to serve
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
