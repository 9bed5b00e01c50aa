"""docs/operations.md is followed to the letter, from empty hosts to a restored installation.

The guide's hosts are three sshd here; every line of its code blocks is run as it is written, in a
folder with the inventory. Three things differ: the release of `--to` is a real one, `--follow` is
ended after a while, and the image is not built and sent (a test of the docker tier does that).
"""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from ocmt_cli.checkout import ROOT
from ocmt_cli.main import main
from ocmt_testing.deploy import farm as deploy_farm

_NAMES = {"mgmt": "front", "agent": "agents-1", "ui": "page"}
_WHO = ("-c", "user.name=Test", "-c", "user.email=test@example.org")


def _ocmt(*words: str) -> int:
    try:
        return main(words)
    except SystemExit as ended:
        return int(ended.code or 0)


def _guide() -> list[str]:
    text = (ROOT / "docs" / "operations.md").read_text()
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, re.M | re.S)
    # Those with a language are for other cases than the guide's three servers.
    return [
        line
        for language, block in blocks
        if not language
        for line in block.replace("\\\n", "").splitlines()
    ]


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_the_guide_leads_from_empty_hosts_to_a_restored_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkout = tmp_path / "checkout"
    subprocess.run(["git", "clone", "--quiet", "--shared", str(ROOT), str(checkout)], check=True)
    # A deploy pushes its tags to where the checkout is from.
    subprocess.run(["git", "-C", checkout, "remote", "remove", "origin"], check=True)
    modules = ROOT / "user-ui" / "node_modules"
    if modules.is_dir():
        (checkout / "user-ui" / "node_modules").symlink_to(modules)
    monkeypatch.setattr("ocmt_cli.deploy.commands.ROOT", checkout)
    monkeypatch.setattr("ocmt_cli.deploy.changed.ROOT", checkout)
    monkeypatch.setattr("ocmt_cli.deploy.commands.DEFAULT_DATA", ROOT / "data")
    monkeypatch.chdir(checkout)
    with deploy_farm.farm() as farm:
        follow(farm, checkout, capsys)


def follow(farm: deploy_farm.Farm, checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = (farm.component("agent") / ".env").read_text()
    for role in ("mgmt", "agent"):
        (farm.component(role) / ".env").unlink()
    servings: list[str] = []
    for line in _guide():
        program, *words = shlex.split(line)
        if program == "cp":
            shutil.copy(*words)
            _fill_in(farm, checkout / "ocmt.toml")
        elif program == "git":
            # What is pulled: a change of the management server.
            file = checkout / "management-server" / "ocmt_management" / "__init__.py"
            file.write_text(file.read_text() + "# pulled\n")
            subprocess.run(["git", *_WHO, "commit", "-qam", "A change"], cwd=checkout, check=True)
        elif program == "cd":
            assert words == ["/opt/management-server"]
        elif program == "sudo":
            assert words[:2] == ["-u", "ocmt"]
            link = subprocess.run(
                words[2:],
                cwd=farm.component("mgmt"),
                check=True,
                capture_output=True,
                text=True,
            )
            assert "/sign-in#" in link.stdout
        else:
            assert program == "./ocmt", line
            _run(farm, words, servings, capsys)
            if words == ["setup", "agents-1"]:
                _as_processes(farm, kept)
    one, two, *later = servings
    # Deployed, updated, gone back, gone back to what was named, restored and deployed.
    assert one != two
    assert later == [one, two, two]


def _run(
    farm: deploy_farm.Farm,
    words: list[str],
    servings: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    if words[0] == "image":
        return
    if "--to" in words:
        words = [*words[:-1], servings[1]]
    if "--follow" in words:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ocmt_cli.deploy.logs_command._pause", _enough)
            with pytest.raises(KeyboardInterrupt):
                _ocmt_bare(*words)
        return
    capsys.readouterr()
    code = _ocmt(*words)
    told = capsys.readouterr()
    assert code == 0, (words, told)
    if words[0] == "status":
        assert "healthy" in told.out
        assert "NOT HEALTHY" not in told.out
    if words[0] == "changed":
        assert told.out.strip() == "mgmt"
    if words[0] in ("deploy", "rollback") and "--plan" not in words:
        servings.append(farm.serving("mgmt"))


def _enough(_: float) -> None:
    raise KeyboardInterrupt


def _ocmt_bare(*words: str) -> None:
    from ocmt_cli.deploy.commands import What
    from ocmt_cli.deploy.logs_command import logs_command

    assert words == ("logs", "mgmt", "--follow")
    logs_command(What.mgmt, follow=True, request="", lines=100)


def _fill_in(farm: deploy_farm.Farm, inventory: Path) -> None:
    text = farm.inventory.read_text().replace("[mgmt]\n", '[mgmt]\ndomain = "api.example.com"\n')
    for role, name in _NAMES.items():
        text = text.replace(f"[hosts.{role}]", f"[hosts.{name}]")
    text = text.replace('"client"', f'"{farm.folder}/client"')
    inventory.write_text(text.replace('"known_hosts"', f'"{farm.folder}/known_hosts"'))


def _as_processes(farm: deploy_farm.Farm, kept: str) -> None:
    """The operator's settings here: agents as processes, on the farm's ports."""
    made = farm.component("agent") / ".env"
    token = re.search(r"^AUTH_TOKEN=.*$", made.read_text(), re.M)
    assert token is not None
    made.write_text(re.sub(r"^AUTH_TOKEN=.*$", token[0], kept, flags=re.M))
