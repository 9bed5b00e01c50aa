"""Texts for providers' errors, none of which makes OpenClaw disable the provider."""

import json
import re

import pytest
from ocmt_management.llm import errors
from ocmt_management.llm.errors import explain, in_place_of_answer
from ocmt_management.llm.providers import Shape


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (401, "Incorrect API key provided: sk-abc", "provider-refused-key"),
        (403, "Country not supported", "provider-refused-key"),
        (402, "Payment required", "provider-unpaid"),
        (429, "You exceeded your current quota insufficient_quota", "provider-unpaid"),
        (403, "Key limit exceeded: no credits", "provider-unpaid"),
        (429, "Rate limit reached", "provider-limits"),
        (404, "The model does not exist", "model-unknown"),
        (500, "", "provider-trouble"),
        (529, "Overloaded", "provider-trouble"),
        (400, "max_tokens is too large", "provider-refused"),
    ],
)
def test_each_error_is_explained_by_its_cause(status: int, message: str, code: str) -> None:
    error = explain("OpenAI", "gpt-x", status, message)

    assert error.code == code
    assert "OpenAI" in error.detail


def test_a_providers_message_about_a_request_is_quoted_shortened() -> None:
    detail = explain("OpenAI", "gpt-x", 400, "max_tokens is\n too   large. " * 50).detail

    assert "max_tokens is too large." in detail
    assert len(detail) < 400


# Texts after which OpenClaw 2026.9.6 disables a provider for minutes.
DISABLING = re.compile(
    r"api.?key|\b40[123]\b|unauthori[sz]ed|authenticat|invalid.key|billing|insufficient|quota", re.I
)


@pytest.mark.parametrize(("status", "message"), [(401, "bad key"), (402, "pay"), (403, "no")])
def test_errors_about_the_key_do_not_make_openclaw_disable_the_provider(
    status: int, message: str
) -> None:
    error = explain("OpenAI", "gpt-x", status, message)
    answer = in_place_of_answer(error)

    assert error.replaces
    assert answer.status == 424
    assert not DISABLING.search(json.dumps(answer.body()))
    assert not DISABLING.search(json.dumps(errors.no_key("OpenAI").body()))


@pytest.mark.parametrize("shape", Shape)
def test_an_error_has_the_shape_of_the_request(shape: Shape) -> None:
    body = errors.bad_request("not-json", "Send JSON.").in_shape(shape).body()

    assert body["error"]["message"] == body["detail"] == "Send JSON."
    assert body["error"]["code"] == body["code"] == "not-json"
    assert (body["type"] == "error") == (shape is Shape.ANTHROPIC)
