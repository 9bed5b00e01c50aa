"""Installs each package only once, even if several users need it at the same time."""

import asyncio

from ocmt_agent.tool_servers.containers import Package, ToolContainers


class Packages:
    def __init__(self, containers: ToolContainers) -> None:
        self._containers = containers
        self._installing: dict[Package, asyncio.Task[None]] = {}
        self._turn = asyncio.Lock()
        """One installation at a time, since each uses a core and the disk."""

    def is_installing(self, package: Package) -> bool:
        return package in self._installing

    async def ensure(self, package: Package) -> None:
        """Return once the package is installed. A cancelled caller does not end the installation.

        Raises `PackageRefused`, `RuntimeUnavailable` or `RuntimeFailed`.
        """
        task = self._installing.get(package)
        if task is None:
            if await self._containers.is_installed(package):
                return
            task = self._installing.get(package) or self._start(package)
        await asyncio.shield(task)

    def _start(self, package: Package) -> asyncio.Task[None]:
        task = self._installing[package] = asyncio.create_task(self._install(package))
        task.add_done_callback(lambda done: self._done(package, done))
        return task

    async def _install(self, package: Package) -> None:
        async with self._turn:
            if not await self._containers.is_installed(package):
                await self._containers.install(package)

    def _done(self, package: Package, task: asyncio.Task[None]) -> None:
        self._installing.pop(package, None)
        if not task.cancelled():
            task.exception()  # its callers, if any are left, raise it

    async def close(self) -> None:
        tasks = list(self._installing.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
