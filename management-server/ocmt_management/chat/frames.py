"""The frames of `/api/chat`, from the page and to it."""

from datetime import UTC, datetime
from typing import Annotated, Literal, NotRequired
from uuid import UUID

from ocmt_common.agent_api import Command
from pydantic import Field, StringConstraints, TypeAdapter, ValidationError, model_validator
from typing_extensions import TypedDict

from ocmt_management.agents.service import CONVERSATION_ID, MAIN, AgentState, AgentView
from ocmt_management.tools.service import ApprovalView

MAX_FRAME_BYTES = 256 * 1024
MAX_TITLE = 120
MAX_FILES = 10
MAX_FILE_NAME = 200

ConversationId = Annotated[str, StringConstraints(pattern=f"^(?:{CONVERSATION_ID})$")]


class _AboutConversation(Command):
    conversation: ConversationId = MAIN
    """The page makes the id of a new conversation, a UUID; its first message creates it."""


class HistoryFrame(_AboutConversation):
    type: Literal["history"]
    limit: int = Field(100, ge=1, le=200)
    before: int | None = Field(default=None, ge=1, le=10_000_000)
    """Messages before this place, the `older` of an earlier answer."""


class AttachFrame(_AboutConversation):
    """A piece of a file for message `id`. All pieces come before the message's own frame."""

    type: Literal["attach"]
    id: UUID
    file: int = Field(ge=0, lt=MAX_FILES)
    """Which of the message's files."""
    at: int = Field(ge=0)
    """How many characters of the file's base64 were sent before; 0 begins it anew."""
    data: Annotated[str, StringConstraints(min_length=1, pattern=r"^[A-Za-z0-9+/]+={0,2}$")]


class Attachment(Command):
    """A file whose pieces were sent. Its name and type come from the user's device."""

    name: Annotated[str, StringConstraints(strip_whitespace=True, max_length=MAX_FILE_NAME)]
    type: Annotated[str, StringConstraints(max_length=127, pattern=r"^[\w.+-]+/[\w.+-]+$")]


class SendFrame(_AboutConversation):
    type: Literal["send"]
    id: UUID
    """Chosen by the page. A frame with the same id is the same message and is sent once."""
    text: str
    files: list[Attachment] = Field(default_factory=list)

    @model_validator(mode="after")
    def _has_content(self) -> "SendFrame":
        if not self.text.strip() and not self.files:
            raise ValueError("send a text or a file")
        if len(self.files) > MAX_FILES:
            raise ValueError(f"send at most {MAX_FILES} files")
        return self


class StopFrame(_AboutConversation):
    type: Literal["stop"]


class ForkFrame(_AboutConversation):
    """Begin a conversation with what came before one of the user's messages."""

    type: Literal["fork"]
    message: Annotated[str, StringConstraints(min_length=1, max_length=200)]


class ConversationsFrame(Command):
    type: Literal["conversations"]


class ChangeFrame(_AboutConversation):
    type: Literal["change"]
    title: Annotated[str, StringConstraints(strip_whitespace=True, max_length=MAX_TITLE)] | None = (
        None
    )
    """An empty title removes the one that was given."""
    pinned: bool | None = None
    read: Literal[True] | None = None


class DeleteFrame(_AboutConversation):
    type: Literal["delete"]


class SearchFrame(Command):
    type: Literal["search"]
    query: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"\S")
    ]


RequestFrame = (
    HistoryFrame
    | SendFrame
    | StopFrame
    | ForkFrame
    | ConversationsFrame
    | ChangeFrame
    | DeleteFrame
    | SearchFrame
)
FromPage = RequestFrame | AttachFrame
_FROM_PAGE: TypeAdapter[FromPage] = TypeAdapter(Annotated[FromPage, Field(discriminator="type")])

# Frames to the page are plain dictionaries, since one is made for each delta of each answer.

Speaker = Literal["user", "assistant"]
FileKind = Literal["image", "audio", "video", "document"]


