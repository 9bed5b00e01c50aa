"""`ocmt test`: which tests run how, what is counted, and what the report contains."""

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from ocmt_cli.failure import CommandFailed
from ocmt_cli.testing import command
from ocmt_cli.testing.command import TierChoice
from ocmt_cli.testing.report import Case, Report, Step, keep, read_cases
from ocmt_cli.testing.tiers import TIERS, Tier

PASSED = '<testcase file="a/test_a.py" name="test_a" time="0.5"/>'
FAILED = '<testcase file="a/test_b.py" name="test_b" time="2"><failure message="no"/></testcase>'
ERROR = '<testcase file="a/test_c.py" name="test_c" time="1"><error message="no"/></testcase>'
SKIPPED = '<testcase file="a/test_d.py" name="test_d"><skipped message="no caddy"/></testcase>'


def junit(*cases: str) -> str:
    return f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>"


def report_of(
    *cases: Case, budget_s: float = 60, seconds: float = 50, whole: bool = True
) -> Report:
    tier = Tier("unit", lambda: None, budget_s=budget_s)
    return Report([tier], whole=whole, seconds=seconds, cases=list(cases))


def test_a_broken_fixture_is_a_failure_and_a_skip_keeps_its_reason(tmp_path: Path) -> None:
    file = tmp_path / "junit.xml"
    file.write_text(junit(PASSED, FAILED, ERROR, SKIPPED))
    assert list(read_cases(file)) == [
        Case("a/test_a.py::test_a", 0.5, "passed"),
        Case("a/test_b.py::test_b", 2, "failed", "    no"),
        Case("a/test_c.py::test_c", 1, "failed", "    no"),
        Case("a/test_d.py::test_d", 0, "skipped", "no caddy"),
    ]


def test_the_end_of_each_part_of_a_failure_is_kept(tmp_path: Path) -> None:
    lines = "\n".join(f"line {number}" for number in range(100))
    file = tmp_path / "junit.xml"
    file.write_text(
        junit(
            PASSED,
            f'<testcase file="b.py" name="b"><failure message="no">{lines}\nE  the reason</failure>'
            f"<system-out>{lines}\nthe last word\n\n</system-out></testcase>",
        )
    )
    report = report_of(*read_cases(file))
    keep(report, [], tmp_path)
    kept = (tmp_path / "unit" / "failures.txt").read_text().splitlines()
    assert kept[1] == "b.py::b"
    assert "    E  the reason" in kept
    assert kept[-1] == "    the last word"
    assert len(kept) == 2 + 12 + 12


class FakePytest:
    """A double of pytest's program: writes a given report and exits with a given code."""

    def __init__(self, *ends: tuple[int, str | None]) -> None:
        self.ends = list(ends)
        self.started: list[list[str]] = []

    def to_its_end(self, words: list[str]) -> int:
        self.started.append(words)
        code, text = self.ends.pop(0)
        if text is not None:
            file = next(word for word in words if word.startswith("--junitxml="))
            Path(file.removeprefix("--junitxml=")).write_text(text)
        return code


def run_with(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    tiers: Sequence[str],
    *ends: tuple[int, str | None],
) -> tuple[Report, list[list[str]]]:
    fake = FakePytest(*ends)
    monkeypatch.setattr(command, "_to_its_end", fake.to_its_end)
    report = Report([TIERS[tier] for tier in tiers])
    command.run_tiers(report, ["-k", "vault"], folder)
    return report, fake.started


def test_only_tiers_that_bear_company_run_in_several_processes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    report, started = run_with(
        monkeypatch, tmp_path, list(TIERS), (1, junit(PASSED, FAILED)), (0, junit(PASSED, SKIPPED))
    )
    assert (report.passed, report.failed, report.skipped) == (2, 1, 1)
    together, alone = started
    assert "unit or integration or e2e" in together
    assert "--dist=loadfile" in together
    assert "docker or nightly" in alone
    assert "--dist=loadfile" not in alone
    assert all(words[-2:] == ["-k", "vault"] for words in started)
    assert [step.name for step in report.steps] == [
        "tests of unit and integration and e2e",
        "tests of docker and nightly",
    ]


@pytest.mark.parametrize(
    ("end", "counts"),
    [
        ((5, junit()), (0, 0)),
        ((1, junit(PASSED, ERROR)), (1, 1)),
        ((1, junit(PASSED, PASSED)), (2, 1)),
        ((2, junit(ERROR)), (0, 2)),
        ((4, None), (0, 1)),
        ((-9, None), (0, 1)),
    ],
    ids=["none chosen", "a failure", "no verdict", "interrupted", "wrong words", "killed"],
)
def test_a_pytest_without_a_verdict_on_each_test_is_a_failure_more(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    end: tuple[int, str | None],
    counts: tuple[int, int],
) -> None:
    report, _ = run_with(monkeypatch, tmp_path, ["unit"], end)
    assert (report.passed, report.failed) == counts
    told = "pytest ended before it had run all of unit" in report.as_text()
    assert told is bool(report.broken_off)


