"""Errors of `/llm`: texts for users, in a shape that every client reads.

Clients of OpenAI and of Anthropic read `error.message`; other clients of this server read a
problem (RFC 9457). The body is both at once.

The status matters to OpenClaw: after a 401, 402 or 403, or a text that looks like one, it disables
the provider for minutes, so a corrected key would not work at once. Errors about the user's key
are therefore answered as 424 with a text of our own.
"""

from dataclasses import dataclass
from typing import Any

from ocmt_common.problems import Problem

from ocmt_management.llm.providers import Shape

KEY_ERROR_STATUS = 424
_MAX_QUOTED = 300


class LlmError(Problem):
    """An error answer of `/llm`; `kind` is the providers' name for the class of error."""

    def __init__(self, status: int, code: str, detail: str, *, kind: str, **options: Any) -> None:
        error = {"message": detail, "type": kind, "param": None, "code": code}
        super().__init__(status, code, detail, extra={"error": error}, **options)

    def in_shape(self, shape: Shape) -> "LlmError":
        if shape is Shape.ANTHROPIC:
            self.extra["type"] = "error"
        return self


def bad_request(code: str, detail: str) -> LlmError:
    return LlmError(400, code, detail, kind="invalid_request_error")


def not_an_agent() -> LlmError:
    return LlmError(
        401,
        "agent-token-wrong",
        "Send the agent token of an active user's agent as bearer token.",
        kind="authentication_error",
    )


def too_many_requests(limit: int) -> LlmError:
    return LlmError(
        429,
        "too-many-at-once",
        f"{limit} requests of this agent are already in progress. Retry when one is done.",
        kind="rate_limit_error",
        retry_after_s=1,
    )


def too_many_bytes(limit_bytes: int) -> LlmError:
    return LlmError(
        429,
        "too-much-at-once",
        f"This agent's requests in progress have more than {limit_bytes // 2**20} MiB together. "
        "Retry when one is done.",
        kind="rate_limit_error",
        retry_after_s=1,
    )


def of_problem(problem: Problem) -> LlmError:
    """A problem of this server (the database, the vault) as an error of `/llm`."""
    return LlmError(
        problem.status,
        problem.code,
        problem.detail,
        kind="server_error" if problem.status >= 500 else "invalid_request_error",
        retry_after_s=problem.retry_after_s,
    )


def no_key(provider: str) -> LlmError:
    return LlmError(
        KEY_ERROR_STATUS,
        "key-missing",
        f"OCMT has nothing stored to use {provider} with. Add it in the settings, or choose "
        "another model; it works at once.",
        kind="ocmt_error",
    )


def unreachable(provider: str, setting: str) -> LlmError:
    return LlmError(
        502,
        "provider-unreachable",
        f"{provider} cannot be reached from this server. Try again in a moment. Operator: check "
        f"the network and {setting}.",
        kind="server_error",
    )


def connection_lost(provider: str) -> LlmError:
    return LlmError(
        502,
        "provider-lost",
        f"The connection to {provider} broke in the middle of its answer. Try again.",
        kind="server_error",
    )


@dataclass(frozen=True, slots=True)
class ModelError:
    """A provider's error, explained to the user."""

    code: str
    detail: str
    replaces: bool = False
    """Whether the agent gets this text, as 424, instead of the provider's answer."""


def explain(provider: str, model: str, status: int, message: str) -> ModelError:
    """A provider's error status and message, in words the user can act on."""
    low = message.lower()
    if status == 402 or (status in (403, 429) and ("insufficient_quota" in low or "credit" in low)):
        return ModelError(
            "provider-unpaid",
            f"Your {provider} account has no credit left. Top it up there, or choose another model "
            "in the settings.",
            replaces=True,
        )
    if status in (401, 403):
        return ModelError(
            "provider-refused-key",
            f"{provider} rejected your key, or the key may not use {model}. Set another in the "
            "settings; it works at once.",
            replaces=True,
        )
    if status == 404:
        return ModelError(
            "model-unknown",
            f"{provider} has no model {model} for you. Choose another in the settings.",
        )
    if status == 429:
        return ModelError(
            "provider-limits", f"{provider}'s rate limit was reached. Try again in a minute."
        )
    if status >= 500 or status == 408:
        return ModelError(
            "provider-trouble", f"{provider} has a problem right now. Try again soon."
        )
    quoted = " ".join(message.split())[:_MAX_QUOTED]
    return ModelError("provider-refused", f"{provider} rejected the request: {quoted or status}")


def in_place_of_answer(error: ModelError) -> LlmError:
    return LlmError(KEY_ERROR_STATUS, error.code, error.detail, kind="ocmt_error")
