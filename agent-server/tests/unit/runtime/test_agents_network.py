"""Whether agents on one bridge are isolated depends on the kernel's settings."""

from pathlib import Path

import pytest
from ocmt_agent.runtime.docker_network import bridge_of, keeps_apart


@pytest.mark.parametrize(
    ("everywhere", "here", "apart"),
    [
        ("1\n", "0\n", True),
        ("0\n", "1\n", True),
        ("1\n", "1\n", True),
        ("0\n", "0\n", False),  # as libvirt and some guides advise
        (None, "0\n", False),  # br_netfilter is not loaded
        (None, None, False),
    ],
)
def test_agents_are_isolated_only_if_the_firewall_sees_their_traffic(
    tmp_path: Path, everywhere: str | None, here: str | None, apart: bool
) -> None:
    bridge = tmp_path / "sys/class/net/ocmt0/bridge"
    sysctl = tmp_path / "proc/sys/net/bridge"
    bridge.mkdir(parents=True)
    if here is not None:
        (bridge / "nf_call_iptables").write_text(here)
    if everywhere is not None:
        sysctl.mkdir(parents=True)
        (sysctl / "bridge-nf-call-iptables").write_text(everywhere)
    assert keeps_apart("ocmt0", root=tmp_path) == apart


def test_an_engine_on_another_machine_is_left_to_it(tmp_path: Path) -> None:
    assert keeps_apart("ocmt0", root=tmp_path)


def test_a_network_that_an_operator_made_has_another_bridge() -> None:
    ours = {"Id": "0123456789abcdef", "Options": {"com.docker.network.bridge.name": "ocmt0"}}
    assert bridge_of(ours) == "ocmt0"
    assert bridge_of({"Id": "0123456789abcdef", "Options": None}) == "br-0123456789ab"
    assert bridge_of({"Id": "0123456789abcdef"}) == "br-0123456789ab"
