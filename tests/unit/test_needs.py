"""A test that needs what the machine lacks is skipped with a sentence, and fails in CI."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from ocmt_testing import needs
from ocmt_testing.needs import NEEDS, Need, require

ROOT = Path(__file__).parents[2]


@pytest.fixture
def without_caddy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    lacking = Need("caddy", lambda: "no caddy on this machine (apt-get install caddy)")
    monkeypatch.setitem(needs.NEEDS, "caddy", lacking)
    needs._obstacle_of.cache_clear()
    yield
    needs._obstacle_of.cache_clear()


@pytest.mark.usefixtures("without_caddy")
def test_what_the_machine_lacks_is_skipped_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install caddy"):
        require("caddy")


@pytest.mark.usefixtures("without_caddy")
def test_in_ci_it_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="every test has to run: no caddy"):
        require("caddy")


def test_ci_installs_what_the_tests_need() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    for name in ("postgresql", "pgbouncer", "tcsh", "strace", "nginx-light", "caddy", "nftables",
                 "openssh-server", "rsync", "iproute2", "systemd", "qemu-system-x86", "docker.io",
                 "chromium"):  # fmt: skip
        assert f"={name}" in script, name


def test_every_need_that_a_test_names_is_known() -> None:
    named: set[str] = set()
    for folder in ("common", "agent-server", "management-server", "upstream-sync", "cli", "tests",
                   "e2e"):  # fmt: skip
        for file in (ROOT / folder).rglob("test_*.py"):
            for words in re.findall(r"mark\.needs\(([^)]*)\)", file.read_text()):
                named.update(re.findall(r'"([^"]+)"', words))
    assert named
    assert named <= NEEDS.keys()
