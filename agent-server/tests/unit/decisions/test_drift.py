import pytest
from ocmt_agent.decisions.drift import correction, is_news
from ocmt_agent.runtime.base import ContainerStatus, Endpoint, Observed
from ocmt_common.agent_api import HibernationState as S

RUNNING = Observed("ada", ContainerStatus.RUNNING, Endpoint("127.0.0.1", 1))
PAUSED = Observed("ada", ContainerStatus.PAUSED, Endpoint("127.0.0.1", 1))
KILLED = Observed("ada", ContainerStatus.EXITED, None, exit_code=137)
STARVED = Observed("ada", ContainerStatus.EXITED, None, exit_code=137, oom_killed=True)


@pytest.mark.parametrize(
    ("state", "observed", "becomes"),
    [
        (S.RUNNING, RUNNING, None),
        (S.RUNNING, PAUSED, S.PAUSED),
        (S.RUNNING, KILLED, S.STOPPED),
        (S.RUNNING, None, S.STOPPED),
        (S.PAUSED, RUNNING, S.RUNNING),
        (S.PAUSED, PAUSED, None),
        (S.PAUSED, KILLED, S.STOPPED),
        (S.PAUSED, None, S.STOPPED),
        (S.STOPPED, RUNNING, S.RUNNING),
        (S.STOPPED, PAUSED, S.PAUSED),
        (S.STOPPED, KILLED, None),
        (S.STOPPED, None, None),
        (S.WAKING, RUNNING, S.RUNNING),
        (S.WAKING, PAUSED, S.PAUSED),
        (S.WAKING, KILLED, S.STOPPED),
        (S.PROVISIONING, RUNNING, S.RUNNING),
        (S.PROVISIONING, KILLED, S.FAILED),
        (S.PROVISIONING, None, S.FAILED),
        (S.FAILED, RUNNING, S.RUNNING),
        (S.FAILED, KILLED, None),
        (S.FAILED, None, None),
    ],
)
def test_what_the_runtime_shows_wins(
    state: S, observed: Observed | None, becomes: S | None
) -> None:
    fix = correction(state, observed)
    assert (fix.to if fix else None) is becomes


@pytest.mark.parametrize("state", list(S))
@pytest.mark.parametrize("observed", [RUNNING, PAUSED, KILLED, STARVED, None])
def test_a_corrected_record_needs_no_second_correction(state: S, observed: Observed | None) -> None:
    fix = correction(state, observed)
    if fix is not None:
        assert correction(fix.to, observed) is None


def test_a_crash_is_reported_with_its_reason() -> None:
    fix = correction(S.RUNNING, STARVED)
    assert fix is not None
    assert "AGENT_MEMORY_MB" in (fix.failure or "")


@pytest.mark.parametrize(
    ("state", "report"),
    [(S.WAKING, "unpause"), (S.RUNNING, "unpause"), (S.RUNNING, "start"), (S.PAUSED, "pause")],
)
def test_the_event_of_our_own_transition_is_not_news(state: S, report: str) -> None:
    assert not is_news(state, report)


@pytest.mark.parametrize("state", list(S))
@pytest.mark.parametrize("report", ["die", "remove"])
def test_an_end_is_always_news(state: S, report: str) -> None:
    assert is_news(state, report)


@pytest.mark.parametrize(
    ("state", "report"),
    [(S.PAUSED, "unpause"), (S.RUNNING, "pause"), (S.STOPPED, "start"), (S.FAILED, "start")],
)
def test_a_change_by_another_program_is_news(state: S, report: str) -> None:
    assert is_news(state, report)
