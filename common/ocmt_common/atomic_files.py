"""Replaces whole files atomically: a reader sees the old file or the new one, never a part.

Standard library only: the command sends it to hosts (`ocmt_cli.deploy.program`).
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO


def replace_file(
    path: Path, content: str | bytes, *, mode: int = 0o600, durable: bool = True
) -> None:
    """Replace `path` with a file with this content; text is encoded as UTF-8. Raises `OSError`.

    See `replacing_file` for `mode` and `durable`.
    """
    with replacing_file(path, mode=mode, durable=durable) as draft:
        draft.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing_file(path: Path, *, mode: int = 0o600, durable: bool = True) -> Iterator[IO[bytes]]:
    """Yield an empty draft beside `path`, which replaces `path` at the end of the block.

    If the block raises, the draft is removed and `path` is unchanged. A symbolic link at `path` is
    replaced, not followed. `durable` files survive a power cut, which takes two waits for the disk:
    pass `False` for a file that is useless after a reboot. Several threads and processes may
    replace one path concurrently; the last to end wins.
    """
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as draft:
        try:
            os.fchmod(draft.fileno(), mode)
            yield draft
            draft.flush()
            if durable:
                os.fsync(draft.fileno())
            Path(draft.name).replace(path)
        except BaseException:
            Path(draft.name).unlink(missing_ok=True)
            raise
    if durable:
        sync_folder(path.parent)


def remove_drafts(path: Path) -> None:
    """Remove drafts of `path` that killed processes left behind.

    Useful for large files. The caller ensures that nothing else is replacing `path`.
    """
    for one in path.parent.iterdir():
        if one.name.startswith(f".{path.name}."):
            one.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Wait until the folder's entries are on disk, so that a power cut does not undo a rename."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot
            raise
    finally:
        os.close(descriptor)
