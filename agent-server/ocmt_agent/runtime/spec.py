"""A gateway's configuration, environment and limits, for all runtimes. Pure."""

import copy
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from ocmt_common.agent_api import AgentModel, ModelApi

from ocmt_agent.runtime.base import AgentSpec

GATEWAY_PORT = 18789
_EFFORTS = ["low", "medium", "high"]
"""Those that each of OpenAI's thinking models has; OpenClaw would send others, too."""
_MOST_WRITTEN = 32_000
"""Output tokens of a model that thinks: 8,192, OpenClaw's default, may end within the thinking."""
_FIRST_DREAM = 1 * 60
_DREAMS = 4 * 60
"""The number of minutes from 01:00 to 05:00 on the gateway's clock."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The resource limits of an agent."""

    memory_mb: int
    cpus: float
    pids: int

    @property
    def swap_bytes(self) -> int:
        """The same as the memory limit: enough to swap out a whole sleeping agent."""
        return self.memory_mb * 1024 * 1024

    @property
    def memory_and_swap_bytes(self) -> int:
        """The sum of both, for Docker's `MemorySwap` and v1's `memory.memsw.limit_in_bytes`."""
        return self.memory_mb * 1024 * 1024 + self.swap_bytes


@dataclass(frozen=True, slots=True)
class OpenClawSettings:
    """The relay's addresses for models and tools, as the agent sees them."""

    llm_url: str
    mcp_url: str


def relay_urls(host: str, port: int) -> OpenClawSettings:
    base = f"http://{host}:{port}"
    return OpenClawSettings(llm_url=f"{base}/llm/v1", mcp_url=f"{base}/mcp")


def gateway_config(
    openclaw: OpenClawSettings, *, user_id: str, bind: str, port: int
) -> dict[str, Any]:
    """The contents of `openclaw.json`, which refers to tokens by their environment variables.

    The agent has one model, `ocmt/default`, which management resolves for each request.
    """
    return {
        "gateway": {
            "mode": "local",
            "bind": bind,
            "port": port,
            "auth": {"mode": "token"},
            "controlUi": {"enabled": False},
            "http": {"endpoints": {"chatCompletions": {"enabled": True}}},
        },
        "discovery": {"mdns": {"mode": "off"}},
        "plugins": {
            "entries": {
                "admin-http-rpc": {"enabled": True},
                "memory-core": {"config": {"dreaming": {"frequency": dreams_at(user_id)}}},
            }
        },
        "models": {
            "providers": {
                "ocmt": {
                    "baseUrl": openclaw.llm_url,
                    "apiKey": "${OCMT_AGENT_TOKEN}",
                    "api": "openai-completions",
                    "models": [{"id": "default", "name": "Default"}],
                }
            }
        },
        "agents": {
            "defaults": {
                "model": {"primary": "ocmt/default"},
                "heartbeat": heartbeat(None),
            }
        },
        "mcp": {
            "servers": {
                "ocmt": {
                    "url": openclaw.mcp_url,
                    "transport": "streamable-http",
                    "headers": {"Authorization": "Bearer ${OCMT_AGENT_TOKEN}"},
                    # The default is 1.5 s: a run for which listing tools takes longer has none.
                    # A call waits 45 s for its user's decision.
                    "requestTimeoutMs": 120_000,
                    "connectionTimeoutMs": 10_000,
                    "supportsParallelToolCalls": True,
                }
            }
        },
    }


def with_live_settings(config: dict[str, Any], spec: AgentSpec) -> dict[str, Any]:
    """`openclaw.json` with those settings that may change while the gateway runs.

    They are in no fingerprint. Raises `KeyError` or `TypeError` for another configuration.
    """
    config = with_tools_version(config, spec.tools_version)
    return with_heartbeat(with_model(config, spec.model), spec.heartbeat_minutes)


def with_tools_version(config: dict[str, Any], version: int) -> dict[str, Any]:
    """Add the version of the user's tools to the URL of OCMT's MCP server in `openclaw.json`.

    When the URL changes, the gateway lists the tools again, even in an open conversation, without a
    restart. `fingerprint` is computed without the version, so a new one replaces no container.
    Raises `KeyError` or `TypeError` if the configuration has no such server.
    """
    changed = copy.deepcopy(config)
    server = changed["mcp"]["servers"]["ocmt"]
    server["url"] = f"{server['url'].partition('?')[0]}?catalog={version}"
    return changed


