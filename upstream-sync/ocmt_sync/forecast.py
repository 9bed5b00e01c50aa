"""Forecasts the result of picks, merges and snapshots, without changing the repository.

A pick of C onto the tree T is the three-way merge of T and C's tree, with C's parent as the base.
Each side becomes a synthetic commit on a synthetic base, which needs no walk through history, works
for root and merge commits, and does not need `merge-tree --merge-base` (git 2.40). One `merge-tree
--stdin` process does hundreds of merges, since starting git costs more than a merge.
"""

import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ocmt_sync.errors import GitFailed
from ocmt_sync.git import Git, Repository, shown, text
from ocmt_sync.history import Trees
from ocmt_sync.objects import TemporaryStore, temporary_store

# The process is restarted after so many merges, since it keeps every object that it has parsed.
_MERGES_PER_PROCESS = 400


@dataclass(frozen=True, slots=True)
class Outcome:
    """A merge's resulting tree, and each conflicting path with git's name for the conflict."""

    tree: str
    conflicts: Mapping[str, str]

    @property
    def clean(self) -> bool:
        return not self.conflicts


class Forecaster:
    """Merges trees in a temporary store. Created by `forecaster`."""

    def __init__(self, store: TemporaryStore) -> None:
        self.store = store
        self._process: subprocess.Popen[bytes] | None = None
        self._merges = 0
        self._buffer = b""
        self._empty_tree = store.empty_tree()
        self._nothing = store.write_commit(self._empty_tree)

    def merge_commits(self, ours: str, theirs: str) -> Outcome:
        """Merge two commits as `git merge` would, from their merge base."""
        return self._merge(ours, theirs)

    def merge_trees(self, base: str, ours: str, theirs: str) -> Outcome:
        """Merge the trees `ours` and `theirs` from the tree `base`; "" is the empty tree."""
        root = self.store.write_commit(base or self._empty_tree)
        return self._merge(
            self.store.write_commit(ours or self._empty_tree, root),
            self.store.write_commit(theirs or self._empty_tree, root),
        )

    def pick(self, onto: str, commit: Trees) -> Outcome:
        """Pick a commit onto a tree (a merge commit against its first parent)."""
        if commit.before == onto:
            return Outcome(commit.own, {})
        return self.merge_trees(commit.before, onto, commit.own)

    def merge_by(self, tree: str) -> None:
        """Use the `.gitattributes` of this tree for later merges."""
        self.close()
        self.store.lay_out_attributes(tree)

    def _merge(self, ours: str, theirs: str) -> Outcome:
        process = self._running()
        assert process.stdin is not None  # noqa: S101 (PIPE)
        try:
            # git 2.39 flushes before a record's last byte, which is held back until the next
            # record. Merging the empty tree with itself produces that record.
            nothing = self._nothing
            process.stdin.write(f"{ours} {theirs}\n{nothing} {nothing}\n".encode())
            process.stdin.flush()
            if self._merges > 1:
                self._token()  # the last byte of the empty merge before
            outcome = self._read()
            for _ in range(3):  # "1", the empty tree, no conflicts
                self._token()
            return outcome
        except (BrokenPipeError, EOFError) as error:
            assert process.stderr is not None  # noqa: S101 (PIPE)
            said = text(process.stderr.read()).strip()
            raise GitFailed(
                f"git cannot forecast this merge: {shown(said[-600:])}",
                stderr=said,
                returncode=process.wait(),
            ) from error

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is not None and self._merges < _MERGES_PER_PROCESS:
            self._merges += 1
            return self._process
        self.close()
        self._merges = 1
        self._process = self.store.git.start(
            "merge-tree", "--write-tree", "--stdin", "-z", "--messages"
        )
        return self._process

    def close(self) -> None:
        if self._process is not None:
            with self._process as process:
                process.kill()
            self._process = None
            self._buffer = b""

    def _token(self) -> bytes:
        while (end := self._buffer.find(b"\0")) < 0:
            assert self._process is not None  # noqa: S101
            assert self._process.stdout is not None  # noqa: S101 (PIPE)
            more = self._process.stdout.read1(1 << 16)  # type: ignore[attr-defined]
            if not more:
                raise EOFError
            self._buffer += more
        token, self._buffer = self._buffer[:end], self._buffer[end + 1 :]
        return token

    def _read(self) -> Outcome:
        clean = self._token() == b"1"
        tree = text(self._token())
        conflicts: dict[str, str] = {}
        while item := self._token():
            conflicts.setdefault(text(item.split(b"\t", 1)[1]), "contents")
        while count := self._token():
            paths = [text(self._token()) for _ in range(int(count))]
            kind = text(self._token())
            self._token()  # git's sentence, which repeats the kind
            if kind.startswith("CONFLICT"):
                word = kind.removeprefix("CONFLICT").strip(" ()")
                conflicts.update((path, word) for path in paths[:1])
        if not clean and not conflicts:
            conflicts["?"] = "unknown"
        return Outcome(tree, {} if clean else conflicts)


@contextmanager
def forecaster(repository: Repository, onto: str) -> Iterator[Forecaster]:
    """A forecaster that begins with the `.gitattributes` of `onto`, a commit or tree."""
    with temporary_store(repository, onto) as store:
        made = Forecaster(store)
        try:
            yield made
        finally:
            made.close()


@dataclass(frozen=True, slots=True)
class Step:
    """A forecast commit: the tree after it, its conflicts, and whether it is `empty`."""

    sha: str
    tree: str
    conflicts: Mapping[str, str]
    empty: bool


def sequence(
    cast: Forecaster,
    onto: str,
    shas: Sequence[str],
    trees: Mapping[str, Trees],
    *,
    attributed: Collection[str] = (),
) -> Iterator[Step]:
    """Forecast picks in order.

    A conflicting commit is treated as skipped; its step has the tree before it. `attributed` are
    the commits that change `.gitattributes`, which apply to later merges.
    """
    tree, attributes = onto, onto
    for sha in shas:
        outcome = cast.pick(tree, trees[sha])
        if outcome.clean:
            yield Step(sha, outcome.tree, {}, empty=outcome.tree == tree)
            tree = outcome.tree
            if sha in attributed:
                cast.merge_by(tree)
                attributes = tree
        else:
            yield Step(sha, tree, outcome.conflicts, empty=False)
    if attributes != onto:
        cast.merge_by(onto)


def prerequisites(
    cast: Forecaster,
    onto: str,
    sha: str,
    earlier: Sequence[str],
    trees: Mapping[str, Trees],
    *,
    paths: Collection[str],
) -> list[str] | None:
    """A small subset of `earlier` after which `sha` applies to `paths` without a conflict.

    `earlier` has commits that touch `paths`, oldest first. Returns `None` if it is empty, or even
    all of them do not help. Conflicts in other files, such as a changelog, are ignored.
    """

    def works(chosen: Sequence[str]) -> bool:
        tree = onto
        for one in [*chosen, sha]:
            outcome = cast.pick(tree, trees[one])
            if not outcome.conflicts.keys().isdisjoint(paths):
                return False
            tree = outcome.tree
        return True

    needed = list(earlier)
    if not needed or not works(needed):
        return None
    for one in earlier:  # the oldest first: usually the newest are the ones that matter
        without = [other for other in needed if other != one]
        if without and works(without):
            needed = without
    return needed


def merge_resolution_files(git: Git, merge: str) -> list[str]:
    """The files in which a merge commit differs from git's own merge of its parents."""
    listed = git.output(
        "show", "--remerge-diff", "--name-only", "-z", "--format=", "--no-renames", merge
    )
    return [text(name) for name in listed.split(b"\0") if name.strip()]
