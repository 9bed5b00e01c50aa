"""Management processes that refresh a token, and are killed by SIGKILL at a chosen line of it.

`python -m ocmt_testing.management.killed_refresh` reads the settings as one line of JSON, then one
job a line, and answers each with one line: how the process ended, with the traceback of what it
raised. Each job is a fork with the whole management server in it but its socket, so that the
imports are paid for once.

A job's `at` is the number of a line among those that run between the beginning of the refresh and
its end, in the files of `TRACED`; or a text that the source line has, for a named point; or `null`
for none.
"""

import asyncio
import json
import linecache
import os
import signal
import sys
import traceback
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

from ocmt_common.settings import load
from ocmt_management import db
from ocmt_management.app import create_app
from ocmt_management.integrations import (
    oauth_http,
    refresher,
    repository,
    stored_tokens,
)
from ocmt_management.settings import ManagementSettings

TRACED = frozenset(
    str(module.__file__) for module in (db, oauth_http, refresher, repository, stored_tokens)
)
_FIRST = ("refresher.py", "_refresh")


class Killer:
    """A trace function: counts the lines of the task that refreshes, and kills at one."""

    def __init__(self, at: int | str | None) -> None:
        self.lines = 0
        self._at = at
        self._task: asyncio.Task[Any] | None = None

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        if code.co_filename not in TRACED:
            return None
        if (Path(code.co_filename).name, code.co_name) == _FIRST:
            self._task = asyncio.current_task()
        return self._line if self._task is not None else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line" and asyncio.current_task() is self._task:
            self.lines += 1
            if self._is_here(frame):
                os.kill(os.getpid(), signal.SIGKILL)
        return self._line

    def _is_here(self, frame: FrameType) -> bool:
        if isinstance(self._at, int):
            return self.lines == self._at
        if self._at is None:
            return False
        return self._at in linecache.getline(frame.f_code.co_filename, frame.f_lineno)


async def _refresh(settings: ManagementSettings, job: dict[str, Any]) -> int:
    killer = Killer(job["at"])
    now = datetime.fromisoformat(job["now"])
    app = create_app(settings, clock=lambda: now)
    async with app.router.lifespan_context(app):
        sys.settrace(killer)
        await app.state.integrations.access(job["user_id"], job["connection_id"])
        sys.settrace(None)
    return killer.lines


def main() -> None:
    environ = json.loads(sys.stdin.readline())
    for line in sys.stdin:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # its log
            code, told = 1, ""
            try:
                settings = load(ManagementSettings, environ=environ)
                told = str(asyncio.run(_refresh(settings, json.loads(line))))
                code = 0
            except BaseException:
                told = traceback.format_exc()
            finally:
                with suppress(BaseException), os.fdopen(writing, "w") as answer:
                    answer.write(told)
                os._exit(code)
        os.close(writing)
        with os.fdopen(reading) as said:
            told = said.read()
        _, status = os.waitpid(child, 0)
        print(json.dumps(_ended(status, told)), flush=True)


def _ended(status: int, told: str) -> dict[str, Any]:
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    whole = os.waitstatus_to_exitcode(status) == 0
    return {
        "killed": killed,
        "lines": int(told) if whole else None,
        "error": None if whole or killed else told or f"wait status {status}",
    }


if __name__ == "__main__":
    main()
