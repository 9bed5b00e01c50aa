"""A Docker Engine with one container, whose range of API versions is set by the test.

It stands in for engines that this machine lacks: older, newer and busy ones. Its errors have the
real engine's texts.
"""

import json
import re
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web

_VERSIONED = re.compile(r"/v(\d+\.\d+)(/.*)")
Answer = tuple[int, str]


class ScriptedEngine:
    """A context manager that serves `path`. Its attributes set the next answers."""

    def __init__(self, path: Path, *, newest: str, oldest: str, container: str = "c1") -> None:
        self.newest = newest
        self.oldest = oldest
        self.labels: dict[str, str] = {}
        self.gone = False
        self.deletions: list[Answer] = []
        """Answers to the next DELETE calls; then 204."""
        self.other: dict[str, Answer] = {}
        """End of a path → answer in place of 204."""
        self.asked: list[str] = []
        self._container = container
        self._path = path

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self._path)).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append(f"{request.method} {request.path_qs}")
        if request.path == "/version":
            return web.json_response({"ApiVersion": self.newest, "Version": "test"})
        found = _VERSIONED.fullmatch(request.path)
        path = found[2] if found else request.path
        if found and (refusal := self._refused(found[1])):
            return _said(400, refusal)
        scripted = next((self.other[end] for end in self.other if path.endswith(end)), None)
        if scripted is not None:
            return _said(*scripted)
        if path == "/containers/json":
            row = {"Id": self._container, "Labels": self.labels, "State": "running",
                   "NetworkSettings": {"Networks": {}}}  # fmt: skip
            return web.json_response([] if self.gone else [row])
        if self.gone:
            return _said(404, f"No such container: {self._container}")
        return self._of_the_container(request.method, path)

    def _of_the_container(self, method: str, path: str) -> web.Response:
        if method == "DELETE":
            status, message = self.deletions.pop(0) if self.deletions else (204, "")
            self.gone = not self.deletions and status in (204, 404)
            return _said(status, message)
        if path.endswith("/json"):
            shown = {
                "Id": self._container,
                "State": {"Status": "running", "Pid": 0, "StartedAt": "2026-11-29T12:00:00.5Z"},
                "Config": {"Tty": False},
                "NetworkSettings": {"Networks": {}},
            }
            return web.json_response(shown)
        if path.endswith("/logs"):
            return web.Response(headers={"Content-Type": "application/octet-stream"})
        return _said(204, "")

    def _refused(self, version: str) -> str:
        asked, oldest, newest = map(_number, (version, self.oldest, self.newest))
        if asked < oldest:
            return (
                f"client version {version} is too old. Minimum supported API version is "
                f"{self.oldest}, please upgrade your client to a newer version"
            )
        if asked > newest:
            return (
                f"client version {version} is too new. Maximum supported API version is "
                f"{self.newest}"
            )
        return ""


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _said(status: int, message: str) -> web.Response:
    if status == 204:
        return web.Response(status=204)
    return web.Response(
        status=status, text=json.dumps({"message": message}), content_type="application/json"
    )
