"""The rendered templates, checked by the programs that read them."""

import dataclasses
import re
import subprocess
import tomllib
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from ocmt_cli.deploy.hostside.supervisor import migrate_command, server_command
from ocmt_cli.deploy.inventory import Inventory, load_inventory
from ocmt_cli.failure import CommandFailed
from ocmt_cli.setup import files, firewall
from ocmt_cli.setup.changes import Change, Install, Run, Write, is_done
from ocmt_cli.setup.facts import Found, HostFacts
from ocmt_cli.setup.plan import Secrets, plan
from ocmt_testing.deploy.host_facts import FRESH_HOST

ROOT = Path(__file__).parents[4]
SECRETS = Secrets(token="t" * 40, jwt="j" * 40, vault="k1:v")
RESOLVERS = ("127.0.0.53", "10.9.0.3", "fe80::1%eth0", "2001:db8::53")
FRESH = replace(FRESH_HOST, resolvers=RESOLVERS)


@pytest.fixture
def units(inventory: Inventory, tmp_path: Path) -> Path:
    """All units as files, with an installed Python, and an instance of each template."""
    agent = inventory.agent.model_copy(update={"relay_bind": "10.213.0.1"})
    pull = inventory.pull.model_copy(update={"source": "https://git.example.com/you/ocmt.git"})
    whole = inventory.model_copy(update={"agent": agent, "pull": pull})
    policy = whole.deploy.model_copy(update={"service_user": "root"})
    whole = whole.model_copy(update={"deploy": policy})
    for host in whole.hosts.values():
        for name, made in files.units(whole, host).items():
            text = re.sub(r"/\S+/(venv/bin/python|source/ocmt)", "/usr/bin/python3", made)
            text = text.replace("WorkingDirectory=/opt/ocmt/source", "WorkingDirectory=/")
            (tmp_path / name).write_text(text)
            if "@" in name:
                (tmp_path / name.replace("@", "@r1")).write_text(text)
    return tmp_path


@pytest.mark.needs("systemd")
def test_units_are_what_systemd_accepts(units: Path) -> None:
    names = sorted(one.name for one in units.iterdir() if "@." not in one.name)
    assert len(names) == 13
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *names],
        capture_output=True, text=True, cwd=units, check=False,
        env={"SYSTEMD_UNIT_PATH": f"{units}:", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if "ocmt" in line]
    assert done.returncode == 0, done.stderr
    assert said == []


@pytest.mark.needs("systemd")
@pytest.mark.parametrize(
    ("unit", "limit"),
    [
        ("ocmt-management@.service", 3.0),
        ("ocmt-management-migrate@.service", 3.0),
        ("ocmt-management-expand@.service", 3.0),
        ("ocmt-agent@.service", 3.0),
        ("ocmt-management.service", 3.0),
        ("ocmt-agent.service", 3.0),
    ],
)
def test_units_are_hardened(units: Path, unit: str, limit: float) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", unit],
        capture_output=True, text=True, cwd=units, check=False,
    )  # fmt: skip
    level = re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)
    assert level is not None, done.stderr
    assert float(level[1]) <= limit


def test_units_start_what_the_deploy_starts(inventory: Inventory) -> None:
    front = inventory.host("front")
    agents = inventory.host("agents-1")
    made = files.units(inventory, front) | files.units(inventory, agents)
    mgmt, agent = "/opt/management-server", "/opt/ocmt/agent-server"
    for name, words in (
        ("ocmt-management@.service", server_command("mgmt", mgmt, "%i")),
        ("ocmt-management-migrate@.service", migrate_command(mgmt, "%i", expand=False)),
        ("ocmt-management-expand@.service", migrate_command(mgmt, "%i", expand=True)),
        ("ocmt-agent@.service", server_command("agent", agent, "%i")),
    ):
        assert f"ExecStart={' '.join(words)}\n" in made[name]
        assert "LoadCredential=env:" in made[name]
        if "grate" not in name and "expand" not in name:
            assert "Type=notify\n" in made[name]
            assert "Environment=OCMT_DRAIN_S=30\n" in made[name]


def test_the_page_gets_the_policy_that_management_would_send(inventory: Inventory) -> None:
    from types import SimpleNamespace
    from typing import Any, cast

    from ocmt_management.static_page.headers import content_security_policy

    settings = cast(Any, SimpleNamespace(base_url=files.page_origin(inventory)))
    assert files.content_security_policy(inventory) == content_security_policy(settings)
    assert files.content_security_policy(inventory) in files.caddyfile(
        inventory, inventory.host("front")
    )


