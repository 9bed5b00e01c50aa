"""Errors of `/llm`: texts for users, in a body that every client can read.

OpenAI's and Anthropic's clients read `error.message`; other clients read a problem (RFC 9457). The
body is both.

OpenClaw acts on an error's status and wording. If the text reads like a problem with a key or an
account, OpenClaw disables the provider for minutes, and a corrected key would not work at once. So
such errors get a text of OCMT's own, whose only variable is the provider's name, mostly with 424.
OpenClaw retries a server error up to eight times within 90 seconds, and never retries an
`invalid_request_error`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ocmt_common.problems import Problem
from starlette.responses import Response

from ocmt_management.llm.budgets import Period
from ocmt_management.llm.openclaw_lockouts import disables_provider
from ocmt_management.llm.provider_errors import Cause, ProviderError
from ocmt_management.llm.providers import Shape

REPLACED_STATUS = 424
FINAL = "invalid_request_error"
"""The kind of error that OpenClaw does not retry."""
_REPEATED = "server_error"
_MAX_QUOTED = 300
# The formats of providers' keys, which some of their errors quote.
_LIKE_A_KEY = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|key|or)[-_][\w*.…-]{6,}|\bAIza[\w-]{10,}|\bBearer\s+\S+"
)


class LlmError(Problem):
    """An error of `/llm`; `kind` is the `type` that OpenAI and Anthropic give such errors."""

    def __init__(self, status: int, code: str, detail: str, *, kind: str, **options: Any) -> None:
        error = {"message": detail, "type": kind, "param": None, "code": code}
        super().__init__(status, code, detail, extra={"error": error}, **options)

    def in_shape(self, shape: Shape) -> "LlmError":
        if shape is Shape.ANTHROPIC:
            self.extra["type"] = "error"
        return self

    def response_with(self, headers: Mapping[str, str]) -> Response:
        response = self.response()
        response.headers.update(headers)
        return response


def bad_request(code: str, detail: str) -> LlmError:
    return LlmError(400, code, detail, kind="invalid_request_error")


def not_an_agent() -> LlmError:
    return LlmError(
        401,
        "agent-token-wrong",
        "Send the agent token of an active user's agent as bearer token.",
        kind="authentication_error",
    )


def agent_token_unknown() -> LlmError:
    """For a replaced token or a suspended user. A 401 would make OpenClaw disable the provider."""
    return LlmError(
        REPLACED_STATUS,
        "agent-token-wrong",
        "OCMT does not know this agent any more, or its user is suspended. If it may run, its "
        "server starts it anew.",
        kind=FINAL,
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
        REPLACED_STATUS,
        "key-missing",
        f"OCMT has nothing to use {provider} with: you have stored nothing, and no admin provides "
        "it to you now. Add it in the settings, or choose another model; it works at once.",
        kind=FINAL,
    )


def other_shape(provider: str) -> LlmError:
    """For a request in a shape that the chosen provider does not know.

    The agent's configuration names the right one, but follows a change only after the turn under
    way.
    """
    return LlmError(
        REPLACED_STATUS,
        "model-changed",
        f"The model was changed to one of {provider} while your agent was at work, and its answer "
        "cannot go on with that one. Send the message again.",
        kind=FINAL,
    )


_PERIODS = {Period.DAY: "for today", Period.MONTH: "for this month"}


def budget_reached(period: Period, *, total: bool) -> LlmError:
    whose = "This server's" if total else "Your"
    return _used_up(f"{whose} amount for models is used up {_PERIODS[period]}.")


def shared_key_used_up(period: Period, provider: str) -> LlmError:
    return _used_up(f"What an admin provides to you of {provider} is used up {_PERIODS[period]}.")


def _used_up(what: str) -> LlmError:
    return LlmError(
        REPLACED_STATUS,
        "budget-reached",
        f"{what} An admin can raise it; the demo model in the settings costs nothing.",
        kind=FINAL,
    )


def price_unknown(provider: str) -> LlmError:
    return LlmError(
        REPLACED_STATUS,
        "price-unknown",
        f"OCMT does not know what this model of {provider} costs, so your amount for models cannot "
        "cover it. Choose another model in the settings, or have the operator add its price.",
        kind=FINAL,
    )


def background_refused(provider: str) -> LlmError:
    return LlmError(
        REPLACED_STATUS,
        "background-refused",
        f"Your use of {provider} has a limit, so answers in the background, which report no use of "
        "tokens, are off. Send the message again without `background`.",
        kind=FINAL,
    )


# OpenClaw retries the first of these errors. The second in a row is final, since a provider's
# outage usually lasts longer than a chat can wait.


def unreachable(provider: str, setting: str, *, final: bool) -> LlmError:
    return _no_answer(
        "provider-unreachable",
        f"{provider} cannot be reached from this server. Try again in a moment. Operator: check "
        f"the network and {setting}.",
        final=final,
    )


def address_refused() -> LlmError:
    return LlmError(
        REPLACED_STATUS,
        "address-refused",
        "Your own server is in a private network, which people's servers may not be in. Give "
        "another address in the settings. Operator: allow its host in PRIVATE_HOSTS.",
        kind=FINAL,
    )


def connection_lost(provider: str, *, final: bool) -> LlmError:
    return _no_answer(
        "provider-lost",
        f"The connection to {provider} broke in the middle of its answer. Try again.",
        final=final,
    )


def garbled(provider: str, setting: str, *, final: bool) -> LlmError:
    return _no_answer(
        "provider-garbled",
        f"{provider}'s answer is not one of a model. Operator: check {setting}, and what is "
        "between this server and the provider.",
        final=final,
    )


NO_ANSWER = frozenset({"provider-unreachable", "provider-lost", "provider-garbled"})


def _no_answer(code: str, detail: str, *, final: bool) -> LlmError:
    status, kind = (REPLACED_STATUS, FINAL) if final else (502, _REPEATED)
    return LlmError(status, code, detail, kind=kind)


@dataclass(frozen=True, slots=True)
class ModelError:
    """The reason why a user's model request failed, worded for the user."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Explained:
    """A provider's error, worded for the user, the log and the agent.

    `in_place` replaces the provider's response to the agent; `None` if that may be passed on.
    """

    user: ModelError
    reason: str
    in_place: LlmError | None


