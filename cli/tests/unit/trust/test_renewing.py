"""`ocmt renew` cut off at any step: the agent server accepts every token that management sends."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from ocmt_cli.deploy.inventory import HostEntry, Inventory, Role, load_inventory
from ocmt_cli.failure import CommandFailed
from ocmt_cli.trust import renewing
from ocmt_cli.trust.folder import TrustFolder, open_trust
from ocmt_cli.trust.renewing import renew
from ocmt_common.host_credentials import token_id

NOW = datetime(2026, 11, 30, tzinfo=UTC)
_MOST_STEPS = 100


class Killed(Exception):
    pass


@dataclass
class Between:
    """Two running servers, each of which follows its TLS_DIR at once."""

    steps_left: int = _MOST_STEPS
    files: dict[str, dict[str, str]] = field(default_factory=lambda: {"mgmt": {}, "agent": {}})
    in_use: str = ""

    def step(self) -> None:
        self.steps_left -= 1
        if self.steps_left < 0:
            raise Killed

    def tokens(self, role: str) -> list[str]:
        return self.files[role]["tokens"].split()

    @property
    def served(self) -> bool:
        """Whether the agent server accepts what management sends."""
        return self.tokens("mgmt")[0] in self.tokens("agent")


@dataclass
class Server:
    between: Between
    entry: HostEntry
    role: Role

    def put(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            self.between.step()
            self.between.files[self.role][name] = text
            assert self.between.served

    def health(self) -> dict[str, Any] | None:
        self.between.step()
        assert self.between.served
        if self.role == "mgmt":
            self.between.in_use = token_id(self.between.tokens("mgmt")[0])
        tokens = [token_id(one) for one in self.between.tokens("agent")]
        return {"tls": {"tokens": tokens, "tokenInUse": self.between.in_use}}


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    file = tmp_path / "ocmt.toml"
    file.write_text(
        '[hosts.a]\naddress = "192.0.2.1"\nroles = ["mgmt"]\n'
        '[hosts.b]\naddress = "192.0.2.2"\nroles = ["agent"]\n'
    )
    return load_inventory(file)


def _set_up(inventory: Inventory) -> tuple[Between, list[Server], TrustFolder]:
    trust = open_trust(inventory, NOW)
    for host in inventory.hosts.values():
        trust = trust.with_certificate(host, NOW)
    trust = trust.saved()
    between = Between()
    servers = [
        Server(between, inventory.host("a"), "mgmt"),
        Server(between, inventory.host("b"), "agent"),
    ]
    for server in servers:
        between.files[server.role].update(trust.files(server.entry, server.role))
    return between, servers, trust


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewing, "_LOOK_EVERY_S", 0)


def _renew(trust: TrustFolder, servers: list[Server]) -> TrustFolder:
    return renew(trust, servers, now=NOW, report=lambda _: None, within_s=0)


def test_killed_after_any_step_the_hosts_stay_connected_and_the_next_renewal_ends(
    inventory: Inventory,
) -> None:
    for steps in range(_MOST_STEPS):
        between, servers, trust = _set_up(inventory)
        before = trust.tokens
        between.steps_left = steps
        try:
            _renew(trust, servers)
            killed = False
        except Killed:
            killed = True
        assert between.served
        between.steps_left = _MOST_STEPS
        after = _renew(open_trust(inventory, NOW), servers)
        assert between.served
        assert between.tokens("agent") == between.tokens("mgmt") == list(after.tokens)
        assert len(after.tokens) == 1
        assert not set(after.tokens) & set(before)
        if not killed:
            assert steps > 10
            return
    pytest.fail("it never came to its end")


@dataclass
class Late(Server):
    """A management server that sends its old token in its first answers about its health."""

    looks: int = 3

    def __post_init__(self) -> None:
        self.sent = self.between.tokens("mgmt")[0]

    def put(self, files: Mapping[str, str]) -> None:
        self.written = files["tokens"].split()[0]

    def health(self) -> dict[str, Any] | None:
        self.looks -= 1
        if self.looks == 0:
            self.sent = self.written
        assert self.sent in self.between.tokens("agent"), "the old token went too early"
        self.between.in_use = token_id(self.sent)
        return {}


@pytest.mark.parametrize("order", [["late", "mgmt"], ["mgmt", "late"], ["late", "mgmt", "late"]])
def test_the_old_token_stays_until_every_management_server_sends_the_new_one(
    inventory: Inventory, order: list[str]
) -> None:
    between, (prompt, agent), trust = _set_up(inventory)
    late = [Late(between, inventory.host("a"), "mgmt", looks=4 + 2 * at) for at in range(2)]
    servers = [late.pop() if name == "late" else prompt for name in order]
    renew(trust, [*servers, agent], now=NOW, report=lambda _: None, within_s=5)
    for server in servers:
        server.health()
    assert len(between.tokens("agent")) == 1


@pytest.mark.parametrize(
    "health",
    [
        lambda said: {**said, "tls": None},  # another release without TLS_DIR came up meanwhile
        lambda said: {},
        lambda said: {**said, "tls": {**said["tls"], "tokens": []}},
    ],
)
def test_an_agent_server_that_does_not_take_the_token_is_named(
    inventory: Inventory, health: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    between, servers, trust = _set_up(inventory)
    seen = 0

    class Restarted(Server):
        def health(self) -> dict[str, Any] | None:
            nonlocal seen
            seen += 1
            said = super().health()
            assert said is not None
            return said if seen == 1 else health(said)

    with pytest.raises(CommandFailed, match="b: the agent server does not accept the new token"):
        _renew(trust, [servers[0], Restarted(between, inventory.host("b"), "agent")])
    assert between.served
