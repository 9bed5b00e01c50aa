"""Unusual hosts: shells that print, csh, odd folders, jump hosts, IPv6."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest
from ocmt_cli.deploy.inventory import load_inventory
from ocmt_cli.deploy.remote import open_host
from ocmt_cli.main import main
from ocmt_testing.deploy import farm as deploy_farm
from ocmt_testing.deploy.farm import Farm, Machine


@pytest.fixture(scope="module")
def made() -> Iterator[Farm]:
    with deploy_farm.farm() as made:
        yield made


@pytest.fixture
def farm(made: Farm) -> Iterator[Farm]:
    """The machines, restored after the test."""
    inventory = made.inventory.read_text()
    yield made
    made.inventory.write_text(inventory)
    made.known_hosts()
    if made.machines["mgmt"].settings:
        again(made.machines["mgmt"], "")


def again(machine: Machine, settings: str) -> None:
    machine.stop()
    machine.settings = settings
    machine.start()


def ocmt(inventory: Path, *words: str) -> int:
    try:
        return main([*words, "--inventory", str(inventory)])
    except SystemExit as ended:
        return int(ended.code or 0)


# As an `echo` in ~/.bashrc or /etc/profile.d prints; `exit` is an account that is shut.
@pytest.mark.parametrize(
    ("shell", "said"),
    [
        ("echo Welcome to mgmt", "Welcome to mgmt"),
        ("echo 5", "5"),
        ("printf \\033[2Jhello\\n", "hello"),
        ("echo This account is managed; exit 1", "This account is managed"),
    ],
)
@pytest.mark.parametrize("words", [("releases", "mgmt"), ("setup", "mgmt", "--plan")])
def test_a_shell_that_prints_is_named_with_the_cure(
    farm: Farm, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], shell: str, said: str
) -> None:
    script = farm.folder / "shell"
    script.write_text(f'#!/bin/sh\n{shell}\nexec sh -c "$SSH_ORIGINAL_COMMAND"\n')
    script.chmod(0o755)
    again(farm.machines["mgmt"], f"ForceCommand {script}\n")

    assert ocmt(farm.inventory, *words) == 1
    told = capsys.readouterr().err
    assert told.startswith("mgmt: ")
    assert said in told
    assert "Traceback" not in told
    assert "\x1b" not in told


def test_rsync_to_a_shell_that_prints_is_told_with_the_cure(farm: Farm) -> None:
    again(farm.machines["mgmt"], 'ForceCommand echo Welcome; exec sh -c "$SSH_ORIGINAL_COMMAND"\n')
    loaded = load_inventory(farm.inventory)
    host = open_host(loaded.host("mgmt"), loaded.deploy)
    with pytest.raises(Exception, match=r"its login shell.*\[ -t 1 \]"):
        host.rsync(farm.folder / "sshd-ui", PurePosixPath(farm.folder / "copied"), step="copy")
    host.close()


@pytest.mark.needs("tcsh")
@pytest.mark.parametrize("shell", ["tcsh", "dash", "bash"])
def test_any_login_shell_will_do(
    farm: Farm, capsys: pytest.CaptureFixture[str], shell: str
) -> None:
    again(farm.machines["mgmt"], f'ForceCommand exec {shell} -c "$SSH_ORIGINAL_COMMAND"\n')
    assert ocmt(farm.inventory, "releases", "mgmt") == 0, capsys.readouterr().err
    assert ocmt(farm.inventory, "setup", "mgmt", "--plan") == 0, capsys.readouterr().err
    copied_and_read(farm.inventory, farm.folder)


def copied_and_read(inventory: Path, folder: Path) -> None:
    """Write, copy and run on the host, with words that shells interpret."""
    loaded = load_inventory(inventory)
    host = open_host(loaded.host("mgmt"), loaded.deploy)
    target = folder / "copied"
    try:
        host.put("it's $HOME!\n", PurePosixPath(target / "put"), mode=0o600, step="put")
        assert (target / "put").read_text() == "it's $HOME!\n"
        source = folder / "to copy"
        source.mkdir(exist_ok=True)
        (source / "file").write_text("x")
        host.rsync(source, PurePosixPath(target), step="copy")
        assert (target / "file").read_text() == "x"
        said = host.run(("printf", "%s", "a\nb'c\"$d"), step="say").stdout
        assert said == "a\nb'c\"$d"
    finally:
        host.close()
        shutil.rmtree(target, ignore_errors=True)


@pytest.mark.parametrize(
    "name", ["my servers", "ocmt%2Fmain", "o'brien", 'a"b', "a${HOME}b", "$(id) ;&", "#ü", "%h"]
)
def test_an_inventory_may_be_in_any_folder(
    farm: Farm, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    folder = farm.folder / name
    folder.mkdir()
    for file in ("ocmt.toml", "known_hosts", "client", "client.pub"):
        shutil.copy(farm.folder / file, folder / file)
    assert ocmt(folder / "ocmt.toml", "releases", "mgmt") == 0, capsys.readouterr().err
    copied_and_read(folder / "ocmt.toml", farm.folder)


def test_a_key_that_is_not_known_is_told_with_words_that_a_shell_takes(
    farm: Farm, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = farm.folder / "their servers"
    folder.mkdir()
    for file in ("ocmt.toml", "client"):
        shutil.copy(farm.folder / file, folder / file)
    assert ocmt(folder / "ocmt.toml", "releases", "mgmt") == 1
    assert f">> '{folder}/known_hosts'" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["x" * 90, "with a space"])
def test_any_temporary_folder_will_do(
    farm: Farm,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / name))
    assert ocmt(farm.inventory, "releases", "mgmt") == 0, capsys.readouterr().err


def accepted(farm: Farm, capsys: pytest.CaptureFixture[str], *, name: str) -> None:
    """A new host: its fingerprint is shown and accepted."""
    assert ocmt(farm.inventory, "setup", "mgmt", "--plan") == 1
    found = re.search(r"--host-key (SHA256:\S+)", told := capsys.readouterr().err)
    assert found is not None, told
    known = farm.folder / "known_hosts"
    assert ocmt(farm.inventory, "setup", "mgmt", "--plan", "--host-key", found[1]) == 0, (
        capsys.readouterr().err
    )
    assert known.read_text().splitlines()[-1].startswith(f"{name} ")
    assert ocmt(farm.inventory, "setup", "mgmt", "--plan") == 0
    assert ocmt(farm.inventory, "releases", "mgmt") == 0


@pytest.fixture
def ssh_config(farm: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that ssh reads in place of ~/.ssh/config: the tests have no home folder."""
    config = tmp_path / "config"
    real = shutil.which("ssh")
    wrapper = tmp_path / "bin" / "ssh"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec {real} -F {config} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")
    jump = farm.machines["ui"]
    config.write_text(
        f"Host jump.test\n HostName 127.0.0.1\n Port {jump.port}\n User root\n"
        f" IdentityFile {farm.folder}/client\n UserKnownHostsFile {farm.folder}/jumps_known\n"
        "Host inner.test\n HostName 127.0.0.1\n ProxyJump jump.test\n"
        "Host alias.test\n HostName 127.0.0.1\n HostKeyAlias the-alias\n"
    )
    return config


