"""The frames of `/api/chat`, from the page and to it."""

from datetime import UTC, datetime
from typing import Annotated, Literal, NotRequired
from uuid import UUID

from ocmt_common.agent_api import Command
from pydantic import Field, StringConstraints, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from ocmt_management.agents.service import AgentState, AgentView
from ocmt_management.tools.service import ApprovalView

MAX_FRAME_BYTES = 256 * 1024


class HistoryFrame(Command):
    type: Literal["history"]
    limit: int = Field(100, ge=1, le=200)


class SendFrame(Command):
    type: Literal["send"]
    id: UUID
    """Chosen by the page. A frame with the same id is the same message and is sent once."""
    text: Annotated[str, StringConstraints(min_length=1, pattern=r"\S")]


class StopFrame(Command):
    type: Literal["stop"]


FromPage = HistoryFrame | SendFrame | StopFrame
_FROM_PAGE: TypeAdapter[FromPage] = TypeAdapter(Annotated[FromPage, Field(discriminator="type")])

# Frames to the page are plain dictionaries, since one is made for each delta of each answer.

Speaker = Literal["user", "assistant"]
FileKind = Literal["image", "audio", "video", "document"]


class WireFile(TypedDict):
    """A file that the agent sent; `url` is `None` if it cannot be delivered."""

    kind: FileKind
    name: str
    url: str | None


class WireMessage(TypedDict):
    """A message. `queued` waits for its turn; `failed` got no answer (`detail` is the reason)."""

    id: str
    role: Speaker
    text: str
    at: str
    state: NotRequired[Literal["queued", "failed", "stopped"]]
    detail: NotRequired[str]
    files: NotRequired[list[WireFile]]


class StatusFrame(TypedDict):
    """An `AgentView`."""

    type: Literal["status"]
    state: AgentState
    detail: str | None
    since: str | None
    warning: str | None


class HistoryAnswer(TypedDict):
    type: Literal["history"]
    messages: list[WireMessage]


class AcceptedFrame(TypedDict):
    type: Literal["accepted"]
    id: str
    runId: str


class DeltaFrame(TypedDict):
    """A piece of an answer. The first of a run may be empty: the agent has begun to work.

    With `replace`, the text replaces all earlier deltas instead of following them.
    """

    type: Literal["delta"]
    runId: str
    text: str
    replace: NotRequired[bool]


class FinalFrame(TypedDict):
    type: Literal["final"]
    runId: str
    message: WireMessage


class AbortedFrame(TypedDict):
    type: Literal["aborted"]
    runId: str


class ApprovalFrame(TypedDict):
    """A tool call that waits for the user's decision, or its outcome."""

    type: Literal["approval"]
    approval: ApprovalView


class ErrorFrame(TypedDict):
    type: Literal["error"]
    id: str | None
    code: str
    detail: str
    retry: bool


Frame = (
    StatusFrame
    | HistoryAnswer
    | AcceptedFrame
    | DeltaFrame
    | FinalFrame
    | AbortedFrame
    | ApprovalFrame
    | ErrorFrame
)


def read(text: str) -> FromPage:
    """Parse a frame from the page. Raises `ValueError`, whose text does not quote the frame."""
    try:
        return _FROM_PAGE.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from error


def status(view: AgentView) -> StatusFrame:
    fields = view.model_dump(mode="json")
    return {
        "type": "status",
        "state": fields["state"],
        "detail": fields["detail"],
        "since": fields["since"],
        "warning": fields["warning"],
    }


def accepted(message_id: str, run_id: str) -> AcceptedFrame:
    return {"type": "accepted", "id": message_id, "runId": run_id}


def history(messages: list[WireMessage]) -> HistoryAnswer:
    return {"type": "history", "messages": messages}


def message(message_id: str, *, role: Speaker, text: str, at_ms: float | None) -> WireMessage:
    at = _moment(at_ms) or datetime.now(UTC)
    return {"id": message_id, "role": role, "text": text, "at": at.isoformat()}


def _moment(at_ms: float | None) -> datetime | None:
    try:
        return None if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):  # a wrong clock, or not a time
        return None


def delta(run_id: str, text: str, *, replace: bool = False) -> DeltaFrame:
    frame: DeltaFrame = {"type": "delta", "runId": run_id, "text": text}
    if replace:
        frame["replace"] = True
    return frame


def final(run_id: str, answer: WireMessage) -> FinalFrame:
    return {"type": "final", "runId": run_id, "message": answer}


def aborted(run_id: str) -> AbortedFrame:
    return {"type": "aborted", "runId": run_id}


def approval(view: ApprovalView) -> ApprovalFrame:
    return {"type": "approval", "approval": view}


def error(about: str | None, *, code: str, detail: str, retry: bool) -> ErrorFrame:
    """`about` is the id of the message that failed, which is also its run's id."""
    return {"type": "error", "id": about, "code": code, "detail": detail, "retry": retry}
