"""`ocmt renew` while a person chats and an agent calls its model, with real servers."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from ocmt_cli.deploy.inventory import HostEntry, Inventory, Role, load_inventory
from ocmt_cli.failure import CommandFailed
from ocmt_cli.trust.folder import TrustFolder, open_trust
from ocmt_cli.trust.links import agent_server_url, agents_management_url, env_lines
from ocmt_cli.trust.renewing import renew
from ocmt_common.host_credentials import token_id
from ocmt_testing.agent_server.gateway_program import stand_in_for_node
from ocmt_testing.deploy.farm import (
    AGENT_ENV,
    AUTH_TOKEN,
    MGMT_ENV,
    VAULT_KEY,
    Farm,
    Machine,
    end_processes_below,
)
from ocmt_testing.deploy.load import Chats, Load, ModelCalls, Person, until
from ocmt_testing.ports import free_ports

ROLES: tuple[Role, ...] = ("mgmt", "agent")


@dataclass
class Running:
    """A server as a separate process, like on its host."""

    entry: HostEntry
    role: Role
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def put(self, files: Mapping[str, str]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            draft = self.folder / f".{name}"
            draft.write_text(text)
            draft.replace(self.folder / name)

    def health(self) -> dict[str, Any] | None:
        try:
            answer = httpx2.get(f"http://127.0.0.1:{self.port}/health", timeout=30, trust_env=False)
        except httpx2.TransportError:
            return None
        said: dict[str, Any] = answer.json()
        return said

    @property
    def log(self) -> str:
        return (self.folder.parent / "log").read_text()

    def start(self) -> None:
        module = {"mgmt": "ocmt_management", "agent": "ocmt_agent"}[self.role]
        with (self.folder.parent / "log").open("ab") as log:
            self.process = started = subprocess.Popen(
                [sys.executable, "-m", module, "--env-file", str(self.folder.parent / ".env")],
                stdout=log, stderr=log, env={"PATH": "/usr/bin:/bin"},
            )  # fmt: skip
        until(lambda: self.health() is not None or started.poll() is not None)
        assert started.poll() is None, self.log


@dataclass
class Two:
    farm: Farm
    inventory: Inventory
    trust: TrustFolder
    mgmt: Running
    agent: Running

    def renew(self, *servers: Running, within_s: float = 30) -> None:
        chosen = servers or (self.mgmt, self.agent)
        self.trust = renew(
            self.trust, chosen, now=datetime.now(UTC), report=lambda _: None, within_s=within_s
        )


@contextmanager
def _two(folder: Path) -> Iterator[Two]:
    """Management at 127.0.0.1, the agent server at localhost: two machines by their addresses."""
    port, agent_port, relay_port, tls, agent_tls = free_ports(5)
    file = folder / "ocmt.toml"
    file.write_text(
        '[hosts.front]\naddress = "127.0.0.1"\nroles = ["mgmt"]\n'
        f'root = "{folder}/front"\n'
        '[hosts.agents-1]\naddress = "localhost"\nroles = ["agent"]\n'
        f'root = "{folder}/agents-1"\n'
        f"[mgmt]\nport = {port}\ntls_port = {tls}\n"
        f"[agent]\nport = {agent_port}\nrelay_port = {relay_port}\ntls_port = {agent_tls}\n"
    )
    inventory = load_inventory(file)
    hosts = dict(zip(ROLES, inventory.hosts.values(), strict=True))
    machines: dict[str, Machine] = {
        role: Machine(host.name, folder / host.name, 0, folder) for role, host in hosts.items()
    }
    farm = Farm(folder, machines, file, port, agent_port, relay_port)
    fill = {
        "token": AUTH_TOKEN, "port": port, "agent_port": agent_port, "relay_port": relay_port,
        "vault_key": VAULT_KEY, "ui": folder, "node": stand_in_for_node(folder), "openclaw": folder,
    }  # fmt: skip
    urls: dict[Role, str] = {
        "mgmt": f"AGENT_SERVER_URL={agent_server_url(inventory, hosts['mgmt'])}",
        "agent": f"MANAGEMENT_URL={agents_management_url(inventory, hosts['agent'])}",
    }
    now = datetime.now(UTC)
    trust = open_trust(inventory, now)
    for host in hosts.values():
        trust = trust.with_certificate(host, now)
    trust = trust.saved()
    servers: dict[Role, Running] = {}
    templates = {"mgmt": (MGMT_ENV, port), "agent": (AGENT_ENV, agent_port)}
    for role in ROLES:
        template, own_port = templates[role]
        text = template.format(data=folder / f"{role}-data", **fill) + f"PORT={own_port}\n"
        name = urls[role].partition("=")[0]
        lines = [line for line in text.splitlines() if not line.startswith(f"{name}=")]
        lines += [urls[role], *env_lines(inventory, hosts[role], role)]
        place = farm.component(role)
        place.mkdir(parents=True)
        (place / ".env").write_text("\n".join(lines))
        server = Running(hosts[role], role, place / "tls", own_port)
        server.put(trust.files(hosts[role], role))
        servers[role] = server
    try:
        yield Two(farm, inventory, trust, servers["mgmt"], servers["agent"])
    finally:
        end_processes_below(folder)
        for server in servers.values():
            if server.process is not None:
                server.process.wait()


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    with _two(tmp_path) as made:
        yield made


def test_no_request_fails_while_certificates_and_token_are_replaced(two: Two) -> None:
    two.agent.start()
    two.mgmt.start()
    person = Person(two.farm, python=Path(sys.executable))
    with Chats(person, 1) as first:
        until(lambda: first.turns > 0)
    assert first.failures == []
    before = [two.trust.tokens[0]]
    with (
        Load(*two.farm.urls) as load,
        Chats(person) as chats,
        ModelCalls(two.farm, person.agent_token()) as calls,
    ):
        for _ in range(3):
            turns, count = chats.turns, calls.count
            two.renew()
            before.append(two.trust.tokens[0])
            until(lambda: chats.turns > turns + 5 and calls.count > count)  # noqa: B023
    assert (load.failures, chats.failures, calls.failures) == ([], [], [])
    assert (load.count > 15, chats.turns > 15, calls.count > 2) == (True, True, True)
    assert chats.restarts == 0  # open sockets stayed open

    health = two.agent.health()
    assert health is not None
    assert len(set(before)) == 4
    assert health["tls"]["tokens"] == [token_id(before[-1])]
    logs = two.mgmt.log + two.agent.log
    keys = (two.agent.folder / "host.pem").read_text() + (two.mgmt.folder / "host.pem").read_text()
    secrets = [*before, *[line for line in keys.splitlines() if len(line) == 64]]
    assert [secret for secret in secrets if secret in logs] == []
    arguments = [
        Path(f"/proc/{server.process.pid}/cmdline").read_text()
        for server in (two.mgmt, two.agent)
        if server.process is not None
    ]
    assert [token for token in before if token in "".join(arguments)] == []


@pytest.mark.parametrize("broken_off", ["before management", "before the old token goes"])
def test_a_renewal_that_broke_off_is_finished_by_the_next(two: Two, broken_off: str) -> None:
    two.agent.start()
    two.mgmt.start()

    class Lost(Running):
        def put(self, files: Mapping[str, str]) -> None:
            if broken_off == "before management" or set(files) == {"tokens"}:
                raise CommandFailed("the line dropped")
            super().put(files)

    one, other = (two.mgmt, two.agent)
    lost = one if broken_off == "before management" else other
    breaking = Lost(lost.entry, lost.role, lost.folder, lost.port)
    with pytest.raises(CommandFailed, match="the line dropped"):
        two.renew(*(breaking if server is lost else server for server in (one, other)))
    assert _tokens(two) == 2
    assert _management_is_served(two)

    two.renew()
    assert _tokens(two) == 1
    assert _management_is_served(two)


def test_the_old_token_stays_good_when_management_does_not_take_the_new_one(two: Two) -> None:
    two.agent.start()
    two.mgmt.start()
    old = two.trust.tokens[0]

    class Deaf(Running):
        def put(self, files: Mapping[str, str]) -> None:
            """Discards the files."""

    deaf = Deaf(two.mgmt.entry, "mgmt", two.mgmt.folder, two.mgmt.port)
    with pytest.raises(CommandFailed, match="was not sent the new token by management"):
        two.renew(deaf, two.agent, within_s=2)
    health = two.agent.health()
    assert health is not None
    assert token_id(old) in health["tls"]["tokens"]
    assert _management_is_served(two)


def _tokens(two: Two) -> int:
    """The number of tokens in the operator's folder, read again."""
    two.trust = open_trust(two.inventory, datetime.now(UTC))
    return len(two.trust.tokens)


