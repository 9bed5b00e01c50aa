"""The sync branch's own work tree. The operator's work trees are never changed."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from ocmt_sync.errors import Exit, SyncError
from ocmt_sync.git import Git, Repository, raw, shown, text

# Git settings in the sync work tree, which override the operator's. The fork's hooks are for its
# own commits, not upstream's; a background process would hold the lock; and files and messages must
# be the same for all operators.
SETTINGS = (
    "core.hooksPath=/dev/null", "core.fsmonitor=false", "gc.auto=0", "maintenance.auto=false",
    "rerere.enabled=true", "rerere.autoUpdate=true", "core.autocrlf=false", "core.safecrlf=false",
    "core.commentChar=#", "commit.cleanup=verbatim", "submodule.recurse=false",
    "advice.mergeConflict=false",
)  # fmt: skip


def sync_git(folder: Path, *, lock: int | None = None) -> Git:
    """Git for the sync work tree. Each git process inherits `lock`, and holds it until it ends."""
    return Git(folder, keep_open=() if lock is None else (lock,), settings=SETTINGS)


@dataclass(frozen=True, slots=True)
class Tree:
    """A work tree of a repository. `branch` is "" if its head is detached."""

    path: Path
    branch: str


def list_trees(git: Git) -> list[Tree]:
    out: list[Tree] = []
    for block in git.output("worktree", "list", "--porcelain", "-z").split(b"\0\0"):
        fields = dict((text(line).partition(" ")[::2]) for line in block.split(b"\0") if line)
        if "worktree" in fields:
            branch = fields.get("branch", "").removeprefix("refs/heads/")
            out.append(Tree(Path(os.fsdecode(raw(fields["worktree"]))), branch))
    return out


def is_registered(git: Git, place: Path) -> bool:
    return any(tree.path == place for tree in list_trees(git)[1:])


def default_place(repository: Repository, branch: str) -> Path:
    """The work tree's folder, beside the main checkout, since operators resolve conflicts in it.

    Without a checkout, as in a bare repository, it is in the git directory.
    """
    main = list_trees(repository.git)[0].path
    if (main / ".git").is_dir():
        return main.with_name(f"{main.name}.{branch}")
    return repository.state / "worktree"


def find_tree(repository: Repository, branch: str) -> Path | None:
    """The work tree of the sync branch; `None` if there is none.

    Raises `SyncError` if it is one of the operator's own.
    """
    trees = list_trees(repository.git)
    place = default_place(repository, branch)
    for number, tree in enumerate(trees):
        # Running inside sync's own tree is allowed, since conflicts are resolved in it.
        theirs = number == 0 or tree.path == repository.top != place
        if tree.branch == branch and theirs:
            raise SyncError(
                Exit.REFUSED,
                f"`{branch}` is checked out in {tree.path}. Switch that to another branch first "
                f"(git switch -): sync works in a work tree of its own.",
            )
    for tree in trees[1:]:
        # If its `.git` file is missing, git would use a repository in a parent folder.
        if (tree.branch == branch or tree.path == place) and (tree.path / ".git").is_file():
            return tree.path
    return None


def refuse_occupied(place: Path) -> None:
    """Raise `SyncError` if `place` exists, unless it is an empty folder."""
    if place.exists() and not (place.is_dir() and not any(place.iterdir())):
        raise SyncError(
            Exit.REFUSED, f"{place} exists and is not sync's work tree. Move it elsewhere."
        )


def make_tree(git: Git, place: Path, branch: str, base: str) -> None:
    """Check the branch out at `place`, creating it at `base` if it does not exist."""
    refuse_occupied(place)
    new = git.resolve(f"refs/heads/{branch}") is None
    wanted = ["--no-track", "-b", branch, str(place), base] if new else [str(place), branch]
    # `--force` is for a registered work tree whose folder is gone.
    git.output("worktree", "add", "--force", *wanted)


def remove_tree(git: Git, place: Path) -> None:
    if place.is_dir() and not (place / ".git").exists():
        shutil.rmtree(place)  # git was killed while making or removing it
    git.output("worktree", "remove", "--force", "--force", str(place))


def unmerged(git: Git) -> list[str]:
    """Paths with an unresolved conflict."""
    listed = git.output("ls-files", "-u", "-z").split(b"\0")
    return sorted({text(item.split(b"\t", 1)[1]) for item in listed if item})


def unstaged(git: Git) -> list[str]:
    """Tracked paths with changes that are not staged."""
    listed = git.output("diff", "--name-only", "-z", "--ignore-submodules").split(b"\0")
    return [shown(text(name)) for name in listed if name]


def marked(git: Git, theirs: str) -> list[str]:
    """Staged paths with conflict markers that are in neither side's version.

    `theirs` is the commit being picked or merged. So a text about conflict markers is no conflict.
    """
    staged = git.output("diff", "--cached", "--name-only", "-z", "--no-renames", "HEAD")
    holding = git.result("grep", "--cached", "-l", "-z", "-e", "^<<<<<<< ", "-e", "^>>>>>>> ")
    out: list[str] = []
    for name in sorted(set(staged.split(b"\0")) & set(holding.stdout.split(b"\0")) - {b""}):
        found = _markers(git, f":0:{text(name)}")
        if found - _markers(git, f"HEAD:{text(name)}") - _markers(git, f"{theirs}:{text(name)}"):
            out.append(shown(text(name)))
    return out


def _markers(git: Git, blob: str) -> set[bytes]:
    content = git.result("cat-file", "blob", blob).stdout
    return {line for line in content.split(b"\n") if line.startswith((b"<<<<<<< ", b">>>>>>> "))}


def refuse_dirty(git: Git, ledger: str) -> None:
    """Raise `SyncError` for a work tree with the operator's uncommitted changes.

    Changes to only the ledger's files are from a `skip` that was killed between updating the branch
    and the files; they are reset.
    """
    changed = ("status", "--porcelain", "-z", "--untracked-files=all", "--no-renames")
    waiting = unfinished(git)
    if not waiting and not git.output(*changed):
        return
    if not waiting and not git.output(*changed, "--", ".", f":(exclude,literal){ledger}"):
        put_back(git)
        return
    raise SyncError(
        Exit.REFUSED,
        f"{shown(str(git.cwd))} has uncommitted changes. Commit or remove them there first "
        "(git status).",
    )


def drop_stale_locks(git: Git, repository: Repository, branch: str) -> None:
    """Remove the lock files that a killed git left in the sync branch's work tree.

    Call it with the sync lock held, which proves that no such git process still runs.
    """
    own = Path(git.text("rev-parse", "--absolute-git-dir"))
    for path in (
        *own.glob("*.lock"),
        repository.common_dir / "refs" / "heads" / f"{branch}.lock",
    ):
        path.unlink(missing_ok=True)


def head_file(git: Git, name: str) -> str:
    """The commit in a file such as CHERRY_PICK_HEAD; "" if there is none."""
    done = git.result("rev-parse", "--verify", "--quiet", name)
    return text(done.stdout).strip() if done.returncode == 0 else ""


def unfinished(git: Git) -> str:
    """The commit that is being picked or merged; "" if there is none."""
    return head_file(git, "CHERRY_PICK_HEAD") or head_file(git, "MERGE_HEAD")


def put_back(git: Git) -> None:
    """Discard an unfinished pick or merge and all uncommitted files, except ignored ones."""
    git.result("cherry-pick", "--quit")
    git.result("clean", "-ffdq")  # frees space first: the reset needs some
    git.output("reset", "--hard", "--quiet", "HEAD")
    git.output("clean", "-ffdq")


def commit_files(git: Git, files: dict[str, bytes], *, subject: str) -> None:
    """Add files to the work tree's branch as one commit."""
    for name, content in files.items():
        target = git.cwd / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    paths = b"".join(raw(name) + b"\0" for name in files)
    git.output("add", "--force", "--pathspec-from-file=-", "--pathspec-file-nul", stdin=paths)
    git.output("commit", "--quiet", "--no-verify", "-m", subject)
