"""How fast `ocmt sync` reads a long upstream, compared with git by hand and with pygit2.

The history is generated: 10,000 commits in the proportions of the real history (a third touch a
changelog, a third span several classes, most touch two to five files), and a fork with 30 local
commits and a few picks. Run: `./ocmt bench sync --json`.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ocmt_sync.forecast import forecaster, sequence
from ocmt_sync.git import open_repository
from ocmt_sync.history import read_log, trees_of
from ocmt_sync.policy import load_policy
from ocmt_sync.security import message_evidence

AREAS = ("src/infra", "src/cli", "packages/core", "src/gateway", "extensions/telegram", "apps/ios",
         "docs/concepts", "src/agents", "test/helpers", "scripts", "ui/src")  # fmt: skip
START = 1_790_000_000
FILES_AN_AREA = 220


def history(count: int, seed: int) -> Iterator[bytes]:
    """fast-import's stream for upstream: one base commit with every file, then `count` more."""
    rng = random.Random(seed)
    yield b"commit refs/remotes/upstream/main\ncommitter Up <up@example.org> %d +0000\n" % START
    yield b"data 5\nstart\n"
    for area in AREAS:
        for n in range(FILES_AN_AREA):
            yield _file(f"{area}/file{n}.ts", "".join(f"line {i}\n" for i in range(60)))
    yield _file("CHANGELOG.md", "start\n") + _file("package.json", "{}\n")
    for number in range(1, count + 1):
        yield b"commit refs/remotes/upstream/main\n"
        yield b"committer Up <up@example.org> %d +0000\n" % (START + number * 240)
        word = "security: harden" if rng.random() < 0.02 else "fix"
        message = f"{word} thing {number} (#{number})\n\nWhy it was needed.\n".encode()
        yield b"data %d\n%s\n" % (len(message), message)
        areas = rng.sample(AREAS, 2 if rng.random() < 0.35 else 1)
        for _ in range(rng.choice((1, 2, 2, 3, 5))):
            path = f"{rng.choice(areas)}/file{rng.randrange(FILES_AN_AREA)}.ts"
            lines = [f"line {i}\n" for i in range(60)]
            lines[rng.randrange(60)] = f"changed by {number}\n"
            yield _file(path, "".join(lines))
        if rng.random() < 0.33:
            yield _file("CHANGELOG.md", f"up to {number}\n")


def _file(path: str, content: str) -> bytes:
    data = content.encode()
    return b"M 100644 inline %s\ndata %d\n%s\n" % (path.encode(), len(data), data)


def git(cwd: Path, *args: str, stdin: bytes | None = None) -> str:
    done = subprocess.run(
        ["git", *args], cwd=cwd, input=stdin, check=True, capture_output=True, env=_environment()
    )
    return done.stdout.decode().strip()


def _environment() -> dict[str, str]:
    who = {f"GIT_{r}_{k}": v for r in ("AUTHOR", "COMMITTER")
           for k, v in (("NAME", "Op"), ("EMAIL", "op@example.org"))}  # fmt: skip
    return {**os.environ, **who, "GIT_CONFIG_GLOBAL": os.devnull}


def make_fork(folder: Path, count: int) -> Path:
    """Create a fork of the base commit with local commits, a few picks, and upstream fetched."""
    fork = folder / "fork"
    git(folder, "init", "-q", "-b", "main", str(fork))
    with subprocess.Popen(
        ["git", "fast-import", "--quiet"], cwd=fork, stdin=subprocess.PIPE, env=_environment()
    ) as child:
        assert child.stdin is not None
        child.stdin.writelines(history(count, seed=7))
        child.stdin.close()
    if child.returncode != 0:
        raise RuntimeError("git fast-import failed")
    git(fork, "remote", "add", "upstream", "https://example.org/upstream.git")
    base = git(fork, "rev-list", "--max-parents=0", "refs/remotes/upstream/main")
    git(fork, "reset", "-q", "--hard", base)
    for number in range(30):
        path = fork / f"src/infra/file{number}.ts"
        path.write_text(path.read_text() + f"ours {number}\n")
        git(fork, "commit", "-qam", f"ours {number}")
    for sha in git(
        fork, "rev-list", "--reverse", "refs/remotes/upstream/main", "--", "docs"
    ).split()[1:11]:
        subprocess.run(["git", "cherry-pick", "-x", sha], cwd=fork, check=False,
                       capture_output=True, env=_environment())  # fmt: skip
        subprocess.run(["git", "cherry-pick", "--skip"], cwd=fork, check=False,
                       capture_output=True, env=_environment())  # fmt: skip
    return fork


def timed(what: Callable[[], Any]) -> float:
    started = time.perf_counter()
    what()
    return time.perf_counter() - started


