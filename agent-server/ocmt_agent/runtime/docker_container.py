"""An agent's container: its hardened configuration, and its folders.

The configuration is a plain value, so that it can be compared and hashed.
"""

import subprocess
from pathlib import Path
from typing import Any

from ocmt_common.container_names import INSTANCE_LABEL, SPEC_LABEL, USER_LABEL

from ocmt_agent.runtime.accounts import Account
from ocmt_agent.runtime.base import AgentSpec, RuntimeFailed
from ocmt_agent.runtime.docker_network import NETWORK
from ocmt_agent.runtime.gateway_config_file import write_config, write_text
from ocmt_agent.runtime.spec import (
    GATEWAY_PORT,
    Limits,
    fingerprint,
    gateway_environment,
    heap_flags,
    hostname_of,
)

STATE = "/home/node/.openclaw"
_CONFIG = "/etc/openclaw"
CONFIG_MODE = 0o644
# For when the engine shuts down; `stop` has its own grace. An idle gateway needs 1–6 s.
_STOP_TIMEOUT_S = 30


def container_config(
    spec: AgentSpec,
    *,
    home: Path,
    image: str,
    made_from: list[str],
    instance: str,
    account: Account,
    limits: Limits,
    gateway: dict[str, Any],
) -> dict[str, Any]:
    """The body of `POST /containers/create`. `made_from`: the ids of its image and network."""
    environment = gateway_environment(
        spec, state_dir=STATE, config_path=f"{_CONFIG}/openclaw.json"
    ) | {"HOME": STATE}
    config: dict[str, Any] = {
        "Image": image,
        "Entrypoint": [],
        "Cmd": [
            *("node", *heap_flags(limits), "openclaw.mjs"),
            *("gateway", "--bind", "lan", "--port", str(GATEWAY_PORT)),
        ],
        "Hostname": hostname_of(spec.user_id),
        "User": f"{account.uid}:{account.gid}",
        "Env": [f"{name}={value}" for name, value in sorted(environment.items())],
        "StopTimeout": _STOP_TIMEOUT_S,
        "HostConfig": {
            "Init": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "PidsLimit": limits.pids,
            "NanoCpus": int(limits.cpus * 1e9),
            "Memory": limits.memory_mb * 1024 * 1024,
            "MemorySwap": limits.memory_and_swap_bytes,
            "ReadonlyRootfs": True,
            "Tmpfs": {"/tmp": "rw,exec,nosuid,nodev,size=256m,mode=1777"},  # noqa: S108
            "NetworkMode": NETWORK,
            # The engine must not start agents after a reboot.
            "RestartPolicy": {"Name": "no"},
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "5m", "max-file": "2"}},
            "Mounts": [
                _bind(home / "state", STATE, read_only=False),
                _bind(home / "config", _CONFIG, read_only=True),
                _bind(home / "account" / "passwd", "/etc/passwd", read_only=True),
                _bind(home / "account" / "group", "/etc/group", read_only=True),
            ],
        },
    }
    config["Labels"] = {
        USER_LABEL: spec.user_id,
        INSTANCE_LABEL: instance,
        SPEC_LABEL: fingerprint([config, gateway, made_from]),
    }
    return config


def config_file(home: Path) -> Path:
    """The gateway's configuration file, in a folder that is read-only in its container."""
    return home / "config" / "openclaw.json"


def prepare_folders(home: Path, account: Account, gateway: dict[str, Any]) -> None:
    """Create the agent's folders, and write the gateway's configuration.

    The agent can write only to `state`, in which this function opens no file. The agent's container
    must not be running. Raises `RuntimeFailed`.
    """
    modes = {"": 0o711, "state": 0o700, "config": 0o755, "account": 0o755}
    try:
        for name, mode in modes.items():
            folder = home / name
            folder.mkdir(mode=mode, parents=True, exist_ok=True)
            folder.chmod(mode)
        # Another server may write them at this moment: the release before this one.
        write_config(config_file(home), gateway, mode=CONFIG_MODE, durable=True)
        for name, text in (("passwd", account.passwd(STATE)), ("group", account.group())):
            write_text(home / "account" / name, text, mode=0o644, durable=True)
        owner = (home / "state").stat()
        if (owner.st_uid, owner.st_gid) != (account.uid, account.gid):
            give_away(home / "state", account)
    except OSError as error:
        raise RuntimeFailed(
            f"The agent's folders cannot be created: {error}. Free space on the disk, and run this "
            "server as root, so that agents can own their state."
        ) from error


def give_away(state: Path, account: Account) -> None:
    """Make the container's user the owner of a folder and its contents. Raises `OSError`.

    Uses `chown`, which follows no link and handles deeper trees than Python's walk. It changes the
    folder itself last, so that an interrupted change is repeated.
    """
    owner = f"{account.uid}:{account.gid}"
    done = subprocess.run(
        ["chown", "-R", "-h", "-P", "--", owner, str(state)],  # noqa: S607 (see `remove_folder`)
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        raise OSError((done.stderr.splitlines() or ["chown failed"])[0].removeprefix("chown: "))


def _bind(source: Path, target: str, *, read_only: bool) -> dict[str, Any]:
    return {"Type": "bind", "Source": str(source), "Target": target, "ReadOnly": read_only}
