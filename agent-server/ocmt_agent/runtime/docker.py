"""The Docker runtime: one hardened container a user, over the Engine API (Podman's works too).

At least as strict as upstream's own `openclaw fleet`: no capabilities, no new privileges, limits,
an init, a network without traffic between containers, no published port, no engine socket.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiodocker
import aiohttp
from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError

from ocmt_agent.runtime.base import (
    AgentSpec,
    ContainerStatus,
    Endpoint,
    Observed,
    RuntimeEvent,
    RuntimeFailed,
    RuntimeUnavailable,
)
from ocmt_agent.runtime.docker_network import NETWORK, bridge_address, ensure_network
from ocmt_agent.runtime.spec import (
    GATEWAY_PORT,
    Limits,
    fingerprint,
    gateway_config,
    gateway_environment,
    hostname_of,
    relay_urls,
)

USER_LABEL = "ocmt.user"
SPEC_LABEL = "ocmt.spec"
INSTANCE_LABEL = "ocmt.instance"
_UID = 1000  # `node`, in our image and in upstream's
_STATE = "/home/node/.openclaw"
_CONFIG = "/etc/openclaw/openclaw.json"
_EVENTS = {"start": "start", "die": "die", "pause": "pause", "unpause": "unpause",
           "destroy": "remove"}  # fmt: skip
_CALL_TIMEOUT_S = 60
# Measured: about 125 MB less than Node's defaults at the same boot time.
_NODE_OPTIONS = "--max-old-space-size=1024 --max-semi-space-size=8"


class DockerRuntime:
    """See `Runtime`. Containers are found by labels that name the user and this data folder."""

    name = "docker"
    notice: str | None = None

    def __init__(
        self,
        *,
        image: str,
        state_root: Path,
        limits: Limits,
        relay_host: str | None,
        relay_port: int,
    ) -> None:
        self._image = image
        self._root = state_root
        self._limits = limits
        self._relay_host = relay_host
        self._relay_port = relay_port
        self._instance = hashlib.sha256(str(state_root.resolve()).encode()).hexdigest()[:12]
        self._client: aiodocker.Docker | None = None
        self._ids: dict[str, str] = {}
        self._cpu_files: dict[str, Path] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def relay_host(self) -> str:
        """The bridge's address on the host: what a container reaches, and nobody outside it."""
        if self._relay_host is None:
            with _translated():
                self._relay_host = await bridge_address(self._docker())
        return self._relay_host

    async def problems(self) -> list[str]:
        try:
            with _translated():
                await self._image_id()
        except (RuntimeUnavailable, RuntimeFailed) as error:
            return [str(error)]
        return []

    async def create(self, spec: AgentSpec) -> None:
        relay = relay_urls(await self.relay_host(), self._relay_port)
        gateway = gateway_config(relay, bind="lan", port=GATEWAY_PORT)
        async with self._lock(spec.user_id):
            with _translated():
                await ensure_network(self._docker())
                image_id = await self._image_id()
                config = self._container_config(spec, image_id=image_id, gateway=gateway)
                existing = await self._find(spec.user_id)
                if existing is not None:
                    if existing["Labels"].get(SPEC_LABEL) == config["Labels"][SPEC_LABEL]:
                        return
                    await self._handle(existing["Id"]).delete(force=True, v=True)
                await asyncio.to_thread(self._prepare_folders, spec.user_id, gateway)
                await self._create(spec.user_id, config)

    async def _image_id(self) -> str:
        """Which image the name means now: a rebuilt one is taken up at the next cold start."""
        try:
            return str((await self._docker().images.inspect(self._image))["Id"])
        except DockerError as error:
            if error.status != 404:
                raise
            raise RuntimeFailed(_no_image(self._image)) from error

    async def _create(self, user_id: str, config: dict[str, Any]) -> None:
        try:
            made = await self._docker().containers.create(config, name=self._name(user_id))
        except DockerError as error:
            if error.status != 409:
                raise
            # The name is taken by a container that is not ours to find by labels: a leftover.
            raise RuntimeFailed(
                f"A container named {self._name(user_id)} exists that this server did not make. "
                "Remove it with `docker rm -f`."
            ) from error
        self._ids[user_id] = made.id

    async def start(self, user_id: str) -> Endpoint:
        with _translated():
            container = await self._container(user_id)
            try:
                await container.start()
            except DockerError as error:
                raise RuntimeFailed(f"The container does not start: {error.message}") from error
            shown = await container.show()
        endpoint = _endpoint(shown["NetworkSettings"])
        if endpoint is None:
            raise RuntimeFailed("The container ended before it had an address; see its log.")
        return endpoint

    async def pause(self, user_id: str) -> None:
        with _translated():
            container = await self._container(user_id)
            with _already("is already paused"):
                await container.pause()

    async def unpause(self, user_id: str) -> None:
        with _translated():
            container = await self._container(user_id)
            with _already("is not paused"):
                await container.unpause()

    async def stop(self, user_id: str, *, grace_s: float) -> None:
        with _translated():
            container = await self._container(user_id)
            with _already("is not paused", "is not running"):
                await container.unpause()
            await container.stop(t=int(grace_s), timeout=grace_s + _CALL_TIMEOUT_S)

    async def remove(self, user_id: str, *, with_state: bool) -> None:
        async with self._lock(user_id):
            with _translated():
                existing = await self._find(user_id)
                if existing is not None:
                    await self._handle(existing["Id"]).delete(force=True, v=True)
            self._ids.pop(user_id, None)
            self._cpu_files.pop(user_id, None)
            if with_state:
                # rmtree does not follow links an agent may have planted in its folder.
                await asyncio.to_thread(shutil.rmtree, self._home(user_id), ignore_errors=True)

    async def inspect(self, user_id: str) -> Observed | None:
        with _translated():
            existing = await self._find(user_id)
            if existing is None:
                return None
            shown = await self._handle(existing["Id"]).show()
        return _observed(user_id, shown["State"], shown["NetworkSettings"])

    async def observe_all(self) -> dict[str, Observed]:
        with _translated():
            listed = await self._docker().containers.list(
                all=True, filters=self._filters(), timeout=_CALL_TIMEOUT_S
            )
        found = {}
        for container in listed:
            row: dict[str, Any] = container._container
            user_id = row["Labels"][USER_LABEL]
            self._ids[user_id] = row["Id"]
            state = {"Status": row["State"]}
            found[user_id] = _observed(user_id, state, row["NetworkSettings"])
        return found

    async def cpu_seconds(self, user_id: str) -> float | None:
        file = self._cpu_files.get(user_id)
        if file is None:
            with _translated():
                existing = await self._find(user_id)
            if existing is None:
                return None
            file = _cpu_file(existing["Id"])
            if file is None:
                return None
            self._cpu_files[user_id] = file
        try:
            text = file.read_text()
        except OSError:
            self._cpu_files.pop(user_id, None)
            return None
        if file.name == "cpuacct.usage":
            return int(text) / 1e9
        return int(text.split("usage_usec ", 1)[1].split()[0]) / 1e6

    async def logs(self, user_id: str, *, lines: int) -> str:
        with _translated():
            container = await self._container(user_id)
            said = await container.log(stdout=True, stderr=True, tail=lines)
        return "".join(said)

    async def events(self) -> AsyncIterator[RuntimeEvent]:
        docker = self._docker()
        subscriber = docker.events.subscribe(create_task=False)  # type: ignore[no-untyped-call]
        with _translated():
            pump = asyncio.create_task(
                docker.events.run(filters=json.dumps({"type": ["container"], **self._filters()}))
            )
            try:
                while True:
                    event = await subscriber.get()
                    if event is None:
                        await pump  # raises what ended the stream
                        raise RuntimeUnavailable("Docker ended its event stream.")
                    kind = _EVENTS.get(event["Action"])
                    if kind is not None:
                        user_id = event["Actor"]["Attributes"][USER_LABEL]
                        if kind in ("remove", "start"):
                            self._cpu_files.pop(user_id, None)
                        yield RuntimeEvent(user_id, kind)
            finally:
                pump.cancel()
                await asyncio.gather(pump, return_exceptions=True)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    # -- how a container is made -----------------------------------------------------------------

    def _container_config(
        self, spec: AgentSpec, *, image_id: str, gateway: dict[str, Any]
    ) -> dict[str, Any]:
        home = self._home(spec.user_id)
        environment = gateway_environment(spec, state_dir=_STATE, config_path=_CONFIG) | {
            "HOME": _STATE,
            "NODE_OPTIONS": _NODE_OPTIONS,
        }
        config: dict[str, Any] = {
            "Image": self._image,
            "Entrypoint": [],
            "Cmd": [
                *("node", "openclaw.mjs", "gateway"),
                *("--bind", "lan", "--port", str(GATEWAY_PORT)),
            ],
            "Hostname": hostname_of(spec.user_id),
            "User": f"{_UID}:{_UID}",
            "Env": [f"{name}={value}" for name, value in sorted(environment.items())],
            "HostConfig": {
                "Init": True,
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges"],
                "PidsLimit": self._limits.pids,
                "NanoCpus": int(self._limits.cpus * 1e9),
                "Memory": self._limits.memory_mb * 1024 * 1024,
                # Without swap of its own a paused agent's memory could not leave.
                "MemorySwap": -1,
                "ReadonlyRootfs": True,
                "Tmpfs": {"/tmp": "rw,exec,nosuid,nodev,size=256m,mode=1777"},  # noqa: S108
                "NetworkMode": NETWORK,
                # We start it ourselves; the engine must not wake anybody after a reboot.
                "RestartPolicy": {"Name": "no"},
                "LogConfig": {"Type": "json-file", "Config": {"max-size": "5m", "max-file": "2"}},
                "Mounts": [
                    _bind(home / "state", _STATE, read_only=False),
                    _bind(home / "config", "/etc/openclaw", read_only=True),
                ],
            },
        }
        config["Labels"] = {
            USER_LABEL: spec.user_id,
            INSTANCE_LABEL: self._instance,
            SPEC_LABEL: fingerprint([config, gateway, image_id]),
        }
        return config

    def _prepare_folders(self, user_id: str, gateway: dict[str, Any]) -> None:
        """Make the user's folders. The agent writes in `state` only: nothing there is opened."""
        home = self._home(user_id)
        try:
            for folder, mode, owner in ((home, 0o711, -1), (home / "state", 0o700, _UID),
                                        (home / "config", 0o755, -1)):  # fmt: skip
                folder.mkdir(mode=mode, parents=True, exist_ok=True)
                folder.chmod(mode)
                if owner >= 0:
                    os.chown(folder, owner, owner, follow_symlinks=False)
            draft = home / "config" / ".openclaw.json.new"
            draft.write_text(json.dumps(gateway, indent=1))
            draft.replace(home / "config" / "openclaw.json")
        except OSError as error:
            raise RuntimeFailed(f"The agent's folders cannot be made: {error}.") from error

    # -- finding containers ----------------------------------------------------------------------

    def _docker(self) -> aiodocker.Docker:
        if self._client is None:
            try:
                self._client = aiodocker.Docker(
                    timeout=aiohttp.ClientTimeout(total=_CALL_TIMEOUT_S)
                )
            except (DockerError, ValueError) as error:
                raise _no_engine(str(error)) from error
        return self._client

    def _handle(self, container_id: str) -> DockerContainer:
        return self._docker().containers.container(container_id)

    async def _container(self, user_id: str) -> DockerContainer:
        known = self._ids.get(user_id)
        if known is None:
            existing = await self._find(user_id)
            if existing is None:
                raise RuntimeFailed("This agent has no container. Any request makes it again.")
            known = self._ids[user_id] = existing["Id"]
        return self._handle(known)

    async def _find(self, user_id: str) -> dict[str, Any] | None:
        listed = await self._docker().containers.list(
            all=True, filters=self._filters(user_id), timeout=_CALL_TIMEOUT_S
        )
        if not listed:
            self._ids.pop(user_id, None)
            return None
        row: dict[str, Any] = listed[0]._container
        self._ids[user_id] = row["Id"]
        return row

    def _filters(self, user_id: str | None = None) -> Any:
        labels = [f"{INSTANCE_LABEL}={self._instance}"]
        if user_id is not None:
            labels.append(f"{USER_LABEL}={user_id}")
        return {"label": labels}

    def _name(self, user_id: str) -> str:
        return f"ocmt-{self._instance}-{user_id}"

    def _home(self, user_id: str) -> Path:
        return self._root / user_id

    def _lock(self, user_id: str) -> asyncio.Lock:
        return self._locks.setdefault(user_id, asyncio.Lock())


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """The engine's errors in the runtime's words."""
    try:
        yield
    except DockerError as error:
        if error.status in (0, 900):  # aiodocker's own: no connection
            raise _no_engine(error.message) from error
        raise RuntimeFailed(f"Docker: {error.message}") from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise _no_engine(str(error) or type(error).__name__) from error


