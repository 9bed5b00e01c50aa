"""Forwards an agent's request to the provider that its user chose."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from msgspec import Raw
from ocmt_common import bounded_json
from starlette.requests import Request
from starlette.responses import Response

from ocmt_management.llm import errors
from ocmt_management.llm.caller_cache import Caller
from ocmt_management.llm.metering import Meter, usage_key
from ocmt_management.llm.providers import Shape, credentials
from ocmt_management.llm.service import Llm
from ocmt_management.llm.upstream import Outcome, UpstreamRequest, UpstreamResponse
from ocmt_management.vault.service import SecretValue

_DEFAULT_NAMES = frozenset({"default", "ocmt/default"})
_NOT_IN_BACKGROUND = (b"false", b"null")


@dataclass(frozen=True, slots=True)
class RequestBody:
    """A request's JSON members as the agent wrote them, and two of them parsed."""

    members: dict[str, Raw]
    model: str
    stream: bool


async def answer_of_provider(
    shape: Shape, body: RequestBody, request: Request, llm: Llm, caller: Caller
) -> Response:
    chosen = caller.chosen
    access = caller.access
    if access is None:
        raise _refused(llm, caller, errors.no_key(chosen.provider.name))
    url = chosen.provider.url(shape, llm.settings, access.server)
    if url is None:
        raise _refused(llm, caller, errors.other_shape(chosen.provider.name))
    model = chosen.model if body.model in _DEFAULT_NAMES else body.model
    plain = {**body.members, "model": model}
    if caller.limited:
        if bytes(body.members.get("background", b"false")) not in _NOT_IN_BACKGROUND:
            # Its answer comes later, with a usage that OCMT never sees.
            raise _refused(llm, caller, errors.background_refused(chosen.provider.name))
        plain.pop("service_tier", None)  # prices, and so reserves, are those of the usual tier
    options: dict[str, Any] = {}
    without_stream_options: Callable[[], bytes] | None = None
    if shape is Shape.OPENAI and body.stream:
        plain.pop("stream_options", None)
        if llm.stream_options.accepted(url, model):
            # Makes the stream report its usage, in one more chunk without choices.
            options["stream_options"] = {**_stream_options(body), "include_usage": True}

            def without_stream_options() -> bytes:
                llm.stream_options.refused(url, model)
                return bounded_json.write(plain)

    upstream = UpstreamRequest(
        shape=shape,
        provider=chosen.provider.name,
        model=model,
        url=url,
        setting=chosen.provider.setting,
        headers=_headers(shape, request, access.key),
        access=access,
        body=bounded_json.write({**plain, **options}),
        without_stream_options=without_stream_options,
        final=llm.last_errors.just_unanswered(caller.user_id),
    )

    # A name that the agent made up is counted only once the provider answers to it.
    meter = Meter(llm, usage_key(llm, caller, model, body.members, shape))
    if caller.limited:
        await meter.reserve(upstream.body, body.members, provider=chosen.provider.name)

    def done(outcome: Outcome) -> None:
        if outcome.tokens is None or outcome.estimated:
            meter.key = replace(meter.key, model=chosen.model)
        meter.done(
            outcome.tokens,
            error=outcome.error,
            estimated=outcome.estimated,
            unreported=outcome.unreported,
        )

    return UpstreamResponse(llm.http(chosen.provider), upstream, done=done)


def _stream_options(body: RequestBody) -> dict[str, Raw]:
    try:
        return bounded_json.members(body.members.get("stream_options", b"{}"))
    except bounded_json.NotJson:
        return {}


def _refused(llm: Llm, caller: Caller, error: errors.LlmError) -> errors.LlmError:
    llm.last_errors.record(caller.user_id, errors.ModelError(error.code, error.detail))
    return error


def _headers(shape: Shape, request: Request, key: SecretValue | None) -> dict[str, str]:
    """The headers for the provider; of the agent's, only Anthropic's API version and betas."""
    headers = {
        "content-type": "application/json",
        "accept": "text/event-stream, application/json",
        # An uncompressed answer is forwarded as it arrives.
        "accept-encoding": "identity",
        "user-agent": "ocmt",
        **credentials(shape, key),
    }
    if shape is Shape.ANTHROPIC:
        for name in ("anthropic-version", "anthropic-beta"):
            # httpx rejects non-ASCII values; no version has one.
            if (value := request.headers.get(name)) and value.isascii():
                headers[name] = value
    return headers
