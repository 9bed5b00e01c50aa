"""The errors of a transition, as the API reports them."""

from collections.abc import Iterator
from contextlib import contextmanager

from ocmt_common.problems import Problem

from ocmt_agent.decisions.disk_limit import Fullness
from ocmt_agent.records.agent import Agent
from ocmt_agent.runtime.base import RuntimeFailed, RuntimeUnavailable


def refuse_disabled(agent: Agent) -> None:
    """Raise a `Problem` if the agent is disabled: nothing may wake it."""
    if agent.disabled:
        raise Problem(
            409,
            "agent-disabled",
            "This agent is disabled and stays stopped. Enable it first "
            "(POST /api/containers/{userId}/enable).",
        )


def refuse_full(agent: Agent) -> None:
    """Raise a `Problem` if the agent is stopped because of its disk usage."""
    if agent.disk is not None and agent.disk.fullness is Fullness.STOPPED:
        raise Problem(507, "agent-disk-full", agent.disk.warning or "", retry_after_s=60)


def runtime_gone(error: RuntimeUnavailable) -> Problem:
    return Problem(503, "runtime-unavailable", str(error), retry_after_s=5)


@contextmanager
def runtime_problems() -> Iterator[None]:
    """Raise the runtime's errors as `Problem`s."""
    try:
        yield
    except RuntimeUnavailable as error:
        raise runtime_gone(error) from error
    except RuntimeFailed as error:
        raise Problem(503, "runtime-failed", str(error), retry_after_s=5) from error