@contextlib.contextmanager
def _already(*messages: str) -> Iterator[None]:
    """Asking for what is already so is no error."""
    try:
        yield
    except DockerError as error:
        if not any(message in error.message for message in messages):
            raise


def _no_engine(reason: str) -> RuntimeUnavailable:
    return RuntimeUnavailable(
        f"Docker does not answer ({reason}). Start it (`systemctl start docker`) and see that this "
        "server's user may use its socket; nothing here needs a restart."
    )


def _no_image(image: str) -> str:
    return f"The image {image} is not on this host: make it with `ocmt image build`."


def _bind(source: Path, target: str, *, read_only: bool) -> dict[str, Any]:
    return {"Type": "bind", "Source": str(source), "Target": target, "ReadOnly": read_only}


def _observed(user_id: str, state: dict[str, Any], network: dict[str, Any]) -> Observed:
    status = {
        "running": ContainerStatus.RUNNING,
        "restarting": ContainerStatus.RUNNING,
        "paused": ContainerStatus.PAUSED,
    }.get(state["Status"], ContainerStatus.EXITED)
    return Observed(
        user_id,
        status,
        _endpoint(network),
        exit_code=state.get("ExitCode") if status is ContainerStatus.EXITED else None,
        oom_killed=bool(state.get("OOMKilled")),
    )


def _endpoint(network: dict[str, Any]) -> Endpoint | None:
    address = (network.get("Networks") or {}).get(NETWORK, {}).get("IPAddress")
    return Endpoint(address, GATEWAY_PORT) if address else None


def _cpu_file(container_id: str) -> Path | None:
    root = Path("/sys/fs/cgroup")
    for file in (
        root / "cpuacct" / "docker" / container_id / "cpuacct.usage",
        root / "cpuacct" / "system.slice" / f"docker-{container_id}.scope" / "cpuacct.usage",
        root / "docker" / container_id / "cpu.stat",
        root / "system.slice" / f"docker-{container_id}.scope" / "cpu.stat",
    ):
        if file.exists():
            return file
    return None
