"""Deleting a session while the agent works in it."""

from typing import Any

import pytest
from ocmt_common.problems import Problem
from ocmt_management.agents.service import GatewayError
from ocmt_management.chat.deleting import delete_session

KEY = "agent:main:ocmt-1"


class Sessions:
    """A gateway with one session. `looks` is how often a stopped run is still seen."""

    def __init__(self, *, looks: int = 0, refusals: tuple[GatewayError, ...] = ()) -> None:
        self.row: dict[str, Any] | None = {"sessionId": "s1"}
        self.looks = looks
        self.refusals = list(refusals)
        self.asked: list[str] = []

    async def ask(self, method: str, /, **params: Any) -> dict[str, Any]:
        self.asked.append(method)
        if method == "sessions.describe":
            active = self.looks > 0
            if "chat.abort" in self.asked:
                self.looks -= 1
            return {"session": self.row and self.row | {"hasActiveRun": active}}
        if method == "sessions.patch" and self.row:
            assert params["expectedSessionId"] == "s1"
            self.row["archived"] = True
        if method == "sessions.delete":
            if self.refusals:
                raise self.refusals.pop()
            self.row = None
        return {}

    async def delete(self) -> None:
        await delete_session(self.ask, KEY, stops_within_s=0.3, deleted_within_s=0.3)


def refused(message: str, *, retryable: bool = False) -> GatewayError:
    return GatewayError({"code": "X", "message": message, "retryable": retryable})


async def test_an_idle_session_is_not_stopped() -> None:
    sessions = Sessions()
    await sessions.delete()
    assert sessions.row is None
    assert "chat.abort" not in sessions.asked


async def test_nothing_is_deleted_before_the_work_has_ended() -> None:
    sessions = Sessions(looks=1)
    await sessions.delete()
    assert sessions.row is None
    wanted = ["chat.abort", "sessions.patch", "sessions.delete"]
    assert [method for method in sessions.asked if method in wanted] == wanted


async def test_work_that_cannot_be_stopped_is_left_to_the_gateway() -> None:
    sessions = Sessions(looks=1_000)
    await sessions.delete()
    assert sessions.row is None


@pytest.mark.parametrize(
    "refusal",
    [
        refused("Session x changed before deletion. Retry."),
        refused("Session x is not archived. Archive it first, then delete it."),
        refused("Session x is still active; try again.", retryable=True),
    ],
    ids=str,
)
async def test_a_session_that_is_being_written_to_is_deleted_a_moment_later(
    refusal: GatewayError,
) -> None:
    sessions = Sessions(refusals=(refusal,))
    await sessions.delete()
    assert sessions.row is None

    sessions = Sessions(refusals=(refusal,) * 100)
    with pytest.raises(Problem, match="was not deleted"):
        await sessions.delete()


async def test_another_refusal_is_final() -> None:
    sessions = Sessions(refusals=(refused("This session is locked."),) * 2)
    with pytest.raises(GatewayError, match="locked"):
        await sessions.delete()
    assert sessions.asked.count("sessions.delete") == 1


async def test_a_session_that_does_not_exist_is_gone() -> None:
    sessions = Sessions()
    sessions.row = None
    await sessions.delete()
    assert set(sessions.asked) == {"sessions.describe"}
