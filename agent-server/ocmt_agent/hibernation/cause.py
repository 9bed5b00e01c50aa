"""Why an agent changed its state, and who wanted it: what an event tells."""

from dataclasses import dataclass

from ocmt_common.agent_api import Actor

from ocmt_agent.hibernation.policy import Reason, Rest


@dataclass(frozen=True, slots=True)
class Cause:
    who: Actor
    why: str


PROVISION = Cause(Actor.USER, "provision")
NEW_TOKEN = Cause(Actor.OPERATOR, "new agent token")
ORDERED = Cause(Actor.OPERATOR, "ordered")
DISABLED = Cause(Actor.OPERATOR, "disabled")
REVERT = Cause(Actor.OPERATOR, "back to the copy of its state")
RESTART = Cause(Actor.OPERATOR, "restart")
SERVER_STOPS = Cause(Actor.OPERATOR, "the server stops")
DISK_FULL = Cause(Actor.POLICY, "it uses too much of the disk")
PAUSED_FOR_LONG = Cause(Actor.POLICY, "paused for long")
RESTS = {rest: Cause(Actor.POLICY, str(rest)) for rest in Rest}
WAKES = {
    Reason.JOB: Cause(Actor.JOB, str(Reason.JOB)),
    Reason.OFFICE: Cause(Actor.POLICY, str(Reason.OFFICE)),
    Reason.NEVER_SLEEPS: Cause(Actor.POLICY, str(Reason.NEVER_SLEEPS)),
}
PRESSURE = Cause(Actor.PRESSURE, "memory was needed for another agent")
NO_ANSWER = Cause(Actor.RUNTIME, "it did not answer when it was thawed")
RUNTIME_WENT_AWAY = Cause(Actor.RUNTIME, "the runtime went away")


def request(kind: str) -> Cause:
    return Cause(Actor.USER, f"{kind} request")


def failed(code: str) -> Cause:
    return Cause(Actor.RUNTIME, code)
