"""How an agent's container is made: its configuration, which is all of its hardening, its folders.

The configuration is one pure value, so that it can be compared, hashed and read back in tests.
"""

import json
import os
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from ocmt_agent.runtime.base import AgentSpec, RuntimeFailed
from ocmt_agent.runtime.docker_network import NETWORK
from ocmt_agent.runtime.spec import (
    GATEWAY_PORT,
    Limits,
    fingerprint,
    gateway_environment,
    heap_flags,
    hostname_of,
)

USER_LABEL = "ocmt.user"
SPEC_LABEL = "ocmt.spec"
INSTANCE_LABEL = "ocmt.instance"
_UID = 1000  # `node`, in our image and in upstream's
_STATE = "/home/node/.openclaw"
_CONFIG = "/etc/openclaw"
# For an engine that is shut down; ours stop with a grace of their own. An idle gateway needs 1–6 s.
_STOP_TIMEOUT_S = 30


def container_config(
    spec: AgentSpec,
    *,
    home: Path,
    image: str,
    made_from: list[str],
    instance: str,
    limits: Limits,
    gateway: dict[str, Any],
) -> dict[str, Any]:
    """What `POST /containers/create` takes. `made_from`: ids behind the names in it."""
    environment = gateway_environment(
        spec, state_dir=_STATE, config_path=f"{_CONFIG}/openclaw.json"
    ) | {"HOME": _STATE}
    config: dict[str, Any] = {
        "Image": image,
        "Entrypoint": [],
        "Cmd": [
            *("node", *heap_flags(limits), "openclaw.mjs"),
            *("gateway", "--bind", "lan", "--port", str(GATEWAY_PORT)),
        ],
        "Hostname": hostname_of(spec.user_id),
        "User": f"{_UID}:{_UID}",
        "Env": [f"{name}={value}" for name, value in sorted(environment.items())],
        "StopTimeout": _STOP_TIMEOUT_S,
        "HostConfig": {
            "Init": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "PidsLimit": limits.pids,
            "NanoCpus": int(limits.cpus * 1e9),
            "Memory": limits.memory_mb * 1024 * 1024,
            # Without swap of its own a paused agent's memory could not leave.
            "MemorySwap": -1,
            "ReadonlyRootfs": True,
            "Tmpfs": {"/tmp": "rw,exec,nosuid,nodev,size=256m,mode=1777"},  # noqa: S108
            "NetworkMode": NETWORK,
            # We start it ourselves; the engine must not wake anybody after a reboot.
            "RestartPolicy": {"Name": "no"},
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "5m", "max-file": "2"}},
            "Mounts": [
                _bind(home / "state", _STATE, read_only=False),
                _bind(home / "config", _CONFIG, read_only=True),
            ],
        },
    }
    config["Labels"] = {
        USER_LABEL: spec.user_id,
        INSTANCE_LABEL: instance,
        SPEC_LABEL: fingerprint([config, gateway, made_from]),
    }
    return config


def prepare_folders(home: Path, gateway: dict[str, Any]) -> None:
    """Make the user's folders and write the gateway's configuration where the agent cannot.

    The agent writes in `state` only: nothing in there is opened by us.
    """
    try:
        for folder, mode in ((home, 0o711), (home / "state", 0o700), (home / "config", 0o755)):
            folder.mkdir(mode=mode, parents=True, exist_ok=True)
            folder.chmod(mode)
        if (home / "state").stat().st_uid != _UID:
            _give_away(home / "state")
        _replace(home / "config" / "openclaw.json", json.dumps(gateway, indent=1))
    except OSError as error:
        raise RuntimeFailed(
            f"The agent's folders cannot be made: {error}. This server needs to run as root, or "
            f"as uid {_UID}, for its agents to own their state."
        ) from error


def _replace(file: Path, text: str) -> None:
    """Write it whole or not at all, by a draft of our own: another server may write it just now."""
    with NamedTemporaryFile("w", dir=file.parent, prefix=".", delete=False) as draft:
        try:
            draft.write(text)
            draft.flush()
            os.fchmod(draft.fileno(), 0o644)
            Path(draft.name).replace(file)
        except BaseException:
            Path(draft.name).unlink()
            raise


def _give_away(state: Path) -> None:
    """Make the container's user the owner: of a new folder, or of one that plain processes used.

    Entry by entry from the folder's own descriptor, so that no link leads out of it.
    """
    for _, folders, files, descriptor in os.fwalk(state, topdown=False, follow_symlinks=False):
        for name in (*folders, *files):
            os.chown(name, _UID, _UID, dir_fd=descriptor, follow_symlinks=False)
    os.chown(state, _UID, _UID, follow_symlinks=False)


def _bind(source: Path, target: str, *, read_only: bool) -> dict[str, Any]:
    return {"Type": "bind", "Source": str(source), "Target": target, "ReadOnly": read_only}
