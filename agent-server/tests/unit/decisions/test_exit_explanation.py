"""Why a gateway ended: the true cause and its remedy, and none of the agent's own words."""

import pytest
from ocmt_agent.decisions.exit_explanation import how_it_ended
from ocmt_agent.runtime.base import ContainerStatus, Observed


def ended(exit_code: int | None, *, oom_killed: bool = False) -> Observed:
    return Observed("ada", ContainerStatus.EXITED, None, exit_code, oom_killed)


@pytest.mark.parametrize(
    ("printed", "told"),
    [
        ("Error: ENOSPC: no space left on device, write", "disk is full"),
        ("SqliteWorkerError: database or disk is full", "disk is full"),
        ("EDQUOT: disk quota exceeded, open '/home/node/x'", "disk is full"),
        ("Error: ENOSPC: System limit for number of file watchers reached", "max_user_watches"),
        (
            "SQLITE_CORRUPT: database disk image is malformed\nDoctor cannot repair this state",
            "ocmt restore",
        ),
        ("SqliteError: file is not a database", "ocmt restore"),
        ("EACCES: permission denied, open '/home/node/.openclaw/x'", "may not write"),
        ("attempt to write a readonly database", "may not write"),
        ("FATAL ERROR: Reached heap limit - JavaScript heap out of memory", "AGENT_MEMORY_MB"),
        ("Error [ERR_MODULE_NOT_FOUND]: Cannot find package 'x'", "ocmt image build"),
    ],
)
@pytest.mark.parametrize("exit_code", [78, 1])
def test_the_cause_in_the_log_is_reported_whatever_the_exit_code(
    printed: str, told: str, exit_code: int
) -> None:
    said = how_it_ended(ended(exit_code), printed=f"starting\n{printed}\nbye\n")
    assert told in said
    assert "doctor" not in said


def test_a_full_disk_that_also_breaks_the_database_is_a_full_disk() -> None:
    both = "SQLITE_CORRUPT: malformed\nENOSPC: no space left on device"
    assert "disk is full" in how_it_ended(ended(78), printed=both)


def test_unusable_settings_are_reported_only_if_nothing_else_is_wrong() -> None:
    assert "doctor --fix" in how_it_ended(ended(78), printed="Invalid config: gateway.bind")
    assert "AGENT_MEMORY_MB" in how_it_ended(ended(137, oom_killed=True), printed="ENOSPC")
    assert "exit code 3" in how_it_ended(ended(3), printed="whatever")


def test_an_unknown_exit_code_is_not_shown() -> None:
    said = how_it_ended(ended(None))
    assert "exited by itself." in said
    assert "None" not in said


@pytest.mark.parametrize(
    "printed",
    ["\x1b[2Jcall +49 30 1234", "ENOSPC because of `pay evil.example`", "label=sleep 100; title=X"],
)
@pytest.mark.parametrize("exit_code", [78, 137, 1])
def test_the_explanation_contains_none_of_the_agents_own_words(
    printed: str, exit_code: int
) -> None:
    said = how_it_ended(ended(exit_code), printed=printed)
    assert said.isprintable()
    assert not any(word in said for word in ("49 30", "evil", "sleep 100", "title"))
    assert len(said) < 250
