"""The frames of `/api/chat`: what the page may send, and what it is sent."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from ocmt_common.agent_api import Command
from pydantic import Field, StringConstraints, TypeAdapter, ValidationError

from ocmt_management.agents.schemas import AgentView

MAX_FRAME_BYTES = 256 * 1024

Frame = dict[str, Any]


class HistoryFrame(Command):
    type: Literal["history"]
    limit: int = Field(100, ge=1, le=200)


class SendFrame(Command):
    type: Literal["send"]
    id: UUID
    """Chosen by the page. The same id again is the same message, however often it arrives."""
    text: Annotated[str, StringConstraints(min_length=1, pattern=r"\S")]


class StopFrame(Command):
    type: Literal["stop"]


FromPage = HistoryFrame | SendFrame | StopFrame
_FROM_PAGE: TypeAdapter[FromPage] = TypeAdapter(Annotated[FromPage, Field(discriminator="type")])


def read(text: str) -> FromPage:
    """Raises `ValueError` saying what is wrong, without the text."""
    try:
        return _FROM_PAGE.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from error


def status(view: AgentView) -> Frame:
    return {"type": "status", **view.model_dump(mode="json", by_alias=True)}


def accepted(message_id: str, run_id: str) -> Frame:
    return {"type": "accepted", "id": message_id, "runId": run_id}


def history(messages: list[Frame]) -> Frame:
    return {"type": "history", "messages": messages}


def message(message_id: str, *, role: str, text: str, at_ms: float | None) -> Frame:
    at = datetime.now(UTC) if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC)
    return {"id": message_id, "role": role, "text": text, "at": at.isoformat()}


def delta(run_id: str, text: str, *, replace: bool = False) -> Frame:
    frame = {"type": "delta", "runId": run_id, "text": text}
    return {**frame, "replace": True} if replace else frame


def final(run_id: str, answer: Frame) -> Frame:
    return {"type": "final", "runId": run_id, "message": answer}


def aborted(run_id: str) -> Frame:
    return {"type": "aborted", "runId": run_id}


def error(about: str | None, *, code: str, detail: str, retry: bool) -> Frame:
    """`about` is the id of the message it concerns; a run has its message's id."""
    return {"type": "error", "id": about, "code": code, "detail": detail, "retry": retry}
