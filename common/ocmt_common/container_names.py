"""The names and labels by which the agent server and the command find containers.

Standard library only: the command sends this to hosts (`ocmt_cli.deploy.program`). After a change,
containers of running installations are no longer found.
"""

import hashlib
from pathlib import Path

USER_LABEL = "ocmt.user"
INSTANCE_LABEL = "ocmt.instance"
SPEC_LABEL = "ocmt.spec"
HOLDS_LABEL = "ocmt.holds"
"""On an image: its gateways can be held before they read their state."""
TOOLS_LABEL = "ocmt.tools"
"""Replaces `INSTANCE_LABEL` on tool servers' containers, which are no agents."""


def instance_id(agents: Path) -> str:
    """An id of an agent server, derived from its agents' folder: several may share an engine."""
    return hashlib.sha256(str(agents.resolve()).encode()).hexdigest()[:12]


def instance_label(agents: Path) -> str:
    """The label, as `name=value`, of the container of each agent whose state is below `agents`."""
    return f"{INSTANCE_LABEL}={instance_id(agents)}"


def tools_label(agents: Path) -> str:
    """The label, as `name=value`, of every tool server's container of these agents."""
    return f"{TOOLS_LABEL}={instance_id(agents)}"


def container_name(instance: str, user_id: str) -> str:
    return f"ocmt-{instance}-{user_id}"
