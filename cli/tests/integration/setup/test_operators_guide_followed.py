"""docs/operations.md followed line by line, from empty hosts to a restored installation.

The guide's hosts stand for the three sshd here; its commands are run as they are written, with the
inventory named at their ends. Left out are `git pull`, following the log for ever, and `--pull`.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from ocmt_cli.checkout import ROOT
from ocmt_cli.main import main

sys.path.insert(0, str(Path(__file__).parents[1] / "deploy"))
import deploy_farm

pytestmark = pytest.mark.skipif(
    not os.environ.get("OCMT_LONG_TESTS"), reason="takes minutes; set OCMT_LONG_TESTS=1"
)

_NAMES = {"front": "mgmt", "agents-1": "agent", "agents-2": "ui"}
_WITHOUT_INVENTORY = ("changed",)


def _ocmt(*words: str) -> int:
    try:
        return main(words)
    except SystemExit as ended:
        return int(ended.code or 0)


def _guide() -> list[list[str]]:
    text = (ROOT / "docs" / "operations.md").read_text()
    blocks = re.findall(r"^```\n(.*?)^```", text, re.M | re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("./ocmt ")]


def test_the_guide_leads_from_empty_hosts_to_a_restored_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkout = tmp_path / "checkout"
    subprocess.run(["git", "clone", "--quiet", "--shared", str(ROOT), str(checkout)], check=True)
    modules = ROOT / "user-ui" / "node_modules"
    if modules.is_dir():
        (checkout / "user-ui" / "node_modules").symlink_to(modules)
    monkeypatch.setattr("ocmt_cli.deploy.commands.ROOT", checkout)
    monkeypatch.setattr("ocmt_cli.deploy.changed.ROOT", checkout)
    monkeypatch.chdir(tmp_path)
    commands = _guide()
    assert len(commands) > 12
    with deploy_farm.farm() as farm:
        kept = (farm.component("agent") / ".env").read_text()
        for role in ("mgmt", "agent"):
            (farm.component(role) / ".env").unlink()
        text = farm.inventory.read_text()
        farm.inventory.write_text(text.replace("[mgmt]\n", '[mgmt]\ndomain = "api.example.com"\n'))
        for command in commands:
            if "--follow" in command or "--to" in command:
                continue
            words = [_NAMES.get(word, word) for word in command]
            if words[0] == "restore":
                assert _ocmt(*words, "--inventory", str(farm.inventory)) == 1
                assert "--force" in capsys.readouterr().err
                words.append("--force")
            if words[0] not in _WITHOUT_INVENTORY:
                words += ["--inventory", str(farm.inventory)]
            if words[0] == "rollback":
                # There is one release so far: refused, and the service goes on.
                assert _ocmt(*words) == 1
                continue
            assert _ocmt(*words) == 0, (command, capsys.readouterr())
            if words[:2] == ["setup", "agent"] and "--plan" not in words:
                # What the operator writes: agents as processes, on this farm's ports.
                made = (farm.component("agent") / ".env").read_text()
                token = re.search(r"^AUTH_TOKEN=.*$", made, re.M)
                assert token is not None
                env = re.sub(r"^AUTH_TOKEN=.*$", token[0], kept, flags=re.M)
                (farm.component("agent") / ".env").write_text(env)
        told = capsys.readouterr().out
    assert "Restored. Next: ocmt deploy" in told
    assert "unchanged" in told
