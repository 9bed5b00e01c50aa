"""What tool servers' containers are made from, and why an installation failed."""

import json
from pathlib import Path

import pytest
from ocmt_agent.runtime.accounts import Account, account_of, tools_account_of
from ocmt_agent.tool_servers.container_config import install_container, tool_container
from ocmt_agent.tool_servers.containers import Launch, Package
from ocmt_agent.tool_servers.installation import why_not_installed
from ocmt_common.container_names import INSTANCE_LABEL, TOOLS_LABEL, USER_LABEL

PACKAGE = Package("@scope/tool", "1.2.3", "sha512-x")
KEY = "sk-0123456789"
LAUNCH = Launch("ada", "one", 1, PACKAGE, ("--a", "b c"), {"KEY": KEY, "HOME": "/root"})
TOOL = tool_container(
    LAUNCH,
    image="image",
    instance="i1",
    account=Account(70_001, 70_001),
    package=Path("/data/tool-packages/x"),
    accounts=Path("/data/tool-packages/.accounts/70001"),
)
INSTALL = install_container(
    PACKAGE,
    image="image",
    instance="i1",
    account=Account(70_000, 70_000),
    target=Path("/data/tool-packages/.draft"),
    authorities=Path("/etc/ssl/certs/ca-certificates.crt"),
)


@pytest.mark.parametrize("config", [TOOL, INSTALL], ids=["tool", "install"])
def test_both_are_as_strict_as_they_can_be(config: dict[str, object]) -> None:
    host = config["HostConfig"]
    assert isinstance(host, dict)
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["ReadonlyRootfs"] is True
    assert host["NetworkMode"] == "ocmt-tools"
    assert host["MemorySwap"] == host["Memory"]
    assert host["PidsLimit"] == 128
    assert host["RestartPolicy"] == {"Name": "no"}
    assert all("noexec" in options and "size=" in options for options in host["Tmpfs"].values())
    assert not any("docker.sock" in mount["Source"] for mount in host["Mounts"])
    # No agent's container: neither the runtime nor an older release takes it for one.
    labels = config["Labels"]
    assert isinstance(labels, dict)
    assert labels[TOOLS_LABEL] == "i1"
    assert not {USER_LABEL, INSTANCE_LABEL} & set(labels)


def test_a_tool_server_writes_nothing_and_logs_nothing() -> None:
    host = TOOL["HostConfig"]
    assert host["Memory"] == 256 * 1024 * 1024
    assert all(mount["ReadOnly"] for mount in host["Mounts"])
    assert host["LogConfig"]["Type"] == "none"
    assert TOOL["Cmd"] == ["/package/start", "--a", "b c"]
    assert TOOL["User"] == "70001:70001"
    assert TOOL["StdinOnce"] is True


def test_the_credential_is_in_its_environment_and_nowhere_else() -> None:
    config = dict(TOOL)
    environment = config.pop("Env")
    assert f"KEY={KEY}" in environment
    assert "HOME=/tmp" in environment
    assert KEY not in json.dumps(config)
    assert KEY not in repr(LAUNCH)
    assert KEY not in json.dumps(INSTALL)


def test_an_installation_writes_its_draft_alone() -> None:
    mounts = {mount["Target"]: mount["ReadOnly"] for mount in INSTALL["HostConfig"]["Mounts"]}
    assert mounts == {"/package": False, "/etc/ssl/host-authorities.crt": True}
    assert INSTALL["Cmd"][-3:] == ["@scope/tool", "1.2.3", "sha512-x"]
    assert "--ignore-scripts" in INSTALL["Cmd"][3]


@pytest.mark.parametrize(
    ("exit_code", "output", "words"),
    [
        (None, "", "longer than 300 s"),
        (11, "sha512-other", "does not have the given hash"),
        (13, "a, b", "no program of its own name"),
        (137, "", "more than 512 MB"),
        (12, "npm error code ENOSPC", "more than 512 MB"),
        (14, "Error: ENOSPC: no space left on device", "more than 512 MB"),
        (10, "npm error code E404\nnpm error 404 Not Found", "does not have it"),
        (10, "npm error code ETARGET", "does not have it"),
        (10, "npm error code EAI_AGAIN", "cannot reach npm's registry"),
        (10, "npm error code ECONNREFUSED", "cannot reach npm's registry"),
        (12, "npm error code EINTEGRITY", "npm failed (EINTEGRITY)"),
        (12, "npm error code SELF_SIGNED_CERT_IN_CHAIN", "npm failed (SELF_SIGNED_CERT_IN_CHAIN)"),
        (1, "Error: something\n", "npm failed (exit code 1)"),
    ],
)
def test_a_failed_installation_is_explained(exit_code: int | None, output: str, words: str) -> None:
    told = why_not_installed(PACKAGE, exit_code=exit_code, output=output)
    assert words in told
    assert told.startswith("The package @scope/tool@1.2.3 cannot be installed: ")
    assert told.count(". ") == 1


WHOLE_HOST = "0 0 4294967295\n"
UNPRIVILEGED_LXC = "0 100000 65536\n"


@pytest.mark.parametrize("uid_map", [WHOLE_HOST, UNPRIVILEGED_LXC])
def test_tool_servers_have_another_uid_than_any_agent(uid_map: str) -> None:
    numbers = range(1, 2000)
    tools = {tools_account_of(number, uid_map).uid for number in numbers}
    agents = {account_of(number, uid_map).uid for number in (0, *numbers)}
    assert len(tools) == len(numbers)
    assert not tools & agents
    assert max(tools) < 2**31 - 1


@pytest.mark.parametrize(
    ("number", "uid_map"), [(20_000, UNPRIVILEGED_LXC), (2**30, WHOLE_HOST), (1, "")]
)
def test_a_host_without_a_uid_for_them_is_told(number: int, uid_map: str) -> None:
    with pytest.raises(ValueError, match=f"tool servers of the agent number {number}"):
        tools_account_of(number, uid_map)
