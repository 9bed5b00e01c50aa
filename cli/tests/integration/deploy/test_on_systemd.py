"""Deploys, rollbacks, cuts and restores with the real supervisor, on a systemd that was booted."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from ocmt_cli.deploy.deployer import Deployer, Report
from ocmt_cli.deploy.inventory import load_inventory
from ocmt_cli.deploy.orchestration import deploy
from ocmt_cli.deploy.rollback import rollback
from ocmt_cli.deploy.source import read_source
from ocmt_cli.failure import CommandFailed
from ocmt_cli.main import main
from ocmt_testing.deploy.booted_systemd import BootedSystemd
from ocmt_testing.deploy.farm import BUILDS, Commit
from ocmt_testing.deploy.load import Load
from ocmt_testing.deploy.systemd_host import SystemdHost, systemd_host

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1500)]
MGMT_FILE = "management-server/ocmt_management/__init__.py"


@dataclass
class Server:
    """A host with management and the page, whose servers systemd runs, and the command."""

    host: SystemdHost
    checkout: Path

    @property
    def machine(self) -> BootedSystemd:
        return self.host.machine

    @property
    def url(self) -> str:
        return self.host.url

    def deployer(self, report: Report = print) -> Deployer:
        return Deployer(load_inventory(self.host.inventory), ("mgmt", "ui"), report)

    def deploy(self, report: Report = print) -> list[str]:
        steps = deploy(self.deployer(report), read_source(self.checkout), builds=BUILDS)
        return [step.action for step in steps]

    def roll_back(self) -> None:
        rollback(self.deployer(), to=None, why="a test", tag=lambda *_: None)

    def ocmt(self, *words: str) -> int:
        try:
            return main([*words, "--inventory", str(self.host.inventory)])
        except SystemExit as ended:
            return int(bool(ended.code))

    def serving(self) -> str:
        return str(httpx2.get(self.url, timeout=60, trust_env=False).json()["version"])

    @property
    def current(self) -> str:
        return (self.host.place / "current").readlink().name

    def active(self) -> list[str]:
        return self.host.active()

    def enabled(self) -> list[str]:
        return self.host.enabled()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, checkout: Path) -> Iterator[Server]:
    with systemd_host(tmp_path_factory.mktemp("systemd")) as host:
        made = Server(host, checkout)
        assert made.deploy() == ["deploy", "deploy"]
        yield made


def test_nothing_fails_in_a_deploy_and_a_rollback_under_load(
    server: Server, commit: Commit
) -> None:
    assert server.deploy() == ["unchanged", "unchanged"]
    before = server.current
    commit(MGMT_FILE, '"""', '"""Changed. ')
    with Load(server.url) as load:
        assert server.deploy() == ["deploy", "unchanged"]
        after = server.current
        assert (server.serving(), server.active(), server.enabled()) == (after, [after], [after])
        server.roll_back()
    assert load.failures == []
    assert load.versions == {before, after}
    assert (server.serving(), server.active(), server.enabled()) == (before, [before], [before])
    assert server.ocmt("status") == 0


def test_a_release_that_cannot_start_leaves_the_old_one_serving(
    server: Server, commit: Commit
) -> None:
    before = server.current
    commit(MGMT_FILE, '"""', 'raise OSError("broken on purpose")\n"""')
    with (
        Load(server.url) as load,
        pytest.raises(CommandFailed, match=r"(?s)did not become healthy.*broken on purpose"
                      r"|the migration failed[^\n]*: OSError: broken on purpose\n"),
    ):  # fmt: skip
        server.deploy()
    assert load.failures == []
    assert (server.serving(), server.active()) == (before, [before])


def test_a_server_that_was_killed_or_stopped_is_started_again(server: Server) -> None:
    unit = f"ocmt-management@{server.current}.service"
    server.machine.run("systemctl", "kill", "--signal=SIGKILL", unit)
    until = time.monotonic() + 60
    while server.active() != [server.current] and time.monotonic() < until:
        time.sleep(0.1)  # systemd restarts it (Restart=on-failure)
    server.machine.run("systemctl", "stop", unit)
    assert server.active() == []
    assert server.deploy() == ["unchanged", "unchanged"]  # the recovery started it
    assert server.serving() == server.current


def test_a_restore_brings_the_data_back_and_the_journal_is_read(
    server: Server, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert server.ocmt("backup", str(tmp_path / "kept")) == 0
    data = server.machine.root / "var/lib/ocmt-management"
    assert server.ocmt("restore", str(tmp_path / "kept"), "--force") == 0
    assert server.active() == []
    assert len(list(data.glob("management.db.before-restore-*"))) >= 1
    server.deploy()
    assert server.serving() == server.current
    capsys.readouterr()
    assert server.ocmt("logs", "mgmt", "--since", "10m", "--grep", '"event": "[a-z]') == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert all('"event": "' in line for line in lines)
    assert server.ocmt("logs", "mgmt", "--since", "2099-01-01") == 0
    assert capsys.readouterr().out == ""


def test_a_deploy_that_is_cut_at_each_step_is_completed_by_the_next(
    server: Server, commit: Commit
) -> None:
    """Last, since the host then has a newer commit than the checkout."""
    for step in ("start it in standby", "switch", "settle"):
        commit(MGMT_FILE, '"""', f'"""Cut at {step}. ')

        def cut(text: str, step: str = step) -> None:
            if text.endswith(f"mgmt: {step}"):
                raise KeyboardInterrupt

        with Load(server.url) as load:
            with pytest.raises(KeyboardInterrupt):
                server.deploy(cut)
            server.deploy()
        assert load.failures == []
        wanted = read_source(server.checkout).commit[:12]
        assert server.serving() == server.current
        assert server.current.endswith(wanted)
        assert server.active() == server.enabled() == [server.current]
