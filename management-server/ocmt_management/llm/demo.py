"""The built-in model: local and deterministic; it repeats the user's message.

It lets the first run work without a key, through the real OpenClaw, whose requests wrap the user's
message in context of its own.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

_CHARACTERS_PER_TOKEN = 4
_MAX_ECHO = 400

# OpenClaw puts the time before a user's message and facts about the run after it, and adds whole
# messages of context (seen in 2026.9.6).
_INTERNAL = re.compile(
    r"<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>.*?<<<END_OPENCLAW_INTERNAL_CONTEXT>>>", re.DOTALL
)
_TIME = re.compile(r"\A\s*\[[A-Z][a-z]{2} \d{4}-\d{2}-\d{2} \d{2}:\d{2}[^\]\n]*\]\s?")
_RUNTIME = re.compile(r"\n\nRuntime: agent=[^\n]*\| session=[^\n]*\Z")
_MESSAGE_ID = re.compile(r"^\[message_id: [^\]\n]*\]\n?", re.MULTILINE)
# Answers that OpenClaw does not show to the user.
_SILENCE = re.compile(r"\b(NO_REPLY|HEARTBEAT_OK)\b")


def user_message(messages: object) -> str:
    """The user's last message without what OpenClaw added; empty if there is none."""
    for message in reversed(messages) if isinstance(messages, list) else ():
        if isinstance(message, dict) and message.get("role") == "user":
            words = _unwrapped(_text(message.get("content")))
            if words:
                return words
    return ""


def as_chat(request: dict[str, Any]) -> dict[str, Any]:
    """A request of any shape with its conversation as `messages` and its `system` text."""
    if "input" not in request:
        return request
    given = request["input"]
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else given
    return {"messages": messages, "system": request.get("instructions")}


def reply(words: str) -> str:
    """The demo's answer to the user's message."""
    silence = _SILENCE.search(words)
    if silence and "reply" in words.lower():
        return silence[1]
    echo = words if len(words) <= _MAX_ECHO else f"{words[:_MAX_ECHO].rstrip()} …"
    quoted = "\n".join(f"> {line}" for line in echo.splitlines())
    repeated = f"You wrote:\n\n{quoted}\n\n" if quoted else ""
    return (
        "This is the **demo model** that comes with OCMT. It runs on your own server, needs no "
        f"key, and cannot think: it only repeats your message.\n\n{repeated}"
        "Everything around it is real: your own OpenClaw took the message, keeps the conversation "
        "and streamed this answer. For a model that thinks, open **Settings**, choose a provider "
        "and add your key. It answers from your next message on."
    )


def pieces(text: str) -> Iterator[str]:
    """The text word by word, as a model streams it; joined, the pieces equal the text."""
    yield from re.findall(r"\s*\S+|\s+\Z", text)


def tokens(text: str) -> int:
    """An estimate, at four characters per token; the demo has no tokenizer."""
    return -(-len(text) // _CHARACTERS_PER_TOKEN)


def input_tokens(body: dict[str, Any]) -> int:
    """An estimate of a request's input tokens: those of all its texts."""
    messages = body.get("messages")
    texts = [_text(body.get("system"))]
    if isinstance(messages, Sequence):
        texts += [_text(m.get("content")) for m in messages if isinstance(m, dict)]
    return sum(map(tokens, texts))


def _text(content: object) -> str:
    """The text of a message: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (part.get("text") for part in content if isinstance(part, dict))
    return "\n".join(part for part in parts if isinstance(part, str))


def _unwrapped(text: str) -> str:
    for wrapping in (_INTERNAL, _TIME, _RUNTIME, _MESSAGE_ID):
        text = wrapping.sub("", text)
    return text.strip()
