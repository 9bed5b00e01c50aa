"""The status since which nothing has changed, said without reading history."""

from pathlib import Path

from ocmt_sync.console import Session, emit, say
from ocmt_sync.errors import SyncError
from ocmt_sync.report import known_status
from ocmt_sync.status_text import status_lines


def say_known_status(folder: str, *, as_json: bool) -> bool:
    """Say it, or return False: the full command then reads, or says what is wrong."""
    here = Session(Path(folder).absolute(), None)
    try:
        report = known_status(*here.open(), now=here.clock())
    except (SyncError, OSError):
        return False
    if report is None:
        return False
    if as_json:
        emit(report)
    else:
        say(*status_lines(report))
    return True