def renamed(farm: Farm, address: str) -> None:
    text = farm.inventory.read_text()
    farm.inventory.write_text(text.replace("127.0.0.1", address, 1))
    (farm.folder / "known_hosts").write_text("")


@pytest.mark.usefixtures("ssh_config")
def test_a_new_host_behind_a_jump_host_is_accepted_by_its_fingerprint(
    farm: Farm, capsys: pytest.CaptureFixture[str]
) -> None:
    machine, jump = farm.machines["mgmt"], farm.machines["ui"]
    public = (jump.folder / "host_key.pub").read_text()
    (farm.folder / "jumps_known").write_text(f"[127.0.0.1]:{jump.port} {public}")
    renamed(farm, "inner.test")
    accepted(farm, capsys, name=f"[127.0.0.1]:{machine.port}")


@pytest.mark.usefixtures("ssh_config")
def test_a_jump_host_that_is_not_known_is_named(
    farm: Farm, capsys: pytest.CaptureFixture[str]
) -> None:
    (farm.folder / "jumps_known").unlink(missing_ok=True)
    renamed(farm, "inner.test")
    assert ocmt(farm.inventory, "setup", "mgmt", "--plan") == 1
    told = capsys.readouterr().err
    assert "its jump host jump.test is not known yet" in told


@pytest.mark.usefixtures("ssh_config")
def test_a_new_host_with_an_alias_is_known_by_it(
    farm: Farm, capsys: pytest.CaptureFixture[str]
) -> None:
    renamed(farm, "alias.test")
    accepted(farm, capsys, name="the-alias")


def test_a_new_host_with_an_ipv6_address(farm: Farm, capsys: pytest.CaptureFixture[str]) -> None:
    machine = farm.machines["mgmt"]
    again(machine, "ListenAddress ::1\n")
    renamed(farm, "::1")
    accepted(farm, capsys, name=f"[::1]:{machine.port}")
    copied_and_read(farm.inventory, farm.folder)


def test_a_new_host_that_does_not_answer_is_told_with_the_cure(
    farm: Farm, capsys: pytest.CaptureFixture[str]
) -> None:
    for address, cure in (("nowhere.invalid", "does not resolve"), ("127.0.0.9", "its firewall")):
        renamed(farm, address)
        assert ocmt(farm.inventory, "setup", "mgmt", "--plan") == 1
        assert cure in capsys.readouterr().err
        farm.inventory.write_text(farm.inventory.read_text().replace(address, "127.0.0.1", 1))
