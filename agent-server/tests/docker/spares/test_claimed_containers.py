"""Agents made beforehand with Docker: a claimed container is like any other from then on.

A whole agent server on the real engine. A stand-in answers in the place of OpenClaw, which
`integration/spares/test_a_claimed_agent.py` boots.
"""

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import aiodocker
import pytest
from ocmt_agent.api.dependencies import Parts
from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.records.agent import Agent
from ocmt_agent.runtime.accounts import host_account
from ocmt_agent.runtime.base import ContainerStatus
from ocmt_agent.runtime.cgroup import CGROUP_ROOT
from ocmt_agent.runtime.docker import DockerRuntime
from ocmt_agent.runtime.spec import hostname_of
from ocmt_cli.backup.hostside.dump import AGENT
from ocmt_cli.up.data_folder import DataFolder
from ocmt_cli.upgrade.agents import agents_by_version
from ocmt_common.agent_api import HibernationState as S
from ocmt_common.agent_api import ProvisionRequest
from ocmt_common.container_names import INSTANCE_LABEL, SPEC_LABEL, USER_LABEL
from ocmt_common.openclaw import default_image
from ocmt_common.problems import Problem
from ocmt_testing.agent_server.container_stand_in import LOGGED
from ocmt_testing.agent_server.docker_agents import runtime_on
from ocmt_testing.agent_server.stand_in_server import made_beforehand, server_on

