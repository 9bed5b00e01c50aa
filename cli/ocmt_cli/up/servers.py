"""The two servers' commands, environments and health addresses.

They get a minimal environment, so that an exported variable, such as another project's
DATABASE_URL, does not become a setting. Settings are in the data folder's files.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ocmt_cli.checkout import command
from ocmt_cli.failure import CommandFailed
from ocmt_cli.node import node_binary
from ocmt_cli.up.data_folder import DataFolder
from ocmt_cli.up.page import page_folder

# Identifies a server that outlived its supervisor (see `ocmt_cli.orphans`).
OWNER = "OCMT_SERVER_OF"

_INHERITED = frozenset(
    {"PATH", "HOME", "USER", "LANG", "LANGUAGE", "TZ", "TMPDIR", "DOCKER_HOST", "XDG_RUNTIME_DIR",
     "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Server:
    """A server to keep running."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    health_url: str


def agent_port(port: int) -> int:
    return port + 1000


def relay_port(port: int) -> int:
    return port + 1001


def servers(data: DataFolder, *, port: int, runtime: str) -> tuple[Server, ...]:
    """Both servers of an installation on `port`."""
    return (
        Server(
            "agent",
            (sys.executable, "-m", "ocmt_agent", "--env-file", str(data.agent_env)),
            agent_environment(data, port=port, runtime=runtime),
            f"http://127.0.0.1:{agent_port(port)}/health",
        ),
        Server(
            "management",
            (sys.executable, "-m", "ocmt_management", "--env-file", str(data.management_env)),
            management_environment(data, port=port),
            f"http://127.0.0.1:{port}/health",
        ),
    )


def agent_environment(data: DataFolder, *, port: int, runtime: str) -> dict[str, str]:
    return _base(data.root) | _agent_settings(data, port=port, runtime=runtime)


def management_environment(data: DataFolder, *, port: int) -> dict[str, str]:
    return _base(data.root) | _management_settings(data, port=port)


def refuse_ineffective_settings(data: DataFolder) -> None:
    """Raise `CommandFailed` for a setting in the files that a computed one overrides."""
    for file, computed in (
        (data.agent_env, _agent_settings(data, port=0, runtime="")),
        (data.management_env, _management_settings(data, port=0)),
    ):
        for name in computed:
            if data.setting(file, name):
                raise CommandFailed(
                    f"{name} in {file} would have no effect: `up` computes it (see "
                    f"`{command('up --help')}`). Remove that line."
                )


def _agent_settings(data: DataFolder, *, port: int, runtime: str) -> dict[str, str]:
    return {
        "DATA_DIR": str(data.agent),
        "PORT": str(agent_port(port)),
        "RELAY_PORT": str(relay_port(port)),
        "MANAGEMENT_URL": f"http://127.0.0.1:{port}",
        "RUNTIME": runtime,
        "OPENCLAW_DIR": str(data.openclaw),
        "NODE_BINARY": str(node_binary()),
        # Applies to SIGTERM only; after a crash, the server finds its agents again.
        "STOP_AGENTS_ON_EXIT": "true",
    }


def _management_settings(data: DataFolder, *, port: int) -> dict[str, str]:
    computed = {
        "DATA_DIR": str(data.management),
        "PORT": str(port),
        "AGENT_SERVER_URL": f"http://127.0.0.1:{agent_port(port)}",
        "AGENT_AUTH_TOKEN": data.auth_token,
        "UI_DIR": str(page_folder()),
    }
    # If it is served at another address, the operator sets BASE_URL in the file.
    if not data.setting(data.management_env, "BASE_URL"):
        computed["BASE_URL"] = f"http://127.0.0.1:{port}"
    return computed


def _base(data: Path) -> dict[str, str]:
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name.upper() in _INHERITED or name.startswith("LC_")
    }
    return {**inherited, "PYTHONUNBUFFERED": "1", OWNER: str(data)}
