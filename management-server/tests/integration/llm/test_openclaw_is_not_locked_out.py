"""No error that `/llm` sends makes OpenClaw disable its provider, by OpenClaw's own classifier."""

import itertools
import json
from collections.abc import Iterable
from typing import Any, Literal

import httpx2
import pytest
from ocmt_common.problems import Problem
from ocmt_management.db import OTHER_RELEASE, READ_ONLY
from ocmt_management.llm import errors
from ocmt_management.llm.budgets import Period
from ocmt_management.llm.provider_access import Access
from ocmt_management.llm.provider_errors import Cause, ProviderError
from ocmt_management.llm.providers import PROVIDERS, Shape
from ocmt_management.llm.upstream import Outcome, UpstreamRequest, UpstreamResponse
from ocmt_management.vault.secret_value import SecretValue
from ocmt_testing.management.provider_refusals import REFUSALS, WORDS, Refusal
from ocmt_testing.openclaw_classifier import DISABLES, GIVES_UP, Failure, classified
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

KEY = "sk-adas-own-key-0123456789"
NAMES: dict[Shape, Literal["openai", "anthropic"]] = {
    Shape.OPENAI: "openai",
    Shape.RESPONSES: "openai",
    Shape.ANTHROPIC: "anthropic",
}
STATUSES = (400, 404, 410, 422, 429, 451, 503, None)