class WireFile(TypedDict):
    """A file in a message; `url` is `None` if it cannot be delivered."""

    kind: FileKind
    name: str
    url: str | None


ToolState = Literal["running", "done", "failed", "stopped"]


class WireTool(TypedDict):
    """A call of a tool. Long texts are cut. `stopped`: the turn ended before the call did."""

    id: str
    """Within its message."""
    name: str
    """`server__tool` for a tool of a server that the user connected."""
    state: ToolState
    subject: NotRequired[str]
    """What it is about, such as the command or the file; one line of its arguments."""
    arguments: NotRequired[str]
    result: NotRequired[str]


class WireMessage(TypedDict):
    """A message. `queued` waits for its turn; `failed` got no answer (`detail` is the reason)."""

    id: str
    role: Speaker
    text: str
    at: str
    state: NotRequired[Literal["queued", "failed", "stopped"]]
    detail: NotRequired[str]
    files: NotRequired[list[WireFile]]
    tools: NotRequired[list[WireTool]]
    thoughts: NotRequired[str]
    """What the model thought, if its provider tells; cut if it is long."""


class StatusFrame(TypedDict):
    """An `AgentView`."""

    type: Literal["status"]
    state: AgentState
    detail: str | None
    since: str | None
    warning: str | None


class WireConversation(TypedDict):
    id: str
    title: str
    """Empty without a name."""
    pinned: bool
    unread: bool
    working: bool
    at: str
    """When it was last used."""


class ConversationsAnswer(TypedDict):
    """All conversations that exist, or with `more` the latest."""

    type: Literal["conversations"]
    conversations: list[WireConversation]
    more: bool


class ConversationFrame(TypedDict):
    """A conversation that is new or has changed."""

    type: Literal["conversation"]
    conversation: WireConversation


class DeletedFrame(TypedDict):
    type: Literal["deleted"]
    conversation: str


class WireHit(TypedDict):
    conversation: str
    title: str
    role: Speaker
    snippet: str
    at: str


class FoundFrame(TypedDict):
    """Messages with the searched words. `incomplete`: the agent has not indexed all of them yet."""

    type: Literal["found"]
    query: str
    hits: list[WireHit]
    incomplete: bool


# In the frames about one conversation, `conversation` is absent for the first one.


class HistoryAnswer(TypedDict):
    type: Literal["history"]
    conversation: NotRequired[str]
    messages: list[WireMessage]
    older: NotRequired[int]
    """Where older messages begin, if there are any."""


class OlderAnswer(TypedDict):
    """Messages from before those of a history."""

    type: Literal["older"]
    conversation: NotRequired[str]
    messages: list[WireMessage]
    older: NotRequired[int]


class AcceptedFrame(TypedDict):
    type: Literal["accepted"]
    conversation: NotRequired[str]
    id: str
    runId: str


class DeltaFrame(TypedDict):
    """A piece of an answer. The first of a run may be empty: the agent has begun to work.

    With `replace`, the text replaces all earlier deltas instead of following them.
    """

    type: Literal["delta"]
    conversation: NotRequired[str]
    runId: str
    text: str
    replace: NotRequired[bool]


class WorkFrame(TypedDict):
    """What the agent did in a run: a call that is new or has changed, or further thoughts."""

    type: Literal["work"]
    conversation: NotRequired[str]
    runId: str
    tool: NotRequired[WireTool]
    thoughts: NotRequired[str]


class FinalFrame(TypedDict):
    type: Literal["final"]
    conversation: NotRequired[str]
    runId: str
    message: WireMessage


class AbortedFrame(TypedDict):
    type: Literal["aborted"]
    conversation: NotRequired[str]
    runId: str


class ApprovalFrame(TypedDict):
    """A tool call that waits for the user's decision, or its outcome."""

    type: Literal["approval"]
    approval: ApprovalView


class ForkedFrame(TypedDict):
    """`fork` has what came before `message`, whose text was `text`."""

    type: Literal["forked"]
    conversation: NotRequired[str]
    message: str
    fork: str
    text: str


