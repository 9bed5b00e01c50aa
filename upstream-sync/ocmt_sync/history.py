"""Reads commits with one `git log` for new ones, and caches them by hash.

A `Commit` has only what decisions need, since a hundred thousand must fit into memory.
"""

import marshal
import re
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ocmt_sync.git import Git, raw, text

_SCHEMA = 3
_FORMAT = "%x02%H%x00%P%x00%at%x00%ct%x00%an%x00%s%x00%b"
_FIELDS = 7
# A git process keeps the trees that it has read: 240 MB after a hundred thousand commits.
_READ_AT_ONCE = 20_000
PICKED = re.compile(r"\(cherry picked from commit ([0-9a-f]{7,64})\)")
_REVERTS = re.compile(r"This reverts commit ([0-9a-f]{7,64})")
_SNAPSHOT = re.compile(r"^Upstream-Snapshot: \S+ ([0-9a-f]{40,64})$", re.MULTILINE)
_NUMBER = re.compile(r"(?:^|[\s(])(?:[\w.-]+/[\w.-]+)?#(\d{1,7})\b")
_ADVISORY = re.compile(r"\b(GHSA(?:-[0-9a-z]{4}){3}|CVE-\d{4}-\d{4,7})\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit, with what decisions need.

    Times are in Unix seconds. `files` are the paths that it changes against its first parent; empty
    for a merge, since its commits list theirs.
    """

    sha: str
    parents: tuple[str, ...]
    authored: int
    committed: int
    author: str
    subject: str
    files: tuple[str, ...]
    submodules: bool
    picked_from: tuple[str, ...]
    reverts: tuple[str, ...]
    snapshot_of: str
    numbers: tuple[str, ...]
    evidence: tuple[str, ...]

    @property
    def is_merge(self) -> bool:
        return len(self.parents) > 1


Evidence = Callable[[str, str], tuple[str, ...]]  # (subject, body) → why it is about security


def _numbers(subject: str, body: str) -> tuple[str, ...]:
    message = f"{subject}\n{body}"
    found = [f"#{n}" for n in _NUMBER.findall(message)] if "#" in message else []
    upper = message.upper()
    if "CVE-" in upper or "GHSA-" in upper:
        found += [a.upper() for a in _ADVISORY.findall(message)]
    return tuple(dict.fromkeys(found))


def read_log(git: Git, shas: Iterable[str], evidence: Evidence) -> Iterator[Commit]:
    """Read these commits with their changed paths, in the given order."""
    tokens = git.tokens(
        "-c", "i18n.logOutputEncoding=UTF-8", "log", "--no-walk=unsorted", "--stdin", "-z", "--raw",
        "--no-abbrev", "--no-renames", "--diff-merges=off", "--root", "--no-ext-diff",
        "--no-show-signature", "--no-notes", "--no-mailmap", "--ignore-submodules=none",
        f"--format={_FORMAT}", stdin=shas,
    )  # fmt: skip
    interned: dict[bytes, str] = {}
    fields: list[bytes] = []
    files: list[str] = []
    submodules = False
    path_follows = False
    for token in tokens:
        if path_follows:
            name = interned.get(token)
            if name is None:
                name = interned[token] = text(token)
            files.append(name)
            path_follows = False
        elif len(fields) < _FIELDS and fields:
            fields.append(token)
        elif (start := token.lstrip(b"\n")).startswith(b":"):
            submodules = submodules or start.startswith(b":160000") or start[8:14] == b"160000"
            path_follows = True
        elif start.startswith(b"\x02"):
            if fields:
                yield _commit(fields, files, submodules, evidence)
            fields, files, submodules = [start[1:]], [], False
    if fields:
        yield _commit(fields, files, submodules, evidence)


def _commit(
    fields: Sequence[bytes], files: Sequence[str], submodules: bool, evidence: Evidence
) -> Commit:
    sha, parents, authored, committed, author, subject, body = (text(f) for f in fields)
    # Substring tests first, since regular expressions over ten thousand bodies take half a second.
    reverts = _REVERTS.findall(body) if "This reverts" in body else ()
    snapshot = _SNAPSHOT.findall(body) if "Upstream-Snapshot" in body else ()
    return Commit(
        sha=sha,
        parents=tuple(parents.split()),
        authored=int(authored or 0),
        committed=int(committed or 0),
        author=author,
        subject=subject,
        files=tuple(files),
        submodules=submodules,
        picked_from=tuple(PICKED.findall(body)) if "cherry picked" in body else (),
        reverts=tuple(reverts),
        snapshot_of=snapshot[-1] if snapshot else "",
        numbers=_numbers(subject, body),
        evidence=evidence(subject, body),
    )


class CommitCache:
    """An SQLite cache in the git directory of commits, patch-ids and probe results, by hash.

    A damaged file is deleted, and its content computed again.
    """

    def __init__(self, folder: Path, *, flavour: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "cache.sqlite"
        # marshal is three times as fast as JSON, but its format depends on Python's version.
        self._flavour = f"{_SCHEMA}:{sys.hexversion:x}:{flavour}"

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=10, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=OFF")
            db.execute(
                "CREATE TABLE IF NOT EXISTS kept"
                " (kind TEXT, key TEXT, value BLOB, PRIMARY KEY (kind, key)) WITHOUT ROWID"
            )
        except sqlite3.Error:
            db.close()
            raise
        return db

    def _throw_away(self) -> None:
        for end in ("", "-wal", "-shm"):
            self._path.with_name(f"{self._path.name}{end}").unlink(missing_ok=True)

    def get(self, kind: str, keys: Sequence[str]) -> dict[str, bytes]:
        """The cached values of `keys`, without missing ones."""
        try:
            return self._get(kind, keys)
        except sqlite3.OperationalError:
            raise  # a full disk, or a folder without write permission
        except sqlite3.DatabaseError:
            self._throw_away()
            return self._get(kind, keys)

    def _get(self, kind: str, keys: Sequence[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        with closing(self._open()) as db:
            for start in range(0, len(keys), 500):
                part = keys[start : start + 500]
                marks = ",".join("?" * len(part))
                rows = db.execute(
                    f"SELECT key, value FROM kept WHERE kind = ? AND key IN ({marks})",  # noqa: S608
                    [kind, *part],
                )
                found.update(rows)
        return found

    def put(self, kind: str, values: Iterable[tuple[str, bytes]]) -> None:
        with closing(self._open()) as db:
            db.execute("BEGIN")
            db.executemany(
                "INSERT OR REPLACE INTO kept VALUES (?, ?, ?)", ((kind, k, v) for k, v in values)
            )
            db.execute("COMMIT")

    def commits(self, git: Git, shas: Sequence[str], evidence: Evidence) -> dict[str, Commit]:
        """Hash → commit, in the order of `shas`; git reads only those that are not cached."""
        kind = f"commit:{self._flavour}"
        interned: dict[str, str] = {}
        known = {sha: _load(value, interned) for sha, value in self.get(kind, shas).items()}
        missing = [sha for sha in shas if sha not in known]
        if missing:

            def fresh() -> Iterator[tuple[str, bytes]]:
                for start in range(0, len(missing), _READ_AT_ONCE):
                    for commit in read_log(git, missing[start : start + _READ_AT_ONCE], evidence):
                        known[commit.sha] = commit
                        yield commit.sha, _dump(commit)

            self.put(kind, fresh())
        return {sha: known[sha] for sha in shas}


def _dump(c: Commit) -> bytes:
    return marshal.dumps(
        (c.sha, c.parents, c.authored, c.committed, c.author, c.subject, c.files, c.submodules,
         c.picked_from, c.reverts, c.snapshot_of, c.numbers, c.evidence)
    )  # fmt: skip


def _load(value: bytes, interned: dict[str, str]) -> Commit:
    (sha, parents, authored, committed, author, subject, files, submodules,
     picked, reverts, snapshot, numbers, evidence) = marshal.loads(value)  # noqa: S302  # fmt: skip
    return Commit(
        sha, parents, authored, committed, interned.setdefault(author, author), subject,
        tuple(interned.setdefault(f, f) for f in files), submodules,
        picked, reverts, snapshot, numbers, evidence,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trees:
    """A commit's tree, its first parent's tree ("" for a root commit), and its parents."""

    own: str
    before: str
    parents: tuple[str, ...]


def trees_of(git: Git, shas: Sequence[str]) -> dict[str, Trees]:
    """Hash → the trees needed to pick it, in two git calls for all commits."""
    own: dict[str, tuple[str, tuple[str, ...]]] = {}
    for token in git.tokens(
        "log", "-z", "--no-walk=unsorted", "--stdin", "--no-show-signature", "--no-notes",
        "--format=%H %T %P", "-s", stdin=shas,
    ):  # fmt: skip
        if token.strip():
            sha, tree, *parents = text(token).split()
            own[sha] = (tree, tuple(parents))
    tree_by_commit = {sha: tree for sha, (tree, _) in own.items()}
    unknown = sorted({p[0] for _, p in own.values() if p} - own.keys())
    if unknown:
        asked = b"".join(raw(f"{sha}^{{tree}}\n") for sha in unknown)
        answer = git.lines("cat-file", "--batch-check=%(objectname)", stdin=asked)
        tree_by_commit.update(zip(unknown, answer, strict=True))
    return {
        sha: Trees(tree, tree_by_commit[parents[0]] if parents else "", parents)
        for sha, (tree, parents) in own.items()
    }
