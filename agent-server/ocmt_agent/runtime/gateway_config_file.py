"""A gateway's `openclaw.json` on disk. A running gateway reloads it when it changes."""

import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog
from ocmt_common.atomic_files import replace_file

from ocmt_agent.runtime.base import RuntimeFailed

log = structlog.get_logger(__name__)

_MOST_BYTES = 1024 * 1024

ConfigChange = Callable[[dict[str, Any]], dict[str, Any]]
"""Returns a changed copy of a configuration. Raises `KeyError` or `TypeError` for a damaged one."""


@contextmanager
def translated_writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RuntimeFailed(
            f"The agent's configuration cannot be written: {error}. Free space on the disk; the "
            "same request works then."
        ) from error


def write_config(file: Path, config: dict[str, Any], *, mode: int, durable: bool) -> None:
    """Replace the file unless it has this content and mode already. Raises `OSError`."""
    write_text(file, json.dumps(config, indent=1), mode=mode, durable=durable)


def write_text(file: Path, text: str, *, mode: int, durable: bool) -> None:
    """Replace a small file unless it has this content and mode already. Raises `OSError`."""
    if _read(file) != text or stat.S_IMODE(file.lstat().st_mode) != mode:
        replace_file(file, text, mode=mode, durable=durable)


def change_config(file: Path, change: ConfigChange, *, mode: int, durable: bool) -> None:
    """Apply `change` to a configuration that may be in use.

    The rest stays, since the gateway may run with the settings of an earlier release. A missing or
    damaged file is left alone: it is written before the gateway's next start. Raises `OSError`.
    """
    text = _read(file)
    if text is None:
        return
    try:
        config = change(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        log.warning("a damaged configuration is written again at the next start", file=str(file))
        return
    write_config(file, config, mode=mode, durable=durable)


def _read(file: Path) -> str | None:
    """The file's text; `None` if it cannot be read, is too large or is not a regular file.

    With the process runtime, the agent can replace the file.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        seen = os.fstat(descriptor)
        if not stat.S_ISREG(seen.st_mode) or seen.st_size > _MOST_BYTES:
            return None
        return os.read(descriptor, _MOST_BYTES).decode(errors="replace")
    finally:
        os.close(descriptor)
