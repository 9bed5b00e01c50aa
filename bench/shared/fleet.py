"""Upstream's `openclaw fleet` with always-on cells, from the installed npm package."""

import asyncio
import os
import tempfile
from types import TracebackType

from ocmt_cli.node import node_binary
from ocmt_common.openclaw import default_image

from shared.agents import ROOT

_PROGRAM = ROOT / "data" / "openclaw" / "node_modules" / "openclaw" / "openclaw.mjs"


class FleetRefused(Exception):
    """`openclaw fleet` failed. `str()` is its output."""


class Fleet:
    """A fleet in a temporary home folder; its cells are removed at the end."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._cells: list[str] = []
        self._home = tempfile.TemporaryDirectory(prefix="ocmt-bench-fleet-")

    async def __aenter__(self) -> "Fleet":
        if not _PROGRAM.exists():
            raise FleetRefused("OpenClaw is not installed in data/openclaw. Run `ocmt up` once.")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for cell in self._cells:
            await self._run("rm", cell, "--force", "--purge-data", check=False)
        self._home.cleanup()

    async def create(self, cell: str) -> None:
        """Create a cell, and wait until its gateway answers `/healthz`."""
        self._cells.append(cell)
        port = str(self._port + len(self._cells))
        await self._run("create", cell, "--image", default_image(), "--port", port, "--json")

    async def _run(self, *words: str, check: bool = True) -> str:
        home = self._home.name
        child = await asyncio.create_subprocess_exec(
            str(node_binary()),
            str(_PROGRAM),
            "fleet",
            *words,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            stdin=asyncio.subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "HOME": home, "OPENCLAW_STATE_DIR": f"{home}/state"},
        )
        said = (await child.communicate())[0].decode()
        if check and child.returncode != 0:
            raise FleetRefused(said.strip()[-500:])
        return said
