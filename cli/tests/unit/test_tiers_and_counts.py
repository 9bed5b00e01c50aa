from pathlib import Path

import pytest
from ocmt_cli.failure import CommandFailed
from ocmt_cli.testing import command
from ocmt_cli.testing.command import Counts, TierChoice, read_counts
from ocmt_cli.testing.tiers import TIERS, Tier


def report(folder: Path, suites: str) -> Path:
    file = folder / "junit.xml"
    file.write_text(f"<testsuites>{suites}</testsuites>")
    return file


def test_a_broken_fixture_counts_as_a_failure(tmp_path: Path) -> None:
    read = read_counts(
        report(tmp_path, '<testsuite tests="10" failures="1" errors="2" skipped="3"/>')
    )
    assert read == Counts(passed=4, failed=3, skipped=3)


def test_a_report_without_tests_has_none_passed(tmp_path: Path) -> None:
    assert read_counts(report(tmp_path, '<testsuite tests="0"/>')) == Counts(0, 0)


class FakePytest:
    """Stands for pytest as a program: writes the report it is told of, and exits as it is told."""

    def __init__(self, *ends: tuple[int, str | None]) -> None:
        self.ends = list(ends)
        self.started: list[list[str]] = []

    def to_its_end(self, words: list[str]) -> int:
        self.started.append(words)
        code, suites = self.ends.pop(0)
        if suites is not None:
            file = next(word for word in words if word.startswith("--junitxml="))
            report(Path(file.removeprefix("--junitxml=")).parent, suites)
        return code


def run_with(
    monkeypatch: pytest.MonkeyPatch, tiers: list[str], *ends: tuple[int, str | None]
) -> tuple[Counts, list[list[str]]]:
    fake = FakePytest(*ends)
    monkeypatch.setattr(command, "_to_its_end", fake.to_its_end)
    return command.run_tiers(tiers, ["-k", "vault"]), fake.started


def test_only_tiers_that_bear_company_run_in_several_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts, started = run_with(
        monkeypatch,
        list(TIERS),
        (1, '<testsuite tests="10" failures="1"/>'),
        (0, '<testsuite tests="5" skipped="2"/>'),
    )
    assert counts == Counts(passed=12, failed=1, skipped=2)
    together, alone = started
    assert "unit or integration" in together
    assert "--dist=loadfile" in together
    assert "docker or e2e" in alone
    assert "--dist=loadfile" not in alone
    assert all(words[-2:] == ["-k", "vault"] for words in started)


@pytest.mark.parametrize(
    ("end", "counts"),
    [
        ((5, '<testsuite tests="0"/>'), Counts(0, 0)),
        ((1, '<testsuite tests="2" errors="1"/>'), Counts(1, 1)),
        ((1, '<testsuite tests="2"/>'), Counts(2, 1)),
        ((2, '<testsuite tests="1" errors="1"/>'), Counts(0, 2)),
        ((4, None), Counts(0, 1)),
        ((-9, None), Counts(0, 1)),
    ],
    ids=["none chosen", "a failure", "no verdict", "interrupted", "wrong words", "killed"],
)
def test_a_pytest_without_a_verdict_on_each_test_is_a_failure_more(
    monkeypatch: pytest.MonkeyPatch, end: tuple[int, str | None], counts: Counts
) -> None:
    assert run_with(monkeypatch, ["unit"], end)[0] == counts


@pytest.fixture
def without_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TIERS:
        obstacle = "no Docker Engine answers" if name == "docker" else None
        monkeypatch.setitem(TIERS, name, Tier(name, lambda why=obstacle: why))


@pytest.mark.usefixtures("without_an_engine")
def test_a_tier_that_cannot_run_is_left_out_with_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command.runnable_tiers(None) == ["unit", "integration", "e2e"]
    assert capsys.readouterr().out == "not run: docker: no Docker Engine answers\n"


@pytest.mark.usefixtures("without_an_engine")
def test_a_tier_that_was_asked_for_and_cannot_run_is_a_failure() -> None:
    with pytest.raises(CommandFailed, match="no Docker Engine answers"):
        command.runnable_tiers(TierChoice.DOCKER)
