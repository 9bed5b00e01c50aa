"""RELEASING.md is true: a server that pulls with signers accepts the tag that its commands make."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from ocmt_cli.deploy.inventory import Pull
from ocmt_cli.deploy.pulling import pull

ROOT = Path(__file__).parents[2]


def commands_of(*sections: str) -> str:
    """The `sh` blocks of these sections, without the lines that run tests."""
    page = (ROOT / "RELEASING.md").read_text(encoding="utf-8")
    by_title = dict(part.split("\n", 1) for part in page.split("\n## ")[1:])
    blocks = [
        block for one in sections for block in re.findall(r"```sh\n(.*?)```", by_title[one], re.S)
    ]
    lines = "".join(blocks).splitlines()
    return "\n".join(line for line in lines if not line.startswith(".venv/bin/python"))


def run(script: str, folder: Path, home: Path) -> str:
    who = {
        f"GIT_{role}_{what}": "you@example.com"
        for role in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, **who, "HOME": str(home), "GIT_CONFIG_GLOBAL": os.devnull},
        stdin=subprocess.DEVNULL,
        # Without a terminal ssh-keygen reads no passphrase.
        start_new_session=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@pytest.mark.needs("ssh")
def test_a_version_made_by_the_page_is_what_a_pulling_server_deploys(tmp_path: Path) -> None:
    origin, checkout, server = tmp_path / "origin.git", tmp_path / "checkout", tmp_path / "server"
    (tmp_path / ".ssh").mkdir(mode=0o700)
    checkout.mkdir()
    for file in (ROOT / "CHANGELOG.md", *ROOT.glob("*/pyproject.toml")):
        copy = checkout / file.relative_to(ROOT)
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(file, copy)
    prepare = f"""
        git init --quiet --bare {origin}
        git init --quiet --initial-branch=main .
        git remote add origin {origin}
        git add . && git commit --quiet --message Before && git push --quiet origin main
        git clone --quiet --branch main {origin} {server}
    """
    run(prepare, checkout, tmp_path)

    said = run(commands_of("Once: a key", "Each version"), checkout, tmp_path)

    assert 'Good "git" signature for you@example.com' in said
    assert pull(server, Pull(signers=tmp_path / ".ssh" / "ocmt-signers"))
    assert run("git describe --exact-match", server, tmp_path).strip() == "v0.1.0"
    changelog = (server / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(
        r"^## \[Unreleased\]\n\n## \[0\.1\.0\] - \d{4}-\d\d-\d\d\n\n### ", changelog, re.M
    )
