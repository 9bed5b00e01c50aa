"""The shape of a user's model reaches the gateway's configuration, between two runs."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ocmt_agent.api import live_config
from ocmt_agent.runtime.base import RuntimeFailed
from ocmt_agent.wiring import watching
from ocmt_common.agent_api import AgentModel, ModelApi
from ocmt_common.agent_api import HibernationState as S
from ocmt_testing.agent_server.host import AGENT_TOKEN, Host, open_host

PATH = "/api/containers/ada/model"
CLAUDE = AgentModel(api=ModelApi.MESSAGES, name="claude-opus-5", reasoning=True, images=True)
GPT = AgentModel(api=ModelApi.RESPONSES, name="gpt-5.5", reasoning=True)


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not reached():  # noqa: ASYNC110 (nothing tells)
            await asyncio.sleep(0)


async def put(host: Host, model: AgentModel, *, status: int = 204) -> None:
    answer = await host.client.put(PATH, json=model.model_dump(by_alias=True))
    assert answer.status_code == status, answer.text


async def shown(host: Host) -> dict[str, Any]:
    (container,) = (await host.client.get("/api/containers")).json()
    found: dict[str, Any] = container["model"]
    return found


@pytest.mark.parametrize("state", [S.RUNNING, S.PAUSED, S.STOPPED])
async def test_it_is_written_in_every_state_and_wakes_nothing(tmp_path: Path, state: S) -> None:
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        assert await shown(host) == AgentModel().model_dump(by_alias=True)
        if state is not S.RUNNING:
            await host.orders.hibernate("ada", "pause" if state is S.PAUSED else "stop")
        before = (agent.state, agent.activities)
        for model in (CLAUDE, GPT, GPT, AgentModel()):
            await put(host, model)
            assert host.runtime.models["ada"] == model
            assert await shown(host) == model.model_dump(by_alias=True)
        assert host.runtime.calls["set_model"] == 3
        assert "set_tools_version" not in host.runtime.calls
        assert (agent.state, agent.activities) == before


async def test_it_is_written_after_the_turn_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_config, "_LOOK_EVERY_S", 0.01)
    async with open_host(tmp_path) as host:
        await host.provision()
        host.gateway.runs["ada"] = 1
        await put(host, CLAUDE)
        answer = await host.client.put("/api/containers/ada/tools-version", json={"version": 3})
        assert answer.status_code == 204
        await put(host, GPT)
        await until(lambda: host.gateway.calls["active_runs"] > 5)
        assert host.runtime.models["ada"] == AgentModel()
        host.gateway.runs["ada"] = 0
        await until(lambda: host.runtime.models["ada"] == GPT)
        assert host.runtime.tools_versions["ada"] == 3


async def test_it_survives_a_killed_server_and_another_container(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        await put(host, CLAUDE)
        host.runtime.models.clear()  # as if the server had been killed before it wrote
        runtime, gateway = host.runtime, host.gateway
    async with (
        open_host(tmp_path, runtime=runtime, gateway=gateway) as host,
        watching(host.parts),
    ):
        await until(lambda: runtime.models.get("ada") == CLAUDE)
        assert await shown(host) == CLAUDE.model_dump(by_alias=True)
        other = {"userId": "ada", "agentToken": f"{AGENT_TOKEN}-another"}
        assert (await host.client.post("/api/containers", json=other)).status_code == 200
        assert runtime.containers["ada"].spec.model == CLAUDE


async def test_one_that_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        host.runtime.faults["set_model"] = [RuntimeFailed("Free space on the disk.")]
        await put(host, CLAUDE, status=503)
        await put(host, CLAUDE)
        assert host.runtime.models["ada"] == CLAUDE


@pytest.mark.parametrize(
    "body",
    [
        {"api": "ollama"},
        {"name": "a b"},
        {"name": "x" * 129},
        {"name": "${OCMT_AGENT_TOKEN}\n"},
        {"reasoning": "perhaps"},
        {"headers": {}},
    ],
)
async def test_what_is_no_model_is_refused(tmp_path: Path, body: dict[str, object]) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        assert (await host.client.put(PATH, json=body)).status_code == 422
        assert host.runtime.models["ada"] == AgentModel()


async def test_a_user_without_an_agent_has_none(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await put(host, CLAUDE, status=404)
