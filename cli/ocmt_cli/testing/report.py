"""The report of a test run: counts, times, reasons for skipped tests, and the slowest tests."""

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ocmt_common.atomic_files import replace_file

from ocmt_cli.failure import CommandFailed
from ocmt_cli.testing.tiers import Tier

_SLOWEST = 15
_WORST = 10
_LAST_LINES = 12
"""Lines kept of each part of a failure: the traceback and the output of test and servers."""


@dataclass(frozen=True, slots=True)
class Step:
    """A part of the run: a check, an installation, or the tests of some tiers."""

    name: str
    seconds: float
    is_check: bool = False
    passed: bool = True


@dataclass(frozen=True, slots=True)
class Case:
    """A test, including its fixtures. `outcome` is passed, failed or skipped."""

    name: str
    seconds: float
    outcome: str
    reason: str = ""
    """Why the test was skipped, or the end of its output if it failed."""


@dataclass(slots=True)
class Report:
    """The results of a run, filled in as it proceeds."""

    tiers: Sequence[Tier]
    whole: bool = True
    """Whether all tests of the tiers were run; a selection has no budget."""
    slowness: float = 1.0
    """How many times slower this machine is than the budgets' reference machine."""
    seconds: float = 0.0
    """Seconds from the first step's start to the last one's end."""
    steps: list[Step] = field(default_factory=list)
    """In the order in which they ended; checks count as tests."""
    cases: list[Case] = field(default_factory=list)
    broken_off: list[str] = field(default_factory=list)
    """Runs of pytest that ended without a result for each test; each counts as a failure."""

    @property
    def passed(self) -> int:
        return self._count("passed") + sum(step.is_check and step.passed for step in self.steps)

    @property
    def failed(self) -> int:
        checks = sum(not step.passed for step in self.steps)
        return self._count("failed") + checks + len(self.broken_off)

    @property
    def skipped(self) -> int:
        return self._count("skipped")

    def _count(self, outcome: str) -> int:
        return sum(case.outcome == outcome for case in self.cases)

    @property
    def budget_s(self) -> float:
        """The tiers' budget in seconds, scaled by the machine's slowness."""
        return self.slowness * sum(tier.budget_s for tier in self.tiers)

    def missing(self) -> Mapping[str, int]:
        """Reason → count of skipped tests, the highest count first."""
        reasons = Counter(case.reason for case in self.cases if case.outcome == "skipped")
        return dict(reasons.most_common())

    def slowest(self, count: int) -> list[Case]:
        return sorted(self.cases, key=lambda case: -case.seconds)[:count]

    def over_budget(self) -> str | None:
        """A message with the slowest tests if the tiers exceeded their budget, else `None`."""
        if not self.whole or self.seconds <= self.budget_s:
            return None
        names = " and ".join(tier.name for tier in self.tiers)
        worst = "\n".join(_case_line(case) for case in self.slowest(_WORST))
        return (
            f"The tests of {names} took {self.seconds:.0f} s; their budget is"
            f" {self.budget_s:.0f} s here (cli/ocmt_cli/testing/tiers.py). Make the slowest faster,"
            f" or mark what is long by nature `nightly`:\n{worst}"
        )

    def as_text(self) -> str:
        lines = ["", "Slowest tests"]
        lines += [_case_line(case) for case in self.slowest(_SLOWEST)]
        lines += ["", "Time of each step"]
        lines += [f"  {step.seconds:7.1f} s  {step.name}" for step in self.steps]
        lines += [""]
        for reason, count in self.missing().items():
            lines.append(f"skipped: {count} test{'s' * (count > 1)}: {reason}")
        for run in self.broken_off:
            lines.append(f"pytest ended before it had run all of {run}: see its output above")
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        took = (
            f"{self.seconds:.0f} s of {self.budget_s:.0f}"
            if self.whole
            else f"{self.seconds:.0f} s"
        )
        lines.append(f"{self.passed} passed, {self.failed} failed{skipped} in {took}")
        return "\n".join(lines)

    def failures(self) -> str:
        """Every failed test with the end of its output."""
        return "".join(
            f"\n{case.name}\n{case.reason}\n" for case in self.cases if case.outcome == "failed"
        )

    def as_json(self) -> str:
        shown: dict[str, Any] = {
            "tiers": [tier.name for tier in self.tiers],
            "passed": self.passed,
            "failed": self.failed,
            "skipped": self.skipped,
            "seconds": round(self.seconds, 1),
            "budgetSeconds": round(self.budget_s, 1) if self.whole else None,
            "slowness": round(self.slowness, 2),
            "missing": self.missing(),
            "steps": [
                {"name": step.name, "seconds": round(step.seconds, 1), "passed": step.passed}
                for step in self.steps
            ],
            "tests": [
                {"name": case.name, "seconds": round(case.seconds, 2), "outcome": case.outcome}
                for case in self.slowest(len(self.cases))
            ],
        }
        return json.dumps(shown, indent=1)


def _case_line(case: Case) -> str:
    return f"  {case.seconds:7.1f} s  {case.name}"


def read_cases(junit: Path) -> Iterable[Case]:
    """The tests in pytest's JUnit file; an error in a fixture counts as a failure."""
    # The file is trusted, since pytest has just written it.
    for case in ElementTree.parse(junit).getroot().iter("testcase"):  # noqa: S314
        outcome, reason = "passed", ""
        for child in case:
            if child.tag in ("failure", "error"):
                outcome, reason = "failed", _ends(case)
            elif child.tag == "skipped":
                outcome, reason = "skipped", child.get("message", "")
        name = f"{case.get('file', case.get('classname', ''))}::{case.get('name', '')}"
        yield Case(name, float(case.get("time", 0)), outcome, reason)


def _ends(case: ElementTree.Element) -> str:
    """The last lines of each part of a failed test's report."""
    parts = [part for part in case if part.tag != "skipped"]
    return "\n".join(
        f"    {line}"
        for part in parts
        for line in (part.text or part.get("message") or "").strip().splitlines()[-_LAST_LINES:]
    )


def keep(report: Report, junit: Iterable[Path], folder: Path) -> None:
    """Store the run's results in `folder`, replacing those of the last run of these tiers."""
    kept = folder / "-".join(tier.name for tier in report.tiers)
    try:
        kept.mkdir(parents=True, exist_ok=True)
        replace_file(kept / "report.json", report.as_json(), mode=0o644, durable=False)
        replace_file(kept / "failures.txt", report.failures(), mode=0o644, durable=False)
        for file in junit:
            shutil.move(file, kept / file.name)  # from /tmp, often another file system
    except OSError as error:
        raise CommandFailed(f"The report cannot be written to {kept}: {error.strerror}.") from error
