"""A checkout to commit in, and machines to which the real servers are deployed."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ocmt_cli.checkout import ROOT
from ocmt_cli.deploy.orchestration import deploy
from ocmt_cli.deploy.source import read_source
from ocmt_testing.deploy.farm import BUILDS, Commit, Farm, deployer, farm
from ocmt_testing.deploy.load import Chats, Person, until


def _git(checkout: Path, *words: str) -> None:
    who = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    subprocess.run(["git", "-C", str(checkout), *who, *words], check=True, capture_output=True)


@pytest.fixture(scope="package")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of this checkout's commit."""
    folder = tmp_path_factory.mktemp("checkout") / "ocmt"
    subprocess.run(["git", "clone", "--quiet", "--shared", str(ROOT), str(folder)], check=True)
    _git(folder, "remote", "remove", "origin")
    modules = ROOT / "user-ui" / "node_modules"
    if modules.is_dir():
        (folder / "user-ui" / "node_modules").symlink_to(modules)
    return folder


@pytest.fixture
def commit(checkout: Path) -> Iterator[Commit]:
    """Replace a text in a file and commit it; a second commit undoes it when the test ends."""
    before = subprocess.run(
        ["git", "-C", str(checkout), "rev-parse", "HEAD"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip

    def make(file: str, old: str, new: str) -> None:
        text = (checkout / file).read_text()
        assert old in text
        (checkout / file).write_text(text.replace(old, new, 1))
        _git(checkout, "commit", "--quiet", "--all", "--message", "A change")

    yield make
    _git(checkout, "reset", "--quiet", "--hard", before)


@pytest.fixture(scope="package")
def deployed(checkout: Path) -> Iterator[Farm]:
    """Three machines to which everything was deployed once."""
    with farm() as made:
        done = deploy(deployer(made), read_source(checkout), builds=BUILDS)
        assert [(step.role, step.action) for step in done] == [
            ("mgmt", "deploy"),
            ("agent", "deploy"),
            ("ui", "deploy"),
        ]
        yield made


@pytest.fixture(scope="package")
def person(deployed: Farm) -> Person:
    """A signed-in user who got one answer, so that their agent runs."""
    made = Person(deployed)
    with Chats(made, 1) as chats:
        until(lambda: chats.turns > 0)
    assert chats.failures == []
    return made
