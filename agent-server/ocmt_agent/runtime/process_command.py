"""The arguments, environment and configuration of a gateway process."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ocmt_common.openclaw.versions import parse_version

from ocmt_agent.runtime.base import AgentSpec, RuntimeFailed
from ocmt_agent.runtime.process_home import AgentHome
from ocmt_agent.runtime.spec import (
    Limits,
    OpenClawSettings,
    fingerprint,
    gateway_config,
    gateway_environment,
    heap_flags,
)

# Joins the groups before it execs the gateway, so that the gateway is never outside of them.
# $1 is the working folder, $2 the groups' files; the program follows.
_JOIN_AND_BECOME = """
cd "$1" || exit; join=$2; shift 2
for file in $join; do echo $$ > "$file"; done
exec "$@"
"""


@dataclass(frozen=True, slots=True)
class GatewayCommand:
    node: Path
    entry: Path
    limits: Limits
    relay: OpenClawSettings

    def problems(self) -> list[str]:
        """Why the gateway cannot start on this machine, each with the cure; empty if it can."""
        found = []
        if not self.entry.is_file():
            found.append(
                f"OpenClaw is not installed at {self.entry.parent}. `./ocmt up` installs it; or "
                "set OPENCLAW_DIR to the folder with its node_modules."
            )
        if not os.access(self.node, os.X_OK):
            found.append(
                f"{self.node} is not an executable file: set NODE_BINARY to the Node.js to use."
            )
        return found

    def openclaw_version(self) -> str:
        """The installed OpenClaw's version. Raises `RuntimeFailed` if it cannot be read."""
        manifest = self.entry.with_name("package.json")
        try:
            version = str(json.loads(manifest.read_text(encoding="utf-8"))["version"])
        except (OSError, ValueError, KeyError, TypeError):
            version = ""
        if parse_version(version) is None:
            raise RuntimeFailed(
                f"{manifest} has no OpenClaw version. `./ocmt up` installs OpenClaw; or set "
                "OPENCLAW_DIR to the folder with its node_modules."
            )
        return version

    def arguments(self, home: AgentHome, *, port: int, join: list[Path]) -> list[str]:
        return [
            *("/bin/sh", "-c", _JOIN_AND_BECOME, "sh"),
            *(str(home.state), " ".join(str(file) for file in join)),
            *(str(self.node), *heap_flags(self.limits), str(self.entry)),
            *("gateway", "--bind", "loopback", "--port", str(port)),
        ]

    def environment(self, spec: AgentSpec, home: AgentHome) -> dict[str, str]:
        return gateway_environment(
            spec, state_dir=str(home.state), config_path=str(home.config)
        ) | {
            "PATH": f"{self.node.parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(home.state),
            "TMPDIR": str(home.temporary),
            "LANG": "C.UTF-8",
        }

    def config(self, user_id: str, port: int) -> dict[str, Any]:
        return gateway_config(self.relay, user_id=user_id, bind="loopback", port=port)

    def fingerprint(self, spec: AgentSpec, home: AgentHome) -> str:
        """A hash of the settings with which a gateway starts, but for the port of this start."""
        limits = self.limits
        return fingerprint(
            [
                self.arguments(home, port=0, join=[]),
                [limits.memory_mb, limits.cpus, limits.pids],
                self.environment(spec, home),
                self.config(spec.user_id, 0),
            ]
        )


def marks(home: AgentHome) -> dict[str, str]:
    """Environment variables that processes of this agent inherit, and no others have."""
    return {"OPENCLAW_STATE_DIR": str(home.state), "OPENCLAW_SUPERVISOR_MODE": "external"}
