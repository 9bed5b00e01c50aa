"""Which hosts need TLS, what their settings say, and the operator's folder of the CA."""

import contextlib
import re
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ocmt_agent.settings import AgentSettings
from ocmt_cli.checkout import ROOT
from ocmt_cli.deploy.inventory import Inventory, Role, load_inventory
from ocmt_cli.doctor.checks import certificates
from ocmt_cli.failure import CommandFailed
from ocmt_cli.setup.files import agent_env, management_env, units
from ocmt_cli.setup.firewall import openings
from ocmt_cli.trust import ending
from ocmt_cli.trust.authority import CA_LIFE, LIFE, new_authority
from ocmt_cli.trust.folder import locked, new_token, open_trust, refuse_another_clock
from ocmt_cli.trust.links import linked_hosts
from ocmt_common.host_credentials import HostCredentials
from ocmt_common.settings import load
from ocmt_management.settings import ManagementSettings

NOW = datetime(2026, 11, 30, tzinfo=UTC)
VAULT = "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


def _inventory(folder: Path, *hosts: tuple[str, str, str], more: str = "") -> Inventory:
    """An inventory of (name, address, roles)."""
    file = folder / "ocmt.toml"
    file.write_text(
        "".join(
            f'[hosts.{name}]\naddress = "{address}"\nroles = {roles.split()}\n'
            for name, address, roles in hosts
        )
        + more
    )
    return load_inventory(file)


def _load(inventory: Inventory, folder: Path) -> tuple[ManagementSettings, AgentSettings]:
    """How both servers read the files that setup writes."""
    texts = (
        management_env(
            inventory,
            inventory.with_role("mgmt")[0],
            token=new_token(),
            jwt=new_token(),
            vault=VAULT,
        ),
        agent_env(inventory, inventory.with_role("agent")[0], token=new_token()),
    )
    for name, text in zip(("mgmt", "agent"), texts, strict=True):
        (folder / f"{name}.env").write_text(text)
    return (
        load(ManagementSettings, env_file=folder / "mgmt.env", environ={}),
        load(AgentSettings, env_file=folder / "agent.env", environ={}),
    )


@pytest.mark.parametrize(
    ("front", "agents", "management_url", "agent_url", "listens"),
    [
        (
            "203.0.113.10", "203.0.113.11",
            "https://203.0.113.10:3443/", "https://203.0.113.11:4443", "0.0.0.0",
        ),
        (
            "2001:db8::10", "2001:db8::11",
            "https://[2001:db8::10]:3443/", "https://[2001:db8::11]:4443", "::",
        ),
        (
            "front.example.com", "10.0.0.5",
            "https://front.example.com:3443/", "https://10.0.0.5:4443", "0.0.0.0",
        ),
    ],
)  # fmt: skip
def test_two_hosts_reach_each_other_by_tls_only(
    tmp_path: Path, front: str, agents: str, management_url: str, agent_url: str, listens: str
) -> None:
    inventory = _inventory(tmp_path, ("front", front, "mgmt ui"), ("agents-1", agents, "agent"))
    management, agent = _load(inventory, tmp_path)
    assert management.agent_server_url == agent_url
    assert str(agent.management_url) == management_url
    assert (management.tls_host, agent.tls_host) == (listens, listens)
    assert management.tls_dir == Path("/opt/management-server/tls")
    assert agent.tls_dir == Path("/opt/ocmt/agent-server/tls")
    assert management.agent_auth_token.get_secret_value() == ""
    for host, unit in (("front", "ocmt-management"), ("agents-1", "ocmt-agent")):
        made = units(inventory, inventory.host(host))
        assert f"{unit}-tls.socket" in made
        assert f"{unit}-tls.socket" in made[f"{unit}@.service"]


@pytest.mark.parametrize("roles", ["mgmt agent ui", "agent mgmt", "mgmt agent"])
def test_one_machine_stays_on_loopback_with_nothing_to_configure(
    tmp_path: Path, roles: str
) -> None:
    inventory = _inventory(tmp_path, ("box", "203.0.113.10", roles))
    management, agent = _load(inventory, tmp_path)
    assert (management.agent_server_url, str(agent.management_url)) == (
        "http://127.0.0.1:4000",
        "http://127.0.0.1:3000/",
    )
    assert (management.tls_dir, agent.tls_dir) == (None, None)
    assert linked_hosts(inventory) == []
    assert not [name for name in units(inventory, inventory.host("box")) if "tls" in name]
    let_in = [str(one) for one in openings(inventory, inventory.host("box"))]
    assert let_in == ["22/tcp", "80/tcp", "443/tcp", "443/udp"]