@dataclass(frozen=True, slots=True)
class _Words:
    text: str
    status: int = REPLACED_STATUS
    kind: str = FINAL


# Texts for the agent name the provider only: a model's name may hold words for which OpenClaw
# disables the provider.
_WORDS = {
    Cause.KEY: _Words(
        "{provider} rejected your key, or it may not use this model. Set another in the settings, "
        "or choose another model; it works at once."
    ),
    Cause.UNPAID: _Words(
        "Your {provider} account has no credit left, or its plan does not include this. Settle it "
        "there, or choose another model in the settings; it works at once."
    ),
    Cause.MODERATED: _Words(
        "{provider} declined this conversation by its content rules. Rephrase the message, or "
        "choose another model in the settings."
    ),
    Cause.REGION: _Words(
        "{provider} does not serve the region of this server. Choose another provider in the "
        "settings."
    ),
    Cause.BLOCKED: _Words(
        "A firewall at {provider}, or in front of it, turned this server away. Try again later or "
        "choose another provider in the settings. Operator: check the server's network."
    ),
    Cause.UNKNOWN_MODEL: _Words(
        "{provider} has no such model for you. Choose another in the settings.", status=404
    ),
    Cause.TOO_LONG: _Words(
        "This conversation exceeds the model's maximum context length.", status=400
    ),
    Cause.LIMITS: _Words(
        "{provider}'s rate limit was reached. Try again in a minute.",
        status=429,
        kind="rate_limit_error",
    ),
    Cause.TROUBLE: _Words(
        "{provider} has a problem right now. Try again soon.", status=503, kind=_REPEATED
    ),
    Cause.REFUSED: _Words("{provider} rejected the request."),
}
# With a key that an admin provides, which its users can neither see nor change.
_WORDS_FOR_SHARED = {
    Cause.KEY: _Words(
        "{provider} rejected what an admin provides to you, or it may not use this model. Tell an "
        "admin, or choose another model in the settings; it works at once."
    ),
    Cause.UNPAID: _Words(
        "The {provider} account that an admin provides has no credit left, or its plan does not "
        "include this. Tell an admin, or choose another model in the settings; it works at once."
    ),
}
_ALWAYS_REPLACED = frozenset({Cause.KEY, Cause.UNPAID, Cause.BLOCKED})


def explain(
    provider: str,
    model: str,
    error: ProviderError,
    *,
    mask: Mapping[str, str],
    shared: bool = False,
) -> Explained:
    """Explain a provider's error to the user. `mask` maps each secret to its replacement."""
    reason = " ".join(error.message.split())
    for secret, shown in mask.items():
        reason = reason.replace(secret, shown)
    reason = _LIKE_A_KEY.sub("•••", reason)[:_MAX_QUOTED]
    cause = error.cause
    words = (_WORDS_FOR_SHARED if shared else _WORDS).get(cause, _WORDS[cause])
    text = words.text.format(provider=provider)
    detail = (
        f"{provider} has no model {model} for you. Choose another in the settings."
        if (cause is Cause.UNKNOWN_MODEL)
        else text
    )
    if reason and not (shared and cause in _WORDS_FOR_SHARED):  # those are the admins' matters
        detail = f"{detail} {provider} says: “{reason}”"
    replaced = (
        cause in _ALWAYS_REPLACED
        or error.status in (401, 402, 403, 407)
        or disables_provider(error.text)
    )
    in_place = LlmError(words.status, cause, text, kind=words.kind) if replaced else None
    return Explained(ModelError(cause, detail), reason or str(error.status), in_place)