_ATTEMPTS = 10
_LIMITS = (
    *("memory.max", "memory.swap.max", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
    *("memory.swappiness", "pids.max", "cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us"),
    *("cpu.shares", "cpu.weight", "cpuset.cpus", "freezer.state", "cgroup.freeze"),
)
USUAL = "usual-user"
"""A user with a container of the usual kind; the id is in no other text."""
VERSION_LABEL = "org.opencontainers.image.version"
_RIGHTS = (
    "Uid",
    "Gid",
    "Groups",
    "NoNewPrivs",
    "Seccomp",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
)


async def pause(parts: Parts, user_id: str) -> None:
    """Retry a freeze that failed, as above."""
    for _ in range(_ATTEMPTS):
        try:
            await parts.hibernation.orders.hibernate(user_id, "pause")
        except Problem as problem:
            if problem.code != "agent-busy":
                raise
        else:
            return
    raise AssertionError("it could not be frozen")


async def provision(parts: Parts, user_id: str) -> Agent:
    token = f"agent-token-0123456789-{user_id}"
    request = ProvisionRequest(user_id=user_id, agent_token=token)
    return (await parts.provisioning.provision(request))[0]


async def use(parts: Parts, user_id: str) -> None:
    """Wake the agent; its gateway answers to the agent's own token only."""
    await parts.hibernation.wakes.awake(user_id, kind=ActivityKind.HTTP)
    assert parts.registry.get(user_id).state is S.RUNNING


async def shown(runtime: DockerRuntime, home: str) -> dict[str, Any]:
    async with aiodocker.Docker() as engine:
        return dict(await (await engine.containers.get(runtime._name(home))).show())


def settings_of(container: dict[str, Any], agent: Agent, home: Path) -> object:
    """All settings of a container, with its own names and tokens replaced by what they are."""
    uid = host_account(agent.number).uid
    own = {
        str(home): "<folder>",
        hostname_of(home.name): "<host name>",
        f"{uid}:{uid}": "<uid>",
        str(agent.gateway_token): "<gateway token>",
        str(agent.spec().agent_token): "<agent token>",
        container["Config"]["Labels"][SPEC_LABEL]: "<fingerprint>",
        f'"{home.name}"': '"<home>"',
    }
    names = ("Config", "HostConfig", "Mounts", "Path", "Args", "AppArmorProfile", "Driver", "Image")
    text = json.dumps({name: container[name] for name in names})
    for value, name in own.items():
        assert value in text, name
        text = text.replace(value, name)
    settings = json.loads(text)
    settings["Mounts"].sort(key=lambda mount: mount["Destination"])
    networks = container["NetworkSettings"]["Networks"]
    return settings | {"networks": {name: one["NetworkID"] for name, one in networks.items()}}


def cgroup_limits(pid: int) -> dict[str, str]:
    found = {}
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            for name in _LIMITS:
                file = CGROUP_ROOT / controller / path.lstrip("/") / name
                if file.exists():
                    found[f"{controller}/{name}"] = file.read_text().strip()
    return found


def rights(pid: int, uid: int) -> dict[str, str]:
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    limits = {"limits": Path(f"/proc/{pid}/limits").read_text()}
    score = {"oom": Path(f"/proc/{pid}/oom_score_adj").read_text()}
    own = {name: status[name].replace(str(uid), "own") for name in _RIGHTS}
    return own | limits | score


def folder_of(home: Path, uid: int) -> dict[str, tuple[str, str]]:
    """Path → its mode and its owner."""

    def row(one: Path) -> tuple[str, str]:
        seen = one.lstat()
        return oct(seen.st_mode), "own" if seen.st_uid == uid else str(seen.st_uid)

    return {str(one.relative_to(home)): row(one) for one in (home, *home.rglob("*"))}


def homes_in(root: Path) -> list[str]:
    return [one.name for one in root.iterdir() if not one.name.startswith(".")]


def config_of(home: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((home / "config" / "openclaw.json").read_text())
    del config["plugins"]["entries"]["memory-core"]  # the minute of its nightly job
    return config


async def test_a_claimed_container_has_all_that_another_has(
    runtime: DockerRuntime, root: Path
) -> None:
    async with server_on(root, runtime) as parts:
        home = await made_beforehand(parts)
        spare = await shown(runtime, home)
        assert spare["State"]["Status"] == "paused"
        ada = await provision(parts, "ada")
        usual_agent = await provision(parts, USUAL)
        claimed, usual = await shown(runtime, home), await shown(runtime, USUAL)

        assert claimed["Id"] == spare["Id"]
        assert claimed["State"]["StartedAt"] == spare["State"]["StartedAt"], "it was booted"
        assert claimed["State"]["Status"] == usual["State"]["Status"] == "running"
        assert settings_of(claimed, ada, root / home) == settings_of(
            usual, usual_agent, root / USUAL
        )
        assert claimed["Name"] == f"/{runtime._name(home)}"
        labels = claimed["Config"]["Labels"]
        assert labels[USER_LABEL] == home
        assert labels[INSTANCE_LABEL] == usual["Config"]["Labels"][INSTANCE_LABEL]
        host_name = claimed["Config"]["Hostname"]
        assert "." not in host_name, "a dot would make it a domain"

        processes = {}
        for agent in (ada, usual_agent):
            where = await parts.runtime.whereabouts(agent.user_id)
            assert where is not None
            pids = sorted(where.pids())
            uid = host_account(agent.number).uid
            processes[agent.user_id] = [(cgroup_limits(pid), rights(pid, uid)) for pid in pids]
        assert processes["ada"] == processes[USUAL]
        limits = processes["ada"][0][0]
        assert str(2048 * 1024 * 1024) in limits.values()
        assert len(limits) >= 5

        uids = [host_account(agent.number).uid for agent in (ada, usual_agent)]
        assert uids[0] != uids[1]
        assert folder_of(root / home, uids[0]) == folder_of(root / USUAL, uids[1])
        assert config_of(root / home) == config_of(root / USUAL)
        assert LOGGED in await parts.provisioning.logs("ada", lines=10)
        for user in ("ada", USUAL):
            await use(parts, user)


async def test_a_claimed_agent_is_treated_as_any_other(runtime: DockerRuntime, root: Path) -> None:
    async with server_on(root, runtime) as parts:
        home = await made_beforehand(parts)
        await provision(parts, "ada")
        made = (await shown(runtime, home))["Id"]
        orders = parts.hibernation.orders

        await orders.restart("ada")
        await orders.hibernate("ada", "stop")
        assert (await shown(runtime, home))["State"]["Status"] == "exited"
        await use(parts, "ada")
        await pause(parts, "ada")
        seen = await shown(runtime, home)
        assert (seen["Id"], seen["State"]["Status"]) == (made, "paused")
        assert await parts.runtime.cpu_seconds("ada") is not None

    again = runtime_on(root)
    try:
        async with server_on(root, again) as parts:
            assert parts.registry.get("ada").state is S.PAUSED
            found = await parts.runtime.observe_all()
            assert {user: one.status for user, one in found.items()} == {
                "ada": ContainerStatus.PAUSED
            }
            await use(parts, "ada")
            assert (await shown(again, home))["State"]["StartedAt"] == seen["State"]["StartedAt"]

            # What the command finds: its container, and its folder in a backup.
            assert agents_by_version(DataFolder(root.parents[1])) == {
                default_image().rpartition(":")[2]: 1
            }
            assert homes_in(root) == [home]
            assert AGENT.fullmatch(home)

            # Its container is killed, and then removed, behind the server's back.
            async with aiodocker.Docker() as engine:
                container = await engine.containers.get(again._name(home))
                await container.kill(signal="SIGKILL")
                await container.wait()
                await parts.hibernation.loop.sweep()
                assert parts.registry.get("ada").state is S.STOPPED
                await use(parts, "ada")
                await container.delete(force=True)
            await parts.hibernation.loop.sweep()
            await use(parts, "ada")
            assert (await shown(again, home))["Id"] != made

            await parts.provisioning.remove("ada", with_state=False)
            assert await again.observe_all() == {}
            assert (root / home).is_dir()
            await provision(parts, "ada")
            assert (await shown(again, home))["State"]["Status"] == "running"
            await parts.provisioning.remove("ada", with_state=True)
            assert await again.observe_all() == {}
            assert homes_in(root) == []
            await provision(parts, "ada")
            assert list(await again.observe_all()) == ["ada"], "a removed home came back"
    finally:
        await again.close()


class Image:
    """An image of the test's own, which is built again under the same name."""

    def __init__(self) -> None:
        self._repository = f"ocmt-test-spares-{os.getpid()}/openclaw"
        self.name = f"{self._repository}:2026.9.6"
        self._ids: list[str] = []

    async def build(self, *labels: str) -> None:
        """Give the name to another image, which differs in its labels."""
        async with aiodocker.Docker() as engine:
            draft = await engine.containers.create({"Image": default_image()})
            made = await draft.commit(
                repository=self._repository,
                tag=self.name.rpartition(":")[2],
                changes=[f"LABEL {label}" for label in labels],
            )
            await draft.delete()
            self._ids.append(made["Id"])

    async def remove(self) -> None:
        async with aiodocker.Docker() as engine:
            for one in self._ids:
                await engine.images.delete(one, force=True)


@pytest.fixture
async def image(runtime: DockerRuntime) -> AsyncIterator[Image]:
    image = Image()
    await image.build("test=1")
    runtime._image = image.name
    try:
        yield image
    finally:
        for user_id in await runtime.observe_all():
            await runtime.remove(user_id, with_state=True)
        await image.remove()


async def test_a_spare_of_what_is_no_longer_current_is_not_given_to_a_user(
    runtime: DockerRuntime, root: Path, image: Image
) -> None:
    async with server_on(root, runtime) as parts:

        async def claimed(user_id: str) -> tuple[bool, str]:
            """Whether the user got the spare's container, and why not."""
            home = await made_beforehand(parts)
            spare = parts.registry.spares()[0]
            before = (await shown(runtime, home))["Id"]
            assert await parts.spares._pool.is_current(spare)
            await changes[user_id]()
            current = await parts.spares._pool.is_current(spare)
            assert await provision(parts, user_id) is spare
            await use(parts, user_id)
            after = await shown(runtime, home)
            assert await parts.runtime.is_current(spare.spec())
            assert current is (after["Id"] == before)
            events = await parts.registry.events(spare, limit=10)
            return after["Id"] == before, events[-1].why

        async def nothing() -> None: ...

        async def another_limit() -> None:
            runtime._limits = replace(runtime._limits, pids=500)

        async def container_gone() -> None:
            async with aiodocker.Docker() as engine:
                home = parts.registry.spares()[0].user_id
                container = await engine.containers.get(runtime._name(home))
                await container.delete(force=True)

        changes: dict[str, Callable[[], Awaitable[None]]] = {
            "ada": nothing,
            "bea": partial(image.build, "test=2"),
            "cid": partial(image.build, f"{VERSION_LABEL}=2026.9.7"),
            "dan": another_limit,
            "eve": container_gone,
        }
        found = {user_id: await claimed(user_id) for user_id in changes}
        assert {user_id: kept for user_id, (kept, _) in found.items()} == {
            "ada": True, "bea": False, "cid": False, "dan": False, "eve": False,
        }  # fmt: skip

        # A claimed agent follows the image at its next start, after a copy of its state.
        (root / parts.runtime.home("ada") / "state" / "said").write_text("by ada")
        await parts.hibernation.orders.restart("ada")
        assert await parts.runtime.is_current(parts.registry.get("ada").spec())
        assert parts.registry.get("ada").openclaw == "2026.9.7"
        (copy,) = parts.states._copies.of("ada")
        assert (copy.folder / "said").read_text() == "by ada"

        # A spare of another image is replaced by a current one.
        home = await made_beforehand(parts)
        await image.build("test=3")
        await parts.spares.look()
        assert not (root / home).exists()
        assert await made_beforehand(parts) != home
