"""What the operator sees: text that is safe for a terminal.

Every line a command prints passes `printable`: servers, containers, upstream commits and hosts
choose much of that text, and a terminal obeys control characters. A test keeps other ways out.
"""

import json
import os
import re
import select
import sys
from typing import Any, TextIO

_COLOUR = re.compile(r"(\x1b\[[0-9;]*m)")


def printable(text: str, *, colours: bool = False) -> str:
    """`text` with all but lines and tabs escaped of what is no visible character.

    That is C0 and C1 controls, and what reorders or hides text. `colours` keeps the colours that
    a command, or a program it runs for the operator, gives its own text.
    """
    text = text.replace("\r\n", "\n")
    if colours:
        parts = _COLOUR.split(text)
        return "".join(part if i % 2 else printable(part) for i, part in enumerate(parts))
    return "".join(
        c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text
    )


def say(text: str = "", *, colours: bool = False) -> None:
    """One line to standard output, at once even into a pipe. Raises `OSError`."""
    _put(sys.stdout, printable(text, colours=colours))


def complain(text: str) -> None:
    """One line to standard error."""
    _put(sys.stderr, printable(text))


def say_json(document: Any) -> None:
    """A command's result for programs; as readable as the terminal's safety allows."""
    readable = json.dumps(document, indent=2, ensure_ascii=False)
    if printable(readable) != readable or _encodable(sys.stdout, readable) != readable:
        readable = json.dumps(document, indent=2).replace("\x7f", "\\u007f")
    _put(sys.stdout, readable)


def reader_is_gone(stream: TextIO) -> bool:
    """Whether `stream` leads to a pipe that nothing reads any more (`| head`)."""
    try:
        watched = select.poll()
        watched.register(stream.fileno(), 0)
    except (OSError, ValueError):  # closed, or a test's stand-in
        return False
    return any(event & select.POLLERR for _, event in watched.poll(0))


def _put(stream: TextIO | None, text: str) -> None:
    if stream is None:  # it was closed before the command began (`>&-`)
        return
    try:
        stream.write(f"{_encodable(stream, text)}\n")
        stream.flush()
    except BrokenPipeError:
        _to_nowhere(stream)  # its reader has seen enough; what is left to do, and the code, stay
    except OSError as error:
        error.filename = stream.name
        raise


def give_up_output() -> None:
    """Drop what standard output did not take: Python would complain of it as it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        _to_nowhere(sys.stdout)


def _to_nowhere(stream: TextIO) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _encodable(stream: TextIO | None, text: str) -> str:
    """What the stream's encoding can hold, the rest escaped."""
    encoding = (stream and stream.encoding) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
