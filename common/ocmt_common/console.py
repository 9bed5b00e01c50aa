"""Prints text that is safe for a terminal.

Every printed line passes through `printable`, since much text comes from servers, containers,
upstream commits and hosts, and terminals act on control characters. A test rejects other ways to
print.
"""

import json
import os
import re
import select
import sys
from typing import Any, TextIO

_COLOUR = re.compile(r"(\x1b\[[0-9;]*m)")


def printable(text: str, *, colours: bool = False) -> str:
    """`text` with invisible characters escaped, except newlines and tabs.

    These are C0 and C1 controls and characters that reorder or hide text. `colours` keeps colour
    sequences, for text of the command itself and of programs that it runs.
    """
    text = text.replace("\r\n", "\n")
    if colours:
        parts = _COLOUR.split(text)
        return "".join(part if i % 2 else printable(part) for i, part in enumerate(parts))
    return "".join(
        c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text
    )


def say(text: str = "", *, colours: bool = False) -> None:
    """Print a line to standard output, unbuffered. Raises `OSError`."""
    _put(sys.stdout, printable(text, colours=colours))


def complain(text: str) -> None:
    """Print a line to standard error."""
    _put(sys.stderr, printable(text))


def say_json(document: Any) -> None:
    """Print a command's result as JSON, escaped if the terminal requires it."""
    readable = json.dumps(document, indent=2, ensure_ascii=False)
    if printable(readable) != readable or _encodable(sys.stdout, readable) != readable:
        readable = json.dumps(document, indent=2).replace("\x7f", "\\u007f")
    _put(sys.stdout, readable)


def reader_is_gone(stream: TextIO) -> bool:
    """Whether `stream` is a pipe that its reader has closed (`| head`)."""
    try:
        watched = select.poll()
        watched.register(stream.fileno(), 0)
    except (OSError, ValueError):  # closed, or a test's stand-in
        return False
    return any(event & select.POLLERR for _, event in watched.poll(0))


def _put(stream: TextIO | None, text: str) -> None:
    if stream is None:  # closed before the command began (`>&-`)
        return
    try:
        stream.write(f"{_encodable(stream, text)}\n")
        stream.flush()
    except BrokenPipeError:
        _discard(stream)  # its reader has closed it; the command goes on and keeps its exit code
    except OSError as error:
        error.filename = stream.name
        raise


def give_up_output() -> None:
    """Discard buffered standard output that cannot be written and would fail Python's exit."""
    try:
        sys.stdout.flush()
    except OSError:
        _discard(sys.stdout)


def _discard(stream: TextIO) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _encodable(stream: TextIO | None, text: str) -> str:
    """Escape the characters of `text` that the stream's encoding lacks."""
    encoding = (stream and stream.encoding) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
