"""`ocmt setup` against real sshd hosts on this machine, each with its own root folder."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from ocmt_cli.checkout import command
from ocmt_cli.main import main
from ocmt_cli.trust import authority
from ocmt_testing.deploy import farm as deploy_farm
from ocmt_testing.deploy.farm import Farm


@pytest.fixture
def farm() -> Iterator[Farm]:
    with deploy_farm.farm() as made:
        for role in ("mgmt", "agent"):
            (made.component(role) / ".env").unlink()
            made.component(role).rmdir()
        yield made


def _setup(farm: Farm, *words: str) -> int:
    return _ocmt("setup", *words, "--inventory", str(farm.inventory))


def _ocmt(*words: str) -> int:
    try:
        return main(words)
    except SystemExit as ended:
        return int(ended.code or 0)


def _files(root: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(file.relative_to(root)): (file.stat().st_mode, file.read_bytes())
        for file in sorted(root.rglob("*"))
        if file.is_file()
    }


def test_a_plan_changes_nothing_and_setup_does_what_was_planned(
    farm: Farm, capsys: pytest.CaptureFixture[str]
) -> None:
    root = farm.machines["mgmt"].root
    assert _setup(farm, "mgmt", "--plan") == 0
    planned = capsys.readouterr().out
    assert f"write {farm.component('mgmt')}/.env" in planned
    assert "enabling units: skipped" in planned
    assert _files(root) == {}

    assert _setup(farm, "mgmt") == 0
    told = capsys.readouterr().out
    assert told.startswith(planned)
    made = _files(root)
    assert made["opt/management-server/.env"][0] & 0o777 == 0o600
    assert "etc/systemd/system/ocmt-management@.service" in made
    assert "etc/ocmt/firewall.nft" in made


def test_a_second_run_has_nothing_to_do_and_env_is_never_overwritten(
    farm: Farm, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _setup(farm, "mgmt") == 0
    env = farm.component("mgmt") / ".env"
    env.write_text(env.read_text() + "SMTP_HOST=smtp.example.com\n")
    unit = farm.machines["mgmt"].root / "etc/systemd/system/ocmt-management.socket"
    before = _files(farm.machines["mgmt"].root)
    capsys.readouterr()
    assert _setup(farm, "mgmt") == 0
    assert "nothing to change" in capsys.readouterr().out
    assert _files(farm.machines["mgmt"].root) == before
    wanted = unit.read_text()
    unit.write_text("spoiled")
    assert _setup(farm, "mgmt") == 0
    assert unit.read_text() == wanted
    assert _files(farm.machines["mgmt"].root) == before


def test_both_servers_get_the_same_token_and_settings_that_they_accept(
    farm: Farm, capsys: pytest.CaptureFixture[str]
) -> None:
    from ocmt_agent.settings import AgentSettings
    from ocmt_common.settings import load
    from ocmt_management.settings import ManagementSettings

    assert _setup(farm, "agent") == 1
    assert f"First: {command('setup mgmt')}" in capsys.readouterr().err
    farm.inventory.write_text(
        farm.inventory.read_text().replace("[mgmt]\n", '[mgmt]\ndomain = "api.example.com"\n')
    )
    assert _setup(farm, "mgmt") == 0
    assert _setup(farm, "agent") == 0
    management = load(ManagementSettings, env_file=farm.component("mgmt") / ".env", environ={})
    agent = load(AgentSettings, env_file=farm.component("agent") / ".env", environ={})
    token = agent.auth_token.get_secret_value()
    assert management.agent_auth_token.get_secret_value() == token
    assert management.jwt_secret.get_secret_value() != token
    assert token not in capsys.readouterr().out


def test_a_host_is_trusted_by_its_fingerprint_only(
    farm: Farm, capsys: pytest.CaptureFixture[str]
) -> None:
    (farm.folder / "known_hosts").write_text("")
    assert _setup(farm, "mgmt", "--plan") == 1
    said = capsys.readouterr().err
    found = said.rsplit("--host-key ", 1)[1].strip()
    assert _setup(farm, "mgmt", "--plan", "--host-key", "SHA256:another") == 1
    assert "Do not continue" in capsys.readouterr().err
    assert (farm.folder / "known_hosts").read_text() == ""
    assert _setup(farm, "mgmt", "--plan", "--host-key", found) == 0
    assert _setup(farm, "mgmt", "--plan") == 0


@pytest.mark.parametrize("theirs", [b"blog.example.com {\n}\n", b"# caf\xe9", b"import sites/*\n"])
def test_the_web_servers_other_sites_stay(
    farm: Farm, capsys: pytest.CaptureFixture[str], theirs: bytes
) -> None:
    """Which web server gets the site depends on what this machine has installed."""
    farm.inventory.write_text(
        farm.inventory.read_text().replace("[mgmt]\n", '[mgmt]\ndomain = "api.example.com"\n')
    )
    etc = farm.machines["mgmt"].root / "etc"
    kept = [etc / "caddy" / "Caddyfile", etc / "nginx" / "conf.d" / "blog.conf"]
    for file in kept:
        file.parent.mkdir(parents=True)
        file.write_bytes(theirs)
    assert _setup(farm, "mgmt") == 0
    assert "replaces" not in capsys.readouterr().out
    assert all(file.read_bytes().startswith(theirs) for file in kept)
    sites = [etc / "caddy" / "ocmt.caddy", etc / "nginx" / "conf.d" / "ocmt.conf"]
    (made,) = (site for site in sites if site.exists())
    assert "api.example.com" in made.read_text()
    if made.suffix == ".caddy":
        assert kept[0].read_bytes().endswith(f"\nimport {made}\n".encode())
    before = _files(farm.machines["mgmt"].root)
    capsys.readouterr()
    assert _setup(farm, "mgmt") == 0
    assert "nothing to change" in capsys.readouterr().out
    assert _files(farm.machines["mgmt"].root) == before

    made.write_text("# edited")
    assert _setup(farm, "mgmt", "--plan") == 0
    assert f"; replaces {made}" in capsys.readouterr().out


@pytest.fixture
def apart(farm: Farm) -> Farm:
    """The agents' host has another address than management's: they are two machines."""
    machine = farm.machines["agent"]
    machine.stop()
    machine.settings = "ListenAddress 127.0.0.2\n"
    machine.start()
    text = farm.inventory.read_text()
    first, name, rest = text.partition("[hosts.agent]")
    farm.inventory.write_text(first + name + rest.replace("127.0.0.1", "127.0.0.2", 1))
    known = farm.folder / "known_hosts"
    known.write_text(known.read_text() + known.read_text().replace("127.0.0.1", "127.0.0.2"))
    return farm


def _tls(farm: Farm, role: str) -> Path:
    return farm.component(role) / "tls"


def test_two_machines_get_certificates_that_their_servers_use(
    apart: Farm, capsys: pytest.CaptureFixture[str]
) -> None:
    from ocmt_agent.settings import AgentSettings
    from ocmt_common.host_credentials import HostCredentials
    from ocmt_common.settings import load
    from ocmt_management.settings import ManagementSettings

    assert _setup(apart, "agent", "--plan") == 0
    assert "TLS with the other host: host.pem, ca.pem, tokens" in capsys.readouterr().out
    assert not (apart.folder / "ocmt.secrets").exists()

    for name in ("agent", "mgmt"):  # in any order
        assert _setup(apart, name) == 0
    management = load(ManagementSettings, env_file=apart.component("mgmt") / ".env", environ={})
    agent = load(AgentSettings, env_file=apart.component("agent") / ".env", environ={})
    assert management.tls_dir is not None
    assert agent.tls_dir is not None
    assert HostCredentials(agent.tls_dir).accepts(HostCredentials(management.tls_dir).token)
    for role in ("mgmt", "agent"):
        modes = {file.stat().st_mode & 0o777 for file in _tls(apart, role).iterdir()}
        assert modes == {0o640}
        assert _tls(apart, role).stat().st_mode & 0o777 == 0o750
    secrets = (apart.folder / "ocmt.secrets" / "ca.key").read_text()
    told = capsys.readouterr().out
    on_hosts = [
        name
        for machine in apart.machines.values()
        for name, (_, content) in _files(machine.root).items()
        if secrets.splitlines()[1].encode() in content
    ]
    assert on_hosts == []
    assert agent.auth_token.get_secret_value() not in told
    assert HostCredentials(management.tls_dir).token not in told

    capsys.readouterr()
    assert _setup(apart, "agent") == 0
    assert "nothing to change" in capsys.readouterr().out


def test_another_ca_than_the_hosts_is_refused(
    apart: Farm, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _setup(apart, "mgmt") == 0
    (apart.folder / "ocmt.secrets").rename(apart.folder / "elsewhere")
    before = _files(apart.machines["mgmt"].root)
    capsys.readouterr()
    assert _setup(apart, "mgmt") == 1
    assert "ca.pem is not the CA" in capsys.readouterr().err
    assert _files(apart.machines["mgmt"].root) == before
    assert not (apart.folder / "ocmt.secrets").exists()


def test_a_settings_file_from_before_is_kept_and_its_lines_are_shown(
    apart: Farm, capsys: pytest.CaptureFixture[str]
) -> None:
    apart.component("mgmt").mkdir(parents=True)
    env = apart.component("mgmt") / ".env"
    env.write_text("AGENT_SERVER_URL=http://localhost:4000\n")
    assert _setup(apart, "mgmt") == 0
    told = capsys.readouterr().out
    assert "set AGENT_SERVER_URL=https://127.0.0.2:4443, TLS_DIR=" in told
    assert env.read_text() == "AGENT_SERVER_URL=http://localhost:4000\n"


def test_renewing_writes_both_hosts_and_one_token_is_left(
    apart: Farm, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _ocmt("renew", "--inventory", str(apart.inventory)) == 1
    assert f"First: {command('setup mgmt')} and {command('setup agent')}" in capsys.readouterr().err
    for name in ("mgmt", "agent"):
        assert _setup(apart, name) == 0
    before = {
        file: file.read_text()
        for role in ("mgmt", "agent")
        for file in sorted(_tls(apart, role).iterdir())
    }
    assert _ocmt("renew", "--inventory", str(apart.inventory)) == 0
    assert "The certificates are valid until 20" in capsys.readouterr().out
    changed = {file.name for file, text in before.items() if file.read_text() != text}
    assert changed == {"host.pem", "tokens"}
    tokens = {(_tls(apart, role) / "tokens").read_text() for role in ("mgmt", "agent")}
    assert len(tokens) == 1
    assert len(tokens.pop().split()) == 1


def test_nothing_is_made_for_a_host_whose_clock_is_another(
    apart: Farm, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as off:
        off.setattr(authority, "_SKEW", timedelta(days=-1))
        assert _setup(apart, "mgmt") == 1
        assert "mgmt: its clock shows 20" in capsys.readouterr().err
    assert not (apart.folder / "ocmt.secrets").exists()
    assert not _tls(apart, "mgmt").exists()
    for name in ("mgmt", "agent"):
        assert _setup(apart, name) == 0
    before = _files(apart.folder / "ocmt.secrets"), _files(_tls(apart, "agent"))
    capsys.readouterr()
    with monkeypatch.context() as off:
        off.setattr(authority, "_SKEW", timedelta(days=-1))
        assert _ocmt("renew", "--inventory", str(apart.inventory)) == 1
        assert "Correct the clock that is wrong" in capsys.readouterr().err
    assert (_files(apart.folder / "ocmt.secrets"), _files(_tls(apart, "agent"))) == before


def test_one_machine_has_nothing_to_renew(farm: Farm, capsys: pytest.CaptureFixture[str]) -> None:
    assert _ocmt("renew", "--inventory", str(farm.inventory)) == 0
    assert "on one machine" in capsys.readouterr().out