class Passing:
    """`/llm` between one agent and one provider, without a network."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.refusal = REFUSALS[0]
        self.outcomes: list[Outcome] = []
        self._http = httpx2.AsyncClient(transport=httpx2.ASGITransport(self._provider))
        self._agent = httpx2.AsyncClient(transport=httpx2.ASGITransport(self._ours))

    async def __aenter__(self) -> "Passing":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()
        await self._agent.aclose()

    async def _provider(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self.refusal
        if refusal.status is not None:
            answer = Response(refusal.body, refusal.status, media_type="application/json")
        else:
            event = f"event: error\ndata: {refusal.body}\n\n".encode()
            answer = StreamingResponse(iter([b": open\n\n", event]), media_type="text/event-stream")
        await answer(scope, receive, send)

    async def _ours(self, scope: Scope, receive: Receive, send: Send) -> None:
        order = UpstreamRequest(
            shape=self.shape, provider="OpenAI", model="gpt-403", url="http://provider/v1",
            setting="OPENAI_BASE_URL", headers={}, access=Access(SecretValue(KEY)), body=b"{}",
        )  # fmt: skip
        await UpstreamResponse(self._http, order, done=self.outcomes.append)(scope, receive, send)

    async def failure(self, refusal: Refusal) -> Failure:
        """What the agent gets when the provider refuses like this."""
        self.refusal = refusal
        answer = await self._agent.post("http://ocmt/llm")
        if answer.status_code != 200:
            return Failure(NAMES[self.shape], answer.status_code, answer.text)
        data = [line for line in answer.text.splitlines() if line.startswith("data: ")]
        return Failure(NAMES[self.shape], None, data[-1].removeprefix("data: "))


async def refused(shape: Shape, refusals: Iterable[Refusal]) -> list[tuple[Failure, Outcome]]:
    async with Passing(shape) as passing:
        failures = [await passing.failure(refusal) for refusal in refusals]
    return list(zip(failures, passing.outcomes, strict=True))


@pytest.mark.parametrize("shape", NAMES)
async def test_no_providers_error_disables_the_provider(shape: Shape) -> None:
    got = await refused(shape, REFUSALS)

    reasons = classified([failure for failure, _ in got])
    for refusal, (failure, outcome), reason in zip(REFUSALS, got, reasons, strict=True):
        assert reason not in DISABLES, (refusal, failure)
        assert outcome.error is not None
        assert outcome.error.code == refusal.code, (refusal, outcome)
        if failure.status == 424:  # ours: it would be the same the next time
            assert reason in GIVES_UP, (refusal, failure)


@pytest.mark.parametrize("shape", NAMES)
async def test_no_words_of_a_provider_disable_it_at_any_status(shape: Shape) -> None:
    def said(status: int | None, word: str, **error: str) -> Refusal:
        body = {"error": {"message": f"It says: {word}", **error}}
        return Refusal(status, json.dumps(body), "")

    refusals = [said(status, word) for status, word in itertools.product(STATUSES, WORDS)]
    refusals += [
        said(status, "no", type=word, code=word)
        for status, word in itertools.product((400, None), WORDS)
    ]
    got = await refused(shape, refusals)

    reasons = classified([failure for failure, _ in got])
    wrong = [pair for *pair, reason in zip(got, reasons, strict=True) if reason in DISABLES]
    assert not wrong, wrong[:3]


def test_these_words_do_disable_a_provider_that_passes_them_on() -> None:
    failures = [
        Failure("openai", status, json.dumps({"error": {"message": word}}))
        for word in WORDS
        for status in (400, None)
    ]
    reasons = iter(classified(failures))
    missed = [word for word in WORDS if not DISABLES & {next(reasons), next(reasons)}]

    assert len(missed) < len(WORDS) / 10, missed


def own_errors() -> list[errors.LlmError]:
    """Every error that `/llm` itself sends, for every provider."""
    names = [provider.name for provider in PROVIDERS.values()]
    plain = [
        errors.bad_request("not-json", "Send one JSON object."),
        errors.agent_token_unknown(),
        errors.too_many_requests(16),
        errors.too_many_bytes(64 * 2**20),
    ]
    of_provider = [
        error
        for name in names
        for final in (False, True)
        for error in (
            errors.no_key(name),
            errors.price_unknown(name),
            errors.background_refused(name),
            errors.other_shape(name),
            errors.address_refused(),
            *(errors.shared_key_used_up(period, name) for period in Period),
            *(errors.budget_reached(period, total=final) for period in Period),
            errors.unreachable(name, "OPENAI_BASE_URL", final=final),
            errors.connection_lost(name, final=final),
            errors.garbled(name, "OPENAI_BASE_URL", final=final),
        )
    ]
    replacing = [
        explained.in_place
        for name in names
        for cause in Cause
        for shared in (False, True)
        if (explained := errors.explain(name, "m", Caused(cause), mask={}, shared=shared)).in_place
        is not None
    ]
    assert len(replacing) == len(names) * len(Cause) * 2
    return [*plain, *of_provider, *replacing]


# What the relay, the database, the vault and the web middleware answer in `/llm`'s place.
PROBLEMS = [
    Problem(404, "no-such-path", "Agents reach /llm and /mcp here, nothing else."),
    Problem(408, "request-too-slow", "Send the request faster."),
    Problem(413, "body-too-large", "The body is too large."),
    Problem(424, "unknown-token", "This is not the token of an agent on this host."),
    Problem(431, "headers-too-large", "The headers are too large."),
    Problem(500, "vault-corrupt", "A stored secret does not decrypt: VAULT_KEY holds another key."),
    Problem(500, "internal-error", "The server failed on this request."),
    Problem(503, "vault-key-missing", "Secrets are encrypted under the key expired-401."),
    Problem(503, "database-unavailable", OTHER_RELEASE, retry_after_s=30),
    Problem(503, "database-unavailable", READ_ONLY, retry_after_s=5),
    Problem(503, "management-unavailable", "The management server does not answer."),
    Problem(507, "disk-full", "The database's disk is full, so nothing was saved."),
]


@pytest.mark.parametrize("shape", NAMES)
def test_no_problem_on_the_way_disables_the_provider(shape: Shape) -> None:
    bodies = [
        (problem.status, body)
        for problem in PROBLEMS
        for body in (problem.body(), errors.of_problem(problem).in_shape(shape).body())
    ]
    failures = [Failure(NAMES[shape], status, json.dumps(body)) for status, body in bodies]

    for failure, reason in zip(failures, classified(failures), strict=True):
        assert reason not in DISABLES, failure


class Caused(ProviderError):
    """A provider's error with a given cause, in words that are never passed on."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(401, "invalid api key, credit balance, 402", "invalid api key")
        object.__setattr__(self, "given", cause)

    given: Cause

    @property
    def cause(self) -> Cause:
        return self.given


@pytest.mark.parametrize("shape", NAMES)
def test_none_of_our_own_errors_disables_the_provider(shape: Shape) -> None:
    sent = own_errors()
    failures = [
        Failure(NAMES[shape], status, json.dumps(error.in_shape(shape).body()))
        for error in sent
        for status in (error.status, None)
    ]

    for failure, reason in zip(failures, classified(failures), strict=True):
        assert reason not in DISABLES, failure
        if failure.status == 424:
            assert reason in GIVES_UP, failure


def test_a_conversation_that_is_too_long_is_one_that_openclaw_shortens() -> None:
    body: dict[str, Any] = errors.LlmError(
        400, "conversation-too-long",
        errors._WORDS[Cause.TOO_LONG].text, kind=errors.FINAL,
    ).body()  # fmt: skip

    assert classified([Failure("openai", 400, json.dumps(body))]) == ["context_overflow"]