def test_a_second_management_host_gets_tls_and_the_first_stays_on_loopback(tmp_path: Path) -> None:
    inventory = _inventory(
        tmp_path, ("box", "203.0.113.10", "mgmt agent"), ("front", "203.0.113.11", "mgmt")
    )
    assert [host.name for host in linked_hosts(inventory)] == ["box", "front"]
    management, agent = _load(inventory, tmp_path)
    assert management.agent_server_url == "http://127.0.0.1:4000"
    assert agent.tls_dir is not None


def test_the_folder_is_for_the_operators_eyes_and_is_read_again_as_it_was(tmp_path: Path) -> None:
    inventory = load_inventory(ROOT / "deploy" / "ocmt.example.toml").model_copy(
        update={"file": tmp_path / "ocmt.toml"}
    )
    made = open_trust(inventory, NOW)
    assert not made.path.exists()  # `--plan` changes nothing
    for host in linked_hosts(inventory):
        made = made.with_certificate(host, NOW)
    saved = made.saved()
    assert saved.path == tmp_path / "ocmt.secrets"
    modes = {file.name: file.stat().st_mode & 0o777 for file in saved.path.iterdir()}
    assert modes == dict.fromkeys(
        (".gitignore", "ca.key", "ca.pem", "tokens", "front.pem", "agents-1.pem"), 0o600
    )
    assert saved.path.stat().st_mode & 0o777 == 0o700
    again = open_trust(inventory, NOW)
    assert (again, again.unsaved) == (saved, {})
    assert again.with_certificate(inventory.host("front"), NOW) is again
    for secret in (again.authority.key, *again.tokens):
        assert secret not in repr(made) + repr(again)

    roles: dict[str, Role] = {"front": "mgmt", "agents-1": "agent"}
    for name, role in roles.items():
        folder = tmp_path / name
        folder.mkdir()
        files = again.files(inventory.host(name), role)
        for file, text in files.items():
            (folder / file).write_text(text)
        assert HostCredentials(folder).ends_at == NOW + LIFE
        assert "ca.key" not in files
        assert again.authority.key not in "".join(files.values())


@pytest.mark.parametrize("lost", ["ca.key", "ca.pem", "tokens"])
def test_a_folder_that_lost_a_file_is_refused_instead_of_a_second_ca(
    tmp_path: Path, lost: str
) -> None:
    inventory = _inventory(tmp_path, ("a", "192.0.2.1", "mgmt"), ("b", "192.0.2.2", "agent"))
    folder = open_trust(inventory, NOW).saved().path
    (folder / lost).unlink()
    with pytest.raises(CommandFailed, match=rf"lacks {lost}. Restore the complete folder"):
        open_trust(inventory, NOW)


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("ca.key", "", "is damaged"),
        ("ca.key", "nonsense", "is damaged"),
        ("ca.pem", "nonsense", "is damaged"),
        ("ca.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "is damaged"),
        ("ca.key", new_authority(NOW).key, "do not belong together"),
        ("ca.pem", new_authority(NOW).certificate, "do not belong together"),
        ("tokens", "\n", "tokens must have a token"),
        ("tokens", "half-a-token\n", "tokens must have a token"),
        ("tokens", "t" * 40 + "\0\n", "tokens must have a token"),
    ],
)
def test_a_damaged_folder_is_refused_with_the_cure_and_without_its_secrets(
    tmp_path: Path, file: str, text: str, says: str
) -> None:
    inventory = _inventory(tmp_path, ("a", "192.0.2.1", "mgmt"), ("b", "192.0.2.2", "agent"))
    folder = open_trust(inventory, NOW).saved().path
    (folder / file).write_text(text)
    with pytest.raises(CommandFailed, match=says) as refused:
        open_trust(inventory, NOW)
    assert "Restore the complete folder from a copy" in str(refused.value)
    assert "half-a-token" not in str(refused.value)


@pytest.mark.parametrize(
    ("later", "says"),
    [
        (
            timedelta(days=-2),
            "is not valid before 2026-11-29, and this machine's clock shows 2026-11-28",
        ),
        (timedelta(days=-3650), "clock shows 2016"),
        (CA_LIFE, "expired on 2046"),
    ],
)
def test_a_ca_that_is_not_valid_now_is_refused(tmp_path: Path, later: timedelta, says: str) -> None:
    inventory = _inventory(tmp_path, ("a", "192.0.2.1", "mgmt"), ("b", "192.0.2.2", "agent"))
    open_trust(inventory, NOW).saved()
    with pytest.raises(CommandFailed, match=says) as refused:
        open_trust(inventory, NOW + later)
    said = str(refused.value)
    assert "Correct the clock if it is wrong" in said
    assert "from a copy" not in said  # which is as old
    assert (
        f"remove {tmp_path}/ocmt.secrets, /opt/management-server/tls on a, "
        "/opt/ocmt/agent-server/tls on b, then run"
    ) in said
    assert re.search("setup a` and `.*setup b`", said)


