"""OpenClaw's conversation in the page's words: its events, its history. Pure.

Facts from OpenClaw 2026.9.6: a run has the id that its message was sent under. A message that
arrives while a run is under way joins that run; its own run then ends without a message. A failed
run may say so twice. What one run says between two tools is one message while it streams and
several in the history. After a crash, a gateway takes up its interrupted run by itself,
seconds after it came up and under another id.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from ocmt_management.chat import frames
from ocmt_management.chat.frames import Frame, WireMessage

SESSION_KEY = "main"
_CANONICAL_KEY = "agent:main:main"
_BETWEEN_PARTS = "\n\n"
_REMEMBERED = 256
_USER_SUFFIX = ":user"


@dataclass(slots=True)
class Failed:
    """A run ended in an error."""

    run_id: str
    said: str


@dataclass(slots=True)
class Runs:
    """What one browser has been told of each run, so that nothing is told twice."""

    told: dict[str, str] = field(default_factory=dict)
    """Runs under way, and the text of theirs that was told so far."""
    sent: OrderedDict[str, str] = field(default_factory=OrderedDict)
    _ended: OrderedDict[str, str] = field(default_factory=OrderedDict)
    _row_ids: OrderedDict[str, str] = field(default_factory=OrderedDict)
    _goes_on_as: OrderedDict[str, str] = field(default_factory=OrderedDict)
    """Runs by which a restarted gateway goes on with an earlier one."""

    def began(self, run_id: str) -> None:
        if run_id not in self._ended:
            self.told.setdefault(run_id, "")

    def ended(self, run_id: str) -> bool:
        """Note a run's end; `False` when it was noted before."""
        self.told.pop(run_id, None)
        if run_id in self._ended:
            return False
        _remember(self._ended, run_id, run_id)
        return True

    def goes_on_as(self, run_id: str, resumed_id: str) -> None:
        """A restarted gateway answers `run_id` in another run: the page hears of one."""
        _remember(self._goes_on_as, resumed_id, run_id)

    def sent_here(self, message_id: str) -> None:
        _remember(self.sent, message_id, message_id)

    def is_foreign(self, payload: dict[str, Any]) -> bool:
        """Whether a `session.message` is a user's message that another tab sent."""
        row = _dict(payload.get("message"))
        if row.get("role") != "user" or not _is_ours(payload):
            return False
        return _sent_under(row) not in self.sent

    def note_row(self, payload: dict[str, Any]) -> None:
        """Remember which id the history has for a run's answer."""
        meta = _dict(_dict(payload.get("message")).get("__openclaw"))
        run_id, row_id = meta.get("runId"), meta.get("id")
        if isinstance(run_id, str) and isinstance(row_id, str):
            _remember(self._row_ids, self.told_as(run_id), row_id)

    def on_chat(self, payload: dict[str, Any]) -> Frame | Failed | None:
        """A `chat` event as a frame for the page; `Failed` for an error, whose words vary."""
        run_id = self.told_as(str(payload.get("runId")))
        if not _is_ours(payload) or run_id in self._ended:
            return None
        row = _dict(payload.get("message"))
        match payload.get("state"):
            case "status":
                self.began(run_id)
            case "delta":
                # The whole text comes with every delta: that heals what was missed.
                return self.caught_up(run_id, text_of(row))
            case "final":
                return self.final(run_id, text_of(row), row.get("timestamp"))
            case "aborted" if self.ended(run_id):
                return frames.aborted(run_id)
            case "error" if self.ended(run_id):
                return Failed(run_id, str(payload.get("errorMessage") or "The agent failed."))
        return None

    def final(self, run_id: str, text: str, at_ms: Any) -> Frame | None:
        if not self.ended(run_id):
            return None
        row_id = self._row_ids.pop(run_id, run_id)
        at = at_ms if isinstance(at_ms, int | float) else None
        answer = frames.message(row_id, role="assistant", text=text, at_ms=at)
        return frames.final(run_id, answer)

    def caught_up(self, run_id: str, text: str) -> Frame | None:
        """All that a run said so far, as what the page has not been told of it."""
        if run_id in self._ended:
            return None
        told = self.told.setdefault(run_id, "")
        if told.startswith(text):
            return None  # a history may be a little older than the deltas
        self.told[run_id] = text
        if text.startswith(told):
            return frames.delta(run_id, text[len(told) :])
        return frames.delta(run_id, text, replace=True)

    def told_as(self, run_id: str) -> str:
        """The run as which the page knows `run_id`."""
        return self._goes_on_as.get(run_id, run_id)


