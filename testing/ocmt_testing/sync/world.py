"""Real repositories with known histories: an upstream, a fork, and the command run on the fork."""

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ocmt_sync.commands import sync_app
from typer.testing import CliRunner

START = 1_790_000_000  # a fixed moment, so that histories are the same on every run
POLICY = """
version = 1
[security]
teams = ["@acme/security"]
[test]
commands = ["sh ./check.sh"]
[[rule]]
class = "neutral"
paths = ["CHANGELOG.md"]
[[rule]]
class = "always"
paths = ["core/"]
[[rule]]
class = "evaluate"
paths = ["extras/"]
[[rule]]
class = "skip"
paths = ["docs/"]
[[rule]]
class = "careful"
paths = ["*"]
"""
CODEOWNERS = "* @acme/all\n/core/auth/ @acme/security\n"
BASE = {
    ".github/CODEOWNERS": CODEOWNERS,
    "core/a.txt": "".join(f"line {n}\n" for n in range(40)),
    "core/b.txt": "one\ntwo\nthree\n",
    "core/auth/login.txt": "deny\n",
    "extras/x.txt": "x\n",
    "docs/guide.md": "read me\n",
    "README.md": "hello\n",
    "CHANGELOG.md": "changes\n",
    "check.sh": "exit 0\n",
}


def git(cwd: Path, *args: str, stdin: bytes = b"", ok: bool = True) -> str:
    """Run git with a fixed identity."""
    environment = {
        **os.environ,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_AUTHOR_NAME": "Op", "GIT_AUTHOR_EMAIL": "op@example.org",
        "GIT_COMMITTER_NAME": "Op", "GIT_COMMITTER_EMAIL": "op@example.org",
    }  # fmt: skip
    done = subprocess.run(
        ["git", *args], cwd=cwd, input=stdin, capture_output=True, check=False, env=environment
    )
    if ok and done.returncode != 0:
        raise AssertionError(f"git {args}: {done.stderr.decode(errors='replace')}")
    return done.stdout.decode("utf-8", "surrogateescape").rstrip("\n")


Change = str | bytes | None | tuple[str, bytes]  # content, or None to delete, or (mode, content)
Files = Mapping[str, Change] | Mapping[bytes, Change]
Commit = tuple[
    Files, str | bytes, str, tuple[str, ...], str
]  # files, subject, body, parents, author


@dataclass
class Upstream:
    """An upstream whose commits are written with fast-import, which is fast and reproducible."""

    path: Path
    count: int = 0

    def commit(
        self,
        files: Files,
        subject: str | bytes = "change",
        *,
        body: str = "",
        parents: tuple[str, ...] = ("refs/heads/main",),
        author: str = "Ann <ann@upstream.example>",
        branch: str = "main",
    ) -> str:
        """Add a commit to a branch. Returns its hash."""
        self.many([(files, subject, body, parents, author)], branch=branch)
        return git(self.path, "rev-parse", f"refs/heads/{branch}")

    def many(self, commits: list[Commit], *, branch: str = "main") -> None:
        out: list[bytes] = []
        exists = bool(
            git(self.path, "rev-parse", "-q", "--verify", f"refs/heads/{branch}", ok=False)
        )
        for number, (files, subject, body, parents, author) in enumerate(commits):
            self.count += 1
            at = START + self.count * 60
            message = subject if isinstance(subject, bytes) else subject.encode()
            message += f"\n\n{body}".encode() if body else b"\n"
            out.append(f"commit refs/heads/{branch}\n".encode())
            out.append(f"author {author} {at} +0000\n".encode())
            out.append(f"committer Bot <bot@upstream.example> {at} +0000\n".encode())
            out.append(b"data %d\n%s\n" % (len(message), message))
            if number == 0:
                for index, parent in enumerate(parents if exists or branch != "main" else ()):
                    word = "from" if index == 0 else "merge"
                    out.append(f"{word} {git(self.path, 'rev-parse', parent)}\n".encode())
            for name, change in files.items():
                raw = name if isinstance(name, bytes) else name.encode()
                quoted = b'"' + raw.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
                if change is None:
                    out.append(b"D " + quoted + b"\n")
                    continue
                mode, content = change if isinstance(change, tuple) else ("100644", change)
                data = content.encode() if isinstance(content, str) else content
                if mode == "160000":
                    out.append(b"M 160000 " + data + b" " + quoted + b"\n")
                else:
                    out.append(b"M " + mode.encode() + b" inline " + quoted + b"\n")
                    out.append(b"data %d\n%s\n" % (len(data), data))
        git(self.path, "fast-import", "--quiet", "--force", stdin=b"".join(out))


