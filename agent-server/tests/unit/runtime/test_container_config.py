"""The configuration of a container and its gateway, as pure values."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocmt_agent.runtime.accounts import Account
from ocmt_agent.runtime.base import AgentSpec, SecretText
from ocmt_agent.runtime.docker_container import container_config
from ocmt_agent.runtime.spec import (
    Limits,
    dreams_at,
    gateway_config,
    heap_flags,
    hostname_of,
    relay_urls,
    with_model,
    with_tools_version,
)
from ocmt_common.agent_api import AgentModel, ModelApi
from ocmt_common.container_names import SPEC_LABEL

USER_IDS = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,62}", fullmatch=True)
TOKENS = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=32, max_size=64)
ADA = AgentSpec("ada", SecretText("g" * 32), SecretText("a" * 32), 1)
CLAUDE = AgentModel(api=ModelApi.MESSAGES, name="claude-opus-5", reasoning=True, images=True)
GATEWAY = gateway_config(relay_urls("10.213.0.1", 4001), user_id="ada", bind="lan", port=18789)


def config_of(spec: AgentSpec = ADA, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "home": Path("/data/agents/ada"),
        "image": "ocmt/openclaw:1",
        "made_from": ["image-1", "network-1"],
        "instance": "one",
        "account": Account(70_001, 70_001),
        "limits": Limits(memory_mb=2048, cpus=2.0, pids=512),
        "gateway": GATEWAY,
    }
    return container_config(spec, **(values | changes))


@given(user_id=USER_IDS, gateway_token=TOKENS, agent_token=TOKENS)
def test_tokens_are_in_the_environment_and_nowhere_else(
    user_id: str, gateway_token: str, agent_token: str
) -> None:
    spec = AgentSpec(user_id, SecretText(gateway_token), SecretText(agent_token), 1)
    config = config_of(spec)

    environment = config.pop("Env")
    assert f"OPENCLAW_GATEWAY_TOKEN={gateway_token}" in environment
    assert f"OCMT_AGENT_TOKEN={agent_token}" in environment
    for token in (gateway_token, agent_token):
        assert token not in json.dumps(config)
        assert token not in json.dumps(GATEWAY)
        assert token not in repr(spec)


@given(user_id=USER_IDS)
def test_a_host_name_is_the_user_s_own_and_a_valid_one(user_id: str) -> None:
    name = hostname_of(user_id)
    assert name == hostname_of(user_id)
    assert name != hostname_of(user_id + "x")
    assert len(name) <= 63
    assert name.replace("-", "").isalnum()


@given(user_id=USER_IDS)
def test_every_agent_dreams_at_a_minute_of_the_night(user_id: str) -> None:
    minute, hour, *rest = dreams_at(user_id).split()
    assert (int(minute) in range(60), int(hour) in range(1, 5), rest) == (True, True, ["*"] * 3)


def test_a_hundred_agents_do_not_dream_at_once() -> None:
    nights = Counter(dreams_at(f"user-{number}") for number in range(100))
    assert max(nights.values()) <= 4
    assert len({at.split()[1] for at in nights}) == 4  # in each of the hours


@pytest.mark.parametrize(
    "changes",
    [
        {"spec": AgentSpec("ada", SecretText("g" * 32), SecretText("b" * 32), 1)},
        {"spec": AgentSpec("ada", SecretText("h" * 32), SecretText("a" * 32), 1)},
        {"image": "ocmt/openclaw:2"},
        {"account": Account(70_002, 70_002)},
        {"made_from": ["image-2", "network-1"]},
        {"made_from": ["image-1", "network-2"]},
        {"limits": Limits(memory_mb=4096, cpus=2.0, pids=512)},
        {"limits": Limits(memory_mb=2048, cpus=1.5, pids=512)},
        {"limits": Limits(memory_mb=2048, cpus=2.0, pids=100)},
        {"gateway": GATEWAY | {"agents": {}}},
    ],
)
def test_any_other_setting_makes_another_container(changes: dict[str, Any]) -> None:
    def label(config: dict[str, Any]) -> str:
        return str(config["Labels"][SPEC_LABEL])

    assert label(config_of()) == label(config_of())
    assert label(config_of(**changes)) != label(config_of())


def test_node_s_heap_leaves_room_within_the_agent_s_memory() -> None:
    assert heap_flags(Limits(memory_mb=2048, cpus=1, pids=1))[0] == "--max-old-space-size=1024"
    assert heap_flags(Limits(memory_mb=700, cpus=1, pids=1))[0] == "--max-old-space-size=350"


def test_the_version_of_the_tools_makes_no_other_container() -> None:
    def label(spec: AgentSpec) -> str:
        return str(config_of(spec)["Labels"][SPEC_LABEL])

    assert label(replace(ADA, tools_version=7)) == label(ADA)


def test_the_version_of_the_tools_is_in_the_address_alone() -> None:
    url = GATEWAY["mcp"]["servers"]["ocmt"]["url"]
    seventh = with_tools_version(GATEWAY, 7)
    assert seventh["mcp"]["servers"]["ocmt"].pop("url") == f"{url}?catalog=7"
    assert with_tools_version(with_tools_version(GATEWAY, 7), 8) == with_tools_version(GATEWAY, 8)
    seventh["mcp"]["servers"]["ocmt"]["url"] = url
    assert seventh == GATEWAY


def test_the_model_makes_no_other_container() -> None:
    def label(spec: AgentSpec) -> str:
        return str(config_of(spec)["Labels"][SPEC_LABEL])

    assert label(replace(ADA, model=CLAUDE)) == label(ADA)


def test_the_usual_model_changes_nothing() -> None:
    assert with_model(GATEWAY, AgentModel()) == GATEWAY


@pytest.mark.parametrize(
    ("model", "path", "of_provider", "of_model"),
    [
        (
            CLAUDE,
            "",
            {"api": "anthropic-messages", "authHeader": True},
            {
                "reasoning": True,
                "maxTokens": 32_000,
                "input": ["text", "image"],
                "params": {"canonicalModelId": "claude-opus-5"},
            },
        ),
        (
            AgentModel(api=ModelApi.RESPONSES, name="gpt-5.5", reasoning=True),
            "/v1",
            {"api": "openai-responses"},
            {
                "reasoning": True,
                "maxTokens": 32_000,
                "compat": {"supportedReasoningEfforts": ["low", "medium", "high"]},
            },
        ),
        (
            AgentModel(api=ModelApi.MESSAGES, name="claude-3-5-haiku"),
            "",
            {"api": "anthropic-messages", "authHeader": True},
            {},
        ),
        (
            AgentModel(name="grok-4.7", images=True),
            "/v1",
            {"api": "openai-completions"},
            {"input": ["text", "image"]},
        ),
    ],
    ids=lambda value: value.name if isinstance(value, AgentModel) else "",
)
def test_the_model_is_in_the_configuration_of_its_provider_alone(
    model: AgentModel, path: str, of_provider: dict[str, Any], of_model: dict[str, Any]
) -> None:
    changed = with_model(with_model(GATEWAY, CLAUDE), model)
    provider = changed["models"]["providers"].pop("ocmt")
    root = GATEWAY["models"]["providers"]["ocmt"]["baseUrl"].removesuffix("/v1")

    assert provider == {
        "baseUrl": f"{root}{path}",
        "apiKey": "${OCMT_AGENT_TOKEN}",
        "models": [{"id": "default", "name": "Default", **of_model}],
        **of_provider,
    }
    assert with_model(changed | {"models": GATEWAY["models"]}, AgentModel()) == GATEWAY
    assert with_model(with_model(GATEWAY, model), AgentModel()) == GATEWAY
