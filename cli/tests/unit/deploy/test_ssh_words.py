"""ssh's command line: unambiguous for any path, and the same in every login shell."""

import shutil
import subprocess
from pathlib import Path

import pytest
from ocmt_cli.deploy import ssh
from ocmt_cli.deploy.inventory import HostEntry, Inventory, load_inventory
from ocmt_cli.failure import CommandFailed
from ocmt_testing.needs import require

WORDS = [
    ("printf", "%s|", "one", "two words"),
    ("printf", "%s|", "it's", 'a "quote"', "$HOME", "`id`", "${x}", "a\\b", "!!", "*", "~", "a;b"),
    ("sh", "-c", "set -e\ntrap 'echo \"$1\"' EXIT\ncat > /dev/null\n", "sh", "ü"),
    ("printf", "%s", "x" * 5000),
    ("python3", "-c", "import sys\nprint(sys.argv[1:])\n", "", "-", "{a,b}", "[x]", "^y", "=ls"),
]


@pytest.mark.parametrize("shell", ["sh", "bash", "dash", "tcsh"])
@pytest.mark.parametrize("words", WORDS)
def test_every_login_shell_runs_the_words_as_they_are(shell: str, words: tuple[str, ...]) -> None:
    if shell == "tcsh":
        require("tcsh")
    plain = subprocess.run(words, capture_output=True, check=True, input=b"in").stdout
    through = subprocess.run(
        [shell, "-c", ssh.for_any_shell(words)], capture_output=True, check=False, input=b"in"
    )
    assert (through.stdout, through.stderr, through.returncode) == (plain, b"", 0)


def test_exit_code_and_standard_input_are_the_commands_own() -> None:
    line = ssh.for_any_shell(("sh", "-c", 'read x; echo "$x"; exit 7'))
    done = subprocess.run(["sh", "-c", line], input=b"hello\n", capture_output=True, check=False)
    assert (done.stdout, done.returncode) == (b"hello\n", 7)


def test_a_plain_command_stays_readable() -> None:
    assert ssh.for_any_shell(("sudo", "-n", "--", "rsync")) == "sudo -n -- rsync"


def test_no_word_is_longer_than_a_csh_takes() -> None:
    assert all(len(word) < 1000 for word in ssh.for_any_shell(("echo", "x " * 9000)).split())


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    folder = tmp_path / "a b'c\"d${HOME}%2F#ü"
    folder.mkdir()
    for name in ("key", "key.pub", "known"):
        (folder / name).write_text(name)
    file = folder / "ocmt.toml"
    file.write_text(
        '[hosts.one]\naddress = "192.0.2.1"\nroles = ["ui", "mgmt", "agent"]\n'
        'identity_file = "key"\n'
        '[deploy]\nknown_hosts = "known"\n'
    )
    return load_inventory(file)


@pytest.fixture
def host(inventory: Inventory) -> HostEntry:
    return inventory.host("one")


def test_no_path_of_the_inventory_is_on_the_command_line(
    inventory: Inventory, host: HostEntry
) -> None:
    folder = ssh.make_folder(host, inventory.deploy)
    words = ssh.options(folder, host, inventory.deploy)
    assert not [word for word in words if set(word) & set(" '\"$%#ü") - set("%")]
    assert [word for word in words if "%" in word] == [f"ControlPath={folder}/%C"]
    assert (folder / "identity.pub").read_text() == "key.pub"
    assert (folder / "known_hosts").read_text() == "known"
    said = ssh.with_own_paths(f"Load key {folder}/identity: bad", folder, host, inventory.deploy)
    assert said == f"Load key {host.identity_file}: bad"
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["x" * 90, "with space", "o'brien", "a%b"])
def test_a_temporary_folder_that_ssh_cannot_use_is_not_used(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    inventory: Inventory,
    host: HostEntry,
    name: str,
) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / name))
    folder = ssh.make_folder(host, inventory.deploy)
    assert len(str(folder)) < 50
    assert str(folder).startswith("/")
    assert " " not in str(folder)
    shutil.rmtree(folder)


def test_without_any_such_folder_the_cure_is_told(
    monkeypatch: pytest.MonkeyPatch, inventory: Inventory, host: HostEntry
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(CommandFailed, match="Set TMPDIR"):
        ssh.make_folder(host, inventory.deploy)
