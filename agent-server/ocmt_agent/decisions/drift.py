"""Finds drift between a record and the runtime, and corrects the record. Pure."""

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
    """Whether a hibernation was cut short: the record has a running agent with a lease.

    Its gateway may be suspended, and some of its processes frozen. Happens if this server crashes,
    or loses the runtime or the gateway's answer, between the request of the lease and the freeze.
    """
    return state is HibernationState.RUNNING and suspension_id is not None


_AS_RECORDED = {
    HibernationState.WAKING: {"start", "unpause"},
    HibernationState.RUNNING: {"start", "unpause"},
    HibernationState.PAUSED: {"pause"},
}


def is_news(state: HibernationState, event: str) -> bool:
    """Whether a runtime event may contradict the record.

    Most events are caused by this server's own transitions. Reconciling after each would delay the
    wake that caused it.
    """
    return event not in _AS_RECORDED.get(state, set())


def correction(state: HibernationState, observed: Observed | None) -> Correction | None:
    """The correction of a record in `state` with no transition in flight; `None` if it is right.

    `observed` is `None` if there is no container.
    """
    if observed is None or observed.status is ContainerStatus.EXITED:
        return _correction_of_exited(state, observed)
    if observed.status is ContainerStatus.PAUSED:
        if state is HibernationState.PAUSED:
            return None
        return Correction(HibernationState.PAUSED, "its container was found frozen")
    if state is HibernationState.RUNNING:
        return None
    # For example after a crash during a wake. The next request checks the gateway.
    return Correction(HibernationState.RUNNING, "its container was found running")


def _correction_of_exited(state: HibernationState, observed: Observed | None) -> Correction | None:
    if state is HibernationState.PROVISIONING:
        return Correction(
            HibernationState.FAILED,
            "provisioning was cut short",
            "The agent server stopped while it provisioned this agent. Provision it again.",
        )
    if state in _AWAKE:
        return Correction(HibernationState.STOPPED, "its gateway ended", how_it_ended(observed))
    if state is HibernationState.PAUSED:
        return Correction(
            HibernationState.STOPPED, "its container ended while paused", how_it_ended(observed)
        )
    return None
