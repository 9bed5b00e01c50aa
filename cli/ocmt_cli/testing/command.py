"""`ocmt test`: the checks and the tiers, and one last line that counts them all."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from xml.etree import ElementTree

import typer

from ocmt_cli.checkout import DEFAULT_DATA, ROOT
from ocmt_cli.console import say
from ocmt_cli.failure import CommandFailed
from ocmt_cli.openclaw.commands import build_image
from ocmt_cli.testing.checks import run_checks, static_checks
from ocmt_cli.testing.tiers import TIERS
from ocmt_cli.up.page import install_page_tools

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class TierChoice(StrEnum):
    UNIT = "unit"
    INTEGRATION = "integration"
    DOCKER = "docker"
    E2E = "e2e"


@dataclass(frozen=True, slots=True)
class Counts:
    passed: int
    failed: int
    skipped: int = 0


@app.command()
def run_tests(
    tier: Annotated[
        TierChoice | None, typer.Argument(help="One tier; without it all that can run here.")
    ] = None,
    pytest_arguments: Annotated[
        list[str] | None, typer.Argument(help="For pytest, after `--`, such as: -- -k vault")
    ] = None,
) -> None:
    """Run the checks and the tests; the last line counts them."""
    chosen = runnable_tiers(tier)
    checks = static_checks() if "unit" in chosen else ()
    if checks:
        install_page_tools()
    failed_checks = run_checks(checks)
    if "docker" in chosen or ("e2e" in chosen and TIERS["docker"].obstacle() is None):
        # Once here rather than in the first test that needs it.
        build_image(DEFAULT_DATA / "openclaw")
    counts, code = _pytest(chosen, pytest_arguments or [])
    passed = counts.passed + len(checks) - failed_checks
    failed = counts.failed + failed_checks
    skipped = f", {counts.skipped} skipped" if counts.skipped else ""
    say(f"{passed} passed, {failed} failed{skipped}")
    if failed or code != 0:
        raise typer.Exit(1)


def runnable_tiers(wanted: TierChoice | None) -> list[str]:
    if wanted is not None:
        obstacle = TIERS[wanted.value].obstacle()
        if obstacle:
            raise CommandFailed(f"The {wanted.value} tests cannot run here: {obstacle}.")
        return [wanted.value]
    chosen = []
    for tier in TIERS.values():
        obstacle = tier.obstacle()
        if obstacle:
            say(f"not run: {tier.name}: {obstacle}")
        else:
            chosen.append(tier.name)
    return chosen


def _pytest(tiers: Sequence[str], arguments: Sequence[str]) -> tuple[Counts, int]:
    """Run pytest with its output going straight to the terminal; its counts and exit code."""
    with tempfile.TemporaryDirectory(prefix="ocmt-test-") as folder:
        report = Path(folder) / "junit.xml"
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-m", " or ".join(tiers), f"--junitxml={report}",
             *arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            check=False,
        )  # fmt: skip
        if not report.exists():
            return Counts(0, 1), done.returncode
        return read_counts(report), done.returncode


def read_counts(report: Path) -> Counts:
    """Sum up pytest's own report; an error in a fixture is a failure too."""
    total = failed = skipped = 0
    # Written by our own pytest a moment ago.
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):  # noqa: S314
        total += int(suite.get("tests", 0))
        failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped += int(suite.get("skipped", 0))
    return Counts(max(0, total - failed - skipped), failed, skipped)