@pytest.mark.parametrize(
    ("tier", "places"),
    [("docker", "agent-server/tests/docker cli/tests/docker"), ("e2e", "e2e")],
)
def test_tiers_with_folders_of_their_own_import_no_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tier: str, places: str
) -> None:
    _, (words,) = run_with(monkeypatch, tmp_path, [tier], (0, junit(PASSED)))
    assert f"testpaths={places}" in words


def test_nightly_tests_are_looked_for_everywhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, (words,) = run_with(monkeypatch, tmp_path, ["nightly"], (0, junit(PASSED)))
    assert not any(word.startswith("testpaths") for word in words)


def test_checks_are_counted_and_other_steps_are_not() -> None:
    report = report_of(Case("a", 1, "passed"))
    report.steps += [
        Step("mypy", 1, is_check=True),
        Step("ruff", 1, is_check=True, passed=False),
        Step("page tools", 3),
    ]
    assert (report.passed, report.failed) == (2, 1)


def test_tiers_that_took_longer_than_their_budget_are_named_with_the_ten_worst() -> None:
    cases = [Case(f"test_{number}", number, "passed") for number in range(20)]
    assert report_of(*cases, budget_s=60, seconds=60).over_budget() is None
    too_long = report_of(*cases, budget_s=60, seconds=61).over_budget()
    assert too_long is not None
    first, *worst = too_long.splitlines()
    assert first.startswith("The tests of unit took 61 s; their budget is 60 s")
    assert [line.split()[-1] for line in worst] == [f"test_{n}" for n in range(19, 9, -1)]


def test_a_slower_machine_has_more_time() -> None:
    report = report_of(budget_s=60, seconds=110)
    assert report.over_budget() is not None
    report.slowness = 2.0
    assert report.over_budget() is None


def test_a_part_of_a_tier_has_no_budget() -> None:
    assert report_of(budget_s=60, seconds=600, whole=False).over_budget() is None


def test_what_a_machine_cannot_show_is_one_line_a_reason() -> None:
    report = report_of(
        Case("a", 0, "skipped", "no Caddy (apt-get install caddy)"),
        Case("b", 0, "skipped", "no PostgreSQL (apt-get install postgresql)"),
        Case("c", 0, "skipped", "no PostgreSQL (apt-get install postgresql)"),
    )
    said = [line for line in report.as_text().splitlines() if line.startswith("skipped:")]
    assert said == [
        "skipped: 2 tests: no PostgreSQL (apt-get install postgresql)",
        "skipped: 1 test: no Caddy (apt-get install caddy)",
    ]
    assert report.as_text().endswith("0 passed, 0 failed, 3 skipped in 50 s of 60")


def test_the_report_is_kept_for_machines_and_the_next_run_replaces_it(tmp_path: Path) -> None:
    for seconds in (1.0, 2.0):
        file = tmp_path / "unit.junit.xml"
        file.write_text(junit(PASSED))
        report = report_of(Case("slow", seconds, "passed"))
        keep(report, [file], tmp_path / "results")
    kept = tmp_path / "results" / "unit"
    files = ["failures.txt", "report.json", "unit.junit.xml"]
    assert sorted(file.name for file in kept.iterdir()) == files
    assert (kept / "failures.txt").read_text() == ""
    read = json.loads((kept / "report.json").read_text())
    assert read["tests"] == [{"name": "slow", "seconds": 2.0, "outcome": "passed"}]
    assert (read["passed"], read["budgetSeconds"]) == (1, 60)


def test_results_on_another_file_system_are_kept(tmp_path: Path) -> None:
    with TemporaryDirectory(dir="/dev/shm") as elsewhere:
        for _ in range(2):
            file = Path(elsewhere) / "unit.junit.xml"
            file.write_text(junit(PASSED))
            assert file.stat().st_dev != tmp_path.stat().st_dev
            keep(report_of(), [file], tmp_path)
    assert (tmp_path / "unit" / "unit.junit.xml").read_text() == junit(PASSED)


def test_without_a_tier_only_what_needs_nothing_but_python_is_run() -> None:
    assert command.tiers_to_run(None) == ["unit", "integration"]


def test_a_tier_that_was_asked_for_and_cannot_run_is_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refusing = Tier("docker", lambda: "no Docker Engine answers", budget_s=1)
    monkeypatch.setitem(TIERS, "docker", refusing)
    with pytest.raises(CommandFailed, match="no Docker Engine answers"):
        command.tiers_to_run(TierChoice.DOCKER)