def history(payload: dict[str, Any]) -> list[WireMessage]:
    """The messages of `chat.history`, oldest first: what was said, not how it came about."""
    rows = payload.get("messages")
    said: list[WireMessage] = []
    last_run: object = None
    for row in rows if isinstance(rows, list) else ():
        role, text = _dict(row).get("role"), text_of(_dict(row))
        if role not in ("user", "assistant") or not text:
            continue
        meta = _dict(row.get("__openclaw"))
        run_id = meta.get("runId") if role == "assistant" else None
        row_id = _sent_under(row) or str(meta.get("id") or f"row-{len(said)}")
        if run_id is not None and run_id == last_run:
            said[-1] |= {"id": row_id, "text": said[-1]["text"] + _BETWEEN_PARTS + text}
            continue
        at = row.get("timestamp")
        at_ms = at if isinstance(at, int | float) else None
        said.append(frames.message(row_id, role=role, text=text, at_ms=at_ms))
        last_run = run_id
    return said


@dataclass(frozen=True, slots=True)
class Standing:
    """How `chat.history` says a run stands."""

    under_way: dict[str, str]
    """Runs that go on, and what they said so far."""
    answers: dict[str, tuple[str, Any]]
    """Runs that ended with an answer: its text and time."""


def standing(payload: dict[str, Any]) -> Standing:
    under_way: dict[str, str] = {}
    flying = _dict(payload.get("inFlightRun"))
    if isinstance(flying.get("runId"), str):
        under_way[flying["runId"]] = str(flying.get("text") or "")
    pending = _dict(payload.get("pendingInputs")).get("items")
    for item in pending if isinstance(pending, list) else ():
        if isinstance(_dict(item).get("runId"), str):
            under_way.setdefault(item["runId"], "")
    answers: dict[str, tuple[str, Any]] = {}
    unfinished: set[str] = set()
    rows = payload.get("messages")
    for row in rows if isinstance(rows, list) else ():
        run_id = _dict(_dict(row).get("__openclaw")).get("runId")
        text = text_of(_dict(row))
        if _dict(row).get("role") == "assistant" and isinstance(run_id, str) and text:
            before = answers.get(run_id, ("", None))[0]
            joined = before + _BETWEEN_PARTS + text if before else text
            answers[run_id] = (joined, row.get("timestamp"))
            # What was said before a tool ran is no answer yet.
            (unfinished.add if row.get("stopReason") == "toolUse" else unfinished.discard)(run_id)
    ended = {run_id: found for run_id, found in answers.items() if run_id not in unfinished}
    return Standing(under_way, ended)


def text_of(row: dict[str, Any]) -> str:
    """The words of a message: its text, without thoughts, tools and pictures."""
    content = row.get("content")
    if isinstance(content, str):
        return content.strip()
    if not isinstance(content, list):
        return ""
    parts = (
        part.get("text")
        for part in content
        if isinstance(part, dict) and part.get("type") == "text"
    )
    return "".join(part for part in parts if isinstance(part, str)).strip()


def _is_ours(payload: dict[str, Any]) -> bool:
    return payload.get("sessionKey") in (SESSION_KEY, _CANONICAL_KEY)


def _sent_under(row: dict[str, Any]) -> str | None:
    """The id a user's message was sent under."""
    key = row.get("idempotencyKey")
    if row.get("role") == "user" and isinstance(key, str) and key.endswith(_USER_SUFFIX):
        return key.removesuffix(_USER_SUFFIX)
    return None


def _remember(those: OrderedDict[str, str], one: str, what: str) -> None:
    those[one] = what
    if len(those) > _REMEMBERED:
        those.popitem(last=False)


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
