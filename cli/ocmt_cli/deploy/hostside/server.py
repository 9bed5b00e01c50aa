"""The host's side of a deploy: locks, and steps requested as lines of JSON.

The locks are file locks of this process. It ends when its connection has ended and its step is
done, or after 15 minutes without requests. So no lock goes stale, however the deployer ends.
"""

import errno
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ocmt_common.file_lock import FileLock, try_lock

from ocmt_cli.deploy.hostside import journal, logs, restored_data, steps
from ocmt_cli.deploy.hostside.component import Component, StepFailed
from ocmt_cli.deploy.hostside.halting import halt
from ocmt_cli.deploy.hostside.installing import install

_SILENCE_S = 900

# Steps that change the host, which need the lock and are recorded in the journal.
_CHANGES: dict[str, Callable[..., Any]] = {
    "converge": steps.converge,
    "prepare": steps.prepare,
    "install": install,
    "migrate": steps.migrate,
    "start": steps.start,
    "switch": steps.switch,
    "settle": steps.settle,
    "intend_rollback": steps.intend_rollback,
    "finish_rollback": steps.finish_rollback,
    "confirm_rollback": steps.confirm_rollback,
    "freeze": steps.freeze,
    "unfreeze": steps.unfreeze,
    "halt": halt,
    "begin_restore": restored_data.begin_restore,
    "finish_restore": restored_data.finish_restore,
    "withdraw_restore": restored_data.withdraw_restore,
}
_READS: dict[str, Callable[..., Any]] = {
    "ping": lambda component: None,
    "facts": steps.facts,
    "status": steps.status,
    "health": steps.health,
    "releases": steps.releases,
    "logs": logs.logs,
    "journal": journal.journal,
}


def main() -> None:
    """Answer requests on standard input until it is closed."""
    locks: dict[Path, FileLock] = {}
    os.umask(0o022)
    while True:
        signal.alarm(_SILENCE_S)  # ends the process unless reset
        line = sys.stdin.buffer.readline()
        signal.alarm(0)
        if not line:
            return
        request = json.loads(line)
        try:
            answer = {"value": _answer(request, locks)}
        except StepFailed as failure:
            answer = {"failed": str(failure)}
        except OSError as error:
            answer = {"failed": _told(error)}
        except Exception:
            answer = {"failed": traceback.format_exc()}
        try:
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            return


def _told(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"the disk is full ({error.filename or 'a file of the release'}). Free some space on "
            "the host, or lower keep_releases; then run this again."
        )
    return f"{error.strerror}: {error.filename or ''}".rstrip(": ")


def _answer(request: dict[str, Any], locks: dict[Path, FileLock]) -> Any:
    step = request["step"]
    component = Component.from_json(request["component"])
    if step == "lock":
        return _lock(component, request["who"], locks)
    if step in _READS:
        return _READS[step](component, *request["words"])
    if component.path not in locks:
        raise StepFailed("this step needs the lock")
    component.note(step, words=request["words"], phase="begin")
    try:
        value = _CHANGES[step](component, *request["words"])
    except StepFailed as failure:
        component.note(step, words=request["words"], phase="failed", why=str(failure))
        raise
    component.note(step, words=request["words"], phase="done")
    return value


def _lock(component: Component, who: str, locks: dict[Path, FileLock]) -> str | None:
    """Take the component's lock. Returns its holder if another process has it, else `None`."""
    if component.path in locks:
        return None
    component.path.mkdir(parents=True, exist_ok=True)
    file = component.path / "deploy.lock"
    lock = try_lock(file)
    if lock is None:
        return file.read_text(encoding="utf-8").strip() or "another deployer"
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    file.write_text(f"{who}, since {since}", encoding="utf-8")  # replaced, it would not be locked
    locks[component.path] = lock
    component.note("lock", who=who)
    return None
