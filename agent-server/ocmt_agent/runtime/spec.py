"""What every runtime gives a gateway: its configuration, its environment, its limits.

Pure: a runtime decides where the files lie and how the process is started.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from ocmt_agent.runtime.base import AgentSpec

GATEWAY_PORT = 18789
_FIRST_DREAM = 1 * 60
_DREAMS = 4 * 60
"""Minutes of the night: from one to five o'clock by the gateway's clock."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds of one agent."""

    memory_mb: int
    cpus: float
    pids: int

    @property
    def swap_bytes(self) -> int:
        """As much as memory: all that a sleeper may hold has to fit, and no other's share."""
        return self.memory_mb * 1024 * 1024

    @property
    def memory_and_swap_bytes(self) -> int:
        """Docker's `MemorySwap` and cgroup v1's `memory.memsw.limit_in_bytes` count both."""
        return self.memory_mb * 1024 * 1024 + self.swap_bytes


@dataclass(frozen=True, slots=True)
class OpenClawSettings:
    """Where an agent finds its model and its tools: the relay, as seen from the agent."""

    llm_url: str
    mcp_url: str


def relay_urls(host: str, port: int) -> OpenClawSettings:
    base = f"http://{host}:{port}"
    return OpenClawSettings(llm_url=f"{base}/llm/v1", mcp_url=f"{base}/mcp")


def gateway_config(
    openclaw: OpenClawSettings, *, user_id: str, bind: str, port: int
) -> dict[str, Any]:
    """`openclaw.json`. Holds no secret: tokens are named, and read from the environment.

    The agent knows one model, `ocmt/default`; which one that is, management decides per request.
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
                # By default every agent takes a turn each half hour (OpenClaw's
                # `gateway/heartbeat.md`): none would ever sleep, and each turn costs model calls.
                "heartbeat": {"every": "0m"},
            }
        },
        # Harmless where nobody serves it: boot takes as long, a conversation logs one warning.
        "mcp": {
            "servers": {
                "ocmt": {
                    "url": openclaw.mcp_url,
                    "transport": "streamable-http",
                    "headers": {"Authorization": "Bearer ${OCMT_AGENT_TOKEN}"},
                }
            }
        },
    }


def dreams_at(user_id: str) -> str:
    """When in the night an agent sorts its memories, as cron has it: another minute for each user.

    By default all do at 03:00 (OpenClaw's `concepts/dreaming.md`). Each then takes half a minute of
    a core, and its boot before that.
    """
    minute = _FIRST_DREAM + int.from_bytes(_digest(user_id)[:4]) % _DREAMS
    return f"{minute % 60} {minute // 60} * * *"


def gateway_environment(spec: AgentSpec, *, state_dir: str, config_path: str) -> dict[str, str]:
    """The gateway's own variables; the runtime adds PATH and HOME. The only place of its tokens."""
    return {
        "OCMT_AGENT_TOKEN": str(spec.agent_token),
        "OPENCLAW_GATEWAY_TOKEN": str(spec.gateway_token),
        "OPENCLAW_STATE_DIR": state_dir,
        "OPENCLAW_CONFIG_PATH": config_path,
        "OPENCLAW_DISABLE_BONJOUR": "1",
        "OPENCLAW_NO_RESPAWN": "1",
        "OPENCLAW_SUPERVISOR_MODE": "external",
        "NODE_ENV": "production",
        # Fewer malloc arenas: with the heap flags below 106 MB less after a boot, 182 MB after
        # three conversations, at the same boot time (docs/hibernation.md).
        "MALLOC_ARENA_MAX": "2",
    }


def heap_flags(limits: Limits) -> list[str]:
    """Node's heap: half of the agent's memory; the rest is for code, SQLite and the agent's tools.

    A small young generation keeps an idle gateway small. V8's memory reducer collects some seconds
    after the last work: in a gateway that slept meanwhile that is at its wake, and walks through
    everything that lies in the swap. Flags and not NODE_OPTIONS, which every Node program the agent
    runs would inherit.
    """
    return [
        f"--max-old-space-size={limits.memory_mb // 2}",
        "--max-semi-space-size=8",
        "--no-memory-reducer",
    ]


def hostname_of(user_id: str) -> str:
    """One fixed host name a user: the gateway's owner lease is bound to it."""
    return "agent-" + _digest(user_id).hex()[:16]


def _digest(user_id: str) -> bytes:
    return hashlib.sha256(user_id.encode()).digest()


def fingerprint(parts: object) -> str:
    """Equal for equal settings; a container made from others is replaced."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]
