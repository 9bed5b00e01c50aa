"""Holds a server's listening sockets on hosts without systemd, and passes them to its releases.

Runs as a program: `holder.py CONTROL NAME=ADDRESS:PORT…`. A client that connects to the Unix socket
CONTROL receives the listeners' descriptors, in that order.
"""

import contextlib
import os
import socket
import sys


def main(arguments: list[str]) -> None:
    control, *wanted = arguments
    listeners = []
    for one in wanted:
        address, _, port = one.partition("=")[2].rpartition(":")
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listeners.append(socket.create_server((address, int(port)), family=family, backlog=1024))
    with contextlib.suppress(FileNotFoundError):
        os.unlink(control)  # noqa: PTH108 (one import less in a long-running process)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        door.bind(control)
        door.listen(8)
        while True:
            caller, _ = door.accept()
            with caller, contextlib.suppress(OSError):
                socket.send_fds(caller, [b"1"], [listener.fileno() for listener in listeners])


if __name__ == "__main__":
    main(sys.argv[1:])
