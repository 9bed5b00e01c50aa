"""Runs tool servers in containers, with the Docker Engine's API."""

import asyncio
import contextlib
import hashlib
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import structlog
from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError
from aiodocker.stream import Stream
from ocmt_common.atomic_files import replace_file
from ocmt_common.container_names import TOOLS_LABEL, instance_id

from ocmt_agent.runtime.accounts import INSTALLER, Account, host_account, host_tools_account
from ocmt_agent.runtime.base import RuntimeFailed, RuntimeUnavailable
from ocmt_agent.runtime.docker_engine import EngineConnection, delete, no_image, translated
from ocmt_agent.runtime.docker_network import ensure_tools_network
from ocmt_agent.runtime.removal import remove_folder
from ocmt_agent.tool_servers.container_config import install_container, tool_container
from ocmt_agent.tool_servers.containers import Launch, Package, PackageRefused
from ocmt_agent.tool_servers.installation import WITHIN_S, why_not_installed
from ocmt_agent.tool_servers.stdio_session import Exit, Output, StdioProcess

log = structlog.get_logger(__name__)

_CALL_TIMEOUT_S = 60
_EXIT_WITHIN_S = 2.0
_OUTPUT_LINES = 40
_UNUSED_FOR_S = 30 * 24 * 3600
_DRAFT = "."
_AUTHORITIES = (
    Path("/etc/ssl/certs/ca-certificates.crt"),  # Debian
    Path("/etc/pki/tls/certs/ca-bundle.crt"),  # Fedora
)


class DockerToolContainers:
    """Implements `ToolContainers`. Packages are folders below `root`, named by their hash.

    A package is installed in a draft folder beside them, which is renamed when complete.
    """

    def __init__(self, *, image: str, agents: Path, root: Path) -> None:
        self._image = image
        self._instance = instance_id(agents)
        self._root = root
        self._engine = EngineConnection(timeout_s=_CALL_TIMEOUT_S)
        self._live: dict[str, Package] = {}
        """Container name → package, of containers that are in use or being created."""
        self._drafts: set[Path] = set()

    async def is_installed(self, package: Package) -> bool:
        return await asyncio.to_thread(self._folder(package).is_dir)

    async def install(self, package: Package) -> None:
        draft = self._root / f"{_DRAFT}{secrets.token_hex(8)}"
        self._drafts.add(draft)
        account = _account(host_account, INSTALLER)
        try:
            with _on_disk():
                await asyncio.to_thread(_make_draft, draft, account)
            exit_code, output = await self._run_installer(package, draft, account)
            if exit_code != 0:
                log.warning("package not installed", package=str(package), exit_code=exit_code)
                raise PackageRefused(why_not_installed(package, exit_code=exit_code, output=output))
            with _on_disk():
                await asyncio.to_thread(draft.rename, self._folder(package))
        finally:
            self._drafts.discard(draft)
            with contextlib.suppress(RuntimeFailed):  # it is tried again
                await asyncio.shield(asyncio.to_thread(remove_folder, draft))

    async def _run_installer(
        self, package: Package, target: Path, account: Account
    ) -> tuple[int | None, str]:
        """Install a package. Returns the exit code and the last lines of output.

        The exit code is `None` if the installation took over `WITHIN_S` seconds.
        """
        config = install_container(
            package,
            image=self._image,
            instance=self._instance,
            account=account,
            target=target,
            authorities=next((file for file in _AUTHORITIES if file.is_file()), None),
        )
        with translated():
            async with self._made(config, package) as (container, _):
                await container.start()
                try:
                    ended = await container.wait(timeout=WITHIN_S)
                except TimeoutError:
                    return None, ""
                said = await container.log(stdout=True, stderr=True, tail=_OUTPUT_LINES)
                return int(ended["StatusCode"]), "".join(said)

    async def start(self, launch: Launch) -> StdioProcess:
        account = _account(host_tools_account, launch.number)
        package = self._folder(launch.package)
        accounts = self._root / f"{_DRAFT}accounts" / str(account.uid)
        with _on_disk():
            await asyncio.to_thread(_prepare, package, accounts, account)
        config = tool_container(
            launch,
            image=self._image,
            instance=self._instance,
            account=account,
            package=package,
            accounts=accounts,
        )
        async with contextlib.AsyncExitStack() as stack:
            with translated():
                container, name = await stack.enter_async_context(
                    self._made(config, launch.package)
                )
                # Attach before the start, so that no output is missed.
                stream = container.attach(stdin=True, stdout=True, stderr=True)
                await stream.__aenter__()
                stack.push_async_callback(_close, stream)
                await container.start()
            return _ContainerProcess(name, stream, container, stack.pop_all())

    @contextlib.asynccontextmanager
    async def _made(
        self, config: dict[str, Any], package: Package
    ) -> AsyncIterator[tuple[DockerContainer, str]]:
        """Create a container for the block. `remove_leftovers` repeats a failed removal."""
        name = f"ocmt-{self._instance}-tool-{secrets.token_hex(6)}"
        self._live[name] = package
        docker = self._engine.docker()
        try:
            await ensure_tools_network(docker)
            try:
                container = await docker.containers.create(config, name=name)
            except DockerError as error:
                if error.status == 404 and "image" in error.message.lower():
                    raise no_image(self._image) from error
                raise
            yield container, name
        finally:
            await asyncio.shield(self._remove(name))

    async def _remove(self, name: str) -> None:
        try:
            with translated():
                await delete(self._engine.docker().containers.container(name))
        except (RuntimeFailed, RuntimeUnavailable) as error:
            log.warning("removing a tool server's container", container=name, reason=str(error))
        finally:
            self._live.pop(name, None)

    async def remove_leftovers(self) -> None:
        with translated():
            listed = await self._engine.docker().containers.list(
                all=True, filters={"label": [f"{TOOLS_LABEL}={self._instance}"]}
            )
            for container in listed:
                row: dict[str, Any] = container._container
                if not any(name.removeprefix("/") in self._live for name in row["Names"]):
                    await delete(container)
        used = {self._folder(package) for package in self._live.values()}
        await asyncio.to_thread(_remove_unused, self._root, used | self._drafts)

    def _folder(self, package: Package) -> Path:
        named = f"{package} {package.integrity}"
        return self._root / hashlib.sha256(named.encode()).hexdigest()[:32]

    async def close(self) -> None:
        await self._engine.close()


