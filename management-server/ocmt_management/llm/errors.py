"""Errors of `/llm`, in words a person can act on and in a shape every client of it reads.

Clients of OpenAI read `error.message`, clients of Anthropic too, everything else of ours reads a
problem: the body is all of them at once.

Which status is chosen matters to OpenClaw: after a 401, 402 or 403, or any text that smells of
them, it shuts the provider out for minutes, and a key that the user has just put right would do
nothing. Troubles with the user's key therefore travel as 424, in words of ours.
"""

from dataclasses import dataclass
from typing import Any

from ocmt_common.problems import Problem

from ocmt_management.llm.providers import Shape

USERS_KEY_TROUBLE = 424
_MAX_QUOTED = 300


class Refusal(Problem):
    """A refusal of `/llm`; `kind` is the providers' own word for the class of error."""

    def __init__(self, status: int, code: str, detail: str, *, kind: str, **options: Any) -> None:
        error = {"message": detail, "type": kind, "param": None, "code": code}
        super().__init__(status, code, detail, extra={"error": error}, **options)

    def in_shape(self, shape: Shape) -> "Refusal":
        if shape is Shape.ANTHROPIC:
            self.extra["type"] = "error"
        return self


def bad_request(code: str, detail: str) -> Refusal:
    return Refusal(400, code, detail, kind="invalid_request_error")


def not_an_agent() -> Refusal:
    return Refusal(
        401,
        "agent-token-wrong",
        "Only agents of active users may ask here, with their agent token as bearer.",
        kind="authentication_error",
    )


def too_many_at_once(most: int) -> Refusal:
    return Refusal(
        429,
        "too-many-at-once",
        f"{most} requests of this agent are being answered already. Ask again when one is done.",
        kind="rate_limit_error",
        retry_after_s=1,
    )


def too_much_at_once(most_bytes: int) -> Refusal:
    return Refusal(
        429,
        "too-much-at-once",
        f"The requests of this agent that are being answered have {most_bytes // 2**20} MiB "
        "together. Ask again when one is done.",
        kind="rate_limit_error",
        retry_after_s=1,
    )


def of_problem(problem: Problem) -> Refusal:
    """A trouble of ours (the database, the vault) as an error of `/llm`."""
    return Refusal(
        problem.status,
        problem.code,
        problem.detail,
        kind="server_error" if problem.status >= 500 else "invalid_request_error",
        retry_after_s=problem.retry_after_s,
    )


def no_key(provider: str) -> Refusal:
    return Refusal(
        USERS_KEY_TROUBLE,
        "key-missing",
        f"OCMT has nothing stored to use {provider} with. Add it in the settings, or choose "
        "another model; it works at once.",
        kind="ocmt_error",
    )


def unreachable(provider: str, setting: str) -> Refusal:
    return Refusal(
        502,
        "provider-unreachable",
        f"{provider} cannot be reached from this server. Try again in a moment. Operator: check "
        f"the network and {setting}.",
        kind="server_error",
    )


def lost(provider: str) -> Refusal:
    return Refusal(
        502,
        "provider-lost",
        f"{provider} broke off in the middle of its answer. Try again.",
        kind="server_error",
    )


@dataclass(frozen=True, slots=True)
class Trouble:
    """What a provider's refusal means for the user."""

    code: str
    detail: str
    replaces: bool = False
    """Whether the agent is told this, as 424, instead of what the provider said."""


def explain(provider: str, model: str, status: int, said: str) -> Trouble:
    """A provider's error status, and what it said with it, in words to act on."""
    low = said.lower()
    if status == 402 or (status in (403, 429) and ("insufficient_quota" in low or "credit" in low)):
        return Trouble(
            "provider-unpaid",
            f"{provider} has no credit left for you. Top it up there, or choose another model in "
            "the settings.",
            replaces=True,
        )
    if status in (401, 403):
        return Trouble(
            "provider-refused-key",
            f"{provider} does not take the key that OCMT keeps for you, or not for {model}. Set "
            "another in the settings; it works at once.",
            replaces=True,
        )
    if status == 404:
        return Trouble(
            "model-unknown",
            f"{provider} has no model {model} for you. Choose another in the settings.",
        )
    if status == 429:
        return Trouble("provider-limits", f"{provider} is asked too much. Try again in a minute.")
    if status >= 500 or status == 408:
        return Trouble("provider-trouble", f"{provider} has trouble right now. Try again soon.")
    quoted = " ".join(said.split())[:_MAX_QUOTED]
    return Trouble("provider-refused", f"{provider} refused the request: {quoted or status}")


def replaced(trouble: Trouble) -> Refusal:
    return Refusal(USERS_KEY_TROUBLE, trouble.code, trouble.detail, kind="ocmt_error")
