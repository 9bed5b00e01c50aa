"""Reasons and actors of transitions, as the agents' events report them."""

from collections.abc import Sequence
from dataclasses import dataclass

from ocmt_common.agent_api import Actor

from ocmt_agent.decisions.sleep_policy import SleepReason, WakeReason


@dataclass(frozen=True, slots=True)
class TransitionReason:
    who: Actor
    why: str


BEFOREHAND = TransitionReason(Actor.POLICY, "made beforehand")
CLAIMED = TransitionReason(Actor.USER, "provision of an agent made beforehand")
PROVISION = TransitionReason(Actor.USER, "provision")
NEW_TOKEN = TransitionReason(Actor.OPERATOR, "new agent token")
ORDERED = TransitionReason(Actor.OPERATOR, "ordered")
DISABLED = TransitionReason(Actor.OPERATOR, "disabled")
REVERT = TransitionReason(Actor.OPERATOR, "back to the copy of its state")
FORCED = TransitionReason(Actor.OPERATOR, "ordered by force")
RESTART = TransitionReason(Actor.OPERATOR, "restart")
SERVER_STOPS = TransitionReason(Actor.OPERATOR, "the server stops")
DISK_FULL = TransitionReason(Actor.POLICY, "it uses too much of the disk")
PAUSED_FOR_LONG = TransitionReason(Actor.POLICY, "paused for long")
SLEEPS = {reason: TransitionReason(Actor.POLICY, str(reason)) for reason in SleepReason}
WAKES = {
    WakeReason.JOB: TransitionReason(Actor.JOB, str(WakeReason.JOB)),
    WakeReason.OFFICE: TransitionReason(Actor.POLICY, str(WakeReason.OFFICE)),
    WakeReason.NEVER_SLEEPS: TransitionReason(Actor.POLICY, str(WakeReason.NEVER_SLEEPS)),
}
GIVEN_BACK = TransitionReason(Actor.POLICY, "memory given back")
TRIMMED = TransitionReason(Actor.PRESSURE, "memory trimmed while awake")
SWAP_SHORT = TransitionReason(Actor.PRESSURE, "swap is short, and it was idle for longest")
PRESSURE = TransitionReason(Actor.PRESSURE, "memory was needed for another agent")
NO_ANSWER = TransitionReason(Actor.RUNTIME, "it did not answer when it was thawed")
RUNTIME_WENT_AWAY = TransitionReason(Actor.RUNTIME, "the runtime went away")


def request(kind: str) -> TransitionReason:
    return TransitionReason(Actor.USER, f"{kind} request")


def forced(cut: Sequence[str]) -> TransitionReason:
    """The reason for a forced order; `cut` lists the work it interrupted."""
    if not cut:
        return FORCED
    return TransitionReason(FORCED.who, f"{FORCED.why}, cutting short: {'; '.join(cut)}")


def claim_failed(why: str) -> TransitionReason:
    """The reason for a new boot in place of an agent made beforehand."""
    return TransitionReason(Actor.RUNTIME, f"the agent made beforehand is not used: {why}")


def with_spare(why: TransitionReason) -> TransitionReason:
    """The reason for a stopped agent's wake in a held spare."""
    return TransitionReason(why.who, f"{why.why}, in a spare")


def spare_failed(why: str) -> TransitionReason:
    """The reason for a boot after a held spare did not come up."""
    return TransitionReason(Actor.RUNTIME, f"the spare is not used: {why}")


def failed(code: str) -> TransitionReason:
    return TransitionReason(Actor.RUNTIME, code)