@pytest.mark.needs("nginx")
@pytest.mark.parametrize("certified", [True, False])
def test_nginx_accepts_its_site(inventory: Inventory, tmp_path: Path, certified: bool) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-keyout",
         str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    site = files.nginx_conf(inventory, inventory.host("front"), certified=certified)
    site = re.sub(r"(ssl_certificate_key) .*;", rf"\1 {key};", site)
    site = re.sub(r"(ssl_certificate) .*;", rf"\1 {certificate};", site)
    config = tmp_path / "nginx.conf"
    config.write_text(
        f"pid {tmp_path}/pid; error_log stderr; events {{}} http {{ access_log off; {site} }}"
    )
    done = subprocess.run(
        ["nginx", "-t", "-p", str(tmp_path), "-c", str(config)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr


@pytest.mark.needs("caddy")
@pytest.mark.parametrize("layout", ["inventory", "apart"])
def test_caddy_accepts_its_site(
    request: pytest.FixtureRequest, tmp_path: Path, layout: str
) -> None:
    inventory: Inventory = request.getfixturevalue(layout)
    file = tmp_path / "Caddyfile"
    file.write_text(files.caddyfile(inventory, inventory.host("front")))
    check = ["caddy", "validate", "--adapter", "caddyfile", "--config", str(file)]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def apart(tmp_path: Path) -> Inventory:
    """The page on a separate host."""
    text = (ROOT / "deploy" / "ocmt.example.toml").read_text()
    page = '\n[hosts.page]\naddress = "203.0.113.20"\nroles = ["ui"]\n'
    file = tmp_path / "ocmt.toml"
    file.write_text(text.replace('roles = ["mgmt", "ui"]', 'roles = ["mgmt"]') + page)
    return load_inventory(file)


def test_managements_front_trusts_the_pages_hosts_for_their_clients_addresses(
    inventory: Inventory, apart: Inventory
) -> None:
    """Otherwise all its users would share one sign-in limit."""
    front = apart.host("front")
    caddy = files.caddyfile(apart, front)
    assert "@front remote_ip 203.0.113.20\n" in caddy
    assert "header_up X-Forwarded-For {header.X-Forwarded-For}" in caddy
    assert "set_real_ip_from 203.0.113.20;" in files.nginx_conf(apart, front, certified=True)

    for one, host in ((apart, "page"), (inventory, "front")):
        assert "remote_ip" not in files.caddyfile(one, one.host(host))
        assert "set_real_ip_from" not in files.nginx_conf(one, one.host(host), certified=True)


def test_management_and_agent_server_reach_only_each_others_tls_ports(
    inventory: Inventory,
) -> None:
    rules = firewall.firewall(inventory, inventory.host("agents-1"), [])
    assert "policy drop" in rules
    assert "4000" not in rules
    assert [line.strip() for line in rules.splitlines() if "4443" in line] == [
        "ip saddr 203.0.113.10 tcp dport 4443 accept"
    ]
    rules = firewall.firewall(inventory, inventory.host("front"), [])
    assert "3000" not in rules
    assert [line.strip() for line in rules.splitlines() if "3443" in line] == [
        "ip saddr 203.0.113.11 tcp dport 3443 accept"
    ]


def test_containers_reach_the_relay_and_nothing_else_of_their_host(inventory: Inventory) -> None:
    from ocmt_agent.runtime.docker_network import BRIDGE

    rules = [line.strip() for line in _rules(inventory, "agents-1")]
    assert firewall.AGENTS_BRIDGE == BRIDGE
    relay = rules.index(f"iifname {BRIDGE} tcp dport 4001 accept")
    assert rules[relay + 1] == f"iifname {BRIDGE} drop"
    assert relay + 1 < rules.index("tcp dport 22 accept")
    assert not [line for line in _rules(inventory, "front") if BRIDGE in line]


def test_port_53_is_open_to_the_hosts_own_resolvers_only(inventory: Inventory) -> None:
    rules = [line.strip() for line in _rules(inventory, "agents-1") if "dport 53" in line]
    assert rules == [
        "ip daddr 10.9.0.3 meta l4proto { tcp, udp } th dport 53 accept",
        "ip6 daddr fe80::1 meta l4proto { tcp, udp } th dport 53 accept",
        "ip6 daddr 2001:db8::53 meta l4proto { tcp, udp } th dport 53 accept",
    ]


@pytest.mark.parametrize(
    ("address", "host", "named"),
    [("203.0.113.10", "agents-1", "front"), ("203.0.113.11", "front", "agents-1")],
)
def test_a_name_where_a_rule_needs_an_address_is_refused_with_the_cure(
    tmp_path: Path, address: str, host: str, named: str
) -> None:
    example = (ROOT / "deploy" / "ocmt.example.toml").read_text()
    file = tmp_path / "ocmt.toml"
    file.write_text(example.replace(address, "other.example.com"))
    apart = load_inventory(file)
    with pytest.raises(CommandFailed, match=rf"hosts\.{named}\.address must be an IP address"):
        firewall.firewall(apart, apart.host(host), [])


@pytest.mark.needs("nft", "root")
@pytest.mark.parametrize("name", ["front", "agents-1"])
def test_nftables_accepts_the_firewall(inventory: Inventory, tmp_path: Path, name: str) -> None:
    file = tmp_path / "firewall.nft"
    file.write_text(firewall.firewall(inventory, inventory.host(name), RESOLVERS))
    done = subprocess.run(
        ["nft", "-c", "-f", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def _rules(inventory: Inventory, name: str) -> list[str]:
    return firewall.firewall(inventory, inventory.host(name), RESOLVERS).splitlines()


@pytest.mark.parametrize("name", ["front", "agents-1"])
def test_what_the_plan_writes_is_not_written_again(inventory: Inventory, name: str) -> None:
    import hashlib

    host = inventory.host(name)

    def planned(facts: HostFacts) -> list[Change]:
        return plan(
            facts, inventory=inventory, host=host, secrets=SECRETS, public_key="ssh-ed25519 A"
        )

    first = planned(FRESH)
    assert not is_done(first)
    steps = [step for change in first for step in change.steps]
    installs = [step for step in steps if isinstance(step, Install)]
    writes = [step for step in steps if isinstance(step, Write)]
    writes += [write for step in installs for write in step.writes]
    paths = {
        str(write.path): Found(hashlib.sha256(write.text.encode()).hexdigest(), write.mode, "root")
        for write in writes
    }
    texts = {str(write.path): write.text for write in writes}
    texts |= {str(step.append_to): f"# Theirs\n{step.line}\n" for step in installs}
    runs = [step.argv for step in steps if isinstance(step, Run)]
    paths |= {words[-1]: Found("", 0o755, "root") for words in runs if words[0] == "mkdir"}
    after = dataclasses.replace(
        FRESH,
        packages=frozenset(word for words in runs if "install" in words for word in words),
        users=frozenset({"ocmt"}),
        units=frozenset(words[-1] for words in runs if words[:2] == ("systemctl", "enable")),
        paths=paths,
        texts=texts,
        keys=frozenset({"ssh-ed25519 A"}),
        swap=True,
        firewall_loaded=True,
    )
    assert planned(after) == []


def test_a_server_that_pulls_gets_a_checkout_a_key_the_signers_and_a_timer(
    inventory: Inventory, tmp_path: Path
) -> None:
    signers = tmp_path / "my-signers"
    signers.write_text("ops@example.com ssh-ed25519 AAAA\n")
    file = tmp_path / "ocmt.toml"
    example = (ROOT / "deploy" / "ocmt.example.toml").read_text()
    file.write_text(
        f'{example}[pull]\nsource = "git@git.example.com:you/ocmt.git"\nsigners = "my-signers"\n'
    )
    whole = load_inventory(file)
    host = whole.host("front")
    changes = plan(FRESH, inventory=whole, host=host, secrets=SECRETS, public_key="")
    steps = [step for change in changes for step in change.steps]
    written = {str(step.path): step.text for step in steps if isinstance(step, Write)}
    assert written["/etc/ocmt/allowed_signers"] == signers.read_text()
    assert 'signers = "allowed_signers"' in written["/etc/ocmt/ocmt.toml"]
    unit = written["/etc/systemd/system/ocmt-pull.service"]
    assert (
        "ExecStart=/opt/ocmt/source/ocmt deploy --pull front --inventory /etc/ocmt/ocmt.toml\n"
    ) in unit
    runs = [" ".join(step.argv) for step in steps if isinstance(step, Run)]
    assert any(one.startswith("ssh-keygen") and "/etc/ocmt/deploy_key" in one for one in runs)
    assert any("clone" in one and one.endswith("/opt/ocmt/source") for one in runs)
    assert "systemctl enable --now ocmt-pull.timer" in runs
    assert any("apt-get" in one and " git " in f"{one} " for one in runs)


def test_a_root_folder_leaves_the_machine_alone(inventory: Inventory) -> None:
    host = inventory.host("agents-1").model_copy(update={"root": PurePosixPath("/tmp/one")})
    changes = plan(FRESH, inventory=inventory, host=host, secrets=SECRETS, public_key="")
    steps = [step for change in changes for step in change.steps]
    assert all(str(step.path).startswith("/tmp/one/") for step in steps if isinstance(step, Write))
    assert {step.argv[0] for step in steps if isinstance(step, Run)} == {"mkdir"}


def test_the_compose_file_sets_what_the_servers_require() -> None:
    text = (ROOT / "deploy" / "compose.yaml").read_text()
    for name in ("JWT_SECRET", "VAULT_KEY", "AGENT_AUTH_TOKEN", "AUTH_TOKEN", "BASE_URL"):
        assert re.search(rf"^      {name}: ", text, re.M), name
    for file in re.findall(r"dockerfile: (\S+)", text):
        for line in (ROOT / file).read_text().splitlines():
            if line.startswith("COPY ") and "--from" not in line:
                for source in line.split()[1:-1]:
                    assert (ROOT / source).exists(), line
    assert "ports:" not in text
    assert tomllib.loads((ROOT / "deploy" / "ocmt.example.toml").read_text())["hosts"]
