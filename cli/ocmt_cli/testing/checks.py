"""The checks outside of pytest: linters, types, layers, and the page's own tests."""

import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from ocmt_common.console import say

from ocmt_cli.checkout import ROOT
from ocmt_cli.node import node_binary
from ocmt_cli.testing.report import Step

_BIN = Path(sys.executable).parent
_PYTHON = (
    "common",
    "agent-server",
    "management-server",
    "upstream-sync",
    "cli",
    "testing",
    "tests",
    "e2e",
    "bench",
    "scripts",
    "conftest.py",
)


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    command: tuple[str, ...]
    folder: Path = ROOT


def static_checks() -> tuple[Check, ...]:
    return (
        # The slowest first, since two run at a time.
        Check("mypy", (str(_BIN / "mypy"), *_PYTHON)),
        _page_check("eslint", "eslint/bin/eslint.js", "--max-warnings", "0", "."),
        Check("ruff check", (str(_BIN / "ruff"), "check", "--quiet", ".")),
        Check("ruff format", (str(_BIN / "ruff"), "format", "--check", "--quiet", ".")),
        Check("import-linter", (str(_BIN / "lint-imports"),)),
        Check("page: API types", (sys.executable, "scripts/page_types.py", "--check")),
        _page_check("types", "@typescript/native/bin/tsc", "--noEmit"),
        _page_check("prettier", "prettier/bin/prettier.cjs", "--check", "."),
        _page_check("tests", "vitest/vitest.mjs", "run"),
    )


def _page_check(name: str, program: str, *arguments: str) -> Check:
    """A check that runs a program of the page's node_modules."""
    command = (str(node_binary()), f"node_modules/{program}", *arguments)
    return Check(f"page: {name}", command, ROOT / "user-ui")


def run_checks(checks: Sequence[Check]) -> list[Step]:
    """Run the checks, and show the output of those that fail."""
    one_at_a_time = Lock()

    def run(check: Check) -> Step:
        started = time.monotonic()
        done = subprocess.run(
            check.command,
            cwd=check.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        passed = done.returncode == 0
        step = Step(check.name, time.monotonic() - started, is_check=True, passed=passed)
        with one_at_a_time:
            say(f"{'✓' if passed else '✗'} {check.name} ({step.seconds:.1f} s)")
            if not passed:
                say(done.stdout.rstrip())
        return step

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(run, checks))
