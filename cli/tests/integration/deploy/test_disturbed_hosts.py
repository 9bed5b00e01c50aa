"""Hosts that go away, hang or print at a message of a command: named, and hiding no other host."""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from ocmt_cli.deploy import orchestration
from ocmt_cli.deploy.build import Artefact, write_manifest
from ocmt_cli.deploy.commands import What
from ocmt_cli.deploy.inventory import Role
from ocmt_cli.deploy.logs_command import logs_command
from ocmt_cli.deploy.source import Source
from ocmt_cli.main import main
from ocmt_testing.deploy.message_proxy import MessageProxy
from ocmt_testing.deploy.stub_hosts import StubSource

ONE, OTHER = 2201, 2202
CURES = {
    "cut": r"the connection was lost \(client_loop",
    "lose": r"the connection was lost \(client_loop",
    "half": r"the connection was lost \(client_loop",
    "stall": r"no answer within \d+ s\. The host accepts connections and hangs",
    "print": r'prints "(Broadcast message|Welcome)',
    "refuse": r'hosts\.one\.user = "admin"',
}


class Servers:
    """Two hosts with a page, and the command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.proxy = MessageProxy(folder / "proxy")
        self.inventory = folder / "ocmt.toml"
        self.inventory.write_text(
            "".join(
                f'[hosts.{name}]\naddress = "127.0.0.1"\nssh_port = {port}\nroles = ["ui"]\n'
                f'supervisor = "pidfile"\nroot = "{folder / name}"\n'
                for name, port in (("one", ONE), ("other", OTHER))
            )
            + "[deploy]\nmin_free_mb = 1\nmax_clock_skew_s = 1000\n"
        )
        self.commits = 0

    def ocmt(self, *words: str) -> tuple[int, str, str]:
        """The exit code, standard output and standard error."""
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            try:
                code = main([*words, "--inventory", str(self.inventory)])
            except SystemExit as ended:
                code = int(ended.code or 0)
        return code, out.getvalue(), err.getvalue()

    def deploy(self) -> None:
        """Deploy another commit."""
        self.commits += 1
        code, out, err = self.ocmt("deploy")
        assert (code, err) == (0, ""), out
        self.proxy.calm()

    def serves(self) -> set[str]:
        """The commits' numbers."""
        return {
            (self.folder / name / "var/www/ocmt/current").readlink().name[-12:]
            for name in ("one", "other")
        }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Servers with two deploys, whose builds are stubs."""
    folder = tmp_path_factory.mktemp("servers")
    made = Servers(folder)
    built = folder / "built"
    built.mkdir()
    (built / "file").touch()
    write_manifest(built)

    def source(_: Path) -> StubSource:
        return StubSource(folder, f"{made.commits:012d}", (("ui", f"content-{made.commits}"),))

    def build(source: Source, role: Role, *_: object) -> Artefact:
        return Artefact(built, None, source.content(role))

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", made.proxy.path)
        patch.setattr("ocmt_cli.deploy.commands.read_source", source)
        patch.setattr("ocmt_cli.deploy.commands.tag_rollback", lambda *_: None)
        for name in ("tag_release", "tag_what_runs", "tag_rollbacks"):
            patch.setattr(orchestration, name, lambda *_: None)
        patch.setattr(orchestration, "release_tags", lambda checkout: [])
        patch.setattr(orchestration, "build", build)
        for _ in range(2):
            made.deploy()
        yield made


@pytest.fixture
def servers(made: Servers) -> Iterator[Servers]:
    yield made
    made.proxy.calm()


@contextmanager
def _deadlines(how: str) -> Iterator[None]:
    """Short ones, if the host is to stall."""
    with pytest.MonkeyPatch.context() as patch:
        if how == "stall":
            patch.setattr("ocmt_cli.deploy.deadlines._LOGIN_S", 2.0)
            patch.setattr("ocmt_cli.deploy.deadlines._QUICK_S", 1.0)
        yield


def told(servers: Servers, how: str, *words: str) -> str:
    """What a command prints that a host disturbs."""
    with _deadlines(how):
        code, out, err = servers.ocmt(*words)
    said = out + err
    assert code == 1, said
    assert "Traceback" not in said
    assert re.search(rf"\bone: .*{CURES[how]}|^  one: .*{CURES[how]}", said, re.M), said
    return said


DISTURBANCES = [
    ("cut", "1"), ("lose", "1"), ("half", "1"), ("print", "1"), ("stall", "1"),
    ("cut", "login"), ("print", "login"), ("refuse", "login"), ("stall", "login"),
]  # fmt: skip


@pytest.mark.parametrize(("how", "at"), DISTURBANCES)
def test_status_names_the_host_and_shows_the_others(servers: Servers, how: str, at: str) -> None:
    servers.proxy.disturb(how, ONE, at)
    said = told(servers, how, "status")
    assert "one: page: NOT REACHABLE" in said
    assert "other: page: healthy" in said


@pytest.mark.parametrize("words", ["releases", "deploy --plan"])
@pytest.mark.parametrize(("how", "at"), [("half", "1"), ("print", "login")])
def test_a_command_that_reads_names_the_host(
    servers: Servers, words: str, how: str, at: str
) -> None:
    servers.proxy.disturb(how, ONE, at)
    said = told(servers, how, *words.split())
    if words == "releases":
        assert re.search(r"^other: page", said, re.M)


def _disturbed(servers: Servers, how: str, number: int, *words: str, ports: Sequence[int]) -> None:
    """Run a command of which a message to a host is disturbed, then again without."""
    for port in ports:
        expected = servers.serves()
        servers.deploy()
        if words[0] == "deploy":
            servers.commits += 1
            expected = {f"{servers.commits:012d}"}
        elif words[0] != "rollback":
            expected = servers.serves()
        servers.proxy.disturb(how, port, str(number))
        with _deadlines(how):
            code, out, err = servers.ocmt(*words)
        assert code in (0, 1), (out, err)
        assert "Traceback" not in out + err
        if code == 1:
            assert re.search(CURES[how], err), err
            servers.proxy.calm()
            code, out, err = servers.ocmt(*words)
            assert code == 0, (out, err)
        servers.proxy.calm()
        assert servers.serves() == expected


@pytest.mark.parametrize(("how", "number"), [("half", 7)])
def test_a_disturbed_deploy_is_told_and_completed_by_the_next(
    servers: Servers, how: str, number: int
) -> None:
    _disturbed(servers, how, number, "deploy", ports=[OTHER])


@pytest.mark.parametrize(("how", "number"), [("lose", 4), ("lose", 5)])
def test_a_disturbed_rollback_is_told_and_completed_by_the_next(
    servers: Servers, how: str, number: int
) -> None:
    _disturbed(servers, how, number, "rollback", ports=[ONE])


@pytest.mark.nightly
@pytest.mark.parametrize("words", ["deploy", "rollback", "freeze --message soon", "unfreeze"])
@pytest.mark.parametrize("how", ["cut", "lose", "half", "print", "stall"])
def test_every_message_of_a_command_may_be_disturbed(
    servers: Servers, words: str, how: str
) -> None:
    messages = 3 if "freeze" in words else 12
    for number in range(1, messages + 1):
        _disturbed(servers, how, number, *words.split(), ports=[(ONE, OTHER)[number % 2]])
        assert servers.ocmt("unfreeze")[0] == 0


def test_a_log_that_is_followed_goes_on_when_the_host_answers_again(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = servers.inventory.read_text().replace('["ui"]', '["mgmt"]')
    inventory = tmp_path / "ocmt.toml"
    inventory.write_text(text)
    log = servers.folder / "one/opt/management-server/log/1-a.log"
    log.parent.mkdir(parents=True)
    polls = 0

    def poll(_: float) -> None:
        nonlocal polls
        polls += 1
        with log.open("a") as file:
            file.write(f"line {polls}\n")
        if polls == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr("ocmt_cli.deploy.logs_command._pause", poll)
    servers.proxy.disturb("half", ONE, "2")
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(KeyboardInterrupt):
        logs_command(What.mgmt, follow=True, request="", lines=100, inventory=inventory)

    assert re.findall(r"line \d", out.getvalue()) == [f"line {number}" for number in range(1, 6)]
    assert re.search(r"one: mgmt: logs: the connection was lost", err.getvalue())
    assert "one answers again" in err.getvalue()
    assert "other" not in err.getvalue()


@pytest.mark.parametrize("how", ["print", "refuse", "cut"])
def test_a_host_that_prints_into_a_backup_is_named_and_leaves_no_backup(
    servers: Servers, tmp_path: Path, how: str
) -> None:
    text = servers.inventory.read_text().replace('["ui"]', '["mgmt"]')
    inventory = tmp_path / "ocmt.toml"
    inventory.write_text(text)
    servers.proxy.disturb(how, ONE, "login")
    err = io.StringIO()
    with redirect_stderr(err):
        assert main(["backup", str(tmp_path / "kept"), "--inventory", str(inventory)]) == 1
    assert re.search(rf"^one: sign in: .*{CURES[how]}", err.getvalue()), err.getvalue()
    assert not (tmp_path / "kept").exists()


def test_the_journal_says_who_deployed_and_rolled_back_and_why(servers: Servers) -> None:
    servers.deploy()
    assert servers.ocmt("rollback", "--reason", "it leaks")[0] == 0
    code, out, err = servers.ocmt("journal", "--lines", "3")
    assert (code, err) == (0, "")
    for host in ("one", "other"):
        told = [line for line in out.splitlines() if f" {host} ui " in line]
        assert [re.split(r"  +", line, maxsplit=3)[3] for line in told] == [
            f"deploy: {told[0].split()[-2]} serves",
            f"rollback to {told[1].split()[6]} begins (it leaks)",
            "rollback: the earlier release serves",
        ]
        assert all("@" in line for line in told)
    servers.proxy.disturb("cut", ONE, "1")
    code, out, err = servers.ocmt("journal")
    assert code == 1
    assert " other ui " in out
    assert re.search(rf"one: ui: journal: {CURES['cut']}", err)