@pytest.mark.parametrize(
    ("there", "fits"),
    [
        (NOW, True),
        (NOW - timedelta(hours=23), True),
        (NOW + timedelta(days=30), True),
        (NOW - timedelta(hours=25), False),
        (NOW + LIFE, False),
        (datetime(1970, 1, 1, tzinfo=UTC), False),
    ],
)
def test_no_certificate_is_made_that_the_hosts_clock_takes_for_invalid(
    tmp_path: Path, there: datetime, fits: bool
) -> None:
    inventory = _inventory(tmp_path, ("a", "192.0.2.1", "mgmt"), ("b", "192.0.2.2", "agent"))
    host = inventory.host("a")
    if fits:
        refuse_another_clock(host, there.timestamp(), NOW)
        return
    with pytest.raises(CommandFailed, match=rf"a: its clock shows {there:%Y-%m-%d %H:%M} UTC"):
        refuse_another_clock(host, there.timestamp(), NOW)


@pytest.mark.parametrize("file", ["ocmt.toml", "prod/eu.toml", "hosts.production.toml"])
def test_git_ignores_the_folder_wherever_the_inventory_is(tmp_path: Path, file: str) -> None:
    inventory = _inventory(tmp_path, ("a", "192.0.2.1", "mgmt"), ("b", "192.0.2.2", "agent"))
    (tmp_path / file).parent.mkdir(exist_ok=True)
    trust = open_trust(inventory.model_copy(update={"file": tmp_path / file}), NOW).saved()
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    words = ["git", "-C", str(tmp_path), "status", "--porcelain", "--untracked-files=all"]
    seen = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "ocmt.toml" in seen
    assert trust.path.name not in seen


def test_a_host_may_not_take_the_cas_file(tmp_path: Path) -> None:
    inventory = _inventory(tmp_path, ("ca", "192.0.2.1", "mgmt"), ("b", "192.0.2.2", "agent"))
    with pytest.raises(CommandFailed, match="Rename it in the inventory"):
        open_trust(inventory, NOW).with_certificate(inventory.host("ca"), NOW)


@pytest.mark.parametrize("fails", [False, True])
def test_two_commands_do_not_change_the_folder_at_once(
    tmp_path: Path, fails: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second sees what the first saved, or makes the CA that the first did not."""
    inventory = _inventory(tmp_path, ("a", "192.0.2.1", "mgmt"), ("b", "192.0.2.2", "agent"))
    opened, seen = threading.Event(), []

    def second() -> None:
        opened.wait()
        with locked(inventory):
            seen.append(open_trust(inventory, NOW).saved())

    other = threading.Thread(target=second)
    other.start()
    with contextlib.suppress(CommandFailed), locked(inventory):
        first = open_trust(inventory, NOW)
        opened.set()
        while "Waiting for another `./ocmt setup`" not in capsys.readouterr().out:
            time.sleep(0.001)
        if fails:
            raise CommandFailed("the host is away")
        first.saved()
    other.join()
    assert (seen[0].authority == first.authority) is not fails
    assert open_trust(inventory, NOW).authority == seen[0].authority


def test_a_command_that_saved_nothing_leaves_no_folder(tmp_path: Path) -> None:
    inventory = _inventory(tmp_path, ("a", "192.0.2.1", "mgmt"), ("b", "192.0.2.2", "agent"))
    with locked(inventory):
        path = open_trust(inventory, NOW).path
    assert not path.exists()


@pytest.mark.parametrize(
    ("days_before", "warned", "ended"),
    [
        (730, "", False),
        (61, "", False),
        (60, "expires on", False),
        (1, "expires on", False),
        (0, "expired on", True),
        (-30, "expired on", True),
    ],
)
def test_a_certificate_near_its_expiry_is_reported_with_the_remedy(
    tmp_path: Path, days_before: int, warned: str, ended: bool
) -> None:
    inventory = _inventory(tmp_path, ("a", "192.0.2.1", "mgmt"), ("b", "192.0.2.2", "agent"))
    trust = open_trust(inventory, NOW).with_certificate(inventory.host("a"), NOW).saved()
    now = NOW + LIFE - timedelta(days=days_before)
    text = trust.certificate("a") or ""
    assert ending.has_ended(text, now) is ended
    said = ending.warning(text, now)
    assert (warned in said, bool(said)) == (True, bool(warned))
    (check,) = certificates(trust.path, now=now)
    assert (check.level, "ocmt renew" in check.found) == (
        ("note", True) if warned else ("ok", False)
    )
    assert ending.warning("", now) == ""
