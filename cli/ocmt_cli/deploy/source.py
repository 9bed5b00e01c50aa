"""The source of a deploy: a commit, and a digest for each component."""

import hashlib
import io
import re
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from ocmt_cli.deploy.inventory import Role
from ocmt_cli.failure import CommandFailed

# Only the files from which a component is built, so that a changed test or page of documentation
# does not restart a server.
PARTS: dict[Role, tuple[str, ...]] = {
    "mgmt": (
        "common/ocmt_common", "common/pyproject.toml", "management-server/ocmt_management",
        "management-server/pyproject.toml", "requirements/management.lock",
    ),
    "agent": (
        "common/ocmt_common", "common/pyproject.toml", "agent-server/ocmt_agent",
        "agent-server/pyproject.toml", "requirements/agent.lock",
    ),
    "ui": (
        "user-ui/src", "user-ui/public", "user-ui/index.html", "user-ui/package.json",
        "user-ui/package-lock.json", "user-ui/tsconfig.json", "user-ui/vite.config.ts",
    ),
}  # fmt: skip
_FORMAT = "1"
_REVISION = re.compile(r'^revision = "(\w+)"', re.M)
_CONTRACT = re.compile(r"^contract = True", re.M)


@dataclass(frozen=True, slots=True)
class Source:
    """A checkout without changes, at a commit."""

    checkout: Path
    commit: str

    def content(self, role: Role) -> str:
        """The digest of a component's sources."""
        listed = git(self.checkout, "ls-tree", self.commit, "--", *PARTS[role])
        return hashlib.sha256(f"{_FORMAT}\n{role}\n{listed}".encode()).hexdigest()

    def extract(self, role: Role, folder: Path) -> None:
        """Write a component's sources at the commit below `folder`."""
        words = ["git", "-C", str(self.checkout), "archive", self.commit, "--", *PARTS[role]]
        packed = subprocess.run(words, capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(folder, filter="data")

    def has(self, commit: str) -> bool:
        """Whether the checkout has this commit."""
        return _git_code(self.checkout, "cat-file", "-e", f"{commit}^{{commit}}") == 0

    def is_before(self, commit: str) -> bool:
        """Whether `commit`, which the checkout has, is a descendant of this one."""
        code = _git_code(self.checkout, "merge-base", "--is-ancestor", self.commit, commit)
        return self.commit != commit and code == 0

    def commits_since(self, commit: str, role: Role) -> list[str]:
        """The commits after `commit` that change a component, newest first; as `HASH SUBJECT`.

        Empty if the checkout lacks `commit`.
        """
        if not self.has(commit):
            return []
        between = f"{commit}..{self.commit}"
        words = ("log", "--no-decorate", "--format=%h %s", between, "--", *PARTS[role])
        return git(self.checkout, *words).splitlines()

    def revisions(self) -> tuple[list[str], list[str]]:
        """Management's migrations in order, and those of them that contract."""
        folder = "management-server/ocmt_management/migrations/versions/"
        names = git(self.checkout, "ls-tree", "--name-only", self.commit, folder).split()
        known: list[str] = []
        contracts: list[str] = []
        for name in sorted(name for name in names if name.endswith(".py")):
            text = git(self.checkout, "show", f"{self.commit}:{name}")
            for revision in _REVISION.findall(text):
                known.append(revision)
                if _CONTRACT.search(text):
                    contracts.append(revision)
        return known, contracts


def read_source(checkout: Path) -> Source:
    """The checkout's commit.

    Raises `CommandFailed` if a component's sources have uncommitted changes, or if git fails.
    """
    commit = git(checkout, "rev-parse", "HEAD").strip()
    parts = sorted({part for parts in PARTS.values() for part in parts})
    dirty = git(checkout, "status", "--porcelain", "--", *parts)
    if dirty:
        shown = "\n".join(f"  {line}" for line in dirty.splitlines()[:10])
        raise CommandFailed(
            f"There are uncommitted changes:\n{shown}\nCommit or stash them: a deploy sends a "
            "commit, not the working tree."
        )
    return Source(checkout, commit)


def git(checkout: Path, *words: str) -> str:
    """Run git and return its output. Raises `CommandFailed` with git's error."""
    command = ["git", "-C", str(checkout), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CommandFailed(f"git {words[0]} failed in {checkout}: {done.stderr.strip()}")
    return done.stdout


def _git_code(checkout: Path, *words: str) -> int:
    command = ["git", "-C", str(checkout), *words]
    return subprocess.run(command, capture_output=True, check=False).returncode
