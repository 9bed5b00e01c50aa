"""Finds upstream commits that the fork already has in another form.

The evidence is an `-x` line with the commit's hash, an equal patch-id, or that picking it would
change nothing, which also finds edited picks. Commits in a snapshot are excluded earlier. A pick
that the fork later reverted is a decision: the commit is not offered again.
"""

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ocmt_sync.errors import GitFailed
from ocmt_sync.git import Git, text
from ocmt_sync.history import Commit, CommitCache

How = Literal["trailer", "patch-id", "empty", "reverted", "history"]


@dataclass(frozen=True, slots=True)
class AlreadyPicked:
    """How the fork has an upstream commit.

    `how` is the evidence, "history" for the commit itself. `by` is the fork's commit that picked or
    reverted it; "" for "empty" and "history".
    """

    how: How
    by: str


def patch_ids(git: Git, shas: Iterable[str], cache: CommitCache) -> dict[str, str]:
    """Commit → stable patch-id, cached in the repository. Merges and empty commits have none."""
    wanted = list(dict.fromkeys(shas))
    known = {sha: value.decode() for sha, value in cache.get("patch-id", wanted).items()}
    missing = [sha for sha in wanted if sha not in known]
    if missing:
        found = _compute(git, missing)
        cache.put("patch-id", ((sha, found.get(sha, "").encode()) for sha in missing))
        known.update(found)
    return {sha: value for sha, value in known.items() if value}


def _compute(git: Git, shas: Sequence[str]) -> dict[str, str]:
    # The list is in a file, since the three processes could deadlock with a pipe.
    with tempfile.TemporaryFile() as listed:
        listed.write("".join(f"{sha}\n" for sha in shas).encode())
        listed.seek(0)
        diffs = git.start(
            "diff-tree", "--stdin", "-p", "--root", "--full-index", "--no-renames",
            "--no-ext-diff", "--no-textconv", "--no-color", "--src-prefix=a/", "--dst-prefix=b/",
            stdin=listed,
        )  # fmt: skip
        with diffs:
            ids = git.start("patch-id", "--stable", stdin=diffs.stdout)
            with ids:
                if diffs.stdout is not None:
                    diffs.stdout.close()  # so that diff-tree gets SIGPIPE when patch-id ends
                answer = ids.stdout.read() if ids.stdout else b""
            said = text(diffs.stderr.read()) if diffs.stderr else ""
    if diffs.returncode != 0 or ids.returncode != 0:
        raise GitFailed(f"git cannot compute patch-ids: {said[-300:]}", stderr=said, returncode=1)
    return {sha: patch for patch, sha in (line.split() for line in text(answer).splitlines())}


def find_already_picked(
    candidates: Mapping[str, Commit],
    ours: Sequence[Commit],
    ids: Callable[[Iterable[str]], Mapping[str, str]],
) -> dict[str, AlreadyPicked]:
    """Find the candidates that the fork has, by `-x` lines and patch-ids. `ours` is oldest first.

    Computes patch-ids only for commits with equal paths, since diffs of other files cannot be the
    same patch, and computing all would take longer than everything else.
    """
    by_prefix = _Prefixes(candidates)
    takes: dict[str, list[tuple[str, How]]] = {}
    for commit in ours:
        named = [sha for short in commit.picked_from if (sha := by_prefix.find(short))]
        takes[commit.sha] = [(sha, "trailer") for sha in named]
    by_files: dict[frozenset[str], list[str]] = {}
    for commit in ours:
        if commit.files:
            by_files.setdefault(frozenset(commit.files), []).append(commit.sha)
    sizes = {len(files) for files in by_files}
    pairs = [
        (sha, mine)
        for sha, commit in candidates.items()
        if len(commit.files) in sizes and commit.files
        for mine in by_files.get(frozenset(commit.files), ())
    ]
    known = ids([sha for pair in pairs for sha in pair]) if pairs else {}
    for sha, mine in pairs:
        if known.get(sha) and known.get(sha) == known.get(mine):
            takes[mine].append((sha, "patch-id"))
    return _follow_reverts(ours, takes)


def _follow_reverts(
    ours: Sequence[Commit], takes: Mapping[str, Sequence[tuple[str, How]]]
) -> dict[str, AlreadyPicked]:
    already_picked: dict[str, AlreadyPicked] = {}
    undone: dict[str, dict[str, AlreadyPicked]] = {}
    by_prefix = _Prefixes({c.sha: c for c in ours})
    for commit in ours:
        for sha, how in takes[commit.sha]:
            already_picked.setdefault(sha, AlreadyPicked(how, commit.sha))
        for short in commit.reverts:
            target = by_prefix.find(short)
            if target is None:
                continue
            if target in undone:  # a revert of a revert brings the pick back
                already_picked.update(undone.pop(target))
                continue
            mine = {
                u: t for u, t in already_picked.items() if t.by == target and t.how != "reverted"
            }
            if mine:
                undone[commit.sha] = mine
                already_picked.update((u, AlreadyPicked("reverted", commit.sha)) for u in mine)
    return already_picked


class _Prefixes:
    """Finds a commit by an unambiguous abbreviated hash."""

    def __init__(self, commits: Mapping[str, Commit]) -> None:
        self._full = commits
        self._short: dict[str, list[str]] = {}
        for sha in commits:
            self._short.setdefault(sha[:7], []).append(sha)

    def find(self, short: str) -> str | None:
        if short in self._full:
            return short
        fitting = [sha for sha in self._short.get(short[:7], ()) if sha.startswith(short)]
        return fitting[0] if len(fitting) == 1 else None