def with_heartbeat(config: dict[str, Any], minutes: int | None) -> dict[str, Any]:
    """`openclaw.json` with this interval of the heartbeat; `None` turns it off.

    As with the tools version, a running gateway reads it, and it is in no fingerprint. Raises
    `KeyError` or `TypeError` for another configuration.
    """
    changed = copy.deepcopy(config)
    changed["agents"]["defaults"]["heartbeat"] = heartbeat(minutes)
    return changed


def heartbeat(minutes: int | None) -> dict[str, Any]:
    """OpenClaw's settings of the heartbeat (its page `gateway/heartbeat.md`).

    By default every agent has a run each half hour, so none would sleep for long, and each run
    costs model calls. A heartbeat that is on is for the main conversation: OpenClaw's default
    target is a person's address in a channel, and it skips the run when there is none.
    """
    if minutes is None:
        return {"every": "0m"}
    return {"every": f"{minutes}m", "target": "none"}


def with_model(config: dict[str, Any], model: AgentModel) -> dict[str, Any]:
    """`openclaw.json` with the shape of requests to the user's model, and what the model can do.

    As with the tools version, a running gateway reads it, and it is in no fingerprint. Raises
    `KeyError` or `TypeError` for another configuration.
    """
    changed = copy.deepcopy(config)
    provider = changed["models"]["providers"]["ocmt"]
    root = provider["baseUrl"].removesuffix("/v1")
    messages = model.api is ModelApi.MESSAGES
    entry: dict[str, Any] = {"id": "default", "name": "Default"}
    if model.images:
        entry["input"] = ["text", "image"]
    if model.reasoning:
        entry |= {"reasoning": True, "maxTokens": _MOST_WRITTEN}
        if messages:
            entry["params"] = {"canonicalModelId": model.name}
        else:
            entry["compat"] = {"supportedReasoningEfforts": _EFFORTS}
    provider |= {
        # Anthropic's library adds `/v1/messages`, and sends the token in a header of its own if
        # this does not name another.
        "baseUrl": root if messages else f"{root}/v1",
        "authHeader": messages,
        "api": model.api.value,
        "models": [entry],
    }
    if not messages:
        del provider["authHeader"]
    return changed


def dreams_at(user_id: str) -> str:
    """The cron expression of an agent's nightly dreaming, at a minute that depends on the user.

    By default all agents dream at 03:00 (OpenClaw's `concepts/dreaming.md`), and each needs a boot
    and half a minute of CPU time.
    """
    minute = _FIRST_DREAM + int.from_bytes(_digest(user_id)[:4]) % _DREAMS
    return f"{minute % 60} {minute // 60} * * *"


def gateway_environment(spec: AgentSpec, *, state_dir: str, config_path: str) -> dict[str, str]:
    """The gateway's environment variables, including its tokens. The runtime adds others."""
    return {
        "OCMT_AGENT_TOKEN": str(spec.agent_token),
        "OPENCLAW_GATEWAY_TOKEN": str(spec.gateway_token),
        "OPENCLAW_STATE_DIR": state_dir,
        "OPENCLAW_CONFIG_PATH": config_path,
        "OPENCLAW_DISABLE_BONJOUR": "1",
        "OPENCLAW_NO_RESPAWN": "1",
        "OPENCLAW_SUPERVISOR_MODE": "external",
        "NODE_ENV": "production",
        # With fewer malloc arenas and the heap flags below, a gateway uses 106 MB less after a boot
        # and 182 MB less after three conversations, at the same boot time (docs/hibernation.md).
        "MALLOC_ARENA_MAX": "2",
    }


def heap_flags(limits: Limits) -> list[str]:
    """Node's heap flags: half of the memory limit; the rest is for code, SQLite and tools.

    A small young generation keeps an idle gateway small. V8's memory reducer is off: it runs
    seconds after the last work, which for a paused gateway is during its wake, and would read the
    whole heap from swap. NODE_OPTIONS would also apply to every Node program of the agent.
    """
    return [
        f"--max-old-space-size={limits.memory_mb // 2}",
        "--max-semi-space-size=8",
        "--no-memory-reducer",
    ]


def hostname_of(user_id: str) -> str:
    """A constant host name per agent, since the gateway's owner lease is bound to it."""
    return "agent-" + _digest(user_id).hex()[:16]


def _digest(user_id: str) -> bytes:
    return hashlib.sha256(user_id.encode()).digest()


def fingerprint(parts: object) -> str:
    """A hash of settings. A container with another fingerprint is replaced."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]