@dataclass
class Ran:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class World:
    """An upstream, the fork's origin, and the operator's clone."""

    root: Path
    upstream: Upstream
    fork: Path
    origin: Path
    environment: dict[str, str] = field(default_factory=dict)

    def git(self, *args: str, stdin: bytes = b"", ok: bool = True) -> str:
        return git(self.fork, *args, stdin=stdin, ok=ok)

    def run(self, *args: str, at: Path | None = None) -> Ran:
        """Run `ocmt sync …` in this process. Returns its exit code, stdout and stderr."""
        done = CliRunner().invoke(
            sync_app, ["--repo", str(at or self.fork), *args], env=self.variables()
        )
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Ran(done.exit_code, done.stdout, done.stderr)

    def ok(self, *args: str) -> Any:
        """Run with `--json` and expect success. Returns the document."""
        ran = self.run(*args, "--json")
        assert ran.code == 0, ran.out + ran.err
        return ran.json

    def variables(self) -> dict[str, str]:
        return {
            **os.environ,
            "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull,
            "GIT_AUTHOR_NAME": "Op", "GIT_AUTHOR_EMAIL": "op@example.org",
            "GIT_COMMITTER_NAME": "Op", "GIT_COMMITTER_EMAIL": "op@example.org",
            **self.environment,
        }  # fmt: skip

    def local(self, files: Mapping[str, str | None], subject: str = "ours") -> str:
        """Commit `files` in the fork, where `None` deletes a file. Returns the commit's hash."""
        for name, content in files.items():
            path = self.fork / name
            if content is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content, encoding="utf-8")
        self.git("add", "-A")
        self.git("commit", "-qm", subject)
        return self.git("rev-parse", "HEAD")

    def plan(self, *args: str) -> dict[str, Any]:
        out = self.root / "plan.toml"
        document: dict[str, Any] = self.ok("plan", "-o", str(out), *args)
        return document

    def pick_held_commits(self) -> Path:
        """Write a plan that picks the commits it would hold. Returns its path."""
        self.plan()
        path = self.root / "plan.toml"
        path.write_text(path.read_text().replace('{do = "hold"', '{do = "pick"'))
        return path

    def apply(self) -> Any:
        return self.ok("apply", str(self.root / "plan.toml"))

    @property
    def tree(self) -> Path:
        """The sync branch's work tree."""
        return self.fork.with_name(f"{self.fork.name}.upstream-sync")

    def snapshot(self) -> dict[str, Any]:
        """The state of the user's repository that a failed command must not change."""
        git_dir = self.fork / ".git"
        index = git_dir / "index"
        return {
            "refs": self.git("for-each-ref"),
            "head": self.git("symbolic-ref", "-q", "HEAD", ok=False)
            + self.git("rev-parse", "HEAD"),
            "status": self.git("status", "--porcelain", "--ignored"),
            "index": hashlib.sha256(index.read_bytes()).hexdigest(),
            "stash": self.git("stash", "list"),
            "worktrees": self.git("worktree", "list", "--porcelain"),
            "objects": sorted(
                str(p.relative_to(git_dir)) for p in (git_dir / "objects").rglob("*") if p.is_file()
            ),
            "config": (git_dir / "config").read_text(encoding="utf-8"),
            "files": {
                str(p.relative_to(self.fork)): p.read_bytes()
                for p in self.fork.rglob("*")
                if p.is_file() and git_dir not in p.parents
            },
        }


def make_world(root: Path, *, base: Mapping[str, str] = BASE, policy: str | None = POLICY) -> World:
    theirs, origin, fork = root / "upstream.git", root / "origin.git", root / "fork"
    for bare in (theirs, origin):
        git(root, "init", "-q", "--bare", "-b", "main", str(bare))
    upstream = Upstream(theirs)
    upstream.commit(base, "start")
    git(root, "clone", "-q", str(theirs), str(fork), "-o", "upstream")
    world = World(root, upstream, fork, origin)
    world.git("remote", "set-url", "--push", "upstream", "DISABLED")
    world.git("remote", "add", "origin", str(origin))
    if policy is not None:
        world.local({"sync.toml": policy}, "Follow upstream")
    world.git("push", "-q", "origin", "main")
    return world
