"""`ocmt test`: the checks and the tiers, and one last line that counts them all."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self
from xml.etree import ElementTree

import typer

from ocmt_cli.checkout import DEFAULT_DATA, ROOT
from ocmt_cli.console import say
from ocmt_cli.failure import CommandFailed
from ocmt_cli.openclaw.commands import build_image
from ocmt_cli.testing.checks import run_checks, static_checks
from ocmt_cli.testing.tiers import TIERS
from ocmt_cli.up.page import install_page_tools

# A file's tests stay together, for what they share. Files go in their order: by number of tests, as
# pytest-xdist would have it, the few tests that take minutes would come last.
_SEVERAL_PROCESSES = (
    "--numprocesses=auto",
    "--maxprocesses=4",
    "--dist=loadfile",
    "--no-loadscope-reorder",
)
# pytest's exit codes for all passed, some failed, and none chosen (by `-k`, say).
_VERDICTS = (0, 1, 5)

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

    def __add__(self, other: Self) -> Self:
        return type(self)(
            self.passed + other.passed,
            self.failed + other.failed,
            self.skipped + other.skipped,
        )

    @property
    def tests(self) -> int:
        return self.passed + self.failed + self.skipped


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
    counts = run_tiers(chosen, pytest_arguments or [])
    passed = counts.passed + len(checks) - failed_checks
    failed = counts.failed + failed_checks
    skipped = f", {counts.skipped} skipped" if counts.skipped else ""
    say(f"{passed} passed, {failed} failed{skipped}")
    if failed or counts.tests == 0:
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


def run_tiers(tiers: Sequence[str], arguments: Sequence[str]) -> Counts:
    """Run the tests of these tiers: those that wait most of their time beside each other.

    The other tiers measure the machine's own memory and fill its cores: one test at a time.
    """
    beside = [tier for tier in tiers if TIERS[tier].beside_others]
    alone = [tier for tier in tiers if not TIERS[tier].beside_others]
    total = Counts(0, 0)
    if beside:
        total += _pytest(beside, [*_SEVERAL_PROCESSES, *arguments])
    if alone:
        total += _pytest(alone, arguments)
    return total


def _pytest(tiers: Sequence[str], arguments: Sequence[str]) -> Counts:
    """Run pytest with its output going straight to the terminal; what it counted.

    A pytest that ended without a verdict on each test is a failure more.
    """
    with tempfile.TemporaryDirectory(prefix="ocmt-test-") as folder:
        report = Path(folder) / "junit.xml"
        code = _to_its_end(
            [sys.executable, "-m", "pytest", "-m", " or ".join(tiers), f"--junitxml={report}",
             *arguments]
        )  # fmt: skip
        counts = read_counts(report) if report.exists() else Counts(0, 0)
    broke_off = code not in _VERDICTS or (code == 1 and not counts.failed)
    return counts + Counts(0, 1) if broke_off else counts


def _to_its_end(words: Sequence[str]) -> int:
    """The exit code. Ctrl-C, which reaches pytest too, lets it take down what its tests started."""
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.DEVNULL) as child:
        try:
            return child.wait()
        except KeyboardInterrupt:
            child.wait()
            raise


def read_counts(report: Path) -> Counts:
    """Sum up pytest's own report; an error in a fixture is a failure too."""
    total = failed = skipped = 0
    # Written by our own pytest a moment ago.
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):  # noqa: S314
        total += int(suite.get("tests", 0))
        failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped += int(suite.get("skipped", 0))
    return Counts(max(0, total - failed - skipped), failed, skipped)
