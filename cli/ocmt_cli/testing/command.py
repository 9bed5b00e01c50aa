"""`ocmt test`: run the checks and the tiers, and report results and times."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from ocmt_common.console import say

from ocmt_cli.checkout import DEFAULT_DATA, ROOT
from ocmt_cli.failure import CommandFailed
from ocmt_cli.openclaw.commands import build_image
from ocmt_cli.testing.checks import run_checks, static_checks
from ocmt_cli.testing.report import Report, Step, keep, read_cases
from ocmt_cli.testing.speed import slowness
from ocmt_cli.testing.tiers import DEFAULT_TIERS, TIERS
from ocmt_cli.up.page import install_page_tools

# A file's tests run on one worker, since they share fixtures. Files start in the order of
# testpaths: in pytest-xdist's order, by number of tests, the few tests that take minutes would
# start last. There is one worker more than cores, since tests wait for servers half of the time.
_SEVERAL_PROCESSES = (
    f"--numprocesses={min(4, len(os.sched_getaffinity(0)) + 1)}",
    "--dist=loadfile",
    "--no-loadscope-reorder",
)
# pytest's exit codes for all passed, some failed, and none chosen (by `-k`, say).
_VERDICTS = (0, 1, 5)
RESULTS = DEFAULT_DATA / "test-results"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class TierChoice(StrEnum):
    UNIT = "unit"
    INTEGRATION = "integration"
    DOCKER = "docker"
    E2E = "e2e"
    NIGHTLY = "nightly"


@app.command()
def run_tests(
    tier: Annotated[
        TierChoice | None,
        typer.Argument(help="A tier; default: unit and integration."),
    ] = None,
    pytest_arguments: Annotated[
        list[str] | None, typer.Argument(help="For pytest, after `--`, such as: -- -k vault")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON, everything else to stderr.")
    ] = False,
) -> None:
    """Run the checks and the tests, and report where the time went."""
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        report = _run(tiers_to_run(tier), pytest_arguments or [])
        say(report.as_text())
        if tier is None:
            say("not run: docker, e2e, nightly (./ocmt test docker)")
        too_long = report.over_budget()
        if too_long:
            say(too_long)
    if as_json:
        say(report.as_json())
    if report.failed or too_long or not report.cases:
        raise typer.Exit(1)


def _run(tiers: Sequence[str], arguments: Sequence[str]) -> Report:
    report = Report([TIERS[tier] for tier in tiers], whole=not arguments)
    slow_before = slowness()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ocmt-test-") as folder:
        if "unit" in tiers:
            with _timed(report, "page tools"):
                install_page_tools()
            report.steps += run_checks(static_checks())
        if TIERS["docker"].obstacle() is None and not {"docker", "e2e", "nightly"}.isdisjoint(
            tiers
        ):
            # Installed here, so that its time does not count for the first test that needs it.
            with _timed(report, "OpenClaw image"):
                build_image(DEFAULT_DATA / "openclaw")
        run_tiers(report, arguments, Path(folder))
        report.seconds = time.monotonic() - begun
        report.slowness = max(slow_before, slowness())
        keep(report, sorted(Path(folder).iterdir()), RESULTS)
    return report


@contextmanager
def _timed(report: Report, name: str) -> Iterator[None]:
    begun = time.monotonic()
    yield
    report.steps.append(Step(name, time.monotonic() - begun))


def tiers_to_run(wanted: TierChoice | None) -> list[str]:
    if wanted is None:
        return list(DEFAULT_TIERS)
    obstacle = TIERS[wanted.value].obstacle()
    if obstacle:
        raise CommandFailed(f"The {wanted.value} tests cannot run here: {obstacle}.")
    return [wanted.value]


def run_tiers(report: Report, arguments: Sequence[str], folder: Path) -> None:
    """Run the tests of the report's tiers, in parallel if they mostly wait.

    The other tiers measure the machine's memory and use its cores, so they run one test at a time.
    """
    beside = [tier.name for tier in report.tiers if tier.beside_others]
    alone = [tier.name for tier in report.tiers if not tier.beside_others]
    if beside:
        _pytest(report, beside, [*_SEVERAL_PROCESSES, *arguments], folder)
    if alone:
        _pytest(report, alone, arguments, folder)


def _pytest(report: Report, tiers: Sequence[str], arguments: Sequence[str], folder: Path) -> None:
    """Run pytest with its output on the terminal."""
    name = " and ".join(tiers)
    junit = folder / f"{'-'.join(tiers)}.junit.xml"
    with _timed(report, f"tests of {name}"):
        code = _to_its_end(
            [sys.executable, "-m", "pytest", "-m", " or ".join(tiers), f"--junitxml={junit}",
             "-o", "junit_family=xunit1", "-o", "junit_logging=all",
             "-o", "junit_log_passing_tests=false", *_only_where(tiers), *arguments]
        )  # fmt: skip
    cases = list(read_cases(junit)) if junit.exists() else []
    report.cases += cases
    failed = any(case.outcome == "failed" for case in cases)
    if code not in _VERDICTS or (code == 1 and not failed):
        report.broken_off.append(name)


def _only_where(tiers: Sequence[str]) -> list[str]:
    """Arguments that limit pytest to the tiers' own folders, since importing all tests is slow.

    Paths in pytest's arguments override them.
    """
    folders = {
        "docker": sorted(str(place.relative_to(ROOT)) for place in ROOT.glob("*/tests/docker"))
    }
    folders["e2e"] = ["e2e"]
    if not folders.keys() >= set(tiers):
        return []
    return ["-o", f"testpaths={' '.join(place for tier in tiers for place in folders[tier])}"]


def _to_its_end(words: Sequence[str]) -> int:
    """Run pytest and return its exit code.

    On Ctrl-C, wait until it has cleaned up, then raise `KeyboardInterrupt`.
    """
    # Tests start many Python processes, each of which would compile the modules again.
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    interrupted = False

    def note(*_: object) -> None:
        nonlocal interrupted
        interrupted = True

    usual = signal.signal(signal.SIGINT, note)
    try:
        code = subprocess.run(
            words,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=sys.stdout,
            env=environ,
            check=False,
        ).returncode
    finally:
        signal.signal(signal.SIGINT, usual)
    if interrupted:
        raise KeyboardInterrupt
    return code
