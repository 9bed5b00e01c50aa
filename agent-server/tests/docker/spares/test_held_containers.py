"""A stopped agent goes on in a container whose gateway is held before it reads its state.

A whole agent server on the real engine, with the image's preloaded library. A stand-in answers in
the place of OpenClaw, which `test_a_claimed_agent_in_docker.py` boots.
"""

import asyncio
import os
from pathlib import Path
from typing import Any

import aiodocker
import pytest
from ocmt_agent.api.dependencies import Parts
from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.runtime.base import RuntimeFailed
from ocmt_agent.runtime.docker import DockerRuntime
from ocmt_common.agent_api import HibernationState as S
from ocmt_common.agent_api import ProvisionRequest
from ocmt_testing.agent_server.container_stand_in import DATABASE, StandInControl
from ocmt_testing.agent_server.stand_in_server import made_beforehand, server_on

TOKEN = "adas-agent-token-0123"


async def shown(runtime: DockerRuntime, home: str) -> dict[str, Any]:
    async with aiodocker.Docker() as engine:
        container = await engine.containers.get(runtime._name(home))
        found: dict[str, Any] = await container.show()
    return found


async def state_of(parts: Parts, user_id: str = "ada") -> set[str]:
    """What the user's gateway found in its state."""
    control = parts.hibernation.resumer._gateway
    assert isinstance(control, StandInControl)
    async with parts.hibernation.wakes.using(user_id, kind=ActivityKind.HTTP) as access:
        names = set(await control.state(access))
    await asyncio.gather(*parts.hibernation.transitions._tasks)  # the old home is removed
    return names


async def test_it_has_its_own_state_there_and_leaves_nothing_behind(
    runtime: DockerRuntime, root: Path
) -> None:
    async with server_on(root, runtime) as parts:
        ada, _ = await parts.provisioning.provision(
            ProvisionRequest(user_id="ada", agent_token=TOKEN)
        )
        state = root / "ada" / "state"
        (state / "workspace").mkdir()
        (state / "workspace" / "said").write_text("by ada")
        (state / ".held").touch()  # as the library leaves it: it says nothing of an agent
        outside = root / "outside"
        outside.touch()
        (state / "link").symlink_to(outside)
        await parts.hibernation.orders.hibernate("ada", "stop")

        home = await made_beforehand(parts, held=True)
        (spare,) = parts.spares.ready(held=True)
        number = spare.number
        before = await shown(runtime, home)
        assert before["State"]["Paused"]
        assert list((root / home / "state").iterdir()) == []
        names = {"workspace", ".held", "link", DATABASE}
        assert await state_of(parts) == names

        after = await shown(runtime, home)
        assert (after["Id"], after["State"]["StartedAt"], after["State"]["Pid"]) == (
            before["Id"], before["State"]["StartedAt"], before["State"]["Pid"],
        )  # fmt: skip
        assert (ada.state, ada.number, ada.old_home) == (S.RUNNING, number, None)
        assert await parts.runtime.is_current(ada.spec())
        assert not (root / "ada").exists()
        assert await runtime.inspect("ada") is None
        moved = root / home / "state"
        assert (moved / "workspace" / "said").read_text() == "by ada"
        assert (moved / "workspace" / "said").stat().st_uid == parts.runtime.uid(number)
        assert (moved / "link").is_symlink()
        assert outside.stat().st_uid == os.getuid()
        assert sorted(file.name for file in (root / home / "config").iterdir()) == ["openclaw.json"]

        # From here on it is as any other.
        await parts.hibernation.orders.restart("ada")
        assert await state_of(parts) == names
        await parts.hibernation.orders.hibernate("ada", "pause")
        assert await state_of(parts) == names
        await parts.provisioning.remove("ada", with_state=True)
        assert not (root / home).exists()


async def test_a_state_that_is_not_complete_is_read_by_no_gateway(
    runtime: DockerRuntime, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The move fails, the held container is started anew, and the server ends."""
    async with server_on(root, runtime) as parts:
        await parts.provisioning.provision(ProvisionRequest(user_id="ada", agent_token=TOKEN))
        (root / "ada" / "state" / "said").write_text("by ada")
        await parts.hibernation.orders.hibernate("ada", "stop")
        home = await made_beforehand(parts, held=True)
        with monkeypatch.context() as broken:

            async def fail(*_: object) -> None:
                raise RuntimeFailed("The disk is gone.")

            broken.setattr(runtime, "inherit", fail)
            with pytest.raises(Exception, match="The disk is gone"):
                await state_of(parts)
        async with aiodocker.Docker() as engine:
            container = await engine.containers.get(runtime._name(home))
            await container.start()
        state = root / home / "state"
        async with asyncio.timeout(60):
            while list(state.iterdir()) != [state / ".held"]:
                await asyncio.sleep(0.05)
                assert not (state / DATABASE).exists(), "a gateway read an incomplete state"
    async with server_on(root, runtime) as parts:
        assert parts.registry.get("ada").old_home == "ada"
        assert await state_of(parts) >= {"said"}
        assert parts.registry.get("ada").old_home is None
        assert not (root / "ada").exists()
