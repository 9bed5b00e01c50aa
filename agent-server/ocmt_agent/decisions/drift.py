"""What a record must become, given what the runtime shows. The runtime always wins."""

from dataclasses import dataclass

from ocmt_common.agent_api import HibernationState

from ocmt_agent.decisions.exit_explanation import how_it_ended
from ocmt_agent.runtime.base import ContainerStatus, Observed

_AWAKE = {HibernationState.RUNNING, HibernationState.WAKING}


@dataclass(frozen=True, slots=True)
class Correction:
    to: HibernationState
    why: str
    failure: str | None = None


def half_asleep(state: HibernationState, suspension_id: str | None) -> bool:
    """Whether a sleep broke off on the way: it runs, but its gateway may be closed or half frozen.

    So it is found after a crash of this server between the gateway's consent and the freeze, and
    after a runtime that went away in the middle.
    """
    return state is HibernationState.RUNNING and suspension_id is not None


_AS_RECORDED = {
    HibernationState.WAKING: {"start", "unpause"},
    HibernationState.RUNNING: {"start", "unpause"},
    HibernationState.PAUSED: {"pause"},
}


def is_news(state: HibernationState, report: str) -> bool:
    """Whether an engine's report says anything but what the record of the agent says already.

    Most are the echo of our own transitions; looking after each would hold up the wake it is about.
    """
    return report not in _AS_RECORDED.get(state, set())


def correction(state: HibernationState, observed: Observed | None) -> Correction | None:
    """How a record in `state`, with no transition in flight, has to be corrected, if at all."""
    if observed is None or observed.status is ContainerStatus.EXITED:
        return _of_one_that_does_not_run(state, observed)
    if observed.status is ContainerStatus.PAUSED:
        if state is HibernationState.PAUSED:
            return None
        return Correction(HibernationState.PAUSED, "its container was found frozen")
    if state is HibernationState.RUNNING:
        return None
    # A wake that failed and one that a crash cut short alike: the next request checks the gateway.
    return Correction(HibernationState.RUNNING, "its container was found running")


def _of_one_that_does_not_run(
    state: HibernationState, observed: Observed | None
) -> Correction | None:
    if state is HibernationState.PROVISIONING:
        return Correction(
            HibernationState.FAILED,
            "provisioning was cut short",
            "The agent server stopped while it made this agent. Provision it again.",
        )
    if state in _AWAKE:
        return Correction(HibernationState.STOPPED, "its gateway ended", how_it_ended(observed))
    if state is HibernationState.PAUSED:
        return Correction(
            HibernationState.STOPPED, "its container ended while paused", how_it_ended(observed)
        )
    return None
