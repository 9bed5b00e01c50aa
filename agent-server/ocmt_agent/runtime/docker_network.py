"""The networks of agents and of tool servers: bridges without traffic between their containers.

One bridge for all isolates as well as one per agent, provided that traffic between the bridge's
ports passes the firewall, where the engine's rule drops it. Containers cannot forge addresses to
evade the rule, since they may not open raw sockets.
"""

import ipaddress
from pathlib import Path
from typing import Any

import aiodocker
from aiodocker.exceptions import DockerError

from ocmt_agent.runtime.base import RuntimeFailed

NETWORK = "ocmt"
BRIDGE = "ocmt0"
"""The network's interface on the host, to which the firewall rules of `ocmt setup` refer."""
TOOLS_NETWORK = "ocmt-tools"
TOOLS_BRIDGE = "ocmt1"
"""The interface of the tool servers' network, which those firewall rules keep from the relay."""
_ICC = "com.docker.network.bridge.enable_icc"
_BRIDGE_NAME = "com.docker.network.bridge.name"
# A bridge has at most 1,023 ports, so a /21 suffices. Set explicitly, since the engine's default
# pools allow about thirty networks.
_RANGES = [f"10.{second}.0.0/21" for second in range(213, 233)]


async def ensure_network(docker: aiodocker.Docker) -> str:
    """The id of the agents' network, created if missing.

    Raises `RuntimeFailed` if it is unsafe or there is no address range for it.
    """
    return str((await _shown(docker, NETWORK, BRIDGE))["Id"])


async def ensure_tools_network(docker: aiodocker.Docker) -> None:
    """Create the tool servers' network if it is missing. Raises like `ensure_network`."""
    await _shown(docker, TOOLS_NETWORK, TOOLS_BRIDGE)


async def bridge_address(docker: aiodocker.Docker) -> str:
    """The host's address on the agents' network. Raises like `ensure_network`."""
    config = (await _shown(docker, NETWORK, BRIDGE))["IPAM"]["Config"][0]
    return str(config.get("Gateway") or ipaddress.ip_network(config["Subnet"])[1])


async def _shown(docker: aiodocker.Docker, name: str, bridge: str) -> dict[str, Any]:
    try:
        network = await docker.networks.get(name)
    except DockerError as error:
        if error.status != 404:
            raise
        await _make(docker, name, bridge)
        network = await docker.networks.get(name)
    shown: dict[str, Any] = await network.show()
    if (shown.get("Options") or {}).get(_ICC) != "false":
        raise RuntimeFailed(
            f"The network {name} lets containers reach each other. Remove it (`docker network rm "
            f"{name}`); the agent server then creates it correctly."
        )
    if shown.get("EnableIPv6"):
        raise RuntimeFailed(
            f"The network {name} has IPv6, over which containers reach each other. Remove it "
            f"(`docker network rm {name}`); the agent server then creates it correctly."
        )
    if not keeps_apart(bridge_of(shown)):
        raise RuntimeFailed(
            "Traffic between agents on their network bypasses the firewall, so they could reach "
            "each other. Run `modprobe br_netfilter` and `sysctl -w "
            "net.bridge.bridge-nf-call-iptables=1`, and make both permanent "
            "(`/etc/modules-load.d`, `/etc/sysctl.d`)."
        )
    return shown


def bridge_of(shown: dict[str, Any]) -> str:
    """The name of a network's interface on the host."""
    return str((shown.get("Options") or {}).get(_BRIDGE_NAME) or f"br-{shown['Id'][:12]}")


def keeps_apart(bridge: str, *, root: Path = Path("/")) -> bool:
    """Whether traffic between a bridge's ports passes the firewall (`ip-sysctl.rst`).

    Also `True` if this host does not have the bridge, since the engine is then remote.
    """
    folder = root / "sys/class/net" / bridge / "bridge"
    if not folder.exists():
        return True
    settings = (folder / "nf_call_iptables", root / "proc/sys/net/bridge/bridge-nf-call-iptables")
    return any(file.exists() and file.read_text().strip() == "1" for file in settings)


async def _make(docker: aiodocker.Docker, name: str, bridge: str) -> None:
    taken = [
        ipaddress.ip_network(config["Subnet"])
        for network in await docker.networks.list()
        for config in (network.get("IPAM") or {}).get("Config") or []
        if "Subnet" in config
    ]
    for candidate in _RANGES:
        subnet = ipaddress.ip_network(candidate)
        if any(subnet.version == other.version and subnet.overlaps(other) for other in taken):
            continue
        try:
            await docker.networks.create(_config(subnet, name, bridge))
        except DockerError as error:
            if error.status == 409 or "already exists" in error.message:
                return  # created concurrently
            if "overlap" in error.message.lower():
                continue  # the host has a route there
            raise
        return
    raise RuntimeFailed(
        f"There is no free address range for the network {name}. Create a bridge network of that "
        f"name with a range of your own and the options {_ICC}=false and {_BRIDGE_NAME}={bridge}."
    )


def _config(subnet: Any, name: str, bridge: str) -> dict[str, Any]:
    return {
        "Name": name,
        "Driver": "bridge",
        "CheckDuplicate": True,
        "IPAM": {"Config": [{"Subnet": str(subnet), "Gateway": str(subnet[1])}]},
        "Options": {
            _ICC: "false",
            _BRIDGE_NAME: bridge,
        },
        "Labels": {"ocmt": "agents"},
    }