def _management_is_served(two: Two) -> bool:
    """Wait until the agent server obeys management's orders."""

    def answers() -> bool:
        health = two.mgmt.health()
        return health is not None and bool(health["checks"]["agentServer"]["ok"])

    until(answers)
    return True


@pytest.mark.parametrize(
    ("role", "setting", "says"),
    [
        ("agent", "HOST=0.0.0.0", "HOST: must be 127.0.0.1 or ::1"),
        ("agent", "MANAGEMENT_URL=http://front.example:3000", "MANAGEMENT_URL: must be https://"),
        ("agent", "TLS_DIR=/nowhere", "Run `./ocmt setup` for this host"),
        ("mgmt", "AGENT_SERVER_URL=http://203.0.113.11:4000", "AGENT_SERVER_URL: must be https://"),
        ("mgmt", "TLS_DIR=/nowhere", "Run `./ocmt setup` for this host"),
    ],
)
def test_a_server_that_would_speak_in_the_clear_does_not_start(
    two: Two, role: Role, setting: str, says: str
) -> None:
    server = two.mgmt if role == "mgmt" else two.agent
    env = server.folder.parent / ".env"
    name = setting.partition("=")[0]
    kept = [line for line in env.read_text().splitlines() if not line.startswith(f"{name}=")]
    env.write_text("\n".join([*kept, setting]))
    module = {"mgmt": "ocmt_management", "agent": "ocmt_agent"}[role]
    done = subprocess.run(
        [sys.executable, "-m", module, "--env-file", str(env)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, says in done.stderr) == (78, True), done.stderr
    assert "Traceback" not in done.stderr
