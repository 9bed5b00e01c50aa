"""Configurations of the containers that run and install tool servers. Pure.

Both are stricter than an agent's: they have another network, which the firewall of `ocmt setup`
keeps from the relay, and of the disk only an installation can write to its own folder.
"""

from pathlib import Path
from typing import Any

from ocmt_common.container_names import TOOLS_LABEL

from ocmt_agent.runtime.accounts import Account
from ocmt_agent.runtime.docker_network import TOOLS_NETWORK
from ocmt_agent.tool_servers.containers import Launch, Package
from ocmt_agent.tool_servers.installation import MOST_MB, install_command

MEMORY_MB = 256
_MB = 1024 * 1024
_AUTHORITIES = "/etc/ssl/host-authorities.crt"
_TMP = "/tmp"  # noqa: S108 (the container's own, in its memory)


def tool_container(
    launch: Launch, *, image: str, instance: str, account: Account, package: Path, accounts: Path
) -> dict[str, Any]:
    """The body of `POST /containers/create`; `package` and `accounts` are folders of the host."""
    environment = {**launch.environment, **_environment(_TMP)}
    config = _container(
        image=image,
        instance=instance,
        account=account,
        command=["/package/start", *launch.arguments],
        environment=environment,
        memory_mb=MEMORY_MB,
    )
    config |= {
        "OpenStdin": True,
        # Its input closes when this server ends, even if it is killed.
        "StdinOnce": True,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "WorkingDir": _TMP,
    }
    config["Labels"] |= {
        "ocmt.tools.user": launch.user_id,
        "ocmt.tools.server": launch.server_id,
        "ocmt.tools.package": str(launch.package),
    }
    config["HostConfig"] |= {
        "Tmpfs": {_TMP: "rw,nosuid,nodev,noexec,size=64m,mode=1777"},
        # Not logged: the output has users' data.
        "LogConfig": {"Type": "none", "Config": {}},
        "Mounts": [
            _bind(package, "/package", read_only=True),
            _bind(accounts / "passwd", "/etc/passwd", read_only=True),
            _bind(accounts / "group", "/etc/group", read_only=True),
        ],
    }
    return config


def install_container(
    package: Package,
    *,
    image: str,
    instance: str,
    account: Account,
    target: Path,
    authorities: Path | None,
) -> dict[str, Any]:
    """The body of `POST /containers/create` for an installation in the folder `target`.

    `authorities` is the host's file of certificate authorities, which may include private ones.
    """
    mounts = [_bind(target, "/package", read_only=False)]
    environment = {"npm_config_cache": "/install/cache", **_environment("/install")}
    if authorities is not None:
        mounts.append(_bind(authorities, _AUTHORITIES, read_only=True))
        environment["NODE_EXTRA_CA_CERTS"] = _AUTHORITIES
    config = _container(
        image=image,
        instance=instance,
        account=account,
        command=install_command(package),
        environment=environment,
        # Files are in memory until they are copied.
        memory_mb=MOST_MB + 512,
    )
    config["HostConfig"] |= {
        "Tmpfs": {
            "/install": f"rw,nosuid,nodev,noexec,size={MOST_MB}m,nr_inodes=100k,mode=1777",
            _TMP: "rw,nosuid,nodev,noexec,size=16m,mode=1777",
        },
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "1"}},
        "Mounts": mounts,
    }
    return config


def _container(
    *,
    image: str,
    instance: str,
    account: Account,
    command: list[str],
    environment: dict[str, str],
    memory_mb: int,
) -> dict[str, Any]:
    return {
        "Image": image,
        "Entrypoint": [],
        "Cmd": command,
        "User": f"{account.uid}:{account.gid}",
        "Env": [f"{name}={value}" for name, value in sorted(environment.items())],
        "Labels": {TOOLS_LABEL: instance},
        "HostConfig": {
            "Init": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "PidsLimit": 128,
            "NanoCpus": 1_000_000_000,
            "Memory": memory_mb * _MB,
            "MemorySwap": memory_mb * _MB,
            "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}],
            "ReadonlyRootfs": True,
            "NetworkMode": TOOLS_NETWORK,
            "RestartPolicy": {"Name": "no"},
        },
    }


def _environment(home: str) -> dict[str, str]:
    return {
        "HOME": home,
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "NODE_ENV": "production",
        # Overrides the image's preloaded library, which is for the gateway.
        "LD_PRELOAD": "",
    }


def _bind(source: Path, target: str, *, read_only: bool) -> dict[str, Any]:
    return {"Type": "bind", "Source": str(source), "Target": target, "ReadOnly": read_only}
