"""The Docker runtime: one hardened container per user, with Docker's or Podman's Engine API.

At least as strict as upstream's `openclaw fleet`: each container has its own uid, no capabilities,
no new privileges, a read-only root, limits, an init, a network without traffic between containers,
no published port and no engine socket. The tests in `tests/docker/security` try to break out.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiodocker
import structlog
from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError
from ocmt_common.agent_api import AgentModel
from ocmt_common.container_names import (
    HOLDS_LABEL,
    INSTANCE_LABEL,
    SPEC_LABEL,
    USER_LABEL,
    container_name,
    instance_id,
)

from ocmt_agent.runtime.accounts import Account, host_account
from ocmt_agent.runtime.base import (
    AgentSpec,
    ContainerStatus,
    Endpoint,
    Observed,
    RuntimeEvent,
    RuntimeFailed,
    RuntimeUnavailable,
    Whereabouts,
)
from ocmt_agent.runtime.docker_container import (
    CONFIG_MODE,
    STATE,
    config_file,
    container_config,
    prepare_folders,
)
from ocmt_agent.runtime.docker_cpu import ask_cpu_seconds, cpu_file, read_cpu_seconds
from ocmt_agent.runtime.docker_engine import (
    GONE,
    EngineConnection,
    already,
    delete,
    epoch_text,
    no_image,
    translated,
    version_of,
)
from ocmt_agent.runtime.docker_freezer import thaw
from ocmt_agent.runtime.docker_memory import whereabouts_of
from ocmt_agent.runtime.docker_network import NETWORK, bridge_address, ensure_network
from ocmt_agent.runtime.gateway_config_file import ConfigChange, change_config, translated_writing
from ocmt_agent.runtime.held_gateway import (
    empty,
    end_hold,
    is_held,
    move_state,
    open_below,
    place_hold,
    place_hold_still,
)
from ocmt_agent.runtime.removal import remove_folder
from ocmt_agent.runtime.spec import (
    GATEWAY_PORT,
    Limits,
    gateway_config,
    relay_urls,
    with_heartbeat,
    with_live_settings,
    with_model,
    with_tools_version,
)

log = structlog.get_logger(__name__)

_EVENTS = {"start": "start", "die": "die", "pause": "pause", "unpause": "unpause",
           "destroy": "remove"}  # fmt: skip
_CALL_TIMEOUT_S = 60
_REPLACE_GRACE_S = 10
_POLL_S = 0.05
_APPEARS_WITHIN_POLLS = 200
_HELD_WITHIN_S = 90.0
"""Most close their databases at once or within a minute; one whose index of memories is just being
made keeps that database open. OpenClaw tries for 300 s to get its lock."""
_LOOK_EVERY_S = 0.5


class DockerRuntime:
    """Implements `Runtime`. Labels on the containers identify the user and this data folder."""

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
        self._instance = instance_id(state_root)
        self._engine = EngineConnection(timeout_s=_CALL_TIMEOUT_S)
        self._ids: dict[str, str] = {}
        self._cpu_files: dict[str, Path] = {}
        self._whereabouts: dict[str, Whereabouts] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def relay_host(self) -> str:
        """RELAY_HOST if it is set, else the address of the agents' bridge on the host."""
        if self._relay_host is None:
            with translated():
                self._relay_host = await bridge_address(self._docker())
        return self._relay_host

    async def problems(self) -> list[str]:
        try:
            with translated():
                await self._image_id()
        except (RuntimeUnavailable, RuntimeFailed) as error:
            return [str(error)]
        return []

    async def openclaw_version(self) -> str:
        with translated():
            return version_of(self._image, await self._shown_image())

    async def create(self, spec: AgentSpec) -> None:
        account = self._account(spec)
        # The lock first: what is written last is then what was decided last.
        async with self._lock(spec.user_id):
            gateway = await self._gateway_config(spec)
            written = with_live_settings(gateway, spec)
            with translated():
                config = await self._config(spec, account, gateway)
                made = await self._is_made(spec.user_id, config)
                # At every start: what is damaged or missing there is this server's to mend.
                await asyncio.to_thread(prepare_folders, self.home(spec.user_id), account, written)
                await asyncio.to_thread(end_hold, self.home(spec.user_id))
                if not made:
                    await self._make(spec.user_id, config)

    async def is_current(self, spec: AgentSpec) -> bool:
        gateway = await self._gateway_config(spec)
        with translated():
            config = await self._config(spec, self._account(spec), gateway)
            existing = await self._find(spec.user_id)
        if existing is None:
            return False
        made_with: str | None = existing["Labels"].get(SPEC_LABEL)
        wanted: str = config["Labels"][SPEC_LABEL]
        return made_with == wanted

    async def _gateway_config(self, spec: AgentSpec) -> dict[str, Any]:
        relay = relay_urls(await self.relay_host(), self._relay_port)
        return gateway_config(relay, user_id=spec.user_id, bind="lan", port=GATEWAY_PORT)

    async def _config(
        self, spec: AgentSpec, account: Account, gateway: dict[str, Any]
    ) -> dict[str, Any]:
        network_id = await ensure_network(self._docker())
        image_id = await self._image_id()
        return container_config(
            spec,
            home=self.home(spec.user_id),
            image=self._image,
            # By id, since a recreated network of the same name has another.
            made_from=[image_id, network_id],
            instance=self._instance,
            account=account,
            limits=self._limits,
            gateway=gateway,
        )

    async def set_tools_version(self, user_id: str, version: int) -> None:
        await self._change_config(user_id, partial(with_tools_version, version=version))

    async def set_model(self, user_id: str, model: AgentModel) -> None:
        await self._change_config(user_id, partial(with_model, model=model))

    async def set_heartbeat(self, user_id: str, minutes: int | None) -> None:
        await self._change_config(user_id, partial(with_heartbeat, minutes=minutes))

    async def _change_config(self, user_id: str, change: ConfigChange) -> None:
        async with self._lock(user_id):
            with translated_writing():
                await asyncio.to_thread(
                    partial(change_config, mode=CONFIG_MODE, durable=True),
                    config_file(self.home(user_id)),
                    change,
                )

    def _account(self, spec: AgentSpec) -> Account:
        try:
            return host_account(spec.number)
        except ValueError as error:
            raise RuntimeFailed(
                f"The agent cannot get a uid of its own: {error}. Give this host more uids "
                "(LXC: `lxc.idmap`), or run the agent server on another host."
            ) from error

    async def _is_made(self, user_id: str, config: dict[str, Any]) -> bool:
        """Whether a container with this `config` exists; stops and removes an outdated one."""
        existing = await self._find(user_id)
        if existing is None:
            return False
        if existing["Labels"].get(SPEC_LABEL) == config["Labels"][SPEC_LABEL]:
            return True
        with already(*GONE):
            await self._end(self._handle(existing["Id"]), grace_s=_REPLACE_GRACE_S)
        await delete(self._handle(existing["Id"]))
        return False

    async def _make(self, user_id: str, config: dict[str, Any]) -> None:
        try:
            made = await self._docker().containers.create(config, name=self._name(user_id))
        except DockerError as error:
            if error.status != 409:
                raise
            # A call that this server cancelled may still have created it in the engine.
            if await self._appears(user_id) and await self._is_made(user_id, config):
                return
            raise RuntimeFailed(
                f"A container named {self._name(user_id)} exists that this server did not create. "
                f"Remove it with `docker rm -f {self._name(user_id)}`."
            ) from error
        self._ids[user_id] = made.id

    async def _appears(self, user_id: str) -> bool:
        """Wait up to 10 s until the engine lists a container whose name it reports as taken."""
        for _ in range(_APPEARS_WITHIN_POLLS):
            try:
                await self._docker().containers.get(self._name(user_id))
            except DockerError as error:
                if error.status != 404:
                    raise
                await asyncio.sleep(_POLL_S)
            else:
                return True
        return False

    async def _image_id(self) -> str:
        """The id of the image that has the configured name now. A boot uses a rebuilt image."""
        return str((await self._shown_image())["Id"])

    async def _shown_image(self) -> dict[str, Any]:
        try:
            return await self._docker().images.inspect(self._image)
        except DockerError as error:
            if error.status != 404:
                raise
            raise no_image(self._image) from error

    async def can_hold(self) -> bool:
        """Whether the image has the preloaded library that holds a gateway."""
        with translated():
            labels = (await self._shown_image())["Config"].get("Labels") or {}
        return HOLDS_LABEL in labels

    async def hold_gateway(self, user_id: str) -> None:
        home = self.home(user_id)
        with translated_writing():
            await asyncio.to_thread(place_hold, home)
        with translated():
            await (await self._container(user_id)).kill(signal="SIGUSR2")
        open_files: set[str] = set()
        try:
            async with asyncio.timeout(_HELD_WITHIN_S):
                while True:
                    open_files = await self._open_state(user_id)
                    if not open_files:
                        break
                    await asyncio.sleep(_LOOK_EVERY_S)
                with translated_writing():
                    await asyncio.to_thread(place_hold_still, home)
                await _until(partial(asyncio.to_thread, is_held, home), every_s=_POLL_S)
        except TimeoutError as error:
            raise RuntimeFailed(
                f"The gateway did not get ready to be held within {_HELD_WITHIN_S:g} s. Of its "
                f"state it had open: {', '.join(sorted(open_files)) or 'nothing'}."
            ) from error
        # Paused first: nothing is written any more.
        await self.pause(user_id)
        if open_files := await self._open_state(user_id):
            raise RuntimeFailed(f"The gateway opened again: {', '.join(sorted(open_files))}.")
        await asyncio.to_thread(empty, home)

    async def _open_state(self, user_id: str) -> set[str]:
        where = await self.whereabouts(user_id)
        if where is None:
            raise RuntimeFailed("The gateway's processes are not visible on this host.")
        try:
            return await asyncio.to_thread(open_below, STATE, where.pids())
        except OSError as error:
            raise RuntimeFailed(f"The gateway's open files cannot be read: {error}.") from error

    async def inherit(self, spec: AgentSpec, source: str) -> None:
        account = self._account(spec)
        async with self._lock(spec.user_id):
            written = with_live_settings(await self._gateway_config(spec), spec)
            home = self.home(spec.user_id)
            # First, so that a state also gets into a home that is damaged or missing.
            await asyncio.to_thread(prepare_folders, home, account, written)
            await asyncio.to_thread(move_state, self.home(source), home, account)
            with translated_writing():
                await asyncio.to_thread(end_hold, home)

    async def start(self, user_id: str) -> Endpoint:
        with translated():
            container = await self._container(user_id)
            await container.start()
            shown = await container.show()
        endpoint = _endpoint(shown["NetworkSettings"])
        if endpoint is None:
            raise RuntimeFailed("The container exited before it had an address; see its log.")
        return endpoint

    async def pause(self, user_id: str) -> None:
        with translated():
            container = await self._container(user_id)
            with already("is already paused"):
                await container.pause()

    async def unpause(self, user_id: str) -> None:
        with translated():
            await self._thaw(await self._container(user_id))

    async def stop(self, user_id: str, *, grace_s: float) -> None:
        with translated():
            await self._end(await self._container(user_id), grace_s=grace_s)

    async def _thaw(self, container: DockerContainer) -> None:
        """Unpause a container; thaw one that is frozen although Docker reports it as not paused."""
        try:
            await container.unpause()
        except DockerError as error:
            if not any(so in error.message for so in ("is not paused", "is not running")):
                raise
            state = (await container.show())["State"]
            if await asyncio.to_thread(thaw, container.id, state["Pid"]):
                log.warning("thawed a container that was not paused", container=container.id)

    async def _end(self, container: DockerContainer, *, grace_s: float) -> None:
        await self._thaw(container)
        await container.stop(t=int(grace_s), timeout=grace_s + _CALL_TIMEOUT_S)

    async def remove(self, user_id: str, *, with_state: bool) -> None:
        async with self._lock(user_id):
            with translated():
                existing = await self._find(user_id)
                if existing is not None:
                    with already(*GONE):
                        await self._thaw(self._handle(existing["Id"]))
                    await delete(self._handle(existing["Id"]))
            self._ids.pop(user_id, None)
            self._cpu_files.pop(user_id, None)
            if with_state:
                await asyncio.to_thread(remove_folder, self.home(user_id))

    async def inspect(self, user_id: str) -> Observed | None:
        with translated():
            shown = await self._show(user_id)
        if shown is None:
            return None
        return _observed(user_id, shown["State"], shown["NetworkSettings"])

    async def observe_all(self) -> dict[str, Observed]:
        with translated():
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
            with translated():
                existing = await self._find(user_id)
                if existing is None:
                    return None
                file = cpu_file(existing["Id"])
                if file is None:
                    return await ask_cpu_seconds(self._handle(existing["Id"]))
            self._cpu_files[user_id] = file
        try:
            return read_cpu_seconds(file)
        except OSError:
            self._cpu_files.pop(user_id, None)
            return None

    async def whereabouts(self, user_id: str) -> Whereabouts | None:
        known = self._whereabouts.get(user_id)
        if known is not None and known.leader.state() is not None:
            return known
        self._whereabouts.pop(user_id, None)
        with translated():
            shown = await self._show(user_id)
        if shown is None:
            return None
        found = whereabouts_of(shown["Id"], shown["State"].get("Pid", 0))
        if found is not None:
            self._whereabouts[user_id] = found
        return found

    async def logs(self, user_id: str, *, lines: int, this_start: bool = False) -> str:
        with translated():
            container = await self._container(user_id)
            since = "0"
            if this_start:
                since = epoch_text((await container.show())["State"]["StartedAt"])
            said = await container.log(stdout=True, stderr=True, tail=lines, since=since)
        return "".join(said)

    async def events(self) -> AsyncIterator[RuntimeEvent]:
        docker = self._docker()
        subscriber = docker.events.subscribe(create_task=False)  # type: ignore[no-untyped-call]
        with translated():
            pump = asyncio.create_task(
                docker.events.run(filters=json.dumps({"type": ["container"], **self._filters()}))
            )
            try:
                while True:
                    event = await subscriber.get()
                    if event is None:
                        await pump  # raises the error that ended the stream
                        raise RuntimeUnavailable(
                            "Docker ended its event stream. The server reconnects by itself."
                        )
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
        await self._engine.close()

    # -- finding containers ----------------------------------------------------------------------

    def _docker(self) -> aiodocker.Docker:
        return self._engine.docker()

    def _handle(self, container_id: str) -> DockerContainer:
        return self._docker().containers.container(container_id)

    async def _container(self, user_id: str) -> DockerContainer:
        known = self._ids.get(user_id)
        if known is None:
            existing = await self._find(user_id)
            if existing is None:
                raise RuntimeFailed("This agent has no container. Any request creates it again.")
            known = self._ids[user_id] = existing["Id"]
        return self._handle(known)

    async def _show(self, user_id: str) -> dict[str, Any] | None:
        """The engine's description of the user's container, or `None`.

        One call to the engine once the container's id is known.
        """
        known = self._ids.get(user_id)
        if known is not None:
            try:
                return await self._handle(known).show()
            except DockerError as error:
                if error.status != 404:
                    raise
        existing = await self._find(user_id)
        return None if existing is None else await self._handle(existing["Id"]).show()

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
        return container_name(self._instance, user_id)

    def home(self, user_id: str) -> Path:
        return self._root / user_id

    def uid(self, number: int) -> int | None:
        return host_account(number).uid if os.geteuid() == 0 else None

    def _lock(self, user_id: str) -> asyncio.Lock:
        return self._locks.setdefault(user_id, asyncio.Lock())


async def _until(is_so: Callable[[], Awaitable[bool]], *, every_s: float) -> None:
    while True:
        if await is_so():
            return
        await asyncio.sleep(every_s)


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
