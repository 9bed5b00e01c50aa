"""A temporary object store on top of the repository's, so that a forecast leaves nothing behind.

Git reads the user's objects (as alternates) and writes only to a temporary folder. The
`.gitattributes` of the forecast tree are written to an empty work tree, from which git reads merge
drivers and binary marks, since the user's checkout may have others.
"""

import hashlib
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ocmt_sync.git import Git, Repository, raw, text
from ocmt_sync.worktree import SETTINGS

_IDENTITY = "OCMT forecast <forecast@localhost> 0 +0000"


@dataclass(frozen=True, slots=True)
class TemporaryStore:
    """`git` writes to the temporary folder. `write_commit` does so without starting git."""

    git: Git
    _objects: Path
    _algorithm: str

    def write_commit(self, tree: str, *parents: str) -> str:
        lines = [f"tree {tree}", *(f"parent {p}" for p in parents)]
        lines += [f"author {_IDENTITY}", f"committer {_IDENTITY}", "", "forecast", ""]
        return self._write(b"commit", "\n".join(lines).encode())

    def lay_out_attributes(self, tree: str) -> None:
        """Write the `.gitattributes` of a tree or commit to the work tree.

        Git reads them once, so a running process keeps the old ones.
        """
        folder = self.git.cwd
        shutil.rmtree(folder)
        folder.mkdir()
        listed = self.git.output("ls-tree", "-r", "-z", "--full-tree", tree)
        for item in listed.split(b"\0"):
            meta, _, name = item.partition(b"\t")
            if name.rpartition(b"/")[2] == b".gitattributes":
                target = folder / os.fsdecode(name)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(self.git.output("cat-file", "blob", text(meta.split()[2])))

    def empty_tree(self) -> str:
        return self._write(b"tree", b"")

    def _write(self, kind: bytes, body: bytes) -> str:
        data = kind + b" %d\0" % len(body) + body
        sha = hashlib.new(self._algorithm, data, usedforsecurity=False).hexdigest()
        folder = self._objects / sha[:2]
        path = folder / sha[2:]
        if not path.exists():
            folder.mkdir(exist_ok=True)
            # Written under another name first, since git may read the object meanwhile.
            partial = folder / f"tmp_{sha[2:]}"
            partial.write_bytes(zlib.compress(data, 1))
            partial.replace(path)
        return sha


@contextmanager
def temporary_store(repository: Repository, attributes_of: str) -> Iterator[TemporaryStore]:
    """Open a store whose attributes are those of `attributes_of`, a commit or tree."""
    git = repository.git
    algorithm = git.text("rev-parse", "--show-object-format")
    with tempfile.TemporaryDirectory(prefix="ocmt-sync-") as made:
        folder = Path(made)
        objects, work_tree = folder / "objects", folder / "tree"
        (objects / "info").mkdir(parents=True)
        (objects / "pack").mkdir()
        work_tree.mkdir()
        own = str(repository.common_dir / "objects")
        quoted = '"' + own.replace("\\", "\\\\").replace('"', '\\"') + '"'
        environment = {
            "GIT_DIR": str(repository.git_dir),
            "GIT_WORK_TREE": str(work_tree),
            "GIT_INDEX_FILE": str(folder / "index"),
            "GIT_OBJECT_DIRECTORY": str(objects),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": quoted,
        }
        store = TemporaryStore(Git(work_tree, environment, settings=SETTINGS), objects, algorithm)
        store.lay_out_attributes(attributes_of)
        yield store


def hashed(value: str) -> str:
    """A short stable name for a text."""
    return hashlib.sha256(raw(value)).hexdigest()[:16]