def command(fork: Path, *args: str) -> tuple[float, float, float]:
    """Run `ocmt sync`. Returns wall seconds, peak MB and CPU seconds, including git's processes.

    On a busy machine, only the CPU seconds are comparable.
    """
    started = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "ocmt_cli.main", "sync", "--repo", str(fork), *args],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=_environment(),
    )  # fmt: skip
    _, status, usage = os.wait4(child.pid, 0)
    said = child.stderr.read().decode() if child.stderr else ""
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise RuntimeError(f"ocmt sync {args}: {said}")
    cpu = usage.ru_utime + usage.ru_stime
    return time.perf_counter() - started, usage.ru_maxrss / 1024, cpu


def classify(fork: Path) -> float:
    """Seconds to read and classify every commit in this process, without a cache."""

    repository = open_repository(fork)
    policy = load_policy(None, fork)

    def work() -> None:
        shas = repository.git.lines("rev-list", "refs/remotes/upstream/main", "--not", "main", "--")
        for commit in read_log(repository.git, shas, lambda s, b: message_evidence(policy, s, b)):
            policy.class_of(commit.files)

    return timed(work)


def forecast(fork: Path, count: int) -> float:
    """Milliseconds per commit of a sequential forecast."""

    repository = open_repository(fork)
    shas = repository.git.lines(
        "rev-list", "--reverse", "--topo-order", "refs/remotes/upstream/main", "--not", "main", "--"
    )[:count]
    trees = trees_of(repository.git, shas)
    onto = repository.git.tree_of("main")
    with forecaster(repository, "main") as cast:
        return timed(lambda: list(sequence(cast, onto, shas, trees))) / len(shas) * 1000


def by_hand(fork: Path) -> dict[str, float]:
    """Seconds of git commands that read the same data by hand."""
    up = "refs/remotes/upstream/main"
    return {
        "git cherry": timed(lambda: git(fork, "cherry", "main", up)),
        "git log --name-only": timed(lambda: git(fork, "log", "--name-only", f"main..{up}")),
    }


def pygit2_walk(fork: Path) -> float | None:
    """Seconds to read the same data with pygit2; `None` if it is not installed."""
    try:
        import pygit2  # noqa: PLC0415 (optional)
    except ImportError:
        return None
    repo = pygit2.Repository(str(fork))

    def work() -> None:
        walker = repo.walk(repo.references["refs/remotes/upstream/main"].target)
        walker.hide(repo.references["refs/heads/main"].target)
        for commit in walker:
            if commit.parents:
                diff = repo.diff(commit.parents[0], commit)
                [delta.new_file.path for delta in diff.deltas]

    return timed(work)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def memory(commits: int) -> dict[str, Any]:
    """Measure a first status, a cached one and a plan on a history of `commits` commits."""
    with tempfile.TemporaryDirectory(prefix="ocmt-bench-") as made:
        fork = make_fork(Path(made), commits)
        first, peak, _ = command(fork, "status", "--json")
        again, peak_again, _ = command(fork, "status", "--json")
        plan = command(fork, "plan", "--no-compare", "--limit", "1", "-o", f"{made}/plan.toml")
    return {
        "commits": commits,
        "statusS": round(first, 3), "statusPeakMb": round(peak, 1),
        "statusCachedS": round(again, 3), "statusCachedPeakMb": round(peak_again, 1),
        "planS": round(plan[0], 3), "planPeakMb": round(plan[1], 1),
    }  # fmt: skip


def bench_sync(commits: int, long: int) -> dict[str, Any]:
    """All figures, with their targets."""
    with tempfile.TemporaryDirectory(prefix="ocmt-bench-") as made:
        fork = make_fork(Path(made), commits)
        classified = classify(fork)
        first, peak, cpu = command(fork, "status", "--json")
        again = [command(fork, "status", "--json") for _ in range(3)]
        hand = by_hand(fork)
        return {
            "commits": commits,
            "classifyS": round(classified, 3),
            "statusS": round(first, 3),
            "statusCpuS": round(cpu, 3),
            "statusCachedS": round(min(wall for wall, _, _ in again), 3),
            "statusCachedCpuS": round(min(cpu for _, _, cpu in again), 3),
            "statusPeakMb": round(peak, 1),
            "forecastMsACommit": round(forecast(fork, min(600, commits)), 2),
            "byHandS": {name: round(value, 3) for name, value in hand.items()},
            "pygit2WalkS": _rounded(pygit2_walk(fork)),
            "long": memory(long),
            "aims": {"classifyS": 1.5, "statusS": 2, "statusCachedS": 0.3,
                     "forecastMsACommit": 20, "long.statusPeakMb": 200},
        }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commits", type=int, default=10_000)
    parser.add_argument(
        "--long",
        type=int,
        default=100_000,
        help="commits of the history that memory is measured on",
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = bench_sync(options.commits, options.long)
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        for name, value in result.items():
            print(f"{name}: {value}")


if __name__ == "__main__":
    main()
