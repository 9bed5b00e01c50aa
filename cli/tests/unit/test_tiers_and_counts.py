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