class _ContainerProcess:
    """Implements `StdioProcess`."""

    def __init__(
        self,
        name: str,
        stream: Stream,
        container: DockerContainer,
        resources: contextlib.AsyncExitStack,
    ) -> None:
        self._name = name
        self._stream = stream
        self._container = container
        self._resources = resources
        self._output_ended = False
        self._ended: asyncio.Task[Exit] | None = None

    async def read(self) -> Output | None:
        message = await self._stream.read_out()
        if message is None:
            self._output_ended = True
            return None
        return ("stderr" if message.stream == 2 else "stdout"), message.data

    async def write(self, data: bytes) -> None:
        await self._stream.write_in(data)

    async def end(self) -> Exit:
        if self._ended is None:
            self._ended = asyncio.create_task(self._end())
        return await asyncio.shield(self._ended)

    async def _end(self) -> Exit:
        async with self._resources:
            if not self._output_ended:
                return Exit(None)
            try:
                with translated():
                    return await self._exit()
            except (RuntimeFailed, RuntimeUnavailable) as error:
                log.warning("a tool server's end", container=self._name, reason=str(error))
                return Exit(None)

    async def _exit(self) -> Exit:
        try:
            await self._container.wait(timeout=_EXIT_WITHIN_S)
        except TimeoutError:
            return Exit(None)  # it only closed its output
        state = (await self._container.show())["State"]
        return Exit(int(state["ExitCode"]), out_of_memory=bool(state.get("OOMKilled")))


async def _close(stream: Stream) -> None:
    with contextlib.suppress(AssertionError):  # aiodocker's, for a connection that is gone
        await stream.close()


def _account(of: Callable[[int], Account], number: int) -> Account:
    try:
        return of(number)
    except ValueError as error:
        raise RuntimeFailed(
            f"The tool server cannot get a uid of its own: {error}. Give this host more uids "
            "(LXC: `lxc.idmap`), or run the agent server on another."
        ) from error


@contextlib.contextmanager
def _on_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RuntimeFailed(
            f"The tool server's files cannot be written: {error}. Free space on the disk; the same "
            "call works then."
        ) from error


def _make_draft(draft: Path, account: Account) -> None:
    draft.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    draft.mkdir(mode=0o755)
    if os.geteuid() == 0:
        os.chown(draft, account.uid, account.gid)


def _prepare(package: Path, accounts: Path, account: Account) -> None:
    os.utime(package)  # when it was last used
    if not accounts.is_dir():
        accounts.mkdir(mode=0o755, parents=True)
    for name, text in (("passwd", account.passwd("/tmp")), ("group", account.group())):  # noqa: S108
        file = accounts / name
        if not file.exists():
            replace_file(file, text, mode=0o644)


def _remove_unused(root: Path, used: set[Path]) -> None:
    """Remove drafts of a killed server, and packages unused for `_UNUSED_FOR_S`."""
    if not root.is_dir():
        return
    for folder in root.iterdir():
        if folder in used or folder.name == f"{_DRAFT}accounts":
            continue
        unused_s = time.time() - folder.lstat().st_mtime
        if folder.name.startswith(_DRAFT) or unused_s > _UNUSED_FOR_S:
            remove_folder(folder)