class ErrorFrame(TypedDict):
    type: Literal["error"]
    conversation: NotRequired[str]
    id: str | None
    code: str
    detail: str
    retry: bool
    about: NotRequired[Literal["conversations"]]
    """Set if a request about the list of conversations failed."""


AboutOne = (
    HistoryAnswer
    | OlderAnswer
    | AcceptedFrame
    | DeltaFrame
    | WorkFrame
    | FinalFrame
    | AbortedFrame
    | ForkedFrame
    | ErrorFrame
)
Frame = (
    StatusFrame
    | ConversationsAnswer
    | ConversationFrame
    | DeletedFrame
    | FoundFrame
    | ApprovalFrame
    | AboutOne
)


def read(text: str) -> FromPage:
    """Parse a frame from the page. Raises `ValueError`, whose text does not quote the frame."""
    try:
        return _FROM_PAGE.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from error


def is_use(frame: FromPage) -> bool:
    """Whether a person did something; the page sends the other frames by itself."""
    if isinstance(frame, ChangeFrame):
        return frame.title is not None or frame.pinned is not None
    return not isinstance(frame, HistoryFrame | AttachFrame | ConversationsFrame)


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


def history(messages: list[WireMessage], older: int | None = None) -> HistoryAnswer:
    frame: HistoryAnswer = {"type": "history", "messages": messages}
    if older is not None:
        frame["older"] = older
    return frame


def older_messages(messages: list[WireMessage], older: int | None) -> OlderAnswer:
    frame: OlderAnswer = {"type": "older", "messages": messages}
    if older is not None:
        frame["older"] = older
    return frame


def conversations(entries: list[WireConversation], *, more: bool) -> ConversationsAnswer:
    return {"type": "conversations", "conversations": entries, "more": more}


def conversation(entry: WireConversation) -> ConversationFrame:
    return {"type": "conversation", "conversation": entry}


def deleted(conversation_id: str) -> DeletedFrame:
    return {"type": "deleted", "conversation": conversation_id}


def found(query: str, hits: list[WireHit], *, incomplete: bool) -> FoundFrame:
    return {"type": "found", "query": query, "hits": hits, "incomplete": incomplete}


def message(message_id: str, *, role: Speaker, text: str, at_ms: float | None) -> WireMessage:
    return {"id": message_id, "role": role, "text": text, "at": moment(at_ms)}


def moment(at_ms: float | None) -> str:
    """The time as ISO text; now for what is not a time."""
    return (_moment(at_ms) or datetime.now(UTC)).isoformat()


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


def work(run_id: str, tool: WireTool) -> WorkFrame:
    return {"type": "work", "runId": run_id, "tool": tool.copy()}


def thoughts(run_id: str, text: str) -> WorkFrame:
    return {"type": "work", "runId": run_id, "thoughts": text}


def final(run_id: str, answer: WireMessage) -> FinalFrame:
    return {"type": "final", "runId": run_id, "message": answer}


def aborted(run_id: str) -> AbortedFrame:
    return {"type": "aborted", "runId": run_id}


def forked(message_id: str, fork: str, text: str) -> ForkedFrame:
    return {"type": "forked", "message": message_id, "fork": fork, "text": text}


def approval(view: ApprovalView) -> ApprovalFrame:
    return {"type": "approval", "approval": view}


def error(about: str | None, *, code: str, detail: str, retry: bool) -> ErrorFrame:
    """`about` is the id of the message that failed, which is also its run's id."""
    return {"type": "error", "id": about, "code": code, "detail": detail, "retry": retry}


def refused(frame: AttachFrame, code: str, detail: str, *, retry: bool) -> ErrorFrame:
    answer = error(str(frame.id), code=code, detail=detail, retry=retry)
    return answer if frame.conversation == MAIN else answer | {"conversation": frame.conversation}


def list_error(*, code: str, detail: str, retry: bool) -> ErrorFrame:
    return error(None, code=code, detail=detail, retry=retry) | {"about": "conversations"}
