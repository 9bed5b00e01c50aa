"""Reasons and actors of transitions, as the agents' events report them."""

from dataclasses import dataclass

from ocmt_common.agent_api import Actor

from ocmt_agent.decisions.sleep_policy import SleepReason, WakeReason


@dataclass(frozen=True, slots=True)
class TransitionReason:
    who: Actor
    why: str


PROVISION = TransitionReason(Actor.USER, "provision")
NEW_TOKEN = TransitionReason(Actor.OPERATOR, "new agent token")
ORDERED = TransitionReason(Actor.OPERATOR, "ordered")
DISABLED = TransitionReason(Actor.OPERATOR, "disabled")
REVERT = TransitionReason(Actor.OPERATOR, "back to the copy of its state")
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
PRESSURE = TransitionReason(Actor.PRESSURE, "memory was needed for another agent")
NO_ANSWER = TransitionReason(Actor.RUNTIME, "it did not answer when it was thawed")
RUNTIME_WENT_AWAY = TransitionReason(Actor.RUNTIME, "the runtime went away")


def request(kind: str) -> TransitionReason:
    return TransitionReason(Actor.USER, f"{kind} request")


def failed(code: str) -> TransitionReason:
    return TransitionReason(Actor.RUNTIME, code)
